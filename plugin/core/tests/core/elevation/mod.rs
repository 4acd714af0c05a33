//! Elevation: what is asked of the token service, what of its answers is believed, and that every token it mints is
//! taken back. Rows and points are those of the design and of the policy language.

mod answers;
mod checks;
mod conditions;
mod deadlines;
mod dialect;
mod eligibility;
mod ends;
mod limits;
mod operation;
mod properties;
mod revocation;
mod shadow;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use step_up_core::Metric;
use step_up_core::{Call, CallFault, CallId, Millis, StreamId};
use step_up_core::{Environment, Policy};

use crate::support::*;

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
    vm.metrics
        .iter()
        .filter(|metric| matches!(metric, Metric::Exchange { outcome, .. } if outcome.name() == wanted))
        .count()
}

fn revocations_counted(vm: &Vm, wanted: &str) -> usize {
    vm.metrics
        .iter()
        .filter(|metric| matches!(metric, Metric::Revocation { outcome } if outcome.name() == wanted))
        .count()
}

#[track_caller]
fn assert_refused(settled: &Settled, status: u16, code: i64, reason: &str, what: &str) {
    settled.assert_refused(status, reason);
    let answer = settled.answer();
    assert_eq!(answer.code(), Some(code), "{what}");
    assert_eq!(answer.json()["id"], 7, "{what}");
    // P28: nobody is told to come again for what waiting does not heal.
    let lasting =
        ["filter_not_accepted", "elevated_audience", "elevated_lifetime", "granted_too_wide"].contains(&reason);
    if reason != "elevated_signature" {
        assert_eq!(answer.header("retry-after").is_some(), status == 503 && !lasting, "{what}");
    }
    assert_eq!(settled.challenge().is_some(), status == 401, "{what}");
}

/// A second issuer, whose key is the other one.
fn partnered_document() -> Json {
    let mut document = plain();
    document["issuers"][PARTNER] = json!({ "keys": { "keys": [other_key().jwk()] }, "algorithms": ["EdDSA"] });
    document
}
