//! What is to be done, as the host is told it.

use step_up_core::{Call, CallId, Effect, Level, Permit, Response, ResponseAct, Secret, StreamId};

use crate::bindings::exports::step_up::decision::gates as wit;
use crate::{audit, metric};

/// An effect of the core. A permit is used up here: what leaves the component says what it allowed.
pub fn told(effect: Effect) -> wit::Effect {
    match effect {
        Effect::Continue { stream, permit } => wit::Effect::Continue(released(stream, &permit)),
        Effect::Reply { stream, response } => wit::Effect::Reply(answered(stream, response)),
        Effect::Response { stream, act } => {
            wit::Effect::Response(wit::ResponseEffect { stream: stream.0, act: acted(act) })
        }
        Effect::ReadBody { stream } => wit::Effect::ReadBody(stream.0),
        Effect::WhyNoBody { stream } => wit::Effect::WhyNoBody(stream.0),
        Effect::Call { id, call } => wit::Effect::Call(called(id, call)),
        Effect::Record { stream, record } => audit::told(stream, record),
        Effect::Log { level, line } => wit::Effect::Log(wit::LogLine { level: severity(level), line }),
        Effect::Count(metric) => wit::Effect::Count(metric::told(metric)),
        Effect::Wake { at } => wit::Effect::Wake(at.0),
    }
}

/// A number of bytes. More than fits is more than there can be.
pub fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn released(stream: StreamId, permit: &Permit) -> wit::Permit {
    wit::Permit {
        stream: stream.0,
        set: permit.set().iter().map(secret).collect(),
        remove: permit.remove().to_vec(),
        state: permit
            .state()
            .iter()
            .map(|(name, value)| wit::Field { name: (*name).to_owned(), value: value.clone() })
            .collect(),
        watched: permit.is_watched(),
    }
}

fn answered(stream: StreamId, response: Response) -> wit::Response {
    let field = |(name, value): (&str, String)| wit::Field { name: name.to_owned(), value };
    wit::Response {
        stream: stream.0,
        status: response.status,
        headers: response.headers.into_iter().map(field).collect(),
        body: response.body.to_vec(),
        reason: response.reason.name().to_owned(),
        told: response.reason.public_name().to_owned(),
    }
}

fn acted(act: ResponseAct) -> wit::ResponseAct {
    match act {
        ResponseAct::Hold { most } => wit::ResponseAct::Hold(length(most)),
        ResponseAct::Challenge(challenge) => wit::ResponseAct::Challenge(challenge),
        ResponseAct::Session(id) => wit::ResponseAct::Session(id),
        ResponseAct::Take { hold } => wit::ResponseAct::Take(hold),
        ResponseAct::Give { bytes, release } => wit::ResponseAct::Give(wit::Piece { bytes, release }),
        ResponseAct::Leave => wit::ResponseAct::Leave,
        ResponseAct::Pass => wit::ResponseAct::Pass,
        ResponseAct::Rewrite(body) => wit::ResponseAct::Rewrite(body),
    }
}

fn called(id: CallId, call: Call) -> wit::Call {
    wit::Call {
        id: id.0,
        cluster: call.cluster,
        method: call.method.to_owned(),
        authority: call.authority,
        path: call.path,
        headers: call.headers.iter().map(secret).collect(),
        body: call.body.reveal().to_owned(),
        timeout: call.timeout,
    }
}

/// For the wire, which is where the host sends it.
fn secret((name, value): &(&'static str, Secret)) -> wit::Field {
    wit::Field { name: (*name).to_owned(), value: value.reveal().to_owned() }
}

fn severity(level: Level) -> wit::Level {
    match level {
        Level::Error => wit::Level::Error,
        Level::Warning => wit::Level::Warning,
        Level::Info => wit::Level::Info,
        Level::Debug => wit::Level::Debug,
    }
}
