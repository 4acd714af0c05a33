//! Keys: one fetcher for the process, everybody else reads; what happens while there are none; rotation; deadlines.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

mod support;

use std::rc::Rc;

use serde_json::{Value as Json, json};
use step_up_core::Metric;
use step_up_core::Policy;
use step_up_core::{BodyFault, CallFault, CallId, Millis, StreamId};
use support::*;

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
    let is_it = |metric: &&Metric| matches!(metric, Metric::JwksFetch { outcome, .. } if *outcome == wanted);
    vm.metrics.iter().filter(is_it).count()
}

// Cold start.

#[test]
fn a_cold_start_costs_one_call_in_the_whole_process() {
    let mut process = Process::new(&policy(), 3);
    process.pass(100);
    let (vm, id, call) = process.only_call();
    assert_eq!((call.cluster.as_str(), call.method), ("as-keys", "GET"));
    assert_eq!((call.authority.as_str(), call.path.as_str()), ("as.example.com", "/jwks?v=1"));
    assert!((1..5_000).contains(&call.timeout), "the lease must outlast the call");
    process.pass(500);
    assert!(process.take_calls().is_empty(), "the others wait for the one that fetches");
    process.vms[vm].reply(id, Ok((200, &old_keys())));
    process.pass(60_000);
    assert!(process.take_calls().is_empty());
}

#[test]
fn the_first_requests_wait_and_are_released_when_the_keys_come() {
    let mut process = Process::new(&policy(), 3);
    let streams: Vec<StreamId> = process.vms.iter_mut().map(|vm| vm.head(&call())).collect();
    process.pass(500);
    for (vm, stream) in process.vms.iter().zip(&streams) {
        assert!(!vm.is_settled(*stream) && !vm.wants_body(*stream));
    }
    process.publish(&old_keys());
    process.pass(100);
    for (vm, stream) in process.vms.iter_mut().zip(&streams) {
        vm.body(*stream, call().body());
        vm.settled(*stream).assert_forwarded();
    }
}

#[test]
fn the_fetching_vm_releases_its_requests_with_the_reply_itself() {
    let mut process = Process::new(&policy(), 1);
    let get = Request::bare("GET", "/mcp").bearer(&lasting().text());
    let stream = process.vms[0].head(&get);
    process.pass(100);
    process.publish(&old_keys());
    process.vms[0].settled(stream).assert_forwarded();
}

#[test]
fn what_needs_no_key_does_not_wait_for_one() {
    let mut process = Process::new(&policy(), 1);
    let vm = &mut process.vms[0];
    for (request, status, reason) in [
        (Request::call("get"), 401, "token_missing"),
        (call().bearer("x"), 401, "token_malformed"),
        (call().bearer(&Token::new(BASELINE).claim("exp", START - 100).text()), 401, "token_expired"),
        (call().bearer(&Token::new(BASELINE).claim("aud", "https://other").text()), 401, "audience_mismatch"),
        (call().bearer(&Token::new(BASELINE).claim("iss", "https://other").text()), 401, "issuer_unknown"),
        (call().header(":path", "/other"), 404, "unknown_path"),
        (Request::bare("GET", "/.well-known/oauth-protected-resource"), 200, "metadata"),
    ] {
        let stream = vm.head(&request);
        vm.settled(stream).assert_refused(status, reason);
    }
}

#[test]
fn without_keys_a_request_is_answered_503_when_keys_wait_is_over() {
    let mut process = Process::new(&with_limits(json!({ "keys_wait": "2s" })), 1);
    let stream = process.vms[0].head(&call());
    process.pass(1_999);
    assert!(!process.vms[0].is_settled(stream));
    process.pass(60);
    let settled = process.vms[0].settled(stream);
    settled.assert_refused(503, "keys_unavailable");
    let answer = settled.answer();
    assert_eq!((answer.code(), answer.json().get("id"), settled.challenge()), (Some(50300), None, None));
    assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
}

fn with_limits(limits: Json) -> Rc<Policy> {
    load(&with(fetched(), "/limits", limits))
}

#[test]
fn a_fetch_that_fails_at_the_start_is_repeated_once_a_second() {
    let mut process = Process::new(&policy(), 3);
    let mut calls = 0;
    for _ in 0..100 {
        process.pass(100);
        for (vm, id, _) in process.take_calls() {
            calls += 1;
            process.vms[vm].reply(id, Err(CallFault::Unanswered));
        }
    }
    assert!((8..=10).contains(&calls), "{calls} calls in ten seconds");
    process.pass(1_000);
    process.publish(&old_keys());
    process.vms[0].send(&call()).assert_forwarded();
}

#[test]
fn a_request_waits_through_a_failed_fetch() {
    let mut process = Process::new(&policy(), 1);
    let stream = process.vms[0].head(&call());
    process.pass(100);
    process.answer(Ok((500, b"")));
    assert!(!process.vms[0].is_settled(stream));
    process.pass(1_100);
    process.publish(&old_keys());
    process.vms[0].body(stream, call().body());
    process.vms[0].settled(stream).assert_forwarded();
}

