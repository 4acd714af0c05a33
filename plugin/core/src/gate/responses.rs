//! The response to an elevated call: watched until the operation is over, and then its token goes.

use super::Gate;
use crate::answer::{self, Refusal};
use crate::effect::Effect;
use crate::http::StreamId;
use crate::obtain::{Revocation, expiry};
use crate::reason::Reason;
use crate::time::Millis;
use crate::watch::OperationEnd;

impl Gate {
    /// Headers of a response that is watched.
    pub(super) fn response_head(
        &mut self,
        stream: StreamId,
        status: u16,
        content_type: Option<&str>,
        end_of_stream: bool,
        now: Millis,
    ) {
        let Some(tail) = self.tails.get_mut(&stream) else { return };
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
