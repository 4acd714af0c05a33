//! What an expression names: metrics and labels that there are.

use std::collections::{BTreeMap, BTreeSet};

use host_test::wire;
use regex::Regex;
use step_up_core::{Change, Metric};

/// The metrics of the filter, with their labels.
pub fn metrics() -> BTreeMap<String, (BTreeSet<String>, Metric)> {
    let metrics = wire::metrics().into_iter().map(|metric| {
        let text = metric.name();
        let mut parts = text.split(';');
        let name = parts.next().unwrap().to_owned();
        (name, (parts.map(|label| label.split_once('=').unwrap().0.to_owned()).collect(), metric))
    });
    metrics.collect()
}

/// The metrics of the filter that an expression names, without what Prometheus' form appends to a histogram.
pub fn named(expression: &str) -> BTreeSet<String> {
    let known = metrics();
    let names = Regex::new("stepup_[a-z_]+").unwrap();
    let base = |name: &str| {
        let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let histogram = histogram
            .filter(|name| known.get(*name).is_some_and(|(_, metric)| matches!(metric.change(), Change::Observe(_))));
        histogram.unwrap_or(name).to_owned()
    };
    names.find_iter(expression).map(|name| base(name.as_str())).collect()
}

/// What an expression asks for that no metric has.
pub fn unknown(expression: &str) -> Vec<String> {
    let known = metrics();
    let mut wrong: Vec<String> = named(expression)
        .into_iter()
        .filter(|name| !known.contains_key(name))
        .map(|name| format!("no {name}"))
        .collect();
    // Of every target, of histograms, and of Envoy's own metrics.
    let others = ["job", "instance", "le", "envoy_http_conn_manager_prefix", "envoy_response_code_class"];
    let has = |name: &str, label: &str| {
        others.contains(&label) || known.get(name).is_some_and(|(own, _)| own.contains(label))
    };
    let selector = Regex::new(r"(stepup_[a-z_]+?)(?:_bucket|_sum|_count)?\{([^}]*)\}").unwrap();
    let matcher = Regex::new(r#"([a-z_]+)\s*(?:=~|!~|!=|=)\s*""#).unwrap();
    for found in selector.captures_iter(expression) {
        let labels = matcher.captures_iter(&found[2]).map(|label| label[1].to_owned());
        wrong
            .extend(labels.filter(|label| !has(&found[1], label)).map(|label| format!("{} has no {label}", &found[1])));
    }
    let named = named(expression);
    let groups = Regex::new(r"(?:by|on) \(([^)]*)\)").unwrap();
    for group in groups.captures_iter(expression) {
        let labels =
            group[1].split(", ").filter(|label| !named.iter().any(|name| has(name, label)) && !others.contains(label));
        wrong.extend(labels.map(|label| format!("nothing here has {label}")));
    }
    wrong
}

#[test]
fn what_is_not_there_is_found() {
    assert!(unknown("sum by (kind) (rate(stepup_faults_total{kind=~\"a\",job=\"j\"}[5m]))").is_empty());
    assert!(unknown("sum by (le) (stepup_exchange_ms_bucket{server=\"s\"})").is_empty());
    for wrong in [
        "stepup_fault_total",
        "stepup_faults_total{server=\"s\"}",
        "sum by (server) (stepup_faults_total)",
        "stepup_info_count",
    ] {
        assert!(!unknown(wrong).is_empty(), "{wrong}");
    }
}
