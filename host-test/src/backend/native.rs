//! The core as it is.

use std::cell::RefCell;
use std::rc::Rc;

use anyhow::{Result, anyhow};
use simulated_proxy::{Headers, Network, OutboundCall};
use step_up_core::{
    Call, Effect as Told, Gate, Input, Metric, Millis, Permit, Policy, PureRust, Response, Secret, StreamId,
};
use step_up_testkit::Memory;

use super::vm::{self, Answer, Decision, Effect, Release, Variables};
use super::{Backend, Run, Script};

/// Runs the core.
#[derive(Clone, Copy, Debug, Default)]
pub struct Native;

impl Backend for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn run(&self, script: &Script, network: Rc<RefCell<dyn Network>>) -> Result<Run> {
        let now = Millis(script.now);
        let policy =
            Policy::load(script.policy.as_bytes(), &Variables(&script.environment, now)).map_err(|faults| {
                let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
                anyhow!("the filter refuses its configuration:\n{}", lines.join("\n"))
            })?;
        let gate = Gate::new(Rc::new(policy), Box::new(PureRust), Box::new(Memory::default()), vm::SEED, now);
        vm::run(Box::new(gate), script, network)
    }
}

impl Decision for Gate {
    fn handle(&mut self, input: Input<'_>, now: Millis) -> Result<()> {
        Gate::handle(self, input, now);
        Ok(())
    }

    fn poll(&mut self) -> Result<Option<Effect>> {
        Ok(Gate::poll(self).map(spelled_out))
    }

    fn body_limit(&mut self, stream: StreamId) -> Result<usize> {
        Ok(Gate::body_limit(self, stream))
    }

    fn asks_source(&mut self) -> Result<bool> {
        Ok(self.policy().asks_source())
    }
}

fn spelled_out(effect: Told) -> Effect {
    match effect {
        Told::Continue { stream, permit } => Effect::Continue { stream, release: released(&permit) },
        Told::Reply { stream, response } => Effect::Reply { stream, answer: answered(&response) },
        Told::Response { stream, act } => Effect::Response { stream, act },
        Told::ReadBody { stream } => Effect::ReadBody { stream },
        Told::WhyNoBody { stream } => Effect::WhyNoBody { stream },
        Told::Call { id, call } => Effect::Call { id, call: called(&call) },
        Told::Record { stream, record } => Effect::Record { stream, record },
        Told::Log { level, line } => Effect::Log { level, line },
        Told::Count(metric) => Effect::Count { metric: counted(&metric) },
        Told::Wake { at } => Effect::Wake { at },
    }
}

fn released(permit: &Permit) -> Release {
    let field = |(name, value): &(&str, Secret)| ((*name).to_owned(), value.reveal().to_owned());
    Release {
        set: permit.set().iter().map(field).collect(),
        remove: permit.remove().to_vec(),
        state: permit.state().iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        is_watched: permit.is_watched(),
    }
}

fn answered(response: &Response) -> Answer {
    let field = |(name, value): &(&str, String)| ((*name).to_owned(), value.clone());
    Answer {
        status: response.status,
        headers: response.headers.iter().map(field).collect(),
        body: response.body.to_vec(),
        details: response.details(),
    }
}

fn called(call: &Call) -> OutboundCall {
    let fields = call.headers.iter().map(|(name, value)| (*name, value.reveal()));
    let headers = call_headers(call.method, &call.path, &call.authority, fields);
    let (cluster, body) = (call.cluster.clone(), call.body.reveal().as_bytes().to_vec());
    OutboundCall { cluster, headers, body, timeout: call.timeout }
}

/// The headers of a call, as hosts send it.
pub(super) fn call_headers<'f>(
    method: &str,
    path: &str,
    authority: &str,
    fields: impl Iterator<Item = (&'f str, &'f str)>,
) -> Headers {
    let mut headers =
        Headers::of([(":method", method), (":path", path), (":authority", authority), ("accept", "application/json")]);
    for (name, value) in fields {
        headers.add(name.as_bytes(), value.as_bytes());
    }
    headers
}

/// A metric, as a line to compare.
pub(super) fn counted(metric: &Metric) -> String {
    format!("{} {:?}", metric.name(), metric.change())
}
