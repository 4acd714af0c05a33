//! What leaves from here: answers and refusals.

use super::{Gate, Settled};
use crate::answer::{self, Refusal};
use crate::decide::Suspended;
use crate::effect::Effect;
use crate::ends::Ending;
use crate::flow::Flow;
use crate::http::{Response, StreamId};
use crate::reason::Reason;
use crate::time::Millis;

impl Gate {
    /// What was asked of us, or goes nowhere.
    pub(super) fn answer(
        &mut self,
        stream: StreamId,
        flow: &Flow,
        response: Response,
        reason: Reason,
        suspended: Option<&Suspended>,
        now: Millis,
    ) {
        let id = self.ids.decision();
        let mut settled = Settled::new(&id, Ending::Answer, reason);
        settled.status = Some(response.status);
        suspended.into_iter().for_each(|suspended| settled.suspend(suspended));
        self.out.settle(stream, &flow.facts, &settled, now, Effect::Reply { stream, response });
    }

    /// The one place where a refusal leaves.
    pub(super) fn refuse(&mut self, stream: StreamId, flow: &Flow, refusal: &Refusal, now: Millis) {
        let id = flow.decision.clone().unwrap_or_else(|| self.ids.decision());
        let at = flow.spot.and_then(|spot| self.policy.at(spot));
        let challenge = at.and_then(|(server, place)| answer::challenge(refusal, server, place));
        let ending = if challenge.is_some() { Ending::Challenge } else { Ending::Deny };
        let denies_by_jsonrpc = at.is_some_and(|(server, _)| server.denies_by_jsonrpc);
        let protocol = flow.facts.protocol.as_deref();
        let response = answer::refusal(refusal, challenge, denies_by_jsonrpc, protocol, &id);
        let settled = Settled {
            status: Some(response.status),
            missing: &refusal.missing,
            ..Settled::new(&id, ending, refusal.reason)
        };
        self.out.settle(stream, &flow.facts, &settled, now, Effect::Reply { stream, response });
    }
}
