//! What differs: each thing that either policy names, for each caller that either tells apart.

use std::collections::BTreeSet;

use step_up_core::{Became, Kind, Millis, Need, Policy, ServerView, Who, Words, samples};

use super::settings;
use crate::matrix::{kind_name, label, needs, of_groups};
use crate::shown::duration;

/// All that differs.
#[derive(Clone, Debug)]
pub struct Report {
    /// Digests of the older policy and the newer one.
    pub digests: (String, String),
    /// The weightiest first.
    pub findings: Vec<Finding>,
}

/// One thing that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What became of it.
    pub became: Became,
    /// The server, the issuer, the token service; empty: the policy.
    pub about: String,
    /// The kind of thing and its name, or the setting.
    pub what: String,
    /// For whom.
    pub client: String,
    /// What it took, a line each: only what differs.
    pub was: Vec<String>,
    /// What it takes.
    pub now: Vec<String>,
}

impl Report {
    /// Did anything become weaker or reachable, or change in a way that has no order?
    pub fn needs_review(&self) -> bool {
        self.findings.iter().any(|finding| finding.became <= Became::Changed)
    }

    /// How many of this sort.
    pub fn count(&self, became: Became) -> usize {
        self.findings.iter().filter(|finding| finding.became == became).count()
    }
}

/// Compares two policies at a time.
pub fn compare(old: &Policy, new: &Policy, at: Millis) -> Report {
    let callers: BTreeSet<Who> = old.view().callers().into_iter().chain(new.view().callers()).collect();
    let mut findings = settings::compare(&old.view().settings(at), &new.view().settings(at));
    for (old, new) in servers(old, new) {
        let about = new.or(old).map_or_else(String::new, |server| format!("server {}", server.name()));
        if let (Some(old), Some(new)) = (old, new) {
            findings.extend(settings::of_servers(&about, &old.settings(), &new.settings()));
        } else {
            let present = |server: Option<ServerView<'_>>| {
                server.map(|server| vec![server.resource().to_owned()]).unwrap_or_default()
            };
            let became = if new.is_some() { Became::Reachable } else { Became::Unreachable };
            let (was, now) = (present(old), present(new));
            findings.push(Finding {
                became,
                about: about.clone(),
                what: "all of it".to_owned(),
                client: String::new(),
                was,
                now,
            });
        }
        let pair = Pair { about, old, new, callers: &callers, at };
        findings.extend(pair.findings());
    }
    findings.sort_by(|one, other| {
        let key =
            |finding: &Finding| (finding.became, finding.about.clone(), finding.what.clone(), finding.client.clone());
        key(one).cmp(&key(other))
    });
    Report { digests: (old.digest().to_owned(), new.digest().to_owned()), findings }
}

/// Servers of the same name, and of the rest those of the same resource.
fn servers<'p>(old: &'p Policy, new: &'p Policy) -> Vec<(Option<ServerView<'p>>, Option<ServerView<'p>>)> {
    let mut left: Vec<ServerView<'p>> = new.view().servers().collect();
    let mut take = |fits: &dyn Fn(&ServerView<'p>) -> bool| {
        let at = left.iter().position(fits)?;
        Some(left.remove(at))
    };
    let mut pairs: Vec<_> =
        old.view().servers().map(|own| (Some(own), take(&|other| other.name() == own.name()))).collect();
    for (own, other) in &mut pairs {
        if let (Some(own), None) = (*own, *other) {
            *other = take(&|other| other.resource() == own.resource());
        }
    }
    pairs.extend(left.into_iter().map(|other| (None, Some(other))));
    pairs
}

/// One server in both policies.
struct Pair<'p> {
    about: String,
    old: Option<ServerView<'p>>,
    new: Option<ServerView<'p>>,
    callers: &'p BTreeSet<Who>,
    at: Millis,
}

/// The rules that a name has in both.
type Rules = (Option<String>, Option<String>);

