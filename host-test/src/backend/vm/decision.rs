//! The decision as its hosts see it, wherever it runs: inputs are the core's own; effects are what the core says, spelled out,
//! because nobody but the core makes a permit.

use anyhow::Result;
use simulated_proxy::OutboundCall;
use step_up_core::{CallId, Input, Level, Millis, ResponseAct, StreamId};

/// A gate. An error says that it could not be asked.
pub(in crate::backend) trait Decision {
    /// Something happened.
    fn handle(&mut self, input: Input<'_>, now: Millis) -> Result<()>;
    /// What to do next.
    fn poll(&mut self) -> Result<Option<Effect>>;
    /// Bytes of the body of this request that are looked at.
    fn body_limit(&mut self, stream: StreamId) -> Result<usize>;
    /// Is the identity of peers wanted?
    fn asks_source(&mut self) -> Result<bool>;
}

/// What to do: [`step_up_core::Effect`].
pub(in crate::backend) enum Effect {
    Continue { stream: StreamId, release: Release },
    Reply { stream: StreamId, answer: Answer },
    Response { stream: StreamId, act: ResponseAct },
    ReadBody { stream: StreamId },
    WhyNoBody { stream: StreamId },
    Call { id: CallId, call: OutboundCall },
    Record { stream: StreamId, record: String },
    Log { level: Level, line: String },
    Count { metric: String },
    Wake { at: Millis },
}

impl Effect {
    /// What of it no transcript shows.
    pub(super) fn beside(&self) -> Option<String> {
        Some(match self {
            Effect::Count { metric } => metric.clone(),
            Effect::Log { level, .. } => format!("log {level:?}"),
            Effect::Continue { release, .. } => {
                format!("released, watched {}, told {:?}", release.is_watched, release.state)
            }
            Effect::Response { act: ResponseAct::Take { hold }, .. } => format!("taken, held {hold}"),
            Effect::Response { act: ResponseAct::Give { release, .. }, .. } => format!("given, released {release}"),
            Effect::Call { id, call } => format!("call {} to {} within {} ms", id.0, call.cluster, call.timeout),
            Effect::Wake { at } => format!("wake at {}", at.0),
            _ => return None,
        })
    }
}

/// What a permit says.
pub(in crate::backend) struct Release {
    pub set: Vec<(String, String)>,
    pub remove: Vec<String>,
    pub state: Vec<(String, String)>,
    pub is_watched: bool,
}

/// An answer of the filter.
pub(in crate::backend) struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub details: String,
}
