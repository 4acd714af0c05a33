//! The decision core of one VM: all its flows, its keys and its verified tokens, behind one entry and one exit.

mod announce;
mod answers;
mod calls;
mod exchanges;
mod ids;
mod keys;
mod lists;
mod opinions;
mod outbox;
mod responses;
mod revoking;
mod streams;

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::effect::{BodyFault, Effect, Input};
use crate::ends::Ending;
use crate::flow::{Flow, Next, Turn};
use crate::http::StreamId;
use crate::jose::Signatures;
use crate::keys::{Fetch, KeyRing, Shared};
use crate::metrics::{FAULTS, Metric};
use crate::obtain::{History, Ledger, Questions, Rates, Revocations};
use crate::policy::Policy;
use crate::reason::Reason;
use crate::time::Millis;
use crate::token::Cache;
use crate::watch::{OperationEnd, Own, Tail};

use calls::{Calls, Purpose};
use exchanges::Unproven;
use ids::Ids;
use lists::OnItsWay;
use outbox::{Outbox, Settled};
use responses::Resting;
use streams::Streams;

/// The version of this module, for `info` and for people.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How often a gate that waits for nothing looks around.
const IDLE: u64 = 1_000;
/// How often it looks while keys are missing or somebody waits for them.
const BUSY: u64 = 50;

