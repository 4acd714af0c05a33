//! Deadlines of bodies.

use super::*;

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

fn has_blamed_the_host(vm: &Vm) -> bool {
    vm.metrics.iter().any(|metric| matches!(metric, Metric::Fault { kind: "host_without_header_stop", count: 1.. }))
}

#[test]
fn a_host_that_never_delivered_a_body_is_named() {
    let mut vm = Vm::new(&with_inline_keys());
    vm.shows_bodies = Some(false);
    let stream = vm.head(&call());
    vm.pass(11_200);
    vm.settled(stream).assert_refused(503, "host_without_header_stop");
    assert!(has_blamed_the_host(&vm));
}

#[test]
fn a_client_that_keeps_its_body_back_is_not_the_hosts_fault() {
    let mut vm = Vm::new(&with_inline_keys());
    // The first one in this VM, which has seen no body yet; and it proves nothing for the second.
    for _ in 0..2 {
        let stream = vm.head(&call());
        vm.pass(11_200);
        vm.settled(stream).assert_refused(408, "body_timeout");
    }
    assert!(!has_blamed_the_host(&vm));
    vm.shows_bodies = Some(false);
    let stream = vm.head(&call());
    vm.pass(11_200);
    vm.settled(stream).assert_refused(503, "host_without_header_stop");
}

#[test]
fn a_host_that_does_not_say_who_keeps_the_body_back_is_blamed() {
    let mut vm = Vm::new(&with_inline_keys());
    vm.shows_bodies = None;
    let stream = vm.head(&call());
    vm.pass(12_000);
    vm.settled(stream).assert_refused(503, "host_without_header_stop");
}

#[test]
fn a_body_that_had_to_be_asked_for_does_not_prove_that_the_host_delivers_bodies() {
    let mut vm = Vm::new(&with_inline_keys());
    vm.shows_bodies = Some(false);
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

/// A host buffers what comes meanwhile, and answers in its own words where that is too much.
#[test]
fn who_says_that_the_body_is_too_large_does_not_wait_for_keys() {
    let mut process = Process::new(&policy(), 1);
    let long = call().header("content-length", "2097152");
    let stream = process.vms[0].head(&long);
    process.vms[0].settled(stream).assert_refused(413, "body_too_large");
    // Once there are keys it is the token that counts first.
    let mut process = warm(1);
    let stream = process.vms[0].head(&long.bearer("nonsense"));
    process.vms[0].settled(stream).assert_refused(401, "token_malformed");
}
