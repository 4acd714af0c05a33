//! Audit records: their schema holds for all that the filter writes and for nothing else, and what `stepup audit` makes of them.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use host_test::backend::{self, Backend as _, Native};
use host_test::{paths, scenario, wire};
use serde_json::{Value, json};

/// The records of all scenarios.
static RECORDS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let mut records = Vec::new();
    for case in scenario::load(&paths::policies()).unwrap() {
        let (script, network) = case.script(1).unwrap();
        let run = Native.run(&script, network).unwrap();
        records.extend(run.transcripts.iter().map(backend::record).filter(Value::is_object));
    }
    assert!(records.len() > 500, "{} records", records.len());
    records
});

/// Both ways of saying so: the schema, and the command.
fn is_valid(schema: &jsonschema::Validator, record: &Value) -> bool {
    let faults = wire::faults(record);
    assert_eq!(schema.is_valid(record), faults.is_empty(), "{faults:?}: {record}");
    faults.is_empty()
}

#[test]
fn every_record_of_the_scenarios_is_as_the_schema_says() {
    let schema = jsonschema::validator_for(&wire::schema()).unwrap();
    for record in RECORDS.iter() {
        assert!(is_valid(&schema, record), "{:?}: {record}", wire::faults(record));
    }
}

#[test]
fn a_record_with_an_unknown_member_or_one_of_another_type_is_not() {
    let schema = jsonschema::validator_for(&wire::schema()).unwrap();
    let (mut spoilt, mut seen) = (0, std::collections::BTreeSet::new());
    for record in RECORDS.iter() {
        for (name, value) in record.as_object().unwrap() {
            if !seen.insert(name.clone()) {
                continue;
            }
            let mut others = vec![json!(-1), json!(1.5), json!(["x", 1]), json!(null), json!({ "surprise": "x" })];
            if value.is_object() {
                others.extend(value.as_object().unwrap().keys().map(|inner| {
                    let mut other = value.clone();
                    other[inner] = json!({});
                    other
                }));
            }
            for other in others {
                let mut changed = record.clone();
                changed[name] = other;
                assert!(!is_valid(&schema, &changed), "{name}: {changed}");
                spoilt += 1;
            }
        }
        let mut more = record.clone();
        more["surprise"] = json!("x");
        assert!(!is_valid(&schema, &more), "{more}");
    }
    assert!(spoilt > 150, "{spoilt}");
    for name in ["id", "verdict", "reason", "mode", "policy"] {
        let mut less = RECORDS[0].clone();
        less.as_object_mut().unwrap().remove(name);
        assert!(!is_valid(&schema, &less), "{less}");
    }
}

fn audit(arguments: &[&str]) -> (i32, String, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_stepup")).current_dir(folder()).arg("audit").args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn folder() -> PathBuf {
    paths::workspace().join("host-test/tests/audit")
}

/// A file with these lines of an access log.
fn log(name: &str, lines: &[String]) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, lines.join("\n")).unwrap();
    path.display().to_string()
}

fn line(record: &Value) -> String {
    let entry = json!({
        "time": "2026-11-28T06:26:36.706Z", "method": "POST", "path": "/mcp", "status": 200, "duration": 1,
        "stepup": record.to_string(),
    });
    entry.to_string()
}

/// `host-test/tests/audit/events.jsonl` was read by hand, and held to OCSF's own schema of version 1.5.0.
#[test]
fn records_become_these_events() {
    let (code, out, error) = audit(&["--ocsf", "access.log"]);
    let expected = fs::read_to_string(folder().join("events.jsonl")).unwrap();
    let events = |text: &str| -> Vec<Value> { text.lines().map(|line| serde_json::from_str(line).unwrap()).collect() };
    assert_eq!(events(&out), events(&expected));
    // The bad lines are named, by their numbers.
    let named: Vec<&str> = error.lines().filter_map(|line| line.split(':').nth(1)).collect();
    assert_eq!((code, named), (1, vec!["6", "9", "10", "11", "12"]), "{error}");
}

