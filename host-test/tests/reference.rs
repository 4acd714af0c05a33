//! The reference and the schemas say what the filter's reader knows, and are up to date; so is what is generated of the metrics.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use host_test::{paths, reference, telemetry, wire, yaml};
use serde_json::{Value, json};
use step_up_core::{MAPS, NoEnvironment, Policy, Shape};

/// After a change on purpose: `UPDATE_REFERENCE=1 cargo test -p host-test --test reference`.
#[test]
fn the_files_are_up_to_date() {
    for (file, text) in [
        ("policies/reference.md", reference::reference()),
        ("policies/schema/policy.json", reference::pretty(&reference::policy_schema()).unwrap() + "\n"),
        ("policies/schema/scenarios.json", reference::pretty(&reference::scenario_schema()).unwrap() + "\n"),
        ("policies/schema/audit.json", reference::pretty(&wire::schema()).unwrap() + "\n"),
        ("envoy/telemetry/dashboard.json", reference::pretty(&telemetry::dashboard()).unwrap() + "\n"),
        ("envoy/telemetry/istio-relabel.yaml", telemetry::relabel()),
    ] {
        let path = paths::workspace().join(file);
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let there = fs::read_to_string(&path).unwrap_or_default();
        assert!(there == text, "{file} is not up to date: UPDATE_REFERENCE=1 cargo test -p host-test --test reference");
    }
}

const UNKNOWN: &str = "zzzzzzzzzz";

/// A document with these words in that map, and nothing else that matters.
fn with(map: &str, words: &Value) -> Value {
    let rule = |rule: Value| json!({ "resource": "https://a/b", "baseline": [], "tools": { "t": rule } });
    match map {
        "Policy" => words.clone(),
        "Issuer" => json!({ "issuers": { "https://a": words } }),
        "Jwks" => json!({ "issuers": { "https://a": { "jwks": words } } }),
        "ClientAbilities" => json!({ "clients": [words] }),
        "SourceFrom" => json!({ "servers": { "a": { "source_from": words } } }),
        "Xfcc" => json!({ "servers": { "a": { "source_from": { "xfcc": words } } } }),
        "Introspection" => json!({ "issuers": { "https://a": { "introspection": words } } }),
        "Claims" => json!({ "issuers": { "https://a": { "claims": words } } }),
        "Tenants" => json!({ "issuers": { "https://a/{t}": { "tenants": words } } }),
        "TokenService" => json!({ "token_service": words }),
        "Client" => json!({ "token_service": { "client": words } }),
        "ExchangeRequest" => json!({ "token_service": { "request": words } }),
        "Hierarchy" => json!({ "scopes": { "a": words } }),
        "Terms" | "ServiceTerms" => json!({ "tiers": { "a": words } }),
        "Group" => rule(json!({ "scope": [words] })),
        "Delegation" => rule(json!({ "scope": [], "act": words })),
        "Raise" => rule(json!({ "scope": [], "raise": [words] })),
        "Items" => rule(json!({ "step_up": "exchange", "may_elevate": { "every": words } })),
        "Sessions" => json!({ "sessions": words }),
        "Server" => json!({ "servers": { "a": words } }),
        "ToolTerms" => rule(words.clone()),
        "Condition" => rule(json!({ "step_up": "exchange", "may_elevate": words })),
        "Limits" => json!({ "limits": words }),
        other => panic!("say here how a policy comes to have a {other}"),
    }
}

fn faults(document: &Value) -> Vec<step_up_core::Fault> {
    Policy::load(document.to_string().as_bytes(), &NoEnvironment).unwrap_err()
}

/// Those that do not only stand beside the words of another.
fn maps() -> impl Iterator<Item = &'static step_up_core::Map> {
    MAPS.iter().filter(|map| !["ListedServer", "Test"].contains(&map.name))
}

