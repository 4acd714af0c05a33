//! What is asked for, and what the policy says to it.

use super::authenticate::follows;
use super::{Flow, Following, Next, Origin, State, Turn};
use crate::answer::{self, Refusal, ReplyTo};
use crate::decide::{self, Asker, Shortfall, Verdict, Would};
use crate::effect::BodyFault;
use crate::ends::Ending;
use crate::mcp::{self, Frame, Mirror, NoFrame, Operation, Target};
use crate::policy::Server;
use crate::reason::Reason;
use crate::text::field;
use crate::token::CallerToken;

impl Flow {
    /// The body is complete, or will never be.
    pub(crate) fn body(&mut self, body: Result<&[u8], BodyFault>, turn: &Turn<'_>) -> Next {
        if let State::AwaitStranger { mirror, .. } = &self.state {
            let mirror = mirror.clone();
            self.state = State::Faulted;
            return self.judge_stranger(&mirror, body, turn);
        }
        let is_bodiless = self.is_bodiless();
        let body = match body {
            Err(BodyFault::TooLarge) if is_bodiless => return Reason::BodyNotAllowed.into(),
            Ok([_, ..]) if is_bodiless => return Reason::BodyNotAllowed.into(),
            Err(BodyFault::Unreadable) => return Reason::BodyUnreadable.into(),
            Err(BodyFault::TooLarge) => return Reason::BodyTooLarge.into(),
            Ok(body) if body.len() > turn.policy.limits.request_body => return Reason::BodyTooLarge.into(),
            Ok(body) => body,
        };
        match std::mem::replace(&mut self.state, State::Faulted) {
            State::AwaitBody { caller, mirror: Some(mirror), .. } => self.judge(&caller, &mirror, body, turn),
            State::AwaitBody { caller, mirror: None, .. } => self.stream(&caller, turn),
            State::AwaitKeys { claimed, reason } if !claimed.body_arrived => {
                self.state = State::AwaitKeys { claimed: claimed.with_body(), reason };
                Next::Wait
            }
            State::AwaitOpinion(claimed, issuer) if !claimed.body_arrived => {
                self.state = State::AwaitOpinion(claimed.with_body(), issuer);
                Next::Wait
            }
            State::AwaitOpinion(..)
            | State::AwaitKeys { .. }
            | State::AwaitElevation { .. }
            | State::AwaitStranger { .. }
            | State::Faulted => Reason::Internal.into(),
        }
    }

    /// P26: without a token. Whatever is not allowed so needs one, and is told so.
    fn judge_stranger(&mut self, mirror: &Mirror, body: Result<&[u8], BodyFault>, turn: &Turn<'_>) -> Next {
        let server = self.spot.and_then(|spot| turn.policy.server_at(spot.server));
        let body = body.ok().filter(|body| body.len() <= turn.policy.limits.anonymous_body);
        let (Some(server), Some(body)) = (server, body) else { return Reason::TokenMissing.into() };
        let modern = mirror.is_modern();
        let needs_token = |id| Next::Refuse(Refusal { id, modern, ..Reason::TokenMissing.into() });
        let frame = match Frame::read(body) {
            Ok(frame) => frame,
            Err(NoFrame { id, .. }) => return needs_token(id),
        };
        let Ok(operation) = mcp::operation(&frame, mirror) else { return needs_token(frame.request_id()) };
        match decide::without_token(server, &frame.method, &operation, &self.unwanted) {
            None => needs_token(frame.request_id()),
            Some((permit, rule)) => {
                self.facts.method = Some(field(&frame.method));
                self.facts.kind = Some(mcp::kind(&frame.method));
                self.facts.name = frame.param("name").ok().flatten().map(field);
                self.facts.rule = rule.map(|rule| field(&rule.pattern));
                self.facts.anonymous = true;
                Next::Permit(permit, None)
            }
        }
    }