#[test]
fn a_request_that_finds_the_keys_first_does_not_leave_the_others_waiting() {
    let mut process = Process::new(&policy(), 2);
    process.pass(100);
    let (fetcher, id, _) = process.only_call();
    let other = 1 - fetcher;
    let stream = process.vms[other].head(&call());
    process.vms[fetcher].reply(id, Ok((200, &old_keys())));
    // Before the other VM ticks, a request arrives there and finds the document.
    process.vms[other].send(&call()).assert_forwarded();
    process.pass(1_000);
    process.vms[other].body(stream, call().body());
    process.vms[other].settled(stream).assert_forwarded();
}

#[test]
fn a_vm_that_starts_later_uses_what_is_there() {
    let process = warm(1);
    let now = process.vms[0].now;
    let mut late = Vm::in_process(&policy(), &process.memory, now, 9);
    late.send(&call()).assert_forwarded();
    late.pass(5_000);
    assert!(late.take_calls().is_empty());
}

#[test]
fn another_policy_with_the_same_issuer_and_url_shares_the_keys_and_another_url_does_not() {
    let process = warm(1);
    let now = process.vms[0].now;
    let other_tools = load(&with(fetched(), "/tools/put", json!({ "scope": "a" })));
    Vm::in_process(&other_tools, &process.memory, now, 9).send(&call()).assert_forwarded();
    let place = "/issuers/https:~1~1as.example.com/jwks";
    let other_url = with(fetched(), place, json!({ "cluster": "as-keys", "url": "https://as.example.com/other" }));
    let mut vm = Vm::in_process(&load(&other_url), &process.memory, now, 9);
    let stream = vm.head(&call());
    assert!(!vm.is_settled(stream), "waits for keys of its own");
}

#[test]
fn two_issuers_are_fetched_apart_and_their_keys_kept_apart() {
    let issuer = |host: &str| {
        let jwks = json!({ "cluster": host, "url": format!("https://{host}/jwks") });
        json!({ "jwks": jwks, "algorithms": ["EdDSA"] })
    };
    let issuers = json!({ "https://a": issuer("a"), "https://b": issuer("b") });
    let mut process = Process::new(&load(&with(fetched(), "/issuers", issuers)), 2);
    process.pass(100);
    let calls = process.take_calls();
    assert_eq!(calls.len(), 2, "{calls:?}");
    for (vm, id, call) in calls {
        let document = if call.cluster == "a" { old_keys() } else { new_keys() };
        process.vms[vm].reply(id, Ok((200, &document)));
    }
    process.pass(1_000);
    let by =
        |issuer: &str, signer: &Signer| Request::call("get").bearer(&lasting().claim("iss", issuer).signed_by(signer));
    for vm in &mut process.vms {
        vm.send(&by("https://a", key())).assert_forwarded();
        vm.send(&by("https://b", other_key())).assert_forwarded();
        // Nobody has asked the issuers since these were named.
        vm.send(&by("https://a", other_key())).assert_refused(503, "keys_unavailable");
        vm.send(&by("https://b", key())).assert_refused(503, "keys_unavailable");
    }
}

// Waiting.

#[test]
fn a_body_that_comes_while_the_request_waits_is_asked_for_again() {
    let mut process = Process::new(&policy(), 1);
    let stream = process.vms[0].head(&call());
    process.vms[0].body(stream, call().body());
    assert!(!process.vms[0].is_settled(stream) && !process.vms[0].wants_body(stream));
    process.pass(100);
    process.publish(&old_keys());
    assert!(process.vms[0].wants_body(stream));
    process.vms[0].body(stream, call().body());
    process.vms[0].settled(stream).assert_forwarded();
}

#[test]
fn a_request_without_a_body_is_refused_only_when_the_keys_are_there() {
    let request = Request::bare("POST", "/mcp").header("content-type", "application/json").bearer(&lasting().text());
    let mut process = Process::new(&policy(), 1);
    let stream = process.vms[0].head(&request);
    assert!(!process.vms[0].is_settled(stream));
    process.pass(100);
    process.publish(&old_keys());
    assert!(!process.vms[0].wants_body(stream));
    process.vms[0].settled(stream).assert_refused(400, "json_syntax");
}

#[test]
fn a_request_that_waits_is_judged_as_of_its_release() {
    let mut process = Process::new(&policy(), 1);
    // Leeway is 30 seconds: a second later this one has expired.
    let dying = Request::call("get").bearer(&Token::new(BASELINE).claim("exp", START - 29).text());
    let stream = process.vms[0].head(&dying);
    assert!(!process.vms[0].is_settled(stream));
    process.pass(1_500);
    process.publish(&old_keys());
    process.vms[0].settled(stream).assert_refused(401, "token_expired");
}

