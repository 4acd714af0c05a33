//! The rules of one server and what they require.

use std::collections::HashMap;
use std::rc::Rc;

use crate::policy::condition::{Condition, Subject, Truth};

/// One line of `tools`.
#[derive(Debug)]
pub(crate) struct Rule {
    /// As written: an exact name, `prefix*` or `*`.
    pub pattern: String,
    pub deny: bool,
    pub requirement: Requirement,
}

/// What an operation needs (P7).
#[derive(Debug)]
pub(crate) struct Requirement {
    /// Scopes the caller's own token must carry, baseline included, sorted.
    pub held: Vec<Scope>,
    /// Does it ask for scopes beyond the baseline?
    pub asks_scopes: bool,
    /// May a missing scope be asked for? False: `step_up: none`.
    pub challenge: bool,
    /// `exp - iat` of the token, at most, in seconds (P13).
    pub max_lifetime: Option<u64>,
    /// Seconds since the login, at most (P13).
    pub max_age: Option<u64>,
    /// What is to be obtained for the one call, if anything.
    pub exchange: Option<Exchange>,
}

impl Rule {
    /// P5, the order: is everything asked here that `other` asks, and as much of it?
    pub(crate) fn asks_at_least(&self, other: &Rule) -> bool {
        self.deny || (!other.deny && self.requirement.asks_at_least(&other.requirement))
    }

    /// May a call go to another audience than the server's own (P10)?
    pub(crate) fn leads_elsewhere(&self, resource: &str) -> bool {
        self.requirement.exchange.as_ref().is_some_and(|exchange| exchange.audience != resource)
    }
}

impl Requirement {
    /// These scopes of the caller's own token, and nothing else: a baseline.
    pub(crate) fn of(held: Vec<Scope>) -> Requirement {
        Requirement { held, asks_scopes: false, challenge: true, max_lifetime: None, max_age: None, exchange: None }
    }

    /// P5, the order, row by row. Minted is not held, and neither replaces the other (P9).
    pub(crate) fn asks_at_least(&self, other: &Requirement) -> bool {
        let smaller =
            |own: Option<u64>, their: Option<u64>| their.is_none_or(|most| own.is_some_and(|own| own <= most));
        contains(&self.held, &other.held)
            && smaller(self.max_lifetime, other.max_lifetime)
            && smaller(self.max_age, other.max_age)
            && match (&self.exchange, &other.exchange) {
                (Some(own), Some(their)) => own.asks_at_least(their),
                (None, Some(_)) => false,
                // Where nothing is asked beyond the baseline, there is no way of asking to differ in.
                (Some(_), None) => !other.asks_scopes,
                (None, None) => !self.asks_scopes || !other.asks_scopes || self.challenge == other.challenge,
            }
    }
}

/// Is every scope of `other` among `own`, or implied by one of them?
fn contains(own: &[Scope], other: &[Scope]) -> bool {
    let is_covered = |need: &Scope| own.iter().any(|has| need.covered_by.iter().any(|name| **name == *has.name));
    other.iter().all(is_covered)
}

/// A token for one operation, as the policy wants it (P9 to P11).
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    /// The scopes to ask for, sorted.
    pub granted: Vec<Scope>,
    pub audience: String,
    /// Seconds of life, at most.
    pub ttl: u64,
    /// P9: a caller whose own token has one of the scopes is refused.
    pub refuse_standing: bool,
    /// A token service that wants the user is answered with a challenge.
    pub fallback: bool,
    /// P8: who may be elevated at all. Empty: the token service alone decides.
    pub may_elevate: Vec<Condition>,
}

impl Exchange {
    fn asks_at_least(&self, other: &Exchange) -> bool {
        contains(&self.granted, &other.granted)
            && self.audience == other.audience
            && self.ttl <= other.ttl
            && (self.refuse_standing || !other.refuse_standing)
            && self.fallback == other.fallback
            && other.may_elevate.iter().all(|condition| self.may_elevate.contains(condition))
    }

    /// What cannot be known is no.
    pub(crate) fn is_open_to(&self, subject: &Subject<'_>) -> bool {
        self.may_elevate.iter().all(|condition| condition.holds(subject) == Truth::True)
    }

    pub(crate) fn asks_source(&self) -> bool {
        self.may_elevate.iter().any(Condition::asks_source)
    }
}

/// A scope and the scopes that cover it: itself, and those that imply it (P4).
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    pub name: Rc<str>,
    pub covered_by: Rc<[String]>,
    /// The scopes it implies, directly and through others.
    pub implies: Rc<[String]>,
}

