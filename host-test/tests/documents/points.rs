//! The points of the policy language: P1 to P43, each with a heading, a row in the table, an example, code and tests.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use crate::Complaints;
use crate::examples::{Kind, LANGUAGE};
use crate::page::{Page, anchor};
use crate::tree::Tree;

/// The last point.
pub const LAST: u32 = 43;

/// How far a point is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Built,
    Partly,
    Later,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Built => "built",
            State::Partly => "partly",
            State::Later => "later",
        }
    }
}

/// A point, as the page has it.
#[derive(Debug)]
pub struct Point {
    pub number: u32,
    /// `P7 Requirement, raise and order`
    pub heading: String,
    pub state: State,
    pub examples: usize,
}

/// Where a point is named.
#[derive(Debug, Default)]
pub struct Named {
    /// Source files.
    pub code: BTreeSet<String>,
    /// Files and test functions `p07_...`.
    pub tests: BTreeSet<(String, String)>,
    /// Files and scenarios that name it; files of the corpus.
    pub scenarios: BTreeSet<(String, String)>,
}

/// All points of the page, and what is wrong with the table at its top.
pub fn read(tree: &Tree) -> (Vec<Point>, Complaints) {
    let text = tree.text(LANGUAGE);
    let (page, mut complaints) = (Page::read(text), Vec::new());
    let row = Regex::new(r"(?m)^\| \[P(\d+)\]\(#([^)]+)\) \| ([^|]+) \| (\w+) \|").expect("a pattern");
    let mut rows = BTreeMap::new();
    for found in row.captures_iter(text) {
        let number: u32 = found[1].parse().expect("digits");
        let state = [State::Built, State::Partly, State::Later].into_iter().find(|state| *state.name() == found[4]);
        let Some(state) = state else {
            complaints.push(format!("P{number}: `{}` is no state", &found[4]));
            continue;
        };
        if rows.insert(number, (found[2].to_owned(), found[3].trim().to_owned(), state)).is_some() {
            complaints.push(format!("P{number} has two rows"));
        }
    }
    let mut points = Vec::new();
    for number in 1..=LAST {
        let begin = format!("P{number} ");
        let headings = page.headings.iter().filter(|heading| heading.level == 2 && heading.text.starts_with(&begin));
        let headings: Vec<_> = headings.collect();
        let (Some(heading), Some((link, title, state))) = (headings.first(), rows.remove(&number)) else {
            complaints.push(format!("P{number} has no heading, or no row"));
            continue;
        };
        if headings.len() > 1 || link != anchor(&heading.text) || heading.text != format!("{begin}{title}") {
            complaints.push(format!("the row of P{number} and its heading differ: `{}`", heading.text));
        }
        let own = page.blocks.iter().filter(|block| block.section == heading.text);
        let examples = own.filter(|block| Kind::of(block).is_some()).count();
        points.push(Point { number, heading: heading.text.clone(), state, examples });
    }
    complaints.extend(rows.keys().map(|number| format!("P{number} is no point")));
    (points, complaints)
}

/// The rows of the table are the headings of the page.
pub fn rows(tree: &Tree) -> Complaints {
    read(tree).1
}

/// Points without an example.
pub fn without_example(tree: &Tree) -> Complaints {
    let points = read(tree).0.into_iter().filter(|point| point.examples == 0);
    points.map(|point| format!("{} has no example", point.heading)).collect()
}

/// Built points that no code cites, or no test.
pub fn untested(tree: &Tree) -> Complaints {
    let (mut named, mut complaints) = (named(tree), Vec::new());
    for point in read(tree).0.into_iter().filter(|point| point.state != State::Later) {
        let Named { code, tests, scenarios } = named.remove(&point.number).unwrap_or_default();
        if code.is_empty() {
            complaints.push(format!("no code cites P{}", point.number));
        }
        if tests.is_empty() && scenarios.is_empty() {
            complaints.push(format!("no test is called p{:02}_..., and no scenario names P{0}", point.number));
        }
    }
    complaints
}

