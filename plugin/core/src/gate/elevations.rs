//! The gate's part in elevations: begin, take over the token or take it back, watch the response, revoke.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use super::{Gate, Settled};
use crate::answer::{self, Refusal, ReplyTo};
use crate::audit::Elevated;
use crate::decide::Permit;
use crate::effect::Effect;
use crate::ends::Ending;
use crate::flow::Flow;
use crate::http::{CallFault, CallId, Reply, StreamId};
use crate::jose::Compact;
use crate::metrics::Metric;
use crate::obtain::{Answer, Elevation, Party, Pending, Revocation, RevocationEnd, Revocations, Stamp};
use crate::policy::Limits;
use crate::reason::Reason;
use crate::secret::Secret;
use crate::text::field;
use crate::time::Millis;
use crate::token::ElevatedToken;
use crate::watch::{OperationEnd, Tail};

/// Everything that lives longer than the request it was for.
pub(super) struct Elevations {
    pending: BTreeMap<CallId, Pending>,
    tails: BTreeMap<StreamId, Tail>,
    pub revocations: Revocations,
    rates: Rates,
    /// Every token that the token service has given, by digest, until it is dead: a token is for one operation (P12), also
    /// where the token service gives the same one twice.
    known: HashMap<[u8; 32], Millis>,
    /// When the log was last told that the token service does not accept the filter.
    complained: Option<Millis>,
}

/// Tokens that are not dead yet, at most: beyond it nothing is exchanged. More than a worker can exchange in a minute, so only a
/// long `ttl` can let it come to that.
const MOST_KNOWN: usize = 100_000;
/// Exchanges that the client no longer waits for may be so many times those that one waits for.
const LATE_FACTOR: usize = 16;

impl Elevations {
    /// `spread` is random.
    pub(super) fn new(spread: u64) -> Elevations {
        Elevations {
            pending: BTreeMap::new(),
            tails: BTreeMap::new(),
            revocations: Revocations::new(spread),
            rates: Rates::default(),
            known: HashMap::new(),
            complained: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.tails.is_empty() && self.revocations.is_empty()
    }

    /// Is the response of this stream watched?
    pub(super) fn watches(&self, stream: StreamId) -> bool {
        self.tails.contains_key(&stream)
    }

    /// When the next of those who still wait has waited long enough.
    pub(super) fn next_deadline(&self, now: Millis) -> Option<Millis> {
        self.pending.values().map(|pending| pending.deadline).filter(|deadline| *deadline > now).min()
    }

    /// May another exchange begin? Those under way count until the client is told that it takes too long, whether it waits
    /// or has left; what comes later only has to be taken back.
    fn has_room(&mut self, caller: &Party, limits: &Limits, now: Millis) -> bool {
        let waiting = || self.pending.values().filter(|pending| pending.deadline > now);
        let of_caller = waiting().filter(|pending| pending.elevation.party == *caller).count();
        waiting().count() < limits.exchanges
            && of_caller < limits.exchanges_per_caller
            && self.pending.len() < limits.exchanges.saturating_mul(LATE_FACTOR)
            && self.known.len().max(self.revocations.len()) < MOST_KNOWN
            && self.rates.admit(caller, limits.exchange_rate, now)
    }

    /// Remembers a token until it is dead. False when it is known already.
    fn meet(&mut self, digest: [u8; 32], expires: Millis) -> bool {
        self.known.insert(digest, expires).is_none()
    }

    /// Is it for somebody else to take this token back: its operation is under way, or has just ended?
    fn is_in_use(&self, token: &Secret) -> bool {
        self.tails.values().any(|tail| tail.token.text() == token) || self.revocations.contains(token)
    }
}

/// Exchanges begun in this minute, for each caller, whichever of its tokens it uses.
#[derive(Default)]
struct Rates {
    minute: u64,
    /// `None` counts all that have no place of their own.
    begun: HashMap<Option<Party>, usize>,
}

impl Rates {
    /// More callers than this in a minute are counted together.
    const MOST: usize = 10_000;

