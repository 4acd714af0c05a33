//! What the token service says, row by row.

use super::*;

const ROWS: [(u16, &str, u16, i64, &str); 40] = [
    (400, r#"{"error":"interaction_required"}"#, 403, 40302, "elevation_needs_user"),
    (400, r#"{"error":"consent_required"}"#, 403, 40302, "elevation_needs_user"),
    (401, r#"{"error":"insufficient_user_authentication"}"#, 403, 40302, "elevation_needs_user"),
    (400, r#"{"error":"invalid_grant"}"#, 401, 40101, "subject_token_rejected"),
    (400, r#"{"error":"invalid_grant","error_description":null}"#, 401, 40101, "subject_token_rejected"),
    (400, r#"{"error":"access_denied"}"#, 403, 40302, "elevation_refused"),
    (403, r#"{"error":"access_denied"}"#, 403, 40302, "elevation_refused"),
    (400, r#"{"error":"invalid_scope"}"#, 403, 40302, "elevation_refused"),
    (400, r#"{"error":"invalid_target"}"#, 403, 40302, "elevation_refused"),
    (400, r#"{"error":"invalid_request"}"#, 403, 40302, "elevation_refused"),
    (400, r#"{"error":"something_new"}"#, 403, 40302, "elevation_refused"),
    (400, r#"{"error":null}"#, 403, 40302, "elevation_refused"),
    (400, r#"{"error":["invalid_grant"]}"#, 403, 40302, "elevation_refused"),
    (403, "", 403, 40302, "elevation_refused"),
    (418, "<html>", 403, 40302, "elevation_refused"),
    (401, r#"{"error":"invalid_client"}"#, 503, 50301, "filter_not_accepted"),
    (400, r#"{"error":"invalid_client"}"#, 403, 40302, "elevation_refused"),
    (400, r#"{"error":"unauthorized_client"}"#, 503, 50301, "filter_not_accepted"),
    (400, r#"{"error":"unsupported_grant_type"}"#, 503, 50301, "filter_not_accepted"),
    (401, "", 503, 50301, "filter_not_accepted"),
    (404, "", 503, 50301, "filter_not_accepted"),
    (301, "", 503, 50301, "filter_not_accepted"),
    (302, "", 503, 50301, "filter_not_accepted"),
    (307, "{}", 503, 50301, "filter_not_accepted"),
    (429, r#"{"error":"slow_down"}"#, 503, 50300, "elevation_unavailable"),
    (500, "", 503, 50300, "elevation_unavailable"),
    (502, "<html>", 503, 50300, "elevation_unavailable"),
    (503, r#"{"error":"temporarily_unavailable"}"#, 503, 50300, "elevation_unavailable"),
    (504, "", 503, 50300, "elevation_unavailable"),
    (200, "", 503, 50300, "elevation_unavailable"),
    (200, "null", 503, 50300, "elevation_unavailable"),
    (200, "[]", 503, 50300, "elevation_unavailable"),
    (200, "{}", 503, 50300, "elevation_unavailable"),
    (200, "ok", 503, 50300, "elevation_unavailable"),
    (200, "\u{feff}{}", 503, 50300, "elevation_unavailable"),
    (200, r#"{"access_token":null}"#, 503, 50300, "elevation_unavailable"),
    (200, r#"{"access_token":""}"#, 503, 50300, "elevation_unavailable"),
    (200, r#"{"access_token":5}"#, 503, 50300, "elevation_unavailable"),
    (200, r#"{"error":"invalid_grant"}"#, 503, 50300, "elevation_unavailable"),
    (204, "", 503, 50300, "elevation_unavailable"),
];

#[test]
fn the_answers_of_the_token_service_row_by_row() {
    for (said, body, status, code, reason) in ROWS {
        let mut vm = vm();
        let (stream, id) = exchange(&mut vm, &call());
        vm.reply(id, Ok((said, body.as_bytes())));
        assert_refused(&vm.settled(stream), status, code, reason, &format!("{said} {body}"));
        assert!(
            vm.take_calls().is_empty() && vm.is_idle(),
            "{said} {body}: nothing was minted, nothing is asked again"
        );
        assert_eq!(exchanges_counted(&vm, reason), 1, "{said} {body}");
    }
}

#[test]
fn a_token_service_that_cannot_be_reached_is_unavailable() {
    for fault in [CallFault::Refused, CallFault::Unanswered] {
        let mut vm = vm();
        let (stream, id) = exchange(&mut vm, &call());
        vm.reply(id, Err(fault));
        assert_refused(&vm.settled(stream), 503, 50300, "elevation_unavailable", "unreachable");
        assert!(vm.take_calls().is_empty() && vm.is_idle());
    }
}

#[test]
fn an_answer_of_more_than_64_kib_is_nonsense() {
    for (padding, accepted) in [(60_000, true), (70_000, false)] {
        let mut vm = vm();
        let (stream, id) = exchange(&mut vm, &call());
        let mut body = answer(&good().text());
        body["padding"] = json!("x".repeat(padding));
        say(&mut vm, id, 200, &body);
        assert_eq!(vm.elevated(stream).is_some(), accepted);
        if !accepted {
            assert_refused(&vm.settled(stream), 503, 50300, "elevation_unavailable", "large");
        }
    }
}

#[test]
fn a_failing_token_service_is_not_the_callers_fault() {
    for status in [500, 502, 503] {
        for error in ["invalid_grant", "interaction_required", "access_denied"] {
            let mut vm = vm();
            let (stream, id) = exchange(&mut vm, &call());
            say(&mut vm, id, status, &json!({ "error": error }));
            assert_refused(&vm.settled(stream), 503, 50300, "elevation_unavailable", error);
        }
    }
}

#[test]
fn the_challenge_of_a_rule_that_falls_back_names_what_would_have_been_obtained() {
    for error in ["interaction_required", "consent_required", "insufficient_user_authentication"] {
        let mut vm = Vm::new(&load(&exchanging(json!({ "fallback": "challenge", "scope": ["z", "a"] }))));
        let (stream, id) = exchange(&mut vm, &call());
        say(&mut vm, id, 400, &json!({ "error": error }));
        let settled = vm.settled(stream);
        settled.assert_refused(403, "elevation_needs_user");
        let challenge = settled.challenge().expect("a challenge");
        let expected =
            format!(r#"Bearer error="insufficient_scope", scope="a mcp:connect z", resource_metadata="{METADATA}""#);
        assert!(challenge.starts_with(&expected), "{challenge}");
        assert_eq!(settled.record["verdict"], "challenge");
    }
    for error in ["access_denied", "invalid_scope", "invalid_client"] {
        let mut vm = Vm::new(&load(&exchanging(json!({ "fallback": "challenge" }))));
        let (stream, id) = exchange(&mut vm, &call());
        say(&mut vm, id, 400, &json!({ "error": error }));
        assert_eq!(vm.settled(stream).challenge(), None, "{error}: the user cannot help");
    }
}

#[test]
fn a_token_that_its_issuer_rejects_is_refused_until_its_end() {
    let (mut vm, signatures) = Vm::counting(&load(&plain()));
    let (stream, id) = exchange(&mut vm, &call());
    say(&mut vm, id, 400, &json!({ "error": "access_denied" }));
    vm.settled(stream).assert_refused(403, "elevation_refused");
    let (stream, id) = exchange(&mut vm, &call());
    assert_eq!(signatures.get(), 1, "seen before");
    say(&mut vm, id, 400, &json!({ "error": "invalid_grant" }));
    assert!(vm.settled(stream).challenge().unwrap().contains(r#"error="invalid_token""#));
    let again = vm.send(&call());
    again.assert_refused(401, "subject_token_rejected");
    vm.send(&Request::method("ping", json!({})).bearer(&token(BASELINE))).assert_refused(401, "subject_token_rejected");
    assert!(vm.take_calls().is_empty(), "the token service is not asked again");
    assert_eq!(signatures.get(), 1);
    exchange(&mut vm, &call().bearer(&caller(1)));
}
