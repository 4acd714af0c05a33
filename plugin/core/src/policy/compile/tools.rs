//! `tiers` and `tools`: what a tool needs (P1 to P6, P13).

use std::collections::{BTreeMap, BTreeSet};

use super::scopes::Hierarchy;
use crate::json::Value;
use crate::policy::condition::Condition;
use crate::policy::document;
use crate::policy::document::{Entry, Fields, Report};
use crate::policy::rules::{Exchange, Requirement, Rule, Rules, Scope, has_plain_characters};

/// A tier and whether a rule uses it.
#[derive(Debug)]
pub(super) struct Tier {
    path: String,
    terms: Terms,
    used: bool,
}

pub(super) type Tiers = BTreeMap<String, Tier>;

/// What a tier or a rule says. `None` is not written.
#[derive(Clone, Debug, Default)]
struct Terms {
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Ignore,
    Refuse,
}

/// P6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StepUp {
    None,
    Challenge,
    Exchange,
}

pub(super) fn tiers(entry: Option<Entry<'_>>, max_ttl: u64, report: &mut Report) -> Tiers {
    let mut tiers = Tiers::new();
    for (name, entry) in entry.and_then(|entry| entry.named(report)).unwrap_or_default() {
        let Some(mut fields) = entry.fields(report) else { continue };
        let terms = Terms::read(&mut fields, max_ttl, report);
        fields.finish(report);
        if terms.step_up.is_none_or(|step_up| step_up == StepUp::Challenge)
            && !terms.deny
            && terms.max_lifetime.or(terms.max_age).is_none()
        {
            let help =
                "add `max_lifetime` or `max_age`: after a challenge the client keeps the wide token for its whole life";
            report.warn(&entry.path, "a challenge tier with neither `max_lifetime` nor `max_age` (P13)", help);
        }
        tiers.insert(name.to_owned(), Tier { path: entry.path, terms, used: false });
    }
    tiers
}

pub(super) fn unused(tiers: &Tiers, report: &mut Report) {
    for tier in tiers.values().filter(|tier| !tier.used) {
        report.warn(&tier.path, "a tier that no rule uses", "remove it");
    }
}

/// What the rules of one server are made with.
pub(super) struct Maker<'m> {
    pub scopes: &'m mut Hierarchy,
    pub tiers: &'m mut Tiers,
    pub baseline: &'m [Scope],
    pub resource: &'m str,
    pub has_service: bool,
    pub max_ttl: u64,
}

