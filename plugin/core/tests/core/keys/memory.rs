//! Tokens seen before.

use super::*;

fn counting() -> (Vm, Rc<std::cell::Cell<u32>>) {
    Vm::counting(&load(&document(json!({ "get": { "scope": [] } }))))
}

#[test]
fn a_token_is_verified_once_in_five_minutes() {
    let (mut vm, checked) = counting();
    for _ in 0..10 {
        vm.send(&call()).assert_forwarded();
    }
    assert_eq!(checked.get(), 1);
    vm.pass(299_000);
    vm.send(&call()).assert_forwarded();
    assert_eq!(checked.get(), 1);
    vm.pass(2_000);
    vm.send(&call()).assert_forwarded();
    assert_eq!(checked.get(), 2);
}

#[test]
fn another_signature_is_another_token() {
    let (mut vm, checked) = counting();
    let token = lasting().text();
    vm.send(&Request::call("get").bearer(&token)).assert_forwarded();
    let (signed, _) = token.rsplit_once('.').unwrap();
    for signature in ["", "AA", &base64([0; 64])] {
        let forged = Request::call("get").bearer(&format!("{signed}.{signature}"));
        vm.send(&forged).assert_refused(401, "signature_invalid");
    }
    assert_eq!(checked.get(), 4);
}

#[test]
fn a_refused_token_is_not_remembered_as_good() {
    let (mut vm, checked) = counting();
    let forged = Request::call("get").bearer(&lasting().header("kid", "k1").signed_by(other_key()));
    for round in 1..4 {
        vm.send(&forged).assert_refused(401, "signature_invalid");
        assert_eq!(checked.get(), 1, "the same token under the same keys is checked once, round {round}");
    }
}

#[test]
fn the_memory_of_tokens_is_bounded_and_keeps_what_is_used() {
    let (mut vm, checked) = counting();
    let other = |n: u32| Request::call("get").bearer(&lasting().claim("jti", format!("other-{n}")).text());
    vm.send(&call()).assert_forwarded();
    for n in 0..5_000 {
        vm.send(&other(n)).assert_forwarded();
        if n % 500 == 0 {
            vm.send(&call()).assert_forwarded();
        }
    }
    assert_eq!(checked.get(), 5_001, "the one in use was never forgotten");
    vm.send(&other(0)).assert_forwarded();
    assert_eq!(checked.get(), 5_002, "the first of the others was");
}

/// As many as the memory takes of slim ones, and far more than it takes of these.
#[test]
fn the_memory_of_tokens_is_bounded_in_bytes() {
    let scopes = (1..1_000).map(|number| format!("s{number} ")).collect::<String>() + BASELINE;
    let fat = [
        lasting().claim("filler", "x".repeat(9_000)),
        lasting().claim("scope", scopes),
        lasting().claim("aud", (0..500).map(|n| format!("urn:{n}")).chain([RESOURCE.to_owned()]).collect::<Vec<_>>()),
    ];
    for token in fat {
        let (mut vm, checked) = counting();
        let call = |n: u32| Request::call("get").bearer(&token.clone().claim("jti", format!("fat-{n}")).text());
        for n in 0..10 {
            vm.send(&call(n)).assert_forwarded();
            vm.send(&call(n)).assert_forwarded();
        }
        assert_eq!(checked.get(), 10, "they are remembered");
        for n in 10..600 {
            vm.send(&call(n)).assert_forwarded();
        }
        vm.send(&call(0)).assert_forwarded();
        assert_eq!(checked.get(), 601, "six hundred of them are too many to keep");
    }
}

#[test]
fn a_token_without_kid_is_tried_with_one_key_where_checks_are_slow() {
    let keys: Vec<Json> = (0..32).map(|n| with(other_key().jwk(), "/kid", json!(format!("o{n}")))).collect();
    let place = "/issuers/https:~1~1as.example.com/keys";
    let document = with(document(json!({ "get": { "scope": [] } })), place, json!({ "keys": keys }));
    let (mut vm, checked) = Vm::counting(&load(&document));
    vm.send(&Request::call("get").bearer(&lasting().without_kid().text())).assert_refused(401, "key_unknown");
    assert_eq!(checked.get(), 0, "which of 32 is anybody's guess");
    let document = with(document, place, json!({ "keys": [key().jwk()] }));
    let (mut vm, checked) = Vm::counting(&load(&document));
    vm.send(&Request::call("get").bearer(&lasting().without_kid().text())).assert_forwarded();
    assert_eq!(checked.get(), 1);
}

#[test]
fn p28_slow_signatures_that_fail_are_bounded_in_a_second() {
    let (mut vm, checked) = counting();
    let forged = |n: usize| {
        let token = lasting().claim("jti", format!("forged-{n}")).header("kid", "k1").signed_by(other_key());
        Request::call("get").bearer(&token)
    };
    let told = |vm: &mut Vm, n| {
        let answer = vm.send(&forged(n)).answer().clone();
        (answer.status, answer.json()["error"]["data"]["reason"].as_str().unwrap().to_owned())
    };
    for n in 0..50 {
        assert_eq!(told(&mut vm, n), (401, "signature_invalid".to_owned()), "{n}");
    }
    assert_eq!(told(&mut vm, 50), (503, "signature_rate".to_owned()));
    assert_eq!(checked.get(), 50);
    vm.pass(1_000);
    vm.send(&call()).assert_forwarded();
}

#[test]
fn a_fetch_that_brings_nothing_checks_no_signature_again() {
    // Whoever can write a token can have 256 of them wait. All at once they would hold up the worker.
    let (mut vm, checked) = Vm::counting(&policy());
    vm.pass(100);
    let (id, _) = vm.take_calls().remove(0);
    vm.reply(id, Ok((200, &old_keys())));
    vm.pass(31_000);
    let forged = Request::call("get").bearer(&lasting().header("kid", "k1").signed_by(other_key()));
    for _ in 0..256 {
        vm.head(&forged);
    }
    vm.pass(100);
    let (id, _) = vm.take_calls().remove(0);
    let before = checked.get();
    vm.reply(id, Err(CallFault::Unanswered));
    assert_eq!(checked.get() - before, 0, "checks in one callback");
}
