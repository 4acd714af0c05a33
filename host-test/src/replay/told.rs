//! What came of a log: counted by what was asked, by whom, and what it comes to.

use std::collections::BTreeMap;

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};

use super::records::Recorded;
use super::trial::{Decision, Outcome};
use crate::shown::{plain, plain_json};

/// All that is told.
pub(super) struct Told<'r> {
    recorded: &'r Recorded,
    /// By server, thing, rule, client, what was recorded and what it comes to.
    groups: BTreeMap<[String; 6], (bool, u64)>,
    /// By what would have to be known, and thing.
    untold: BTreeMap<(String, String), u64>,
    /// By reason.
    not_of_rules: BTreeMap<String, u64>,
}

impl<'r> Told<'r> {
    pub(super) fn new(recorded: &'r Recorded) -> Told<'r> {
        Told { recorded, groups: BTreeMap::new(), untold: BTreeMap::new(), not_of_rules: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, record: &Value, count: u64, outcome: Outcome) {
        let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let what = [text("kind"), text("method"), text("name")];
        let what = match what.each_ref().map(String::as_str) {
            ["", method, _] => method.to_owned(),
            ["method", method, _] => format!("method {method}"),
            [kind, _, name] => format!("{kind} {name}"),
        };
        match outcome {
            Outcome::NotOfRules => *self.not_of_rules.entry(text("reason")).or_default() += count,
            Outcome::Untold(missing) => *self.untold.entry((missing, what)).or_default() += count,
            Outcome::Decided(new) => {
                let old = Decision::of(record);
                let key = [
                    text("server"),
                    what,
                    new.rule.clone().unwrap_or_default(),
                    text("client"),
                    told(&old),
                    told(&new),
                ];
                let group = self.groups.entry(key).or_insert((!old.is_alike(&new), 0));
                group.1 += count;
            }
        }
    }

    fn count(&self, differs: bool) -> u64 {
        self.groups.values().filter(|group| group.0 == differs).map(|group| group.1).sum()
    }

    /// 0: alike; 1: something differs; 2: it cannot be told of all.
    pub(super) fn code(&self) -> u8 {
        let is_unknown = !self.untold.is_empty() || !self.recorded.unreadable.is_empty() || self.groups.is_empty();
        match (self.count(true) > 0, is_unknown) {
            (true, _) => 1,
            (false, true) => 2,
            (false, false) => 0,
        }
    }

    fn summary(&self) -> String {
        let untold: u64 = self.untold.values().sum();
        let others: u64 = self.not_of_rules.values().sum();
        let mut text = format!(
            "{} differ, {} are decided alike, of {untold} it cannot be told, {others} were not decided by rules",
            self.count(true),
            self.count(false)
        );
        if self.recorded.without > 0 {
            text += &format!(", {} lines have no record", self.recorded.without);
        }
        if self.recorded.suppressed > 0 {
            text += &format!(", {} records of strangers were left out of the log", self.recorded.suppressed);
        }
        if !self.recorded.unreadable.is_empty() {
            text += &format!(", {} lines cannot be read: {}", self.recorded.unreadable.len(), self.first_unreadable());
        }
        text
    }

    fn first_unreadable(&self) -> String {
        self.recorded.unreadable.iter().take(5).cloned().collect::<Vec<_>>().join(", ")
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (differs, title) in [(true, "Differs"), (false, "Alike")] {
            let rows = self.groups.iter().filter(|(_, group)| group.0 == differs);
            let rows: Vec<Vec<String>> = rows
                .map(|([server, what, rule, client, old, new], (_, count))| {
                    let client = if client.is_empty() { "none" } else { client };
                    vec![
                        count.to_string(),
                        server.clone(),
                        what.clone(),
                        rule.clone(),
                        client.to_owned(),
                        old.clone(),
                        new.clone(),
                    ]
                })
                .collect();
            text += &table(title, &["count", "server", "what", "rule", "client", "recorded", "this policy"], &rows);
        }
        let untold =
            self.untold.iter().map(|((missing, what), count)| vec![count.to_string(), what.clone(), missing.clone()]);
        text +=
            &table("Cannot be told", &["count", "what", "what would have to be known"], &untold.collect::<Vec<_>>());
        let others = self.not_of_rules.iter().map(|(reason, count)| vec![count.to_string(), reason.clone()]);
        text += &table("Not decided by rules", &["count", "reason"], &others.collect::<Vec<_>>());
        text + &self.summary() + "\n"
    }

    pub(super) fn json(&self) -> String {
        let groups: Vec<Value> = self
            .groups
            .iter()
            .map(|([server, what, rule, client, old, new], (differs, count))| {
                json!({
                    "server": server, "what": what, "rule": rule, "client": client, "recorded": old, "now": new,
                    "differs": differs, "count": count,
                })
            })
            .collect();
        let untold = self
            .untold
            .iter()
            .map(|((missing, what), count)| json!({ "what": what, "unknown": missing, "count": count }));
        let document = json!({
            "groups": groups, "cannot_be_told": untold.collect::<Vec<_>>(), "not_decided_by_rules": self.not_of_rules,
            "without_record": self.recorded.without, "suppressed": self.recorded.suppressed,
            "unreadable": self.recorded.unreadable,
        });
        plain_json(&format!("{document:#}\n"))
    }
}

fn told(decision: &Decision) -> String {
    let verdict = match decision.verdict.as_str() {
        "elevate" => "token service asked",
        other => other,
    };
    let reason = match decision.reason.as_str() {
        "permitted" | "elevated" => String::new(),
        other => format!(" ({other})"),
    };
    let would = decision.would.as_ref().map(|would| format!(", in shadow: would {would}")).unwrap_or_default();
    format!("{verdict}{reason}{would}")
}

fn table(title: &str, head: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let width = terminal_size::terminal_size().map_or(150, |(width, _)| width.0.max(60));
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width);
    table.set_header(head.to_vec());
    rows.iter().for_each(|row| {
        table.add_row(row.iter().map(|cell| plain(cell)).collect::<Vec<_>>());
    });
    let lines: Vec<String> = table.to_string().lines().map(|line| line.trim_end().to_owned()).collect();
    format!("{title}\n{}\n\n", lines.join("\n"))
}