/// Inputs in by [`Gate::handle`], effects out by [`Gate::poll`]. Does no I/O and knows no time but the one it is told.
///
/// A host has one gate for each policy in each of its threads. For everything that happens it calls `handle`, then polls until
/// `None` and performs each effect in turn, without holding the gate while it does: an effect may lead to the next input. There are
/// four kinds of methods:
///
/// - `new`, once for each policy. The host's randomness, its signatures and its shared memory are given here.
/// - `handle` and `poll`, for everything that happens. `now` never decides alone: it may stand still, and be set back.
/// - `knows`, `body_limit` and `is_idle`, questions that save a host work, or tell it when it may let go.
/// - `retire`, once, when another gate takes over. Requests that have been judged, exchanges and revocations go on until `is_idle`.
///
/// What a host owes the gate:
///
/// - `Head` for each request, then `Body` once, complete, for those that have one, then `Gone` for each stream that `knows` of.
///   A body of more than `body_limit` need not be complete: it is too large at its first byte too many.
///   Of streams whose permit is watched also `ResponseHead` and every `ResponseChunk`, before the bytes leave;
///   in place of the chunks one `ResponseBody` where it was asked to hold the response.
/// - Nothing of a request goes upstream before its `Effect::Continue`, and then with exactly these edits. Trailers never do: they
///   are the end of the body, and nobody judges them.
/// - A `Body` for each `Effect::ReadBody` and `Effect::WhyNoBody`, at once.
/// - A `Reply` for each `Effect::Call`, also when it could not be made, and `Tick` at the moment of the last `Effect::Wake`.
///
/// The smallest host, which answers one request:
///
/// ```
/// use std::{cell::RefCell, collections::HashMap, rc::Rc};
/// use step_up_core::{Effect, Gate, Input, Millis, NoEnvironment, Policy, PureRust, RequestHead, Shared, StreamId};
///
/// /// Memory of one thread. Where there are several, all of them share it.
/// #[derive(Default)]
/// struct Memory(RefCell<HashMap<String, (Vec<u8>, u32)>>);
///
/// impl Shared for Memory {
///     fn get(&self, slot: &str) -> Option<(Vec<u8>, u32)> {
///         self.0.borrow().get(slot).cloned()
///     }
///
///     fn set(&self, slot: &str, value: &[u8], version: Option<u32>) -> bool {
///         let mut slots = self.0.borrow_mut();
///         let last = slots.get(slot).map_or(0, |(_, version)| *version);
///         let is_current = version.is_none_or(|version| version == last);
///         if is_current {
///             slots.insert(slot.to_owned(), (value.to_vec(), last + 1));
///         }
///         is_current
///     }
/// }
///
/// let policy = r#"{
///     "version": 1,
///     "issuers": { "https://as.example.com": {
///         "jwks": { "cluster": "as", "url": "https://as.example.com/jwks" }, "algorithms": ["ES256"]
///     } },
///     "resource": "https://mcp.example.com/mcp",
///     "baseline": ["mcp:connect"],
///     "tools": { "get_issue": { "scope": "repo:read" } }
/// }"#;
/// let policy = Rc::new(Policy::load(policy.as_bytes(), &NoEnvironment).expect("a policy"));
/// let now = Millis(1_795_000_000_000);
/// let mut gate = Gate::new(policy, Box::new(PureRust), Box::new(Memory::default()), [7; 16], now);
///
/// let headers: &[(&[u8], &[u8])] =
///     &[(b":method", b"POST"), (b":path", b"/mcp"), (b":authority", b"mcp.example.com"), (b"content-type", b"application/json")];
/// let (server, source, peer) = (None, None, &None::<String>);
/// let head = RequestHead { headers, server, source, peer, token_removed: false, end_of_stream: false };
/// gate.handle(Input::Head { stream: StreamId(1), head }, now);
///
/// let mut status = None;
/// while let Some(effect) = gate.poll() {
///     match effect {
///         Effect::Reply { response, .. } => status = Some(response.status),
///         Effect::Continue { .. } => unreachable!("there was no token"),
///         // Calls, records, metrics, log lines and the next tick: what a real host performs.
///         _ => {}
///     }
/// }
/// assert_eq!(status, Some(401));
/// ```
pub struct Gate {
    policy: Rc<Policy>,
    signatures: Box<dyn Signatures>,
    shared: Box<dyn Shared>,
    keys: KeyRing,
    cache: Cache,
    streams: Streams,
    out: Outbox,
    calls: Calls,
    /// The elevated operations that have gone upstream.
    tails: BTreeMap<StreamId, Box<Tail>>,
    /// Calls with the caller's own token whose response is looked at.
    own: BTreeMap<StreamId, Box<Own>>,
    /// Lists on their way to a caller.
    lists: BTreeMap<StreamId, Box<OnItsWay>>,
    resting: Vec<Resting>,
    ledger: Ledger,
    rates: Rates,
    /// What came of the exchanges of each rule.
    history: History,
    /// Issuers that are being asked about tokens.
    questions: Questions,
    /// Answers whose token names a key that is being fetched.
    unproven: Vec<Unproven>,
    /// When the log was last told that the token service does not accept the filter.
    complained: Option<Millis>,
    ids: Ids,
    body_seen: bool,
    /// What of the changes of the keys the waiting flows have been told.
    keys_told: u64,
    wake: Option<Millis>,
    /// Another policy is in force.
    retired: bool,
}

