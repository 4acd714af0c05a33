//! Rules by name: which one applies (P1).

use crate::policy::ability::Ability;
use crate::policy::condition::Condition;
use crate::policy::model::Mode;
use crate::policy::pattern::{Pattern, Patterns, is_plain, is_plain_uri};
use crate::policy::readings::readings;
use crate::policy::requirement::Requirement;

/// What a rule is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A line of `tools`.
    #[default]
    Tool,
    /// A line of `prompts`.
    Prompt,
    /// A line of `resources`.
    Resource,
    /// A line of `methods`.
    Method,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::Tool, Kind::Prompt, Kind::Resource, Kind::Method];

    /// The map of a server that such rules stand in.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Tool => "tools",
            Kind::Prompt => "prompts",
            Kind::Resource => "resources",
            Kind::Method => "methods",
        }
    }

    /// The key of a rule.
    pub(crate) fn pattern(self, text: &str) -> Result<Pattern, (&'static str, &'static str)> {
        match self {
            Kind::Tool | Kind::Prompt => Pattern::name(text),
            Kind::Resource => Pattern::uri(text),
            Kind::Method => Pattern::method(text),
        }
    }

    /// May other rules than an exact one match it?
    pub(crate) fn is_plain(self, text: &str) -> bool {
        if self == Kind::Resource { is_plain_uri(text) } else { is_plain(text) }
    }

    /// The longest text that is plain.
    fn longest(self) -> usize {
        if self == Kind::Resource { usize::MAX } else { 128 }
    }
}

/// One line of `tools`, `prompts`, `resources` or `methods`.
#[derive(Debug)]
pub(crate) struct Rule {
    /// As written.
    pub pattern: String,
    /// Where it stands, as faults say it.
    pub place: String,
    /// The tier whose terms were added.
    pub tier: Option<String>,
    pub requirement: Requirement,
    /// P26: it may be called without a token.
    pub anonymous: bool,
    /// P24: what it asks of callers that step up, where `step_up` is `auto`.
    pub challenge: Option<Requirement>,
    /// P7: what is asked beside, where something is so or cannot be known.
    pub raises: Vec<Raise>,
    /// P15: in place of the policy's.
    pub mode: Option<Mode>,
    /// P36.
    pub data_class: Option<String>,
    pub purpose: Option<String>,
}

/// A part of a rule that is not always asked for (P7).
#[derive(Debug, PartialEq)]
pub(crate) struct Raise {
    /// Where it is true or unknown, this is joined to what the rule asks. `unless` is its negation.
    pub when: Condition,
    pub part: Requirement,
    /// P24: of callers that step up, where its `step_up` is `auto`.
    pub challenge: Option<Requirement>,
}

impl Rule {
    /// What it asks of this caller.
    pub(crate) fn requirement_for(&self, ability: Ability) -> &Requirement {
        self.challenge.as_ref().filter(|_| ability.steps_up).unwrap_or(&self.requirement)
    }

    /// P5, for whoever calls and whatever with; for this name, where only one is meant.
    pub(crate) fn implies(&self, other: &Rule, name: Option<&str>) -> bool {
        let implies = |own: &Requirement, their: &Requirement| own.named(name).implies(&their.named(name));
        let own = &self.requirement;
        let challenge = self.challenge.as_ref().unwrap_or(own);
        let their_challenge = other.challenge.as_ref().unwrap_or(&other.requirement);
        let is_raised =
            |raise: &Raise| implies(own, &raise.part) || self.raises.iter().any(|own| own.implies(raise, name));
        (!self.anonymous || other.anonymous)
            && implies(own, &other.requirement)
            && implies(challenge, their_challenge)
            && (own.deny || other.raises.iter().all(is_raised))
    }

    /// P1: does everything that is said agree?
    pub(crate) fn is_same(&self, other: &Rule) -> bool {
        self.requirement == other.requirement
            && self.challenge == other.challenge
            && self.raises == other.raises
            && self.anonymous == other.anonymous
            && self.mode == other.mode
            && self.data_class == other.data_class
            && self.purpose == other.purpose
    }

    /// Everything that it may ask for, of whomever.
    pub(crate) fn parts(&self) -> Vec<&Requirement> {
        let mut parts = self.parts_for_others();
        parts.extend(&self.challenge);
        self.raises.iter().for_each(|raise| parts.extend(&raise.challenge));
        parts
    }

