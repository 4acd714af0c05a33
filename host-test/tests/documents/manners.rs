//! `docs/envoy-manners.md` and the tests of the simulated proxy: each test has a row, each row its test.

use std::collections::BTreeSet;

use regex::Regex;

use crate::Complaints;
use crate::tree::Tree;

const PAGE: &str = "docs/envoy-manners.md";
/// Fewer mean that tests were not found.
const FEWEST: usize = 27;

/// Tests without a row, rows without a test, numbers out of order.
pub fn complaints(tree: &Tree) -> Complaints {
    let mut complaints = Vec::new();
    let row = Regex::new(r"(?m)^\| (\d+) \|.*\| `(\w+)` \|$").expect("a pattern");
    let mut rows = BTreeSet::new();
    for (at, found) in row.captures_iter(tree.text(PAGE)).enumerate() {
        if found[1].parse() != Ok(at + 1) {
            complaints.push(format!("row {} stands where {} should", &found[1], at + 1));
        }
        if !rows.insert(found[2].to_owned()) {
            complaints.push(format!("two rows name `{}`", &found[2]));
        }
    }
    let tests = tests(tree);
    if tests.len() < FEWEST {
        complaints.push(format!("only {} tests of the simulated proxy were found", tests.len()));
    }
    complaints.extend(tests.difference(&rows).map(|test| format!("{PAGE} has no row for `{test}`")));
    complaints.extend(rows.difference(&tests).map(|row| format!("{PAGE} names `{row}`, and there is no such test")));
    complaints
}

fn tests(tree: &Tree) -> BTreeSet<String> {
    let test = Regex::new(r"#\[test\]\n(?:\s*#\[[^\n]*\n)*\s*fn (\w+)").expect("a pattern");
    let is_host = |path: &str| path.contains("/tests/host.rs") || path.contains("/tests/host/");
    let files = tree.ending(".rs").filter(|(path, _)| is_host(path));
    files.flat_map(|(_, text)| test.captures_iter(text).map(|found| found[1].to_owned()).collect::<Vec<_>>()).collect()
}