#[test]
fn without_an_option_records_are_counted_and_held_to_the_schema() {
    let (code, out, error) = audit(&["access.log"]);
    assert_eq!(code, 1);
    assert!(
        out.starts_with("7 records, 3 left out by the limits for strangers, 1 lines without one, 4 bad lines\n"),
        "{out}"
    );
    assert!(out.contains("2  permit: elevated\n") && error.contains("`surprise` is not known"), "{out}{error}");
    let good = log("good.log", &RECORDS.iter().map(line).collect::<Vec<_>>());
    let (code, _, error) = audit(&[&good]);
    assert_eq!((code, error.as_str()), (0, ""));
    let (code, _, error) = audit(&["no/such.log"]);
    assert!(code == 2 && error.contains("no/such.log cannot be read"), "{error}");
}

/// What a log says reaches nobody's terminal, and no line becomes two.
#[test]
fn hostile_texts_stay_texts() {
    let (_, out, error) = audit(&["--ocsf", "access.log"]);
    let is_plain = |text: &str| text.chars().all(|c| c == '\n' || matches!(c, ' '..='~'));
    assert!(is_plain(&out) && is_plain(&error), "{out}{error}");
    assert_eq!(out.lines().count(), 7);
    let many = log("many.log", &vec!["{\u{1b}[31m".to_owned(); 5000]);
    let (code, out, error) = audit(&[&many]);
    assert_eq!((code, error.lines().count()), (1, 21));
    assert!(error.ends_with("and 4980 more\n") && out.contains("5000 bad lines"), "{error}{out}");
}

/// Required of API Activity and of its objects, in OCSF 1.5.0.
const REQUIRED: [&str; 17] = [
    "/activity_id",
    "/actor",
    "/api/operation",
    "/category_uid",
    "/class_uid",
    "/metadata/product",
    "/metadata/version",
    "/severity_id",
    "/src_endpoint",
    "/time",
    "/type_uid",
    "/action_id",
    "/disposition_id",
    "/http_response/code",
    "/metadata/profiles",
    "/status_id",
    "/api/request/uid",
];

#[test]
fn every_event_has_what_its_class_requires() {
    let (code, out, error) = audit(&["--ocsf", &log("all.log", &RECORDS.iter().map(line).collect::<Vec<_>>())]);
    assert_eq!((code, out.lines().count()), (0, RECORDS.len()), "{error}");
    for (event, record) in out.lines().zip(RECORDS.iter()) {
        let event: Value = serde_json::from_str(event).unwrap();
        for place in REQUIRED {
            assert!(event.pointer(place).is_some_and(|value| !value.is_null()), "no {place}: {event:#}");
        }
        let number = |name: &str| event[name].as_u64().unwrap();
        assert_eq!((number("category_uid"), number("class_uid")), (6, 6003));
        assert_eq!(number("type_uid"), 600_300 + number("activity_id"));
        assert!([0, 1, 2, 3, 4, 99].contains(&number("activity_id")) && number("severity_id") < 6, "{event:#}");
        let one_of = |object: &str, members: &[&str]| members.iter().any(|name| event[object][name].is_string());
        assert!(one_of("actor", &["app_name", "app_uid"]) || event["actor"]["user"].is_object(), "{event:#}");
        assert!(one_of("src_endpoint", &["ip", "svc_name"]), "{event:#}");
        let is_let_through = record["verdict"] == "permit" || record["verdict"] == "answer";
        assert_eq!(number("action_id") == 1, is_let_through, "{event:#}");
        // Nothing of a record is lost: each text of it is somewhere in its event.
        let text = event.to_string();
        for value in record.as_object().unwrap().values().filter(|value| value.is_string()) {
            assert!(text.contains(value.to_string().trim_matches('"')), "{value} is lost: {event:#}");
        }
    }
}