/// The table of words against the schema: the words of each place that are not in italics are those it has.
pub fn words(tree: &Tree) -> Complaints {
    let schema: serde_json::Value = serde_json::from_str(tree.text("policies/schema/policy.json")).expect("JSON");
    let of = |name: &str| -> BTreeSet<String> {
        let place = if name.is_empty() { &schema } else { &schema["$defs"][name] };
        place["properties"].as_object().unwrap_or_else(|| panic!("no `{name}`")).keys().cloned().collect()
    };
    let all = |names: &[&str]| names.iter().flat_map(|name| of(name)).collect::<BTreeSet<String>>();
    let without =
        |own: BTreeSet<String>, other: &str| own.difference(&of(other)).cloned().collect::<BTreeSet<String>>();
    let places = [
        ("document", without(of(""), "Server").into_iter().chain(["issuers".to_owned()]).collect()),
        ("server", of("Server")),
        ("terms", of("Terms")),
        ("group", of("Group")),
        ("rule", without(of("ToolTerms"), "Terms")),
        ("raise", without(of("Raise"), "Terms")),
        ("delegation", of("Delegation")),
        ("issuer", all(&["Issuer", "Jwks"])),
        ("token service", all(&["TokenService", "Client"])),
        ("limits", of("Limits")),
        ("sessions", of("Sessions")),
        ("condition", of("Condition")),
        ("items", of("Items")),
    ];
    let word = Regex::new(r"(\*?)`(\w+)`").expect("a pattern");
    let mut complaints = Vec::new();
    for (place, known) in places {
        let begin = format!("| {place} | ");
        let Some(row) = tree.text(LANGUAGE).lines().find(|line| line.starts_with(&begin)) else {
            complaints.push(format!("no row for the words of {place}"));
            continue;
        };
        let said = word.captures_iter(row).filter(|found| found[1].is_empty()).map(|found| found[2].to_owned());
        let said: BTreeSet<String> = said.collect();
        complaints.extend(said.symmetric_difference(&known).map(|word| format!("{place}: `{word}`")));
    }
    complaints
}

/// Citations of what is no point.
pub fn unknown(tree: &Tree) -> Complaints {
    let mut complaints = Vec::new();
    for (path, text) in &tree.texts {
        for (at, line) in text.lines().enumerate() {
            let wrong = cited(line).filter(|number| !(1..=LAST).contains(number));
            complaints.extend(wrong.map(|number| format!("{path}:{}: P{number}", at + 1)));
        }
    }
    complaints
}

/// The points that a line cites. `P1 to P43`, and the rows of tables, count too.
fn cited(line: &str) -> impl Iterator<Item = u32> {
    thread_local!(static PATTERN: Regex = Regex::new(r"(?:^|[^\w./+-])P(\d{1,2})\b").expect("a pattern"));
    let found: Vec<u32> =
        PATTERN.with(|pattern| pattern.captures_iter(line).filter_map(|found| found[1].parse().ok()).collect());
    found.into_iter()
}

/// Where each point is named, outside of documents.
pub fn named(tree: &Tree) -> BTreeMap<u32, Named> {
    let test = Regex::new(r"\bfn (p(\d\d)_\w+)").expect("a pattern");
    let mut all: BTreeMap<u32, Named> = BTreeMap::new();
    for (path, text) in tree.ending(".rs") {
        let mut of_tests = path.contains("/tests/") || path.contains("/benches/");
        for line in text.lines() {
            of_tests |= line.starts_with("#[cfg(test)]");
            for found in test.captures_iter(line) {
                let number = found[2].parse().expect("digits");
                all.entry(number).or_default().tests.insert((path.to_owned(), found[1].to_owned()));
            }
            if !of_tests {
                for number in cited(line) {
                    all.entry(number).or_default().code.insert(path.to_owned());
                }
            }
        }
    }
    for (path, text) in tree.ending(".yaml").filter(|(path, _)| path.contains("/tests/") || path.contains("/corpus/")) {
        let mut scenario = String::new();
        for line in text.lines() {
            if let Some(name) = line.trim_start().strip_prefix("- name: ") {
                name.trim_matches('"').clone_into(&mut scenario);
            }
            for number in cited(line) {
                all.entry(number).or_default().scenarios.insert((path.to_owned(), scenario.clone()));
            }
        }
    }
    all
}