#[test]
fn the_reader_misses_the_words_that_are_required() {
    for map in maps() {
        let missing: BTreeSet<String> = faults(&with(map.name, &json!({})))
            .iter()
            .filter(|fault| fault.path == place(map.name))
            .filter_map(|fault| Some(fault.problem.strip_prefix('`')?.strip_suffix("` is missing")?.to_owned()))
            .collect();
        let required = map.words.iter().filter(|word| word.required).map(|word| word.name.to_owned());
        let mut required: BTreeSet<String> = required.collect();
        if map.name == "Policy" {
            // One server's words may stand at the top.
            required.extend(["resource", "baseline"].map(str::to_owned));
        }
        if map.name == "Issuer" {
            // But with `introspection` in place of keys (P23).
            required.insert("algorithms".to_owned());
        }
        assert_eq!(missing, required, "{}", map.name);
    }
}

#[test]
fn the_reader_knows_the_choices_that_are_described() {
    let mut seen = 0;
    for map in maps() {
        for word in map.words {
            let (Shape::Choice(choices) | Shape::Choices(choices)) = word.shape else { continue };
            let value = if matches!(word.shape, Shape::Choices(_)) { json!([UNKNOWN]) } else { json!(UNKNOWN) };
            let faults = faults(&with(map.name, &json!({ word.name: value })));
            let fault = faults.iter().find(|fault| fault.path.contains(word.name)).expect("it is no choice");
            let listed: BTreeSet<&str> = fault.help.split('`').skip(1).step_by(2).collect();
            assert_eq!(listed, choices.iter().copied().collect(), "{}.{}: {fault}", map.name, word.name);
            seen += 1;
        }
    }
    assert!(seen > 7);
}

/// Where the map of [`with`] stands.
fn place(map: &str) -> &'static str {
    match map {
        "Issuer" => "issuers.\"https://a\"",
        "Jwks" => "issuers.\"https://a\".jwks",
        "ClientAbilities" => "clients[0]",
        "SourceFrom" => "servers.a.source_from",
        "Xfcc" => "servers.a.source_from.xfcc",
        "Introspection" => "issuers.\"https://a\".introspection",
        "Claims" => "issuers.\"https://a\".claims",
        "Tenants" => "issuers.\"https://a/{t}\".tenants",
        "TokenService" => "token_service",
        "Client" => "token_service.client",
        "ExchangeRequest" => "token_service.request",
        "Server" => "servers.a",
        "Hierarchy" => "scopes.a",
        "Terms" | "ServiceTerms" => "tiers.a",
        "Group" => "tools.t.scope[0]",
        "Delegation" => "tools.t.act",
        "Raise" => "tools.t.raise[0]",
        "Items" => "tools.t.may_elevate.every",
        "Sessions" => "sessions",
        "ToolTerms" => "tools.t",
        "Condition" => "tools.t.may_elevate",
        "Limits" => "limits",
        _ => "",
    }
}

fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(paths::workspace().join(folder)).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn the_schemas_accept_the_examples_and_see_what_an_editor_should() {
    let policy = jsonschema::validator_for(&reference::policy_schema()).unwrap();
    let scenarios = jsonschema::validator_for(&serde_json::to_value(reference::scenario_schema()).unwrap()).unwrap();
    let mut seen = 0;
    for folder in files("policies").into_iter().filter(|path| path.join("policy.yaml").is_file()) {
        let faults = |validator: &jsonschema::Validator, value: &Value| -> Vec<String> {
            validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
        };
        let file = folder.join("policy.yaml");
        assert_eq!(faults(&policy, &yaml::load(&file).unwrap()), [""; 0], "{}", file.display());
        for entry in fs::read_dir(folder.join("tests")).unwrap() {
            let file = entry.unwrap().path();
            assert_eq!(faults(&scenarios, &yaml::load(&file).unwrap()), [""; 0], "{}", file.display());
            seen += 1;
        }
    }
    assert!(seen > 10);
    // What is more than a matter of form is for `stepup check`.
    let of_form = ["02", "03", "04", "17", "22", "24"];
    for file in files("host-test/tests/broken") {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if name.ends_with(".yaml") && of_form.iter().any(|number| name.starts_with(number)) {
            assert!(!policy.is_valid(&yaml::load(&file).unwrap()), "{name}");
        }
    }
}