impl Gate {
    /// A gate for one policy. `seed` is 16 random bytes: the ids of decisions and the spread of key fetches come
    /// from it.
    pub fn new(
        policy: Rc<Policy>,
        signatures: Box<dyn Signatures>,
        shared: Box<dyn Shared>,
        seed: [u8; 16],
        now: Millis,
    ) -> Gate {
        let [spread, ..] = seed;
        let ids = Ids::new(seed);
        let keys = KeyRing::new(&policy.issuers, spread, shared.as_ref(), now);
        let cache = Cache::new(ids.spread(), policy.limits.verified_cache);
        let mut gate = Gate {
            signatures,
            shared,
            keys,
            cache,
            streams: Streams::default(),
            out: Outbox::new(&policy),
            calls: Calls::default(),
            tails: BTreeMap::new(),
            own: BTreeMap::new(),
            lists: BTreeMap::new(),
            resting: Vec::new(),
            ledger: Ledger::new(policy.services.len(), ids.spread()),
            rates: Rates::default(),
            history: History::default(),
            questions: Questions::default(),
            unproven: Vec::new(),
            complained: None,
            ids,
            body_seen: false,
            keys_told: 0,
            wake: None,
            retired: false,
            policy,
        };
        gate.info(1);
        FAULTS.into_iter().for_each(|kind| gate.out.count(Metric::Fault { kind, count: 0 }));
        gate.announce();
        gate.schedule(now);
        gate
    }

    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Something happened.
    pub fn handle(&mut self, input: Input<'_>, now: Millis) {
        match input {
            Input::Head { stream, head } => {
                // A host that uses an id again has forgotten to say that the stream is gone.
                drop(self.streams.take(stream));
                self.finish(stream, OperationEnd::Incomplete, now);
                self.forget_response(stream);
                let mut turn = self.turn(now);
                turn.peer = Some(head.peer);
                let (flow, next) = Flow::begin(&head, &mut turn);
                self.proceed(stream, flow, next, now);
            }
            Input::BodyBegins => self.body_seen = true,
            Input::Body { stream, body } => {
                self.body_seen |= body != Err(BodyFault::Withheld) && body != Err(BodyFault::Undelivered);
                self.advance(stream, now, |flow, turn| flow.body(body, turn));
            }
            Input::ResponseHead { stream, head } => self.response_head(stream, &head, now),
            Input::ResponseChunk { stream, bytes, end_of_stream } => {
                self.response_chunk(stream, bytes, end_of_stream, now);
            }
            Input::ResponseBody { stream, body } => self.response_body(stream, body, now),
            Input::Gone { stream } => {
                self.forget_response(stream);
                self.finish(stream, OperationEnd::Incomplete, now);
                if let Some(flow) = self.streams.take(stream) {
                    self.out.decided(&flow.facts, Ending::Abandoned, Reason::ClientGone, now);
                }
            }
            Input::Reply { call, reply } => self.reply(call, &reply, now),
            Input::Tick => self.tick(now),
        }
        self.tell_keys(now);
        self.revoke(now);
        if self.retired {
            // There may be no other tick.
            self.out.tell_decisions();
        }
        self.schedule(now);
    }

    /// Would it matter that this stream is gone? Most have been decided, and nothing of them is left.
    pub fn knows(&self, stream: StreamId) -> bool {
        self.streams.contains(stream)
            || self.tails.contains_key(&stream)
            || self.own.contains_key(&stream)
            || self.lists.contains_key(&stream)
    }

    /// Bytes of the body of this request that are looked at: fewer where nobody has vouched for who sends it (P26), none of one that
    /// must not have a body (P29).
    pub fn body_limit(&self, stream: StreamId) -> usize {
        self.streams.body_limit(stream, &self.policy.limits)
    }

    /// What to do next; `None` when nothing is left.
    pub fn poll(&mut self) -> Option<Effect> {
        self.out.poll()
    }

    /// This gate is no longer in use. Says that its policy is not in force, unless a newer gate has the same one.
    pub fn retire(&mut self, now: Millis) {
        self.retired = true;
        self.out.tell_decisions();
        self.keys.release(self.shared.as_ref(), now);
        if !self.is_announced() {
            self.info(0);
        }
    }

    fn forget_response(&mut self, stream: StreamId) {
        self.own.remove(&stream);
        self.lists.remove(&stream);
    }

