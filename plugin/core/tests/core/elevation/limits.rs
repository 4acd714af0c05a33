//! Limits.

use super::*;

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

/// A second client is no second allowance; of a token without a subject the client is who it is for.
#[test]
fn exchanges_in_a_minute_are_bounded_by_subject() {
    let mut vm = Vm::new(&load(&with(plain(), "/limits", json!({ "exchange_rate": 2 }))));
    let of = |client: &str| Token::new(BASELINE).claim("client_id", client).text();
    for client in ["agent", "agent-2"] {
        let (_, id) = exchange(&mut vm, &call().bearer(&of(client)));
        say(&mut vm, id, 403, &json!({}));
    }
    assert_limited(&mut vm, &call().bearer(&of("agent-3")));
}

/// What filters behind this one are told (P42): only where the policy says so, and of an elevated call as of any other.
#[test]
fn p42_where_a_permitted_request_stands_is_told() {
    let document = with(plain(), "/limits", json!({ "filter_state": true }));
    let document = with(document, "/tiers", json!({ "danger": { "max_lifetime": "1h" } }));
    let document = with(document, "/tools/delete/tier", json!("danger"));
    let mut vm = Vm::new(&load(&document));
    let elevated = |vm: &mut Vm, token: &str, subject: &str, id: &str| {
        let (stream, exchanged) = exchange(vm, &call().bearer(token));
        grant(vm, exchanged, &good().claim("sub", subject).claim("jti", id).text());
        vm.state(stream).to_vec()
    };
    let first = elevated(&mut vm, &caller(1), "alice", "e-1");
    let names: Vec<&str> = first.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["stepup.server", "stepup.thing", "stepup.tier", "stepup.subject"]);
    let value = |state: &[(&'static str, String)], name: &str| {
        state.iter().find(|(other, _)| *other == name).map(|(_, value)| value.clone())
    };
    assert_eq!(value(&first, "stepup.thing").unwrap(), "tool delete");
    assert_eq!(value(&first, "stepup.tier").unwrap(), "danger");
    let subject = value(&first, "stepup.subject").unwrap();
    assert!(subject.len() == 16 && subject.bytes().all(|byte| byte.is_ascii_hexdigit()), "{subject}");
    // A refreshed token is the same subject, bob is another one.
    assert_eq!(elevated(&mut vm, &caller(2), "alice", "e-2"), first);
    assert_ne!(value(&elevated(&mut vm, &bob(), "bob", "e-3"), "stepup.subject").unwrap(), subject);
    // A list has no rule, and so no tier.
    let list = Request::method("tools/list", json!({})).bearer(&caller(1));
    let stream = begin(&mut vm, &list);
    assert_eq!(value(vm.state(stream), "stepup.tier"), None);
    assert_eq!(value(vm.state(stream), "stepup.subject").unwrap(), subject);
    // It stays in visible ASCII, whatever a rule's name is.
    let document =
        with(with(plain(), "/limits", json!({ "filter_state": true })), "/tools/wip\u{e9}", json!({ "scope": [] }));
    let mut vm = Vm::new(&load(&document));
    let stream = begin(&mut vm, &Request::call("wip\u{e9}").bearer(&caller(1)));
    assert_eq!(value(vm.state(stream), "stepup.thing").unwrap(), r"tool wip\u00e9");
    // Unsaid, nothing is told.
    let mut vm = Vm::new(&load(&plain()));
    assert!(elevated(&mut vm, &caller(1), "alice", "e-1").is_empty());
}
