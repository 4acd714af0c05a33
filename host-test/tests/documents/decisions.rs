//! `docs/decisions`: each record is in the index, in order, and has its parts.

use regex::Regex;

use crate::Complaints;
use crate::tree::Tree;

const FOLDER: &str = "docs/decisions/";

/// What is wrong with the records or their index.
pub fn complaints(tree: &Tree) -> Complaints {
    let mut complaints = Vec::new();
    let index = tree.text("docs/decisions/README.md");
    let date = Regex::new(r"(?m)^Date: (\d{4}-\d\d-\d\d)$").expect("a pattern");
    let mut expected = 0;
    for (path, text) in tree.ending(".md").filter(|(path, _)| path.starts_with(FOLDER) && !path.ends_with("README.md"))
    {
        expected += 1;
        let name = path.trim_start_matches(FOLDER);
        let title = text.lines().next().unwrap_or_default().split_once(". ").map_or("", |(_, title)| title);
        if !name.starts_with(&format!("{expected:04}-")) {
            complaints.push(format!("{path} stands where number {expected} should"));
        }
        let Some(date) = date.captures(text) else {
            complaints.push(format!("{path} has no date"));
            continue;
        };
        if !index.contains(&format!("| [{expected:04}]({name}) | {title} | {} |", &date[1])) {
            complaints.push(format!("{path} is not in the index, or is called otherwise there"));
        }
        let parts = ["**Question.**", "**Decision.**", "**Why.**", "**Tried.**"];
        complaints
            .extend(parts.iter().filter(|part| !text.contains(**part)).map(|part| format!("{path} has no {part}")));
    }
    if expected < 30 {
        complaints.push(format!("only {expected} records were found"));
    }
    complaints
}
