//! The rows: each thing that a policy names, for each caller that it treats in a way of its own.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use step_up_core::{How, Kind, Millis, Need, Policy, ServerView, Who, Words};

use super::date;
use crate::shown::duration;

/// Who may do what, and what it takes.
#[derive(Clone, Debug)]
pub struct Row {
    /// The server's name.
    pub server: String,
    /// What kind of thing.
    pub kind: &'static str,
    /// Its name or pattern, as the policy writes it.
    pub name: String,
    /// The callers that this is so for.
    pub client: String,
    /// What it takes.
    pub words: Words,
}

/// All of a policy, server by server, in the order in which rules stand in it.
pub fn rows(policy: &Policy, at: Millis) -> Vec<Row> {
    let callers = policy.view().callers();
    let mut rows = Vec::new();
    for server in policy.view().servers() {
        let mut add = |kind: &'static str, name: &str, need: &dyn Fn(&Who) -> Need| {
            for (client, words) in of_groups(&callers, |who| need(who).words()) {
                rows.push(Row { server: server.name().to_owned(), kind, name: name.to_owned(), client, words });
            }
        };
        add("any request", "(the baseline)", &|who| server.baseline(who, at));
        for rule in server.rules() {
            let sample = sample(rule.kind, rule.pattern());
            add(kind_name(rule.kind), rule.pattern(), &|who| server.need(rule.kind, &sample, who, at));
        }
        for kind in Kind::ALL {
            if !server.rules().any(|rule| rule.kind == kind && rule.pattern() == "*") {
                let name = unnamed(server, kind);
                add(kind_name(kind), "(any other)", &|who| server.need(kind, &name, who, at));
            }
        }
    }
    rows
}

/// A name that this pattern is the rule for, as long as no other one is.
fn sample(kind: Kind, pattern: &str) -> String {
    step_up_core::samples(kind, pattern, &[]).into_iter().next().unwrap_or_else(|| pattern.to_owned())
}

/// A name that no rule is for.
fn unnamed(server: ServerView<'_>, kind: Kind) -> String {
    let base = if kind == Kind::Resource { "unnamed:" } else { "unnamed" };
    let mut name = base.to_owned();
    while server.matching(kind, &name).next().is_some() && name.len() < 120 {
        name.push('x');
    }
    name
}

/// Callers who are told the same, together: each group by what it is called. Whoever is told what everybody is told is not named.
pub(crate) fn of_groups<T: PartialEq>(callers: &BTreeSet<Who>, told: impl Fn(&Who) -> T) -> Vec<(String, T)> {
    let mut groups: Vec<(Vec<&Who>, T)> = Vec::new();
    for who in callers {
        let this = told(who);
        match groups.iter_mut().find(|(_, known)| *known == this) {
            Some((members, _)) => members.push(who),
            None => groups.push((vec![who], this)),
        }
    }
    groups.sort_by_key(|(members, _)| (members.contains(&&Who::Other), members.first().copied().cloned()));
    let is_one = groups.len() == 1;
    groups.into_iter().map(|(members, told)| (who_text(&members, is_one), told)).collect()
}

/// What a group of callers is called.
fn who_text(members: &[&Who], is_all: bool) -> String {
    if is_all {
        return "any client".to_owned();
    }
    let others = members.contains(&&Who::Other);
    let nameless = members.contains(&&Who::Nameless);
    let mut names: Vec<String> = members
        .iter()
        .filter_map(|who| match who {
            Who::Client(id) if !others => Some(id.clone()),
            Who::Origin(origin) if !others => Some(format!("any client of {origin}")),
            _ => None,
        })
        .collect();
    match (others, nameless) {
        (true, true) => names.push("any other client, or none".to_owned()),
        (true, false) => names.push("any other client".to_owned()),
        (false, true) => names.push("no client in the token".to_owned()),
        (false, false) => {}
    }
    names.join(", ")
}

