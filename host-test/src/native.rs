//! The core as it is, without proxy or wasm: the `native` backend.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use serde_json::Value;
use step_up_core::effect::{BodyFault, Call, CallFault, CallId, Effect, Input, Millis, Reply, StreamId};
use step_up_core::gate::Gate;
use step_up_core::http::RequestHead;
use step_up_core::keys::Shared;
use step_up_core::policy::Policy;
use step_up_core::response::Response;
use step_up_core::signatures::PureRust;

/// A request as a proxy hands it over.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Names (lower case, pseudo headers included) and values, in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// `None` when the head ends the stream.
    pub body: Option<Vec<u8>>,
    /// True when trailers follow instead of the body's end.
    pub trailers: bool,
    /// The server named by the route's metadata.
    pub route: Option<String>,
}

/// What became of a request.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// `None`: the request went upstream.
    pub response: Option<Response>,
    /// Headers taken out on the way upstream.
    pub removed: Vec<String>,
    /// The audit record; `Null` when it was suppressed.
    pub record: Value,
}

impl Outcome {
    /// The reason in the audit record.
    pub fn reason(&self) -> &str {
        self.record.get("reason").and_then(Value::as_str).unwrap_or("(no record)")
    }
}

/// A gate that broke its contract with the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misbehaviour {
    /// A minute passed, and the request still waited.
    Undecided,
    /// One request, two decisions.
    DecidedTwice,
}

impl std::error::Error for Misbehaviour {}

impl std::fmt::Display for Misbehaviour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Misbehaviour::Undecided => "the gate did not decide within a minute",
            Misbehaviour::DecidedTwice => "the gate decided one request twice",
        })
    }
}

/// Answers the calls the gate makes, with status and body.
pub type Peer = Box<dyn FnMut(&Call) -> Result<(u16, Vec<u8>), CallFault>>;

/// A host of one gate, with a clock that moves only when told.
pub struct Native {
    gate: Gate,
    peer: Peer,
    now: Millis,
    wake: Option<Millis>,
    streams: u32,
}

impl Native {
    /// A host without a network: every call is refused.
    pub fn new(policy: Policy, now: Millis) -> Native {
        Native::with_peer(policy, now, Box::new(|_| Err(CallFault::Refused)))
    }

    /// A host whose calls are answered by `peer`.
    pub fn with_peer(policy: Policy, now: Millis, peer: Peer) -> Native {
        let gate = Gate::new(Rc::new(policy), Box::new(PureRust), Box::new(Memory::default()), [7; 16], now);
        Native { gate, peer, now, wake: None, streams: 0 }
    }

    /// Sends one request and waits, letting time pass, until it is decided.
    pub fn send(&mut self, request: &Request) -> Result<Outcome, Misbehaviour> {
        self.streams += 1;
        let stream = StreamId(self.streams);
        let mut exchange = Exchange { stream, request, decision: None, record: Value::Null };

        let end_of_stream = request.body.is_none() && !request.trailers;
        let head =
            RequestHead { headers: &request.headers, server: request.route.as_deref(), source: None, end_of_stream };
        self.handle(Input::Head { stream, head }, &mut exchange)?;
        if exchange.decision.is_none() && request.trailers {
            self.handle(Input::Trailers { stream }, &mut exchange)?;
        } else if exchange.decision.is_none() && !end_of_stream {
            self.deliver_body(&mut exchange)?;
        }
        let give_up = self.now.plus_seconds(60);
        while exchange.decision.is_none() {
            if self.now >= give_up {
                return Err(Misbehaviour::Undecided);
            }
            self.now = self.wake.take().unwrap_or(give_up).max(self.now.plus(1));
            self.handle(Input::Tick, &mut exchange)?;
        }
        exchange.outcome().ok_or(Misbehaviour::Undecided)
    }

    /// Lets time pass.
    pub fn advance(&mut self, millis: u64) {
        self.now = self.now.plus(millis);
    }

