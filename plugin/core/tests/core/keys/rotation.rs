//! Rotation.

use super::*;

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

/// P28: it is kept as it is written, down to five seconds.
#[test]
fn p28_a_short_refresh_is_kept() {
    let place = format!("/issuers/{}/jwks/refresh", ISSUER.replace('/', "~1"));
    let mut process = Process::new(&load(&with(fetched(), &place, json!("5s"))), 1);
    process.pass(100);
    process.publish(&old_keys());
    let mut fetches = 0;
    for _ in 0..60 {
        process.pass(1_000);
        for (vm, id, _) in process.take_calls() {
            fetches += 1;
            process.vms[vm].reply(id, Ok((200, &old_keys())));
        }
    }
    assert!((10..=13).contains(&fetches), "{fetches} in a minute");
}