#[test]
fn faults_of_a_request_that_waits_end_it() {
    let mut process = Process::new(&policy(), 1);
    let vm = &mut process.vms[0];
    let [large, unreadable, trailing, twice] = [0, 1, 2, 3].map(|_| vm.head(&call()));
    vm.body_fault(large, BodyFault::TooLarge);
    vm.settled(large).assert_refused(413, "body_too_large");
    vm.body_fault(unreadable, BodyFault::Unreadable);
    vm.settled(unreadable).assert_refused(500, "body_unreadable");
    vm.trailers(trailing);
    vm.settled(trailing).assert_refused(400, "trailers_not_allowed");
    vm.body(twice, call().body());
    vm.body(twice, call().body());
    vm.settled(twice).assert_refused(500, "internal");
}

#[test]
fn a_client_that_leaves_while_it_waits_is_forgotten() {
    let mut process = Process::new(&policy(), 1);
    let stream = process.vms[0].head(&call());
    process.vms[0].gone(stream);
    process.pass(100);
    process.publish(&old_keys());
    process.pass(5_000);
    assert!(!process.vms[0].is_settled(stream));
    assert_eq!(process.vms[0].counted("client_gone"), 1);
}

#[test]
fn at_most_256_requests_wait() {
    let mut process = Process::new(&policy(), 2);
    let vm = &mut process.vms[0];
    let mut streams: Vec<StreamId> = (0..256).map(|_| vm.head(&call())).collect();
    assert!(streams.iter().all(|stream| !vm.is_settled(*stream)));
    let late = vm.head(&call());
    vm.settled(late).assert_refused(503, "keys_unavailable");

    // Each VM counts for itself, and who leaves makes room.
    let elsewhere = process.vms[1].head(&call());
    assert!(!process.vms[1].is_settled(elsewhere));
    let vm = &mut process.vms[0];
    vm.gone(streams.pop().unwrap());
    streams.push(vm.head(&call()));
    assert!(!vm.is_settled(*streams.last().unwrap()));

    process.pass(100);
    process.publish(&old_keys());
    let vm = &mut process.vms[0];
    for stream in streams {
        vm.body(stream, call().body());
        vm.settled(stream).assert_forwarded();
    }
    vm.send(&call()).assert_forwarded();
}

#[test]
fn room_is_made_by_deadlines_too() {
    let mut process = Process::new(&policy(), 1);
    for _ in 0..3 {
        let streams: Vec<StreamId> = (0..256).map(|_| process.vms[0].head(&call())).collect();
        assert!(streams.iter().all(|stream| !process.vms[0].is_settled(*stream)));
        process.pass(2_100);
        assert!(streams.iter().all(|stream| process.vms[0].is_settled(*stream)));
    }
}

#[test]
fn strangers_who_wait_cannot_fill_the_log() {
    // Nobody has looked at a signature yet: whoever can write a token can do this.
    let mut process = Process::new(&policy(), 1);
    let vm = &mut process.vms[0];
    let forged = Request::call("get").bearer(&Token::new(BASELINE).header("kid", "k1").signed_by(other_key()));
    let ends: [fn(&mut Vm, StreamId); 4] = [
        |vm, stream| vm.trailers(stream),
        |vm, stream| vm.body_fault(stream, BodyFault::TooLarge),
        |vm, stream| vm.body_fault(stream, BodyFault::Unreadable),
        |vm, stream| {
            vm.body(stream, b"{}");
            vm.body(stream, b"{}");
        },
    ];
    let mut flooding = Vec::new();
    for (at, end) in ends.into_iter().enumerate() {
        let before = vm.records();
        for _ in 0..30 {
            let stream = vm.head(&forged);
            end(vm, stream);
        }
        if vm.records() - before > 10 {
            flooding.push((at, vm.records() - before));
        }
    }
    assert!(flooding.is_empty(), "records of each end: {flooding:?}");
}

#[test]
fn a_stream_id_that_is_used_again_takes_no_second_place() {
    let mut process = Process::new(&policy(), 1);
    let vm = &mut process.vms[0];
    let stream = vm.head(&call());
    for _ in 0..300 {
        vm.head_again(stream, &call());
    }
    let next = vm.head(&call());
    assert!(!vm.is_settled(stream) && !vm.is_settled(next));
}

// Tokens seen before.

fn counting() -> (Vm, Rc<std::cell::Cell<u32>>) {
    Vm::counting(&load(&document(json!({ "get": { "scope": [] } }))))
}

#[test]
fn a_token_is_verified_once_in_five_minutes() {
    let (mut vm, checked) = counting();
    for _ in 0..10 {
        vm.send(&call()).assert_forwarded();
    }
    assert_eq!(checked.get(), 1);
    vm.pass(299_000);
    vm.send(&call()).assert_forwarded();
    assert_eq!(checked.get(), 1);
    vm.pass(2_000);
    vm.send(&call()).assert_forwarded();
    assert_eq!(checked.get(), 2);
}

