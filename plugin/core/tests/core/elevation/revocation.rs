//! Revocation.

use super::*;

#[test]
fn a_revocation_is_repeated_until_it_succeeds() {
    let failures =
        [Ok(503), Ok(429), Ok(408), Ok(500), Ok(425), Err(CallFault::Unanswered), Err(CallFault::Refused), Ok(599)];
    let mut vm = vm();
    let stream = elevated(&mut vm, &call());
    vm.gone(stream);
    let (mut id, _) = only_revocation(&mut vm);
    let mut pauses = Vec::new();
    for failure in failures {
        let failed = vm.now;
        vm.reply(id, failure.map(|status| (status, &b""[..])));
        assert!(!vm.is_idle());
        let mut found = Vec::new();
        while found.is_empty() {
            vm.pass(10);
            assert!(vm.now.0 - failed.0 < 20_000, "never again after {failure:?}");
            found = revocations(&mut vm);
        }
        assert_eq!((found.len(), &found[0].1), (1, &good().text()));
        pauses.push(vm.now.0 - failed.0);
        id = found[0].0;
    }
    assert!(pauses[0] >= 100 && pauses.windows(2).all(|pair| pair[1] >= pair[0]), "it backs off: {pauses:?}");
    vm.reply(id, Ok((200, b"")));
    assert!(vm.is_idle() && revocations_counted(&vm, "revoked") == 1);
    vm.pass(30_000);
    assert!(vm.take_calls().is_empty());
}

