//! Arguments, resources, prompts, lists, pins, sessions: the rest of the policy language, by what a gate does with it.

mod bound;
mod lists;
mod matching;
mod pins;
mod raises;
mod resources;
mod scopes;
mod sessions;
mod shadow;

use serde_json::{Value as Json, json};
use step_up_core::{Environment, Fault, Millis, Policy, ResponseHead};

use crate::support::*;

const JSON: Option<&str> = Some("application/json");
const EVENTS: Option<&str> = Some("text/event-stream");

/// The server's words beside, or in place of, its tools.
fn server(words: Json) -> Json {
    let mut document = without(document(json!({})), "/tools");
    for (name, value) in words.as_object().unwrap() {
        document[name] = value.clone();
    }
    document
}

/// With a token service.
fn exchanging(document: Json) -> Json {
    with(
        document,
        "/token_service",
        json!({
            "issuer": ISSUER, "cluster": "as", "token": "https://as.example.com/token",
            "revoke": "https://as.example.com/revoke", "client": { "id": "filter", "auth": "cluster" },
        }),
    )
}

/// What becomes of this request: `permit`, `elevate SCOPES`, or the reason.
fn outcome(document: &Json, request: &Request) -> String {
    let mut vm = Vm::new(&load(document));
    let stream = vm.head(request);
    if !vm.is_settled(stream) {
        vm.body(stream, request.body());
    }
    if !vm.is_settled(stream) {
        let calls = vm.take_calls();
        let form = calls.first().map(|(_, call)| call.body.reveal().to_owned()).unwrap_or_default();
        let scope = form.split('&').find_map(|pair| pair.strip_prefix("scope=")).unwrap_or_default();
        return format!("elevate {}", scope.replace("%20", " ").replace("%3A", ":"));
    }
    let settled = vm.settled(stream);
    if settled.is_forwarded() { "permit".to_owned() } else { settled.reason().to_owned() }
}

/// A call with these arguments.
fn with_arguments(tool: &str, arguments: Json) -> Request {
    Request::method("tools/call", json!({ "name": tool, "arguments": arguments }))
}

fn read(uri: &str) -> Request {
    Request::method("resources/read", json!({ "uri": uri }))
}

fn problems(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