impl Maker<'_> {
    pub(super) fn rules(&mut self, entry: Option<Entry<'_>>, report: &mut Report) -> Rules {
        let Some(entry) = entry else { return Rules::default() };
        let named = entry.named(report).unwrap_or_default();
        if named.is_empty() {
            entry.fault(report, "no rule", "name at least one tool; what no rule matches is refused");
        }
        let mut folded = BTreeSet::new();
        let mut may_be_weaker = BTreeSet::new();
        let mut list = Vec::new();
        for (pattern, entry) in &named {
            check_pattern(pattern, entry, report);
            if !folded.insert(pattern.to_ascii_lowercase()) {
                let help = "a server that ignores case would run one under the rule of the other; keep one";
                entry.fault(report, "differs from another rule only by case", help);
            }
            let Some((rule, allow_weaker)) = self.rule(pattern, entry, report) else { continue };
            if allow_weaker {
                may_be_weaker.insert(rule.pattern.clone());
            }
            list.push(rule);
        }
        let rules = Rules::new(list);
        let paths: BTreeMap<&str, &str> = named.iter().map(|(name, entry)| (*name, entry.path.as_str())).collect();
        for rule in rules.iter().filter(|rule| !may_be_weaker.contains(&rule.pattern)) {
            if let Some(stronger) = rules.less_specific(&rule.pattern).find(|other| !rule.asks_at_least(other)) {
                let path = paths.get(rule.pattern.as_str()).copied().unwrap_or_default();
                report.warn(
                    path,
                    format!("asks less than `{}`, which it replaces for this name (P1)", stronger.pattern),
                    "nothing is inherited; ask the same, or say `allow_weaker: true`",
                );
            }
        }
        rules
    }

    fn rule(&mut self, pattern: &str, entry: &Entry<'_>, report: &mut Report) -> Option<(Rule, bool)> {
        let name = pattern.to_owned();
        if entry.value.text() == Some("deny") {
            let terms = Terms { deny: true, ..Terms::default() };
            return Some((Rule { pattern: name, deny: true, requirement: self.requirement(&terms) }, false));
        }
        // P2: an empty rule might mean anything.
        if entry.value == &Value::Null || entry.value.members().is_some_and(<[_]>::is_empty) {
            let help = "for a tool that needs nothing beyond the baseline write `{ scope: [] }`";
            entry.fault(report, "an empty rule", help);
            return None;
        }
        let mut fields = entry.fields(report)?;
        let own = Terms::read(&mut fields, self.max_ttl, report);
        let tier = fields.take("tier");
        let allow_weaker = match fields.take("allow_weaker") {
            None => false,
            Some(entry) => document::word(&entry.as_word(), &[("true", true)], report).is_some(),
        };
        let path = fields.path.clone();
        fields.finish(report);
        let terms = match tier {
            None => own,
            Some(tier) => own.merge(self.tier(&tier, report)?, &path, report),
        };
        self.check(&terms, &path, report);
        if terms.scope.is_none() && !terms.deny && !self.leads_elsewhere(&terms) {
            let help =
                "name the scopes the tool needs, in the rule or its tier; `scope: []` if none beyond the baseline";
            report.fault(&path, "`scope` is missing", help);
        }
        let requirement = self.requirement(&terms);
        if pattern == "*" && !terms.deny && self.baseline_rule().asks_at_least(&requirement) {
            let help = "any tool the server adds later is open to everyone with the baseline";
            report.warn(&path, "`*` asks for nothing beyond the baseline (P2)", help);
        }
        Some((Rule { pattern: name, deny: terms.deny, requirement }, allow_weaker))
    }

    /// What every request needs anyway.
    fn baseline_rule(&self) -> Requirement {
        Requirement::of(self.baseline.to_vec())
    }

    fn tier(&mut self, entry: &Entry<'_>, report: &mut Report) -> Option<Terms> {
        let name = entry.text(report)?;
        let Some(tier) = self.tiers.get_mut(name) else {
            let known = self.tiers.keys().cloned().collect::<Vec<_>>().join(", ");
            entry.fault(report, format!("unknown tier `{name}`"), format!("tiers of this policy: {known}"));
            return None;
        };
        tier.used = true;
        Some(tier.terms.clone())
    }

    /// P6, P8 to P11: what belongs to an exchange, and to nothing else.
    fn check(&self, terms: &Terms, path: &str, report: &mut Report) {
        if terms.step_up != Some(StepUp::Exchange) {
            let words = [
                (terms.ttl.is_some(), "ttl", "for callers' tokens use `max_lifetime`"),
                (terms.standing.is_some(), "standing", "it is about scopes that an exchange would obtain"),
                (terms.fallback.is_some(), "fallback", "a missing scope is challenged here anyway"),
                (!terms.may_elevate.is_empty(), "may_elevate", "nobody is elevated by this rule"),
                (
                    self.leads_elsewhere(terms),
                    "audience",
                    "the caller's token is for `resource` and must not go elsewhere",
                ),
            ];
            for (_, word, help) in words.iter().filter(|(written, ..)| *written) {
                let path = format!("{path}.{word}");
                report.fault(&path, format!("`{word}` needs `step_up: exchange`"), *help);
            }
            return;
        }
        if !self.has_service {
            report.fault(path, "`exchange` needs `token_service`", "say at the top who exchanges tokens");
        }
        let scopes = terms.scope.as_ref().is_some_and(|scopes| !scopes.is_empty());
        if !scopes && !self.leads_elsewhere(terms) {
            let help = "name the scopes to obtain, or an `audience` other than `resource`";
            report.fault(path, "an exchange for nothing", help);
        }
        if terms.standing.is_some() && !scopes {
            report.fault(path, "`standing` without scopes", "there is nothing a caller could hold already");
        }
        if terms.standing == Some(Standing::Refuse) && terms.fallback.is_some() {
            let help = "the token that the challenge asks for would be refused; keep one of them";
            report.fault(path, "`standing: refuse` beside `fallback: challenge`", help);
        }
        let in_baseline = |scope: &String| self.baseline.iter().any(|held| *held.name == **scope);
        if terms.standing == Some(Standing::Refuse) && terms.scope.iter().flatten().any(in_baseline) {
            let help = "the baseline, which every caller has, holds a scope that this rule refuses to see";
            report.warn(path, "a tool nobody can call", help);
        }
        if terms.may_elevate.is_empty() {
            let problem = "any caller with the baseline is elevated here if the token service agrees (P8)";
            report.warn(path, problem, "say who may be elevated: `may_elevate: { client: [ ... ] }`");
        }
    }

    /// P10: absent means `resource`.
    fn leads_elsewhere(&self, terms: &Terms) -> bool {
        terms.audience.as_deref().is_some_and(|audience| audience != self.resource)
    }

    fn requirement(&mut self, terms: &Terms) -> Requirement {
        let exchange = terms.step_up == Some(StepUp::Exchange);
        let mut held = self.baseline.to_vec();
        let mut granted = Vec::new();
        for name in terms.scope.iter().flatten() {
            let list = if exchange { &mut granted } else { &mut held };
            if !list.iter().any(|scope: &Scope| &*scope.name == name) {
                list.push(self.scopes.scope(name));
            }
        }
        for list in [&mut held, &mut granted] {
            list.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        }
        let exchange = exchange.then(|| Exchange {
            granted,
            audience: terms.audience.clone().unwrap_or_else(|| self.resource.to_owned()),
            ttl: terms.ttl.unwrap_or(DEFAULT_TTL),
            refuse_standing: terms.standing == Some(Standing::Refuse),
            fallback: terms.fallback.is_some(),
            may_elevate: terms.may_elevate.clone(),
        });
        Requirement {
            asks_scopes: terms
                .scope
                .iter()
                .flatten()
                .any(|name| !self.baseline.iter().any(|held| *held.name == **name)),
            held,
            challenge: terms.step_up != Some(StepUp::None),
            max_lifetime: terms.max_lifetime,
            max_age: terms.max_age,
            exchange,
        }
    }
}

