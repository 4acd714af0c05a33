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