    /// Its key, where that is a template of URIs.
    pub(crate) fn template(&self) -> Option<Pattern> {
        Pattern::uri(&self.pattern).ok().filter(Pattern::has_variables)
    }

    /// Of callers that do not step up.
    pub(crate) fn parts_for_others(&self) -> Vec<&Requirement> {
        let mut parts = vec![&self.requirement];
        self.raises.iter().for_each(|raise| parts.push(&raise.part));
        parts
    }

    /// Does this raise say what follows from a shortfall (`step_up`)?
    pub(crate) fn has_ways(&self, raise: usize) -> bool {
        self.raises.get(raise).is_some_and(|raise| raise.challenge.is_some())
    }

    /// All conditions in it.
    pub(crate) fn conditions(&self) -> Vec<&Condition> {
        let mut conditions = Vec::new();
        self.raises.iter().for_each(|raise| conditions.push(&raise.when));
        self.parts().iter().for_each(|part| part.conditions(&mut conditions));
        conditions
    }
}

impl Raise {
    fn implies(&self, other: &Raise, name: Option<&str>) -> bool {
        self.when == other.when && self.part.named(name).implies(&other.part.named(name))
    }

    /// What is joined for this caller.
    pub(crate) fn part_for(&self, ability: Ability) -> &Requirement {
        self.challenge.as_ref().filter(|_| ability.steps_up).unwrap_or(&self.part)
    }
}

/// The rules of one kind, indexed so that a call costs the same with ten of them and with ten thousand.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    kind: Kind,
    list: Vec<Rule>,
    written: Patterns,
    /// The same patterns in lower case, for P1's second look.
    folded: Patterns,
    /// They are as they were written.
    is_lower: bool,
}

/// Why no rule applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unmatched {
    NoRule,
    Confusable,
}

/// What becomes of the URIs of a template.
#[derive(Debug)]
pub(crate) struct Reached<'r> {
    /// The rules that some of them have.
    pub rules: Vec<&'r Rule>,
    /// Some have none.
    pub unmatched: Option<Unmatched>,
    /// One of them.
    pub sample: String,
}

impl Rules {
    /// Each rule with its pattern. All of them differ, also when case is folded.
    pub(crate) fn new(kind: Kind, rules: Vec<(Pattern, Rule)>) -> Rules {
        let (patterns, list): (Vec<Pattern>, Vec<Rule>) = rules.into_iter().unzip();
        let is_lower = list.iter().all(|rule| is_lower(&rule.pattern));
        let folded = Patterns::new(patterns.iter().map(Pattern::folded).collect());
        Rules { kind, written: Patterns::new(patterns), folded, list, is_lower }
    }

    /// P1: exact name, else the pattern with the most literal characters, else `*`; nothing is inherited.
    pub(crate) fn select(&self, name: &str) -> Result<&Rule, Unmatched> {
        let is_plain = self.kind.is_plain(name);
        let chosen = self.first_look(name, is_plain);
        // Where nothing is in upper case, the second look sees what the first one saw.
        if is_plain && self.is_lower && is_lower(name) && chosen.is_some() {
            return chosen.and_then(|at| self.list.get(at)).ok_or(Unmatched::NoRule);
        }
        // A server may trim or normalize another name: only who wrote it out meant it.
        if chosen.is_none() && !is_plain {
            return Err(Unmatched::Confusable);
        }
        // A server that ignores case would run it under that other rule.
        let lower = name.to_ascii_lowercase();
        let folded = self.folded.select(&lower);
        if folded != chosen && !self.are_tied(chosen, folded, &lower) {
            return Err(Unmatched::Confusable);
        }
        // P19: patterns are for URIs without a query, where they have none.
        if chosen.is_none() && self.kind == Kind::Resource && name.contains('?') {
            return Err(Unmatched::Confusable);
        }
        chosen.and_then(|at| self.list.get(at)).ok_or(Unmatched::NoRule)
    }

    /// Patterns that are as specific and match the same name have equal rules.
    fn are_tied(&self, one: Option<usize>, other: Option<usize>, lower: &str) -> bool {
        let pattern = |at: Option<usize>| at.and_then(|at| self.folded.get(at)).filter(|own| own.exact().is_none());
        match (pattern(one), pattern(other)) {
            (Some(one), Some(other)) => one.literals() == other.literals() && one.matches(lower),
            _ => false,
        }
    }