#[test]
fn another_signature_is_another_token() {
    let (mut vm, checked) = counting();
    let token = lasting().text();
    vm.send(&Request::call("get").bearer(&token)).assert_forwarded();
    let (signed, _) = token.rsplit_once('.').unwrap();
    for signature in ["", "AA", &base64([0; 64])] {
        let forged = Request::call("get").bearer(&format!("{signed}.{signature}"));
        vm.send(&forged).assert_refused(401, "signature_invalid");
    }
    assert_eq!(checked.get(), 4);
}

#[test]
fn a_refused_token_is_not_remembered_as_good() {
    let (mut vm, checked) = counting();
    let forged = Request::call("get").bearer(&lasting().header("kid", "k1").signed_by(other_key()));
    for round in 1..4 {
        vm.send(&forged).assert_refused(401, "signature_invalid");
        assert_eq!(checked.get(), 1, "the same token under the same keys is checked once, round {round}");
    }
}

#[test]
fn the_memory_of_tokens_is_bounded_and_keeps_what_is_used() {
    let (mut vm, checked) = counting();
    let other = |n: u32| Request::call("get").bearer(&lasting().claim("jti", format!("other-{n}")).text());
    vm.send(&call()).assert_forwarded();
    for n in 0..5_000 {
        vm.send(&other(n)).assert_forwarded();
        if n % 500 == 0 {
            vm.send(&call()).assert_forwarded();
        }
    }
    assert_eq!(checked.get(), 5_001, "the one in use was never forgotten");
    vm.send(&other(0)).assert_forwarded();
    assert_eq!(checked.get(), 5_002, "the first of the others was");
}

#[test]
fn a_token_without_kid_is_tried_with_one_key_where_checks_are_slow() {
    let keys: Vec<Json> = (0..32).map(|n| with(other_key().jwk(), "/kid", json!(format!("o{n}")))).collect();
    let place = "/issuers/https:~1~1as.example.com/keys";
    let document = with(document(json!({ "get": { "scope": [] } })), place, json!({ "keys": keys }));
    let (mut vm, checked) = Vm::counting(&load(&document));
    vm.send(&Request::call("get").bearer(&lasting().without_kid().text())).assert_refused(401, "key_unknown");
    assert_eq!(checked.get(), 0, "which of 32 is anybody's guess");
    let document = with(document, place, json!({ "keys": [key().jwk()] }));
    let (mut vm, checked) = Vm::counting(&load(&document));
    vm.send(&Request::call("get").bearer(&lasting().without_kid().text())).assert_forwarded();
    assert_eq!(checked.get(), 1);
}

#[test]
fn p28_slow_signatures_that_fail_are_bounded_in_a_second() {
    let (mut vm, checked) = counting();
    let forged = |n: usize| {
        let token = lasting().claim("jti", format!("forged-{n}")).header("kid", "k1").signed_by(other_key());
        Request::call("get").bearer(&token)
    };
    let told = |vm: &mut Vm, n| {
        let answer = vm.send(&forged(n)).answer().clone();
        (answer.status, answer.json()["error"]["data"]["reason"].as_str().unwrap().to_owned())
    };
    for n in 0..50 {
        assert_eq!(told(&mut vm, n), (401, "signature_invalid".to_owned()), "{n}");
    }
    assert_eq!(told(&mut vm, 50), (503, "signature_rate".to_owned()));
    assert_eq!(checked.get(), 50);
    vm.pass(1_000);
    vm.send(&call()).assert_forwarded();
}

#[test]
fn a_fetch_that_brings_nothing_checks_no_signature_again() {
    // Whoever can write a token can have 256 of them wait. All at once they would hold up the worker.
    let (mut vm, checked) = Vm::counting(&policy());
    vm.pass(100);
    let (id, _) = vm.take_calls().remove(0);
    vm.reply(id, Ok((200, &old_keys())));
    vm.pass(31_000);
    let forged = Request::call("get").bearer(&lasting().header("kid", "k1").signed_by(other_key()));
    for _ in 0..256 {
        vm.head(&forged);
    }
    vm.pass(100);
    let (id, _) = vm.take_calls().remove(0);
    let before = checked.get();
    vm.reply(id, Err(CallFault::Unanswered));
    assert_eq!(checked.get() - before, 0, "checks in one callback");
}

// Unknown keys and bad signatures.

#[test]
fn p28_a_thousand_random_kids_cost_four_more_fetches_at_most() {
    let mut process = warm(3);
    let mut streams = Vec::new();
    let mut calls = 0;
    for n in 0..1_000 {
        let vm = n % 3;
        streams.push((vm, process.vms[vm].head(&unknown_kid(n))));
        process.pass(10);
        for (vm, id, _) in process.take_calls() {
            calls += 1;
            process.vms[vm].reply(id, Ok((200, &old_keys())));
        }
    }
    assert!((1..=4).contains(&calls), "{calls}");
    process.pass(2_100);
    for (vm, stream) in streams {
        let settled = process.vms[vm].settled(stream);
        assert!(matches!(settled.answer().status, 401 | 503));
    }
    for vm in &mut process.vms {
        vm.send(&call()).assert_forwarded();
    }
}

