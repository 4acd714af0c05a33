//! The command as its users meet it: what it prints, and what it exits with.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use host_test::process::free_port;
use host_test::{artifact, paths};
use serde_json::Value;

const POLICY: &str = "policies/step-up-on-write/policy.yaml";

fn stepup(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stepup"));
    command.current_dir(paths::workspace()).args(arguments);
    command
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = stepup(arguments).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// A folder with a policy, and two scenarios in a file of that name.
fn folder(name: &str, file: &str, scenarios: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("tests")).unwrap();
    fs::copy(paths::workspace().join(POLICY), folder.join("policy.yaml")).unwrap();
    fs::write(folder.join("tests").join(file), scenarios).unwrap();
    folder.display().to_string()
}

const RIGHT: &str = "
given: { tokens: { minimal: { scope: mcp:connect } } }
scenarios:
  - { name: no scope, when: { tool: get_file, token: minimal }, then: { reason: scope_missing } }
  - { name: no token, when: { tool: get_file }, then: { reason: token_missing } }
";

const WRONG: &str = "
given: { tokens: { minimal: { scope: mcp:connect } } }
scenarios:
  - { name: no scope, when: { tool: get_file, token: minimal }, then: { reason: permitted, status: 403 } }
  - { name: no token, when: { tool: get_file }, then: { reason: token_missing } }
";

#[test]
fn exit_codes_tell_good_from_bad_from_unknown() {
    let (right, wrong) = (folder("codes-right", "a.yaml", RIGHT), folder("codes-wrong", "a.yaml", WRONG));
    let none = folder("codes-none", "a.txt", RIGHT);
    for (code, arguments) in [
        (0, vec!["check", POLICY]),
        (1, vec!["check", "host-test/tests/broken/03-word-misspelt.yaml"]),
        (2, vec!["check", "no/such/policy.yaml"]),
        (0, vec!["check", "envoy/step-up.ecds.yaml"]),
        (1, vec!["check", "host-test/tests/deployed/02-rule-twice.yaml"]),
        (2, vec!["check", "envoy/envoy.yaml"]),
        (0, vec!["check", "envoy/step-up.ecds.yaml", "--envoy", "envoy/envoy.yaml"]),
        (1, vec!["check", "envoy/step-up.ecds.yaml", "--envoy", "envoy/step-up.ecds.yaml"]),
        (0, vec!["check", "--strict", "envoy/step-up.ecds.yaml", "--envoy", "envoy/envoy.yaml"]),
        (0, vec!["check", "--envoy", "envoy/envoy.yaml"]),
        (0, vec!["check", "--envoy", "envoy/envoy.yaml", "--envoy", "envoy/step-up.ecds.yaml"]),
        (1, vec!["check", "--envoy", "envoy/step-up.ecds.yaml"]),
        (1, vec!["check", "--envoy", "host-test/tests/deployed/02-rule-twice.yaml", "--envoy", "envoy/envoy.yaml"]),
        (2, vec!["check"]),
        (2, vec!["check", "envoy/step-up.ecds.yaml", "--envoy", "no/such/envoy.yaml"]),
        (2, vec!["check", POLICY, "host-test/tests/deployed/13-not-a-policy.yaml"]),
        (0, vec!["test", "--host", "native", &right]),
        (1, vec!["test", "--host", "native", &wrong]),
        (2, vec!["test", "--host", "native", &none]),
        (0, vec!["test", "--host", "all", &right]),
        (1, vec!["test", "--host", "component", &wrong]),
        (2, vec!["test", "--host", "native", "--filter", "no such name", &right]),
        (2, vec!["explain", POLICY, "--call", "no/such/call.yaml"]),
        (2, vec!["no-such-command"]),
    ] {
        let (actual, out, error) = run(&arguments);
        assert_eq!(actual, code, "{arguments:?}\n{out}\n{error}");
        assert!(code < 2 || !error.is_empty(), "{arguments:?} does not say what is wrong");
    }
}