/// The rules, indexed so that a call costs the same with ten of them and with ten thousand.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    list: Vec<Rule>,
    written: Patterns,
    /// The same patterns in lower case, for P1's second look.
    folded: Patterns,
}

#[derive(Debug, Default)]
struct Patterns {
    exact: HashMap<String, usize>,
    /// By what stands before the `*`; the empty prefix is `*` itself.
    prefix: HashMap<String, usize>,
    /// The lengths of the prefixes, longest first.
    lengths: Vec<usize>,
}

/// Why no rule applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unmatched {
    NoRule,
    Confusable,
}

impl Rules {
    /// `list` holds every pattern once, also when case is folded.
    pub(crate) fn new(list: Vec<Rule>) -> Rules {
        let patterns = || list.iter().map(|rule| rule.pattern.as_str());
        let written = Patterns::new(patterns().map(str::to_owned));
        let folded = Patterns::new(patterns().map(str::to_ascii_lowercase));
        Rules { written, folded, list }
    }

    /// P1: exact name, else the longest prefix, else `*`; nothing is inherited.
    pub(crate) fn select(&self, name: &str) -> Result<&Rule, Unmatched> {
        // A server may trim or normalize another name: only who wrote it out meant it.
        let chosen = if is_plain(name) { self.written.select(name) } else { self.written.exact.get(name).copied() };
        if chosen.is_none() && !is_plain(name) {
            return Err(Unmatched::Confusable);
        }
        // A server that ignores case would run it under that other rule.
        if self.folded.select(&name.to_ascii_lowercase()) != chosen {
            return Err(Unmatched::Confusable);
        }
        chosen.and_then(|at| self.list.get(at)).ok_or(Unmatched::NoRule)
    }

    /// The rules that a name would have in any other reading: lower-cased, trimmed, without what is not plain, as a path, or any of
    /// its last segments. What is not judged must not be forwarded to where one of them leads.
    pub(crate) fn readings(&self, name: &str) -> impl Iterator<Item = &Rule> {
        let name = name.to_ascii_lowercase();
        let plain: String = name.chars().filter(|c| has_plain_characters(c.encode_utf8(&mut [0; 4]))).collect();
        let mut path: Vec<&str> = Vec::new();
        for segment in plain.split('/') {
            match segment {
                "" | "." => {}
                ".." => drop(path.pop()),
                other => path.push(other),
            }
        }
        let ends = plain.match_indices('/').filter_map(|(at, _)| plain.get(at + 1..));
        let mut found: Vec<usize> = [name.as_str(), name.trim(), plain.as_str(), path.join("/").as_str()]
            .into_iter()
            .chain(ends)
            .filter_map(|reading| self.folded.select(reading))
            .collect();
        found.sort_unstable();
        found.dedup();
        found.into_iter().filter_map(|at| self.list.get(at))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.list.iter()
    }

    /// The rules whose pattern covers this one and is less specific.
    pub(crate) fn less_specific<'r>(&'r self, pattern: &'r str) -> impl Iterator<Item = &'r Rule> {
        let stem = pattern.strip_suffix('*').unwrap_or(pattern);
        let own = pattern.ends_with('*').then_some(stem.len());
        let shorter = self.written.lengths.iter().filter(move |length| Some(**length) != own);
        shorter.filter_map(move |length| self.list.get(*self.written.prefix.get(stem.get(..*length)?)?))
    }
}

impl Patterns {
    fn new(patterns: impl Iterator<Item = String>) -> Patterns {
        let mut index = Patterns::default();
        for (at, pattern) in patterns.enumerate() {
            match pattern.strip_suffix('*') {
                Some(prefix) => {
                    index.lengths.push(prefix.len());
                    index.prefix.insert(prefix.to_owned(), at);
                }
                None => {
                    index.exact.insert(pattern, at);
                }
            }
        }
        index.lengths.sort_unstable_by(|a, b| b.cmp(a));
        index.lengths.dedup();
        index
    }

    fn select(&self, name: &str) -> Option<usize> {
        let prefix = || self.lengths.iter().find_map(|length| self.prefix.get(name.get(..*length)?));
        self.exact.get(name).or_else(prefix).copied()
    }
}

/// The names that patterns apply to (P1): plain characters, and no segment that a reader of paths would drop or follow.
pub(crate) fn is_plain(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && has_plain_characters(name)
        && name.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
}

/// The characters of such names.
pub(crate) fn has_plain_characters(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:/-".contains(&b))
}
