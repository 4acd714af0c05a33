//! The response to an elevated call: watched until the operation is over, and then its token goes.

use super::Gate;
use crate::answer::{self, Refusal};
use crate::effect::{BodyFault, Effect, ResponseAct};
use crate::ends::RevocationEnd;
use crate::flow::{Flow, Following, Follows};
use crate::http::{ResponseHead, StreamId};
use crate::mcp::Id;
use crate::metrics::Metric;
use crate::obtain::{Pending, Revocation, expiry};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::time::Millis;
use crate::watch::{OperationEnd, Refused, Tail, is_oauth_error};

/// An operation whose stream has ended before its result, and whose token lives on for a while.
pub(super) struct Resting {
    pub until: Millis,
    tail: Box<Tail>,
    /// The server closed the stream on purpose: a GET may continue it.
    may_resume: bool,
}

/// Longer bodies are no OAuth errors.
const MAX_ERROR: usize = 64 * 1024;

impl Gate {
    /// Headers of a response that is watched.
    pub(super) fn response_head(&mut self, stream: StreamId, head: &ResponseHead<'_>, now: Millis) {
        self.own_head(stream, head, now);
        let Some(tail) = self.tails.get_mut(&stream) else { return };
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

    /// The body of a response that is held: a 403 whose head does not say whose it is.
    pub(super) fn response_body(&mut self, stream: StreamId, body: Result<&[u8], BodyFault>, now: Millis) {
        if self.list_body(stream, body, now) {
            return;
        }
        // What cannot be known is refused.
        if self.tails.contains_key(&stream) && body.map_or(true, is_oauth_error) {
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
        self.list_piece(stream, bytes, end_of_stream, now);
        let end = self.tails.get_mut(&stream).and_then(|tail| tail.chunk(bytes, end_of_stream));
        if let Some(end) = end {
            self.finish(stream, end, now);
        }
    }

    /// The operation is over, and so is its token; or it pauses, or goes on without us.
    pub(super) fn finish(&mut self, stream: StreamId, end: OperationEnd, now: Millis) {
        let Some(tail) = self.tails.remove(&stream).filter(|tail| !tail.is_over) else { return };
        let service = self.policy.service_at(tail.service);
        let (linger, resume) = service.map_or((0, 0), |service| (service.linger, service.resume));
        let millis = now.0.saturating_sub(tail.forwarded.0);
        self.out.debug(format!("{}: {} after {millis} ms", tail.decision, end.name()));
        let later = |seconds| now.plus_seconds(seconds).min(tail.until.max(now));
        match end {
            OperationEnd::Paused => {
                let until = later(linger.max(resume));
                self.resting.push(Resting { until, tail, may_resume: true });
            }
            OperationEnd::NotResumed => {
                let until = tail.resumed.unwrap_or(now);
                self.resting.push(Resting { until, tail, may_resume: true });
            }
            OperationEnd::Continues => self.revocation_ended(&end_of(&tail, now), RevocationEnd::Kept),
            OperationEnd::Incomplete if tail.may_linger() && linger > 0 => {
                let until = later(linger);
                self.resting.push(Resting { until, tail, may_resume: false });
            }
            OperationEnd::Incomplete | OperationEnd::Completed | OperationEnd::Cancelled => {
                self.take_back(end_of(&tail, now), now);
            }
        }
    }

    /// The time is over, or the caller has called it off. What the upstream says to the token is still not the client's, so the
    /// response is watched until that is known.
    pub(super) fn end_early(&mut self, stream: StreamId, end: OperationEnd, now: Millis) {
        match self.tails.get_mut(&stream) {
            Some(tail) if !tail.has_head() => {
                tail.is_over = true;
                let revocation = end_of(tail, now);
                self.out.debug(format!("{}: {}", revocation.decision, end.name()));
                self.take_back(revocation, now);
            }
            _ => self.finish(stream, end, now),
        }
    }

    /// A request of the same caller that is about an operation under way (P30). True: its response continues it.
    pub(super) fn follow(&mut self, stream: StreamId, flow: &Flow, now: Millis) -> bool {
        let Some(follows @ Follows { what, .. }) = &flow.follows else { return false };
        let is_theirs =
            |tail: &Tail| follows.is_of(&tail.caller, &tail.server, flow) && tail.request.session == flow.session;
        match what {
            Following::Resumes(id) => {
                let is_it = |rest: &Resting| {
                    rest.may_resume && is_theirs(&rest.tail) && rest.tail.paused_at() == Some(id.as_str())
                };
                let Some(at) = self.resting.iter().position(is_it) else { return false };
                let Resting { until, mut tail, .. } = self.resting.swap_remove(at);
                tail.resumed = Some(until);
                self.tails.insert(stream, tail);
                true
            }
            Following::Cancels(id) => {
                let is_it = |tail: &Tail| is_theirs(tail) && tail.request.id.as_ref() == Some(id);
                let named: Vec<StreamId> = self
                    .tails
                    .iter()
                    .filter(|(_, tail)| !tail.is_over && is_it(tail))
                    .map(|(stream, _)| *stream)
                    .collect();
                named.into_iter().for_each(|stream| self.end_early(stream, OperationEnd::Cancelled, now));
                self.end_rest(now, |rest| is_it(&rest.tail));
                self.cancel_exchange(id, follows, flow, now);
                false
            }
        }
    }

    /// The operation that is called off still waits for its token: it does not go upstream, and what is minted for it is taken back.
    fn cancel_exchange(&mut self, id: &Id, follows: &Follows, flow: &Flow, now: Millis) {
        let under_way = self.calls.exchanges().chain(self.unproven.iter().map(|unproven| &unproven.pending));
        let is_theirs = |pending: &&Pending| follows.is_of(&pending.elevation.claims, &pending.server, flow);
        let streams: Vec<StreamId> = under_way.filter(is_theirs).map(|pending| pending.stream).collect();
        for stream in streams {
            let Some(mut waiting) = self.streams.take(stream) else { continue };
            match waiting.called_off(id, flow.session.as_deref()) {
                Some(request) => self.refuse(stream, &waiting, &Refusal::of(Reason::Cancelled, &request), now),
                None => self.streams.keep(stream, waiting),
            }
        }
    }

    /// Operations whose patience is over by now.
    pub(super) fn age_resting(&mut self, now: Millis) {
        self.end_rest(now, |rest| rest.until <= now);
    }

    fn end_rest(&mut self, now: Millis, is_over: impl Fn(&Resting) -> bool) {
        let over: Vec<Resting> = self.resting.extract_if(.., |rest| is_over(rest)).collect();
        over.into_iter().for_each(|rest| self.take_back(end_of(&rest.tail, now), now));
    }

    /// Is it the token of an operation under way?
    pub(super) fn is_in_use(&self, token: &Secret) -> bool {
        let resting = self.resting.iter().map(|rest| &rest.tail);
        self.tails.values().chain(resting).any(|tail| !tail.is_over && tail.token.text() == token)
    }
}

fn end_of(tail: &Tail, due: Millis) -> Revocation {
    Revocation {
        service: tail.service,
        token: tail.token.text().clone(),
        hint: "access_token",
        expires: Some(expiry(tail.token.expires_at())),
        due,
        decision: tail.decision.clone(),
        trace: tail.trace.clone(),
    }
}