    /// A GET or DELETE, which has ended.
    pub(super) fn stream(&mut self, caller: &CallerToken, turn: &Turn<'_>) -> Next {
        let Some((server, _)) = self.spot.and_then(|spot| turn.policy.at(spot)) else {
            return Reason::Internal.into();
        };
        // Its end may have taken its time.
        if !caller.is_valid_at(turn.now) {
            return Reason::TokenExpired.into();
        }
        if let Some(id) = self.last_event_id.take() {
            self.follows = Some(follows(caller, Following::Resumes(id)));
        }
        self.decide(caller, &Operation::Baseline, server, Origin::default(), turn)
    }

    fn judge(&mut self, caller: &CallerToken, mirror: &Mirror, body: &[u8], turn: &Turn<'_>) -> Next {
        let Some((server, _)) = self.spot.and_then(|spot| turn.policy.at(spot)) else {
            return Reason::Internal.into();
        };
        // The body may have taken its time.
        if !caller.is_valid_at(turn.now) {
            return Reason::TokenExpired.into();
        }
        let modern = mirror.is_modern();
        let frame = match Frame::read(body) {
            Ok(frame) => frame,
            Err(NoFrame { reason, id }) => return Next::Refuse(Refusal { id, modern, ..reason.into() }),
        };
        if !frame.method.is_empty() {
            self.facts.method = Some(field(&frame.method));
            self.facts.kind = Some(mcp::kind(&frame.method));
        }
        let param = |name| frame.param(name).ok().flatten();
        self.facts.name = param("name").or_else(|| param("uri")).map(field);
        let operation = match mcp::operation(&frame, mirror) {
            Ok(operation) => operation,
            Err(reason) => return Next::Refuse(Refusal { id: frame.request_id(), modern, ..reason.into() }),
        };
        if let Some(id) = frame.cancelled() {
            self.follows = Some(follows(caller, Following::Cancels(id)));
        }
        let told = turn.policy.services.iter().any(|service| service.context);
        let context = told.then(|| frame.context(body, caller.claims().client_id.as_deref()));
        let (id, session, is_task) = (frame.request_id(), self.session.clone(), frame.is_task());
        let is_call = matches!(operation, Operation::On(Target::Tool(_)));
        let origin = Origin { id, modern, session, context, is_task, is_call };
        self.decide(caller, &operation, server, origin, turn)
    }

    pub(super) fn decide(
        &mut self,
        caller: &CallerToken,
        operation: &Operation<'_>,
        server: &Server,
        Origin { id, modern, session, context, is_task, is_call }: Origin,
        turn: &Turn<'_>,
    ) -> Next {
        let asker = Asker {
            caller,
            source: self.source.as_deref(),
            context: context.as_deref(),
            is_task,
            ability: turn.policy.clients.of(caller.claims().client_id.as_deref()),
            modern,
            trace: &self.trace,
            unwanted: &self.unwanted,
        };
        let decision = decide::decide(turn.policy, server, &asker, operation, turn.now);
        self.facts.rule = decision.rule.map(|rule| field(&rule.pattern));
        self.facts.step_up = decision.step_up;
        // P25: a client that looks for challenges in the results of its calls.
        let by_result = asker.ability.by_result && is_call;
        let suspended = decision.suspended.map(|mut suspended| {
            let Would { reason, ending, status } = &mut suspended.would;
            if *ending != Ending::Elevate {
                let challenge = suspended.challenge.take();
                let refusal = Refusal { id: id.clone(), challenge, modern, by_result, ..(*reason).into() };
                let is_challenged = *ending == Ending::Challenge;
                *status = Some(answer::status(&refusal, is_challenged, server.denies_by_jsonrpc));
            }
            suspended
        });
        match decision.verdict {
            Verdict::Permit(permit) => Next::Permit(permit, suspended),
            Verdict::Drop => Next::Answer(answer::accepted(), Reason::Dropped, suspended),
            Verdict::Obtain(mut elevation) => {
                let fallback = elevation.fallback.take();
                Next::Elevate(elevation, ReplyTo { id, modern, session, fallback, by_result })
            }
            Verdict::Refuse(Shortfall { reason, missing, challenge }) => {
                Next::Refuse(Refusal { id, challenge, missing, modern, by_result, ..reason.into() })
            }
        }
    }
}
