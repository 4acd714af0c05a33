//! The alerts: each fires where it should and nowhere else, says what to do, and stands for what the pages say to alert on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use host_test::{paths, yaml};
use regex::Regex;
use serde_json::Value;
use step_up_core::{Class, FAULTS, Reason};

use crate::expressions::unknown;
use crate::prometheus::{folder, promtool};

/// The rules, by their names.
pub fn alerts() -> BTreeMap<String, Value> {
    let document = yaml::load(&folder().join("alerts.yaml")).unwrap();
    let rules = document["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
    let alerts: Vec<(String, Value)> =
        rules.map(|rule| (rule["alert"].as_str().unwrap().to_owned(), rule.clone())).collect();
    let count = alerts.len();
    let alerts: BTreeMap<String, Value> = alerts.into_iter().collect();
    assert_eq!(alerts.len(), count, "two have one name");
    alerts
}

fn expression(alert: &Value) -> &str {
    alert["expr"].as_str().unwrap()
}

#[test]
fn promtool_is_content_with_the_rules_and_their_tests() {
    promtool(&["check", "rules", "alerts.yaml"], &folder());
    promtool(&["test", "rules", "alerts.test.yaml"], &folder());
}

#[test]
fn each_alert_is_made_to_fire_and_left_quiet() {
    let tests = yaml::load(&folder().join("alerts.test.yaml")).unwrap();
    let alert = Regex::new(r#"^ALERTS\{alertname="(\w+)",alertstate="firing"\}$"#).unwrap();
    let (mut fired, mut quiet) = (BTreeSet::new(), BTreeSet::new());
    for test in tests["tests"].as_array().unwrap() {
        for check in test["promql_expr_test"].as_array().unwrap() {
            let name = alert.captures(check["expr"].as_str().unwrap()).unwrap()[1].to_owned();
            assert!(test["name"].as_str().unwrap().starts_with(&format!("{name}: ")), "{test:#}");
            match check["exp_samples"].as_array().unwrap().is_empty() {
                true => quiet.insert(name),
                false => fired.insert(name),
            };
        }
    }
    let all: BTreeSet<String> = alerts().into_keys().collect();
    assert_eq!(fired, all, "which fire");
    assert_eq!(quiet, all, "which are quiet");
}

#[test]
fn each_alert_says_how_urgent_it_is_and_what_to_do() {
    for (name, alert) in alerts() {
        assert!(name.starts_with("StepUp"), "{name}");
        assert!(["critical", "warning"].contains(&alert["labels"]["severity"].as_str().unwrap()), "{name}");
        for text in ["summary", "runbook"] {
            assert!(
                alert["annotations"][text].as_str().is_some_and(|text| text.ends_with('.')),
                "{name} has no {text}"
            );
        }
        assert_eq!(unknown(expression(&alert)), Vec::<String>::new(), "{name}");
    }
}

/// What a page says to alert on: the points of the list behind a line that ends so.
fn points(page: &str, before: &str) -> Vec<String> {
    let text = fs::read_to_string(paths::workspace().join(page)).unwrap();
    let (_, list) = text.split_once(before).unwrap_or_else(|| panic!("{page} has no `{before}`"));
    let mut points: Vec<String> = Vec::new();
    for line in list.lines().skip_while(|line| !line.starts_with("- ")) {
        match (line.strip_prefix("- "), points.last_mut()) {
            (Some(point), _) => points.push(point.to_owned()),
            (None, Some(point)) if line.starts_with("  ") => *point += line,
            _ => break,
        }
    }
    assert!(points.len() > 4, "{page}: {points:?}");
    points
}

#[test]
fn what_the_pages_say_to_alert_on_has_its_alert() {
    let (alerts, code) = (alerts(), Regex::new("`([^`]+)`").unwrap());
    let mut said = BTreeSet::new();
    for (page, before) in [("envoy/README.md", "Alert on\n"), ("docs/operating.md", "## What to alert on\n")] {
        for point in points(page, before) {
            let words: Vec<&str> = code.captures_iter(&point).map(|found| found.get(1).unwrap().as_str()).collect();
            let (names, words): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.starts_with("StepUp"));
            assert!(!names.is_empty(), "{page} names no alert for: {point}");
            let expressions: String = names
                .iter()
                .map(|name| expression(alerts.get(*name).unwrap_or_else(|| panic!("{page}: no alert {name}"))))
                .collect();
            // `wasm.step-up.vm_reload_success` is called envoy_wasm_step_up_vm_reload_success there.
            for word in words.iter().filter(|word| word.contains('_') || word.contains('.')) {
                let metric = word.replace(['.', '-'], "_").replace("http_*_", "http_");
                assert!(expressions.contains(&metric), "{page}: `{word}` is in none of {names:?}");
            }
            said.extend(names.iter().map(|name| (*name).to_owned()));
        }
    }
    let all: BTreeSet<String> = alerts.into_keys().collect();
    assert_eq!(said, all, "said on a page, and there");
}

#[test]
fn each_fault_and_each_reason_of_ours_has_its_alert() {
    let tests = fs::read_to_string(folder().join("alerts.test.yaml")).unwrap();
    for kind in FAULTS {
        let series = format!(r#"stepup_faults_total{{job="j",instance="bad",kind="{kind}"}}"#);
        assert!(tests.contains(&series), "{kind} is not made to fire");
    }
    let ours = Reason::ALL.iter().filter(|reason| reason.class() == Class::Ours).map(|reason| reason.name());
    let ours = ours.collect::<Vec<_>>();
    let (mut all, reasons) = (alerts(), Regex::new(r#"reason=~"([^"]+)""#).unwrap());
    // What a stranger can cause counts by its share.
    let asked = ["StepUpUnavailable", "StepUpUnverified"].map(|name| {
        let alert = all.remove(name).unwrap();
        reasons.captures(expression(&alert)).unwrap()[1].to_owned()
    });
    let asked: BTreeSet<_> = asked.iter().flat_map(|reasons| reasons.split('|')).collect();
    assert_eq!(asked, ours.into_iter().collect());
}
