//! The dashboard: every metric is on it, and nothing on it misleads.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use host_test::telemetry::{Panel, ROWS, SELECTION, View};
use regex::Regex;
use serde_json::{Value, json};

use crate::expressions::{metrics, named, unknown};
use crate::prometheus::{folder, promtool};

/// The panels.
pub fn panels() -> impl Iterator<Item = &'static Panel> {
    ROWS.iter().flat_map(|row| row.panels)
}

/// An expression as Grafana sends it, for all instances of this job.
pub fn sent(expression: &str, job: &str) -> String {
    let selection = SELECTION.replace("$job", job).replace("$instance", ".*");
    expression.replace('@', &selection).replace("$__rate_interval", "15s")
}

/// A metric that is new needs a panel: `host-test/src/telemetry/panels.rs`.
#[test]
fn every_metric_is_on_a_panel() {
    let shown: BTreeSet<String> =
        panels().flat_map(|panel| panel.queries).flat_map(|(query, _)| named(query)).collect();
    let all: BTreeSet<String> = metrics().into_keys().collect();
    assert_eq!(shown, all);
}

#[test]
fn expressions_are_of_metrics_and_labels_that_there_are() {
    let selected = Regex::new(r"(stepup|envoy)_[a-z_]+(?P<next>.)?").unwrap();
    let in_brackets = Regex::new(r"(?:by|on) \([^)]*\)|\{[^}]*\}").unwrap();
    let in_legend = Regex::new(r"\{\{(\w+)\}\}").unwrap();
    let mut rules = Vec::new();
    for (panel, (query, legend)) in panels().flat_map(|panel| panel.queries.iter().map(move |query| (panel, query))) {
        assert_eq!(unknown(query), Vec::<String>::new(), "{}", panel.title);
        let alone = in_brackets
            .replace_all(query, |found: &regex::Captures<'_>| if found[0].contains('@') { "{" } else { "" }.to_owned());
        for found in selected.captures_iter(&alone) {
            assert_eq!(found.name("next").map(|next| next.as_str()), Some("{"), "not of what is selected: {query}");
        }
        for label in in_legend.captures_iter(legend) {
            assert!(query.contains(&label[1]), "{}: {legend}", panel.title);
        }
        rules.push(json!({ "record": format!("panel:query{}", rules.len()), "expr": sent(query, ".*") }));
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("panels.yaml");
    fs::write(&file, json!({ "groups": [{ "name": "panels", "rules": rules }] }).to_string()).unwrap();
    promtool(&["check", "rules", &file.display().to_string()], &folder());
}

/// A counter only grows: over time its growth is shown, or it is said that it is not.
#[test]
fn counters_are_not_shown_raw_unless_it_is_said() {
    let counter = Regex::new(r"stepup_[a-z_]+_total").unwrap();
    let growth = Regex::new(r"(rate|increase)\(stepup_[a-z_]+_total").unwrap();
    for panel in panels().filter(|panel| matches!(panel.view, View::Lines | View::Stacked)) {
        let is_raw = panel.queries.iter().any(|(query, _)| {
            let query = query.replace('@', "");
            counter.find_iter(&query).count() != growth.find_iter(&query).count()
        });
        assert_eq!(is_raw, panel.title.contains("since these Envoys started"), "{}", panel.title);
        let is_per_second = panel.queries.iter().any(|(query, _)| query.contains("rate(") && !query.contains('/'));
        assert!(!is_per_second || ["reqps", "ops", "ms"].contains(&panel.unit), "{}: {}", panel.title, panel.unit);
    }
}

#[test]
fn panels_are_named_explained_and_stand_side_by_side() {
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(folder().join("dashboard.json")).unwrap()).unwrap();
    let drawn = dashboard["panels"].as_array().unwrap();
    assert_eq!(drawn.len(), panels().count() + ROWS.len());
    let number = |panel: &Value, name: &str| panel["gridPos"][name].as_u64().unwrap();
    let (mut titles, mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for panel in drawn {
        assert!(
            titles.insert(panel["title"].as_str().unwrap()) && ids.insert(panel["id"].as_u64().unwrap()),
            "{panel:#}"
        );
        assert!(panel["type"] == "row" || panel["description"].as_str().unwrap().ends_with('.'), "{panel:#}");
        for x in number(panel, "x")..number(panel, "x") + number(panel, "w") {
            for y in number(panel, "y")..number(panel, "y") + number(panel, "h") {
                assert!(x < 24 && taken.insert((x, y)), "{panel:#}");
            }
        }
        for target in panel["targets"].as_array().into_iter().flatten() {
            assert!(!target["expr"].as_str().unwrap().contains('@'), "{target}");
        }
    }
}
