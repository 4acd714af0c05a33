//! An exchange: begun, answered, and what comes of its token.

use std::rc::Rc;

use super::calls::Purpose;
use super::{Gate, Settled};
use crate::answer::{Refusal, ReplyTo};
use crate::audit::Elevated;
use crate::decide::Permit;
use crate::effect::Effect;
use crate::ends::{Ending, ExchangeEnd};
use crate::flow::Flow;
use crate::http::{CallFault, CallId, Reply, StreamId};
use crate::metrics::Metric;
use crate::obtain::{Answer, Elevation, Pending, Stamp, expiry};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::text::field;
use crate::time::Millis;
use crate::token::ElevatedToken;
use crate::watch::Tail;

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
        let has_room = !self.ledger.is_full()
            && self.rates.have_room(&elevation.party, self.calls.exchanges(), &policy.limits, now);
        if !has_room {
            return self.refuse(stream, &flow, &Refusal::of(Reason::ElevationRate, &request), now);
        }
        let decision = self.ids.decision();
        let call = elevation.call(service, &Stamp { unique: &decision, now });
        let deadline = now.plus_seconds(service.timeout.min(policy.limits.elevation_wait));
        flow.decision = Some(decision.clone());
        let server = flow.facts.server.clone().unwrap_or_default();
        let pending = Pending { elevation, stream, server, decision, begun: now, deadline };
        let patience = service.timeout.saturating_add(service.late).saturating_mul(1000);
        let id = self.call(Purpose::Exchange(Box::new(pending)), call, patience, now);
        flow.await_elevation(id, request, deadline);
        self.streams.keep(stream, flow);
    }

    /// An answer of the token service.
    pub(super) fn exchange_ended(
        &mut self,
        call: CallId,
        pending: Pending,
        reply: &Result<Reply<'_>, CallFault>,
        now: Millis,
    ) {
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
            (Some(_), Answer::Elevated(_)) => ExchangeEnd::Granted,
            (None, Answer::Elevated(_)) => ExchangeEnd::Late,
            (None, Answer::Refused { minted, .. }) if !minted.is_empty() => ExchangeEnd::Late,
            // Unreadable, and nobody knows what it held.
            (_, Answer::Refused { lost: true, .. }) => ExchangeEnd::Lost,
            // Envoy answers 504 in the token service's name, and nobody knows what that had minted.
            (None, Answer::Refused { reason: Reason::ElevationUnavailable, .. }) => ExchangeEnd::Lost,
            (_, Answer::Refused { reason, .. }) => ExchangeEnd::Refused(*reason),
        };
        self.out.count(Metric::Exchange { server: Rc::clone(&server), outcome });
        let millis = now.0.saturating_sub(pending.begun.0);
        self.out.count(Metric::ExchangeTime { server, millis });
        let is_known = match &answer {
            Answer::Elevated(token) => !self.ledger.meet(token),
            Answer::Refused { .. } => false,
        };
        match (waiting, answer) {
            (Some((flow, request)), Answer::Elevated(token)) if is_known => {
                self.take_back(&pending, &token, now);
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
            (None, Answer::Elevated(token)) => self.take_back(&pending, &token, now),
            (None, Answer::Refused { minted, .. }) => self.take_back_all(&pending, minted, now),
        }
    }

    fn elevated(&mut self, pending: Pending, mut flow: Box<Flow>, request: ReplyTo, token: ElevatedToken, now: Millis) {
        let (stream, exchange) = (pending.stream, &pending.elevation.exchange);
        // The caller's token may have expired while the token service was thinking.
        let issuer = self.policy.issuer(&pending.elevation.claims.issuer).map(|(_, issuer)| issuer);
        if issuer.is_none_or(|issuer| now.seconds() >= pending.elevation.claims.valid_until(issuer)) {
            self.take_back(&pending, &token, now);
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
        let tail = Tail::new(token, request, decision, elevation.trace, now, until);
        self.tails.insert(stream, tail);
    }

    fn take_back(&mut self, pending: &Pending, token: &ElevatedToken, now: Millis) {
        let tails = &self.tails;
        let is_in_use = |token: &Secret| tails.values().any(|tail| tail.token.text() == token);
        self.ledger.take_back_elevated(pending, token, is_in_use, now);
    }

    fn take_back_all(&mut self, pending: &Pending, minted: Vec<(Secret, &'static str)>, now: Millis) {
        let (tails, longest) = (&self.tails, self.policy.limits.max_ttl);
        let is_in_use = |token: &Secret| tails.values().any(|tail| tail.token.text() == token);
        self.ledger.take_back_all(pending, minted, longest, is_in_use, now);
    }

    /// One line a minute, however many calls fail for it.
    fn complain(&mut self, now: Millis) {
        if self.complained.is_some_and(|last| now < last.plus_seconds(60)) {
            return;
        }
        self.complained = Some(now);
        let line = "the token service does not accept this filter: look at its client and credential, and at \
                    `token_service.token`";
        self.out.warn(line.to_owned());
    }

    fn want_keys_of_service(&mut self, now: Millis) {
        if let Some(service) = &self.policy.token_service {
            self.keys.want(service.issuer, None, self.shared.as_ref(), now);
        }
    }
}