    fn turn(&mut self, now: Millis) -> Turn<'_> {
        Turn {
            policy: &self.policy,
            keys: &mut self.keys,
            cache: &mut self.cache,
            signatures: self.signatures.as_ref(),
            shared: self.shared.as_ref(),
            now,
            waiting: self.streams.waiting(),
            strangers: self.streams.strangers(),
            body_seen: self.body_seen,
            peer: None,
        }
    }

    fn advance(&mut self, stream: StreamId, now: Millis, step: impl FnOnce(&mut Flow, &mut Turn<'_>) -> Next) {
        // A stream we do not know has had its decision; what follows on it is the host's business.
        let Some(mut flow) = self.streams.take(stream) else { return };
        let next = step(&mut flow, &mut self.turn(now));
        self.proceed(stream, flow, next, now);
    }

    fn proceed(&mut self, stream: StreamId, mut flow: Box<Flow>, next: Next, now: Millis) {
        match next {
            Next::Wait => self.streams.keep(stream, flow),
            Next::ReadBody => {
                self.streams.keep(stream, flow);
                self.out.put(Effect::ReadBody { stream });
            }
            Next::WhyNoBody => {
                self.streams.keep(stream, flow);
                self.out.put(Effect::WhyNoBody { stream });
            }
            Next::Ask(issuer, token) => self.ask(stream, flow, issuer, token, now),
            Next::Elevate(elevation, request) => self.elevate(stream, flow, *elevation, request, now),
            Next::Permit(mut permit, suspended) => {
                let continues = self.follow(stream, &flow, now);
                if self.looks_at_response(stream, &flow) || continues {
                    permit.watch(continues);
                }
                permit.tell(std::mem::take(&mut flow.coordinates));
                let id = self.ids.decision();
                let mut settled = Settled::new(&id, Ending::Permit, Reason::Permitted);
                if let Some(suspended) = &suspended {
                    settled.reason = suspended.reason;
                    settled.suspend(suspended);
                }
                self.out.settle(stream, &flow.facts, &settled, now, Effect::Continue { stream, permit });
                self.expect_list(stream, *flow, id);
            }
            Next::Answer(response, reason, suspended) => {
                self.answer(stream, &flow, response, reason, suspended.as_ref(), now);
            }
            Next::Refuse(refusal) => self.refuse(stream, &flow, &refusal, now),
        }
    }

    fn tick(&mut self, now: Millis) {
        self.wake = None;
        self.out.tell_decisions();
        self.keys.look(self.shared.as_ref(), now);
        self.tell_keys(now);
        self.ledger.revocations.iter_mut().for_each(Revocations::tick);
        self.prove(now);
        self.age(now);
        for Fetch { issuer, lease, call } in self.keys.fetch_due(self.shared.as_ref(), now) {
            let patience = call.timeout;
            self.call(Purpose::Keys { issuer, lease }, call, patience, now);
        }
        if !self.retired {
            self.report(now);
        }
        for stream in self.streams.all() {
            self.advance(stream, now, |flow, turn| flow.tick(turn));
        }
    }

    /// Asks for the next tick, when it must come earlier than what was asked for.
    fn schedule(&mut self, now: Millis) {
        let busy = self.streams.waiting() > 0
            || self.streams.strangers() > 0
            || !self.unproven.is_empty()
            || !self.questions.is_empty()
            || self.keys.is_impatient();
        let at = now.plus(if busy { BUSY } else { IDLE });
        // What is due now was more than is tried in one callback, or was refused by the host a moment ago.
        let at = self.ledger.next_due().map_or(at, |due| due.max(now.plus(1)).min(at));
        let at = self.resting.iter().map(|rest| rest.until.max(now.plus(1))).min().map_or(at, |next| next.min(at));
        // When the next of those who wait for an exchange has waited long enough.
        let deadlines = self.calls.exchanges().map(|pending| pending.deadline).filter(|deadline| *deadline > now);
        let at = deadlines.min().map_or(at, |next| next.min(at));
        if self.wake.is_none_or(|wake| at < wake) {
            self.wake = Some(at);
            self.out.put(Effect::Wake { at });
        }
    }

    /// Is there nothing left that needs this gate: no request that may still be elevated, no exchange under way, no token
    /// to be revoked?
    pub fn is_idle(&self) -> bool {
        let has_exchanges = self.calls.exchanges().next().is_some();
        let are_over = self.tails.is_empty() && self.resting.is_empty() && self.unproven.is_empty();
        self.streams.is_empty() && !has_exchanges && are_over && self.ledger.is_idle()
    }
}