#[test]
fn p28_soon_after_a_fetch_random_kids_cost_none_and_are_no_reason_to_log_in() {
    let mut process = Process::new(&policy(), 2);
    process.pass(100);
    process.publish(&old_keys());
    process.pass(1_000);
    for n in 0..19 {
        let vm = &mut process.vms[n % 2];
        let stream = vm.head(&unknown_kid(n));
        assert_eq!(vm.settled(stream).answer().status, 503);
        assert_eq!(vm.settled(stream).answer().header("retry-after"), Some("5"));
        process.pass(100);
    }
    assert!(process.take_calls().is_empty());
}

#[test]
fn bad_signatures_under_a_known_kid_cost_one_more_fetch() {
    let mut process = warm(2);
    let forged = Request::call("get").bearer(&lasting().header("kid", "k1").signed_by(other_key()));
    let mut calls = 0;
    for n in 0..100 {
        process.vms[n % 2].head(&forged);
        process.pass(100);
        for (vm, id, _) in process.take_calls() {
            calls += 1;
            process.vms[vm].reply(id, Err(CallFault::Unanswered));
        }
    }
    assert_eq!(calls, 1);
}

#[test]
fn other_callers_are_served_while_strangers_wait() {
    let mut process = warm(1);
    let waiting: Vec<StreamId> = (0..300).map(|n| process.vms[0].head(&unknown_kid(n))).collect();
    let count = waiting.iter().filter(|stream| !process.vms[0].is_settled(**stream)).count();
    assert!((1..=256).contains(&count), "{count} wait");
    process.vms[0].send(&call()).assert_forwarded();
    process.pass(2_100);
    assert!(waiting.iter().all(|stream| process.vms[0].is_settled(*stream)));
}

// Rotation.

#[test]
fn p28_a_stranger_cannot_spend_the_fetch_that_a_rotation_needs() {
    let mut process = warm(1);
    process.vms[0].head(&unknown_kid(1));
    process.pass(100);
    process.publish(&old_keys());
    // The issuer rotates now.
    let stream = process.vms[0].head(&new_call());
    process.vms[0].settled(stream).assert_refused(503, "keys_unavailable");
    process.pass(3_000);
    let stream = process.vms[0].head(&new_call());
    process.pass(100);
    process.publish(&new_keys());
    let body = new_call();
    process.vms[0].body(stream, body.body());
    process.vms[0].settled(stream).assert_forwarded();
}

#[test]
fn the_first_token_of_a_new_key_fetches_it_and_waits() {
    let mut process = warm(2);
    let stream = process.vms[1].head(&new_call());
    assert!(!process.vms[1].is_settled(stream));
    process.pass(100);
    process.publish(&jwks(&[key().jwk(), other_key().jwk()]));
    process.pass(100);
    process.vms[1].body(stream, new_call().body());
    process.vms[1].settled(stream).assert_forwarded();
}

#[test]
fn a_new_key_is_accepted_everywhere_as_soon_as_it_is_stored() {
    let mut process = warm(3);
    process.vms[0].head(&new_call());
    process.pass(100);
    let (fetcher, id, _) = process.only_call();
    process.vms[fetcher].reply(id, Ok((200, &jwks(&[key().jwk(), other_key().jwk()]))));
    // No time passes, nobody ticks.
    for vm in &mut process.vms {
        vm.send(&new_call()).assert_forwarded();
        vm.send(&call()).assert_forwarded();
    }
    assert!(process.take_calls().is_empty());
}

#[test]
fn tokens_of_a_removed_key_are_refused_cached_or_not() {
    let mut process = warm(3);
    let fresh = Request::call("get").bearer(&lasting().claim("jti", "never seen before").text());
    for vm in &mut process.vms {
        vm.send(&call()).assert_forwarded();
    }
    process.vms[0].head(&new_call());
    process.pass(100);
    process.publish(&new_keys());
    process.pass(1_000);
    for vm in &mut process.vms {
        vm.send(&call()).assert_refused(401, "key_unknown");
        vm.send(&fresh).assert_refused(401, "key_unknown");
        vm.send(&new_call()).assert_forwarded();
    }
}

#[test]
fn a_kid_that_now_means_another_key_does_not_keep_old_tokens_alive() {
    let mut process = warm(1);
    process.vms[0].send(&call()).assert_forwarded();
    process.vms[0].head(&unknown_kid(1));
    process.pass(100);
    process.publish(&jwks(&[with(other_key().jwk(), "/kid", json!("k1"))]));
    process.vms[0].send(&call()).assert_refused(401, "signature_invalid");
}