#[test]
fn a_failed_scenario_shows_the_field_and_what_came_of_it() {
    let (code, out, _) = run(&["test", "--host", "native", &folder("shown", "a.yml", WRONG)]);
    assert_eq!(code, 1);
    for line in [
        "running 2 scenarios",
        "scenario shown::a::no scope ... FAILED",
        "scenario shown::a::no token ... ok",
        r#"native: request 1, record.reason: expected "permitted", got "scope_missing""#,
        "test result: FAILED. 1 passed; 1 failed",
    ] {
        assert!(out.contains(line), "no `{line}` in\n{out}");
    }
    assert!(out.contains(r#"request 1 came to {"#) && out.contains(r#""status":403"#), "{out}");
    let coverage = out.lines().find(|line| line.contains("no scenario came to")).unwrap();
    assert!(coverage.contains("create_issue") && !coverage.contains("get_*"), "{coverage}");
}

#[test]
fn a_filter_leaves_the_others_out() {
    let folder = folder("filtered", "a.yaml", WRONG);
    let (code, out, _) = run(&["test", "--host", "native", "--filter", "no token", &folder]);
    assert_eq!(code, 0);
    assert!(out.contains("1 passed; 0 failed") && !out.contains("no scenario came to"), "{out}");
}

#[test]
fn machines_read_json_and_junit() {
    let folder = folder("formats", "a.yaml", WRONG);
    let (code, out, _) = run(&["test", "--host", "native", "--format", "json", &folder]);
    let document: Value = serde_json::from_str(&out).unwrap();
    let passed: Vec<_> = document["scenarios"].as_array().unwrap().iter().map(|one| one["passed"].as_bool()).collect();
    assert_eq!((code, passed), (1, vec![Some(false), Some(true)]));
    assert_eq!(document["scenarios"][0]["requests"][0]["status"], 403);

    let (code, out, _) = run(&["test", "--host", "native", "--format", "junit", &folder]);
    assert_eq!(code, 1);
    let report = quick_junit::Report::deserialize_from_str(&out).unwrap();
    assert_eq!((report.tests, report.failures, report.errors), (2, 1, 0));
}

#[test]
fn a_call_and_its_record_are_explained_alike() {
    let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (call, claims, record) = (place.join("call.yaml"), place.join("claims.yaml"), place.join("record.json"));
    fs::write(&call, "{ tool: merge_pr }").unwrap();
    fs::write(&claims, "{ scope: mcp:connect repo:write }").unwrap();
    fs::write(&record, r#"{ "reason": "scope_missing", "verdict": "deny", "method": "tools/call", "name": "merge_pr", "server": "default", "rule": "merge_pr", "missing": ["repo:admin"] }"#).unwrap();
    let (call, claims, record) = (call.to_str().unwrap(), claims.to_str().unwrap(), record.to_str().unwrap());
    let (code, of_call, error) = run(&["explain", POLICY, "--call", call, "--claims", claims]);
    assert_eq!(code, 0, "{error}");
    let (code, of_record, error) = run(&["explain", POLICY, "--audit", record]);
    assert_eq!(code, 0, "{error}");
    for out in [&of_call, &of_record] {
        for part in ["tools/call merge_pr", "this rule applies", "repo:admin", "scope_missing", "to act     the client"]
        {
            assert!(out.contains(part), "no `{part}` in\n{out}");
        }
    }
    assert!(of_call.contains("insufficient_scope"), "{of_call}");
}

#[test]
fn p01_explain_lists_the_rules_that_lost_and_the_raises_that_applied() {
    let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let [policy, call, claims] = ["losers.yaml", "losers-call.yaml", "losers-claims.yaml"].map(|file| place.join(file));
    fs::write(&claims, "{ scope: mcp:connect }").unwrap();
    let text = fs::read_to_string(host_test::paths::workspace().join(POLICY)).unwrap();
    let (head, _) = text.split_once("\ntools:").unwrap();
    let rules = r#"
tools: { unlike: deny }
prompts:
  "*_delete": { scope: repo:admin }
  "get_everything_*":
    scope: repo:read
    allow_weaker: true
    raise:
      - { when: { arg: all, equals: true }, scope: repo:admin }
      - { when: { arg: all, equals: false }, deny: true }
  "*": deny
"#;
    fs::write(&policy, format!("{head}{rules}")).unwrap();
    fs::write(&call, "{ method: prompts/get, params: { name: get_everything_delete, arguments: { all: true } } }")
        .unwrap();
    let (code, out, error) = run(&[
        "explain",
        policy.to_str().unwrap(),
        "--call",
        call.to_str().unwrap(),
        "--claims",
        claims.to_str().unwrap(),
    ]);
    assert_eq!(code, 0, "{error}");
    let labelled = |label: &str| out.matches(label).count();
    let labels = ["this rule applies", "and what this asks", "this rule matches too, and lost"];
    assert_eq!(labels.map(labelled), [1, 1, 2], "{out}");
}

#[test]
fn p31_pins_are_printed_and_held_against_what_there_is() {
    let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let file = |name: &str, text: &str| {
        let path = place.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    // As RFC 8785 has it, the order of members and how a number is written do not count; `_meta` does not, but for apps.
    let before = file(
        "list.json",
        r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"get","description":"Reads","n":1.0,"_meta":{"x":1}},{"name":"set"}]}}"#,
    );
    let same = file("same.json", r#"[{"name":"set"},{"n":1,"description":"Reads","name":"get"}]"#);
    let other = file("other.json", r#"{"tools":[{"name":"get","description":"Reads, and sends it on","n":1}]}"#);
    let (code, pins, error) = run(&["pin", &before]);
    assert_eq!(code, 0, "{error}");
    assert_eq!(pins.lines().count(), 3, "{pins}");
    assert_eq!(run(&["pin", &same]).1, pins);
    assert_eq!(run(&["pin", &same, "--reviewed", &before]), (0, String::new(), String::new()));
    let (code, shown, _) = run(&["pin", &other, "--reviewed", &before]);
    assert_eq!(code, 1);
    for line in ["-  \"description\": \"Reads\"", "+  \"description\": \"Reads, and sends it on\"", "set now"] {
        assert!(shown.contains(line), "no `{line}` in\n{shown}");
    }
    let text = fs::read_to_string(host_test::paths::workspace().join(POLICY)).unwrap();
    let policy = file("pinned.yaml", &format!("{text}\n{pins}"));
    assert_eq!(run(&["pin", &same, "--policy", &policy]).0, 0);
    let (code, shown, _) = run(&["pin", &other, "--policy", &policy]);
    assert_eq!(code, 1);
    assert!(shown.contains("get has changed") && shown.contains("set is gone"), "{shown}");
    let twice = file("twice.json", r#"[{"name":"get","a":1,"a":2}]"#);
    let (code, _, error) = run(&["pin", &twice]);
    assert_eq!(code, 2);
    assert!(error.contains("DuplicateKey"), "{error}");
}

#[test]
fn p40_explain_shows_what_was_seen_of_the_caller() {
    let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (policy, call) = (place.join("source.yaml"), place.join("source-call.yaml"));
    let text = fs::read_to_string(host_test::paths::workspace().join(POLICY)).unwrap();
    fs::write(&policy, format!("source_from: {{ xfcc: {{ peers: [spiffe://a/gateway] }} }}\n{text}")).unwrap();
    for (when, expected) in [
        (
            "source: spiffe://a/gateway, headers: { x-forwarded-client-cert: URI=spiffe://a/sa }",
            "spiffe://a/sa, what the peer",
        ),
        ("source: spiffe://a/gateway", "unknown"),
        (
            "source: spiffe://a/other, headers: { x-forwarded-client-cert: URI=spiffe://a/sa }",
            "spiffe://a/other, the cert",
        ),
    ] {
        fs::write(&call, format!("{{ tool: merge_pr, {when} }}")).unwrap();
        let (code, out, error) = run(&["explain", policy.to_str().unwrap(), "--call", call.to_str().unwrap()]);
        assert_eq!(code, 0, "{error}");
        assert!(out.contains(&format!("source     {expected}")), "no `{expected}` in\n{out}");
    }
}

/// `stepup test ... | head -1`: an error, and no panic.
#[test]
fn nobody_reads_to_the_end() {
    let folder = folder("pipe", "a.yaml", RIGHT);
    for arguments in [vec!["schema", "policy"], vec!["test", "--host", "native", &folder]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let Output { status, stderr, .. } = stepup(&arguments).stdout(writer).output().unwrap();
        let error = String::from_utf8(stderr).unwrap();
        assert!(status.code() == Some(2) && error.contains("Broken pipe") && !error.contains("panicked"), "{error}");
    }
}

/// P29: to the filter they are one path, whatever the routes make of them.
#[test]
fn p29_routes_send_a_path_with_a_final_slash_and_without_alike() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("routes");
    fs::create_dir_all(&folder).unwrap();
    let check = |name: &str, routes: &str| {
        let file = folder.join(name);
        let host = format!("{{ name: mcp, domains: [\"*.example.com\"], routes: [{routes}] }}");
        fs::write(&file, format!("virtual_hosts: [{host}]\n")).unwrap();
        let (code, text, _) = run(&["check", POLICY, "--envoy", &file.display().to_string()]);
        (code, text)
    };
    let to = |matcher: &str, cluster: &str| {
        format!("{{ name: {cluster}, match: {matcher}, route: {{ cluster: {cluster} }} }}")
    };
    for (name, code, says, routes) in [
        ("exact", 1, "`/mcp` takes route git, `/mcp/` takes none", to("{ path: /mcp }", "git")),
        (
            "other",
            1,
            "`/mcp` takes route git, `/mcp/` takes route rest",
            format!("{}, {}", to("{ path: /mcp }", "git"), to("{ prefix: / }", "rest")),
        ),
        ("both", 0, "", format!("{}, {}", to("{ path: /mcp }", "git"), to("{ path: /mcp/ }", "git"))),
        ("separated", 0, "", to("{ path_separated_prefix: /mcp }", "git")),
        ("prefix", 0, "", to("{ prefix: /mcp }", "git")),
        ("regex", 0, "", to("{ safe_regex: { regex: /mcp.* } }", "git")),
        ("narrow", 1, "`/mcp` takes route git, `/mcp/` takes none", to("{ safe_regex: { regex: /mcp } }", "git")),
        ("template", 0, "cannot be told", to("{ path_match_policy: { name: template } }", "git")),
        ("headers", 0, "cannot be told", to("{ prefix: /mcp, headers: [{ name: x, present_match: true }] }", "git")),
        ("folded", 0, "", to("{ prefix: /MCP, case_sensitive: false }", "git")),
    ] {
        let (actual, text) = check(name, &routes);
        assert!(actual == code && text.contains(says), "{name}: {actual}\n{text}");
        assert_eq!(text.contains("[final-slash]"), !says.is_empty(), "{name}\n{text}");
    }
}

#[test]
fn it_tells_of_itself() {
    let (code, version, _) = run(&["--version"]);
    let lines: Vec<&str> = version.lines().collect();
    let module = lines.get(2).and_then(|line| line.strip_prefix("module ")).unwrap_or_default();
    assert!(code == 0 && lines[0].starts_with("stepup ") && lines[1] == "policy version 1", "{version}");
    assert!(module == "not built yet" || module.len() == 64, "{version}");
    for (arguments, wanted) in [
        (vec!["completions", "bash"], "complete"),
        (vec!["completions", "zsh"], "#compdef stepup"),
        (vec!["completions", "fish"], "complete -c stepup"),
        (vec!["man"], ".TH stepup"),
        (vec!["man", "serve"], "upstream"),
    ] {
        let (code, out, _) = run(&arguments);
        assert!(code == 0 && out.contains(wanted), "{arguments:?}: {out}");
    }
    assert_eq!(run(&["man", "nothing"]).0, 2);
}

/// The way of `docs/first-steps`, but for what it builds: from one's own MCP server to one that is protected.
#[test]
fn the_first_steps_lead_to_a_protected_server() {
    // Where it has to be built first, that takes longer than the script waits.
    artifact::module().unwrap();
    let ports = [free_port().unwrap(), free_port().unwrap(), free_port().unwrap()].map(|port| port.to_string());
    let names = ["MCP", "ISSUER", "LISTEN"];
    let output = Command::new("bash")
        .arg(paths::workspace().join("docs/first-steps/run.sh"))
        .env("STEPUP", env!("CARGO_BIN_EXE_stepup"))
        .envs(names.into_iter().zip(&ports))
        .output()
        .unwrap();
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{error}");
    for part in
        ["(token_missing 401)", "(permitted)", "(no_rule 403)", "got tools:admin", "revoked   tools/call delete_note"]
    {
        assert!(out.contains(part), "no `{part}`: {out}{error}");
    }
}
