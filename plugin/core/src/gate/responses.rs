//! The response to an elevated call: watched until the operation is over, and then its token goes.

use std::rc::Rc;

use super::Gate;
use crate::answer::{self, Refusal};
use crate::effect::{BodyFault, Effect, ResponseAct};
use crate::ends::RevocationEnd;
use crate::flow::{Flow, Following, Follows};
use crate::http::{ResponseHead, StreamId};
use crate::metrics::Metric;
use crate::obtain::{Revocation, expiry};
use crate::policy::Spot;
use crate::reason::Reason;
use crate::secret::Secret;
use crate::time::Millis;
use crate::watch::{OperationEnd, Own, Refused, Tail, instead, is_oauth_error};

/// Longer bodies are no OAuth errors.
const MAX_ERROR: usize = 64 * 1024;

impl Gate {
    /// Headers of a response that is watched.
    pub(super) fn response_head(&mut self, stream: StreamId, head: &ResponseHead<'_>, now: Millis) {
        let Some(tail) = self.tails.get_mut(&stream) else { return self.own_response(stream, head) };
        match tail.refusal(head) {
            Refused::Yes => self.token_refused(stream, head.status, now),
            Refused::Perhaps => {
                self.out.put(Effect::Response { stream, act: ResponseAct::Hold { most: MAX_ERROR } });
            }
            Refused::No => {
                if let Some(end) = tail.head(head) {
                    self.finish(stream, end, now);
                }
            }
        }
    }

    /// P27: does the policy want to see the response?
    pub(super) fn looks_at_response(&mut self, stream: StreamId, flow: &Flow) -> bool {
        let policy = &self.policy;
        let is_seen = |spot: &Spot| policy.server_at(spot.server).is_some_and(|server| server.challenges_itself);
        let Some(spot) = flow.spot.filter(is_seen) else { return false };
        self.own.insert(stream, Own { spot, issuer: flow.issuer });
        true
    }

    /// P27: of a call with the caller's own token.
    fn own_response(&mut self, stream: StreamId, head: &ResponseHead<'_>) {
        let Some(own) = self.own.remove(&stream) else { return };
        let policy = Rc::clone(&self.policy);
        let Some(at) = policy.at(own.spot) else { return };
        let issuer = own.issuer.and_then(|at| policy.issuer_at(at));
        let Some((challenge, dropped)) = instead(head, at, issuer) else { return };
        if dropped > 0 {
            self.out.count(Metric::Fault { kind: "upstream_scope_dropped", count: dropped });
        }
        self.out.put(Effect::Response { stream, act: ResponseAct::Challenge(challenge) });
    }

    /// The body of a response that is held: a 403 whose head does not say whose it is.
    pub(super) fn response_body(&mut self, stream: StreamId, body: Result<&[u8], BodyFault>, now: Millis) {
        if self.tails.contains_key(&stream) && body.is_ok_and(is_oauth_error) {
            return self.token_refused(stream, 403, now);
        }
        self.finish(stream, OperationEnd::Completed, now);
        self.out.put(Effect::Response { stream, act: ResponseAct::Pass });
    }

    /// The upstream refuses the elevated token. Its answer would send the client to log in for a token that it never had, or
    /// tell it that a good session is gone.
    fn token_refused(&mut self, stream: StreamId, status: u16, now: Millis) {
        let Some(tail) = self.tails.get(&stream) else { return };
        let id = tail.decision.clone();
        let response =
            answer::refusal(&Refusal::of(Reason::UpstreamRefusedToken, &tail.request), None, false, None, &id);
        self.finish(stream, OperationEnd::Completed, now);
        let (kind, hint) = match status {
            401 => ("upstream_refused_401", ""),
            404 => ("upstream_refused_404", ": does it tie its sessions to the client that a token names?"),
            _ => ("upstream_refused_403", ""),
        };
        self.out.count(Metric::Fault { kind, count: 1 });
        self.out.warn(format!("{id}: the upstream refused the elevated token, {status}{hint}"));
        self.out.put(Effect::Reply { stream, response });
    }