impl Pair<'_> {
    fn findings(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        if let (Some(old), Some(new)) = (self.old, self.new) {
            let need = |who: &Who| Some((Some(old.baseline(who, self.at)), Some(new.baseline(who, self.at))));
            found.extend(self.told("any request", need));
        }
        for kind in Kind::ALL {
            let mut seen: Vec<Rules> = Vec::new();
            for (name, called) in self.targets(kind) {
                let (old, new) = self.needs(kind, &name, &Who::Other);
                let rule = |need: &Option<Need>| need.as_ref().and_then(Need::rule).map(str::to_owned);
                let rules = (rule(&old), rule(&new));
                // Between the same two rules, all names are alike.
                if seen.contains(&rules) {
                    continue;
                }
                found.extend(
                    self.told(&format!("{} {called}", kind_name(kind)), |who| Some(self.needs(kind, &name, who))),
                );
                seen.push(rules);
            }
        }
        found
    }

    fn needs(&self, kind: Kind, name: &str, who: &Who) -> (Option<Need>, Option<Need>) {
        let of = |server: Option<ServerView<'_>>| server.map(|server| server.need(kind, name, who, self.at));
        (of(self.old), of(self.new))
    }

    /// Names to ask about, and what each stands for: what is written in either policy, what two patterns have in common, and a
    /// name that nobody wrote.
    fn targets(&self, kind: Kind) -> Vec<(String, String)> {
        let servers = [self.old, self.new];
        let rules = servers.iter().flatten().flat_map(|server| server.rules()).filter(|rule| rule.kind == kind);
        let written: BTreeSet<&str> = rules.map(|rule| rule.pattern()).collect();
        let mut targets: Vec<(String, String)> = Vec::new();
        for pattern in &written {
            targets.extend(samples(kind, pattern, &[]).into_iter().map(|name| (name, (*pattern).to_owned())));
        }
        let list: Vec<&str> = written.iter().copied().collect();
        for (at, one) in list.iter().enumerate() {
            for other in list.iter().skip(at + 1) {
                let alone = samples(kind, one, &[]);
                let common = samples(kind, one, &[other]).into_iter().filter(|name| !alone.contains(name));
                targets.extend(common.map(|name| (name, format!("{one} that {other} matches, too"))));
            }
        }
        if !written.contains("*") {
            targets.push((unnamed(kind), "(any other)".to_owned()));
        }
        targets
    }

    /// What became of one thing, for each group of callers.
    fn told(&self, what: &str, needs: impl Fn(&Who) -> Option<(Option<Need>, Option<Need>)>) -> Vec<Finding> {
        let of_caller = |who: &Who| {
            let (old, new) = needs(who)?;
            let became = became(old.as_ref(), new.as_ref())?;
            let words = |need: Option<Need>| need.map(|need| need.words());
            let (was, now) = differing(&lines(words(old).as_ref()), &lines(words(new).as_ref()));
            Some((became, was, now))
        };
        let groups = of_groups(self.callers, of_caller).into_iter();
        let finding = |client: String, (became, was, now): (Became, Vec<String>, Vec<String>)| Finding {
            became,
            about: self.about.clone(),
            what: what.to_owned(),
            client,
            was,
            now,
        };
        groups.filter_map(|(client, told)| Some(finding(client, told?))).collect()
    }
}

fn became(old: Option<&Need>, new: Option<&Need>) -> Option<Became> {
    match (old, new) {
        (Some(old), Some(new)) => old.became(new),
        (None, Some(new)) => (!new.is_closed()).then_some(Became::Reachable),
        (Some(old), None) => (!old.is_closed()).then_some(Became::Unreachable),
        (None, None) => None,
    }
}

/// A name of no pattern but `*`.
fn unnamed(kind: Kind) -> String {
    if kind == Kind::Resource { "stepup-unnamed:any".to_owned() } else { "stepup-unnamed-any".to_owned() }
}

/// What it takes, and how, a line each.
fn lines(words: Option<&Words>) -> Vec<String> {
    let Some(words) = words else { return vec!["no such server".to_owned()] };
    let mut lines = vec![label(words.how).to_owned()];
    lines.extend(
        words.shadow.map(|until| format!("shadow until {}: recorded, not enforced", crate::matrix::date(until))),
    );
    lines.extend(needs(words));
    lines.extend(words.service.as_ref().map(|service| format!("from {service}")));
    lines
}

/// Only what differs, but how it is done always.
fn differing(was: &[String], now: &[String]) -> (Vec<String>, Vec<String>) {
    let without = |own: &[String], other: &[String]| {
        let differs = own.iter().skip(1).filter(|line| !other.contains(line)).cloned();
        own.first().cloned().into_iter().chain(differs).collect::<Vec<_>>()
    };
    (without(was, now), without(now, was))
}

/// A value, or that there is none; seconds as a policy writes them.
pub(super) fn said(value: &[String], number: Option<u64>) -> Vec<String> {
    match number {
        Some(number) if value.iter().any(|text| text.ends_with(" s")) => vec![duration(number)],
        _ if value.is_empty() => vec!["nothing".to_owned()],
        _ => value.to_vec(),
    }
}
