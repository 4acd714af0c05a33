//! Deadlines.

use super::*;

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
