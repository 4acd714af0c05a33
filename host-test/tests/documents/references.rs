//! Links and paths lead somewhere: no document or comment names a file that is not there.

use std::path::{Component, Path, PathBuf};

use regex::Regex;

use crate::Complaints;
use crate::page::Page;
use crate::tree::Tree;

/// Links of all pages, with the headings they lead to.
pub fn links(tree: &Tree) -> Complaints {
    let mut complaints = Vec::new();
    for (path, text) in tree.ending(".md") {
        for link in Page::read(text).links.iter().filter(|link| !link.target.contains("://")) {
            let (file, heading) = link.target.split_once('#').unwrap_or((&link.target, ""));
            let target = if file.is_empty() { path.to_owned() } else { beside(path, file) };
            let anchors = |text: &String| Page::read(text).anchors().any(|anchor| anchor == heading);
            let found = tree.has(&target) && (heading.is_empty() || tree.texts.get(&target).is_some_and(anchors));
            if !found {
                complaints.push(format!("{path}:{}: {}", link.line, link.target));
            }
        }
    }
    complaints
}

/// A path from the root, for one that is written beside a file.
fn beside(path: &str, link: &str) -> String {
    let mut target = PathBuf::new();
    for part in Path::new(path).parent().into_iter().flat_map(Path::components).chain(Path::new(link).components()) {
        match part {
            Component::ParentDir => drop(target.pop()),
            Component::Normal(name) => target.push(name),
            _ => {}
        }
    }
    target.to_string_lossy().into_owned()
}

/// Files that the repository is said not to have; and one name that goes with the next change of the core.
const ABSENT: [&str; 2] = ["build.rs", "design.md"];

/// Files and folders that prose and comments name.
pub fn files(tree: &Tree) -> Complaints {
    let kinds = "md|rs|yaml|yml|toml|wat|mjs|py|csv|sh|json|snap";
    let folders = "plugin|host-test|docs|envoy|policies|benches|\\.ci";
    let pattern = format!(
        r"https?://\S+|(?:^|[^\w./-])((?:(?:{folders})/[\w./*-]*\w)|(?:(?:\.{{0,2}}[\w-]*/)*[\w-]+(?:\.[\w-]+)*\.(?:{kinds})))\b"
    );
    let name = Regex::new(&pattern).expect("a pattern");
    let mut complaints = Vec::new();
    for (path, text) in &tree.texts {
        for (line, words) in prose(path, text) {
            for found in name.captures_iter(&words).filter_map(|found| found.get(1)) {
                if !is_there(tree, path, found.as_str()) {
                    complaints.push(format!("{path}:{line}: {}", found.as_str()));
                }
            }
        }
    }
    complaints
}

fn is_there(tree: &Tree, path: &str, name: &str) -> bool {
    let is_placeholder = |part: &str| part.starts_with(|c: char| c.is_ascii_uppercase()) && part.contains("NAME");
    if ABSENT.contains(&name) || name.split('/').any(|part| is_placeholder(part) || part.contains('*')) {
        return true;
    }
    let plain = name.trim_start_matches("../").trim_start_matches("./");
    let end = format!("/{plain}");
    tree.has(&beside(path, name)) || tree.paths.iter().any(|other| other == plain || other.ends_with(&end))
}

/// What people read: the text of pages outside of fenced blocks, and comments.
fn prose(path: &str, text: &str) -> Vec<(usize, String)> {
    let mark = match path.rsplit('.').next() {
        Some("md") => return Page::read(text).prose,
        Some("rs" | "mjs" | "wit") => r"(?:^|\s)//",
        Some("yaml" | "toml" | "py" | "sh") => r"(?:^|\s)#",
        Some("wat") => ";;",
        _ if path.starts_with(".ci/") => r"(?:^|\s)#",
        _ => return Vec::new(),
    };
    let mark = Regex::new(mark).expect("a pattern");
    let comment = |line: &str| Some(line.get(mark.find(line)?.end()..)?.to_owned());
    text.lines().enumerate().filter_map(|(at, line)| Some((at + 1, comment(line)?))).collect()
}
