//! `tiers` and `tools`: the rules of a server (P1, P2, P5).

use std::collections::{BTreeMap, BTreeSet};

use super::scopes::Hierarchy;
use super::service::Named;
use super::terms::{Site, Terms};
use crate::json::Value;
use crate::policy::document::{self, Entry, Report, vocabulary};
use crate::policy::requirement::{Conflict, Requirement};
use crate::policy::rules::{Rule, Rules, has_plain_characters};

/// A tier and whether a rule uses it.
#[derive(Debug)]
pub(super) struct Tier {
    path: String,
    terms: Terms,
    used: bool,
}

pub(super) type Tiers = BTreeMap<String, Tier>;

pub(super) fn tiers(entry: Option<Entry<'_>>, max_ttl: u64, report: &mut Report) -> Tiers {
    let mut tiers = Tiers::new();
    for (name, entry) in entry.and_then(|entry| entry.named(report)).unwrap_or_default() {
        let Some(fields) = entry.fields(&[vocabulary::TERMS], report) else { continue };
        let terms = Terms::read(&fields, max_ttl, report);
        fields.finish(report);
        if terms.is_challenge_without_end() {
            let help =
                "add `max_lifetime` or `max_age`: after a challenge the client keeps the wide token for its whole life";
            report.warn(&entry.path, "a challenge tier with neither `max_lifetime` nor `max_age` (P13)", help);
        }
        tiers.insert(name.to_owned(), Tier { path: entry.path, terms, used: false });
    }
    tiers
}

/// What the tiers name counts, whether or not a rule uses them.
pub(super) fn name_scopes(tiers: &Tiers, scopes: &mut Hierarchy) {
    tiers.values().flat_map(|tier| tier.terms.scopes()).for_each(|scope| scopes.name(scope));
}

pub(super) fn unused(tiers: &Tiers, services: &Named, report: &mut Report) {
    for tier in tiers.values().filter(|tier| !tier.used) {
        report.warn(&tier.path, "a tier that no rule uses", "remove it");
        tier.terms.check_alone(services, &tier.path, report);
    }
}

