//! The one way from a callback to its consequences: tell the gate, then perform what it asks for.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use proxy_wasm::hostcalls;
use proxy_wasm::types::{Action, LogLevel, MetricType};
use step_up_core::Gate;
use step_up_core::Permit;
use step_up_core::{BodyFault, CallFault, CallId, Effect, Input, Millis, Reply, ResponseAct, StreamId};
use step_up_core::{Change, Level, Metric};

use crate::host;

/// What the root context and its streams share.
pub struct Driver {
    gate: RefCell<Gate>,
    root: u32,
    /// The host's token of each call under way.
    calls: RefCell<HashMap<u32, CallId>>,
    metrics: RefCell<HashMap<String, u32>>,
    period: Cell<Duration>,
    /// The gate was told that bodies arrive here.
    body_seen: Cell<bool>,
    asks_source: bool,
    /// Streams whose responses the gate wants to see, and what it does with them.
    watched: RefCell<HashMap<u32, Watched>>,
    /// What waits for a callback of the root. Calls, because what a stream calls dies with the stream; and whatever is for
    /// another stream than the one whose callback this is, because an answer to that one would stop this one
    /// (`stopNextIteration` in proxy-wasm-cpp-host is one flag for the VM).
    waiting: RefCell<VecDeque<Effect>>,
    queue: Option<u32>,
    retired: Cell<bool>,
}

/// What the gate does with a response.
enum Watched {
    /// It sees what passes.
    Seen,
    /// It wants the body in one piece, of at most so many bytes.
    Held { most: usize },
    /// What goes on is what it gives. `hold`: nothing yet, not even the head.
    Taken { hold: bool },
}

impl Driver {
    pub fn new(gate: Gate, root: u32, queue: Option<u32>) -> Driver {
        let asks_source = gate.policy().asks_source();
        Driver {
            gate: RefCell::new(gate),
            root,
            calls: RefCell::default(),
            metrics: RefCell::default(),
            period: Cell::new(Duration::ZERO),
            body_seen: Cell::new(false),
            asks_source,
            watched: RefCell::default(),
            waiting: RefCell::default(),
            queue,
            retired: Cell::new(false),
        }
    }

    /// Bytes of this request's body that are still looked at.
    pub fn body_limit(&self, stream: u32) -> usize {
        self.gate.borrow().body_limit(StreamId(stream))
    }

    /// A callback of a stream. The action is `Continue` only if the gate released this very stream.
    pub fn on_stream(&self, stream: u32, input: Input<'_>) -> Action {
        self.gate.borrow_mut().handle(input, host::now());
        self.perform(stream)
    }

