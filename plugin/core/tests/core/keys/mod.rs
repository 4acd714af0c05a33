//! Keys: one fetcher for the process, everybody else reads; what happens while there are none; rotation; deadlines.

mod cold_start;
mod deadlines;
mod failures;
mod memory;
mod rotation;
mod strangers;
mod waiting;

use std::rc::Rc;

use serde_json::{Value as Json, json};
use step_up_core::Metric;
use step_up_core::Policy;
use step_up_core::{BodyFault, CallFault, CallId, Millis, StreamId};

use crate::support::*;

/// A policy whose issuer publishes its keys.
fn fetched() -> Json {
    let url = "https://as.example.com/jwks?v=1";
    let jwks = json!({ "cluster": "as-keys", "url": url, "refresh": "5m", "stale": "1h" });
    let issuer = json!({ ISSUER: { "jwks": jwks, "algorithms": ["EdDSA"] } });
    with(document(json!({ "get": { "scope": [] } })), "/issuers", issuer)
}

fn policy() -> Rc<Policy> {
    load(&fetched())
}

fn jwks(keys: &[Json]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

/// What the issuer publishes before its rotation.
fn old_keys() -> Vec<u8> {
    jwks(&[key().jwk()])
}

/// And after it.
fn new_keys() -> Vec<u8> {
    jwks(&[other_key().jwk()])
}

/// A token that outlives every test.
fn lasting() -> Token {
    Token::new(BASELINE).claim("exp", START + 100_000)
}

fn call() -> Request {
    Request::call("get").bearer(&lasting().text())
}

/// A call with a token of the key after the rotation.
fn new_call() -> Request {
    Request::call("get").bearer(&lasting().signed_by(other_key()))
}

fn unknown_kid(n: usize) -> Request {
    Request::call("get").bearer(&lasting().header("kid", format!("random-{n}")).text())
}

/// VMs that have the old keys, a while after they were fetched: so long that another fetch is allowed.
fn warm(vms: u8) -> Process {
    let mut process = Process::new(&policy(), vms);
    process.pass(100);
    process.publish(&old_keys());
    process.pass(31_000);
    assert!(process.take_calls().is_empty());
    process
}

fn fetches(vm: &Vm, wanted: &str) -> usize {
    let is_it = |metric: &&Metric| matches!(metric, Metric::JwksFetch { outcome, .. } if outcome.name() == wanted);
    vm.metrics.iter().filter(is_it).count()
}

fn with_limits(limits: Json) -> Rc<Policy> {
    load(&with(fetched(), "/limits", limits))
}
