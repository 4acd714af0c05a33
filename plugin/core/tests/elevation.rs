//! Elevation: what is asked of the token service, what of its answers is believed, and that every token it mints is
//! taken back. Rows and points are those of the design and of the policy language.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use step_up_core::Metric;
use step_up_core::{Call, CallFault, CallId, Millis, StreamId};
use step_up_core::{Environment, Policy};
use support::*;

/// Who we are to the token service.
const FILTER: &str = "step-up-filter";
/// Whom the elevated tokens of most tests are for.
const ADMIN: &str = "https://git.internal/admin";
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// Another issuer of callers' tokens.
const PARTNER: &str = "https://partner.example.net";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const EVENTS: Option<&str> = Some("text/event-stream");
const JSON: Option<&str> = Some("application/json");

// The policy, and who plays which part.

fn service() -> Json {
    json!({
        "issuer": ISSUER,
        "cluster": "as-token",
        "token": "https://as.example.com:8443/oauth/token?t=1",
        "revoke": "https://as.example.com:8443/oauth/revoke",
        "client": { "id": FILTER, "auth": "cluster" },
    })
}

/// A document whose tool `delete` is elevated for, with this said about it beside.
fn exchanging(more: Json) -> Json {
    let mut rule = json!({ "scope": "repo:admin", "step_up": "exchange", "audience": ADMIN, "ttl": "60s" });
    for (name, value) in more.as_object().expect("a map") {
        rule[name] = value.clone();
    }
    rule.as_object_mut().expect("a map").retain(|_, value| !value.is_null());
    let scopes = json!({ "repo:admin": { "implies": ["repo:write"] }, "repo:write": { "implies": ["repo:read"] }, "repo:read": {} });
    with(with(document(json!({ "delete": rule })), "/token_service", service()), "/scopes", scopes)
}

fn plain() -> Json {
    exchanging(json!({}))
}

fn vm() -> Vm {
    Vm::new(&load(&plain()))
}

fn lingering() -> Vm {
    Vm::new(&load(&with(plain(), "/token_service/linger", json!("5s"))))
}

fn call() -> Request {
    Request::call("delete").bearer(&token(BASELINE))
}

fn modern_call() -> Request {
    Request::modern_call("delete").bearer(&token(BASELINE))
}

fn call_with_id(id: &Json) -> Request {
    let params = json!({ "name": "delete", "arguments": {} });
    Request::post(json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params }).to_string())
        .bearer(&token(BASELINE))
}

/// Calls of different callers, for what is counted for each.
fn bob() -> String {
    Token::new(BASELINE).claim("sub", "bob").text()
}

fn caller(number: usize) -> String {
    Token::new(BASELINE).claim("jti", format!("caller-{number}")).text()
}

/// Exactly what was asked for.
fn good() -> Token {
    Token::new("repo:admin")
        .claim("aud", ADMIN)
        .claim("client_id", FILTER)
        .claim("jti", "e-1")
        .claim("iat", START)
        .claim("exp", START + 60)
}

/// The same, minted now.
fn fresh(vm: &Vm, id: &str) -> Token {
    let now = vm.now.seconds();
    good().claim("jti", id).claim("iat", now).claim("exp", now + 60)
}

fn answer(token: &str) -> Json {
    json!({ "access_token": token, "token_type": "Bearer", "issued_token_type": ACCESS_TOKEN, "expires_in": 60 })
}

/// The token service says.
fn say(vm: &mut Vm, call: CallId, status: u16, body: &Json) {
    vm.reply(call, Ok((status, body.to_string().as_bytes())));
}

fn grant(vm: &mut Vm, call: CallId, token: &str) {
    say(vm, call, 200, &answer(token));
}

/// Sends head and body.
fn begin(vm: &mut Vm, request: &Request) -> StreamId {
    let stream = vm.head(request);
    if !vm.is_settled(stream) {
        vm.body(stream, request.body());
    }
    stream
}

#[track_caller]
fn only_call(vm: &mut Vm) -> (CallId, Call) {
    let mut calls = vm.take_calls();
    assert_eq!(calls.len(), 1, "{calls:?}");
    calls.pop().expect("there is one")
}

/// A request that waits for its exchange.
#[track_caller]
fn exchange(vm: &mut Vm, request: &Request) -> (StreamId, CallId) {
    let stream = begin(vm, request);
    assert!(!vm.is_settled(stream), "{}", vm.settled(stream).record);
    let (id, call) = only_call(vm);
    assert_eq!(form(&call)["grant_type"], "urn:ietf:params:oauth:grant-type:token-exchange");
    (stream, id)
}

/// A request that went upstream with this token.
#[track_caller]
fn elevated_with(vm: &mut Vm, request: &Request, token: &str) -> StreamId {
    let (stream, id) = exchange(vm, request);
    grant(vm, id, token);
    assert_eq!(vm.elevated(stream), Some(&*format!("Bearer {token}")), "{}", vm.settled(stream).record);
    assert!(vm.take_calls().is_empty(), "the operation has only begun");
    stream
}

#[track_caller]
fn elevated(vm: &mut Vm, request: &Request) -> StreamId {
    elevated_with(vm, request, &good().text())
}

/// The fields of a form, each there once.
fn form(call: &Call) -> BTreeMap<String, String> {
    let decoded = |text: &str| {
        let mut bytes = text.bytes();
        let mut out = Vec::new();
        while let Some(byte) = bytes.next() {
            let byte = match byte {
                b'%' => {
                    let pair = [bytes.next().unwrap(), bytes.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&pair).unwrap(), 16).unwrap()
                }
                b'+' => b' ',
                other => other,
            };
            out.push(byte);
        }
        String::from_utf8(out).expect("a form is text")
    };
    let mut fields = BTreeMap::new();
    for pair in call.body.reveal().split('&') {
        let (name, value) = pair.split_once('=').expect("name=value");
        assert!(fields.insert(decoded(name), decoded(value)).is_none(), "{name} is there twice");
    }
    fields
}

fn header<'c>(call: &'c Call, name: &str) -> Option<&'c str> {
    let mut values = call.headers.iter().filter(|(header, _)| *header == name).map(|(_, value)| value.reveal());
    let value = values.next();
    assert_eq!(values.next(), None, "{name} is there twice");
    value
}

/// The tokens that are being revoked by the calls since the last look; there are no other calls.
#[track_caller]
fn revocations(vm: &mut Vm) -> Vec<(CallId, String)> {
    let mut found = Vec::new();
    for (id, call) in vm.take_calls() {
        assert_eq!(call.path, "/oauth/revoke", "another call");
        found.push((id, form(&call)["token"].clone()));
    }
    found
}

#[track_caller]
fn revoked(vm: &mut Vm) -> Vec<String> {
    revocations(vm).into_iter().map(|(_, token)| token).collect()
}

/// The only revocation under way.
#[track_caller]
fn only_revocation(vm: &mut Vm) -> (CallId, String) {
    let mut found = revocations(vm);
    assert_eq!(found.len(), 1, "revocations");
    found.pop().expect("there is one")
}

fn exchanges_counted(vm: &Vm, wanted: &str) -> usize {
    vm.metrics.iter().filter(|metric| matches!(metric, Metric::Exchange { outcome, .. } if *outcome == wanted)).count()
}

fn revocations_counted(vm: &Vm, wanted: &str) -> usize {
    vm.metrics.iter().filter(|metric| matches!(metric, Metric::Revocation { outcome } if *outcome == wanted)).count()
}

// The request on the wire.