/// What the rules of one server are made with.
pub(super) struct Maker<'m> {
    pub scopes: &'m mut Hierarchy,
    pub tiers: &'m mut Tiers,
    pub site: Site<'m>,
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
        for (pattern, entry) in named {
            check_pattern(pattern, &entry, report);
            if !folded.insert(pattern.to_ascii_lowercase()) {
                let help = "a server that ignores case would run one under the rule of the other; keep one";
                entry.fault(report, "differs from another rule only by case", help);
            }
            let Some((rule, allow_weaker)) = self.rule(pattern, &entry, report) else { continue };
            if allow_weaker {
                may_be_weaker.insert(rule.pattern.clone());
            }
            list.push(rule);
        }
        let rules = Rules::new(list);
        for rule in rules.iter().filter(|rule| !may_be_weaker.contains(&rule.pattern)) {
            let weaker_than = |other: &&Rule| !rule.implies(other);
            if let Some(stronger) = rules.less_specific(&rule.pattern).find(weaker_than) {
                report.warn(
                    &rule.place,
                    format!("asks less than `{}`, which it replaces for this name (P1)", stronger.pattern),
                    "nothing is inherited; ask the same, or say `allow_weaker: true`",
                );
            }
        }
        rules
    }

    fn rule(&mut self, pattern: &str, entry: &Entry<'_>, report: &mut Report) -> Option<(Rule, bool)> {
        if entry.value.text() == Some("deny") {
            return Some((self.made(pattern, None, Terms::denied(), &entry.path, report)?, false));
        }
        // P2: an empty rule might mean anything.
        if entry.value == &Value::Null || entry.value.members().is_some_and(<[_]>::is_empty) {
            let help = "for a tool that needs nothing beyond the baseline write `{ scope: [] }`";
            entry.fault(report, "an empty rule", help);
            return None;
        }
        if entry.value.get("anonymous").is_some() {
            return Some((anonymous(pattern, entry, report)?, false));
        }
        let fields = entry.fields(&[vocabulary::TERMS, vocabulary::RULE], report)?;
        // Looked at above.
        let _ = fields.take("anonymous");
        let own = Terms::read(&fields, self.site.max_ttl, report);
        let tier = fields.take("tier");
        let allow_weaker = match fields.take("allow_weaker") {
            None => false,
            Some(entry) => document::word(&entry.as_word(), &[("true", true)], report).is_some(),
        };
        let path = fields.path.clone();
        fields.finish(report);
        let tier = match tier {
            None => None,
            Some(entry) => Some(self.tier(&entry, report)?),
        };
        let (tier, terms) = match tier {
            None => (None, own),
            Some((name, terms)) => (Some(name), own.join(terms, &path, report)),
        };
        terms.check(&self.site, &path, report);
        if !terms.says_what_it_needs(self.site.resource) {
            let help =
                "name the scopes the tool needs, in the rule or its tier; `scope: []` if none beyond the baseline";
            report.fault(&path, "`scope` is missing", help);
        }
        let rule = self.made(pattern, tier, terms, &path, report)?;
        if pattern == "*" && self.site.baseline.implies(&rule.requirement) {
            open_star(&path, "everyone with the baseline", report);
        }
        Some((rule, allow_weaker))
    }

    /// A rule asks for its terms and for what every request needs.
    fn made(
        &mut self,
        pattern: &str,
        tier: Option<String>,
        terms: Terms,
        path: &str,
        report: &mut Report,
    ) -> Option<Rule> {
        let challenge = terms.for_who_steps_up().map(|terms| terms.requirement(self.scopes, &self.site));
        let part = terms.requirement(self.scopes, &self.site);
        if let Some(exchange) = part.exchange.as_ref().filter(|exchange| exchange.refuse_standing)
            && let Some(scope) = exchange.granted.iter().find(|scope| scope.covered_by.len() > 1)
        {
            let others = scope.covered_by.iter().skip(1).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let problem = format!("`standing: refuse` sees what implies `{}` too (P9): {others}", scope.name);
            report.note(path, problem, "earlier versions saw the scope itself only");
        }
        let challenge = challenge.and_then(|part| self.site.baseline.clone().and(part).ok());
        match self.site.baseline.clone().and(part) {
            Ok(requirement) => {
                let (pattern, place) = (pattern.to_owned(), path.to_owned());
                Some(Rule { pattern, place, tier, requirement, anonymous: false, challenge })
            }
            Err(Conflict(word)) => {
                report.fault(path, format!("`{word}` is said twice, and differently"), "say it in one place");
                None
            }
        }
    }

    fn tier(&mut self, entry: &Entry<'_>, report: &mut Report) -> Option<(String, Terms)> {
        let name = entry.text(report)?;
        let Some(tier) = self.tiers.get_mut(name) else {
            let known = self.tiers.keys().cloned().collect::<Vec<_>>().join(", ");
            entry.fault(report, format!("unknown tier `{name}`"), format!("tiers of this policy: {known}"));
            return None;
        };
        tier.used = true;
        Some((name.to_owned(), tier.terms.clone()))
    }
}

fn open_star(path: &str, whom: &str, report: &mut Report) {
    let help = format!("any tool the server adds later is open to {whom}");
    report.warn(path, "`*` asks for nothing beyond the baseline (P2)", help);
}

/// P26: nothing but labels may stand beside it, and nothing of the server's applies to it.
fn anonymous(pattern: &str, entry: &Entry<'_>, report: &mut Report) -> Option<Rule> {
    let fields = entry.fields(&[&["anonymous"]], report)?;
    let said = fields.take("anonymous")?;
    let is_said = document::word(&said.as_word(), &[("true", true)], report).is_some();
    for (name, entry) in entry.named(report)?.into_iter().filter(|(name, _)| *name != "anonymous") {
        let help = "who needs no token cannot be asked for anything; leave it out";
        entry.fault(report, format!("`{name}` beside `anonymous` (P26)"), help);
    }
    if pattern == "*" {
        open_star(&entry.path, "everyone", report);
    }
    is_said.then(|| Rule {
        pattern: pattern.to_owned(),
        place: entry.path.clone(),
        tier: None,
        requirement: Requirement::default(),
        anonymous: true,
        challenge: None,
    })
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
