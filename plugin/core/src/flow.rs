//! One request on its way to a decision. A state is named after what it waits for; it is taken out while an input is
//! handled, and what is left behind refuses.

use std::rc::Rc;

use crate::answer::{self, Refusal, ReplyTo};
use crate::audit::{Caller, Facts};
use crate::decide::{self, Asker, Permit, Shortfall, Suspended, Verdict};
use crate::effect::BodyFault;
use crate::http::{CallId, Head, Method, RequestHead, Response};
use crate::jose::{Compact, Signatures};
use crate::keys::{Fresh, KeyRing, Shared};
use crate::mcp::{self, Frame, Id, Mirror, NoFrame, Operation};
use crate::obtain::Elevation;
use crate::policy::{Policy, Server};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::text::field;
use crate::time::Millis;
use crate::token::{Cache, CallerToken, Rejection, Verifier};

/// More requests do not wait for keys at the same time; they are refused at once.
const MAX_WAITING: usize = 256;
/// The same, while there are keys and only the one a token names is missing.
const MAX_WAITING_FOR_NEW_KEYS: usize = 32;

/// What all flows of a VM share while one of them handles an input.
pub(crate) struct World<'g> {
    pub policy: &'g Policy,
    pub keys: &'g mut KeyRing,
    pub cache: &'g mut Cache,
    pub signatures: &'g dyn Signatures,
    pub shared: &'g dyn Shared,
    pub now: Millis,
    /// How many requests wait for keys.
    pub waiting: usize,
    /// Has the host ever delivered a body?
    pub body_seen: bool,
}

