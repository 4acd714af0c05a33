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
    /// May a missing scope be asked for? False: `step_up: none`.
    pub challenge: bool,
    /// `exp - iat` of the token, at most, in seconds (P13).
    pub max_lifetime: Option<u64>,
    /// Seconds since the login, at most (P13).
    pub max_age: Option<u64>,
    /// What is to be obtained for the one call, if anything.
    pub exchange: Option<Exchange>,
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
        // A server that ignores case would run it under that other rule.
        if self.folded.select(&name.to_ascii_lowercase()) != chosen {
            return Err(Unmatched::Confusable);
        }
        chosen.and_then(|at| self.list.get(at)).ok_or(Unmatched::NoRule)
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

/// The names that patterns apply to (P1).
pub(crate) fn is_plain(name: &str) -> bool {
    (1..=128).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:/-".contains(&b))
}