#[test]
fn a_key_that_stays_keeps_its_tokens_valid() {
    let mut process = warm(1);
    process.vms[0].send(&call()).assert_forwarded();
    process.vms[0].head(&new_call());
    process.pass(100);
    process.publish(&jwks(&[other_key().jwk(), key().jwk()]));
    process.vms[0].send(&call()).assert_forwarded();
}

#[test]
fn keys_are_renewed_before_they_are_old_by_one_vm_only() {
    let mut process = Process::new(&policy(), 3);
    process.pass(100);
    process.publish(&old_keys());
    process.pass(239_000);
    assert!(process.take_calls().is_empty(), "not before 80 % of `refresh`");
    let mut calls = 0;
    for _ in 0..62 {
        process.pass(1_000);
        for (vm, id, _) in process.take_calls() {
            calls += 1;
            process.vms[vm].reply(id, Ok((200, &new_keys())));
        }
    }
    assert_eq!(calls, 1);
    for vm in &mut process.vms {
        vm.send(&new_call()).assert_forwarded();
    }
    process.pass(150_000);
    assert!(process.take_calls().is_empty());
}

// Failures.

#[test]
fn a_failed_fetch_keeps_the_old_keys() {
    let too_large = { old_keys().into_iter().chain(std::iter::repeat_n(b' ', 64 * 1024)).collect::<Vec<u8>>() };
    let many = jwks(&vec![key().jwk(); 33]);
    type Answer<'a> = Result<(u16, &'a [u8]), CallFault>;
    let cases: [(Answer<'_>, &str); 13] = [
        (Err(CallFault::Unanswered), "unreachable"),
        (Err(CallFault::Refused), "unreachable"),
        (Ok((500, &new_keys())), "unreachable"),
        (Ok((404, &new_keys())), "unreachable"),
        (Ok((302, &new_keys())), "unreachable"),
        (Ok((206, &new_keys())), "unreachable"),
        (Ok((200, b"")), "unusable"),
        (Ok((200, b"<html>")), "unusable"),
        (Ok((200, b"{}")), "unusable"),
        (Ok((200, br#"{"keys":{}}"#)), "unusable"),
        (Ok((200, br#"{"keys":[],"keys":[]}"#)), "unusable"),
        (Ok((200, &too_large)), "unusable"),
        (Ok((200, &many)), "unusable"),
    ];
    for (reply, outcome) in cases {
        let mut process = warm(2);
        process.vms[0].head(&new_call());
        process.pass(100);
        let (vm, id, _) = process.only_call();
        process.vms[vm].reply(id, reply);
        assert_eq!(fetches(&process.vms[vm], outcome), 1, "{reply:?}");
        process.pass(2_000);
        for vm in &mut process.vms {
            vm.send(&call()).assert_forwarded();
            let stream = vm.head(&new_call());
            vm.settled(stream).assert_refused(503, "keys_unavailable");
        }
    }
}

#[test]
fn an_issuer_that_withdraws_its_keys_is_believed_at_once() {
    let private = jwks(&[with(key().jwk(), "/d", json!("AAAA"))]);
    for document in [jwks(&[]), private] {
        let mut process = warm(2);
        process.vms[0].send(&call()).assert_forwarded();
        process.vms[0].head(&new_call());
        process.pass(100);
        let (vm, id, _) = process.only_call();
        process.vms[vm].reply(id, Ok((200, &document)));
        assert_eq!(fetches(&process.vms[vm], "withdrawn"), 1);
        assert!(process.vms[vm].logs.iter().any(|line| line.contains("withdrawn all its keys")));
        process.pass(2_000);
        for vm in &mut process.vms {
            let stream = vm.head(&call());
            vm.pass(2_100);
            vm.settled(stream).assert_refused(503, "keys_unavailable");
        }
    }
}

#[test]
fn a_failed_fetch_leaves_one_short_line() {
    let page = "<html>".repeat(20_000);
    for reply in [Ok((503, page.as_bytes())), Ok((200, page.as_bytes())), Err(CallFault::Unanswered)] {
        let mut process = Process::new(&policy(), 1);
        process.pass(100);
        process.vms[0].logs.clear();
        process.answer(reply);
        let logs = &process.vms[0].logs;
        assert_eq!(logs.len(), 1, "{} lines", logs.len());
        assert!(logs[0].contains(ISSUER));
        assert!(logs[0].len() < 500, "a line of {} bytes: {:.200}", logs[0].len(), logs[0]);
    }
}

#[test]
fn documents_of_64_kib_and_of_32_keys_are_used() {
    let strangers = vec![with(other_key().jwk(), "/kid", json!("x")); 31];
    let mut exactly = old_keys();
    exactly.resize(64 * 1024, b' ');
    for document in [exactly, jwks(&[vec![key().jwk()], strangers].concat())] {
        let mut process = Process::new(&policy(), 1);
        process.pass(100);
        process.publish(&document);
        process.vms[0].send(&call()).assert_forwarded();
    }
}

#[test]
fn unusable_keys_are_skipped_and_the_others_used() {
    let rsa = |bytes: usize, exponent: &[u8]| {
        let mut modulus = vec![0xc5; bytes];
        modulus[bytes - 1] = 0xc7;
        json!({ "kty": "RSA", "kid": "k1", "n": base64(modulus), "e": base64(exponent) })
    };
    let coordinate = base64([7; 32]);
    let unusable = [
        rsa(128, &[1, 0, 1]),
        rsa(255, &[1, 0, 1]),
        rsa(513, &[1, 0, 1]),
        rsa(256, &[3]),
        rsa(256, &[1]),
        rsa(256, &[1, 0, 0]),
        rsa(256, &[]),
        rsa(256, &[1, 0, 0, 0, 0, 0, 0, 0, 1]),
        with(key().jwk(), "/d", json!("AAAA")),
        with(key().jwk(), "/use", json!("enc")),
        with(key().jwk(), "/use", json!(["sig"])),
        with(key().jwk(), "/alg", json!("HS256")),
        with(key().jwk(), "/x", json!("AAAA")),
        with(key().jwk(), "/x", json!("not base64!")),
        with(key().jwk(), "/crv", json!("Ed448")),
        with(key().jwk(), "/kid", json!(5)),
        without(key().jwk(), "/x"),
        without(key().jwk(), "/kty"),
        json!({ "kty": "oct", "kid": "k1", "k": base64([0; 32]) }),
        json!({ "kty": "EC", "crv": "P-256", "kid": "k1", "x": coordinate, "y": coordinate }),
        json!({ "kty": "EC", "crv": "P-256", "kid": "k1", "x": base64([7; 31]), "y": coordinate }),
        json!({ "kty": "EC", "crv": "P-521", "kid": "k1", "x": coordinate, "y": coordinate }),
        json!({ "kty": "EC", "crv": "secp256k1", "kid": "k1", "x": coordinate, "y": coordinate }),
        json!("key"),
        json!(null),
    ];
    for jwk in unusable {
        let mut process = Process::new(&policy(), 1);
        process.pass(100);
        process.publish(&jwks(std::slice::from_ref(&jwk)));
        assert_eq!(fetches(&process.vms[0], "withdrawn"), 1, "{jwk}");

        let mut process = Process::new(&policy(), 1);
        process.pass(100);
        process.publish(&jwks(&[jwk.clone(), key().jwk()]));
        process.vms[0].send(&call()).assert_forwarded();
    }
}

#[test]
fn keys_go_stale_after_an_hour_and_come_back() {
    let mut process = Process::new(&policy(), 2);
    process.pass(100);
    process.publish(&old_keys());
    let failing = |process: &mut Process, seconds: u64| {
        for _ in 0..seconds {
            process.pass(1_000);
            for (vm, id, _) in process.take_calls() {
                process.vms[vm].reply(id, Err(CallFault::Unanswered));
            }
        }
    };
    failing(&mut process, 3_598);
    for vm in &mut process.vms {
        vm.send(&call()).assert_forwarded();
    }
    failing(&mut process, 4);
    for vm in &mut process.vms {
        let stream = vm.head(&call());
        vm.pass(2_100);
        let settled = vm.settled(stream);
        settled.assert_refused(503, "keys_stale");
        assert!(settled.answer().header("retry-after").is_some());
        assert_eq!(settled.answer().code(), Some(50300));
    }
    for _ in 0..35 {
        process.pass(1_000);
        for (vm, id, _) in process.take_calls() {
            process.vms[vm].reply(id, Ok((200, &old_keys())));
        }
    }
    for vm in &mut process.vms {
        vm.send(&call()).assert_forwarded();
    }
}

#[test]
fn the_lease_of_a_vm_that_died_is_taken_over() {
    let mut process = Process::new(&policy(), 2);
    process.pass(100);
    let (dead, ..) = process.only_call();
    process.vms.remove(dead);
    process.pass(4_000);
    assert!(process.take_calls().is_empty(), "it might still be fetching");
    process.pass(1_500);
    process.publish(&old_keys());
    process.vms[0].send(&call()).assert_forwarded();
}

#[test]
fn a_call_whose_reply_never_comes_is_not_waited_for_for_ever() {
    let mut process = Process::new(&policy(), 1);
    process.pass(100);
    process.only_call();
    process.pass(30_000);
    assert!(!process.take_calls().is_empty(), "the lease was over after five seconds");
}

#[test]
fn replies_to_calls_never_made_are_counted_and_do_nothing() {
    let mut process = Process::new(&policy(), 1);
    process.pass(100);
    let (_, id, _) = process.only_call();
    let vm = &mut process.vms[0];
    vm.reply(CallId(999), Ok((200, &new_keys())));
    vm.reply(id, Ok((200, &old_keys())));
    vm.reply(id, Ok((200, &new_keys())));
    let faults = vm.metrics.iter().filter(|metric| matches!(metric, Metric::Fault { count: 1, .. })).count();
    assert_eq!(faults, 2);
    vm.send(&call()).assert_forwarded();
}

#[test]
fn a_clock_set_back_does_not_stop_the_fetching() {
    let mut process = warm(1);
    let vm = &mut process.vms[0];
    vm.now = Millis(NOW.0 - 86_400_000);
    let token =
        |n: i64| Token::new(BASELINE).claim("iat", START - 90_000).claim("exp", START + n).signed_by(other_key());
    let mut calls = 0;
    for n in 0..120 {
        vm.head(&Request::call("get").bearer(&token(n)));
        vm.now = vm.now.plus(500);
        vm.tick();
        for (id, _) in vm.take_calls() {
            calls += 1;
            vm.reply(id, Ok((200, &new_keys())));
        }
    }
    assert!(calls > 0, "a rotated key stays unknown until the clock is where it was");
}

#[test]
fn a_clock_set_back_does_not_make_old_keys_fresh() {
    let mut process = warm(1);
    let vm = &mut process.vms[0];
    vm.now = Millis(NOW.0 - 86_400_000);
    let mut calls = 0;
    for _ in 0..600 {
        vm.now = vm.now.plus(1_000);
        vm.tick();
        for (id, _) in vm.take_calls() {
            calls += 1;
            vm.reply(id, Ok((200, &new_keys())));
        }
    }
    assert!(calls > 0, "ten minutes, twice `refresh`, and a removed key is still trusted");
}

#[test]
fn keys_have_an_age_that_metrics_show() {
    let mut process = warm(1);
    process.pass(1_000);
    let age = process.vms[0].metrics.iter().rev().find_map(|metric| match metric {
        Metric::KeysAge { issuer, seconds } => Some((issuer.clone(), *seconds)),
        _ => None,
    });
    let (issuer, seconds) = age.expect("the gauge is set");
    assert!(issuer == ISSUER && (31..=32).contains(&seconds), "{seconds} s");
}

// Deadlines of bodies.

fn with_inline_keys() -> Rc<Policy> {
    load(&with(document(json!({ "get": { "scope": [] } })), "/limits", json!({ "body_wait": "10s" })))
}

#[test]
fn a_body_that_does_not_come_in_time_is_408() {
    let mut vm = Vm::new(&with_inline_keys());
    vm.send(&call()).assert_forwarded();
    let stream = vm.head(&call());
    vm.pass(9_900);
    assert!(!vm.is_settled(stream));
    vm.pass(1_200);
    let settled = vm.settled(stream);
    settled.assert_refused(408, "body_timeout");
    assert_eq!((settled.answer().code(), settled.challenge()), (None, None));
    vm.body(stream, call().body());
    assert_eq!(vm.settled(stream).answer().status, 408, "too late");
}

#[test]
fn a_host_that_never_delivered_a_body_is_named() {
    let mut vm = Vm::new(&with_inline_keys());
    let stream = vm.head(&call());
    vm.pass(11_200);
    vm.settled(stream).assert_refused(503, "host_without_header_stop");
    let names: Vec<String> = vm.metrics.iter().map(Metric::name).collect();
    assert!(names.iter().any(|name| name == "stepup_faults_total;kind=host_without_header_stop"));
}

#[test]
fn a_body_that_had_to_be_asked_for_does_not_prove_that_the_host_delivers_bodies() {
    let mut vm = Vm::new(&with_inline_keys());
    let empty = Request::bare("POST", "/mcp").header("content-type", "application/json").bearer(&lasting().text());
    vm.send(&empty).assert_refused(400, "json_syntax");
    let stream = vm.head(&call());
    vm.pass(11_200);
    vm.settled(stream).assert_refused(503, "host_without_header_stop");
}

#[test]
fn the_time_for_the_body_begins_when_the_token_is_good() {
    let mut process = Process::new(&with_limits(json!({ "keys_wait": "30s", "body_wait": "10s" })), 1);
    let stream = process.vms[0].head(&call());
    process.pass(100);
    let (_, id, _) = process.only_call();
    process.pass(4_000);
    process.vms[0].reply(id, Ok((200, &old_keys())));
    process.pass(9_500);
    assert!(!process.vms[0].is_settled(stream));
    process.vms[0].body(stream, call().body());
    process.vms[0].settled(stream).assert_forwarded();
}

#[test]
fn who_makes_way_gives_the_lease_back() {
    let mut process = Process::new(&policy(), 2);
    process.pass(100);
    let (fetcher, _, _) = process.only_call();
    process.vms[fetcher].retire();
    let other = 1 - fetcher;
    process.vms[other].pass(200);
    assert_eq!(process.vms[other].take_calls().len(), 1, "the fetch went down with the VM that made it");
}
