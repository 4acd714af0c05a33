//! The one way from a callback to its consequences: tell the gate, then perform what it asks for.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Duration;

use proxy_wasm::hostcalls;
use proxy_wasm::types::{Action, LogLevel, MetricType};
use step_up_core::effect::{BodyFault, CallFault, CallId, Effect, Input, Millis, Reply, StreamId};
use step_up_core::gate::Gate;
use step_up_core::metrics::{Change, Metric};

use crate::host;

/// What the root context and its streams share.
pub struct Driver {
    gate: RefCell<Gate>,
    root: u32,
    /// The host's token of each call under way.
    calls: RefCell<HashMap<u32, CallId>>,
    metrics: RefCell<HashMap<String, u32>>,
    period: Cell<Duration>,
    body_limit: usize,
}

impl Driver {
    pub fn new(gate: Gate, root: u32) -> Driver {
        let body_limit = gate.policy().limits().request_body;
        Driver {
            gate: RefCell::new(gate),
            root,
            calls: RefCell::default(),
            metrics: RefCell::default(),
            period: Cell::new(Duration::ZERO),
            body_limit,
        }
    }

    /// Bytes of a request body that are still looked at.
    pub fn body_limit(&self) -> usize {
        self.body_limit
    }

    /// A callback of a stream. The action is `Continue` only if the gate released this very stream.
    pub fn on_stream(&self, stream: u32, input: Input<'_>) -> Action {
        self.gate.borrow_mut().handle(input, host::now());
        self.perform(stream)
    }

    /// A callback of the root.
    pub fn on_root(&self, input: Input<'_>) {
        self.gate.borrow_mut().handle(input, host::now());
        self.perform(self.root);
    }

    /// The answer to a call of ours.
    pub fn on_reply(&self, token: u32, headers: usize, body_size: usize) {
        let Some(call) = self.calls.borrow_mut().remove(&token) else { return };
        let reply = host::call_reply(headers, body_size);
        let reply = reply.as_ref().map(|(status, body)| Reply { status: *status, body }).ok_or(CallFault::Unanswered);
        self.on_root(Input::Reply { call, reply });
    }

    /// This configuration is no longer in force.
    pub fn retire(&self) {
        self.gate.borrow_mut().retire();
        self.perform(self.root);
    }

    /// Performs all effects. No borrow is held while the host is called: a call may lead to the next callback.
    pub fn perform(&self, current: u32) -> Action {
        let mut action = Action::Pause;
        while let Some(effect) = self.next() {
            match effect {
                Effect::Continue { stream: StreamId(stream), permit } if stream == current => {
                    host::edit_request(&permit);
                    action = Action::Continue;
                }
                Effect::Continue { stream, permit } => self.within(stream.0, current, || {
                    host::edit_request(&permit);
                    host::resume_request();
                }),
                Effect::Reply { stream, response } => self.within(stream.0, current, || host::respond(&response)),
                Effect::ReadBody { stream } => self.read_body(stream, current),
                Effect::Record { stream, record } => self.within(stream.0, current, || host::record(&record)),
                Effect::Call { id, call } => self.within(self.root, current, || match host::dispatch(&call) {
                    Some(token) => drop(self.calls.borrow_mut().insert(token, id)),
                    None => self.feed(Input::Reply { call: id, reply: Err(CallFault::Refused) }),
                }),
                Effect::Count(metric) => self.count(&metric),
                Effect::Wake { at } => self.within(self.root, current, || self.wake(at)),
                Effect::Log(line) => host::log(LogLevel::Warn, &format!("step-up: {line}")),
            }
        }
        action
    }

    fn next(&self) -> Option<Effect> {
        self.gate.borrow_mut().poll()
    }

    fn feed(&self, input: Input<'_>) {
        self.gate.borrow_mut().handle(input, host::now());
    }

    /// Does something in another context than the current one. A context that cannot be entered is a stream that is
    /// gone; nothing is written to it, and the gate is told.
    fn within(&self, context: u32, current: u32, act: impl FnOnce()) {
        if context == current {
            act();
        } else if host::enter(context) {
            act();
            host::enter(current);
        } else {
            self.feed(Input::Gone { stream: StreamId(context) });
        }
    }

    fn read_body(&self, stream: StreamId, current: u32) {
        let body = Cell::new(None);
        self.within(stream.0, current, || body.set(Some(host::request_body(usize::MAX))));
        let Some(body) = body.take() else { return };
        let body = body.as_deref().map_err(|()| BodyFault::Unreadable);
        self.feed(Input::Body { stream, body });
    }

    fn wake(&self, at: Millis) {
        // A tick more often than this costs more than it brings.
        const SHORTEST: Duration = Duration::from_millis(10);
        let period = Duration::from_millis(at.0.saturating_sub(host::now().0)).max(SHORTEST);
        if self.period.replace(period) != period {
            host::set_tick_period(period);
        }
    }

    fn count(&self, metric: &Metric) {
        let name = metric.name();
        let change = metric.change();
        let kind = match change {
            Change::Add(_) => MetricType::Counter,
            Change::Set(_) => MetricType::Gauge,
        };
        let known = self.metrics.borrow().get(&name).copied();
        let id = match known {
            Some(id) => id,
            None => {
                let Ok(id) = hostcalls::define_metric(kind, &name) else { return };
                self.metrics.borrow_mut().insert(name, id);
                id
            }
        };
        let _ = match change {
            Change::Add(count) => hostcalls::increment_metric(id, i64::from(count)),
            Change::Set(value) => hostcalls::record_metric(id, value),
        };
    }
}
