//! `stepup check --envoy`: what of an Envoy's configuration is otherwise than the filter relies on, and what comes of it.

mod checks;
mod finding;
pub mod guard;
mod lock;
mod model;
mod node;
mod routing;
mod world;

use std::ops::Range;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use anyhow::{Context as _, Result, anyhow};

use super::page::Page;
use super::{Findings, file};
use crate::yaml::{self, Scan};
use finding::{Finding, Severity};
use node::Node;
pub(super) use world::Known;
use world::World;

/// The names of all checks.
pub fn names() -> impl Iterator<Item = &'static str> {
    checks::names()
}

/// A file of Envoy's.
pub(super) struct File {
    name: String,
    text: String,
    scan: Scan,
    /// It was named as a policy: its plugins count, what it lacks is no matter.
    is_policy: bool,
}

impl File {
    pub(super) fn read(path: &Path, text: String, is_policy: bool) -> Result<File> {
        let name = path.display().to_string();
        let scan =
            yaml::scan(&text).map_err(|fault| anyhow!("{name}:{fault}")).context("Envoy's file cannot be read")?;
        Ok(File { name, text, scan, is_policy })
    }

    /// What is wrong with the policies in it, if it has some.
    pub(super) fn policies(&self, renderer: &Renderer, found: &mut Findings) {
        let page = Page { name: self.name.clone(), text: &self.text, renderer };
        let is_json = super::is_json(Path::new(&self.name));
        let mut inner = Findings::default();
        file::deployed(&page, &self.scan, is_json, &mut inner);
        if inner.policies > 0 || inner.errors > 0 {
            found.text += &inner.text;
            found.errors += inner.errors;
            found.warnings += inner.warnings;
        }
    }

    pub(super) fn known(&self) -> Vec<Known> {
        super::known(&self.scan, &self.text)
    }
}

/// Looks at these files, which together are one Envoy.
pub(super) fn check(files: &[File], policies: &[Known], renderer: &Renderer, found: &mut Findings) {
    let model = model::read(files.iter().map(|file| &file.scan.value));
    let world = World::new(model, policies);
    let own = files.iter().enumerate().filter(|(_, file)| !file.is_policy);
    let roots: Vec<_> = own.map(|(at, file)| Node { file: at, path: String::new(), value: &file.scan.value }).collect();
    let mut findings = checks::look(&world, &roots);
    findings.sort_by_key(|finding| finding.severity);
    let mut rest = findings.as_slice();
    let mut said: Vec<&Finding> = Vec::new();
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        if said.iter().any(|other| is_alike(other, first)) {
            continue;
        }
        said.push(first);
        let others: Vec<_> = more.iter().filter(|other| is_alike(other, first)).collect();
        found.text += &show(files, first, &others, renderer);
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (faults, warnings, notes) = (count(Severity::Fault), count(Severity::Warning), count(Severity::Note));
    let names: Vec<_> = files.iter().filter(|file| !file.is_policy).map(|file| file.name.as_str()).collect();
    let many = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let seen = format!(
        "{} with the filter, {} to servers",
        many(world.guarded().count(), "connection manager"),
        many(world.served.len(), "route")
    );
    found.text += &format!(
        "{}: {seen}: {}, {}, {}\n",
        names.join(", "),
        many(faults, "fault"),
        many(warnings, "warning"),
        many(notes, "note")
    );
    found.errors += faults;
    found.warnings += warnings;
}

/// The same, at another place.
fn is_alike(one: &Finding, other: &Finding) -> bool {
    let key = |finding: &Finding| (finding.name, finding.severity, finding.follows.clone(), finding.help.clone());
    // Notes say different things of one kind.
    key(one) == key(other) && (one.severity != Severity::Note || one.problem == other.problem)
}

/// At most so many other places are named.
const PLACES: usize = 5;

fn show(files: &[File], finding: &Finding, others: &[&Finding], renderer: &Renderer) -> String {
    let Some(file) = files.get(finding.file) else { return String::new() };
    let page = Page { name: file.name.clone(), text: &file.text, renderer };
    let level = match finding.severity {
        Severity::Fault => Level::ERROR.with_name("fault"),
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let annotation = AnnotationKind::Primary.span(whole(&page, file, &finding.path));
    let snippet = Snippet::source(file.text.as_str()).path(file.name.as_str()).annotation(annotation);
    let mut group: Group<'_> = level.primary_title(finding.problem.as_str()).id(finding.name).element(snippet);
    let path = format!("at `{}`", finding.path);
    if !finding.path.is_empty() {
        group = group.element(Level::NOTE.message(path.as_str()));
    }
    group = group.element(Level::NOTE.message(finding.follows.as_str()));
    let places: Vec<_> = others.iter().take(PLACES).map(|other| place(files, other)).collect();
    let more = others.len().saturating_sub(PLACES);
    let also =
        format!("also {}{}", places.join("; "), if more == 0 { String::new() } else { format!("; and {more} more") });
    if !others.is_empty() {
        group = group.element(Level::NOTE.message(also.as_str()));
    }
    group = group.element(Level::HELP.message(finding.help.as_str()));
    renderer.render(&[group]) + "\n\n"
}

/// Of an item of a list that is a map, only its beginning is known: the first line of it is shown.
fn whole(page: &Page<'_>, file: &File, path: &str) -> Range<usize> {
    let range = file.scan.places.of(path);
    if range.is_empty() { page.first_line(range.start..file.text.len()) } else { range }
}

fn place(files: &[File], finding: &Finding) -> String {
    let line = files.get(finding.file).map_or(0, |file| {
        let start = file.scan.places.of(&finding.path).start;
        file.text.get(..start).unwrap_or_default().matches('\n').count() + 1
    });
    format!("in line {line}: {}", finding.problem)
}
