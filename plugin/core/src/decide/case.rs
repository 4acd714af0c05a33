//! One operation before the policy: its rule, what that asks of this call, and whether it is met.

use std::borrow::Cow;
use std::cell::OnceCell;

use super::{Asker, Decision, Permit, Shortfall, Verdict, checks, eligibility, shadow};
use crate::json::{self, Value};
use crate::mcp::Target;
use crate::policy::{Condition, Given, Policy, Requirement, Rule, Server, Subject, Truth, Unmatched};
use crate::reason::Reason;
use crate::time::Millis;

/// What an operation is judged by.
pub(super) struct Case<'p, 'a> {
    pub policy: &'p Policy,
    pub server: &'p Server,
    pub asker: &'a Asker<'a>,
    pub now: Millis,
    /// The payload of the caller's token, once a condition asks for it.
    payload: OnceCell<Value<'a>>,
}

/// What is asked of one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Call,
    /// P20: there are no arguments, so every raise applies.
    Complete,
    /// P20: a stream outlives a token of one call.
    Listen,
    /// P16: could any arguments lead to it?
    List,
}

/// What a rule asks of one operation.
pub(super) struct Need<'p, 'c> {
    pub requirement: Cow<'p, Requirement>,
    pub rule: Option<&'p Rule>,
    pub raised: Vec<usize>,
    /// What is called, where that is a tool or a prompt.
    pub name: Option<&'c str>,
    pub is_tool: bool,
    pub arguments: Given<'c>,
}

impl<'p, 'a> Case<'p, 'a> {
    pub(super) fn new(policy: &'p Policy, server: &'p Server, asker: &'a Asker<'a>, now: Millis) -> Case<'p, 'a> {
        Case { policy, server, asker, now, payload: OnceCell::new() }
    }