    /// The name of the rule at this place, if it is for one name only.
    pub(crate) fn exact(&self, at: usize) -> Option<&str> {
        self.written.get(at)?.exact()
    }

    /// P1's first look.
    pub(crate) fn as_written(&self, name: &str) -> Option<&Rule> {
        self.list.get(self.first_look(name, self.kind.is_plain(name))?)
    }

    fn first_look(&self, name: &str, is_plain: bool) -> Option<usize> {
        if is_plain { self.written.select(name) } else { self.written.exactly(name) }
    }

    /// The rules that a name would have in any other reading. What is not judged must not be forwarded to where one of them leads.
    pub(crate) fn readings(&self, name: &str) -> Vec<&Rule> {
        let mut found = Vec::new();
        for reading in readings(self.kind, name) {
            for at in [self.written.select(&reading), self.folded.select(&reading.to_ascii_lowercase())] {
                at.into_iter().for_each(|at| keep(&mut found, at));
            }
        }
        found.into_iter().filter_map(|at| self.list.get(at)).collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.list.iter()
    }

    /// All rules that match it as it is written, the most specific too.
    pub(crate) fn matching(&self, name: &str) -> Vec<&Rule> {
        let mut found = if self.kind.is_plain(name) { self.written.matching(name) } else { Vec::new() };
        self.written.exactly(name).into_iter().for_each(|at| keep(&mut found, at));
        found.into_iter().filter_map(|at| self.list.get(at)).collect()
    }

    /// The rule at this place, and those that it replaces for some name that both could have: the losers of P1.
    pub(crate) fn replaced_by(&self, at: usize) -> Vec<&Rule> {
        let Some(pattern) = self.written.get(at) else { return Vec::new() };
        let found: Vec<usize> = match pattern.exact() {
            // Only its own rule matches what is not plain.
            Some(text) if self.kind.is_plain(text) => self.written.matching(text),
            Some(_) => Vec::new(),
            None => {
                let own = pattern.literals();
                let is_less = |other: &usize| self.written.get(*other).is_some_and(|other| other.literals() < own);
                let mut near = self.written.near(pattern);
                near.retain(|other| is_less(other) && self.do_meet(&self.written, at, *other));
                near
            }
        };
        found.into_iter().filter_map(|at| self.list.get(at)).collect()
    }

    /// P1: a pattern before this one that is as specific, matches some name that this one does too, and has another rule. Literal characters are compared in
    /// lower case.
    pub(crate) fn rival_of(&self, at: usize) -> Option<&Rule> {
        let (own, rule) = (self.folded.get(at).filter(|own| own.exact().is_none())?, self.list.get(at)?);
        let is_rival = |other: &usize| {
            let is_equal = self.folded.get(*other).is_some_and(|other| other.literals() == own.literals());
            *other < at && is_equal && self.list.get(*other).is_some_and(|other| !rule.is_same(other))
        };
        let near = self.folded.near(own);
        let found = near.into_iter().find(|other| is_rival(other) && self.do_meet(&self.folded, at, *other))?;
        self.list.get(found)
    }

    /// P19: the rules that some URI of this template has, in both looks of P1.
    pub(crate) fn reached_by(&self, template: &Pattern) -> Reached<'_> {
        let sample = template.sample();
        let is_plain = self.kind.is_plain(&sample);
        let (written, leaves) = self.written.reached_by(template, is_plain);
        let (folded, _) = self.folded.reached_by(&template.folded(), is_plain);
        let both = written.iter().filter(|at| folded.contains(at));
        let unmatched = if is_plain { Unmatched::NoRule } else { Unmatched::Confusable };
        Reached {
            rules: both.filter_map(|at| self.list.get(*at)).collect(),
            unmatched: leaves.then_some(unmatched),
            sample,
        }
    }

    fn do_meet(&self, patterns: &Patterns, one: usize, other: usize) -> bool {
        match (patterns.get(one), patterns.get(other)) {
            (Some(one), Some(other)) => one.is_met_by(other, self.kind.longest()),
            _ => false,
        }
    }
}

fn is_lower(text: &str) -> bool {
    !text.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// Sorted, each once.
fn keep(sorted: &mut Vec<usize>, number: usize) {
    if let Err(at) = sorted.binary_search(&number) {
        sorted.insert(at, number);
    }
}