    fn admit(&mut self, caller: &Party, most: usize, now: Millis) -> bool {
        let minute = now.0 / 60_000;
        if self.minute != minute {
            *self = Rates { minute, begun: HashMap::new() };
        }
        let own = Some(caller.clone());
        let has_own = self.begun.len() < Self::MOST || self.begun.contains_key(&own);
        let key = if has_own { own } else { None };
        let begun = self.begun.entry(key).or_default();
        *begun += 1;
        *begun <= most
    }
}

/// A call that nobody answers is forgotten this long after the host should have given it up.
const GRACE: u64 = 5_000;

impl Gate {
    /// Everything else has been checked: the caller, what it holds, who may be elevated.
    pub(super) fn elevate(
        &mut self,
        stream: StreamId,
        mut flow: Box<Flow>,
        elevation: Elevation,
        request: ReplyTo,
        now: Millis,
    ) {
        let policy = Rc::clone(&self.policy);
        let Some(service) = &policy.token_service else {
            return self.refuse(stream, &flow, &Refusal::of(Reason::Internal, &request), now);
        };
        if !self.elevations.has_room(&elevation.party, &policy.limits, now) {
            return self.refuse(stream, &flow, &Refusal::of(Reason::ElevationRate, &request), now);
        }
        let (id, decision) = (self.ids.call(), self.ids.decision());
        let stamp = Stamp { unique: &decision, now };
        self.out.calls([(id, elevation.call(service, &stamp))]);
        let deadline = now.plus_seconds(service.timeout.min(policy.limits.elevation_wait));
        flow.await_elevation(id, request, deadline);
        flow.decision = Some(decision.clone());
        let server = flow.facts.server.clone().unwrap_or_default();
        self.elevations.pending.insert(id, Pending { elevation, stream, server, decision, begun: now, deadline });
        self.streams.keep(stream, flow);
    }

    /// An answer of the token service. False when the call was not one of ours.
    pub(super) fn elevation_reply(&mut self, call: CallId, reply: &Result<Reply<'_>, CallFault>, now: Millis) -> bool {
        let Some(pending) = self.elevations.pending.remove(&call) else { return false };
        let answer = pending.elevation.answer(reply, &self.policy, &self.keys, self.signatures.as_ref(), now);
        let waiting = self.streams.take(pending.stream).and_then(|mut flow| match flow.elevation_ended(call) {
            Some(request) => Some((flow, request)),
            None => {
                self.streams.keep(pending.stream, flow);
                None
            }
        });
        let server = Rc::clone(&pending.server);
        let outcome = match (&waiting, &answer) {
            (Some(_), Answer::Elevated(_)) => "granted",
            (None, Answer::Elevated(_)) => "late",
            (None, Answer::Refused { minted, .. }) if !minted.is_empty() => "late",
            // Unreadable, and nobody knows what it held.
            (_, Answer::Refused { lost: true, .. }) => "lost",
            // Envoy answers 504 in the token service's name, and nobody knows what that had minted.
            (None, Answer::Refused { reason: Reason::ElevationUnavailable, .. }) => "lost",
            (_, Answer::Refused { reason, .. }) => reason.name(),
        };
        self.out.count(Metric::Exchange { server: Rc::clone(&server), outcome });
        let millis = now.0.saturating_sub(pending.begun.0);
        self.out.count(Metric::ExchangeTime { server, millis });
        let is_known = match &answer {
            Answer::Elevated(token) => !self.elevations.meet(*token.digest(), expiry(token.expires_at())),
            Answer::Refused { .. } => false,
        };
        match (waiting, answer) {
            (Some((flow, request)), Answer::Elevated(token)) if is_known => {
                self.take_back_elevated(&pending, &token, now);
                self.refuse(pending.stream, &flow, &Refusal::of(Reason::ElevatedTokenNotOurs, &request), now);
            }
            (Some((flow, request)), Answer::Elevated(token)) => self.elevated(pending, flow, request, token, now),
            (Some((flow, request)), Answer::Refused { reason, minted, .. }) => {
                self.take_back_all(&pending, minted, now);
                match reason {
                    Reason::SubjectTokenRejected => {
                        self.cache.condemn(&pending.elevation.subject, &pending.elevation.claims)
                    }
                    // Signed with a key that is new to us, perhaps.
                    Reason::ElevatedSignature => self.want_keys_of_service(now),
                    Reason::FilterNotAccepted => self.complain(now),
                    _ => {}
                }
                self.refuse(pending.stream, &flow, &Refusal::of(reason, &request), now);
            }
            // The client was answered, or is gone: nobody will use what came.
            (None, Answer::Elevated(token)) => self.take_back_elevated(&pending, &token, now),
            (None, Answer::Refused { minted, .. }) => self.take_back_all(&pending, minted, now),
        }
        true
    }

