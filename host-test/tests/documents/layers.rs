//! The picture of ARCHITECTURE.md and the list that the core's imports are held to are one.

use regex::Regex;

use crate::Complaints;
use crate::tree::Tree;

/// The modules of each layer, in the page and in the test.
pub fn complaints(tree: &Tree) -> Complaints {
    let page = tree.text("ARCHITECTURE.md");
    let table =
        page.split("## The core, from below").nth(1).unwrap_or_default().split("\n## ").next().unwrap_or_default();
    let drawn: Vec<Vec<&str>> = rows(table).collect();
    let test = tree.text("plugin/core/tests/layers.rs");
    let list = test.split("const LAYERS").nth(1).unwrap_or_default().split("];\n").next().unwrap_or_default();
    let name = Regex::new("\"(\\w+)\"").expect("a pattern");
    let held =
        list.lines().map(|line| name.captures_iter(line).filter_map(|found| found.get(1)).map(|name| name.as_str()));
    let held: Vec<Vec<&str>> = held.map(Iterator::collect).filter(|names: &Vec<&str>| !names.is_empty()).collect();
    if drawn == held && held.len() > 5 {
        return Vec::new();
    }
    vec![format!("ARCHITECTURE.md has {drawn:?}"), format!("the test has {held:?}")]
}

/// The names in the first cell of each row.
fn rows(table: &str) -> impl Iterator<Item = Vec<&str>> {
    let cells = table.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split(" | ").next());
    cells.map(|cell| cell.trim_start_matches("| ").split(", ").map(|name| name.trim_matches('`')).collect())
}
