//! The terms of a tier or a rule: as they are written, and what they ask (P3 to P13).

use super::scopes::Hierarchy;
use crate::policy::condition::Condition;
use crate::policy::document::{self, Entry, Fields, Report};
use crate::policy::requirement::{Exchange, Held, Requirement, Scope, StepUp, Ways, both, each_once, smaller};

/// What a tier or a rule says. `None` is not written.
#[derive(Clone, Debug, Default)]
pub(super) struct Terms {
    scope: Option<Vec<String>>,
    step_up: Option<StepUp>,
    max_lifetime: Option<u64>,
    max_age: Option<u64>,
    deny: bool,
    ttl: Option<u64>,
    audience: Option<String>,
    standing: Option<Standing>,
    fallback: Option<()>,
    may_elevate: Vec<Condition>,
}

/// P9: what of a caller who holds the scope already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Ignore,
    Refuse,
}

/// P11, in seconds.
const DEFAULT_TTL: u64 = 60;

impl Terms {
    /// As written, and each word well-formed.
    pub(super) fn read(fields: &Fields<'_>, max_ttl: u64, report: &mut Report) -> Terms {
        let scope = fields.take("scope").map(|entry| document::scopes(&entry, report).unwrap_or_default());
        let ways = [("none", StepUp::None), ("challenge", StepUp::Challenge), ("exchange", StepUp::Exchange)];
        let step_up = fields.take("step_up").and_then(|entry| document::word(&entry, &ways, report));
        let mut time = |name| fields.take(name).and_then(|entry| Some((document::duration(&entry, report)?, entry)));
        let (max_lifetime, max_age, ttl) = (time("max_lifetime"), time("max_age"), time("ttl"));
        if let Some((seconds, entry)) = &ttl
            && *seconds > max_ttl
        {
            let help = format!("at most {max_ttl}s; more needs `limits.max_ttl`");
            entry.fault(report, "a long life for a token of one call", help);
        }
        let deny = fields.take("deny").and_then(|entry| document::word(&entry.as_word(), &[("true", true)], report));
        let audience = fields.take("audience").and_then(|entry| {
            let text = entry.text(report)?;
            document::no_pattern(text, &entry, report);
            Some(text.to_owned())
        });
        let standings = [("ignore", Standing::Ignore), ("refuse", Standing::Refuse)];
        let standing = fields.take("standing").and_then(|entry| document::word(&entry, &standings, report));
        let fallback = fields.take("fallback").and_then(|entry| document::word(&entry, &[("challenge", ())], report));
        let may_elevate = fields.take("may_elevate").map(|entry| Condition::read(&entry, report));
        let seconds = |time: Option<(u64, Entry<'_>)>| time.map(|(seconds, _)| seconds);
        Terms {
            scope,
            step_up,
            max_lifetime: seconds(max_lifetime),
            max_age: seconds(max_age),
            deny: deny.unwrap_or(false),
            ttl: seconds(ttl),
            audience,
            standing,
            fallback,
            may_elevate: may_elevate.flatten().into_iter().collect(),
        }
    }

    /// `deny`, and nothing else.
    pub(super) fn denied() -> Terms {
        Terms { deny: true, ..Terms::default() }
    }

    /// P5: what a rule and its tier say together.
    pub(super) fn join(self, tier: Terms, path: &str, report: &mut Report) -> Terms {
        let step_up = once(self.step_up, tier.step_up, "step_up", path, report);
        let audience = once(self.audience, tier.audience, "audience", path, report);
        let scope = match (self.scope, tier.scope) {
            (Some(own), Some(other)) => Some([own, other].concat()),
            (own, other) => own.or(other),
        };
        Terms {
            scope,
            step_up,
            max_lifetime: smaller(self.max_lifetime, tier.max_lifetime),
            max_age: smaller(self.max_age, tier.max_age),
            deny: self.deny || tier.deny,
            ttl: smaller(self.ttl, tier.ttl),
            audience,
            // `refuse` is the greater.
            standing: self.standing.max(tier.standing),
            fallback: self.fallback.or(tier.fallback),
            may_elevate: both(self.may_elevate, tier.may_elevate),
        }
    }

    /// P2: a rule says which scopes it asks for, unless it is about something else.
    pub(super) fn says_what_it_needs(&self, resource: &str) -> bool {
        self.scope.is_some() || self.deny || self.leads_elsewhere(resource)
    }

    /// P13: after a challenge the client has a wide token for its whole life.
    pub(super) fn is_challenge_without_end(&self) -> bool {
        let challenges = self.step_up.is_none_or(|step_up| step_up == StepUp::Challenge);
        challenges && !self.deny && self.max_lifetime.or(self.max_age).is_none()
    }

    /// P6, P8 to P11: what belongs to an exchange, and to nothing else.
    pub(super) fn check(&self, site: &Site<'_>, path: &str, report: &mut Report) {
        let leads_elsewhere = self.leads_elsewhere(site.resource);
        if self.step_up != Some(StepUp::Exchange) {
            let words = [
                (self.ttl.is_some(), "ttl", "for callers' tokens use `max_lifetime`"),
                (self.standing.is_some(), "standing", "it is about scopes that an exchange would obtain"),
                (self.fallback.is_some(), "fallback", "a missing scope is challenged here anyway"),
                (!self.may_elevate.is_empty(), "may_elevate", "nobody is elevated by this rule"),
                (leads_elsewhere, "audience", "the caller's token is for `resource` and must not go elsewhere"),
            ];
            for (_, word, help) in words.iter().filter(|(written, ..)| *written) {
                let path = format!("{path}.{word}");
                report.fault(&path, format!("`{word}` needs `step_up: exchange`"), *help);
            }
            return;
        }
        if !site.has_service {
            report.fault(path, "`exchange` needs `token_service`", "say at the top who exchanges tokens");
        }
        let scopes = self.scope.as_ref().is_some_and(|scopes| !scopes.is_empty());
        if !scopes && !leads_elsewhere {
            let help = "name the scopes to obtain, or an `audience` other than `resource`";
            report.fault(path, "an exchange for nothing", help);
        }
        if self.standing.is_some() && !scopes {
            report.fault(path, "`standing` without scopes", "there is nothing a caller could hold already");
        }
        if self.standing == Some(Standing::Refuse) && self.fallback.is_some() {
            let help = "the token that the challenge asks for would be refused; keep one of them";
            report.fault(path, "`standing: refuse` beside `fallback: challenge`", help);
        }
        if self.standing == Some(Standing::Refuse) && self.scope.iter().flatten().any(|name| site.has(name)) {
            let help = "the baseline, which every caller has, holds a scope that this rule refuses to see";
            report.warn(path, "a tool nobody can call", help);
        }
        if self.may_elevate.is_empty() {
            let problem = "any caller with the baseline is elevated here if the token service agrees (P8)";
            report.warn(path, problem, "say who may be elevated: `may_elevate: { client: [ ... ] }`");
        }
    }

    /// What is asked beside the baseline, where this stands.
    pub(super) fn requirement(self, scopes: &mut Hierarchy, site: &Site<'_>) -> Requirement {
        let step_up = self.step_up.unwrap_or(StepUp::Challenge);
        let is_exchange = step_up == StepUp::Exchange;
        let is_beyond = is_exchange || self.scope.iter().flatten().any(|name| !site.has(name));
        let named = self.scope.iter().flatten().map(|name| scopes.scope(name));
        let (granted, held): (Vec<Scope>, Vec<Scope>) = named.partition(|_| is_exchange);
        let part = Requirement::of(held);
        let exchange = Exchange {
            granted: each_once(granted),
            audience: self.audience.unwrap_or_else(|| site.resource.to_owned()),
            ttl: self.ttl.unwrap_or(DEFAULT_TTL),
            refuse_standing: self.standing == Some(Standing::Refuse),
            fallback: self.fallback.is_some(),
            may_elevate: self.may_elevate,
        };
        Requirement {
            deny: self.deny,
            held: part.held.into_iter().map(|held| Held { challenged: step_up != StepUp::None, ..held }).collect(),
            ways: if is_beyond { Ways::of(step_up) } else { Ways::default() },
            max_lifetime: self.max_lifetime,
            max_age: self.max_age,
            exchange: is_exchange.then_some(exchange),
        }
    }

    /// P10: absent means `resource`.
    fn leads_elsewhere(&self, resource: &str) -> bool {
        self.audience.as_deref().is_some_and(|audience| audience != resource)
    }
}

/// Where terms stand: what is settled about their server.
pub(super) struct Site<'s> {
    pub baseline: &'s Requirement,
    pub resource: &'s str,
    /// Is there a `token_service`?
    pub has_service: bool,
}

impl Site<'_> {
    fn has(&self, scope: &str) -> bool {
        self.baseline.held.iter().any(|held| &*held.scope.name == scope)
    }
}

/// What two may say only if it is the same.
fn once<T: PartialEq>(own: Option<T>, tier: Option<T>, word: &str, path: &str, report: &mut Report) -> Option<T> {
    if own.is_some() && tier.is_some() && own != tier {
        report.fault(path, format!("`{word}` differs from that of the tier"), "say it in one place");
    }
    own.or(tier)
}
