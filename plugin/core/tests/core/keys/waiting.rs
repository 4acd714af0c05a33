//! Waiting.

use super::*;

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
    let [large, unreadable, twice] = [0, 1, 2].map(|_| vm.head(&call()));
    vm.body_fault(large, BodyFault::TooLarge);
    vm.settled(large).assert_refused(413, "body_too_large");
    vm.body_fault(unreadable, BodyFault::Unreadable);
    vm.settled(unreadable).assert_refused(500, "body_unreadable");
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
    let ends: [fn(&mut Vm, StreamId); 3] = [
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