#[test]
fn an_exchange_is_asked_for_as_rfc_8693_says() {
    let mut vm = vm();
    let request = call().header("traceparent", TRACE);
    begin(&mut vm, &request);
    let (_, call) = only_call(&mut vm);
    let expected = [
        ("client_id", FILTER),
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("requested_token_type", ACCESS_TOKEN),
        ("resource", ADMIN),
        ("scope", "repo:admin"),
        ("subject_token", &token(BASELINE)),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    assert_eq!(form(&call), expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    assert_eq!((call.method, &*call.cluster, &*call.authority), ("POST", "as-token", "as.example.com:8443"));
    assert_eq!(call.path, "/oauth/token?t=1");
    assert_eq!(header(&call, "content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(header(&call, "traceparent"), Some(TRACE));
    assert_eq!(header(&call, "x-request-id"), Some("edge-1"));
    assert_eq!(header(&call, "authorization"), None);
    assert_eq!(call.timeout, 32_000, "what comes too late must be revoked, so the call stays open");
    assert!(call.body.reveal().bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%=&".contains(&b)));
}

#[test]
fn nothing_of_the_caller_but_its_token_and_its_trace_goes_to_the_token_service() {
    let mut vm = vm();
    begin(&mut vm, &call().header("cookie", "c=1").header("dpop", "proof").header("x-forwarded-for", "10.0.0.1"));
    let (_, call) = only_call(&mut vm);
    let names: BTreeSet<&str> = call.headers.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, BTreeSet::from(["content-type", "x-request-id"]));
}

#[test]
fn p10_an_audience_is_asked_for_as_resource_or_by_name() {
    for (audience, field) in [
        (json!("https://git.internal/admin"), "resource"),
        (json!("urn:example:git"), "resource"),
        (json!("api://git-admin"), "resource"),
        (json!("git-admin"), "audience"),
        (json!("git admin: all"), "audience"),
        (json!("git:admin all"), "audience"),
        (json!("git:"), "audience"),
        (json!("1git:admin"), "audience"),
        (json!("https://git.internal/admin#x"), "audience"),
    ] {
        let mut vm = Vm::new(&load(&exchanging(json!({ "audience": audience }))));
        begin(&mut vm, &call());
        let fields = form(&only_call(&mut vm).1);
        let other = if field == "resource" { "audience" } else { "resource" };
        assert_eq!((fields.get(field).map(String::as_str), fields.get(other)), (audience.as_str(), None));
    }
    let mut vm = Vm::new(&load(&exchanging(json!({ "audience": null }))));
    begin(&mut vm, &call());
    assert_eq!(form(&only_call(&mut vm).1)["resource"], RESOURCE, "absent means `resource`");
}

#[test]
fn p10_an_exchange_asks_for_the_scopes_of_the_rule_only() {
    let mut vm = Vm::new(&load(&exchanging(json!({ "scope": ["repo:write", "a:x", "repo:admin"] }))));
    begin(&mut vm, &call());
    assert_eq!(form(&only_call(&mut vm).1)["scope"], "a:x repo:admin repo:write");
    let mut vm = Vm::new(&load(&exchanging(json!({ "scope": [] }))));
    begin(&mut vm, &call());
    assert_eq!(form(&only_call(&mut vm).1).get("scope"), None);
}

struct OneSecret;

impl Environment for OneSecret {
    fn variable(&self, name: &str) -> Option<String> {
        (name == "STEP_UP_SECRET").then(|| "s:e+c r%t".to_owned())
    }
}

#[test]
fn a_client_secret_goes_as_basic_and_nowhere_else() {
    let client = json!({ "id": "step up:filter", "secret_env": "STEP_UP_SECRET" });
    let document = with(plain(), "/token_service/client", client);
    let policy = Policy::load(document.to_string().as_bytes(), &OneSecret).map(Rc::new).expect("accepted");
    let mut vm = Vm::new(&policy);
    let stream = begin(&mut vm, &call());
    let (id, exchange) = only_call(&mut vm);
    grant(&mut vm, id, &good().claim("client_id", "step up:filter").text());
    vm.gone(stream);
    let (_, revocation) = only_call(&mut vm);
    for call in [exchange, revocation] {
        // RFC 6749 2.3.1: step%20up%3Afilter:s%3Ae%2Bc%20r%25t
        let expected = "Basic c3RlcCUyMHVwJTNBZmlsdGVyOnMlM0FlJTJCYyUyMHIlMjV0";
        assert_eq!(header(&call, "authorization"), Some(expected));
        assert_eq!(form(&call).get("client_id"), None);
        assert!(!format!("{call:?}").contains("Basic"), "secrets are not printed");
    }
}

#[test]
fn a_revocation_is_asked_for_as_rfc_7009_says() {
    let mut vm = vm();
    let stream = elevated(&mut vm, &call().header("traceparent", TRACE));
    vm.gone(stream);
    let (_, call) = only_call(&mut vm);
    let expected = [("client_id", FILTER), ("token", &*good().text()), ("token_type_hint", "access_token")];
    assert_eq!(form(&call), expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    assert_eq!((call.method, &*call.path, call.timeout), ("POST", "/oauth/revoke", 2_000));
    assert_eq!((header(&call, "traceparent"), header(&call, "x-request-id")), (Some(TRACE), Some("edge-1")));
}

// The good path.

#[test]
fn p12_one_operation_one_exchange_one_token_one_revocation() {
    for request in [call(), modern_call()] {
        let mut vm = vm();
        let request = request.header("dpop", "proof").header("txn-token", "x");
        let (stream, id) = exchange(&mut vm, &request);
        assert!(!vm.is_idle());
        grant(&mut vm, id, &good().text());
        let settled = vm.settled(stream);
        assert_eq!(vm.elevated(stream), Some(&*format!("Bearer {}", good().text())));
        let removed: BTreeSet<&str> = settled.removed().iter().map(String::as_str).collect();
        assert_eq!(removed, BTreeSet::from(["accept-encoding", "dpop", "txn-token"]));
        let record = &settled.record;
        assert_eq!((&record["verdict"], settled.reason()), (&json!("permit"), "elevated"));
        assert_eq!(record["elevated"]["audience"], ADMIN);
        assert_eq!(record["elevated"]["scopes"], json!(["repo:admin"]));
        assert_eq!((&record["elevated"]["token_id"], &record["elevated"]["expires_in"]), (&json!("e-1"), &json!(60)));
        let text = record.to_string();
        assert!(!text.contains(&good().text()) && !text.contains(&token(BASELINE)), "a token in the record");
        vm.response_head(stream, 200, JSON, false);
        vm.response_chunk(stream, b"{}", false);
        assert!(revoked(&mut vm).is_empty());
        vm.response_chunk(stream, b"", true);
        let (id, token) = only_revocation(&mut vm);
        assert_eq!(token, good().text());
        assert!(!vm.is_idle());
        vm.reply(id, Ok((200, b"")));
        assert!(vm.is_idle());
        assert_eq!((revocations_counted(&vm, "revoked"), exchanges_counted(&vm, "granted")), (1, 1));
        vm.gone(stream);
        vm.pass(120_000);
        assert!(vm.take_calls().is_empty(), "once");
        assert!(vm.logs.iter().all(|line| !line.contains(&good().text())));
    }
}

#[test]
fn p09_the_exchange_happens_although_the_caller_holds_the_scope() {
    let mut vm = vm();
    let stream = begin(&mut vm, &call().bearer(&token("mcp:connect repo:admin")));
    assert!(!vm.is_settled(stream));
    only_call(&mut vm);
}

#[test]
fn p09_standing_privilege_is_refused_by_name_and_by_a_scope_that_implies_it() {
    let document = exchanging(json!({ "scope": ["repo:write", "x"], "standing": "refuse" }));
    let document = without(document, "/tools/delete/audience");
    for (scope, refused) in [
        ("mcp:connect repo:write", true),
        ("mcp:connect x", true),
        ("mcp:connect repo:admin", true),
        ("mcp:connect repo:read", false),
        ("mcp:connect repo:writer", false),
    ] {
        let mut vm = Vm::new(&load(&document));
        let stream = begin(&mut vm, &call().bearer(&token(scope)));
        assert_eq!(vm.take_calls().len(), usize::from(!refused), "{scope}");
        if refused {
            let settled = vm.settled(stream);
            settled.assert_refused(403, "standing_privilege");
            assert_eq!((settled.answer().code(), settled.challenge()), (Some(40303), None));
        }
    }
    let mut vm = Vm::new(&load(&exchanging(json!({ "standing": "ignore" }))));
    exchange(&mut vm, &call().bearer(&token("mcp:connect repo:admin")));
}

#[test]
fn p12_two_calls_of_one_caller_share_nothing() {
    let mut vm = vm();
    let (first, first_call) = exchange(&mut vm, &call());
    let (second, second_call) = exchange(&mut vm, &call());
    let tokens = ["e-1", "e-2"].map(|id| good().claim("jti", id).text());
    grant(&mut vm, second_call, &tokens[1]);
    assert!(!vm.is_settled(first), "that was the answer to the other");
    grant(&mut vm, first_call, &tokens[0]);
    for (stream, token) in [(first, &tokens[0]), (second, &tokens[1])] {
        assert_eq!(vm.elevated(stream), Some(&*format!("Bearer {token}")));
        vm.gone(stream);
        assert_eq!(&revoked(&mut vm), std::slice::from_ref(token));
    }
}

#[test]
fn p12_a_third_call_after_the_end_is_exchanged_for_again() {
    let mut vm = vm();
    for id in ["e-1", "e-2", "e-3"] {
        let token = good().claim("jti", id).text();
        let stream = elevated_with(&mut vm, &call(), &token);
        vm.response_head(stream, 200, JSON, true);
        assert_eq!(revoked(&mut vm), [token]);
    }
}

#[test]
fn p12_a_token_that_comes_again_is_not_used_again() {
    let mut vm = vm();
    let stream = elevated(&mut vm, &call());
    vm.response_head(stream, 200, JSON, true);
    let (id, _) = only_revocation(&mut vm);
    vm.reply(id, Ok((200, b"")));
    // The token service hands out what it has stored.
    let (stream, id) = exchange(&mut vm, &call());
    grant(&mut vm, id, &good().text());
    vm.settled(stream).assert_refused(503, "elevated_token_not_ours");
    // Whoever hands it out takes it for alive.
    let (id, token) = only_revocation(&mut vm);
    assert_eq!(token, good().text());
    vm.reply(id, Ok((200, b"")));
    assert!(vm.is_idle());
}

#[test]
fn p12_a_refused_token_that_another_operation_uses_is_not_taken_from_it() {
    let document = with(
        plain(),
        "/tools/wipe",
        json!({ "scope": "repo:admin", "step_up": "exchange", "audience": ADMIN, "ttl": "30s" }),
    );
    let mut vm = Vm::new(&load(&document));
    let first = elevated(&mut vm, &call());
    // The same token, which lives too long for this tool.
    let (second, id) = exchange(&mut vm, &Request::call("wipe").bearer(&token(BASELINE)));
    grant(&mut vm, id, &good().text());
    vm.settled(second).assert_refused(503, "elevated_lifetime");
    assert!(vm.take_calls().is_empty(), "revoked in the middle of another operation");
    vm.response_head(first, 200, JSON, true);
    assert_eq!(revoked(&mut vm), [good().text()]);
}

#[test]
fn an_answer_after_a_token_has_expired_comes_too_late_for_its_caller() {
    let document = with(plain(), "/token_service/timeout", json!("5s"));
    let mut vm = Vm::new(&load(&document));
    let request = call().bearer(&Token::new(BASELINE).claim("exp", START - 27).text());
    let (stream, id) = exchange(&mut vm, &request);
    vm.pass(4_000);
    grant(&mut vm, id, &good().text());
    vm.settled(stream).assert_refused(401, "token_expired");
    assert_eq!(revoked(&mut vm), [good().text()]);
}

// The end of the operation.

/// Whether the operation with this id has ended, and its token was revoked, after each of the chunks.
fn ends(id: &Json, chunks: &[&[u8]]) -> Vec<bool> {
    let mut vm = vm();
    let stream = elevated(&mut vm, &call_with_id(id));
    vm.response_head(stream, 200, EVENTS, false);
    let mut ended = false;
    chunks
        .iter()
        .map(|chunk| {
            vm.response_chunk(stream, chunk, false);
            let revoked = revoked(&mut vm);
            assert!(revoked.is_empty() || !ended, "revoked twice");
            ended |= !revoked.is_empty();
            ended
        })
        .collect()
}

fn ends_after_all(id: &Json, events: &str) -> bool {
    ends(id, &[events.as_bytes()])[0]
}

#[test]
fn an_operation_ends_with_the_event_that_has_its_result() {
    for (id, other) in
        [(json!(7), json!(8)), (json!("a\"b"), json!("c")), (json!(7), json!("7")), (json!("7"), json!(7))]
    {
        let event = |message: Json| format!("event: message\ndata: {message}\n\n");
        let progress =
            event(json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progressToken": id } }));
        let request = event(json!({ "jsonrpc": "2.0", "id": id, "method": "sampling/createMessage", "params": {} }));
        let foreign = event(json!({ "jsonrpc": "2.0", "id": other, "result": {} }));
        let nested = event(json!({ "jsonrpc": "2.0", "method": "x", "params": { "id": id, "result": {} } }));
        let result = event(json!({ "jsonrpc": "2.0", "id": id, "result": { "id": other } }));
        let chunks = [progress, request, foreign, nested, result.clone(), result];
        let chunks: Vec<&[u8]> = chunks.iter().map(String::as_bytes).collect();
        assert_eq!(ends(&id, &chunks), [false, false, false, false, true, true], "{id}");
        assert!(ends_after_all(&id, &event(json!({ "jsonrpc": "2.0", "id": id, "error": { "code": 1 } }))), "{id}");
    }
}

#[test]
fn events_are_read_as_the_standard_says() {
    let result = r#"{"jsonrpc":"2.0","id":7,"result":{}}"#;
    for (events, ended) in [
        (format!("data: {result}\n\n"), true),
        (format!("data:{result}\n\n"), true),
        (format!("data: {result}\r\n\r\n"), true),
        (format!(": comment\ndata: {result}\nid: 5\nretry: 1\n\n"), true),
        ("data: {\"jsonrpc\":\"2.0\",\"id\":7,\ndata:\"result\":{}}\n\n".to_owned(), true),
        (format!("data:\ndata: {result}\ndata\ndata:\n\n"), true),
        (format!("data:\n\ndata: {result}\n\n"), true),
        (format!("data: not json\n\ndata: {result}\n\n"), true),
        (format!("data: {result}\n"), false),
        (format!("data: {result}"), false),
        (format!("xdata: {result}\n\n"), false),
        (format!(" data: {result}\n\n"), false),
        (format!(": data: {result}\n\n"), false),
        (format!("id: {result}\n\n"), false),
        (format!("data: [{result}]x\n\n"), false),
    ] {
        assert_eq!(ends_after_all(&json!(7), &events), ended, "{events:?}");
    }
}

#[test]
fn a_carriage_return_alone_ends_a_line_of_an_event() {
    assert!(ends_after_all(&json!(7), "data: {\"id\":7,\"result\":{}}\r\r"));
    assert!(ends_after_all(&json!(7), "data: {}\r\rdata: {\"id\":7,\"result\":{}}\r\r"));
}

#[test]
fn chunks_may_be_cut_anywhere() {
    for newline in ["\n", "\r\n"] {
        let text =
            ["data: {\"method\":\"é\"}", "", ": x", "data:", "data: {\"id\":7,\"result\":\"é\"}", "", "data: {}", ""];
        let stream = text.map(|line| format!("{line}{newline}")).concat();
        // The carriage return ends the line already.
        let end = stream.rfind("data: {}").unwrap() + 1 - newline.len();
        for cut in 0..=stream.len() {
            let (left, right) = stream.as_bytes().split_at(cut);
            let found = ends(&json!(7), &[left, right]);
            assert_eq!(found, [cut >= end, true], "{cut} {newline:?}");
        }
        let single: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
        let found = ends(&json!(7), &single);
        assert_eq!(found.iter().filter(|ended| !**ended).count(), end - 1, "{newline:?}");
    }
}

#[test]
fn a_huge_event_is_not_kept_and_does_not_hide_what_comes_after() {
    let huge = format!("data: {{\"x\":\"{}\"}}\n\n", "x".repeat(1_200_000));
    let result = "data: {\"id\":7,\"result\":{}}\n\n";
    assert_eq!(ends(&json!(7), &[huge.as_bytes(), result.as_bytes()]), [false, true]);
    // Several lines of one event belong to that event, whatever their size.
    let lines = format!("data: {}\ndata: x\n{result}", "x".repeat(1_048_570));
    assert_eq!(ends(&json!(7), &[lines.as_bytes()]), [false], "the end of one event is no event");
}

#[test]
fn an_operation_ends_with_its_response() {
    let endings: [fn(&mut Vm, StreamId); 4] = [
        |vm, stream| vm.response_head(stream, 200, JSON, true),
        |vm, stream| {
            vm.response_head(stream, 200, JSON, false);
            vm.response_chunk(stream, b"{}", true);
        },
        |vm, stream| vm.response_head(stream, 500, None, true),
        |vm, stream| {
            vm.response_head(stream, 200, Some("Application/JSON; charset=utf-8"), false);
            vm.response_chunk(stream, b"data: {\"id\":7,\"result\":{}}\n\n", false);
            assert!(vm.take_calls().is_empty(), "these are no events");
            vm.response_chunk(stream, b"", true);
        },
    ];
    for end in endings {
        for mut vm in [vm(), lingering()] {
            let stream = elevated(&mut vm, &call());
            end(&mut vm, stream);
            assert_eq!(revoked(&mut vm), [good().text()]);
            vm.gone(stream);
            assert!(vm.take_calls().is_empty());
        }
    }
}

#[test]
fn without_a_result_a_modern_operation_ends_with_its_stream() {
    let endings: [fn(&mut Vm, StreamId); 2] = [
        |vm, stream| vm.gone(stream),
        |vm, stream| {
            vm.response_chunk(stream, b": keep-alive\n\n", true);
        },
    ];
    for end in endings {
        let mut vm = lingering();
        let stream = elevated(&mut vm, &modern_call());
        vm.response_head(stream, 200, Some("TEXT/event-stream;charset=utf-8"), false);
        end(&mut vm, stream);
        assert_eq!(revoked(&mut vm), [good().text()]);
    }
}

#[test]
fn without_a_result_a_legacy_operation_may_linger() {
    let endings: [fn(&mut Vm, StreamId); 2] = [
        |vm, stream| vm.gone(stream),
        |vm, stream| {
            vm.response_chunk(stream, b": keep-alive\n\n", true);
        },
    ];
    for end in endings {
        let mut lingering = lingering();
        let stream = elevated(&mut lingering, &call());
        lingering.response_head(stream, 200, EVENTS, false);
        end(&mut lingering, stream);
        lingering.pass(4_900);
        assert!(lingering.take_calls().is_empty() && !lingering.is_idle());
        lingering.pass(200);
        assert_eq!(revoked(&mut lingering), [good().text()]);
        let mut at_once = vm();
        let stream = elevated(&mut at_once, &call());
        at_once.response_head(stream, 200, EVENTS, false);
        end(&mut at_once, stream);
        assert_eq!(revoked(&mut at_once), [good().text()], "the default is not to linger");
    }
}

#[test]
fn a_result_ends_a_legacy_operation_at_once() {
    let mut vm = lingering();
    let stream = elevated(&mut vm, &call());
    vm.response_head(stream, 200, EVENTS, false);
    vm.response_chunk(stream, b"data: {\"id\":7,\"result\":{}}\n\n", false);
    let (id, _) = only_revocation(&mut vm);
    vm.reply(id, Ok((200, b"")));
    vm.response_chunk(stream, b"data: {\"id\":7,\"result\":{}}\n\n", true);
    vm.gone(stream);
    vm.pass(10_000);
    assert!(vm.take_calls().is_empty(), "once");
}

#[test]
fn a_gate_is_not_idle_while_an_elevated_operation_is_under_way() {
    let mut vm = vm();
    let stream = elevated(&mut vm, &call());
    assert!(!vm.is_idle(), "its token is still to be revoked, by a call from the root");
    vm.response_head(stream, 200, EVENTS, false);
    assert!(!vm.is_idle());
}

#[test]
fn a_client_that_leaves_after_forwarding_ends_its_operation() {
    let mut vm = vm();
    let stream = elevated(&mut vm, &call());
    vm.gone(stream);
    assert_eq!(revoked(&mut vm), [good().text()]);
}

#[test]
fn a_client_that_leaves_during_the_exchange_leaves_no_token() {
    let mut vm = lingering();
    let (stream, id) = exchange(&mut vm, &call());
    vm.gone(stream);
    assert!(!vm.is_idle(), "an exchange is under way");
    vm.pass(1_000);
    grant(&mut vm, id, &good().text());
    assert!(!vm.is_settled(stream) && vm.elevated(stream).is_none());
    assert_eq!(revoked(&mut vm), [good().text()], "nobody used it, so nothing lingers");
    assert_eq!((exchanges_counted(&vm, "late"), vm.counted("client_gone")), (1, 1));
}

#[test]
fn a_stream_whose_id_is_used_again_does_not_get_the_token_of_the_other() {
    let mut vm = vm();
    let (stream, id) = exchange(&mut vm, &call());
    vm.head_again(stream, &call());
    vm.body(stream, call().body());
    let (second, _) = only_call(&mut vm);
    grant(&mut vm, id, &good().text());
    assert!(!vm.is_settled(stream), "that was for the request before");
    assert_eq!(revoked(&mut vm), [good().text()]);
    let token = good().claim("jti", "e-2").text();
    grant(&mut vm, second, &token);
    assert_eq!(vm.elevated(stream), Some(&*format!("Bearer {token}")));
}

#[test]
fn a_stream_whose_id_is_used_again_gives_the_token_of_the_other_back() {
    let mut vm = vm();
    let stream = elevated(&mut vm, &call());
    vm.forget(stream);
    vm.head_again(stream, &call());
    assert_eq!(revoked(&mut vm), [good().text()], "the operation before is over");
    vm.body(stream, call().body());
    let (second, _) = only_call(&mut vm);
    let token = good().claim("jti", "e-2").text();
    grant(&mut vm, second, &token);
    vm.gone(stream);
    assert_eq!(revoked(&mut vm), [token]);
}

#[test]
fn p11_a_token_lives_no_longer_than_ttl_after_it_came() {
    let mut vm = vm();
    let stream = elevated(&mut vm, &call());
    vm.response_head(stream, 200, EVENTS, false);
    vm.pass(59_000);
    assert!(vm.take_calls().is_empty());
    vm.pass(2_000);
    // Dead by our clock; by that of the token service, perhaps not.
    let (id, token) = only_revocation(&mut vm);
    assert_eq!(token, good().text());
    vm.reply(id, Ok((503, b"")));
    vm.pass(1_000);
    assert!(vm.is_idle() && vm.take_calls().is_empty(), "asked once, and dead by itself");
    assert_eq!(revocations_counted(&vm, "expired"), 1);
}

#[test]
fn p11_the_time_to_revocation_is_bounded_by_ttl_where_clocks_differ() {
    // What lingers lingers for the rest of ttl at most.
    for mut vm in [vm(), lingering()] {
        let token = good().claim("iat", START + 20).claim("exp", START + 80).text();
        let (stream, id) = exchange(&mut vm, &call());
        grant(&mut vm, id, &token);
        if vm.elevated(stream).is_some() {
            vm.response_head(stream, 200, EVENTS, false);
            vm.pass(61_000);
        }
        assert_eq!(revoked(&mut vm), [token], "the time to revocation is bounded by ttl");
    }
}

#[test]
fn an_upstream_that_refuses_the_elevated_token_does_not_send_the_client_to_log_in() {
    for request in [call(), modern_call()] {
        let mut vm = vm();
        let stream = elevated(&mut vm, &request);
        vm.response_head(stream, 401, JSON, false);
        let answer = vm.replaced(stream).expect("answered").clone();
        assert_eq!((answer.status, answer.code(), answer.header("www-authenticate")), (502, Some(50200), None));
        assert_eq!((&answer.json()["id"], answer.header("retry-after")), (&json!(7), None));
        assert_eq!(answer.json()["error"]["data"]["request_id"], vm.settled(stream).record["id"], "one id for both");
        assert_eq!(revoked(&mut vm), [good().text()]);
        vm.response_chunk(stream, b"x", true);
        vm.gone(stream);
        assert!(vm.take_calls().is_empty());
    }
    for status in [400, 403, 404, 429, 500, 503] {
        let mut vm = vm();
        let stream = elevated(&mut vm, &call());
        vm.response_head(stream, status, JSON, true);
        assert!(vm.replaced(stream).is_none(), "{status} passes");
        assert_eq!(revoked(&mut vm), [good().text()]);
    }
}

// What the token service says, row by row.

const ROWS: [(u16, &str, u16, i64, &str); 40] = [
    (400, r#"{"error":"interaction_required"}"#, 403, 40302, "elevation_needs_user"),
    (400, r#"{"error":"consent_required"}"#, 403, 40302, "elevation_needs_user"),
    (401, r#"{"error":"insufficient_user_authentication"}"#, 403, 40302, "elevation_needs_user"),
    (400, r#"{"error":"invalid_grant"}"#, 401, 40101, "subject_token_rejected"),
    (400, r#"{"error":"invalid_grant","error_description":null}"#, 401, 40101, "subject_token_rejected"),
    (400, r#"{"error":"access_denied"}"#, 403, 40302, "elevation_refused"),
    (403, r#"{"error":"access_denied"}"#, 403, 40302, "elevation_refused"),
    (400, r#"{"error":"invalid_scope"}"#, 403, 40302, "elevation_refused"),
    (400, r#"{"error":"invalid_target"}"#, 403, 40302, "elevation_refused"),
    (400, r#"{"error":"invalid_request"}"#, 403, 40302, "elevation_refused"),
    (400, r#"{"error":"something_new"}"#, 403, 40302, "elevation_refused"),
    (400, r#"{"error":null}"#, 403, 40302, "elevation_refused"),
    (400, r#"{"error":["invalid_grant"]}"#, 403, 40302, "elevation_refused"),
    (403, "", 403, 40302, "elevation_refused"),
    (418, "<html>", 403, 40302, "elevation_refused"),
    (401, r#"{"error":"invalid_client"}"#, 503, 50301, "filter_not_accepted"),
    (400, r#"{"error":"invalid_client"}"#, 503, 50301, "filter_not_accepted"),
    (400, r#"{"error":"unauthorized_client"}"#, 503, 50301, "filter_not_accepted"),
    (400, r#"{"error":"unsupported_grant_type"}"#, 503, 50301, "filter_not_accepted"),
    (401, "", 503, 50301, "filter_not_accepted"),
    (404, "", 503, 50301, "filter_not_accepted"),
    (301, "", 503, 50301, "filter_not_accepted"),
    (302, "", 503, 50301, "filter_not_accepted"),
    (307, "{}", 503, 50301, "filter_not_accepted"),
    (429, r#"{"error":"slow_down"}"#, 503, 50300, "elevation_unavailable"),
    (500, "", 503, 50300, "elevation_unavailable"),
    (502, "<html>", 503, 50300, "elevation_unavailable"),
    (503, r#"{"error":"temporarily_unavailable"}"#, 503, 50300, "elevation_unavailable"),
    (504, "", 503, 50300, "elevation_unavailable"),
    (200, "", 503, 50300, "elevation_unavailable"),
    (200, "null", 503, 50300, "elevation_unavailable"),
    (200, "[]", 503, 50300, "elevation_unavailable"),
    (200, "{}", 503, 50300, "elevation_unavailable"),
    (200, "ok", 503, 50300, "elevation_unavailable"),
    (200, "\u{feff}{}", 503, 50300, "elevation_unavailable"),
    (200, r#"{"access_token":null}"#, 503, 50300, "elevation_unavailable"),
    (200, r#"{"access_token":""}"#, 503, 50300, "elevation_unavailable"),
    (200, r#"{"access_token":5}"#, 503, 50300, "elevation_unavailable"),
    (200, r#"{"error":"invalid_grant"}"#, 503, 50300, "elevation_unavailable"),
    (204, "", 503, 50300, "elevation_unavailable"),
];

#[track_caller]
fn assert_refused(settled: &Settled, status: u16, code: i64, reason: &str, what: &str) {
    settled.assert_refused(status, reason);
    let answer = settled.answer();
    assert_eq!(answer.code(), Some(code), "{what}");
    assert_eq!(answer.json()["id"], 7, "{what}");
    assert_eq!(answer.header("retry-after").is_some(), status == 503, "{what}");
    assert_eq!(settled.challenge().is_some(), status == 401, "{what}");
}

#[test]
fn the_answers_of_the_token_service_row_by_row() {
    for (said, body, status, code, reason) in ROWS {
        let mut vm = vm();
        let (stream, id) = exchange(&mut vm, &call());
        vm.reply(id, Ok((said, body.as_bytes())));
        assert_refused(&vm.settled(stream), status, code, reason, &format!("{said} {body}"));
        assert!(
            vm.take_calls().is_empty() && vm.is_idle(),
            "{said} {body}: nothing was minted, nothing is asked again"
        );
        assert_eq!(exchanges_counted(&vm, reason), 1, "{said} {body}");
    }
}

#[test]
fn a_token_service_that_cannot_be_reached_is_unavailable() {
    for fault in [CallFault::Refused, CallFault::Unanswered] {
        let mut vm = vm();
        let (stream, id) = exchange(&mut vm, &call());
        vm.reply(id, Err(fault));
        assert_refused(&vm.settled(stream), 503, 50300, "elevation_unavailable", "unreachable");
        assert!(vm.take_calls().is_empty() && vm.is_idle());
    }
}

#[test]
fn an_answer_of_more_than_64_kib_is_nonsense() {
    for (padding, accepted) in [(60_000, true), (70_000, false)] {
        let mut vm = vm();
        let (stream, id) = exchange(&mut vm, &call());
        let mut body = answer(&good().text());
        body["padding"] = json!("x".repeat(padding));
        say(&mut vm, id, 200, &body);
        assert_eq!(vm.elevated(stream).is_some(), accepted);
        if !accepted {
            assert_refused(&vm.settled(stream), 503, 50300, "elevation_unavailable", "large");
        }
    }
}

#[test]
fn a_failing_token_service_is_not_the_callers_fault() {
    for status in [500, 502, 503] {
        for error in ["invalid_grant", "interaction_required", "access_denied"] {
            let mut vm = vm();
            let (stream, id) = exchange(&mut vm, &call());
            say(&mut vm, id, status, &json!({ "error": error }));
            assert_refused(&vm.settled(stream), 503, 50300, "elevation_unavailable", error);
        }
    }
}

#[test]
fn the_challenge_of_a_rule_that_falls_back_names_what_would_have_been_obtained() {
    for error in ["interaction_required", "consent_required", "insufficient_user_authentication"] {
        let mut vm = Vm::new(&load(&exchanging(json!({ "fallback": "challenge", "scope": ["z", "a"] }))));
        let (stream, id) = exchange(&mut vm, &call());
        say(&mut vm, id, 400, &json!({ "error": error }));
        let settled = vm.settled(stream);
        settled.assert_refused(403, "elevation_needs_user");
        let challenge = settled.challenge().expect("a challenge");
        let expected =
            format!(r#"Bearer error="insufficient_scope", scope="a mcp:connect z", resource_metadata="{METADATA}""#);
        assert!(challenge.starts_with(&expected), "{challenge}");
        assert_eq!(settled.record["verdict"], "challenge");
    }
    for error in ["access_denied", "invalid_scope", "invalid_client"] {
        let mut vm = Vm::new(&load(&exchanging(json!({ "fallback": "challenge" }))));
        let (stream, id) = exchange(&mut vm, &call());
        say(&mut vm, id, 400, &json!({ "error": error }));
        assert_eq!(vm.settled(stream).challenge(), None, "{error}: the user cannot help");
    }
}

#[test]
fn a_token_that_its_issuer_rejects_is_refused_until_its_end() {
    let (mut vm, signatures) = Vm::counting(&load(&plain()));
    let (stream, id) = exchange(&mut vm, &call());
    say(&mut vm, id, 400, &json!({ "error": "access_denied" }));
    vm.settled(stream).assert_refused(403, "elevation_refused");
    let (stream, id) = exchange(&mut vm, &call());
    assert_eq!(signatures.get(), 1, "seen before");
    say(&mut vm, id, 400, &json!({ "error": "invalid_grant" }));
    assert!(vm.settled(stream).challenge().unwrap().contains(r#"error="invalid_token""#));
    let again = vm.send(&call());
    again.assert_refused(401, "subject_token_rejected");
    vm.send(&Request::method("ping", json!({})).bearer(&token(BASELINE))).assert_refused(401, "subject_token_rejected");
    assert!(vm.take_calls().is_empty(), "the token service is not asked again");
    assert_eq!(signatures.get(), 1);
    exchange(&mut vm, &call().bearer(&caller(1)));
}

// What comes back is checked like a stranger's.

/// The filter refuses this answer for this reason, forwards nothing, and revokes exactly these tokens.
#[track_caller]
fn assert_disbelieved(document: &Json, body: &Json, reason: &str, minted: &[String]) {
    let mut vm = Vm::new(&load(document));
    let (stream, id) = exchange(&mut vm, &call());
    say(&mut vm, id, 200, body);
    assert!(vm.is_settled(stream) && vm.elevated(stream).is_none(), "forwarded: {reason}");
    let settled = vm.settled(stream);
    assert_refused(&settled, 503, 50300, reason, reason);
    assert_eq!(settled.answer().json()["error"]["data"]["reason"], "elevation_unavailable", "the operator's business");
    let found = revocations(&mut vm);
    let tokens: Vec<&String> = found.iter().map(|(_, token)| token).collect();
    assert_eq!(tokens, minted.iter().collect::<Vec<_>>(), "{reason}");
    for (id, _) in found {
        vm.reply(id, Ok((200, b"")));
    }
    assert!(vm.is_idle());
}

#[track_caller]
fn assert_token_disbelieved(text: &str, reason: &str) {
    assert_disbelieved(&plain(), &answer(text), reason, &[text.to_owned()]);
}

#[test]
fn the_token_must_be_for_the_audience_alone() {
    for audience in
        [json!(RESOURCE), json!([ADMIN, RESOURCE]), json!([ADMIN, ADMIN]), json!("https://git.internal/admin/")]
    {
        assert_token_disbelieved(&good().claim("aud", audience).text(), "elevated_audience");
    }
    elevated_with(&mut vm(), &call(), &good().claim("aud", json!([ADMIN])).text());
}

#[test]
fn p04_the_scopes_must_cover_what_was_asked_for_and_nothing_that_it_does_not_imply() {
    let rule = |scope: Json| exchanging(json!({ "scope": scope }));
    for (asked, scope, reason) in [
        (json!("repo:write"), "repo:write", None),
        (json!("repo:admin"), "repo:admin repo:read repo:write", None),
        (json!(["repo:admin", "repo:read"]), "repo:admin", None),
        (json!("repo:write"), "repo:admin", Some("granted_too_wide")),
        (json!("repo:write"), "repo:write x", Some("granted_too_wide")),
        (json!("repo:write"), "mcp:connect repo:write", Some("granted_too_wide")),
        (json!("repo:admin"), "repo:write", Some("granted_too_narrow")),
        (json!("repo:admin"), "", Some("granted_too_narrow")),
        (json!(["repo:admin", "x"]), "repo:admin", Some("granted_too_narrow")),
        (json!([]), "x", Some("granted_too_wide")),
        (json!([]), "", None),
    ] {
        let text = good().claim("scope", scope).text();
        match reason {
            Some(reason) => assert_disbelieved(&rule(asked), &answer(&text), reason, &[text]),
            None => {
                elevated_with(&mut Vm::new(&load(&rule(asked))), &call(), &text);
            }
        }
    }
}

#[test]
fn the_scope_of_the_answer_must_agree_with_that_of_the_token() {
    let text = good().claim("scope", "repo:admin repo:read").text();
    for scope in ["repo:admin", "repo:admin repo:read x", "repo:read", ""] {
        let mut body = answer(&text);
        body["scope"] = json!(scope);
        assert_disbelieved(&plain(), &body, "granted_too_wide", std::slice::from_ref(&text));
    }
    for scope in [json!("repo:read repo:admin"), json!("repo:admin repo:read"), Json::Null] {
        let mut vm = vm();
        let (stream, id) = exchange(&mut vm, &call());
        let mut body = answer(&text);
        body["scope"] = scope;
        say(&mut vm, id, 200, &body);
        assert!(vm.elevated(stream).is_some());
    }
}

#[test]
fn the_token_must_be_about_the_same_subject() {
    assert_token_disbelieved(&good().claim("sub", "mallory").text(), "elevated_subject");
    assert_token_disbelieved(&good().claim("sub", "Alice").text(), "elevated_subject");
    assert_token_disbelieved(&good().without("sub").text(), "elevated_subject");
}

/// A second issuer, whose key is the other one.
fn partnered_document() -> Json {
    let mut document = plain();
    document["issuers"][PARTNER] = json!({ "keys": { "keys": [other_key().jwk()] }, "algorithms": ["EdDSA"] });
    document
}

#[test]
fn the_token_must_be_issued_by_the_issuer_of_the_token_service() {
    let foreign = good().claim("iss", PARTNER).signed_by(other_key());
    let document = partnered_document();
    assert_disbelieved(&document, &answer(&foreign), "elevated_issuer", std::slice::from_ref(&foreign));
    assert_token_disbelieved(&good().claim("iss", "https://evil.example.com").text(), "elevated_issuer");
    let forged = good().signed_by(other_key());
    assert_disbelieved(&document, &answer(&forged), "elevated_signature", std::slice::from_ref(&forged));
}

#[test]
fn the_token_must_not_outlive_the_rule() {
    for (issued, expires) in [
        (START, START + 61),
        (START - 10, START + 51),
        (START - 60, START),
        (START - 100, START - 40),
        (START + 31, START + 91),
        (START + 3600, START + 3660),
        (START + 10, START + 10),
    ] {
        let text = good().claim("iat", issued).claim("exp", expires).text();
        assert_token_disbelieved(&text, "elevated_lifetime");
    }
    assert_token_disbelieved(&good().claim("nbf", START + 31).text(), "elevated_lifetime");
    elevated_with(&mut vm(), &call(), &good().claim("iat", START - 59).claim("exp", START + 1).text());
}

#[test]
fn the_token_must_be_signed_as_the_policy_says() {
    assert_token_disbelieved(&good().signed_by(other_key()), "elevated_signature");
    assert_token_disbelieved(&good().header("kid", "k1").signed_by(other_key()), "elevated_signature");
    assert_token_disbelieved(&good().without_kid().signed_by(other_key()), "elevated_signature");
    assert_token_disbelieved(&good().header("alg", "none").text(), "elevated_signature");
    assert_token_disbelieved(&good().header("alg", "HS256").text(), "elevated_signature");
    assert_token_disbelieved(&good().header("alg", "RS256").text(), "elevated_signature");
    let text = good().text();
    let unsigned = format!("{}.", text.rsplit_once('.').unwrap().0);
    assert_token_disbelieved(&unsigned, "elevated_signature");
    elevated_with(&mut vm(), &call(), &good().without_kid().text());
}

#[test]
fn the_token_must_be_typed_as_an_access_token() {
    for kind in ["JWT", "dpop+jwt", "logout+jwt", "oauth-id-jag+jwt", "txntoken+jwt", ""] {
        assert_token_disbelieved(&good().header("typ", kind).text(), "elevated_token_type");
    }
    assert_token_disbelieved(&good().without_type().text(), "elevated_token_type");
    assert_token_disbelieved(&good().claim("cnf", json!({ "jkt": "x" })).text(), "elevated_token_type");
    elevated_with(&mut vm(), &call(), &good().header("typ", "application/AT+jwt").text());
}

#[test]
fn the_token_must_not_look_like_an_id_token_where_types_do_not_tell() {
    let document = with(plain(), "/issuers/https:~1~1as.example.com/token_type", json!("jwt"));
    for claim in ["nonce", "at_hash", "c_hash", "events"] {
        let text = good().header("typ", "JWT").claim(claim, "x").text();
        assert_disbelieved(&document, &answer(&text), "elevated_token_type", std::slice::from_ref(&text));
    }
    elevated_with(&mut Vm::new(&load(&document)), &call(), &good().header("typ", "JWT").text());
}

#[test]
fn the_token_must_be_a_jwt() {
    let text = good().text();
    for text in ["opaque", "a.b.c", "..", &format!("{text} "), &format!("{text}\r\nx: y"), &format!("{text}.x")] {
        assert_token_disbelieved(text, "elevated_token_malformed");
    }
    assert_token_disbelieved(&good().header("crit", json!(["x"])).text(), "elevated_token_malformed");
    assert_token_disbelieved(&good().header("jwk", json!({})).text(), "elevated_token_malformed");
    assert_token_disbelieved(&good().claim("padding", "x".repeat(16 * 1024)).text(), "elevated_token_malformed");
}

#[test]
fn the_token_must_be_ours() {
    for client in ["agent", "step-up-filter2", "Step-up-filter"] {
        assert_token_disbelieved(&good().claim("client_id", client).text(), "elevated_token_not_ours");
    }
    assert_token_disbelieved(&good().without("client_id").text(), "elevated_token_not_ours");
    let nested = json!({ "sub": "agent", "act": { "sub": FILTER } });
    assert_token_disbelieved(
        &good().claim("client_id", "agent").claim("act", nested).text(),
        "elevated_token_not_ours",
    );
    let acting = good().claim("client_id", "agent").claim("act", json!({ "sub": FILTER })).text();
    elevated_with(&mut vm(), &call(), &acting);
}

#[test]
fn the_answer_must_say_that_it_is_a_bearer_access_token() {
    let text = good().text();
    for (field, value) in [
        ("token_type", json!("DPoP")),
        ("token_type", json!("N_A")),
        ("token_type", json!("mac")),
        ("token_type", Json::Null),
        ("token_type", json!("")),
        ("issued_token_type", json!("urn:ietf:params:oauth:token-type:id_token")),
        ("issued_token_type", json!("urn:ietf:params:oauth:token-type:refresh_token")),
        ("issued_token_type", json!("urn:ietf:params:oauth:token-type:saml2")),
        ("issued_token_type", json!("access_token")),
        ("issued_token_type", Json::Null),
    ] {
        let mut body = answer(&text);
        body[field] = value;
        assert_disbelieved(&plain(), &body, "elevated_token_type", std::slice::from_ref(&text));
    }
    for (token_type, issued) in [("bearer", ACCESS_TOKEN), ("BEARER", JWT), ("Bearer", JWT)] {
        let mut vm = vm();
        let (stream, id) = exchange(&mut vm, &call());
        let mut body = answer(&text);
        (body["token_type"], body["issued_token_type"]) = (json!(token_type), json!(issued));
        say(&mut vm, id, 200, &body);
        assert!(vm.elevated(stream).is_some(), "{token_type} {issued}");
    }
}

#[test]
fn a_refresh_token_is_revoked_together_with_what_came_with_it() {
    let mut body = answer(&good().text());
    body["refresh_token"] = json!("refresh-1");
    assert_disbelieved(&plain(), &body, "elevated_with_refresh_token", &[good().text(), "refresh-1".to_owned()]);
    let mut vm = vm();
    let (_, id) = exchange(&mut vm, &call());
    say(&mut vm, id, 200, &body);
    let hints: Vec<String> = vm.take_calls().iter().map(|(_, call)| form(call)["token_type_hint"].clone()).collect();
    assert_eq!(hints, ["access_token", "refresh_token"]);
    body["refresh_token"] = Json::Null;
    let mut vm = self::vm();
    let (stream, id) = exchange(&mut vm, &call());
    say(&mut vm, id, 200, &body);
    assert!(vm.elevated(stream).is_some(), "null is none");
}

#[test]
fn a_refresh_token_that_came_alone_is_revoked_too() {
    for access in [Json::Null, json!(""), json!(7)] {
        let body = json!({ "access_token": access, "refresh_token": "refresh-1", "token_type": "Bearer" });
        assert_disbelieved(&plain(), &body, "elevation_unavailable", &["refresh-1".to_owned()]);
    }
}

#[test]
fn the_callers_own_token_is_neither_accepted_nor_revoked() {
    let own = token(BASELINE);
    assert_disbelieved(&plain(), &answer(&own), "elevated_token_not_ours", &[]);
    let mut body = answer(&own);
    body["refresh_token"] = json!("refresh-1");
    assert_disbelieved(&plain(), &body, "elevated_token_not_ours", &["refresh-1".to_owned()]);
}

#[test]
fn the_callers_own_token_is_not_revoked_under_another_name_either() {
    let mut body = answer(&good().text());
    body["refresh_token"] = json!(token(BASELINE));
    assert_disbelieved(&plain(), &body, "elevated_with_refresh_token", &[good().text()]);
}

#[test]
fn the_callers_own_token_is_not_revoked_when_it_comes_late() {
    let mut vm = vm();
    let (stream, id) = exchange(&mut vm, &call());
    vm.gone(stream);
    grant(&mut vm, id, &token(BASELINE));
    vm.pass(1_000);
    assert!(vm.take_calls().is_empty() && vm.is_idle());
}

#[test]
fn a_token_in_an_answer_with_a_strange_status_is_revoked() {
    let mut lost = Vec::new();
    for status in [201, 202] {
        let mut vm = vm();
        let (stream, id) = exchange(&mut vm, &call());
        say(&mut vm, id, status, &answer(&good().text()));
        assert!(vm.is_settled(stream) && vm.elevated(stream).is_none());
        if revoked(&mut vm) != [good().text()] {
            lost.push(status);
        }
    }
    assert!(lost.is_empty(), "minted, received, and neither used nor taken back: {lost:?}");
}

#[test]
fn an_elevated_token_signed_with_a_new_key_makes_the_filter_look_for_keys() {
    let jwks = json!({ "cluster": "as-keys", "url": "https://as.example.com/jwks" });
    let issuers = json!({ ISSUER: { "jwks": jwks, "algorithms": ["EdDSA"] } });
    let mut vm = Vm::new(&load(&with(plain(), "/issuers", issuers)));
    vm.pass(1_000);
    let (id, _) = only_call(&mut vm);
    say(&mut vm, id, 200, &json!({ "keys": [key().jwk()] }));
    vm.pass(60_000);
    let (stream, id) = exchange(&mut vm, &call());
    let rotated = good().claim("iat", START + 61).claim("exp", START + 120).signed_by(other_key());
    grant(&mut vm, id, &rotated);
    vm.settled(stream).assert_refused(503, "elevated_signature");
    assert_eq!(revoked(&mut vm), [rotated]);
    vm.pass(2_000);
    assert!(vm.take_calls().iter().any(|(_, call)| call.cluster == "as-keys"), "no refetch: refused until `refresh`");
}

// Who may be elevated, and in which order that is decided.

#[test]
fn p07_the_order_of_decision() {
    let rule = json!({
        "standing": "refuse",
        "max_lifetime": "11m",
        "may_elevate": { "client": "ci" },
    });
    let document = exchanging(rule);
    let denied = with(document.clone(), "/tools/delete/deny", json!(true));
    let lasting = |scope: &str, client: &str| Token::new(scope).claim("client_id", client).lifetime(3600).text();
    let client = |scope: &str, client: &str| Token::new(scope).claim("client_id", client).text();
    let limited = with(document.clone(), "/limits", json!({ "exchanges": 1 }));
    for (document, token, reason) in [
        (&denied, lasting("repo:admin", "x"), "denied"),
        (&document, lasting("repo:admin", "x"), "standing_privilege"),
        (&document, lasting("", "x"), "scope_missing"),
        (&document, lasting(BASELINE, "x"), "token_too_long_lived_for_rule"),
        (&document, client(BASELINE, "x"), "not_eligible"),
        (&limited, client(BASELINE, "x"), "not_eligible"),
        (&limited, client(BASELINE, "ci"), "elevation_rate"),
    ] {
        let mut vm = Vm::new(&load(document));
        let busy = Token::new(BASELINE).claim("client_id", "ci").claim("jti", "busy").text();
        if document == &limited {
            exchange(&mut vm, &call().bearer(&busy));
        }
        let stream = begin(&mut vm, &call().bearer(&token));
        let settled = vm.settled(stream);
        assert_eq!(settled.reason(), reason);
        assert_eq!(settled.rule(), Some("delete"));
        assert!(vm.take_calls().is_empty(), "{reason}: no call before everything else has passed");
        if reason == "scope_missing" {
            assert!(settled.challenge().unwrap().contains(r#"scope="mcp:connect""#), "never what is granted");
        } else {
            assert_eq!(settled.challenge(), None, "{reason}");
        }
    }
    exchange(&mut Vm::new(&load(&document)), &call().bearer(&client(BASELINE, "ci")));
}

#[test]
fn no_call_is_made_for_what_is_not_a_complete_good_request() {
    let mut vm = vm();
    for request in [
        Request::call("delete"),
        call().bearer("x"),
        call().header(":path", "/other"),
        call().header("mcp-name", "get"),
        call().header("content-type", "text/plain"),
        call().with_body(b"{".to_vec()),
        call().with_body(br#"[{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"delete"}}]"#.to_vec()),
        call().with_body(br#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"delete"}}"#.to_vec()),
        Request::call("Delete").bearer(&token(BASELINE)),
        Request::call("undelete").bearer(&token(BASELINE)),
        Request::method("tools/list", json!({})).bearer(&token(BASELINE)),
    ] {
        begin(&mut vm, &request);
        assert!(vm.take_calls().is_empty(), "{request:?}");
    }
    let stream = vm.head(&call());
    vm.trailers(stream);
    vm.settled(stream).assert_refused(400, "trailers_not_allowed");
    assert!(vm.take_calls().is_empty());
}

#[test]
fn what_comes_on_a_stream_during_its_exchange_never_releases_it() {
    let body = call();
    let disturbances: [fn(&mut Vm, StreamId, &[u8]); 3] = [
        |vm, stream, body| vm.body(stream, body),
        |vm, stream, _| vm.trailers(stream),
        |vm, stream, _| vm.body_fault(stream, step_up_core::BodyFault::TooLarge),
    ];
    for disturb in disturbances {
        let mut vm = vm();
        let (stream, id) = exchange(&mut vm, &call());
        disturb(&mut vm, stream, body.body());
        assert!(!vm.settled(stream).is_forwarded());
        grant(&mut vm, id, &good().text());
        assert_eq!(vm.elevated(stream), None);
        assert_eq!(revoked(&mut vm), [good().text()]);
    }
}

/// Is a caller with these claims elevated under this condition?
fn is_elevated(condition: &Json, claims: &Json, source: Option<&str>) -> bool {
    let document = exchanging(json!({ "may_elevate": condition }));
    let mut vm = Vm::new(&load(&document));
    let claims = claims.as_object().expect("a map").iter();
    let token = claims.fold(Token::new(BASELINE), |token, (name, value)| token.claim(name, value.clone())).text();
    let request = call().bearer(&token);
    let stream = begin(&mut vm, &source.iter().fold(request, |request, source| request.certified_as(source)));
    let calls = vm.take_calls().len();
    if calls == 0 {
        let settled = vm.settled(stream);
        settled.assert_refused(403, "not_eligible");
        assert_eq!((settled.answer().code(), settled.challenge()), (Some(40301), None));
        assert_eq!(settled.answer().json()["error"]["data"]["reason"], "not_allowed");
    }
    calls == 1
}

#[test]
fn p08_who_may_be_elevated() {
    let (yes, no) = (true, false);
    let groups = json!({ "claim": "groups", "in": ["ops", 7] });
    let level = json!({ "claim": "level", "below": 2 });
    for (condition, claims, expected) in [
        (json!({ "client": "agent" }), json!({}), yes),
        (json!({ "client": ["x", "agent"] }), json!({}), yes),
        (json!({ "client": ["agen", "agent2", "Agent"] }), json!({}), no),
        (json!({ "client": "https://a.example/x" }), json!({ "client_id": "https://A.example/x" }), yes),
        (json!({ "client": "https://a.example/x" }), json!({ "client_id": "https://a.example/X" }), no),
        (json!({ "client": "https://a.example/x" }), json!({ "client_id": "https://a.example/x/y" }), no),
        (json!({ "client": "https://a.example/x" }), json!({ "client_id": "https://a.example@evil.test/x" }), no),
        (groups.clone(), json!({ "groups": "ops" }), yes),
        (groups.clone(), json!({ "groups": ["dev", "ops"] }), yes),
        (groups.clone(), json!({ "groups": [7] }), yes),
        (groups.clone(), json!({ "groups": 7.0 }), yes),
        (groups.clone(), json!({ "groups": "7" }), no),
        (groups.clone(), json!({ "groups": ["dev"] }), no),
        (groups.clone(), json!({ "groups": [] }), no),
        (groups.clone(), json!({ "groups": null }), no),
        (groups.clone(), json!({ "groups": { "ops": "ops" } }), no),
        (groups, json!({}), no),
        (json!({ "claim": "ok", "equals": true }), json!({ "ok": true }), yes),
        (json!({ "claim": "ok", "equals": true }), json!({ "ok": "true" }), no),
        (json!({ "claim": "ok", "equals": true }), json!({ "ok": 1 }), no),
        (json!({ "claim": "realm.roles", "equals": "ops" }), json!({ "realm": { "roles": ["ops"] } }), yes),
        (json!({ "claim": "realm.roles", "equals": "ops" }), json!({ "realm.roles": "ops" }), no),
        (json!({ "claim": "/https:~1~1x.y~1z/a~0b", "equals": 1 }), json!({ "https://x.y/z": { "a~b": 1 } }), yes),
        (json!({ "claim": "team", "prefix": "ops-" }), json!({ "team": "ops-eu" }), yes),
        (json!({ "claim": "team", "prefix": "ops-" }), json!({ "team": "dev-ops-" }), no),
        (json!({ "claim": "team", "prefix": "ops-" }), json!({ "team": 5 }), no),
        (json!({ "claim": "level", "above": 2 }), json!({ "level": 3 }), yes),
        (json!({ "claim": "level", "above": 2 }), json!({ "level": 2 }), no),
        (json!({ "claim": "level", "above": 2 }), json!({ "level": "3" }), no),
        (json!({ "claim": "x", "present": true }), json!({ "x": false }), yes),
        (json!({ "claim": "x", "present": true }), json!({ "x": null }), no),
        (json!({ "claim": "x", "present": false }), json!({}), yes),
        // Unknown stays unknown, whatever stands around it.
        (json!({ "not": level.clone() }), json!({ "level": 3 }), yes),
        (json!({ "not": level.clone() }), json!({ "level": 1 }), no),
        (json!({ "not": level.clone() }), json!({}), no),
        (json!({ "not": level.clone() }), json!({ "level": null }), no),
        (json!({ "not": level.clone() }), json!({ "level": "3" }), no),
        (json!({ "not": { "not": level.clone() } }), json!({}), no),
        (json!({ "not": { "claim": "groups", "in": ["banned"] } }), json!({ "groups": ["ok", 5] }), no),
        (json!({ "any": [level.clone(), { "client": "agent" }] }), json!({}), yes),
        (json!({ "any": [level.clone(), { "client": "x" }] }), json!({}), no),
        (json!({ "all": [{ "client": "agent" }, level.clone()] }), json!({}), no),
        (json!({ "all": [{ "client": "agent" }, level.clone()] }), json!({ "level": 1 }), yes),
        (json!({ "not": { "all": [{ "client": "x" }, level.clone()] } }), json!({}), yes),
        (json!({ "not": { "all": [{ "client": "agent" }, level] } }), json!({}), no),
        (json!({ "source": "spiffe://td/a" }), json!({}), no),
        (json!({ "not": { "source": "spiffe://td/a" } }), json!({}), no),
    ] {
        assert_eq!(is_elevated(&condition, &claims, None), expected, "{condition} {claims}");
    }
    let source = json!({ "source": ["spiffe://td/b", "spiffe://td/a"] });
    assert!(is_elevated(&source, &json!({}), Some("spiffe://td/a")));
    assert!(!is_elevated(&source, &json!({}), Some("spiffe://td/a/b")));
}

#[test]
fn p17_members_equal_under_case_folding_make_a_path_unknown() {
    let condition = json!({ "claim": "groups", "equals": "ops" });
    assert!(!is_elevated(&condition, &json!({ "groups": "ops", "Groups": "dev" }), None));
    assert!(!is_elevated(&json!({ "not": condition }), &json!({ "groups": "dev", "GROUPS": "ops" }), None));
}

#[test]
fn p08_conditions_of_rule_and_tier_must_both_hold() {
    let mut document = exchanging(json!({ "tier": "danger", "may_elevate": { "client": "agent" } }));
    document["tiers"] =
        json!({ "danger": { "step_up": "exchange", "may_elevate": { "claim": "ok", "equals": true } } });
    for (ok, calls) in [(true, 1), (false, 0)] {
        let mut vm = Vm::new(&load(&document));
        begin(&mut vm, &call().bearer(&Token::new(BASELINE).claim("ok", ok).text()));
        assert_eq!(vm.take_calls().len(), calls);
    }
}

#[test]
fn p08_a_token_that_says_who_may_act_must_name_the_filter() {
    let anybody = json!({ "client": "agent" });
    for (may_act, expected) in [
        (json!({ "sub": FILTER }), true),
        (json!({ "client_id": FILTER }), true),
        (json!({ "sub": "other" }), false),
        (json!({ "sub": "other", "act": { "sub": FILTER } }), false),
        (json!({}), false),
        (json!(FILTER), false),
        (json!([{ "sub": FILTER }]), false),
        (Json::Null, false),
    ] {
        assert_eq!(is_elevated(&anybody, &json!({ "may_act": may_act }), None), expected, "{may_act}");
    }
}

#[test]
fn a_token_of_an_issuer_that_is_not_listed_does_not_go_to_the_token_service() {
    let foreign = Token::new(BASELINE).claim("iss", PARTNER).signed_by(other_key());
    let mut vm = Vm::new(&load(&partnered_document()));
    let stream = begin(&mut vm, &call().bearer(&foreign));
    let settled = vm.settled(stream);
    settled.assert_refused(403, "issuer_not_exchangeable");
    assert_eq!((settled.answer().code(), settled.challenge()), (Some(40301), None));
    assert!(vm.take_calls().is_empty());
    let widened = with(partnered_document(), "/token_service/subject_issuers", json!([ISSUER, PARTNER]));
    let mut vm = Vm::new(&load(&widened));
    let (stream, id) = exchange(&mut vm, &call().bearer(&foreign));
    // `sub` is unique for its issuer only: nothing can be compared.
    grant(&mut vm, id, &good().claim("sub", "partner-alice").text());
    assert!(vm.elevated(stream).is_some());
}

#[test]
fn a_token_of_the_filter_itself_does_not_come_back_through_the_front_door() {
    let own = |name: &str, value: Json| Token::new("mcp:connect repo:admin").claim(name, value).text();
    for text in [
        own("client_id", json!(FILTER)),
        own("azp", json!(FILTER)),
        own("act", json!({ "sub": FILTER })),
        own("act", json!({ "client_id": FILTER, "sub": "x" })),
    ] {
        let mut vm = vm();
        for request in [call(), modern_call(), Request::method("tools/list", json!({})), Request::bare("GET", "/mcp")] {
            let stream = vm.head(&request.bearer(&text));
            let settled = vm.settled(stream);
            settled.assert_refused(401, "own_token_presented");
            assert!(settled.challenge().unwrap().contains("invalid_token"));
        }
        assert!(vm.take_calls().is_empty());
    }
    // Somebody who once acted for the caller is not the one who presents it.
    let nested = own("act", json!({ "sub": "agent", "act": { "sub": FILTER } }));
    exchange(&mut vm(), &call().bearer(&nested));
}

#[test]
fn an_elevated_token_is_not_accepted_from_a_caller_even_for_the_same_audience() {
    let mut vm = Vm::new(&load(&exchanging(json!({ "audience": null, "scope": "x" }))));
    let echoed = good().claim("aud", RESOURCE).claim("scope", "x").text();
    elevated_with(&mut vm, &call(), &echoed);
    let stream = begin(&mut vm, &call().bearer(&echoed));
    vm.settled(stream).assert_refused(401, "own_token_presented");
}

// Limits.

#[track_caller]
fn assert_limited(vm: &mut Vm, request: &Request) {
    let stream = begin(vm, request);
    let settled = vm.settled(stream);
    assert_refused(&settled, 503, 50300, "elevation_rate", "limited");
    assert_eq!(settled.answer().json()["error"]["data"]["reason"], "elevation_unavailable");
    assert!(vm.take_calls().is_empty(), "no call is made");
}

#[test]
fn exchanges_under_way_are_bounded_for_each_caller() {
    let mut vm = vm();
    let calls: Vec<_> = (0..4).map(|_| exchange(&mut vm, &call())).collect();
    assert_limited(&mut vm, &call());
    // A refreshed token is the same caller.
    assert_limited(&mut vm, &call().bearer(&caller(1)));
    let other = exchange(&mut vm, &call().bearer(&bob()));
    grant(&mut vm, other.1, &good().claim("sub", "bob").text());
    assert_limited(&mut vm, &call());
    // Leaving does not help: the token service is still at work.
    vm.gone(calls[0].0);
    assert_limited(&mut vm, &call());
    vm.reply(calls[0].1, Err(CallFault::Unanswered));
    exchange(&mut vm, &call());
}

#[test]
fn a_token_service_that_hung_is_asked_again_when_the_clients_have_been_told() {
    let mut vm = vm();
    let calls: Vec<_> = (0..4).map(|_| exchange(&mut vm, &call())).collect();
    assert_limited(&mut vm, &call());
    vm.pass(3_000);
    for (stream, _) in &calls {
        vm.settled(*stream).assert_refused(503, "elevation_unavailable");
    }
    let (stream, id) = exchange(&mut vm, &call());
    grant(&mut vm, id, &good().text());
    assert!(vm.elevated(stream).is_some());
    // What comes now is still taken back.
    let late = good().claim("jti", "late").text();
    grant(&mut vm, calls[0].1, &late);
    assert_eq!(revoked(&mut vm), [late]);
}

#[test]
fn late_exchanges_are_bounded_too() {
    let limits = json!({ "exchanges": 2, "exchanges_per_caller": 2, "exchange_rate": 1000 });
    let mut vm = Vm::new(&load(&with(plain(), "/limits", limits)));
    for _ in 0..16 {
        exchange(&mut vm, &call());
        exchange(&mut vm, &call());
        vm.pass(2_001);
    }
    assert_limited(&mut vm, &call());
    // The first ones are given up.
    vm.pass(10_000);
    exchange(&mut vm, &call());
}

#[test]
fn exchanges_under_way_are_bounded_for_all() {
    let mut vm = Vm::new(&load(&with(plain(), "/limits", json!({ "exchanges": 3 }))));
    let calls: Vec<_> = (0..3).map(|n| exchange(&mut vm, &call().bearer(&caller(n)))).collect();
    assert_limited(&mut vm, &call());
    say(&mut vm, calls[1].1, 403, &json!({}));
    exchange(&mut vm, &call());
}

#[test]
fn exchanges_in_a_minute_are_bounded_for_each_caller() {
    let mut vm = Vm::new(&load(&with(plain(), "/limits", json!({ "exchange_rate": 3 }))));
    for _ in 0..3 {
        let (_, id) = exchange(&mut vm, &call());
        say(&mut vm, id, 403, &json!({}));
    }
    assert_limited(&mut vm, &call());
    assert_limited(&mut vm, &call().bearer(&caller(1)));
    let (_, id) = exchange(&mut vm, &call().bearer(&bob()));
    say(&mut vm, id, 403, &json!({}));
    vm.pass(61_000);
    exchange(&mut vm, &call());
}

// Revocation.

#[test]
fn a_revocation_is_repeated_until_it_succeeds() {
    let failures =
        [Ok(503), Ok(429), Ok(408), Ok(500), Ok(425), Err(CallFault::Unanswered), Err(CallFault::Refused), Ok(599)];
    let mut vm = vm();
    let stream = elevated(&mut vm, &call());
    vm.gone(stream);
    let (mut id, _) = only_revocation(&mut vm);
    let mut pauses = Vec::new();
    for failure in failures {
        let failed = vm.now;
        vm.reply(id, failure.map(|status| (status, &b""[..])));
        assert!(!vm.is_idle());
        let mut found = Vec::new();
        while found.is_empty() {
            vm.pass(10);
            assert!(vm.now.0 - failed.0 < 20_000, "never again after {failure:?}");
            found = revocations(&mut vm);
        }
        assert_eq!((found.len(), &found[0].1), (1, &good().text()));
        pauses.push(vm.now.0 - failed.0);
        id = found[0].0;
    }
    assert!(pauses[0] >= 100 && pauses.windows(2).all(|pair| pair[1] >= pair[0]), "it backs off: {pauses:?}");
    vm.reply(id, Ok((200, b"")));
    assert!(vm.is_idle() && revocations_counted(&vm, "revoked") == 1);
    vm.pass(30_000);
    assert!(vm.take_calls().is_empty());
}

#[test]
fn a_revocation_is_repeated_while_our_credential_may_be_changing() {
    for (status, body) in [(400, r#"{"error":"invalid_client"}"#), (401, ""), (404, ""), (302, "")] {
        let mut vm = vm();
        let stream = elevated(&mut vm, &call());
        vm.gone(stream);
        let (id, token) = only_revocation(&mut vm);
        vm.reply(id, Ok((status, body.as_bytes())));
        assert!(!vm.is_idle(), "{status} {body}");
        vm.pass(1_000);
        let (id, again) = only_revocation(&mut vm);
        assert_eq!(token, again);
        vm.reply(id, Ok((200, b"")));
        assert!(vm.is_idle(), "{status} {body}");
    }
}

#[test]
fn a_revocation_ends_where_the_service_says_so() {
    for (status, body, outcome) in [
        (200, "", "revoked"),
        (200, "{}", "revoked"),
        (204, "", "revoked"),
        (400, r#"{"error":"unsupported_token_type"}"#, "unsupported"),
        (403, "", "refused"),
    ] {
        let mut vm = vm();
        let stream = elevated(&mut vm, &call());
        vm.gone(stream);
        let (id, _) = only_revocation(&mut vm);
        vm.reply(id, Ok((status, body.as_bytes())));
        assert!(vm.is_idle(), "{status} {body}");
        assert_eq!(revocations_counted(&vm, outcome), 1, "{status} {body}");
        vm.pass(70_000);
        assert!(vm.take_calls().is_empty());
    }
}

#[test]
fn a_revocation_is_made_without_the_callers_trace_where_that_may_be_what_is_refused() {
    for (status, body, ends) in [
        (400, r#"{"error":"invalid_request"}"#, true),
        (400, "x", false),
        (413, "", false),
        (414, "", false),
        (431, "", false),
    ] {
        let mut vm = vm();
        let stream = elevated(&mut vm, &call());
        vm.gone(stream);
        let calls = vm.take_calls();
        let names = |call: &Call| call.headers.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        assert!(names(&calls[0].1).contains(&"x-request-id"));
        vm.reply(calls[0].0, Ok((status, body.as_bytes())));
        vm.pass(20);
        let again = vm.take_calls();
        assert_eq!(again.len(), 1, "{status} {body}: at once");
        assert!(!names(&again[0].1).contains(&"x-request-id"));
        vm.reply(again[0].0, Ok((status, body.as_bytes())));
        assert_eq!(vm.is_idle(), ends, "{status} {body}: the token is not known to be dead");
        if !ends {
            vm.pass(1_000);
            let (id, _) = only_revocation(&mut vm);
            vm.reply(id, Ok((200, b"")));
            assert!(vm.is_idle() && revocations_counted(&vm, "revoked") == 1);
        }
    }
}

#[test]
fn only_a_trace_of_its_grammar_and_a_short_request_id_are_passed_on() {
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let long = format!("{trace}-{}", "a".repeat(16_000));
    for (name, value, passed) in [
        ("traceparent", trace, true),
        ("traceparent", long.as_str(), false),
        ("traceparent", "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
        ("traceparent", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
        ("traceparent", "00-00000000000000000000000000000000-b7ad6b7169203331-01", false),
        ("traceparent", "x", false),
        ("x-request-id", &"r".repeat(128), true),
        ("x-request-id", &"r".repeat(129), false),
        ("x-request-id", "a b", false),
    ] {
        let mut vm = vm();
        let stream = begin(&mut vm, &call().header(name, value));
        let calls = vm.take_calls();
        let found = calls[0].1.headers.iter().any(|(header, sent)| *header == name && sent.reveal() == value);
        assert_eq!(found, passed, "{name}: {value}");
        vm.gone(stream);
    }
}

#[test]
fn what_an_unreadable_answer_has_minted_is_taken_back_or_counted_as_lost() {
    let minted = good().text();
    for (body, taken, outcome) in [
        (format!(r#"{{"access_token":"{minted}","a":1,"a":2}}"#), true, "elevation_unavailable"),
        (format!("\u{feff}{{\"access_token\":\"{minted}\"}}"), true, "elevation_unavailable"),
        (format!(r#"{{"access_token": "{minted}","expires_in":1e999}}"#), true, "elevation_unavailable"),
        (format!(r#"{{"access_token": "{minted}""#), true, "elevation_unavailable"),
        (r#"{"access_token":"#.to_owned(), false, "lost"),
        (String::new(), false, "elevation_unavailable"),
    ] {
        let mut vm = vm();
        let (stream, id) = exchange(&mut vm, &call());
        vm.reply(id, Ok((200, body.as_bytes())));
        assert_refused(&vm.settled(stream), 503, 50300, "elevation_unavailable", &body);
        let revoked: Vec<String> = revocations(&mut vm).into_iter().map(|(_, token)| token).collect();
        assert_eq!(revoked, if taken { vec![minted.clone()] } else { Vec::new() }, "{body}");
        assert_eq!(exchanges_counted(&vm, outcome), 1, "{body}");
    }
}

#[test]
fn calls_that_the_host_refuses_are_not_all_tried_in_one_callback() {
    let mut vm = Vm::new(&load(&with(
        plain(),
        "/limits",
        json!({ "exchanges": 1000, "exchanges_per_caller": 1000, "exchange_rate": 1000 }),
    )));
    let streams: Vec<_> =
        (0..200).map(|n| elevated_with(&mut vm, &call(), &good().claim("jti", format!("e-{n}")).text())).collect();
    let now = vm.now;
    for stream in streams {
        vm.gone(stream);
    }
    let refused = revocations(&mut vm);
    for (id, _) in refused {
        vm.reply(id, Err(CallFault::Refused));
    }
    assert_eq!((vm.now, revocations(&mut vm).len()), (now, 0), "not again before the next tick");
}

#[test]
fn a_service_that_is_down_is_asked_seldom_and_what_failed_together_comes_back_apart() {
    let mut vm = Vm::new(&load(&with(
        plain(),
        "/limits",
        json!({ "exchanges": 1000, "exchanges_per_caller": 1000, "exchange_rate": 1000 }),
    )));
    let streams: Vec<_> =
        (0..50).map(|n| elevated_with(&mut vm, &call(), &good().claim("jti", format!("e-{n}")).text())).collect();
    for stream in streams {
        vm.gone(stream);
    }
    let mut asked = 0;
    for _ in 0..600 {
        for (id, _) in revocations(&mut vm) {
            asked += 1;
            vm.reply(id, Ok((503, b"")));
        }
        vm.pass(100);
    }
    // All at once at first, before anybody knows; then four a second at most.
    assert!((54..=50 + 4 * 61).contains(&asked), "{asked}");
    assert!(!vm.is_idle() || revocations_counted(&vm, "expired") == 50);
}

#[test]
fn a_token_is_given_up_at_its_exp_and_not_before() {
    let mut vm = vm();
    let stream = elevated(&mut vm, &call());
    vm.gone(stream);
    let mut last = vm.now;
    for _ in 0..1_000 {
        for (id, _) in revocations(&mut vm) {
            last = vm.now;
            vm.reply(id, Ok((503, b"")));
        }
        vm.pass(100);
    }
    assert!(last.0 > NOW.0 + 45_000 && last.0 <= NOW.0 + 60_000, "{last:?}");
    assert!(vm.is_idle());
    assert_eq!(revocations_counted(&vm, "expired"), 1);
}

#[test]
fn a_token_is_never_in_two_revocations_at_a_time() {
    let mut vm = vm();
    let stream = elevated(&mut vm, &call());
    vm.gone(stream);
    let (id, _) = only_revocation(&mut vm);
    // The host answers within the call's timeout of two seconds.
    for _ in 0..20 {
        vm.pass(100);
        vm.gone(stream);
        assert!(vm.take_calls().is_empty());
    }
    vm.reply(id, Err(CallFault::Unanswered));
    vm.pass(1_000);
    only_revocation(&mut vm);
}

#[test]
fn a_revocation_that_the_host_forgets_does_not_stay_for_ever() {
    let mut vm = vm();
    let stream = elevated(&mut vm, &call());
    vm.gone(stream);
    only_revocation(&mut vm);
    vm.pass(600_000);
    assert!(vm.is_idle(), "the token has been dead for nine minutes");
}

#[test]
fn what_was_not_believed_is_revoked_with_the_same_patience() {
    let mut vm = vm();
    let (_, id) = exchange(&mut vm, &call());
    // Its `exp` is as little believed as the rest.
    grant(&mut vm, id, &good().claim("exp", START - 1).claim("iat", START - 60).text());
    let (id, _) = only_revocation(&mut vm);
    vm.reply(id, Ok((503, b"")));
    vm.pass(1_000);
    let (id, _) = only_revocation(&mut vm);
    vm.reply(id, Ok((200, b"")));
    assert!(vm.is_idle());
}

#[test]
fn a_token_service_that_does_not_accept_the_filter_is_a_fault_and_one_line_a_minute() {
    let mut vm = vm();
    let refused = |vm: &mut Vm| {
        let (stream, id) = exchange(vm, &call());
        say(vm, id, 401, &json!({ "error": "invalid_client" }));
        vm.settled(stream).assert_refused(503, "filter_not_accepted");
        vm.logs.iter().filter(|line| line.contains("does not accept this filter")).count()
    };
    let lines = [0, 30_000, 31_000].map(|pause| {
        vm.pass(pause);
        refused(&mut vm)
    });
    assert_eq!(lines, [1, 1, 2]);
    let faults = vm.metrics.iter().filter(|metric| metric.name() == "stepup_faults_total;kind=filter_not_accepted");
    assert_eq!(faults.count(), 4, "one shows it before the first");
}

/// The token service fails every revocation for so many seconds.
fn failing_to_revoke(vm: &mut Vm, seconds: i64) {
    let end = vm.now.seconds() + seconds;
    while vm.now.seconds() < end {
        for (id, _) in revocations(vm) {
            vm.reply(id, Ok((503, b"")));
        }
        vm.pass(11_000);
    }
}

#[test]
fn a_refused_token_that_lives_for_longer_is_tried_for_longer() {
    let mut vm = vm();
    let (stream, id) = exchange(&mut vm, &call());
    grant(&mut vm, id, &good().claim("exp", START + 3_600).text());
    vm.settled(stream).assert_refused(503, "elevated_lifetime");
    failing_to_revoke(&mut vm, 3_500);
    let (id, _) = only_revocation(&mut vm);
    vm.reply(id, Ok((200, b"")));
    assert!(vm.is_idle());
    assert_eq!(revocations_counted(&vm, "revoked"), 1);
}

#[test]
fn what_does_not_say_when_it_dies_is_given_up_after_a_day() {
    let mut vm = vm();
    let (_, id) = exchange(&mut vm, &call());
    let mut body = answer(&good().text());
    body["refresh_token"] = json!("for-ever");
    say(&mut vm, id, 200, &body);
    failing_to_revoke(&mut vm, 23 * 3_600);
    assert_eq!((revocations_counted(&vm, "expired"), revocations_counted(&vm, "given_up")), (1, 0));
    failing_to_revoke(&mut vm, 2 * 3_600);
    assert_eq!((revocations_counted(&vm, "expired"), revocations_counted(&vm, "given_up")), (1, 1));
    assert!(vm.is_idle());
}

// Deadlines.

#[test]
fn the_client_is_answered_in_time_and_a_late_token_is_revoked() {
    let mut vm = vm();
    let (stream, id) = exchange(&mut vm, &call());
    vm.pass(1_900);
    assert!(!vm.is_settled(stream));
    vm.pass(200);
    assert_refused(&vm.settled(stream), 503, 50300, "elevation_unavailable", "timeout");
    assert!(!vm.is_idle(), "the call is still open");
    vm.pass(10_000);
    let late = fresh(&vm, "late").text();
    grant(&mut vm, id, &late);
    assert_eq!(vm.elevated(stream), None);
    let (id, token) = only_revocation(&mut vm);
    assert_eq!((token, exchanges_counted(&vm, "late")), (late, 1));
    vm.reply(id, Ok((200, b"")));
    assert!(vm.is_idle());
}

#[test]
fn a_token_that_comes_late_and_is_not_believed_is_revoked_too() {
    let mut vm = vm();
    let (_, id) = exchange(&mut vm, &call());
    vm.pass(5_000);
    let mut body = answer("opaque");
    body["refresh_token"] = json!("refresh-1");
    say(&mut vm, id, 200, &body);
    assert_eq!(revoked(&mut vm), ["opaque", "refresh-1"]);
}

#[test]
fn the_wait_of_an_elevation_has_a_bound_of_its_own() {
    let document = with(plain(), "/token_service/timeout", json!("20s"));
    let mut vm = Vm::new(&load(&document));
    let (stream, _) = exchange(&mut vm, &call());
    vm.pass(4_900);
    assert!(!vm.is_settled(stream));
    vm.pass(200);
    vm.settled(stream).assert_refused(503, "elevation_unavailable");
}

#[test]
fn the_client_is_answered_in_time_whenever_it_asked() {
    for offset in [1, 250, 500, 999] {
        let mut vm = vm();
        vm.pass(offset);
        let (stream, _) = exchange(&mut vm, &call());
        vm.pass(2_100);
        assert!(vm.is_settled(stream), "{offset}: the timeout is two seconds");
    }
}

#[test]
fn the_client_is_answered_in_time_while_another_answer_is_late() {
    let mut vm = vm();
    exchange(&mut vm, &call());
    vm.pass(3_300);
    let (stream, _) = exchange(&mut vm, &call());
    vm.pass(2_100);
    assert!(vm.is_settled(stream), "the timeout is two seconds");
}

#[test]
fn one_token_under_two_names_is_revoked_once() {
    let mut vm = vm();
    let (_, id) = exchange(&mut vm, &call());
    let mut body = answer(&good().text());
    body["refresh_token"] = json!(good().text());
    say(&mut vm, id, 200, &body);
    assert_eq!(revoked(&mut vm), [good().text()]);
}

#[test]
fn a_late_answer_without_a_token_is_a_lost_one_where_the_proxy_made_it() {
    // Envoy calls back with 504 when its patience ends; a service that says no has minted nothing.
    for (status, body, outcome) in [(504, "", "lost"), (400, r#"{"error":"invalid_target"}"#, "elevation_refused")] {
        let mut vm = vm();
        let (stream, id) = exchange(&mut vm, &call());
        vm.pass(20_000);
        assert!(vm.is_settled(stream));
        vm.reply(id, Ok((status, body.as_bytes())));
        assert_eq!((exchanges_counted(&vm, outcome), exchanges_counted(&vm, "late")), (1, 0));
        assert!(vm.take_calls().is_empty() && vm.is_idle());
    }
}

#[test]
fn a_call_that_nobody_answers_is_forgotten_and_counted() {
    let mut vm = vm();
    let (stream, id) = exchange(&mut vm, &call());
    vm.pass(31_000);
    assert!(vm.is_settled(stream) && !vm.is_idle(), "it may still come");
    vm.pass(10_000);
    assert!(vm.is_idle());
    assert_eq!((exchanges_counted(&vm, "lost"), exchanges_counted(&vm, "late")), (1, 0));
    let late = fresh(&vm, "e-1").text();
    grant(&mut vm, id, &late);
    assert_eq!(vm.elevated(stream), None, "nobody waits any more");
}

// Shadow.

#[test]
fn p15_in_shadow_nothing_is_exchanged() {
    let shadow = |document| with(with(document, "/mode", json!("shadow")), "/until", json!("2027-03-01"));
    let here = || exchanging(json!({ "audience": null }));
    let mut vm = Vm::new(&load(&shadow(here())));
    let settled = vm.send(&call().header("dpop", "proof"));
    assert!(settled.removed().is_empty(), "the caller's own token goes, with its proof");
    assert_eq!(settled.record["would"], json!({ "verdict": "elevate", "reason": "elevated" }));
    assert_eq!((&settled.record["verdict"], &settled.record["mode"]), (&json!("permit"), &json!("shadow")));
    assert!(vm.take_calls().is_empty());
    // To another audience the caller's token must not go.
    let mut vm = Vm::new(&load(&shadow(plain())));
    let settled = vm.send(&call());
    settled.assert_refused(403, "shadow_cannot_exchange");
    assert_eq!((settled.answer().code(), settled.challenge()), (Some(40301), None));
    assert!(vm.take_calls().is_empty() && vm.is_idle());
}

/// A rule of the same audience as the caller's token, and one of another, in shadow.
fn in_shadow(more: &Json, scope: &str) -> [Settled; 2] {
    [json!(null), json!(ADMIN)].map(|audience| {
        let mut rule = more.clone();
        rule["audience"] = audience;
        let document = with(with(exchanging(rule), "/mode", json!("shadow")), "/until", json!("2027-03-01"));
        let mut vm = Vm::new(&load(&document));
        let settled = vm.send(&call().bearer(&token(scope)));
        assert!(vm.take_calls().is_empty());
        settled
    })
}

#[test]
fn p15_eligibility_and_standing_are_verdicts_of_the_policy() {
    let mut refused = Vec::new();
    for (rule, scope, reason) in [
        (json!({ "may_elevate": { "client": "x" } }), BASELINE, "not_eligible"),
        (json!({ "standing": "refuse" }), "mcp:connect repo:admin", "standing_privilege"),
        (json!({}), "other", "scope_missing"),
        (json!({ "deny": true }), BASELINE, "denied"),
    ] {
        let [here, _] = in_shadow(&rule, scope);
        if !here.is_forwarded() || here.record["would"]["reason"] != reason {
            refused.push(here.reason().to_owned());
        }
    }
    assert!(refused.is_empty(), "enforced in shadow mode: {refused:?}");
}

#[test]
fn p15_the_callers_token_never_goes_to_another_audience() {
    let mut forwarded = Vec::new();
    for (rule, scope) in [
        (json!({ "may_elevate": { "client": "x" } }), BASELINE),
        (json!({ "standing": "refuse" }), "mcp:connect repo:admin"),
        (json!({}), "other"),
        (json!({ "max_lifetime": "1m" }), BASELINE),
        (json!({ "deny": true }), BASELINE),
    ] {
        let [_, elsewhere] = in_shadow(&rule, scope);
        if elsewhere.is_forwarded() {
            forwarded.push(elsewhere.record["would"]["reason"].clone());
        }
    }
    assert!(forwarded.is_empty(), "enforcement would refuse, and so must shadow: {forwarded:?}");
}

#[test]
fn p15_a_token_of_the_filter_itself_is_refused_in_shadow_too() {
    let document = with(with(plain(), "/mode", json!("shadow")), "/until", json!("2027-03-01"));
    let own = Token::new(BASELINE).claim("client_id", FILTER).text();
    Vm::new(&load(&document)).send(&call().bearer(&own)).assert_refused(401, "own_token_presented");
}

// Whatever the order of events.

/// One thing that happens; numbers choose among what there is.
#[derive(Clone, Copy, Debug)]
enum Event {
    Head { caller: usize, modern: bool },
    Body(usize),
    Exchange { which: usize, how: u8 },
    Revocation { which: usize, how: u8 },
    ResponseHead { which: usize, how: u8 },
    Chunk { which: usize, how: u8 },
    Gone(usize),
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let which = 0..8_usize;
    prop_oneof![
        4 => (0..3_usize, any::<bool>()).prop_map(|(caller, modern)| Event::Head { caller, modern }),
        4 => which.clone().prop_map(Event::Body),
        5 => (which.clone(), 0..10_u8).prop_map(|(which, how)| Event::Exchange { which, how }),
        3 => (which.clone(), 0..5_u8).prop_map(|(which, how)| Event::Revocation { which, how }),
        3 => (which.clone(), 0..5_u8).prop_map(|(which, how)| Event::ResponseHead { which, how }),
        3 => (which.clone(), 0..5_u8).prop_map(|(which, how)| Event::Chunk { which, how }),
        1 => which.prop_map(Event::Gone),
        3 => prop_oneof![0..300_u64, 300..6_000_u64, 30_000..40_000_u64].prop_map(Event::Pass),
    ]
}

/// A token that reached the gate.
struct Minted {
    stream: StreamId,
    good: bool,
    expires: i64,
    /// Calls that revoke it and have no answer yet.
    open: usize,
    /// Answers that ended it.
    ended: usize,
}

/// The world around one gate, which keeps account of every token.
struct World {
    vm: Vm,
    streams: Vec<(StreamId, Request)>,
    callers: BTreeMap<StreamId, String>,
    /// With the moment at which the host gives them up.
    exchanges: Vec<(CallId, StreamId, Millis)>,
    revocations: Vec<(CallId, String, Millis)>,
    minted: BTreeMap<String, Minted>,
}

fn pick<T>(list: &[T], which: usize) -> Option<usize> {
    (!list.is_empty()).then(|| which % list.len())
}

impl World {
    fn new() -> World {
        World {
            vm: lingering(),
            streams: Vec::new(),
            callers: BTreeMap::new(),
            exchanges: Vec::new(),
            revocations: Vec::new(),
            minted: BTreeMap::new(),
        }
    }

    fn happen(&mut self, event: Event) {
        let mut body_of = None;
        match event {
            Event::Head { caller: number, modern } => {
                let own = caller(number);
                let request = if modern { modern_call() } else { call() }.bearer(&own);
                let stream = self.vm.head(&request);
                self.callers.insert(stream, own);
                self.streams.push((stream, request));
            }
            Event::Body(which) => {
                if let Some(at) = pick(&self.streams, which) {
                    let (stream, request) = &self.streams[at];
                    self.vm.body(*stream, request.body());
                    body_of = Some(*stream);
                }
            }
            Event::Exchange { which, how } => {
                if let Some(at) = pick(&self.exchanges, which) {
                    let (id, stream, until) = self.exchanges.swap_remove(at);
                    self.answer(id, stream, if self.vm.now < until { how } else { 9 });
                }
            }
            Event::Revocation { which, how } => {
                if let Some(at) = pick(&self.revocations, which) {
                    let (id, token, _) = self.revocations.swap_remove(at);
                    self.confirm(id, &token, how);
                }
            }
            Event::ResponseHead { which, how } => {
                if let Some(stream) = self.forwarded(which) {
                    let (status, kind, end) = [
                        (200, JSON, false),
                        (200, EVENTS, false),
                        (200, JSON, true),
                        (401, None, false),
                        (500, None, true),
                    ][usize::from(how)];
                    self.vm.response_head(stream, status, kind, end);
                }
            }
            Event::Chunk { which, how } => {
                if let Some(stream) = self.forwarded(which) {
                    let chunks: [(&[u8], bool); 5] = [
                        (b"data: {\"id\":7,\"res", false),
                        (b"ult\":{}}\n\n", false),
                        (b"data: {\"id\":7,\"result\":{}}\r\n\r\n", false),
                        (b"data: {\"id\":8,\"result\":{}}\n\n", false),
                        (b"", true),
                    ];
                    let (bytes, end) = chunks[usize::from(how)];
                    self.vm.response_chunk(stream, bytes, end);
                }
            }
            Event::Gone(which) => {
                if let Some(at) = pick(&self.streams, which) {
                    let (stream, _) = self.streams.swap_remove(at);
                    self.vm.gone(stream);
                }
            }
            Event::Pass(millis) => self.pass(millis),
        }
        self.account(body_of);
    }

    /// The host gives up a revocation at its timeout. It may forget an exchange altogether.
    fn pass(&mut self, millis: u64) {
        for step in std::iter::repeat_n(500, usize::try_from(millis / 500).unwrap()).chain([millis % 500]) {
            self.vm.pass(step);
            self.account(None);
            while let Some(at) = self.revocations.iter().position(|(.., until)| *until <= self.vm.now) {
                let (id, token, _) = self.revocations.swap_remove(at);
                self.confirm(id, &token, 4);
                self.account(None);
            }
        }
    }

    /// A stream that is upstream; responses come on no other.
    fn forwarded(&self, which: usize) -> Option<StreamId> {
        let upstream: Vec<StreamId> = self
            .streams
            .iter()
            .map(|(stream, _)| *stream)
            .filter(|stream| self.vm.elevated(*stream).is_some())
            .collect();
        pick(&upstream, which).map(|at| upstream[at])
    }

    fn answer(&mut self, id: CallId, stream: StreamId, how: u8) {
        let number = self.minted.len();
        let token = fresh(&self.vm, &format!("e-{number}"));
        let text = match how {
            0..=3 => token.text(),
            4 => token.claim("aud", RESOURCE).text(),
            5 => token.claim("scope", "repo:admin mcp:connect").text(),
            6 => format!("opaque-{number}"),
            7 => {
                grant(&mut self.vm, id, &self.callers[&stream].clone());
                return;
            }
            8 => {
                say(&mut self.vm, id, 400, &json!({ "error": "invalid_grant" }));
                return;
            }
            _ => {
                self.vm.reply(id, Err(CallFault::Unanswered));
                return;
            }
        };
        let expires = self.vm.now.seconds() + if how < 4 { 60 } else { 300 };
        self.minted.insert(text.clone(), Minted { stream, good: how < 4, expires, open: 0, ended: 0 });
        grant(&mut self.vm, id, &text);
    }

    fn confirm(&mut self, id: CallId, token: &str, how: u8) {
        let minted = self.minted.get_mut(token).expect("only what was minted is revoked");
        minted.open -= 1;
        minted.ended += usize::from(how < 3);
        match how {
            0 | 1 => self.vm.reply(id, Ok((200, b""))),
            2 => self.vm.reply(id, Ok((400, br#"{"error":"unsupported_token_type"}"#))),
            3 => self.vm.reply(id, Ok((503, b""))),
            _ => self.vm.reply(id, Err(CallFault::Unanswered)),
        }
    }

    /// What must hold after every event.
    fn account(&mut self, body_of: Option<StreamId>) {
        for (id, call) in self.vm.take_calls() {
            let fields = form(&call);
            if let Some(token) = fields.get("token") {
                assert!(!self.callers.values().any(|own| own == token), "a caller was logged out");
                let minted = self.minted.get_mut(token).expect("only what was minted is revoked");
                assert_eq!((minted.open, minted.ended), (0, 0), "revoked once more");
                minted.open += 1;
                self.revocations.push((id, token.clone(), self.vm.now.plus(call.timeout)));
            } else {
                let stream = body_of.expect("an exchange begins with a body");
                assert_eq!(fields["subject_token"], self.callers[&stream]);
                self.exchanges.push((id, stream, self.vm.now.plus(call.timeout)));
            }
        }
        for stream in self.callers.keys().copied().filter(|stream| self.vm.is_settled(*stream)) {
            match self.vm.elevated(stream) {
                Some(authorization) => {
                    let token = authorization.strip_prefix("Bearer ").expect("a bearer token");
                    let minted = self.minted.get(token).expect("minted");
                    assert!(minted.good && minted.stream == stream, "the token of another");
                }
                None => assert!(!self.vm.settled(stream).is_forwarded(), "the caller's own token went upstream"),
            }
        }
    }

    /// Everybody leaves, the token service is well again.
    fn end(&mut self) {
        while !self.streams.is_empty() {
            self.happen(Event::Gone(0));
        }
        for _ in 0..60 {
            self.happen(Event::Pass(1_000));
            while !self.revocations.is_empty() {
                self.happen(Event::Revocation { which: 0, how: 0 });
            }
        }
        let now = self.vm.now.seconds();
        for (token, minted) in &self.minted {
            let what = if minted.good { "good" } else { "bad" };
            assert!(minted.ended == 1 || minted.expires <= now, "a {what} token is left alive: {token}");
        }
        assert!(self.vm.is_idle());
        let known: usize =
            ["revoked", "unsupported", "expired"].map(|end| revocations_counted(&self.vm, end)).iter().sum();
        assert_eq!(known, self.minted.len(), "minted = revoked");
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn every_token_is_taken_back_whatever_the_order_of_events(events in prop::collection::vec(event(), 1..60)) {
        let mut world = World::new();
        for event in events {
            world.happen(event);
        }
        world.end();
    }

    #[test]
    fn nothing_but_exactly_what_was_asked_for_is_forwarded(
        changes in prop::collection::vec((0..12_usize, prop::sample::select(vec![
            Json::Null, json!(""), json!("x"), json!(0), json!(-1), json!(START), json!(START + 60), json!(START + 61),
            json!(u64::MAX), json!(1e300), json!([]), json!({}), json!([ADMIN]), json!(ADMIN), json!(RESOURCE),
            json!(ISSUER), json!(FILTER), json!("alice"), json!("repo:admin"), json!("repo:admin x"), json!("repo:read"),
        ])), 0..3),
    ) {
        let names = ["iss", "aud", "sub", "client_id", "azp", "jti", "iat", "exp", "nbf", "scope", "act", "cnf"];
        let mut claims = json!({
            "iss": ISSUER, "aud": ADMIN, "sub": "alice", "client_id": FILTER, "iat": START, "exp": START + 60,
            "scope": "repo:admin",
        });
        let mut token = good();
        for (name, value) in changes {
            claims[names[name]] = value.clone();
            token = token.claim(names[name], value);
        }
        let text = token.text();
        let mut vm = vm();
        let (stream, id) = exchange(&mut vm, &call());
        grant(&mut vm, id, &text);
        if vm.elevated(stream).is_some() {
            prop_assert_eq!(&claims["iss"], ISSUER);
            prop_assert!(claims["aud"] == ADMIN || claims["aud"] == json!([ADMIN]));
            prop_assert_eq!(&claims["sub"], "alice");
            prop_assert!(claims["client_id"] == FILTER || claims["azp"] == FILTER);
            prop_assert_eq!(&claims["scope"], "repo:admin");
            let (issued, expires) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
            prop_assert!(expires - issued <= 60 && expires > START);
            prop_assert!(claims.get("cnf").is_none());
        } else {
            prop_assert!(!vm.settled(stream).is_forwarded());
            prop_assert_eq!(revoked(&mut vm), [text]);
        }
    }
}
