//! One thing that is otherwise than it should be.

use super::node::Node;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// Security is lost, or calls break.
    Fault,
    /// It will bite.
    Warning,
    /// What the files do not show, and what is without effect.
    Note,
}

#[derive(Clone, Debug)]
pub(super) struct Finding {
    /// Of the check.
    pub name: &'static str,
    pub severity: Severity,
    pub file: usize,
    /// Where it stands.
    pub path: String,
    /// What is there, in a few words.
    pub problem: String,
    /// What comes of it.
    pub follows: String,
    /// What to write.
    pub help: String,
}

/// Where a check puts what it found.
#[derive(Debug)]
pub(super) struct Out<'o> {
    pub name: &'static str,
    pub findings: &'o mut Vec<Finding>,
}

impl Out<'_> {
    pub(super) fn fault(
        &mut self,
        at: &Node<'_>,
        problem: impl Into<String>,
        follows: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(Severity::Fault, at, problem.into(), follows.into(), help.into());
    }

    pub(super) fn warn(
        &mut self,
        at: &Node<'_>,
        problem: impl Into<String>,
        follows: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(Severity::Warning, at, problem.into(), follows.into(), help.into());
    }

    pub(super) fn note(
        &mut self,
        at: &Node<'_>,
        problem: impl Into<String>,
        follows: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(Severity::Note, at, problem.into(), follows.into(), help.into());
    }

    fn push(&mut self, severity: Severity, at: &Node<'_>, problem: String, follows: String, help: String) {
        let (name, file, path) = (self.name, at.file, at.path.clone());
        // Of what stands at a virtual host, each of its routes says the same.
        let is_said = |other: &Finding| {
            (other.name, other.file, &other.path) == (name, file, &path)
                && (&other.follows, &other.help) == (&follows, &help)
        };
        if !self.findings.iter().any(is_said) {
            self.findings.push(Finding { name, severity, file, path, problem, follows, help });
        }
    }
}
