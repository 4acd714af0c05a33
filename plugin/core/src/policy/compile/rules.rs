//! `tiers`, `tools`, `prompts`, `resources` and `methods`: the rules of a server (P1, P2, P5, P7).

use std::collections::{BTreeMap, BTreeSet};

use super::modes;
use super::scopes::Hierarchy;
use super::service::Named;
use super::terms::{Site, Terms};
use crate::json::Value;
use crate::mcp::is_fixed;
use crate::policy::condition::{Allowed, Condition};
use crate::policy::document::{self, Entry, Fields, Report, vocabulary};
use crate::policy::pattern::Pattern;
use crate::policy::requirement::{Conflict, Requirement};
use crate::policy::rules::{Kind, Raise, Rule, Rules};
use crate::time::Millis;

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
        let Some(fields) = entry.fields(&[vocabulary::TERMS, vocabulary::SERVICE_TERMS], report) else { continue };
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
    pub now: Option<Millis>,
}

/// Where a rule stands, and how it is written there.
#[derive(Clone, Copy)]
struct Place<'p> {
    key: &'p str,
    path: &'p str,
}

impl Maker<'_> {
    pub(super) fn rules(&mut self, entry: Option<Entry<'_>>, report: &mut Report) -> Rules {
        let Some(entry) = entry else { return Rules::new(self.site.kind, Vec::new()) };
        let named = entry.named(report).unwrap_or_default();
        if named.is_empty() {
            entry.fault(report, "no rule", "name at least one; what no rule matches is refused");
        }
        let mut folded = BTreeSet::new();
        let mut may_be_weaker = BTreeSet::new();
        let mut list = Vec::new();
        for (key, entry) in named {
            let pattern = self.pattern(key, &entry, report);
            if !folded.insert(key.to_ascii_lowercase()) {
                let help = "a server that ignores case would run one under the rule of the other; keep one";
                entry.fault(report, "differs from another rule only by case", help);
            }
            let Some((rule, allow_weaker)) = self.rule(key, &entry, report) else { continue };
            if allow_weaker {
                may_be_weaker.insert(rule.place.clone());
            }
            list.extend(pattern.map(|pattern| (pattern, rule)));
        }
        let rules = Rules::new(self.site.kind, list);
        for (at, rule) in rules.iter().enumerate() {
            if let Some(rival) = rules.rival_of(at) {
                let problem = format!("as specific as `{}`, which some name matches too (P1)", rival.pattern);
                report.fault(&rule.place, problem, "let both ask the same, or write more of one of them");
            }
            self.compare(&rules, at, rule, may_be_weaker.contains(&rule.place), report);
        }
        rules
    }

    /// P1, P19: what is lost where this rule replaces another one.
    fn compare(&self, rules: &Rules, at: usize, rule: &Rule, may_be_weaker: bool, report: &mut Report) {
        let losers = rules.replaced_by(at);
        let name = rules.exact(at);
        if let Some(stronger) = losers.iter().find(|other| !may_be_weaker && !rule.implies(other, name)) {
            let for_what = if name.is_some() { "this name" } else { "some names" };
            report.warn(
                &rule.place,
                format!("asks less than `{}`, which it replaces for {for_what} (P1)", stronger.pattern),
                "nothing is inherited; ask the same, or say `allow_weaker: true`",
            );
        }
        let wider = losers.iter().find(|other| !other.requirement.deny);
        if let (Kind::Resource, true, Some(wider)) = (self.site.kind, rule.requirement.deny, wider) {
            let problem = format!("a `deny` below `{}` (P19)", wider.pattern);
            let help = "a URI that is spelled otherwise is not this one, and may fall to the wider rule: give what may be read, not what may not";
            report.warn(&rule.place, problem, help);
        }
    }

    fn pattern(&self, key: &str, entry: &Entry<'_>, report: &mut Report) -> Option<Pattern> {
        if self.site.kind == Kind::Method && is_fixed(key) {
            let help = "it passes with the baseline, or is judged by the rules of what it is about";
            entry.fault(report, "a method that has its own rule (P20)", help);
        }
        match self.site.kind.pattern(key) {
            Ok(pattern) => Some(pattern),
            Err((problem, help)) => {
                entry.fault(report, problem, help);
                None
            }
        }
    }

    fn rule(&mut self, key: &str, entry: &Entry<'_>, report: &mut Report) -> Option<(Rule, bool)> {
        let place = Place { key, path: &entry.path };
        if entry.value.text() == Some("deny") {
            return Some((self.made(place, None, Terms::denied(), report)?, false));
        }
        // P2: an empty rule might mean anything.
        if entry.value == &Value::Null || entry.value.members().is_some_and(<[_]>::is_empty) {
            entry.fault(report, "an empty rule", "for what needs nothing beyond the baseline write `{ scope: [] }`");
            return None;
        }
        if entry.value.get("anonymous").is_some() {
            return Some((self.anonymous(key, entry, report)?, false));
        }
        let fields = entry.fields(&[vocabulary::TERMS, vocabulary::SERVICE_TERMS, vocabulary::RULE], report)?;
        // Looked at above.
        let _ = fields.take("anonymous");
        let own = Terms::read(&fields, self.site.max_ttl, report);
        let tier = fields.take("tier");
        let allow_weaker = match fields.take("allow_weaker") {
            None => false,
            Some(entry) => document::word(&entry.as_word(), &[("true", true)], report).is_some(),
        };
        let raises = fields.take("raise").and_then(|entry| entry.some_list(report)).unwrap_or_default();
        let mode = modes::read(&fields, self.now, report);
        let labels = labels(&fields, report);
        fields.finish(report);
        let tier = match tier {
            None => None,
            Some(entry) => Some(self.tier(&entry, report)?),
        };
        let (tier, terms) = match tier {
            None => (None, own),
            Some((name, terms)) => (Some(name), own.join(terms, place.path, report)),
        };
        let raises: Vec<_> = raises.iter().filter_map(|entry| self.raise(entry, &terms, report)).collect();
        let of_raises: Vec<Terms> = raises.iter().map(|(_, terms)| terms.clone()).collect();
        terms.check(&self.site, &of_raises, place.path, report);
        if !terms.says_what_it_needs(self.site.resource) {
            let help = "name the scopes it needs, in the rule or its tier; `scope: []` if none beyond the baseline";
            report.fault(place.path, "`scope` is missing", help);
        }
        let mut rule = self.made(place, tier, terms, report)?;
        rule.raises = raises.into_iter().map(|(when, terms)| self.raised(when, terms)).collect();
        rule.mode = mode.unwrap_or_default();
        (rule.data_class, rule.purpose) = labels;
        self.check_joins(&rule, report);
        if key == "*" && self.site.baseline.implies(&rule.requirement) {
            self.open_star(place.path, "everyone with the baseline", report);
        }
        Some((rule, allow_weaker))
    }

    /// P7: on what it hangs, and what it asks.
    fn raise(&mut self, entry: &Entry<'_>, rule: &Terms, report: &mut Report) -> Option<(Condition, Terms)> {
        let fields = entry.fields(&[vocabulary::TERMS, vocabulary::RAISE], report)?;
        let own = Terms::read_of_raise(&fields, self.site.max_ttl, report);
        let (when, unless) = (fields.take("when"), fields.take("unless"));
        let tier = fields.take("tier");
        fields.finish(report);
        let condition = match (&when, &unless) {
            (Some(when), None) => Condition::read(when, Allowed::RAISE, report),
            (None, Some(unless)) => {
                Condition::read(unless, Allowed::OPERATION, report).map(|safe| Condition::Not(Box::new(safe)))
            }
            _ => {
                let help = "say what is safe, `unless: { ... }`, or what is not, `when: { ... }`";
                entry.fault(report, "not exactly one of `when` and `unless`", help);
                None
            }
        };
        let own = match tier {
            None => own,
            Some(tier) => own.join(self.tier(&tier, report)?.1, &entry.path, report),
        };
        if !own.asks() {
            entry.fault(
                report,
                "a raise that asks for nothing",
                "say what is needed: `scope`, `step_up`, `tier`, `deny`",
            );
        }
        let own = own.or_those_of(rule);
        rule.check_raise(&own, &self.site, &entry.path, report);
        Some((condition?, own))
    }

    fn raised(&mut self, when: Condition, terms: Terms) -> Raise {
        let challenge = terms.for_who_steps_up().map(|terms| terms.requirement(self.scopes, &self.site));
        Raise { when, part: terms.requirement(self.scopes, &self.site), challenge }
    }

    /// P5: a word that may be said once must not be said twice, whichever raises apply.
    fn check_joins(&self, rule: &Rule, report: &mut Report) {
        let parts: Vec<&Requirement> =
            std::iter::once(&rule.requirement).chain(rule.raises.iter().map(|raise| &raise.part)).collect();
        for (at, part) in parts.iter().enumerate() {
            for other in parts.iter().skip(at + 1) {
                if let Err(Conflict(word)) = (*part).clone().and((*other).clone()) {
                    let help = "whatever applies to one call must agree: say it in one place";
                    report.fault(&rule.place, format!("`{word}` is said twice, and differently (P5)"), help);
                    return;
                }
            }
        }
    }

    /// A rule asks for its terms and for what every request needs.
    fn made(&mut self, place: Place<'_>, tier: Option<String>, terms: Terms, report: &mut Report) -> Option<Rule> {
        let challenge = terms.for_who_steps_up().map(|terms| terms.requirement(self.scopes, &self.site));
        let part = terms.requirement(self.scopes, &self.site);
        self.note_standing(&part, place.path, report);
        let challenge = challenge.and_then(|part| self.site.baseline.clone().and(part).ok());
        match self.site.baseline.clone().and(part) {
            Ok(requirement) => Some(Rule { tier, requirement, challenge, ..empty(place) }),
            Err(Conflict(word)) => {
                report.fault(place.path, format!("`{word}` is said twice, and differently"), "say it in one place");
                None
            }
        }
    }

    fn note_standing(&self, part: &Requirement, path: &str, report: &mut Report) {
        let exchange = part.exchange.as_ref().filter(|exchange| exchange.refuse_standing);
        let mut scopes = exchange.iter().flat_map(|exchange| &exchange.granted).flat_map(|group| group.members());
        if let Some(scope) = scopes.find(|scope| scope.covered_by.len() > 1) {
            let others = scope.covered_by.iter().skip(1).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let problem = format!("`standing: refuse` sees what implies `{}` too (P9): {others}", scope.name);
            report.note(path, problem, "earlier versions saw the scope itself only");
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

    /// P26: nothing but labels may stand beside it, and nothing of the server's applies to it.
    fn anonymous(&self, key: &str, entry: &Entry<'_>, report: &mut Report) -> Option<Rule> {
        const BESIDE: [&str; 3] = ["anonymous", "data_class", "purpose"];
        let fields = entry.fields(&[&BESIDE], report)?;
        let said = fields.take("anonymous")?;
        let is_said = document::word(&said.as_word(), &[("true", true)], report).is_some();
        let (data_class, purpose) = labels(&fields, report);
        for (name, entry) in entry.named(report)?.into_iter().filter(|(name, _)| !BESIDE.contains(name)) {
            let help = "who needs no token cannot be asked for anything; leave it out";
            entry.fault(report, format!("`{name}` beside `anonymous` (P26)"), help);
        }
        if self.site.kind == Kind::Method {
            let help = "without a token only tools, prompts and resources can be opened";
            said.fault(report, "`anonymous` on a method (P26)", help);
        }
        if key == "*" {
            self.open_star(&entry.path, "everyone", report);
        }
        let place = Place { key, path: &entry.path };
        is_said.then(|| Rule { anonymous: true, data_class, purpose, ..empty(place) })
    }

    fn open_star(&self, path: &str, whom: &str, report: &mut Report) {
        let what = match self.site.kind {
            Kind::Tool => "tool",
            Kind::Prompt => "prompt",
            Kind::Resource => "resource",
            Kind::Method => "method",
        };
        let help = format!("any {what} the server adds later is open to {whom}");
        report.warn(path, "`*` asks for nothing beyond the baseline (P2)", help);
    }
}

/// A rule that asks for nothing yet.
fn empty(Place { key, path }: Place<'_>) -> Rule {
    Rule {
        pattern: key.to_owned(),
        place: path.to_owned(),
        tier: None,
        requirement: Requirement::default(),
        anonymous: false,
        challenge: None,
        raises: Vec::new(),
        mode: None,
        data_class: None,
        purpose: None,
    }
}

/// P36.
fn labels(fields: &Fields<'_>, report: &mut Report) -> (Option<String>, Option<String>) {
    let mut label = |name| fields.take(name).and_then(|entry| document::label(&entry, report));
    (label("data_class"), label("purpose"))
}
