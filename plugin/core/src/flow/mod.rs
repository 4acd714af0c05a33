//! One request on its way to a decision. A state is named after what it waits for; it is taken out while an input is
//! handled, and what is left behind refuses.

mod admit;
mod authenticate;
mod coordinates;
mod judge;

use crate::answer::{Refusal, ReplyTo};
use crate::audit::Facts;
use crate::decide::{Permit, Suspended};
use crate::http::{CallId, Head, Peer, RequestHead, Response, Unwanted};
use crate::jose::{Claims, Compact, Signatures};
use crate::json::Value;
use crate::keys::{KeyRing, Shared};
use crate::mcp::{Context, Id, Mirror};
use crate::obtain::Elevation;
use crate::policy::{Policy, Spot};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::time::Millis;
use crate::token::{Cache, CallerToken};
use crate::watch::{Listing, SessionOwner};
use authenticate::in_time;

/// What all flows of a VM share while one of them handles an input.
pub(crate) struct Turn<'g> {
    pub policy: &'g Policy,
    pub keys: &'g mut KeyRing,
    pub cache: &'g mut Cache,
    pub signatures: &'g dyn Signatures,
    pub shared: &'g dyn Shared,
    pub now: Millis,
    /// How many requests wait for keys.
    pub waiting: usize,
    /// How many without a token wait for their body.
    pub strangers: usize,
    /// Has the host ever delivered a body?
    pub body_seen: bool,
    /// P33: while a head is handled, who sent it.
    pub peer: Option<&'g dyn Peer>,
}

/// A request and how far it has come.
#[derive(Debug)]
pub(crate) struct Flow {
    pub facts: Facts,
    pub spot: Option<Spot>,
    pub unwanted: Unwanted,
    /// Of the caller, once it is known: a position in the policy's issuers.
    pub issuer: Option<usize>,
    /// The session that the request names.
    pub session: Option<String>,
    /// What it says of an operation that has begun before.
    pub follows: Option<Follows>,
    /// P16: the request may bring a list.
    pub listing: Option<Box<Listing>>,
    /// P35: whose sessions it may open, or continue.
    pub owner: SessionOwner,
    /// Of a revision that has sessions.
    pub has_sessions: bool,
    /// For filters behind this one, where the policy says so.
    pub coordinates: Vec<(&'static str, String)>,
    /// The id of the decision, where it was needed before there was one.
    pub decision: Option<String>,
    /// The caller's trace, for the calls that are made on its behalf.
    trace: Vec<(&'static str, Secret)>,
    source: Option<String>,
    /// P33: the SHA-256 of the peer's certificate, in hexadecimal digits, once it was asked for.
    certificate: Option<String>,
    last_event_id: Option<String>,
    /// Is it a GET?
    is_get: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Until the issuer's keys are there; `reason` says what is missing.
    AwaitKeys { claimed: Claimed, reason: Reason },
    /// Until the issuer has said what it thinks of the token (P23).
    AwaitOpinion(Claimed, usize),
    /// Until the body is complete. Without a mirror there must not be one.
    AwaitBody { caller: CallerToken, mirror: Option<Mirror>, deadline: Millis, asked_why: bool },
    /// The same of somebody without a token, who may be allowed what is asked (P26).
    AwaitStranger { mirror: Mirror, deadline: Millis },
    /// An input did not fit, or something ended early. Knows only how to refuse.
    Faulted,
    /// Until the token service has answered.
    AwaitElevation { call: CallId, request: ReplyTo, deadline: Millis },
}

/// A request about an operation of the same caller that has begun before (P30).
#[derive(Debug)]
pub(crate) struct Follows {
    pub issuer: String,
    pub subject: Option<String>,
    pub client: Option<String>,
    pub what: Following,
}

impl Follows {
    /// Of the same issuer and subject, and at that server; and without a session to tell them apart, of the same client: ids begin
    /// with 1 in each.
    pub(crate) fn is_of(&self, caller: &Claims, server: &str, flow: &Flow) -> bool {
        let is_same = flow.session.is_some() || caller.client_id == self.client;
        let is_there = flow.facts.server.as_deref() == Some(server);
        caller.issuer == self.issuer && caller.subject == self.subject && is_there && is_same
    }
}

#[derive(Debug)]
pub(crate) enum Following {
    /// GET with `Last-Event-ID`: a stream that paused goes on.
    Resumes(String),
    /// `notifications/cancelled` names it.
    Cancels(Id),
}

/// A request whose token has not been verified.
#[derive(Debug)]
struct Claimed {
    token: Compact,
    leg: Leg,
    body_arrived: bool,
    /// Keys are waited for until then.
    deadline: Millis,
}

impl Claimed {
    /// The head says so. While it waits the body comes, and the host's own answer to one that is too large is no JSON-RPC.
    fn is_too_large(&self) -> bool {
        matches!(self.leg, Leg::Message(Err(Reason::BodyTooLarge)))
    }

    /// The body has arrived, and of a stream its end.
    fn with_body(self) -> Claimed {
        let leg = match self.leg {
            Leg::Stream { .. } => Leg::Stream { has_ended: true },
            message => message,
        };
        Claimed { body_arrived: true, leg, ..self }
    }
}

/// Where an operation came from.
#[derive(Default)]
struct Origin<'a> {
    id: Option<Id>,
    modern: bool,
    session: Option<String>,
    /// The operation, as the token service is told.
    context: Option<Context>,
    is_task: bool,
    /// Is it `tools/call`?
    is_call: bool,
    /// What it is called with.
    arguments: Option<&'a Value<'a>>,
    meta: Option<&'a Value<'a>>,
}

/// What the head has already settled about the rest of the request.
#[derive(Debug)]
enum Leg {
    /// GET and DELETE of a legacy session: nothing follows but the end, which may have come.
    Stream { has_ended: bool },
    /// POST: a body follows, which these checks of the head already refuse, or which must agree with the mirror.
    Message(Result<Mirror, Reason>),
}

/// What a flow wants after an input: exactly one thing.
#[derive(Debug)]
pub(crate) enum Next {
    Wait,
    /// The body arrived while the request waited for something else.
    ReadBody,
    /// No body came in time, and it may be the host that keeps it back.
    WhyNoBody,
    /// The issuer at this position is to be asked about the token.
    Ask(usize, Compact),
    /// With what shadow mode suspended for it.
    Permit(Permit, Option<Suspended>),
    /// An exchange is needed; the flow waits for it once it knows the call.
    Elevate(Box<Elevation>, ReplyTo),
    Refuse(Refusal),
    /// With what shadow mode suspended for it.
    Answer(Response, Reason, Option<Suspended>),
}

impl From<Reason> for Next {
    fn from(reason: Reason) -> Next {
        Next::Refuse(reason.into())
    }
}

impl Flow {
    /// Everything that the head alone can settle, strangers above all: no body is read for them.
    pub(crate) fn begin(head: &RequestHead<'_>, turn: &mut Turn<'_>) -> (Box<Flow>, Next) {
        let mut flow = Box::new(Flow {
            facts: Facts::default(),
            spot: None,
            unwanted: Unwanted::default(),
            issuer: None,
            session: None,
            follows: None,
            listing: None,
            owner: None,
            has_sessions: false,
            coordinates: Vec::new(),
            decision: None,
            trace: Vec::new(),
            source: None,
            certificate: None,
            last_event_id: None,
            is_get: false,
            state: State::Faulted,
        });
        let next = match Head::read(head.headers) {
            Ok(read) => flow.admit(&read, head, turn).unwrap_or_else(Next::from),
            Err(reason) => reason.into(),
        };
        (flow, next)
    }

