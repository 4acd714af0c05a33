//! Links and paths lead somewhere: no document or comment names a file that is not there.

use std::path::{Component, Path, PathBuf};

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

/// What makes a word the name of a file, or of a folder.
const KINDS: [&str; 12] = ["md", "rs", "yaml", "yml", "toml", "wat", "mjs", "py", "csv", "sh", "json", "snap"];
const FOLDERS: [&str; 7] = ["plugin", "host-test", "docs", "envoy", "policies", "benches", ".ci"];

/// Files and folders that prose and comments name.
pub fn files(tree: &Tree) -> Complaints {
    let mut complaints = Vec::new();
    for (path, text) in &tree.texts {
        for (line, words) in prose(path, text) {
            let wrong = words.split(is_between).filter_map(name).filter(|name| !is_there(tree, path, name));
            complaints.extend(wrong.map(|name| format!("{path}:{line}: {name}")));
        }
    }
    complaints
}

fn is_between(c: char) -> bool {
    !(c.is_ascii_alphanumeric() || "_./*:-".contains(c))
}

fn name(word: &str) -> Option<&str> {
    if word.contains("://") {
        return None;
    }
    // `flow.rs:12`, and the end of a sentence.
    let word = word.split(':').next()?.trim_end_matches(['.', '/', '-']);
    let is_file = word.rsplit_once('.').is_some_and(|(stem, kind)| !stem.is_empty() && KINDS.contains(&kind));
    let is_below = word.split_once('/').is_some_and(|(folder, rest)| FOLDERS.contains(&folder) && !rest.is_empty());
    (is_file || is_below).then_some(word)
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
        Some("rs" | "mjs" | "wit") => "//",
        Some("yaml" | "toml" | "py" | "sh") => "#",
        Some("wat") => ";;",
        _ if path.starts_with(".ci/") => "#",
        _ => return Vec::new(),
    };
    text.lines().enumerate().filter_map(|(at, line)| Some((at + 1, comment(line, mark)?.to_owned()))).collect()
}

/// What follows the mark at the beginning of the line, or behind a blank.
fn comment<'l>(line: &'l str, mark: &str) -> Option<&'l str> {
    let mut marks = line.match_indices(mark).map(|(at, _)| line.split_at(at));
    let (_, rest) = marks.find(|(before, _)| before.is_empty() || before.ends_with([' ', '\t']))?;
    rest.strip_prefix(mark)
}