/// What it is called.
pub(crate) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Tool => "tool",
        Kind::Prompt => "prompt",
        Kind::Resource => "resource",
        Kind::Method => "method",
    }
}

/// How, in a word or two.
pub(crate) fn label(how: How) -> &'static str {
    match how {
        How::Denied => "denied",
        How::Anonymous => "no token needed",
        How::Open => "any valid token",
        How::Standing => "standing scope",
        How::Challenge => "challenge",
        How::Exchange => "exchange",
    }
}

/// What it takes, a line each.
pub(crate) fn needs(words: &Words) -> Vec<String> {
    let mut lines = parts(words);
    for (when, part) in &words.raises {
        let asked =
            if part.how == How::Denied { "denied".to_owned() } else { format!("also {}", raised(part).join("; ")) };
        lines.push(format!("{when}: {asked}"));
    }
    lines
}

/// What is asked beside: how, where it is more than what the token has.
fn raised(part: &Words) -> Vec<String> {
    let mut lines = match part.how {
        How::Challenge => vec!["challenge".to_owned()],
        How::Exchange => vec!["exchange".to_owned()],
        _ => Vec::new(),
    };
    lines.extend(parts(part));
    if lines.is_empty() {
        lines.push("nothing".to_owned());
    }
    lines
}

fn parts(words: &Words) -> Vec<String> {
    let mut lines = Vec::new();
    if words.how == How::Denied {
        lines.extend(words.why.map(str::to_owned));
        return lines;
    }
    if !words.held.is_empty() {
        lines.push(format!("the token holds {}", words.held.join(" and ")));
    }
    if !words.granted.is_empty() {
        lines.push(format!("granted for the call: {}", words.granted.join(" ")));
    }
    lines.extend(words.audience.as_ref().map(|audience| format!("for the audience {audience}")));
    lines.extend(words.ttl.map(|ttl| format!("that token lives at most {}", duration(ttl))));
    lines.extend(words.may_elevate.iter().map(|condition| format!("may be elevated: {condition}")));
    lines.extend(words.manners.iter().map(|manner| (*manner).to_owned()));
    lines.extend(words.max_lifetime.map(|most| format!("the token lives at most {} as a whole", duration(most))));
    lines.extend(words.max_age.map(|most| format!("a login at most {} ago", duration(most))));
    if !words.acr.is_empty() {
        lines.push(format!("logged in by {}", words.acr.join(" or ")));
    }
    if words.bound {
        lines.push("the token is bound to the caller's certificate".to_owned());
    }
    lines.extend(words.act.as_ref().map(|act| format!("actors: {act}")));
    lines.extend(words.callers.iter().map(|condition| format!("only where {condition}")));
    lines
}

impl Row {
    /// `enforced`, or what shadow mode makes of it.
    pub(crate) fn mode(&self) -> String {
        self.words.shadow.map_or_else(|| "enforced".to_owned(), |until| format!("shadow until {}", date(until)))
    }

    /// How, and that it is only recorded.
    pub(crate) fn how(&self) -> &'static str {
        label(self.words.how)
    }

    pub(crate) fn place(&self) -> &str {
        self.words.rule.as_ref().map_or("", |(_, place)| place.as_str())
    }

    pub(crate) fn to_json(&self) -> Value {
        let words = &self.words;
        json!({
            "server": self.server, "kind": self.kind, "name": self.name, "client": self.client, "how": self.how(),
            "why": words.why, "held": words.held, "granted": words.granted, "audience": words.audience,
            "token_service": words.service, "ttl": words.ttl, "max_lifetime": words.max_lifetime, "max_age": words.max_age,
            "acr": words.acr, "bound": words.bound, "act": words.act, "callers": words.callers,
            "may_elevate": words.may_elevate, "manners": words.manners,
            "raises": words.raises.iter().map(|(when, part)| json!({ "when": when, "asks": raised(part) })).collect::<Vec<_>>(),
            "shadow_until": words.shadow.map(date), "rule": self.place(), "tier": words.tier,
        })
    }
}
