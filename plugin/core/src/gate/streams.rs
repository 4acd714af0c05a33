//! The requests on their way to a decision.

use std::collections::BTreeMap;

use crate::flow::Flow;
use crate::http::StreamId;
use crate::jose::Compact;
use crate::policy::Limits;

#[derive(Default)]
pub(super) struct Streams {
    /// In the order they came, so that those that wait are released in that order.
    flows: BTreeMap<StreamId, Box<Flow>>,
    waiting: usize,
    strangers: usize,
}

impl Streams {
    pub(super) fn take(&mut self, stream: StreamId) -> Option<Box<Flow>> {
        let flow = self.flows.remove(&stream)?;
        self.waiting = self.waiting.saturating_sub(usize::from(flow.awaits_keys()));
        self.strangers = self.strangers.saturating_sub(usize::from(flow.is_stranger()));
        Some(flow)
    }

    pub(super) fn keep(&mut self, stream: StreamId, flow: Box<Flow>) {
        self.waiting += usize::from(flow.awaits_keys());
        self.strangers += usize::from(flow.is_stranger());
        self.flows.insert(stream, flow);
    }

    pub(super) fn contains(&self, stream: StreamId) -> bool {
        self.flows.contains_key(&stream)
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

    /// How many without a token wait for their body.
    pub(super) fn strangers(&self) -> usize {
        self.strangers
    }

    /// Bytes of the body that are looked at; what has been settled is nobody's to look at.
    pub(super) fn body_limit(&self, stream: StreamId, limits: &Limits) -> usize {
        match self.flows.get(&stream) {
            Some(flow) if flow.is_bodiless() => 0,
            Some(flow) if flow.is_stranger() => limits.anonymous_body,
            _ => limits.request_body,
        }
    }

    /// Those that wait for what this issuer says of this token.
    pub(super) fn that_ask(&self, issuer: usize, token: &Compact) -> Vec<StreamId> {
        self.flows.iter().filter(|(_, flow)| flow.asks(issuer, token)).map(|(stream, _)| *stream).collect()
    }

    /// Those that wait for keys.
    pub(super) fn that_wait(&self) -> Vec<StreamId> {
        self.flows.iter().filter(|(_, flow)| flow.awaits_keys()).map(|(stream, _)| *stream).collect()
    }
}
