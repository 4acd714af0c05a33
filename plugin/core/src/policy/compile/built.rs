//! P3: a scope that is made of the name of a tool or prompt must be no other scope of the policy.

use super::scopes::Hierarchy;
use crate::policy::Server;
use crate::policy::document::Report;
use crate::policy::pattern::Pattern;
use crate::policy::requirement::{Requirement, is_scopable};
use crate::policy::rules::{Rule, Rules};

/// A rule and what it makes scopes of.
#[derive(Clone, Copy)]
struct Built<'s> {
    rules: &'s Rules,
    rule: &'s Rule,
    /// What stands before the name.
    stem: &'s str,
}

pub(super) fn check(servers: &[Server], scopes: &Hierarchy, report: &mut Report) {
    let all: Vec<Built<'_>> = servers.iter().flat_map(built).collect();
    for (at, own) in all.iter().enumerate() {
        let names = |scope: &String| scope.strip_prefix(own.stem).is_some_and(|name| own.makes(name));
        if let Some(scope) = scopes.all().find(|scope| names(scope)) {
            let problem = format!("`{}{{name}}` could be `{scope}`, which the policy names otherwise (P3)", own.stem);
            report.fault(&own.rule.place, problem, "begin it otherwise: \"call:{name}\"");
        }
        if let Some(other) = all.iter().skip(at + 1).find(|other| own.meets(other)) {
            let problem = format!("`{}{{name}}` could be a scope of `{}` (P3)", own.stem, other.rule.place);
            report.fault(&own.rule.place, problem, "give each kind and server its own beginning");
        }
    }
}

fn built(server: &Server) -> Vec<Built<'_>> {
    let mut found: Vec<Built<'_>> = Vec::new();
    for rules in [&server.rules.tools, &server.rules.prompts] {
        for rule in rules.iter() {
            for group in rule.parts().into_iter().flat_map(Requirement::groups) {
                let stem = &*group.ask().name;
                let is_known = found.iter().any(|known| known.stem == stem && std::ptr::eq(known.rule, rule));
                if group.ask().is_built && !is_known {
                    found.push(Built { rules, rule, stem });
                }
            }
        }
    }
    found
}

impl Built<'_> {
    /// Does this rule win the name, and make a scope of it?
    fn makes(&self, name: &str) -> bool {
        is_scopable(name) && self.rules.select(name).is_ok_and(|chosen| std::ptr::eq(chosen, self.rule))
    }

    /// Could both make one scope? Of patterns, what stands above them is not looked at.
    fn meets(&self, other: &Built<'_>) -> bool {
        let (short, long) = if self.stem.len() <= other.stem.len() { (self, other) } else { (other, self) };
        let Some(between) = long.stem.strip_prefix(short.stem) else { return false };
        // In one map each name has one rule.
        if between.is_empty() && std::ptr::eq(short.rules, long.rules) {
            return false;
        }
        match (Pattern::name(&short.rule.pattern), Pattern::name(&format!("{between}{}", long.rule.pattern))) {
            (Ok(short), Ok(long)) => short.meets(&long, &[], 64),
            // Its names cannot stand in a scope.
            _ => false,
        }
    }
}
