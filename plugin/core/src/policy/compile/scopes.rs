//! `scopes`: the hierarchy (P4).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::policy::document::{self, Entry, NAME, Report, vocabulary};
use crate::policy::scope::{Group, Scope};
use crate::text::is_scope_token;

/// Which scope implies which.
#[derive(Debug, Default)]
pub(super) struct Hierarchy {
    implies: BTreeMap<String, Vec<String>>,
    /// Where each implied scope was written, until it is known whether the policy names it elsewhere.
    targets: Vec<(String, String)>,
    /// Scopes that the policy names as something to have: here, in a baseline, a tier or a rule.
    named: BTreeSet<String>,
    /// The other scopes that imply a scope.
    covered_by: BTreeMap<String, Vec<String>>,
    made: BTreeMap<String, Scope>,
}

impl Hierarchy {
    pub(super) fn read(entry: Option<Entry<'_>>, report: &mut Report) -> Hierarchy {
        let mut hierarchy = Hierarchy::default();
        for (name, entry) in entry.and_then(|entry| entry.named(report)).unwrap_or_default() {
            if !is_scope_token(name) {
                entry.fault(report, "not a scope token", "RFC 6749 3.3: visible ASCII without quotes and backslashes");
            }
            let Some(fields) = entry.fields(&[vocabulary::HIERARCHY], report) else { continue };
            if name.contains(['{', '}']) {
                entry.fault(report, "a brace inside a scope", "`{name}` stands in the rules of tools and prompts only");
            }
            let implied = fields.take("implies").map(|entry| {
                if matches!(entry.value, crate::json::Value::List(_)) {
                    entry.some_list(report);
                }
                (document::scopes(&entry, report).unwrap_or_default(), entry)
            });
            let (implied, path) = implied.map(|(scopes, entry)| (scopes, entry.path)).unwrap_or_default();
            fields.finish(report);
            hierarchy.targets.extend(implied.iter().map(|scope| (scope.clone(), path.clone())));
            hierarchy.named.insert(name.to_owned());
            hierarchy.implies.insert(name.to_owned(), implied);
        }
        for scope in hierarchy.implies.keys() {
            let implied: BTreeSet<String> = hierarchy.implied(scope).into_iter().map(str::to_owned).collect();
            if implied.contains(scope) {
                let path = crate::policy::document::join("scopes", scope);
                report.fault(&path, "a scope that implies itself", "remove one of the steps of the cycle");
            }
            for implied in implied {
                hierarchy.covered_by.entry(implied).or_default().push(scope.clone());
            }
        }
        hierarchy
    }

    /// Scopes of which something requires one. `None` where there is none to ask for.
    pub(super) fn group(&mut self, need: &[String]) -> Option<Group> {
        let (ask, others) = need.split_first()?;
        Some(Group::new(self.scope(ask), others.iter().map(|name| self.scope(name)).collect()))
    }

    /// A scope that something requires.
    pub(super) fn scope(&mut self, name: &str) -> Scope {
        if let Some(stem) = name.strip_suffix(NAME) {
            let (covered_by, implies) = (Rc::from([stem.to_owned()]), Rc::from([]));
            return Scope { name: Rc::from(stem), covered_by, implies, is_built: true };
        }
        self.named.insert(name.to_owned());
        if let Some(made) = self.made.get(name) {
            return made.clone();
        }
        let others = self.covered_by.get(name).into_iter().flatten();
        let scope = Scope {
            name: Rc::from(name),
            covered_by: std::iter::once(name.to_owned()).chain(others.cloned()).collect(),
            implies: self.implied(name).into_iter().map(str::to_owned).collect(),
            is_built: false,
        };
        self.made.insert(name.to_owned(), scope.clone());
        scope
    }

    /// A scope that a tier names, whether or not a rule uses that.
    pub(super) fn name(&mut self, scope: &str) {
        if !scope.ends_with(NAME) {
            self.named.insert(scope.to_owned());
        }
    }

    /// Every scope that the policy names.
    pub(super) fn all(&self) -> impl Iterator<Item = &String> {
        self.named.iter().chain(self.targets.iter().map(|(target, _)| target))
    }

    /// Does the policy name it anywhere?
    pub(super) fn is_named(&self, scope: &str) -> bool {
        self.named.contains(scope) || self.targets.iter().any(|(target, _)| target == scope)
    }

    /// Reports implied scopes that nothing else in the policy names: a typing error would silently imply nothing.
    pub(super) fn finish(&self, report: &mut Report) {
        for (scope, path) in self.targets.iter().filter(|(scope, _)| !self.named.contains(scope)) {
            report.fault(
                path,
                format!("`{scope}` is implied, but nothing else in the policy names it"),
                "declare it under `scopes`, or correct it",
            );
        }
        // `made` has what a baseline, a tier's rule or a rule asks for.
        let is_used = |scope: &String| {
            let implied = self.implied(scope);
            self.made.contains_key(scope) || implied.iter().any(|implied| self.made.contains_key(*implied))
        };
        for scope in self.implies.keys().filter(|scope| !is_used(scope)) {
            let path = crate::policy::document::join("scopes", scope);
            report.warn(
                &path,
                "a scope that nothing asks for, and that implies nothing that is",
                "remove it, or use it",
            );
        }
    }

    /// Everything a scope implies, directly and through others.
    fn implied(&self, scope: &str) -> BTreeSet<&str> {
        let mut seen = BTreeSet::new();
        let mut next: Vec<&str> = vec![scope];
        while let Some(scope) = next.pop() {
            for implied in self.implies.get(scope).into_iter().flatten() {
                if seen.insert(implied.as_str()) {
                    next.push(implied);
                }
            }
        }
        seen
    }
}