    /// One line a minute, however many calls fail for it.
    fn complain(&mut self, now: Millis) {
        if self.elevations.complained.is_some_and(|last| now < last.plus_seconds(60)) {
            return;
        }
        self.elevations.complained = Some(now);
        let line = "the token service does not accept this filter: look at its client and credential, and at \
                    `token_service.token`";
        self.out.warn(line.to_owned());
    }

    fn want_keys_of_service(&mut self, now: Millis) {
        if let Some(service) = &self.policy.token_service {
            self.keys.want(service.issuer, None, self.shared.as_ref(), now);
        }
    }

    fn elevated(&mut self, pending: Pending, mut flow: Box<Flow>, request: ReplyTo, token: ElevatedToken, now: Millis) {
        let (stream, exchange) = (pending.stream, &pending.elevation.exchange);
        // The caller's token may have expired while the token service was thinking.
        let issuer = self.policy.issuer(&pending.elevation.claims.issuer).map(|(_, issuer)| issuer);
        if issuer.is_none_or(|issuer| now.seconds() >= pending.elevation.claims.valid_until(issuer)) {
            self.take_back_elevated(&pending, &token, now);
            return self.refuse(stream, &flow, &Refusal::of(Reason::TokenExpired, &request), now);
        }
        flow.facts.elevated = Some(Elevated {
            audience: field(&exchange.audience),
            scopes: exchange.granted.iter().map(|scope| Rc::clone(&scope.name)).collect(),
            token: crate::text::hex(token.digest(), 8),
            token_id: token.token_id().map(field),
            expires_in: token.expires_at().saturating_sub(now.seconds()),
            took: now.0.saturating_sub(pending.begun.0),
        });
        let permit = Permit::of_elevated(&token, &flow.unwanted);
        let settled = Settled::new(&pending.decision, Ending::Permit, Reason::Elevated);
        self.out.settle(stream, &flow.facts, &settled, now, Effect::Continue { stream, permit });
        let until = expiry(token.expires_at()).min(now.plus_seconds(exchange.ttl));
        let Pending { elevation, decision, .. } = pending;
        let tail = Tail::new(token, request.id, request.modern, decision, elevation.trace, now, until);
        self.elevations.tails.insert(stream, tail);
    }

    /// Headers of a response that is watched.
    pub(super) fn response_head(
        &mut self,
        stream: StreamId,
        status: u16,
        content_type: Option<&str>,
        end_of_stream: bool,
        now: Millis,
    ) {
        let Some(tail) = self.elevations.tails.get_mut(&stream) else { return };
        if status == 401 {
            let (id, request) = (tail.decision.clone(), tail.request());
            self.finish(stream, OperationEnd::Completed, now);
            // Its challenge would send the client to log in for a token it never had.
            let response = answer::refusal(&Refusal::of(Reason::UpstreamRefusedToken, &request), None, None, &id);
            self.out.warn(format!("{id}: the upstream refused the elevated token"));
            self.out.put(Effect::Reply { stream, response });
        } else if let Some(end) = tail.head(content_type, end_of_stream) {
            self.finish(stream, end, now);
        }
    }

    /// A piece of such a response.
    pub(super) fn response_chunk(&mut self, stream: StreamId, bytes: &[u8], end_of_stream: bool, now: Millis) {
        let end = self.elevations.tails.get_mut(&stream).and_then(|tail| tail.chunk(bytes, end_of_stream));
        if let Some(end) = end {
            self.finish(stream, end, now);
        }
    }

    /// The operation is over, and so is its token.
    pub(super) fn finish(&mut self, stream: StreamId, end: OperationEnd, now: Millis) {
        let Some(tail) = self.elevations.tails.remove(&stream) else { return };
        let linger = self.policy.token_service.as_ref().map_or(0, |service| service.linger);
        let linger = if end == OperationEnd::Incomplete && tail.may_linger() { linger } else { 0 };
        let millis = now.0.saturating_sub(tail.forwarded.0);
        self.out.debug(format!("{}: {} after {millis} ms", tail.decision, end.name()));
        let revocation = Revocation {
            token: tail.token.text().clone(),
            hint: "access_token",
            expires: Some(expiry(tail.token.expires_at())),
            due: now.plus_seconds(linger).min(tail.until.max(now)),
            decision: tail.decision,
            trace: tail.trace,
        };
        self.elevations.revocations.add(revocation, now);
    }

