//! The response to an elevated call: watched until the operation is over, and then its token goes.

use super::Gate;
use crate::answer::{self, Refusal};
use crate::effect::{BodyFault, Effect, ResponseAct};
use crate::http::{ResponseHead, StreamId};
use crate::metrics::Metric;
use crate::obtain::{Revocation, expiry};
use crate::reason::Reason;
use crate::time::Millis;
use crate::watch::{OperationEnd, Refused, is_oauth_error};

/// Longer bodies are no OAuth errors.
const MAX_ERROR: usize = 64 * 1024;

impl Gate {
    /// Headers of a response that is watched.
    pub(super) fn response_head(&mut self, stream: StreamId, head: &ResponseHead<'_>, now: Millis) {
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
        let response = answer::refusal(&Refusal::of(Reason::UpstreamRefusedToken, tail.request()), None, None, &id);
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

    /// The operation is over, and so is its token.
    pub(super) fn finish(&mut self, stream: StreamId, end: OperationEnd, now: Millis) {
        let Some(tail) = self.tails.remove(&stream) else { return };
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
        self.ledger.revocations.add(revocation, now);
    }
}
