//! What a list shows (P16): whatever the same decision could end well for, with some arguments.

use super::case::{Case, Way};
use super::{Asker, Shortfall, Verdict, checks};
use crate::http::Unwanted;
use crate::mcp::Target;
use crate::policy::{Ability, Given, Policy, Requirement, Rule, Server, Unmatched, is_scopable};
use crate::time::Millis;
use crate::token::CallerToken;

/// For whom a list is made.
#[derive(Debug)]
pub(crate) struct Audience {
    /// `None`: somebody without a token (P26).
    pub caller: Option<CallerToken>,
    pub source: Option<String>,
    pub ability: Ability,
    pub modern: bool,
}

/// How a tool is authorized, as ChatGPT wants it said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Nobody,
    /// Scopes, separated by spaces.
    OAuth(String),
}

/// What is asked of each thing in a list.
pub(crate) struct Viewing<'v> {
    pub policy: &'v Policy,
    pub server: &'v Server,
    /// P31: tools that are not what they were when they were pinned.
    pub changed: &'v dyn Fn(&str) -> bool,
    pub now: Millis,
}

impl Audience {
    /// Is it shown? A template, if some URI of it could be read (P19).
    pub(crate) fn sees(&self, viewing: &Viewing<'_>, target: &Target<'_>) -> bool {
        let Some(caller) = &self.caller else { return self.stranger_sees(viewing, target) };
        let unwanted = Unwanted::default();
        let asker = self.asker(caller, viewing, &unwanted);
        let case = Case::new(viewing.policy, viewing.server, &asker, viewing.now);
        let is_shadow = |rule: &Rule| rule.mode.unwrap_or(viewing.policy.mode).is_shadow(viewing.now);
        if target.is_template() {
            let reached = viewing.server.rules.of_template(target.name());
            let mut seen = reached.rules.into_iter().map(|rule| is_shadow(rule) || case.could(rule, target));
            let sample = Target::Resource(reached.sample.into());
            return seen.any(|seen| seen) || reached.unmatched.is_some_and(|unmatched| case.passes(unmatched, &sample));
        }
        match viewing.server.rules.select(target) {
            Ok(rule) if is_shadow(rule) => true,
            Ok(rule) => case.could(rule, target),
            Err(unmatched) => case.passes(unmatched, target),
        }
    }

    /// Things that need no token; with `annotate`, all that some token could reach.
    fn stranger_sees(&self, viewing: &Viewing<'_>, target: &Target<'_>) -> bool {
        let (server, is_named) = (viewing.server, is_scopable(target.name()));
        let is_shadow = |rule: &Rule| rule.mode.unwrap_or(viewing.policy.mode).is_shadow(viewing.now);
        let is_open = |rule: &Rule| !rule.requirement.deny && (is_named || !rule.requirement.builds());
        let is_reachable = |rule: &Rule| rule.anonymous || (server.annotates && (is_open(rule) || is_shadow(rule)));
        if target.is_template() {
            return server.rules.of_template(target.name()).rules.into_iter().any(is_reachable);
        }
        let is_pinned = match target {
            Target::Tool(tool) => checks::pinned(server, Some(tool), viewing.changed).is_ok(),
            _ => true,
        };
        is_pinned && server.rules.select(target).is_ok_and(is_reachable)
    }

    /// P16: what the tool's entry says of it.
    pub(crate) fn scheme(&self, viewing: &Viewing<'_>, tool: &Target<'_>) -> Scheme {
        let server = viewing.server;
        let rule = server.rules.select(tool).ok();
        if rule.is_some_and(|rule| rule.anonymous) {
            return Scheme::Nobody;
        }
        let Some(caller) = &self.caller else {
            let requirement = rule.map_or(&server.baseline, |rule| rule.requirement_for(self.ability));
            let named = requirement.named(Some(tool.name()));
            return Scheme::OAuth(viewing.policy.asked_of_anybody(server, asks(&named)));
        };
        let unwanted = Unwanted::default();
        let asker = self.asker(caller, viewing, &unwanted);
        let case = Case::new(viewing.policy, server, &asker, viewing.now);
        let need = rule.map_or_else(|| case.of_server(), |rule| case.need(rule, tool, Given::Any, Way::List));
        Scheme::OAuth(checks::named_in_challenge(viewing.policy, server, &need.requirement, &asker))
    }

    fn asker<'a>(&'a self, caller: &'a CallerToken, viewing: &Viewing<'a>, unwanted: &'a Unwanted) -> Asker<'a> {
        Asker {
            caller,
            source: self.source.as_deref(),
            context: None,
            is_task: false,
            ability: self.ability,
            modern: self.modern,
            trace: &[],
            unwanted,
            arguments: None,
            meta: None,
            changed: viewing.changed,
        }
    }
}

fn asks(requirement: &Requirement) -> impl Iterator<Item = &str> {
    requirement.held.iter().map(|held| &*held.group.ask().name)
}

impl Case<'_, '_> {
    /// P15: in shadow, what has no rule goes on.
    fn passes(&self, unmatched: Unmatched, target: &Target<'_>) -> bool {
        !matches!(self.unmatched(unmatched, target, Way::List).verdict, Verdict::Refuse(_))
    }

    /// Could a call of it lead to a permit, a challenge or an elevation? Most arguments ask for little; some ask for more, and so for
    /// what can be obtained, where less would be denied. What two raises do not lead to, more of them do not either.
    fn could(&self, rule: &Rule, target: &Target<'_>) -> bool {
        let leads = |open: &[usize]| {
            let need = self.need_with(rule, target, Given::Any, Way::List, open);
            !matches!(self.judge(&need, Way::List), Verdict::Refuse(Shortfall { challenge: None, .. }))
        };
        let raises = || 0..rule.raises.len();
        leads(&[]) || raises().any(|one| raises().take(one + 1).any(|other| leads(&[one, other])))
    }
}
