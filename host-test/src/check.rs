//! `stepup check`: everything that is wrong with a policy, at once, where it stands.

use std::fs;
use std::io::{IsTerminal as _, Write as _, stdout};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use anyhow::{Context as _, Result};
use step_up_core::most_series;
use step_up_core::{Environment, Millis, Policy};

use crate::signing::Key;
use crate::yaml::{self, Places};

/// What the user asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Policies, as YAML.
    #[arg(required = true)]
    policies: Vec<PathBuf>,
    /// Warnings are errors.
    #[arg(long)]
    strict: bool,
}

/// What was found in one policy.
#[derive(Debug, Default)]
pub struct Findings {
    /// As it is printed.
    pub text: String,
    /// Faults: the filter would refuse the policy.
    pub errors: usize,
    /// What is allowed and rarely meant.
    pub warnings: usize,
}

/// Checks all of them. 0: they will load; 1: one will not.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let renderer = renderer();
    let (mut errors, mut warnings) = (0, 0);
    for path in &arguments.policies {
        let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let findings = check(path, &text, &renderer);
        write!(stdout(), "{}", findings.text)?;
        errors += findings.errors;
        warnings += findings.warnings;
    }
    let failed = errors > 0 || (arguments.strict && warnings > 0);
    Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// In colour for people.
pub(crate) fn renderer() -> Renderer {
    if stdout().is_terminal() { Renderer::styled() } else { Renderer::plain() }
}

/// Checks one policy. Secrets from the environment are taken to be there.
pub fn check(path: &Path, text: &str, renderer: &Renderer) -> Findings {
    let page = Page { name: path.display().to_string(), text, renderer };
    let mut found = Findings::default();
    let (document, places) = match yaml::read_with_places(text) {
        Ok(read) => read,
        Err(fault) => {
            let at = offset(text, fault.line, fault.column);
            let help = if fault.problem.contains("tab") { "indent with spaces" } else { "" };
            let word = text.get(at..).and_then(|rest| rest.find([' ', ':', '\n']));
            found.text += &page.show(Level::ERROR, &fault.problem, help, at..at + word.unwrap_or(1).max(1));
            found.errors = 1;
            found.text += &page.summary(&found, None);
            return found;
        }
    };
    let loaded = Policy::from_value(&document, text.as_bytes(), &Assumed);
    let (faults, warnings) = match &loaded {
        Ok(policy) => (&[][..], policy.warnings()),
        Err(faults) => (faults.as_slice(), &[][..]),
    };
    for (level, list) in [(Level::ERROR, faults), (Level::WARNING, warnings)] {
        for fault in list {
            found.text += &page.show(level.clone(), &fault.problem, &fault.help, place(&places, &fault.path, text));
        }
    }
    (found.errors, found.warnings) = (faults.len(), warnings.len());
    found.text += &page.summary(&found, loaded.as_ref().ok());
    found
}

/// What a policy reads from the environment when it is loaded: here, something that will do for either kind of credential.
struct Assumed;

impl Environment for Assumed {
    fn variable(&self, _: &str) -> Option<String> {
        Key::for_tests("ES256").ok().map(|key| key.text())
    }

    fn now(&self) -> Option<Millis> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        u64::try_from(since.as_millis()).ok().map(Millis)
    }
}

struct Page<'p> {
    name: String,
    text: &'p str,
    renderer: &'p Renderer,
}

impl Page<'_> {
    fn show(&self, level: Level<'_>, problem: &str, help: &str, place: Range<usize>) -> String {
        let annotation = AnnotationKind::Primary.span(place);
        let snippet = Snippet::source(self.text).path(self.name.as_str()).annotation(annotation);
        let mut group: Group<'_> = level.primary_title(problem).element(snippet);
        if !help.is_empty() {
            group = group.element(Level::HELP.message(help));
        }
        self.renderer.render(&[group]) + "\n\n"
    }

    fn summary(&self, found: &Findings, policy: Option<&Policy>) -> String {
        let many = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let verdict = match policy {
            None => "will not load".to_owned(),
            Some(policy) => {
                let series = most_series(policy.servers().count(), policy.issuers().count());
                format!("will load, digest {}, at most {series} metric series", policy.digest())
            }
        };
        let counts = format!("{}, {}", many(found.errors, "error"), many(found.warnings, "warning"));
        format!("{}: {counts}: {verdict}\n", self.name)
    }
}

fn place(places: &Places, path: &str, text: &str) -> Range<usize> {
    let range = places.of(path);
    if range.is_empty() { 0..text.find('\n').unwrap_or(text.len()) } else { range }
}

/// Line and column, from 1, in characters.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let rest = text.get(start..).unwrap_or_default();
    let within = rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(at, _)| at);
    (start + within).min(text.len().saturating_sub(1))
}
