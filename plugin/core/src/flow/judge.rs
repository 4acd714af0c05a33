//! What is asked for, and what the policy says to it.

use super::authenticate::follows;
use super::coordinates::coordinates;
use super::{Flow, Following, Next, Origin, State, Turn};
use crate::answer::{self, Refusal, ReplyTo};
use crate::decide::{self, Asker, Audience, Shortfall, Verdict, Would};
use crate::effect::BodyFault;
use crate::ends::Ending;
use crate::json::Value;
use crate::mcp::{self, Frame, Mirror, NoFrame, Operation, Target};
use crate::policy::{Owner, Rule, Server};
use crate::reason::Reason;
use crate::text::field;
use crate::time::Millis;
use crate::token::CallerToken;
use crate::watch::{Lister, Listing, changed};

/// P36: a longer one is not recorded.
const MOST_DECLARED: usize = 256;

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
            Err(BodyFault::Withheld) => return Reason::BodyTimeout.into(),
            Err(BodyFault::Undelivered) => return Reason::HostWithoutHeaderStop.into(),
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
        let frame = match Frame::read(body, &server.reads) {
            Ok(frame) => frame,
            Err(NoFrame { id, .. }) => return needs_token(id),
        };
        let Ok(operation) = mcp::operation(&frame, mirror) else { return needs_token(frame.request_id()) };
        let Some(anonymous) = decide::anonymous(server, &frame.method, &operation) else {
            return needs_token(frame.request_id());
        };
        let refuse = |reason: Reason| Next::Refuse(Refusal { id: frame.request_id(), modern, ..reason.into() });
        if let Err(reason) = self.open_session(server, None, turn) {
            return refuse(reason);
        }
        let request = ReplyTo { id: frame.request_id(), modern, ..ReplyTo::default() };
        self.expect_list(server, &frame.method, None, request, turn);
        let is_changed = |tool: &str| changed(turn.shared, turn.policy, server, tool, turn.now);
        let permit = match anonymous.permit(server, &operation, &is_changed, &self.unwanted) {
            Ok(permit) => permit,
            Err(reason) => return refuse(reason),
        };
        self.note(&frame, &operation, server);
        self.facts.anonymous = true;
        self.label(server, anonymous.rule);
        self.locate(anonymous.rule, None, turn);
        Next::Permit(permit, None)
    }

    /// P16: this request brings a list, which is looked at.
    fn expect_list(
        &mut self,
        server: &Server,
        method: &str,
        caller: Option<&CallerToken>,
        request: ReplyTo,
        turn: &Turn<'_>,
    ) {
        let is_read = match method {
            "tools/list" => server.filters_lists || !server.pins.digests.is_empty(),
            "resources/list" | "resources/templates/list" | "prompts/list" => server.filters_lists,
            _ => false,
        };
        if is_read {
            let modern = request.modern;
            self.listing = Some(self.lister(server, caller, modern, Some(request), turn));
        }
    }

    /// On a GET any list may come: of a stream that is resumed, or of a server of 2024-11-05.
    fn expect_stream(&mut self, server: &Server, caller: &CallerToken, turn: &Turn<'_>) {
        if self.is_get && (server.filters_lists || !server.pins.digests.is_empty()) {
            self.listing = Some(self.lister(server, Some(caller), false, None, turn));
        }
    }

    fn lister(
        &mut self,
        server: &Server,
        caller: Option<&CallerToken>,
        modern: bool,
        request: Option<ReplyTo>,
        turn: &Turn<'_>,
    ) -> Box<Listing> {
        // What is compressed cannot be read.
        self.unwanted.take_out("accept-encoding");
        let ability = turn.policy.clients.of(caller.and_then(|caller| caller.claims().client_id.as_deref()));
        let audience = Audience { caller: caller.cloned(), source: self.source.clone(), ability, modern };
        let lister = Lister { audience, most: turn.policy.limits.list, filters: server.filters_lists };
        Box::new(Listing::new(lister, request))
    }

    /// P35: the session is this caller's, or nobody's; the server sees its own id.
    fn open_session(&mut self, server: &Server, caller: Option<&CallerToken>, turn: &Turn<'_>) -> Result<(), Reason> {
        let Some(keys) = &turn.policy.sessions else { return Ok(()) };
        let claims = caller.map(CallerToken::claims);
        self.owner = claims.map(|claims| (claims.issuer.clone(), claims.subject.clone()));
        let owner = Owner {
            server: &server.name,
            caller: self.owner.as_ref().map(|(issuer, subject)| (issuer.as_str(), subject.as_deref())),
        };
        let Some(sealed) = self.session.take() else { return Ok(()) };
        if !self.has_sessions {
            // It means nothing in 2026-07-28, and might to a server that goes by it all the same.
            self.unwanted.take_out("mcp-session-id");
            return Ok(());
        }
        let id = keys.open(&sealed, owner).ok_or(Reason::SessionForeign)?.to_owned();
        self.unwanted.session = Some(id.clone());
        self.session = Some(id);
        Ok(())
    }

    /// P35: `subscriptions/listen` and GET open streams that no answer ends.
    fn bound_stream(&mut self, caller: &CallerToken, turn: &Turn<'_>) {
        if turn.policy.limits.ends_streams {
            let end = Millis(0).plus_seconds(u64::try_from(caller.claims().expires_at).unwrap_or_default());
            self.unwanted.end_after(end.0.saturating_sub(turn.now.0));
        }
    }

    /// What a record says of a request.
    fn note(&mut self, frame: &Frame<'_>, operation: &Operation<'_>, server: &Server) {
        self.facts.method = Some(field(&frame.method));
        let target = operation.target();
        self.facts.kind = Some(target.map_or("method", Target::kind));
        self.facts.name = match target {
            Some(Target::Method(_)) | None => frame.param("name").or(frame.param("uri")).ok().flatten().map(field),
            Some(target) => Some(field(target.name())),
        };
        let said = |name: &String| frame.meta()?.get(name)?.text().filter(|text| text.len() <= MOST_DECLARED);
        if let Some(task) = server.declared_task.as_ref().and_then(said) {
            self.facts.labels.get_or_insert_default().declared_task = Some(task.to_owned());
        }
    }

    /// P36: what the policy says of it.
    fn label(&mut self, server: &Server, rule: Option<&Rule>) {
        self.facts.rule = rule.map(|rule| field(&rule.pattern));
        let of_rule = rule.map(|rule| (&rule.data_class, &rule.purpose));
        let (data_class, purpose) = of_rule.unwrap_or((&None, &None));
        let data_class = data_class.as_ref().or(server.data_class.as_ref());
        if server.environment.is_some() || data_class.is_some() || purpose.is_some() {
            let labels = self.facts.labels.get_or_insert_default();
            labels.environment.clone_from(&server.environment);
            labels.data_class = data_class.cloned();
            labels.purpose.clone_from(purpose);
        }
    }

    fn locate(&mut self, rule: Option<&Rule>, caller: Option<&CallerToken>, turn: &Turn<'_>) {
        if turn.policy.limits.filter_state {
            self.coordinates = coordinates(&self.facts, rule, caller.map(CallerToken::claims));
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
        if let Err(reason) = self.open_session(server, Some(caller), turn) {
            return reason.into();
        }
        self.expect_stream(server, caller, turn);
        if self.is_get {
            self.bound_stream(caller, turn);
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
        let frame = match Frame::read(body, &server.reads) {
            Ok(frame) => frame,
            Err(NoFrame { reason, id }) => return Next::Refuse(Refusal { id, modern, ..reason.into() }),
        };
        if !frame.method.is_empty() {
            self.facts.method = Some(field(&frame.method));
        }
        let operation = match mcp::operation(&frame, mirror) {
            Ok(operation) => operation,
            Err(reason) => return Next::Refuse(Refusal { id: frame.request_id(), modern, ..reason.into() }),
        };
        if !frame.method.is_empty() {
            self.note(&frame, &operation, server);
        }
        if let Err(reason) = self.open_session(server, Some(caller), turn) {
            return Next::Refuse(Refusal { id: frame.request_id(), modern, ..reason.into() });
        }
        if frame.method == "subscriptions/listen" {
            self.bound_stream(caller, turn);
        }
        if let Some(id) = frame.cancelled() {
            self.follows = Some(follows(caller, Following::Cancels(id)));
        }
        let told = turn.policy.services.iter().any(|service| service.context);
        let context = told.then(|| frame.context(body));
        let (id, session, is_task) = (frame.request_id(), self.session.clone(), frame.is_task());
        let is_call = matches!(operation, Operation::On(Target::Tool(_)));
        // Lists need no rule.
        if operation == Operation::Baseline && id.is_some() {
            let request = ReplyTo { id: id.clone(), modern, session: session.clone(), ..ReplyTo::default() };
            self.expect_list(server, &frame.method, Some(caller), request, turn);
        }
        let arguments = match operation.target() {
            Some(Target::Method(_)) => frame.params(),
            _ => frame.arguments(),
        };
        let origin = Origin { id, modern, session, context, is_task, is_call, arguments, meta: frame.meta() };
        self.decide(caller, &operation, server, origin, turn)
    }

    pub(super) fn decide(
        &mut self,
        caller: &CallerToken,
        operation: &Operation<'_>,
        server: &Server,
        Origin { id, modern, session, context, is_task, is_call, arguments, meta }: Origin<'_>,
        turn: &Turn<'_>,
    ) -> Next {
        let is_changed = |tool: &str| changed(turn.shared, turn.policy, server, tool, turn.now);
        let asker = Asker {
            caller,
            source: self.source.as_deref(),
            context: context.as_ref(),
            is_task,
            ability: turn.policy.clients.of(caller.claims().client_id.as_deref()),
            modern,
            trace: &self.trace,
            unwanted: &self.unwanted,
            arguments: arguments.filter(|value| **value != Value::Null),
            meta: meta.filter(|value| **value != Value::Null),
            changed: &is_changed,
        };
        let decision = decide::decide(turn.policy, server, &asker, operation, turn.now);

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
        self.label(server, decision.rule);
        self.facts.step_up = decision.step_up;
        self.facts.raised = decision.raised;
        self.facts.is_shadow = Some(decision.is_shadow);
        if let Some(name) = decision.name {
            self.facts.name = Some(field(&name));
        }
        self.locate(decision.rule, Some(caller), turn);
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
