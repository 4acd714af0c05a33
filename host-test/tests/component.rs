//! The component for others than us: what it wants from its host, and programs in other languages that ask it.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::process::Command;
use std::rc::Rc;

use host_test::backend::Component;
use host_test::{artifact, fixtures, paths};
use serde_json::{Value, json};
use step_up_core::{Effect, Gate, Input, Millis, NoEnvironment, Policy, PureRust, RequestHead, StreamId};
use step_up_testkit::Memory;

/// A seed for the maps of the standard library; and what it has for panics: standard streams, the environment, an end.
const IMPORTS: [&str; 14] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure-seed",
];

#[test]
fn it_wants_no_files_no_sockets_no_http_and_no_clock() {
    let imports = Component::new().unwrap().imports();
    let names = imports.iter().map(|name| name.split_once('@').expect("a version").0);
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    assert_eq!(names, IMPORTS);
}

#[test]
fn an_example_is_read_in_a_minute() {
    for name in ["decide.mjs", "decide.py"] {
        let lines = fs::read_to_string(paths::component_examples().join(name)).unwrap().lines().count();
        assert!(lines <= 60, "{name} has {lines} lines");
    }
}

#[test]
fn javascript_and_python_decide_as_the_core_does() {
    let table: Value =
        serde_json::from_slice(&fs::read(paths::component_examples().join("requests.json")).unwrap()).unwrap();
    let expected: Vec<Value> = table["requests"].as_array().unwrap().iter().map(expected).collect();
    assert!(expected.len() >= 10, "only {} requests", expected.len());
    assert_eq!(on_the_core(&table), expected, "the core");
    let examples = fixtures::examples().unwrap();
    assert_eq!(printed(examples.javascript()), expected, "decide.mjs");
    assert_eq!(printed(examples.python()), expected, "decide.py");
}

fn expected(request: &Value) -> Value {
    let expect = &request["expect"];
    json!({
        "name": request["name"], "verdict": expect["verdict"], "reason": expect["reason"], "released": expect["released"],
    })
}

/// What a program prints, a line for each request.
fn printed(mut program: Command) -> Vec<Value> {
    let output =
        program.arg(artifact::component().unwrap().canonicalize().unwrap()).arg("requests.json").output().unwrap();
    assert!(output.status.success(), "{program:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn on_the_core(table: &Value) -> Vec<Value> {
    let now = Millis(table["now"].as_u64().unwrap());
    let policy = Rc::new(Policy::load(table["policy"].to_string().as_bytes(), &NoEnvironment).expect("a policy"));
    let mut gate = Gate::new(policy, Box::new(PureRust), Box::new(Memory::default()), [1; 16], now);
    let requests = table["requests"].as_array().unwrap();
    (0..).zip(requests).map(|(stream, request)| decide(&mut gate, now, StreamId(stream), table, request)).collect()
}

fn decide(gate: &mut Gate, now: Millis, stream: StreamId, table: &Value, request: &Value) -> Value {
    let token = format!("Bearer {}", table["tokens"][request["token"].as_str().unwrap()].as_str().unwrap());
    let headers: &[(&[u8], &[u8])] = &[
        (b":method", b"POST"),
        (b":path", b"/mcp"),
        (b":authority", b"mcp.example.com"),
        (b"content-type", b"application/json"),
        (b"mcp-protocol-version", b"2025-11-25"),
        (b"authorization", token.as_bytes()),
    ];
    let (server, source, peer) = (None, None, &None::<String>);
    let head = RequestHead { headers, server, source, peer, token_removed: false, end_of_stream: false };
    gate.handle(Input::Head { stream, head }, now);
    gate.handle(Input::Body { stream, body: Ok(request["body"].as_str().unwrap().as_bytes()) }, now);
    let effects: Vec<Effect> = std::iter::from_fn(|| gate.poll()).collect();
    gate.handle(Input::Gone { stream }, now);
    while gate.poll().is_some() {}

    let released = effects.iter().any(|effect| matches!(effect, Effect::Continue { .. }));
    let asked = effects.iter().find_map(|effect| match effect {
        Effect::Call { call, .. } => Some(("elevate".into(), format!("asks {}", call.cluster).into())),
        _ => None,
    });
    let recorded = effects.iter().find_map(|effect| match effect {
        Effect::Record { record, .. } => serde_json::from_str::<Value>(record).ok(),
        _ => None,
    });
    let (verdict, reason): (Value, Value) =
        asked.or(recorded.map(|record| (record["verdict"].clone(), record["reason"].clone()))).expect("a decision");
    json!({ "name": request["name"], "verdict": verdict, "reason": reason, "released": released })
}
