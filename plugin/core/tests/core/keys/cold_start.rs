//! Cold start.

use super::*;

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