    fn handle(&mut self, input: Input<'_>, exchange: &mut Exchange<'_>) -> Result<(), Misbehaviour> {
        self.gate.handle(input, self.now);
        while let Some(effect) = self.gate.poll() {
            self.perform(effect, exchange)?;
        }
        Ok(())
    }

    fn perform(&mut self, effect: Effect, exchange: &mut Exchange<'_>) -> Result<(), Misbehaviour> {
        match effect {
            Effect::Continue { stream, permit } if stream == exchange.stream => {
                exchange.decide(Decision::Forwarded { removed: permit.remove().to_vec() })
            }
            Effect::Reply { stream, response } if stream == exchange.stream => {
                exchange.decide(Decision::Answered(response))
            }
            Effect::Record { stream, record } if stream == exchange.stream => {
                exchange.record = serde_json::from_str(&record).unwrap_or_default();
                Ok(())
            }
            Effect::ReadBody { stream } if stream == exchange.stream => self.deliver_body(exchange),
            Effect::Call { id, call } => {
                let answer = (self.peer)(&call);
                self.reply(id, answer);
                Ok(())
            }
            Effect::Wake { at } => {
                self.wake = Some(at);
                Ok(())
            }
            Effect::Continue { .. } | Effect::Reply { .. } | Effect::Record { .. } | Effect::ReadBody { .. } => Ok(()),
            Effect::Log(_) | Effect::Count(_) => Ok(()),
        }
    }

    fn deliver_body(&mut self, exchange: &mut Exchange<'_>) -> Result<(), Misbehaviour> {
        let bytes = exchange.request.body.as_deref().unwrap_or_default();
        // A host stops buffering at the limit.
        let body =
            if bytes.len() > self.gate.policy().limits().request_body { Err(BodyFault::TooLarge) } else { Ok(bytes) };
        self.handle(Input::Body { stream: exchange.stream, body }, exchange)
    }

    // What it leads to is polled by the loop that performs this call.
    fn reply(&mut self, call: CallId, answer: Result<(u16, Vec<u8>), CallFault>) {
        let reply = match &answer {
            Ok((status, body)) => Ok(Reply { status: *status, body }),
            Err(fault) => Err(*fault),
        };
        self.gate.handle(Input::Reply { call, reply }, self.now);
    }
}

/// A request on its way to a decision.
struct Exchange<'r> {
    stream: StreamId,
    request: &'r Request,
    decision: Option<Decision>,
    record: Value,
}

enum Decision {
    Forwarded { removed: Vec<String> },
    Answered(Response),
}

impl Exchange<'_> {
    fn decide(&mut self, decision: Decision) -> Result<(), Misbehaviour> {
        match self.decision.replace(decision) {
            None => Ok(()),
            Some(_) => Err(Misbehaviour::DecidedTwice),
        }
    }

    fn outcome(self) -> Option<Outcome> {
        let (response, removed) = match self.decision? {
            Decision::Forwarded { removed } => (None, removed),
            Decision::Answered(response) => (Some(response), Vec::new()),
        };
        Some(Outcome { response, removed, record: self.record })
    }
}

/// What all gates of a process share; here there is one.
#[derive(Default)]
struct Memory {
    slots: RefCell<HashMap<String, (Vec<u8>, u32)>>,
}

impl Shared for Memory {
    fn get(&self, slot: &str) -> Option<(Vec<u8>, u32)> {
        self.slots.borrow().get(slot).cloned()
    }

    fn set(&self, slot: &str, value: &[u8], version: Option<u32>) -> bool {
        let mut slots = self.slots.borrow_mut();
        let current = slots.get(slot).map_or(0, |(_, version)| *version);
        if version.is_some_and(|expected| expected != current) {
            return false;
        }
        slots.insert(slot.to_owned(), (value.to_vec(), current + 1));
        true
    }
}