    /// A piece of such a response.
    pub(super) fn response_chunk(&mut self, stream: StreamId, bytes: &[u8], end_of_stream: bool, now: Millis) {
        let end = self.tails.get_mut(&stream).and_then(|tail| tail.chunk(bytes, end_of_stream));
        if let Some(end) = end {
            self.finish(stream, end, now);
        }
    }

    /// The operation is over, and so is its token; or it pauses, or goes on without us.
    pub(super) fn finish(&mut self, stream: StreamId, end: OperationEnd, now: Millis) {
        let Some(tail) = self.tails.remove(&stream) else { return };
        let service = self.policy.service_at(tail.service);
        let (linger, resume) = service.map_or((0, 0), |service| (service.linger, service.resume));
        let millis = now.0.saturating_sub(tail.forwarded.0);
        self.out.debug(format!("{}: {} after {millis} ms", tail.decision, end.name()));
        match end {
            OperationEnd::Paused => {
                let until = now.plus_seconds(linger.max(resume)).min(tail.until.max(now));
                self.paused.push((until, tail));
            }
            OperationEnd::Continues => self.revocation_ended(&end_of(tail, now), RevocationEnd::Kept),
            OperationEnd::Incomplete if tail.may_linger() => {
                let due = now.plus_seconds(linger).min(tail.until.max(now));
                self.take_back(end_of(tail, due), now);
            }
            OperationEnd::Incomplete | OperationEnd::Completed | OperationEnd::Cancelled => {
                self.take_back(end_of(tail, now), now);
            }
        }
    }

    /// A request of the same caller that is about an operation under way (P30). True: its response continues it.
    pub(super) fn follow(&mut self, stream: StreamId, flow: &Flow, now: Millis) -> bool {
        let Some(Follows { issuer, subject, what }) = &flow.follows else { return false };
        let is_theirs = |tail: &Tail| tail.is_of(issuer, subject.as_deref());
        match what {
            Following::Resumes(id) => {
                let is_it = |(_, tail): &(Millis, Tail)| is_theirs(tail) && tail.paused_at() == Some(id.as_str());
                let Some(at) = self.paused.iter().position(is_it) else { return false };
                let (_, tail) = self.paused.swap_remove(at);
                self.tails.insert(stream, tail);
                true
            }
            Following::Cancels(id) => {
                let is_it = |tail: &Tail| {
                    is_theirs(tail) && tail.request.id.as_ref() == Some(id) && tail.request.session == flow.session
                };
                let named: Vec<StreamId> =
                    self.tails.iter().filter(|(_, tail)| is_it(tail)).map(|(stream, _)| *stream).collect();
                named.into_iter().for_each(|stream| self.finish(stream, OperationEnd::Cancelled, now));
                let (over, rest) = std::mem::take(&mut self.paused).into_iter().partition(|(_, tail)| is_it(tail));
                self.paused = rest;
                self.end_pauses(over, now);
                false
            }
        }
    }

    /// Pauses that are over by now.
    pub(super) fn age_pauses(&mut self, now: Millis) {
        let (over, rest) = std::mem::take(&mut self.paused).into_iter().partition(|(until, _)| *until <= now);
        self.paused = rest;
        self.end_pauses(over, now);
    }

    fn end_pauses(&mut self, over: Vec<(Millis, Tail)>, now: Millis) {
        over.into_iter().for_each(|(_, tail)| self.take_back(end_of(tail, now), now));
    }

    /// Is it the token of an operation under way?
    pub(super) fn is_in_use(&self, token: &Secret) -> bool {
        let paused = self.paused.iter().map(|(_, tail)| tail);
        self.tails.values().chain(paused).any(|tail| tail.token.text() == token)
    }
}

fn end_of(tail: Tail, due: Millis) -> Revocation {
    Revocation {
        service: tail.service,
        token: tail.token.text().clone(),
        hint: "access_token",
        expires: Some(expiry(tail.token.expires_at())),
        due,
        decision: tail.decision,
        trace: tail.trace,
    }
}