    /// What was minted and is not used is revoked at once.
    fn take_back_all(&mut self, pending: &Pending, minted: Vec<(Secret, &'static str)>, now: Millis) {
        let remembered = now.plus_seconds(self.policy.limits.max_ttl.max(300));
        for (token, hint) in minted {
            let compact = Compact::new(token.reveal());
            self.elevations.meet(*compact.digest(), remembered);
            // Not believed, its `exp` neither: it can only make the attempts go on for longer.
            let expires = compact.read().ok().map(|token| expiry(token.claims().expires_at).max(remembered));
            self.take_back(pending, token, hint, expires, now);
        }
    }

    /// The same, of a token whose `exp` can be believed.
    fn take_back_elevated(&mut self, pending: &Pending, token: &ElevatedToken, now: Millis) {
        self.take_back(pending, token.text().clone(), "access_token", Some(expiry(token.expires_at())), now);
    }

    fn take_back(
        &mut self,
        pending: &Pending,
        token: Secret,
        hint: &'static str,
        expires: Option<Millis>,
        now: Millis,
    ) {
        if self.elevations.is_in_use(&token) {
            return;
        }
        let (decision, trace) = (pending.decision.clone(), pending.elevation.trace.clone());
        self.elevations.revocations.add(Revocation { token, hint, expires, due: now, decision, trace }, now);
    }

    /// An answer to a revocation. False when the call was not one of ours.
    pub(super) fn revocation_reply(&mut self, call: CallId, reply: &Result<Reply<'_>, CallFault>, now: Millis) -> bool {
        let Some(ended) = self.elevations.revocations.reply(call, reply, now) else { return false };
        if let Some((revocation, end)) = ended {
            self.revocation_ended(&revocation, end);
        }
        true
    }

    fn revocation_ended(&mut self, revocation: &Revocation, end: RevocationEnd) {
        let line = format!("{}: {}", revocation.decision, end.name());
        match end {
            RevocationEnd::Revoked => self.out.debug(line),
            _ => self.out.warn(line),
        }
        self.out.count(Metric::Revocation { outcome: end.name() });
    }

    /// Makes the revocation calls that are due.
    pub(super) fn revoke(&mut self, now: Millis) {
        // Asked after every input: most of the time there is nothing.
        if self.elevations.revocations.next_due().is_none_or(|due| due > now) {
            return;
        }
        let policy = Rc::clone(&self.policy);
        let Some(service) = &policy.token_service else { return };
        let ids = &mut self.ids;
        let due = self.elevations.revocations.calls_due(service, now, || (ids.call(), ids.decision()));
        self.out.calls(due);
    }

    /// Time has passed: tokens have died, and calls that nobody answers are given up.
    pub(super) fn age_elevations(&mut self, now: Millis) {
        let dead = |tail: &Tail| tail.until <= now;
        let ended: Vec<StreamId> =
            self.elevations.tails.iter().filter(|(_, tail)| dead(tail)).map(|(stream, _)| *stream).collect();
        for stream in ended {
            self.finish(stream, OperationEnd::Incomplete, now);
        }
        self.elevations.known.retain(|_, expires| *expires > now);
        for (revocation, end) in self.elevations.revocations.over(now) {
            self.revocation_ended(&revocation, end);
        }
        let Some(service) = &self.policy.token_service else { return };
        let patience = service.timeout.saturating_add(service.late).saturating_mul(1000).saturating_add(GRACE);
        let lost = |pending: &Pending| pending.begun.plus(patience) <= now;
        for pending in self.elevations.pending.extract_if(.., |_, pending| lost(pending)) {
            let server = pending.1.server;
            self.out.count(Metric::Exchange { server, outcome: "lost" });
        }
    }
}

fn expiry(seconds: i64) -> Millis {
    Millis(0).plus_seconds(u64::try_from(seconds).unwrap_or(0))
}
