//! P13: freshness.

use super::*;

#[test]
fn p13_the_lifetime_of_the_token_is_bounded_without_leeway() {
    let document = document(json!({ "drop": { "scope": "a", "max_lifetime": "5m" }, "get": open() }));
    let token = |seconds| Token::new("mcp:connect a").lifetime(seconds).text();
    judge(&document, &token(300), "drop").assert_forwarded();
    let refused = judge(&document, &token(301), "drop");
    refused.assert_refused(403, "token_too_long_lived_for_rule");
    assert_eq!((refused.challenge(), refused.answer().code()), (None, Some(40303)));
    judge(&document, &token(301), "get").assert_forwarded();
}

#[test]
fn p13_an_issuer_can_bound_the_lifetime_of_all_its_tokens() {
    let document = document(json!({ "get": open() }));
    let document = with(document, "/issuers/https:~1~1as.example.com/max_lifetime", json!("5m"));
    let token = |seconds| Token::new(BASELINE).lifetime(seconds).text();
    judge(&document, &token(300), "get").assert_forwarded();
    let mut vm = Vm::new(&load(&document));
    let long = Request::call("get").bearer(&token(301));
    vm.send(&long).assert_refused(403, "token_too_long_lived");
    vm.send(&long).assert_refused(403, "token_too_long_lived");
}

#[test]
fn p13_the_login_may_not_be_older_than_max_age() {
    let document = document(json!({ "drop": { "scope": "a", "max_age": "5m" } }));
    let token = |age| Token::new("mcp:connect a").claim("auth_time", START - age).text();
    judge(&document, &token(0), "drop").assert_forwarded();
    judge(&document, &token(300), "drop").assert_forwarded();
    let refused = judge(&document, &token(301), "drop");
    refused.assert_refused(403, "login_too_old");
    assert_eq!((refused.challenge(), refused.answer().code()), (None, Some(40102)));
}

#[test]
fn p13_a_login_without_time_is_too_old() {
    let document = document(json!({ "drop": { "scope": "a", "max_age": "5m" } }));
    judge(&document, &token("mcp:connect a"), "drop").assert_refused(403, "login_too_old");
}

#[test]
fn p13_a_login_in_the_future_is_no_fresh_login() {
    let document = document(json!({ "drop": { "scope": "a", "max_age": "5m" } }));
    // Milliseconds where seconds belong: the commonest way to get there.
    for time in [START + 3600, START * 1000] {
        let token = Token::new("mcp:connect a").claim("auth_time", time).text();
        judge(&document, &token, "drop").assert_refused(403, "login_too_old");
    }
}

#[test]
fn p13_freshness_is_asked_of_the_token_that_holds_the_scopes() {
    let document = document(json!({ "drop": { "scope": "a", "max_lifetime": "1m", "max_age": "1m" } }));
    let settled = judge(&document, &token(BASELINE), "drop");
    settled.assert_refused(403, "scope_missing");
    assert!(settled.challenge().is_some(), "the client can still do something about it");
}

#[test]
fn p13_a_login_ages_while_the_token_is_cached() {
    let policy = load(&document(json!({ "drop": { "scope": "a", "max_age": "5m" } })));
    let mut vm = Vm::new(&policy);
    let call = Request::call("drop").bearer(&Token::new("mcp:connect a").claim("auth_time", START - 290).text());
    vm.send(&call).assert_forwarded();
    vm.now = NOW.plus_seconds(11);
    vm.send(&call).assert_refused(403, "login_too_old");
}

#[test]
fn p13_a_challenge_tier_with_neither_is_warned_of() {
    let rule = || json!({ "tier": "t", "scope": "a" });
    for (tier, warned) in [
        (json!({ "step_up": "challenge" }), true),
        (json!({ "scope": "b" }), true),
        (json!({ "max_lifetime": "15m" }), false),
        (json!({ "max_age": "15m" }), false),
        (json!({ "step_up": "none", "scope": "b" }), false),
        (json!({ "deny": true }), false),
    ] {
        let warnings = warnings(&tiered(tier.clone(), rule()));
        assert_eq!(warnings.contains("neither `max_lifetime` nor `max_age`"), warned, "{tier}: {warnings}");
    }
}
