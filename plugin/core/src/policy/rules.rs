//! Rules by name: which one applies (P1).

use std::collections::HashMap;

use crate::policy::ability::Ability;
use crate::policy::requirement::Requirement;

/// One line of `tools`.
#[derive(Debug)]
pub(crate) struct Rule {
    /// As written: an exact name, `prefix*` or `*`.
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
}

impl Rule {
    /// What it asks of this caller.
    pub(crate) fn requirement_for(&self, ability: Ability) -> &Requirement {
        self.challenge.as_ref().filter(|_| ability.steps_up).unwrap_or(&self.requirement)
    }

    /// P5, for whoever calls.
    pub(crate) fn implies(&self, other: &Rule) -> bool {
        let own = self.challenge.as_ref().unwrap_or(&self.requirement);
        let their = other.challenge.as_ref().unwrap_or(&other.requirement);
        self.requirement.implies(&other.requirement) && own.implies(their)
    }
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
    /// The lengths of the prefixes, shortest first.
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
        let mut found = Vec::new();
        for reading in [name.as_str(), name.trim(), plain.as_str(), path.join("/").as_str()].into_iter().chain(ends) {
            if let Some(at) = self.folded.select(reading) {
                keep(&mut found, at);
            }
        }
        found.into_iter().filter_map(|at| self.list.get(at))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.list.iter()
    }

    /// The rules whose pattern covers this one and is less specific.
    pub(crate) fn less_specific<'r>(&'r self, pattern: &'r str) -> impl Iterator<Item = &'r Rule> {
        let stem = pattern.strip_suffix('*').unwrap_or(pattern);
        let own = pattern.ends_with('*').then_some(stem.len());
        // P1: only its own rule matches a name that is not plain.
        let is_alone = own.is_none() && !is_plain(pattern);
        let shorter = self.written.lengths.iter().rev().filter(move |length| !is_alone && Some(**length) != own);
        shorter.filter_map(move |length| self.list.get(*self.written.prefix.get(stem.get(..*length)?)?))
    }
}

impl Patterns {
    fn new(patterns: impl Iterator<Item = String>) -> Patterns {
        let mut index = Patterns::default();
        for (at, pattern) in patterns.enumerate() {
            match pattern.strip_suffix('*') {
                Some(prefix) => {
                    keep(&mut index.lengths, prefix.len());
                    index.prefix.insert(prefix.to_owned(), at);
                }
                None => {
                    index.exact.insert(pattern, at);
                }
            }
        }
        index
    }

    fn select(&self, name: &str) -> Option<usize> {
        let prefix = || self.lengths.iter().rev().find_map(|length| self.prefix.get(name.get(..*length)?));
        self.exact.get(name).or_else(prefix).copied()
    }
}

/// Sorted, each once.
fn keep(sorted: &mut Vec<usize>, number: usize) {
    if let Err(at) = sorted.binary_search(&number) {
        sorted.insert(at, number);
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