/// P11, in seconds.
const DEFAULT_TTL: u64 = 60;

impl Terms {
    fn read(fields: &mut Fields<'_>, max_ttl: u64, report: &mut Report) -> Terms {
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

    /// P5: scopes add up, times shrink, `deny` stays, `step_up` is said once.
    fn merge(self, tier: Terms, path: &str, report: &mut Report) -> Terms {
        if let (Some(own), Some(other)) = (self.step_up, tier.step_up)
            && own != other
        {
            report.fault(path, "`step_up` differs from that of the tier", "say it in one place");
        }
        if let (Some(own), Some(other)) = (&self.audience, &tier.audience)
            && own != other
        {
            report.fault(path, "`audience` differs from that of the tier", "say it in one place");
        }
        let stronger = |own: Option<Standing>, other: Option<Standing>| match (own, other) {
            (Some(Standing::Refuse), _) | (_, Some(Standing::Refuse)) => Some(Standing::Refuse),
            (own, other) => own.or(other),
        };
        let scope = match (self.scope, tier.scope) {
            (Some(own), Some(other)) => Some([own, other].concat()),
            (own, other) => own.or(other),
        };
        let smaller = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        Terms {
            scope,
            step_up: self.step_up.or(tier.step_up),
            max_lifetime: smaller(self.max_lifetime, tier.max_lifetime),
            max_age: smaller(self.max_age, tier.max_age),
            deny: self.deny || tier.deny,
            ttl: smaller(self.ttl, tier.ttl),
            audience: self.audience.or(tier.audience),
            standing: stronger(self.standing, tier.standing),
            fallback: self.fallback.or(tier.fallback),
            may_elevate: [self.may_elevate, tier.may_elevate].concat(),
        }
    }
}

fn check_pattern(pattern: &str, entry: &Entry<'_>, report: &mut Report) {
    let stem = pattern.strip_suffix('*').unwrap_or(pattern);
    if stem.contains('*') {
        entry.fault(report, "a `*` that is not the last character", "write an exact name, `prefix*` or `*`");
    } else if pattern.len() > stem.len() && !stem.is_empty() && (stem.len() > 128 || !has_plain_characters(stem)) {
        let help = "prefixes match names of letters, digits and `_ . : / -` only; other names need their exact rule";
        entry.fault(report, "a prefix that matches nothing", help);
    } else if pattern.is_empty() {
        entry.fault(report, "an empty name", "write an exact name, `prefix*` or `*`");
    }
}