#[test]
fn a_revocation_is_repeated_while_our_credential_may_be_changing() {
    for (status, body) in [(400, r#"{"error":"invalid_client"}"#), (401, ""), (404, ""), (302, "")] {
        let mut vm = vm();
        let stream = elevated(&mut vm, &call());
        vm.gone(stream);
        let (id, token) = only_revocation(&mut vm);
        vm.reply(id, Ok((status, body.as_bytes())));
        assert!(!vm.is_idle(), "{status} {body}");
        vm.pass(1_000);
        let (id, again) = only_revocation(&mut vm);
        assert_eq!(token, again);
        vm.reply(id, Ok((200, b"")));
        assert!(vm.is_idle(), "{status} {body}");
    }
}

#[test]
fn a_revocation_ends_where_the_service_says_so() {
    for (status, body, outcome) in [
        (200, "", "revoked"),
        (200, "{}", "revoked"),
        (204, "", "revoked"),
        (400, r#"{"error":"unsupported_token_type"}"#, "unsupported"),
        (403, "", "refused"),
    ] {
        let mut vm = vm();
        let stream = elevated(&mut vm, &call());
        vm.gone(stream);
        let (id, _) = only_revocation(&mut vm);
        vm.reply(id, Ok((status, body.as_bytes())));
        assert!(vm.is_idle(), "{status} {body}");
        assert_eq!(revocations_counted(&vm, outcome), 1, "{status} {body}");
        vm.pass(70_000);
        assert!(vm.take_calls().is_empty());
    }
}

#[test]
fn a_revocation_is_made_without_the_callers_trace_where_that_may_be_what_is_refused() {
    for (status, body, ends) in [
        (400, r#"{"error":"invalid_request"}"#, true),
        (400, "x", false),
        (413, "", false),
        (414, "", false),
        (431, "", false),
    ] {
        let mut vm = vm();
        let stream = elevated(&mut vm, &call());
        vm.gone(stream);
        let calls = vm.take_calls();
        let names = |call: &Call| call.headers.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        assert!(names(&calls[0].1).contains(&"x-request-id"));
        vm.reply(calls[0].0, Ok((status, body.as_bytes())));
        vm.pass(20);
        let again = vm.take_calls();
        assert_eq!(again.len(), 1, "{status} {body}: at once");
        assert!(!names(&again[0].1).contains(&"x-request-id"));
        vm.reply(again[0].0, Ok((status, body.as_bytes())));
        assert_eq!(vm.is_idle(), ends, "{status} {body}: the token is not known to be dead");
        if !ends {
            vm.pass(1_000);
            let (id, _) = only_revocation(&mut vm);
            vm.reply(id, Ok((200, b"")));
            assert!(vm.is_idle() && revocations_counted(&vm, "revoked") == 1);
        }
    }
}

#[test]
fn only_a_trace_of_its_grammar_and_a_short_request_id_are_passed_on() {
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let long = format!("{trace}-{}", "a".repeat(16_000));
    for (name, value, passed) in [
        ("traceparent", trace, true),
        ("traceparent", long.as_str(), false),
        ("traceparent", "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
        ("traceparent", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
        ("traceparent", "00-00000000000000000000000000000000-b7ad6b7169203331-01", false),
        ("traceparent", "x", false),
        ("x-request-id", &"r".repeat(128), true),
        ("x-request-id", &"r".repeat(129), false),
        ("x-request-id", "a b", false),
    ] {
        let mut vm = vm();
        let stream = begin(&mut vm, &call().header(name, value));
        let calls = vm.take_calls();
        let found = calls[0].1.headers.iter().any(|(header, sent)| *header == name && sent.reveal() == value);
        assert_eq!(found, passed, "{name}: {value}");
        vm.gone(stream);
    }
}

#[test]
fn what_an_unreadable_answer_has_minted_is_taken_back_or_counted_as_lost() {
    let minted = good().text();
    for (body, taken, outcome) in [
        (format!(r#"{{"access_token":"{minted}","a":1,"a":2}}"#), true, "elevation_unavailable"),
        (format!("\u{feff}{{\"access_token\":\"{minted}\"}}"), true, "elevation_unavailable"),
        (format!(r#"{{"access_token": "{minted}","expires_in":1e999}}"#), true, "elevation_unavailable"),
        (format!(r#"{{"access_token": "{minted}""#), true, "elevation_unavailable"),
        (r#"{"access_token":"#.to_owned(), false, "lost"),
        (String::new(), false, "elevation_unavailable"),
    ] {
        let mut vm = vm();
        let (stream, id) = exchange(&mut vm, &call());
        vm.reply(id, Ok((200, body.as_bytes())));
        assert_refused(&vm.settled(stream), 503, 50300, "elevation_unavailable", &body);
        let revoked: Vec<String> = revocations(&mut vm).into_iter().map(|(_, token)| token).collect();
        assert_eq!(revoked, if taken { vec![minted.clone()] } else { Vec::new() }, "{body}");
        assert_eq!(exchanges_counted(&vm, outcome), 1, "{body}");
    }
}

#[test]
fn calls_that_the_host_refuses_are_not_all_tried_in_one_callback() {
    let mut vm = Vm::new(&load(&with(
        plain(),
        "/limits",
        json!({ "exchanges": 1000, "exchanges_per_caller": 1000, "exchange_rate": 1000 }),
    )));
    let streams: Vec<_> =
        (0..200).map(|n| elevated_with(&mut vm, &call(), &good().claim("jti", format!("e-{n}")).text())).collect();
    let now = vm.now;
    for stream in streams {
        vm.gone(stream);
    }
    let refused = revocations(&mut vm);
    for (id, _) in refused {
        vm.reply(id, Err(CallFault::Refused));
    }
    assert_eq!((vm.now, revocations(&mut vm).len()), (now, 0), "not again before the next tick");
}

/// The same, where the host refuses at once and more are due than are tried at a time.
#[test]
fn what_is_due_beside_a_refused_call_waits_for_the_next_tick() {
    let many = json!({ "exchanges": 1000, "exchanges_per_caller": 1000, "exchange_rate": 1000 });
    let policy = with(with(plain(), "/limits", many), "/token_service/linger", json!("5s"));
    let mut vm = Vm::new(&load(&policy));
    let streams: Vec<_> =
        (0..200).map(|n| elevated_with(&mut vm, &call(), &good().claim("jti", format!("e-{n}")).text())).collect();
    for stream in streams {
        vm.gone(stream);
    }
    // All of them linger until the same moment.
    vm.pass(5_000);
    let first = revocations(&mut vm);
    assert!(!first.is_empty() && first.len() < 200, "{}", first.len());
    for (id, _) in first {
        vm.reply(id, Err(CallFault::Refused));
    }
    assert_eq!(revocations(&mut vm).len(), 0, "not before the next tick");
    vm.tick();
    assert!(!revocations(&mut vm).is_empty(), "and then");
}

#[test]
fn what_failed_together_comes_back_apart() {
    let mut vm = vm();
    let streams = [1, 2].map(|n| elevated_with(&mut vm, &call(), &good().claim("jti", format!("e-{n}")).text()));
    for stream in streams {
        vm.gone(stream);
    }
    for (id, _) in revocations(&mut vm) {
        vm.reply(id, Ok((503, b"")));
    }
    let start = vm.now;
    let mut again = Vec::new();
    for _ in 0..300 {
        vm.pass(1);
        again.extend(revocations(&mut vm).into_iter().map(|_| vm.now.0 - start.0));
    }
    assert_eq!(again.len(), 2, "{again:?}");
    assert!(again.iter().all(|after| (100..=201).contains(after)), "{again:?}");
    assert_ne!(again.first(), again.last(), "both at once");
}

#[test]
fn a_service_that_is_down_is_asked_seldom_and_what_failed_together_comes_back_apart() {
    let mut vm = Vm::new(&load(&with(
        plain(),
        "/limits",
        json!({ "exchanges": 1000, "exchanges_per_caller": 1000, "exchange_rate": 1000 }),
    )));
    let streams: Vec<_> =
        (0..50).map(|n| elevated_with(&mut vm, &call(), &good().claim("jti", format!("e-{n}")).text())).collect();
    for stream in streams {
        vm.gone(stream);
    }
    let mut asked = 0;
    for _ in 0..600 {
        for (id, _) in revocations(&mut vm) {
            asked += 1;
            vm.reply(id, Ok((503, b"")));
        }
        vm.pass(100);
    }
    // All at once at first, before anybody knows; then four a second at most.
    assert!((54..=50 + 4 * 61).contains(&asked), "{asked}");
    assert!(!vm.is_idle() || revocations_counted(&vm, "expired") == 50);
}

#[test]
fn a_token_is_given_up_at_its_exp_and_not_before() {
    let mut vm = vm();
    let stream = elevated(&mut vm, &call());
    vm.gone(stream);
    let mut last = vm.now;
    for _ in 0..1_000 {
        for (id, _) in revocations(&mut vm) {
            last = vm.now;
            vm.reply(id, Ok((503, b"")));
        }
        vm.pass(100);
    }
    assert!(last.0 > NOW.0 + 45_000 && last.0 <= NOW.0 + 60_000, "{last:?}");
    assert!(vm.is_idle());
    assert_eq!(revocations_counted(&vm, "expired"), 1);
}

#[test]
fn a_token_is_never_in_two_revocations_at_a_time() {
    let mut vm = vm();
    let stream = elevated(&mut vm, &call());
    vm.gone(stream);
    let (id, _) = only_revocation(&mut vm);
    // The host answers within the call's timeout of two seconds.
    for _ in 0..20 {
        vm.pass(100);
        vm.gone(stream);
        assert!(vm.take_calls().is_empty());
    }
    vm.reply(id, Err(CallFault::Unanswered));
    vm.pass(1_000);
    only_revocation(&mut vm);
}

#[test]
fn a_revocation_that_the_host_forgets_does_not_stay_for_ever() {
    let mut vm = vm();
    let stream = elevated(&mut vm, &call());
    vm.gone(stream);
    only_revocation(&mut vm);
    vm.pass(600_000);
    assert!(vm.is_idle(), "the token has been dead for nine minutes");
}

#[test]
fn what_was_not_believed_is_revoked_with_the_same_patience() {
    let mut vm = vm();
    let (_, id) = exchange(&mut vm, &call());
    // Its `exp` is as little believed as the rest.
    grant(&mut vm, id, &good().claim("exp", START - 1).claim("iat", START - 60).text());
    let (id, _) = only_revocation(&mut vm);
    vm.reply(id, Ok((503, b"")));
    vm.pass(1_000);
    let (id, _) = only_revocation(&mut vm);
    vm.reply(id, Ok((200, b"")));
    assert!(vm.is_idle());
}

#[test]
fn a_token_service_that_does_not_accept_the_filter_is_a_fault_and_one_line_a_minute() {
    let mut vm = vm();
    let refused = |vm: &mut Vm| {
        let (stream, id) = exchange(vm, &call());
        say(vm, id, 401, &json!({ "error": "invalid_client" }));
        vm.settled(stream).assert_refused(503, "filter_not_accepted");
        vm.logs.iter().filter(|line| line.contains("does not accept this filter")).count()
    };
    let lines = [0, 30_000, 31_000].map(|pause| {
        vm.pass(pause);
        refused(&mut vm)
    });
    assert_eq!(lines, [1, 1, 2]);
    let faults = vm.metrics.iter().filter(|metric| metric.name() == "stepup_faults_total;kind=filter_not_accepted");
    assert_eq!(faults.count(), 4, "one shows it before the first");
}

/// The token service fails every revocation for so many seconds.
fn failing_to_revoke(vm: &mut Vm, seconds: i64) {
    let end = vm.now.seconds() + seconds;
    while vm.now.seconds() < end {
        for (id, _) in revocations(vm) {
            vm.reply(id, Ok((503, b"")));
        }
        vm.pass(11_000);
    }
}

#[test]
fn a_refused_token_that_lives_for_longer_is_tried_for_longer() {
    let mut vm = vm();
    let (stream, id) = exchange(&mut vm, &call());
    grant(&mut vm, id, &good().claim("exp", START + 3_600).text());
    vm.settled(stream).assert_refused(503, "elevated_lifetime");
    failing_to_revoke(&mut vm, 3_500);
    let (id, _) = only_revocation(&mut vm);
    vm.reply(id, Ok((200, b"")));
    assert!(vm.is_idle());
    assert_eq!(revocations_counted(&vm, "revoked"), 1);
}

#[test]
fn what_does_not_say_when_it_dies_is_given_up_after_a_day() {
    let mut vm = vm();
    let (_, id) = exchange(&mut vm, &call());
    let mut body = answer(&good().text());
    body["refresh_token"] = json!("for-ever");
    say(&mut vm, id, 200, &body);
    failing_to_revoke(&mut vm, 23 * 3_600);
    assert_eq!((revocations_counted(&vm, "expired"), revocations_counted(&vm, "given_up")), (1, 0));
    failing_to_revoke(&mut vm, 2 * 3_600);
    assert_eq!((revocations_counted(&vm, "expired"), revocations_counted(&vm, "given_up")), (1, 1));
    assert!(vm.is_idle());
}