    /// A part of a body, of whichever stream.
    pub fn on_part_of_body(&self, stream: u32) {
        if !self.body_seen.replace(true) {
            self.on_stream(stream, Input::BodyBegins);
        }
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

    /// This configuration is no longer in force. False while something of it must not be lost.
    pub fn retire(&self) -> bool {
        self.gate.borrow_mut().retire(host::now());
        self.perform(self.root);
        let idle = self.gate.borrow().is_idle();
        self.retired.set(!idle);
        idle
    }

    /// Does any rule ask for the identity of the peer?
    pub fn asks_source(&self) -> bool {
        self.asks_source
    }

    pub fn is_watched(&self, stream: u32) -> bool {
        self.watched.borrow().contains_key(&stream)
    }

    /// Is the response of this stream held? Then the most bytes that are looked at.
    pub fn held(&self, stream: u32) -> Option<usize> {
        match self.watched.borrow().get(&stream) {
            Some(Watched::Held { most }) => Some(*most),
            _ => None,
        }
    }

    /// A callback for a response. It goes on unless the gate holds it: the headers of an event stream leave at once.
    pub fn on_response(&self, stream: u32, input: Input<'_>) -> Action {
        self.on_stream(stream, input);
        let waits = |watched: &Watched| !matches!(watched, Watched::Seen | Watched::Taken { hold: false });
        if self.watched.borrow().get(&stream).is_some_and(waits) { Action::Pause } else { Action::Continue }
    }

    /// A stream has ended.
    pub fn on_gone(&self, stream: u32) {
        self.watched.borrow_mut().remove(&stream);
        let stream = StreamId(stream);
        if self.gate.borrow().knows(stream) {
            self.on_stream(stream.0, Input::Gone { stream });
        }
    }

    /// Makes the calls that streams have asked for. Called in the root's own callbacks only.
    pub fn make_calls(&self) {
        if let Some(queue) = self.queue {
            host::drain(queue);
        }
        self.perform(self.root);
    }

    /// Performs all effects. No borrow is held while the host is called: a call may lead to the next callback.
    pub fn perform(&self, current: u32) -> Action {
        let mut action = Action::Pause;
        while let Some(effect) = self.next(current) {
            if current != self.root && !is_of(&effect, current) {
                self.leave_to_root(effect, current);
                continue;
            }
            match effect {
                Effect::Continue { stream: StreamId(stream), permit } if stream == current => {
                    self.release(stream, &permit);
                    action = Action::Continue;
                }
                Effect::Continue { stream, permit } => self.within(stream.0, current, || {
                    self.release(stream.0, &permit);
                    host::resume_request();
                }),
                Effect::Reply { stream, response } => {
                    self.watched.borrow_mut().remove(&stream.0);
                    self.within(stream.0, current, || host::respond(&response));
                }
                Effect::ReadBody { stream } => self.read_body(stream, current),
                Effect::WhyNoBody { stream } => self.why_no_body(stream, current),
                Effect::Response { stream, act } => self.within(stream.0, current, || self.respond(stream.0, act)),
                Effect::Record { stream, record } => self.within(stream.0, current, || host::record(&record)),
                Effect::Call { id, call } => match host::dispatch(&call) {
                    Some(token) => drop(self.calls.borrow_mut().insert(token, id)),
                    None => self.feed(Input::Reply { call: id, reply: Err(CallFault::Refused) }),
                },
                Effect::Count(metric) => self.count(&metric),
                Effect::Wake { at } => self.within(self.root, current, || self.wake(at)),
                Effect::Log { level, line } => host::log(severity(level), &format!("step-up: {line}")),
            }
        }
        if current == self.root && self.retired.get() && self.gate.borrow().is_idle() {
            self.retired.set(false);
            host::done();
        }
        action
    }

    /// What was left to the root comes first, in its callbacks.
    fn next(&self, current: u32) -> Option<Effect> {
        let waiting = if current == self.root { self.waiting.borrow_mut().pop_front() } else { None };
        waiting.or_else(|| self.gate.borrow_mut().poll())
    }

    fn release(&self, stream: u32, permit: &Permit) {
        host::edit_request(permit);
        permit.state().iter().for_each(|(name, value)| host::tell(name, value));
        if permit.is_watched() {
            self.watched.borrow_mut().insert(stream, Watched::Seen);
        }
    }

    /// Only in the callback of that very response.
    fn respond(&self, stream: u32, act: ResponseAct) {
        let watched = match act {
            ResponseAct::Hold { most } => Watched::Held { most },
            ResponseAct::Take { hold } => {
                host::forget_length();
                Watched::Taken { hold }
            }
            ResponseAct::Give { bytes, release } => {
                host::give(&bytes);
                Watched::Taken { hold: !release }
            }
            ResponseAct::Challenge(challenge) => return host::set_response_header("www-authenticate", &challenge),
            ResponseAct::Session(id) => return host::set_response_header("mcp-session-id", &id),
            ResponseAct::Leave => {
                self.watched.borrow_mut().remove(&stream);
                return;
            }
            ResponseAct::Pass => Watched::Seen,
            ResponseAct::Rewrite(body) => {
                host::rewrite_response(&body);
                Watched::Seen
            }
        };
        self.watched.borrow_mut().insert(stream, watched);
    }

    fn leave_to_root(&self, effect: Effect, current: u32) {
        self.waiting.borrow_mut().push_back(effect);
        // Without a queue the next tick does it.
        if !self.queue.is_some_and(host::wake_root) {
            self.within(self.root, current, || self.wake(host::now()));
        }
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

    /// What the host says of a stream; `None` where that is gone.
    fn ask<T>(&self, stream: StreamId, current: u32, question: impl FnOnce() -> T) -> Option<T> {
        let answer = Cell::new(None);
        self.within(stream.0, current, || answer.set(Some(question())));
        answer.take()
    }

    fn read_body(&self, stream: StreamId, current: u32) {
        let Some(body) = self.ask(stream, current, || host::request_body(usize::MAX)) else { return };
        let body = body.as_deref().map_err(|()| BodyFault::Unreadable);
        self.feed(Input::Body { stream, body });
    }

    fn why_no_body(&self, stream: StreamId, current: u32) {
        let Some(has_bytes) = self.ask(stream, current, host::has_bytes_of_body) else { return };
        let fault = if has_bytes { BodyFault::Undelivered } else { BodyFault::Withheld };
        self.feed(Input::Body { stream, body: Err(fault) });
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
            Change::Observe(_) => MetricType::Histogram,
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
            Change::Set(value) | Change::Observe(value) => hostcalls::record_metric(id, value),
        };
    }
}

fn severity(level: Level) -> LogLevel {
    match level {
        Level::Error => LogLevel::Error,
        Level::Warning => LogLevel::Warn,
        Level::Info => LogLevel::Info,
        Level::Debug => LogLevel::Debug,
    }
}

/// May this be performed in a callback of that stream?
fn is_of(effect: &Effect, current: u32) -> bool {
    match effect {
        Effect::Continue { stream, .. }
        | Effect::Reply { stream, .. }
        | Effect::ReadBody { stream }
        | Effect::WhyNoBody { stream }
        | Effect::Response { stream, .. }
        | Effect::Record { stream, .. } => stream.0 == current,
        Effect::Call { .. } => false,
        Effect::Count(_) | Effect::Wake { .. } | Effect::Log { .. } => true,
    }
}