    /// What needs no rule. `is_dropped`: allowed, it goes nowhere.
    pub(super) fn baseline(&self, is_dropped: bool) -> Decision<'p> {
        let need = self.of_server();
        let verdict = match self.judge(&need, Way::Call) {
            Verdict::Permit(_) if is_dropped => Verdict::Drop,
            other => other,
        };
        let is_shadow = self.policy.mode.is_shadow(self.now);
        shadow::decided(self, verdict, None, need, is_shadow, is_dropped)
    }

    pub(super) fn call(&self, target: &Target<'_>) -> Decision<'p> {
        match self.server.rules.select(target) {
            Ok(rule) => self.by_rule(rule, target, Way::Call),
            Err(unmatched) => self.unmatched(unmatched, target, Way::Call),
        }
    }

    pub(super) fn listen(&self, target: &Target<'_>) -> Decision<'p> {
        match self.server.rules.select(target) {
            Ok(rule) => self.by_rule(rule, target, Way::Listen),
            Err(unmatched) => self.unmatched(unmatched, target, Way::Listen),
        }
    }

    /// P20: as what is to be completed; of a template, if some URI of it could be read.
    pub(super) fn complete(&self, target: &Target<'_>) -> Decision<'p> {
        if !target.is_template() {
            return match self.server.rules.select(target) {
                Ok(rule) => self.by_rule(rule, target, Way::Complete),
                Err(unmatched) => self.unmatched(unmatched, target, Way::Complete),
            };
        }
        let reached = self.server.rules.of_template(target.name());
        let mut decisions: Vec<_> =
            reached.rules.into_iter().map(|rule| self.by_rule(rule, target, Way::Complete)).collect();
        // P19: some URI of it has no rule, or, spelled otherwise, none but exact ones.
        if let Some(unmatched) = reached.unmatched {
            decisions.push(self.unmatched(unmatched, &Target::Resource(reached.sample.into()), Way::Complete));
        }
        // The best of them.
        let rank = |decision: &Decision<'_>| match &decision.verdict {
            Verdict::Permit(_) | Verdict::Drop => 0,
            Verdict::Obtain(_) => 1,
            Verdict::Refuse(Shortfall { challenge: Some(_), .. }) => 2,
            Verdict::Refuse(_) => 3,
        };
        let best = decisions.into_iter().min_by_key(rank);
        best.unwrap_or_else(|| self.unmatched(Unmatched::NoRule, target, Way::Complete))
    }

    fn by_rule(&self, rule: &'p Rule, target: &Target<'_>, way: Way) -> Decision<'p> {
        let known = self.arguments(rule, target);
        let need = self.need(rule, target, known.as_deref().map_or(Given::Nothing, Given::Known), way);
        let verdict = self.judge(&need, way);
        let is_shadow = rule.mode.unwrap_or(self.policy.mode).is_shadow(self.now);
        let ways = if self.asker.ability.steps_up { "challenge" } else { "exchange" };
        let has_ways = rule.challenge.is_some() || need.raised.iter().any(|at| rule.has_ways(*at));
        let step_up = has_ways.then_some(ways);
        let decision = shadow::decided(self, verdict, Some(rule), need, is_shadow, false);
        Decision { step_up, ..decision }
    }

    /// What it is called with; of a resource, what it is read with.
    pub(super) fn arguments<'t>(&self, rule: &Rule, target: &'t Target<'_>) -> Option<Cow<'t, Value<'t>>>
    where
        'a: 't,
    {
        match target {
            Target::Resource(uri) => Some(Cow::Owned(arguments_of(rule, uri))),
            _ => self.asker.arguments.map(Cow::Borrowed),
        }
    }

    /// No rule is the one for it.
    pub(super) fn unmatched(&self, unmatched: Unmatched, target: &Target<'_>, way: Way) -> Decision<'p> {
        // P20: it is answered as a method that nobody knows, and nothing suspends that.
        if matches!(target, Target::Method(_)) {
            let verdict = Verdict::Refuse(Shortfall::plain(Reason::UnknownMethod));
            return shadow::decided(self, verdict, None, self.of_server(), false, false);
        }
        let reason = match unmatched {
            Unmatched::NoRule => Reason::NoRule,
            Unmatched::Confusable => Reason::NameConfusable,
        };
        let verdict = Verdict::Refuse(Shortfall::plain(reason));
        shadow::unmatched(self, verdict, unmatched, target, way)
    }

    pub(super) fn of_server(&self) -> Need<'p, 'static> {
        let requirement = Cow::Borrowed(&self.server.baseline);
        Need { requirement, rule: None, raised: Vec::new(), name: None, is_tool: false, arguments: Given::Nothing }
    }

    /// P7: what the rule asks, and every raise that holds or is unknown.
    pub(super) fn need<'c>(
        &self,
        rule: &'p Rule,
        target: &'c Target<'_>,
        arguments: Given<'c>,
        way: Way,
    ) -> Need<'p, 'c> {
        self.need_with(rule, target, arguments, way, &[])
    }

    /// The same for arguments such that these raises hold, too, where they can.
    pub(super) fn need_with<'c>(
        &self,
        rule: &'p Rule,
        target: &'c Target<'_>,
        arguments: Given<'c>,
        way: Way,
        open: &[usize],
    ) -> Need<'p, 'c> {
        let name = match target {
            Target::Tool(name) | Target::Prompt(name) => Some(name.as_ref()),
            Target::Resource(_) | Target::Method(_) => None,
        };
        let ability = self.asker.ability;
        let requirement = Cow::Borrowed(rule.requirement_for(ability));
        let is_tool = matches!(target, Target::Tool(_));
        let mut need = Need { requirement, rule: Some(rule), raised: Vec::new(), name, is_tool, arguments };
        for (at, raise) in rule.raises.iter().enumerate() {
            let applies = match way {
                Way::Complete => true,
                Way::List if open.contains(&at) => self.truth(&raise.when, &need, way) != Truth::FALSE,
                Way::Call | Way::Listen | Way::List => !self.truth(&raise.when, &need, way).may_be_false(),
            };
            if applies {
                let part = raise.part_for(ability).clone();
                // The policy would not have loaded; what cannot be joined is not allowed.
                let joined = need.requirement.into_owned().and(part);
                need.requirement = Cow::Owned(joined.unwrap_or(Requirement { deny: true, ..Requirement::default() }));
                need.raised.push(at);
            }
        }
        if let Cow::Owned(named) = need.requirement.named(name) {
            need.requirement = Cow::Owned(named);
        }
        need
    }

    pub(super) fn judge(&self, need: &Need<'_, '_>, way: Way) -> Verdict {
        self.judged(need, way).unwrap_or_else(Verdict::Refuse)
    }

    /// In the order of P7; what came before that was right.
    fn judged(&self, need: &Need<'_, '_>, way: Way) -> Result<Verdict, Shortfall> {
        let Case { policy, server, asker, now, .. } = self;
        let requirement = need.requirement.as_ref();
        checks::scopable(requirement)?;
        checks::denied(requirement)?;
        checks::pinned(server, need.name.filter(|_| need.is_tool), asker.changed)?;
        checks::bound(requirement, asker)?;
        self.all_hold(&requirement.callers, need, way, Reason::CallerNotAllowed)?;
        checks::actors(requirement, asker)?;
        if let Some(exchange) = &requirement.exchange {
            eligibility::standing(exchange, asker)?;
        }
        checks::satisfied(policy, server, requirement, asker, *now)?;
        let Some(exchange) = &requirement.exchange else {
            return Ok(Verdict::Permit(Permit::of_caller(asker.caller, asker.unwanted)));
        };
        eligibility::eligible(policy, exchange, asker)?;
        self.all_hold(&requirement.may_elevate, need, way, Reason::NotEligible)?;
        eligibility::ends_with_its_answer(exchange, asker, way)?;
        let elevation = eligibility::elevation(policy, server, need.rule, exchange, asker);
        Ok(Verdict::Obtain(Box::new(elevation)))
    }

    /// P8, P14: what cannot be known is no.
    fn all_hold(
        &self,
        conditions: &[Condition],
        need: &Need<'_, '_>,
        way: Way,
        reason: Reason,
    ) -> Result<(), Shortfall> {
        let hold = conditions.iter().all(|condition| self.truth(condition, need, way).may_be_true());
        if hold { Ok(()) } else { Err(Shortfall::plain(reason)) }
    }

    fn truth(&self, condition: &Condition, need: &Need<'_, '_>, way: Way) -> Truth {
        let claims = self.asker.caller.claims();
        // It was read before; if it cannot be now, nothing can be known.
        let payload = || json::read_exact(&claims.payload).unwrap_or(Value::Null);
        let meta = self.asker.meta.map_or(Given::Nothing, Given::Known);
        condition.truth(&Subject {
            client: claims.client_id.as_deref(),
            source: self.asker.source,
            claims: self.payload.get_or_init(payload),
            name: need.name,
            arguments: need.arguments,
            meta: if way == Way::List { Given::Any } else { meta },
        })
    }
}

/// P17: what a resource is read with: its URI, and what stands for the variables of the rule's template. Where they could stand for
/// several things, nobody knows for which.
fn arguments_of<'u>(rule: &Rule, uri: &'u str) -> Value<'u> {
    let mut members = vec![("uri".into(), Value::Text(uri.into()))];
    if let Some(template) = rule.template() {
        match template.variables(uri) {
            Some(values) => members
                .extend(values.into_iter().map(|(name, value)| (name.to_owned().into(), Value::Text(value.into())))),
            None => members.extend(template.names().map(|name| (name.to_owned().into(), Value::Skipped))),
        }
    }
    Value::Map(members)
}
