//! The requests on their way to a decision.

use std::collections::BTreeMap;

use crate::flow::Flow;
use crate::http::StreamId;

#[derive(Default)]
pub(super) struct Streams {
    /// In the order they came, so that those that wait are released in that order.
    flows: BTreeMap<StreamId, Box<Flow>>,
    waiting: usize,
}

impl Streams {
    pub(super) fn take(&mut self, stream: StreamId) -> Option<Box<Flow>> {
        let flow = self.flows.remove(&stream)?;
        self.waiting = self.waiting.saturating_sub(usize::from(flow.awaits_keys()));
        Some(flow)
    }

    pub(super) fn keep(&mut self, stream: StreamId, flow: Box<Flow>) {
        self.waiting += usize::from(flow.awaits_keys());
        self.flows.insert(stream, flow);
    }

    pub(super) fn contains(&self, stream: StreamId) -> bool {
        self.flows.contains_key(&stream)
    }

    /// Is it one that must not have a body?
    pub(super) fn is_bodiless(&self, stream: StreamId) -> bool {
        self.flows.get(&stream).is_some_and(|flow| flow.is_bodiless())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    pub(super) fn all(&self) -> Vec<StreamId> {
        self.flows.keys().copied().collect()
    }

    /// How many wait for keys.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Those that wait for keys.
    pub(super) fn that_wait(&self) -> Vec<StreamId> {
        self.flows.iter().filter(|(_, flow)| flow.awaits_keys()).map(|(stream, _)| *stream).collect()
    }
}