/// A request and how far it has come.
#[derive(Debug)]
pub(crate) struct Flow {
    pub facts: Facts,
    pub server: Option<usize>,
    pub unwanted: Vec<String>,
    /// The id of the decision, where it was needed before there was one.
    pub decision: Option<String>,
    /// The caller's trace, for the calls that are made on its behalf.
    trace: Vec<(&'static str, Secret)>,
    source: Option<String>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Until the issuer's keys are there; `reason` says what is missing.
    AwaitKeys { claimed: Claimed, reason: Reason },
    /// Until the body is complete.
    AwaitBody { caller: CallerToken, mirror: Mirror, deadline: Millis },
    /// An input did not fit, or something ended early. Knows only how to refuse.
    Faulted,
    /// Until the token service has answered.
    AwaitElevation { call: CallId, request: ReplyTo, deadline: Millis },
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

/// Where an operation came from.
#[derive(Default)]
struct Origin {
    id: Option<Id>,
    modern: bool,
    /// The operation, as the token service is told.
    context: Option<String>,
    is_task: bool,
}

/// What the head has already settled about the rest of the request.
#[derive(Debug)]
enum Leg {
    /// GET and DELETE of a legacy session: nothing follows.
    Stream,
    /// POST: a body follows, which these checks of the head already refuse, or which must agree with the mirror.
    Message(Result<Mirror, Reason>),
}

/// What a flow wants after an input: exactly one thing.
#[derive(Debug)]
pub(crate) enum Next {
    Wait,
    /// The body arrived while the request waited for something else.
    ReadBody,
    /// With what shadow mode suspended for it.
    Permit(Permit, Option<Suspended>),
    /// An exchange is needed; the flow waits for it once it knows the call.
    Elevate(Box<Elevation>, ReplyTo),
    Refuse(Refusal),
    Answer(Response, Reason),
}

impl From<Reason> for Next {
    fn from(reason: Reason) -> Next {
        Next::Refuse(reason.into())
    }
}

impl Flow {
    /// Everything that the head alone can settle, strangers above all: no body is read for them.
    pub(crate) fn begin(head: &RequestHead<'_>, world: &mut World<'_>) -> (Box<Flow>, Next) {
        let mut flow = Box::new(Flow {
            facts: Facts::default(),
            server: None,
            unwanted: Vec::new(),
            decision: None,
            trace: Vec::new(),
            source: None,
            state: State::Faulted,
        });
        let next = match Head::read(head.headers) {
            Ok(read) => flow.admit(&read, head, world).unwrap_or_else(Next::from),
            Err(reason) => reason.into(),
        };
        (flow, next)
    }

    fn admit(&mut self, head: &Head<'_>, host: &RequestHead<'_>, world: &mut World<'_>) -> Result<Next, Reason> {
        self.facts.claimed_request_id = head.request_id.map(field);
        let policy = world.policy;
        if matches!(head.method, Method::Get | Method::Head)
            && let Some(server) = policy.select_metadata(host.server, head.authority, head.path)
        {
            self.facts.server = Some(Rc::clone(&server.name));
            return Ok(Next::Answer(answer::metadata(server, head.method == Method::Head), Reason::Metadata));
        }
        let at = policy.select_server(host.server, head.authority, head.path)?;
        let server = policy.server_at(at).ok_or(Reason::Internal)?;
        self.server = Some(at);
        self.facts.server = Some(Rc::clone(&server.name));
        self.facts.protocol = head.protocol_version.map(field);
        if head.upgrade {
            return Err(Reason::UpgradeNotAllowed);
        }
        if head.method_override {
            return Err(Reason::MethodOverride);
        }
        if head.path_override {
            return Err(Reason::PathOverride);
        }
        let mirror = Mirror {
            version: head.protocol_version.map(str::to_owned),
            method: head.mcp_method.map(str::to_owned),
            name: head.mcp_name.map(str::to_owned),
            session: head.session,
        };
        let leg = match head.method {
            Method::Post => Leg::Message(match message_fault(head, world.policy.limits.request_body) {
                Some(reason) => Err(reason),
                None if host.end_of_stream => Err(Reason::JsonSyntax),
                None => Ok(mirror),
            }),
            // MCP 2026-07-28 has neither.
            Method::Get | Method::Delete if mirror.is_modern() => return Err(Reason::MethodNotAllowed),
            Method::Get | Method::Delete if head.has_body(host.end_of_stream) => return Err(Reason::BodyNotAllowed),
            // They name an operation, and there is no body it could agree with.
            Method::Get | Method::Delete if mirror.method.is_some() || mirror.name.is_some() => {
                return Err(Reason::HeaderMismatch);
            }
            Method::Get | Method::Delete if !mirror.has_known_version() => return Err(Reason::ProtocolVersion),
            Method::Get | Method::Delete => Leg::Stream,
            Method::Head | Method::Other => return Err(Reason::MethodNotAllowed),
        };
        if head.has_token_in_query() {
            return Err(Reason::TokenInQuery);
        }
        // MCP, transports: a foreign Origin is refused on every connection.
        if head.origin.is_some_and(|origin| !server.origins.iter().any(|allowed| allowed == origin)) {
            return Err(Reason::OriginNotAllowed);
        }
        self.source = host.source.map(str::to_owned);
        let trace = [("traceparent", head.traceparent()), ("x-request-id", head.request_id())];
        self.trace = trace.into_iter().filter_map(|(name, value)| Some((name, Secret::new(value?)))).collect();
        self.unwanted = head.unwanted.iter().map(|name| (*name).to_owned()).collect();
        // One that was verified before has the form of a token.
        let token = match world.cache.known(head.presented()?) {
            Some(token) => token,
            None => Compact::new(head.bearer()?),
        };
        self.facts.caller = Caller::Stranger(token.clone());
        let deadline = world.now.plus_seconds(world.policy.limits.keys_wait);
        Ok(self.authenticate(Claimed { token, leg, body_arrived: false, deadline }, world))
    }

    /// The keys may have changed.
    pub(crate) fn keys_changed(&mut self, world: &mut World<'_>) -> Next {
        match std::mem::replace(&mut self.state, State::Faulted) {
            State::AwaitKeys { claimed, .. } => self.authenticate(claimed, world),
            other => {
                self.state = other;
                Next::Wait
            }
        }
    }

    fn authenticate(&mut self, claimed: Claimed, world: &mut World<'_>) -> Next {
        let Some(server) = self.server.and_then(|at| world.policy.server_at(at)) else {
            return Reason::Internal.into();
        };
        let mut verified = world.verify(&claimed.token, server);
        if matches!(verified, Err(Rejection::Keys { .. })) {
            let before = world.keys.changes();
            world.keys.look(world.shared, world.now);
            if world.keys.changes() != before {
                verified = world.verify(&claimed.token, server);
            }
        }
        match verified {
            Ok(caller) => self.authenticated(caller, claimed, server, world),
            Err(Rejection::Final(reason)) => reason.into(),
            Err(Rejection::Keys { issuer, reason }) => {
                let unknown = match reason {
                    Reason::KeyUnknown => {
                        claimed.token.read().ok().map(|token| token.key_id().unwrap_or_default().to_owned())
                    }
                    _ => None,
                };
                let fresh = world.keys.want(issuer, unknown.as_deref(), world.shared, world.now);
                // At the start everybody waits. Later it is strangers who name unknown keys, as a rule: a few may wait.
                let (coming, most) = match reason {
                    Reason::KeysUnavailable => (true, MAX_WAITING),
                    _ => (fresh == Fresh::Coming, MAX_WAITING_FOR_NEW_KEYS),
                };
                // The issuer may have the key by now, and nobody has asked it: not a reason to log in again.
                if fresh == Fresh::NotYet {
                    return Reason::KeysUnavailable.into();
                }
                if !coming {
                    return reason.into();
                }
                if world.now >= claimed.deadline {
                    return in_time(reason).into();
                }
                if world.waiting >= most {
                    // Fresh keys may be on their way, and would accept it: not a reason to log in again.
                    return Reason::KeysUnavailable.into();
                }
                self.state = State::AwaitKeys { claimed, reason };
                Next::Wait
            }
        }
    }

    fn authenticated(&mut self, caller: CallerToken, claimed: Claimed, server: &Server, world: &World<'_>) -> Next {
        let claims = caller.claims();
        self.facts.caller = Caller::Verified(caller.record());
        let most = world.policy.issuer(&claims.issuer).and_then(|(_, issuer)| issuer.max_lifetime);
        if most.is_some_and(|most| claims.lifetime() > most) {
            return Reason::TokenTooLongLived.into();
        }
        // One of our own, come back through the front door: from a server, its logs, or a tool that echoes.
        let service = world.policy.token_service.as_ref();
        if service.is_some_and(|service| claims.names_client(&service.client.id)) {
            return Reason::OwnTokenPresented.into();
        }
        match claimed.leg {
            Leg::Stream => self.decide(&caller, &Operation::Baseline, server, Origin::default(), world),
            Leg::Message(Err(reason)) => reason.into(),
            Leg::Message(Ok(mirror)) => {
                let deadline = world.now.plus_seconds(world.policy.limits.body_wait);
                self.state = State::AwaitBody { caller, mirror, deadline };
                if claimed.body_arrived { Next::ReadBody } else { Next::Wait }
            }
        }
    }

    /// The body is complete, or will never be.
    pub(crate) fn body(&mut self, body: Result<&[u8], BodyFault>, world: &World<'_>) -> Next {
        let body = match body {
            Err(BodyFault::Unreadable) => return Reason::BodyUnreadable.into(),
            Err(BodyFault::TooLarge) => return Reason::BodyTooLarge.into(),
            Ok(body) if body.len() > world.policy.limits.request_body => return Reason::BodyTooLarge.into(),
            Ok(body) => body,
        };
        match std::mem::replace(&mut self.state, State::Faulted) {
            State::AwaitBody { caller, mirror, .. } => self.judge(&caller, &mirror, body, world),
            State::AwaitKeys { claimed, reason } if !claimed.body_arrived => {
                self.state = State::AwaitKeys { claimed: Claimed { body_arrived: true, ..claimed }, reason };
                Next::Wait
            }
            State::AwaitKeys { .. } | State::AwaitElevation { .. } | State::Faulted => Reason::Internal.into(),
        }
    }

    fn judge(&mut self, caller: &CallerToken, mirror: &Mirror, body: &[u8], world: &World<'_>) -> Next {
        let Some(server) = self.server.and_then(|at| world.policy.server_at(at)) else {
            return Reason::Internal.into();
        };
        // The body may have taken its time.
        if !caller.is_valid_at(world.now) {
            return Reason::TokenExpired.into();
        }
        let modern = mirror.is_modern();
        let frame = match Frame::read(body) {
            Ok(frame) => frame,
            Err(NoFrame { reason, id }) => return Next::Refuse(Refusal { id, modern, ..reason.into() }),
        };
        if !frame.method.is_empty() {
            self.facts.method = Some(field(&frame.method));
        }
        let param = |name| frame.param(name).ok().flatten();
        self.facts.name = param("name").or_else(|| param("uri")).map(field);
        let operation = match mcp::operation(&frame, mirror) {
            Ok(operation) => operation,
            Err(reason) => return Next::Refuse(Refusal { id: frame.request_id(), modern, ..reason.into() }),
        };
        let told = world.policy.token_service.as_ref().is_some_and(|service| service.context);
        let context = told.then(|| frame.context(body, caller.claims().client_id.as_deref()));
        let origin = Origin { id: frame.request_id(), modern, context, is_task: frame.is_task() };
        self.decide(caller, &operation, server, origin, world)
    }

    fn decide(
        &mut self,
        caller: &CallerToken,
        operation: &Operation<'_>,
        server: &Server,
        Origin { id, modern, context, is_task }: Origin,
        world: &World<'_>,
    ) -> Next {
        let asker = Asker {
            caller,
            source: self.source.as_deref(),
            context: context.as_deref(),
            is_task,
            trace: &self.trace,
            unwanted: &self.unwanted,
        };
        let decision = decide::decide(world.policy, server, &asker, operation, world.now);
        self.facts.rule = decision.rule.map(|rule| field(&rule.pattern));
        match decision.verdict {
            Verdict::Permit(permit) => Next::Permit(permit, decision.suspended),
            Verdict::Drop => Next::Answer(answer::accepted(), Reason::Dropped),
            Verdict::Obtain(mut elevation) => {
                let fallback = elevation.fallback.take();
                Next::Elevate(elevation, ReplyTo { id, modern, fallback })
            }
            Verdict::Refuse(Shortfall { reason, missing, challenge }) => {
                Next::Refuse(Refusal { reason, id, challenge, missing, modern })
            }
        }
    }

    /// Trailers would reach the upstream unjudged.
    pub(crate) fn trailers(&mut self) -> Next {
        self.state = State::Faulted;
        Reason::TrailersNotAllowed.into()
    }

    /// Time has passed: what should have arrived by now is not waited for any longer.
    pub(crate) fn tick(&mut self, world: &World<'_>) -> Next {
        match &self.state {
            State::AwaitKeys { claimed, reason } if world.now >= claimed.deadline => in_time(*reason).into(),
            State::AwaitBody { deadline, .. } if world.now >= *deadline => {
                // Without `allow_on_headers_stop_iteration` the host stops the body together with the headers.
                let reason = if world.body_seen { Reason::BodyTimeout } else { Reason::HostWithoutHeaderStop };
                reason.into()
            }
            State::AwaitElevation { request, deadline, .. } if world.now >= *deadline => {
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
        match std::mem::replace(&mut self.state, State::Faulted) {
            State::AwaitElevation { call, request, .. } if call == ended => Some(request),
            other => {
                self.state = other;
                None
            }
        }
    }

    pub(crate) fn awaits_keys(&self) -> bool {
        matches!(self.state, State::AwaitKeys { .. })
    }
}

impl World<'_> {
    fn verify(&mut self, token: &Compact, server: &Server) -> Result<CallerToken, Rejection> {
        let verifier = Verifier { policy: self.policy, keys: self.keys, signatures: self.signatures, now: self.now };
        verifier.verify(token, server, self.cache)
    }
}

/// The reason when fresh keys did not come in time: whoever has a key that nobody could fetch has a good token, perhaps.
fn in_time(missing: Reason) -> Reason {
    if missing == Reason::KeyUnknown { Reason::KeysUnavailable } else { missing }
}

/// What the head says about a body that will not be accepted.
fn message_fault(head: &Head<'_>, limit: usize) -> Option<Reason> {
    if !head.is_json() {
        return Some(Reason::ContentType);
    }
    if head.content_encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Some(Reason::ContentEncoding);
    }
    match head.content_length() {
        Some(Err(reason)) => Some(reason),
        Some(Ok(length)) if length > limit as u64 => Some(Reason::BodyTooLarge),
        _ => None,
    }
}
