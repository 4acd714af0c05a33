//! What was found, as people read it: a message, the lines it is about, what to do.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use step_up_core::most_series;
use step_up_core::{Fault, Policy};

use super::Findings;
use crate::yaml::Places;

/// The file that is checked.
pub(super) struct Page<'p> {
    pub name: String,
    pub text: &'p str,
    pub renderer: &'p Renderer,
}

/// One thing that is wrong, and where.
pub(super) struct Item {
    pub problem: String,
    pub help: String,
    pub place: Range<usize>,
}

impl Item {
    pub(super) fn new(problem: &str, help: &str, place: Range<usize>) -> Item {
        Item { problem: problem.to_owned(), help: help.to_owned(), place }
    }

    pub(super) fn of(fault: &Fault, place: Range<usize>) -> Item {
        Item::new(&fault.problem, &fault.help, place)
    }
}

/// What becomes of a policy.
pub(super) enum Verdict<'p> {
    Loads(&'p Policy),
    /// The filter refuses it.
    Refused,
    /// Envoy may load it, and mean something else than its readers do.
    Unclear,
}

impl Page<'_> {
    /// What became of loading a policy; `item` says where a fault stands.
    pub(super) fn loaded(
        &self,
        title: &str,
        loaded: &Result<Policy, Vec<Fault>>,
        item: impl Fn(&Fault) -> Item,
        found: &mut Findings,
    ) {
        let items = |faults: &[Fault]| -> Vec<Item> { faults.iter().map(&item).collect() };
        match loaded {
            Ok(policy) => {
                for note in items(policy.notes()) {
                    found.text += &self.show(Level::NOTE, &note);
                }
                self.report(title, &[], &items(policy.warnings()), &Verdict::Loads(policy), found);
            }
            Err(faults) => self.report(title, &items(faults), &[], &Verdict::Refused, found),
        }
    }

    pub(super) fn errors(&self, title: &str, errors: &[Item], verdict: &Verdict<'_>, found: &mut Findings) {
        self.report(title, errors, &[], verdict, found);
    }

    fn report(&self, title: &str, errors: &[Item], warnings: &[Item], verdict: &Verdict<'_>, found: &mut Findings) {
        for (level, list) in [(Level::ERROR, errors), (Level::WARNING, warnings)] {
            for item in list {
                found.text += &self.show(level.clone(), item);
            }
        }
        found.text += &summary(title, errors.len(), warnings.len(), verdict);
        found.errors += errors.len();
        found.warnings += warnings.len();
    }

    fn show(&self, level: Level<'_>, item: &Item) -> String {
        let annotation = AnnotationKind::Primary.span(item.place.clone());
        let snippet = Snippet::source(self.text).path(self.name.as_str()).annotation(annotation);
        let mut group: Group<'_> = level.primary_title(item.problem.as_str()).element(snippet);
        if !item.help.is_empty() {
            group = group.element(Level::HELP.message(item.help.as_str()));
        }
        self.renderer.render(&[group]) + "\n\n"
    }

    /// A value's place, by its path; the first line if it is nowhere.
    pub(super) fn place(&self, places: &Places, path: &str) -> Range<usize> {
        let range = places.of(path);
        if range.is_empty() { self.first_line(0..self.text.len()) } else { range }
    }

    pub(super) fn first_line(&self, range: Range<usize>) -> Range<usize> {
        let text = self.text.get(range.clone()).unwrap_or_default();
        range.start..range.start + text.find('\n').unwrap_or(text.len())
    }
}
fn summary(title: &str, errors: usize, warnings: usize, verdict: &Verdict<'_>) -> String {
    let many = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let verdict = match verdict {
        Verdict::Refused => "will not load".to_owned(),
        Verdict::Unclear => "not to be deployed".to_owned(),
        Verdict::Loads(policy) => {
            let series = most_series(policy.view().servers().len(), policy.view().issuers().len());
            format!("will load, digest {}, at most {series} metric series", policy.digest())
        }
    };
    format!("{title}: {}, {}: {verdict}\n", many(errors, "error"), many(warnings, "warning"))
}

/// Line and column, from 1, in characters.
pub(super) fn offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let rest = text.get(start..).unwrap_or_default();
    let within = rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(at, _)| at);
    (start + within).min(text.len().saturating_sub(1))
}
