//! Unknown keys and bad signatures.

use super::*;

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
