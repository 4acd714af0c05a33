//! A policy as an auditor asks about it: who may do what, and what it takes. For tools: the filter uses nothing of it.

mod compare;
mod partial;
mod settings;
mod who;
mod words;

pub use settings::{Direction, Setting};
pub(super) use settings::{of_policy, of_server};
pub use who::Who;
pub(super) use who::of as callers;
pub use words::{How, Words};

use crate::policy::pattern::Pattern;
use crate::policy::requirement::Requirement;
use crate::policy::rules::Unmatched;
use crate::policy::{Condition, Kind, Mode, Policy, Rule, Server};
use crate::time::Millis;

/// How what one policy asks lies to what another one asks: the first is the older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Became {
    /// It was refused, and can be done now.
    Reachable,
    /// Less is asked.
    Weaker,
    /// Something else is asked, and neither is more than the other.
    Changed,
    /// More is asked.
    Stronger,
    /// It could be done, and is refused now.
    Unreachable,
}

/// What a caller needs for one thing: what its rule asks, with what is known of the caller put in (P7, P14, P24).
#[derive(Clone, Debug)]
pub struct Need {
    requirement: Requirement,
    /// What is asked beside, where the condition is true or cannot be known.
    raises: Vec<(Condition, Requirement)>,
    anonymous: bool,
    /// P15: until when its verdicts are not enforced.
    shadow: Option<Millis>,
    refused: Option<Refused>,
    rule: Option<Found>,
    context: Context,
}

/// The rule that was found.
#[derive(Clone, Debug)]
struct Found {
    pattern: String,
    place: String,
    tier: Option<String>,
}

/// What a requirement refers to.
#[derive(Clone, Debug)]
struct Context {
    resource: String,
    /// What each token service is, by position.
    services: Vec<String>,
    /// Scopes of the server's own baseline, to tell what is beyond it.
    baseline: Vec<String>,
}

/// Why nobody may, or this caller may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Rule,
    NoRule,
    Confusable,
    /// P14: it is none of the callers that may.
    Caller,
    /// P8: it may not be elevated.
    NotEligible,
}

/// What this caller needs for a thing of this name.
pub(super) fn need(policy: &Policy, server: &Server, kind: Kind, name: &str, who: &Who, now: Millis) -> Need {
    // P20: prefixes skip methods that need no rule, or have others.
    let is_fixed = kind == Kind::Method && crate::mcp::is_fixed(name);
    let selected = if is_fixed { Err(Unmatched::NoRule) } else { server.rules.of_kind(kind).select(name) };
    match selected {
        Ok(rule) => of_rule(policy, server, rule, exact(kind, rule, name), who, now),
        Err(unmatched) => {
            let refused = if unmatched == Unmatched::NoRule { Refused::NoRule } else { Refused::Confusable };
            // P15, P20: nothing suspends that a method is unknown, or that a name could be another one.
            let stays = kind == Kind::Method || refused == Refused::Confusable;
            let shadow = (!stays).then(|| until(policy.mode, now)).flatten();
            let requirement = Requirement { deny: true, ..Requirement::default() };
            let (raises, context) = (Vec::new(), context(policy, server));
            Need { requirement, raises, anonymous: false, shadow, refused: Some(refused), rule: None, context }
        }
    }
}

/// P2: what every request with a token needs.
pub(super) fn baseline(policy: &Policy, server: &Server, who: &Who, now: Millis) -> Need {
    let shadow = until(policy.mode, now);
    let (requirement, refused) = partial::requirement(server.baseline.clone(), who);
    // Nothing is beyond it here.
    let (raises, context) = (Vec::new(), Context { baseline: Vec::new(), ..context(policy, server) });
    Need { requirement, raises, anonymous: false, shadow, refused, rule: None, context }
}

