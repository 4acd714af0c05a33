//! Failures.

use super::*;

#[test]
fn a_failed_fetch_keeps_the_old_keys() {
    let too_large = { old_keys().into_iter().chain(std::iter::repeat_n(b' ', 256 * 1024)).collect::<Vec<u8>>() };
    let many = jwks(&vec![key().jwk(); 129]);
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
fn a_cluster_that_the_proxy_does_not_call_is_named() {
    let mut process = warm(1);
    let told = |vm: &Vm| vm.warnings.iter().filter(|line| line.contains("does not call the cluster")).count();
    process.vms[0].head(&new_call());
    process.pass(100);
    let (_, id, call) = process.only_call();
    process.vms[0].reply(id, Err(CallFault::Refused));
    let expected = format!("does not call the cluster {}", call.cluster);
    assert!(process.vms[0].warnings.iter().any(|line| line.contains(&expected)), "{:?}", process.vms[0].warnings);
    // Once a minute, however often it is tried.
    process.pass(31_000);
    process.vms[0].head(&new_call());
    process.pass(100);
    let calls = process.take_calls();
    assert!(!calls.is_empty());
    for (vm, id, _) in calls {
        process.vms[vm].reply(id, Err(CallFault::Refused));
    }
    assert_eq!(told(&process.vms[0]), 1);
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
