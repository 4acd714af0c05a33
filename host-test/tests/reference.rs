//! The reference and the schemas say what the filter's reader knows, and are up to date.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use host_test::{paths, reference, yaml};
use serde_json::{Value, json};
use step_up_core::{NoEnvironment, Policy};

/// After a change on purpose: `UPDATE_REFERENCE=1 cargo test -p host-test --test reference`.
#[test]
fn the_files_are_up_to_date() {
    let folder = paths::policies();
    for (file, text) in [
        ("reference.md", reference::reference().unwrap()),
        ("schema/policy.json", reference::pretty(&reference::policy_schema()).unwrap() + "\n"),
        ("schema/scenarios.json", reference::pretty(&reference::scenario_schema()).unwrap() + "\n"),
    ] {
        let path = folder.join(file);
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let there = fs::read_to_string(&path).unwrap_or_default();
        assert!(there == text, "{file} is not up to date: UPDATE_REFERENCE=1 cargo test -p host-test --test reference");
    }
}

const UNKNOWN: &str = "zzzzzzzzzz";

/// What the reader says it knows beside a word it does not.
fn known(document: &Value) -> BTreeSet<String> {
    let faults = Policy::load(document.to_string().as_bytes(), &NoEnvironment).unwrap_err();
    let fault = faults.iter().find(|fault| fault.path.ends_with(UNKNOWN)).expect("the unknown word is found");
    let list = fault.help.strip_prefix("known here: ").expect("it lists what it knows");
    list.split(", ").map(str::to_owned).collect()
}

#[test]
fn the_schema_knows_the_words_that_the_reader_knows() {
    let schema = serde_json::to_value(reference::policy_schema()).unwrap();
    let at = |name: &str| if name == "Policy" { schema.clone() } else { schema["$defs"][name].clone() };
    let words =
        |name: &str| -> BTreeSet<String> { at(name)["properties"].as_object().unwrap().keys().cloned().collect() };
    let rule = |rule: Value| json!({ "resource": "https://a/b", "baseline": [], "tools": { "t": rule } });
    let exchanged = |condition: Value| rule(json!({ "step_up": "exchange", "may_elevate": condition }));
    for (name, document) in [
        ("Policy", json!({ UNKNOWN: 1, "resource": "https://a/b", "baseline": [], "tools": {} })),
        ("Issuer", json!({ "issuers": { "https://a": { UNKNOWN: 1 } } })),
        ("Jwks", json!({ "issuers": { "https://a": { "jwks": { UNKNOWN: 1 } } } })),
        ("TokenService", json!({ "token_service": { UNKNOWN: 1 } })),
        ("Client", json!({ "token_service": { "client": { UNKNOWN: 1 } } })),
        ("Hierarchy", json!({ "scopes": { "a": { UNKNOWN: 1 } } })),
        ("Terms", json!({ "tiers": { "a": { UNKNOWN: 1 } } })),
        ("Server", json!({ "servers": { "a": { UNKNOWN: 1 } } })),
        ("ToolTerms", rule(json!({ UNKNOWN: 1 }))),
        ("Condition", exchanged(json!({ "claim": "a", UNKNOWN: 1 }))),
        ("Limits", json!({ "limits": { UNKNOWN: 1 } })),
    ] {
        let mut described = words(name);
        if name == "ToolTerms" {
            described.extend(words("Terms"));
        }
        let mut known = known(&document);
        if name == "Policy" {
            // One server's fields may stand at the top.
            described.extend(words("Server"));
            known.extend(words("Server"));
        }
        assert_eq!(described, known, "{name}");
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
    let policy = jsonschema::validator_for(&serde_json::to_value(reference::policy_schema()).unwrap()).unwrap();
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