fn of_rule(policy: &Policy, server: &Server, rule: &Rule, name: Option<&str>, who: &Who, now: Millis) -> Need {
    let ability = policy.clients.of(who.id().as_deref());
    let named = |part: &Requirement| part.named(name).into_owned();
    let asked = partial::Asked {
        requirement: named(rule.requirement_for(ability)),
        raises: rule.raises.iter().map(|raise| (raise.when.clone(), named(raise.part_for(ability)))).collect(),
    };
    let (asked, refused) = asked.of(who);
    Need {
        requirement: asked.requirement,
        raises: asked.raises,
        anonymous: rule.anonymous,
        shadow: until(rule.mode.unwrap_or(policy.mode), now),
        refused,
        rule: Some(Found { pattern: rule.pattern.clone(), place: rule.place.clone(), tier: rule.tier.clone() }),
        context: context(policy, server),
    }
}

/// P3: scopes are made of the names of tools and prompts, where only one is meant.
fn exact<'n>(kind: Kind, rule: &Rule, name: &'n str) -> Option<&'n str> {
    (matches!(kind, Kind::Tool | Kind::Prompt) && rule.pattern == name).then_some(name)
}

fn until(mode: Mode, now: Millis) -> Option<Millis> {
    mode.until().filter(|until| now < *until)
}

fn context(policy: &Policy, server: &Server) -> Context {
    let issuer = |at: usize| policy.issuer_at(at).map_or("", |issuer| issuer.name.as_str());
    let services = policy
        .services
        .iter()
        .map(|service| format!("{} ({}, as {})", issuer(service.issuer), service.token.url, service.client.id));
    let baseline = server.baseline.held.iter().flat_map(|held| held.group.members());
    Context {
        resource: server.resource.clone(),
        services: services.collect(),
        baseline: baseline.map(|scope| scope.name.to_string()).collect(),
    }
}

impl Need {
    /// Is it refused, whatever the caller has?
    pub fn is_closed(&self) -> bool {
        self.requirement.deny && self.shadow.is_none()
    }

    /// The pattern of the rule that applies.
    pub fn rule(&self) -> Option<&str> {
        self.rule.as_ref().map(|rule| rule.pattern.as_str())
    }

    /// Every scope of a caller's token that could matter to it, where this name is called, sorted.
    pub fn scopes(&self, name: &str) -> Vec<String> {
        let parts = std::iter::once(&self.requirement).chain(self.raises.iter().map(|(_, part)| part));
        let named = |part: &Requirement| part.named(Some(name)).into_owned();
        let mut scopes = self.context.baseline.clone();
        for part in parts.map(named) {
            let members = part.groups().into_iter().flat_map(|group| group.members().cloned().collect::<Vec<_>>());
            scopes.extend(members.flat_map(|scope| scope.covered_by.to_vec()));
        }
        scopes.sort();
        scopes.dedup();
        scopes
    }

    /// Where that stands in the document.
    pub fn place(&self) -> Option<&str> {
        self.rule.as_ref().map(|rule| rule.place.as_str())
    }
}

/// Names to compare by: what stands for this pattern alone, and what for it and each of the others that could have a name in common.
/// Between literals stands a text that no policy has.
pub fn samples(kind: Kind, pattern: &str, others: &[&str]) -> Vec<String> {
    let Ok(own) = kind.pattern(pattern) else { return Vec::new() };
    if own.exact().is_some() {
        return vec![pattern.to_owned()];
    }
    let mut found = vec![own.sample()];
    let others = others.iter().filter_map(|other| kind.pattern(other).ok()).filter(|other| other.exact().is_none());
    found.extend(others.filter_map(|other| own.common_sample(&other)).filter(|text| kind.is_plain(text)));
    found.sort();
    found.dedup();
    found
}

/// Does this pattern match that name, as both are written?
pub fn is_for(kind: Kind, pattern: &str, name: &str) -> bool {
    kind.pattern(pattern).is_ok_and(|pattern: Pattern| pattern.matches(name))
}