    /// The keys may have changed.
    pub(crate) fn keys_changed(&mut self, turn: &mut Turn<'_>) -> Next {
        match std::mem::replace(&mut self.state, State::Faulted) {
            State::AwaitKeys { claimed, .. } => self.authenticate(claimed, turn),
            other => {
                self.state = other;
                Next::Wait
            }
        }
    }

    /// Time has passed: what should have arrived by now is not waited for any longer.
    pub(crate) fn tick(&mut self, turn: &Turn<'_>) -> Next {
        match &mut self.state {
            State::AwaitKeys { claimed, reason } if turn.now >= claimed.deadline => in_time(*reason).into(),
            State::AwaitOpinion(claimed, _) if turn.now >= claimed.deadline => Reason::IntrospectionUnavailable.into(),
            State::AwaitBody { deadline, asked_why, .. } if turn.now >= *deadline => {
                // Without `allow_on_headers_stop_iteration` the host stops the body together with the headers. Anybody can keep
                // a body back, and must not be able to raise that alarm.
                match (turn.body_seen, std::mem::replace(asked_why, true)) {
                    (true, _) => Reason::BodyTimeout.into(),
                    (false, false) => Next::WhyNoBody,
                    // It does not say.
                    (false, true) => Reason::HostWithoutHeaderStop.into(),
                }
            }
            State::AwaitStranger { deadline, .. } if turn.now >= *deadline => Reason::TokenMissing.into(),
            State::AwaitElevation { request, deadline, .. } if turn.now >= *deadline => {
                Next::Refuse(Refusal::of(Reason::ElevationUnavailable, request))
            }
            _ => Next::Wait,
        }
    }

    /// The exchange has begun.
    pub(crate) fn await_elevation(&mut self, call: CallId, request: ReplyTo, deadline: Millis) {
        self.state = State::AwaitElevation { call, request, deadline };
    }

    /// The exchange has ended: is this the flow that waits for it?
    pub(crate) fn elevation_ended(&mut self, ended: CallId) -> Option<ReplyTo> {
        self.stop_waiting(|call, _| call == ended)
    }

    /// It waits for an exchange, and its client has called it off.
    pub(crate) fn called_off(&mut self, id: &Id, session: Option<&str>) -> Option<ReplyTo> {
        self.stop_waiting(|_, request| request.id.as_ref() == Some(id) && request.session.as_deref() == session)
    }

    fn stop_waiting(&mut self, is_it: impl FnOnce(CallId, &ReplyTo) -> bool) -> Option<ReplyTo> {
        match std::mem::replace(&mut self.state, State::Faulted) {
            State::AwaitElevation { call, request, .. } if is_it(call, &request) => Some(request),
            other => {
                self.state = other;
                None
            }
        }
    }

    /// Does it wait for what this issuer says of this token?
    pub(crate) fn asks(&self, issuer: usize, token: &Compact) -> bool {
        matches!(&self.state, State::AwaitOpinion(claimed, asked) if *asked == issuer && claimed.token == *token)
    }

    pub(crate) fn is_stranger(&self) -> bool {
        matches!(self.state, State::AwaitStranger { .. })
    }

    pub(crate) fn awaits_keys(&self) -> bool {
        matches!(self.state, State::AwaitKeys { .. })
    }

    /// P29: of a GET or DELETE, the first byte is one too many.
    pub(crate) fn is_bodiless(&self) -> bool {
        match &self.state {
            State::AwaitKeys { claimed, .. } | State::AwaitOpinion(claimed, _) => {
                matches!(claimed.leg, Leg::Stream { .. })
            }
            State::AwaitBody { mirror, .. } => mirror.is_none(),
            State::AwaitStranger { .. } | State::Faulted | State::AwaitElevation { .. } => false,
        }
    }
}
