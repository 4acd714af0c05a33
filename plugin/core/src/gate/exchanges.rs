//! An exchange: begun, answered, and what comes of its token.

use std::rc::Rc;

use super::calls::Purpose;
use super::{Gate, Settled};
use crate::answer::{Refusal, ReplyTo};
use crate::audit::Elevated;
use crate::decide::Permit;
use crate::effect::{Effect, Level};
use crate::ends::{Ending, ExchangeEnd};
use crate::flow::Flow;
use crate::http::{CallFault, CallId, Reply, StreamId};
use crate::keys::Fresh;
use crate::metrics::Metric;
use crate::obtain::{Answer, Elevation, Pending, Said, Stamp, expiry, revocation_of};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::text::field;
use crate::time::Millis;
use crate::token::ElevatedToken;
use crate::watch::{Awaited, Tail};

/// An answer whose token names a key that is being fetched.
pub(super) struct Unproven {
    call: CallId,
    pub pending: Pending,
    status: u16,
    body: Vec<u8>,
    /// Waited for until then.
    until: Millis,
}

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
        let Some(service) = policy.service_at(elevation.exchange.service) else {
            return self.refuse(stream, &flow, &Refusal::of(Reason::Internal, &request), now);
        };
        let has_room = !self.ledger.is_full() && {
            let under_way = self.calls.exchanges().chain(self.unproven.iter().map(|unproven| &unproven.pending));
            self.rates.have_room(&elevation.party, under_way, &policy.limits, now)
        };
        if !has_room {
            return self.refuse(stream, &flow, &Refusal::of(Reason::ElevationRate, &request), now);
        }
        if let Some(reason) = self.history.in_vain(&elevation.rule, now) {
            return self.refuse(stream, &flow, &Refusal { lasting: true, ..Refusal::of(reason, &request) }, now);
        }
        self.rates.count(&elevation.party);
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
        if let (Answer::Unproven { key, .. }, Ok(reply)) = (&answer, reply)
            && now < pending.deadline
            && self.want_keys_of(pending.elevation.exchange.service, key.as_deref(), now) == Some(Fresh::Coming)
        {
            let until = pending.deadline.min(now.plus_seconds(self.policy.limits.keys_wait));
            let (status, body) = (reply.status, reply.body.to_vec());
            return self.unproven.push(Unproven { call, pending, status, body, until });
        }
        self.exchange_answered(call, pending, answer, now);
    }

    /// Keys have changed, or time has passed: what waits for a key is looked at again. After its time it is not waited for any longer.
    pub(super) fn prove(&mut self, now: Millis) {
        for Unproven { call, pending, status, body, until } in std::mem::take(&mut self.unproven) {
            let reply = Ok(Reply { status, body: &body });
            let answer = pending.elevation.answer(&reply, &self.policy, &self.keys, self.signatures.as_ref(), now);
            match answer {
                Answer::Unproven { .. } if now < until => {
                    self.unproven.push(Unproven { call, pending, status, body, until });
                }
                answer => self.exchange_answered(call, pending, answer, now),
            }
        }
    }

    fn exchange_answered(&mut self, call: CallId, pending: Pending, answer: Answer, now: Millis) {
        let answer = match answer {
            Answer::Unproven { minted, .. } => Answer::refused(Reason::ElevatedSignature, minted, Some(Said::of(200))),
            answer => answer,
        };
        let answer = self.interpreted(&pending, answer, now);
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
            (_, Answer::Unproven { .. }) => ExchangeEnd::Refused(Reason::ElevatedSignature),
        };
        self.out.count(Metric::Exchange { server: Rc::clone(&server), outcome });
        let millis = now.0.saturating_sub(pending.begun.0);
        self.out.count(Metric::ExchangeTime { server, millis });
        let is_known = match &answer {
            Answer::Elevated(token) => !self.ledger.meet(token),
            Answer::Refused { .. } | Answer::Unproven { .. } => false,
        };
        match (waiting, answer) {
            (Some((flow, request)), Answer::Elevated(token)) if is_known => {
                self.take_back_elevated(&pending, &token, now);
                self.refuse(pending.stream, &flow, &Refusal::of(Reason::ElevatedTokenNotOurs, &request), now);
            }
            (Some((flow, request)), Answer::Elevated(token)) => self.elevated(pending, flow, request, token, now),
            (Some((mut flow, request)), Answer::Refused { reason, minted, said, lasting, .. }) => {
                self.take_back_all(&pending, minted, now);
                match reason {
                    Reason::SubjectTokenRejected if said.as_ref().is_some_and(|said| said.is("invalid_grant")) => {
                        self.cache.condemn(&pending.elevation.subject, &pending.elevation.claims)
                    }
                    // Signed with a key that is new to us, perhaps.
                    Reason::ElevatedSignature if !lasting => {
                        self.want_keys_of(pending.elevation.exchange.service, None, now);
                    }
                    Reason::FilterNotAccepted => self.complain(now),
                    _ => {}
                }
                flow.facts.service_error = said.as_ref().map(Said::text);
                let claims = said.and_then(|said| said.claims).filter(|_| reason == Reason::ElevationNeedsUser);
                let refusal = Refusal { claims, lasting, ..Refusal::of(reason, &request) };
                self.refuse(pending.stream, &flow, &refusal, now);
            }
            // The client was answered, or is gone: nobody will use what came.
            (None, Answer::Elevated(token)) => self.take_back_elevated(&pending, &token, now),
            (None, Answer::Refused { minted, .. }) => self.take_back_all(&pending, minted, now),
            (_, Answer::Unproven { .. }) => {}
        }
    }

    /// What an answer means, seen what came of the same rule before (P28).
    fn interpreted(&mut self, pending: &Pending, answer: Answer, now: Millis) -> Answer {
        let Elevation { rule, party, .. } = &pending.elevation;
        let Answer::Refused { reason, minted, lost, said, lasting } = answer else {
            self.history.succeeded(rule);
            return answer;
        };
        let is = |error: &str| reason == Reason::ElevationRefused && said.as_ref().is_some_and(|said| said.is(error));
        let is_dead = is("invalid_request") && self.history.is_dead(rule, party, now);
        let reason = if is_dead { Reason::SubjectTokenRejected } else { reason };
        let words = said.as_ref().map_or_else(|| "no answer".to_owned(), Said::text);
        let mut line = format!("{}: no token for {rule}: {}: {words}", pending.decision, reason.name());
        if lasting {
            line += &format!(" ({})", reason.acts().text());
        }
        let is_about_target = is("invalid_client");
        let third = is_about_target && self.history.is_third_wrong_target(rule);
        self.out.log(if third { Level::Error } else { Level::Info }, line);
        if !is_about_target {
            self.history.other_answer(rule);
        }
        if lasting {
            self.history.failed(rule, reason, now);
        }
        Answer::Refused { reason, minted, lost, said, lasting }
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
        let mut permit = Permit::of_elevated(&token, &flow.unwanted);
        permit.tell(std::mem::take(&mut flow.coordinates));
        self.looks_at_session(stream, &flow);
        let settled = Settled::new(&pending.decision, Ending::Permit, Reason::Elevated);
        self.out.settle(stream, &flow.facts, &settled, now, Effect::Continue { stream, permit });
        let until = expiry(token.expires_at()).min(now.plus_seconds(exchange.ttl));
        let Pending { elevation, decision, server, .. } = pending;
        let tail = Tail {
            token,
            service: elevation.exchange.service,
            decision,
            trace: elevation.trace,
            forwarded: now,
            until,
            server,
            caller: elevation.claims,
            keeps_tasks: elevation.exchange.keeps_tasks,
            request,
            awaited: Awaited::default(),
            is_over: false,
            resumed: None,
        };
        self.tails.insert(stream, Box::new(tail));
    }

    /// The same, of a token whose `exp` can be believed.
    fn take_back_elevated(&mut self, pending: &Pending, token: &ElevatedToken, now: Millis) {
        if self.is_in_use(token.text()) {
            return;
        }
        let expires = Some(expiry(token.expires_at()));
        self.take_back(revocation_of(pending, token.text().clone(), "access_token", expires, now), now);
    }

    fn take_back_all(&mut self, pending: &Pending, minted: Vec<(Secret, &'static str)>, now: Millis) {
        let longest = self.policy.limits.max_ttl;
        let minted = minted.into_iter().map(|(token, hint)| (self.is_in_use(&token), token, hint)).collect();
        let revocations = self.ledger.unwanted(pending, minted, longest, now);
        revocations.into_iter().for_each(|revocation| self.take_back(revocation, now));
    }

    /// One line a minute, however many calls fail for it.
    fn complain(&mut self, now: Millis) {
        if self.complained.is_some_and(|last| now.is_within(60, last)) {
            return;
        }
        self.complained = Some(now);
        let line = "the token service does not accept this filter: look at its client and credential, and at \
                    `token_service.token`";
        self.out.log(Level::Error, line.to_owned());
    }

    fn want_keys_of(&mut self, service: usize, key: Option<&str>, now: Millis) -> Option<Fresh> {
        let issuer = self.policy.service_at(service)?.issuer;
        Some(self.keys.want(issuer, key, self.shared.as_ref(), now))
    }
}
