//! Shadow.

use super::*;

#[test]
fn p15_in_shadow_nothing_is_exchanged() {
    let shadow = |document| with(with(document, "/mode", json!("shadow")), "/until", json!("2027-03-01"));
    let here = || exchanging(json!({ "audience": null }));
    let mut vm = Vm::new(&load(&shadow(here())));
    let settled = vm.send(&call().header("dpop", "proof"));
    assert!(settled.removed().is_empty(), "the caller's own token goes, with its proof");
    assert_eq!(settled.record["would"], json!({ "verdict": "elevate", "reason": "elevated" }));
    assert_eq!((&settled.record["verdict"], &settled.record["mode"]), (&json!("permit"), &json!("shadow")));
    assert!(vm.take_calls().is_empty());
    // To another audience the caller's token must not go.
    let mut vm = Vm::new(&load(&shadow(plain())));
    let settled = vm.send(&call());
    settled.assert_refused(403, "shadow_cannot_exchange");
    assert_eq!((settled.answer().code(), settled.challenge()), (Some(40301), None));
    assert!(vm.take_calls().is_empty() && vm.is_idle());
}

/// A rule of the same audience as the caller's token, and one of another, in shadow.
fn in_shadow(more: &Json, scope: &str) -> [Settled; 2] {
    [json!(null), json!(ADMIN)].map(|audience| {
        let mut rule = more.clone();
        rule["audience"] = audience;
        let document = with(with(exchanging(rule), "/mode", json!("shadow")), "/until", json!("2027-03-01"));
        let mut vm = Vm::new(&load(&document));
        let settled = vm.send(&call().bearer(&token(scope)));
        assert!(vm.take_calls().is_empty());
        settled
    })
}

#[test]
fn p15_eligibility_and_standing_are_verdicts_of_the_policy() {
    let mut refused = Vec::new();
    for (rule, scope, reason) in [
        (json!({ "may_elevate": { "client": "x" } }), BASELINE, "not_eligible"),
        (json!({ "standing": "refuse" }), "mcp:connect repo:admin", "standing_privilege"),
        (json!({}), "other", "scope_missing"),
        (json!({ "deny": true }), BASELINE, "denied"),
    ] {
        let [here, _] = in_shadow(&rule, scope);
        if !here.is_forwarded() || here.record["would"]["reason"] != reason {
            refused.push(here.reason().to_owned());
        }
    }
    assert!(refused.is_empty(), "enforced in shadow mode: {refused:?}");
}

#[test]
fn p15_the_callers_token_never_goes_to_another_audience() {
    let mut forwarded = Vec::new();
    for (rule, scope) in [
        (json!({ "may_elevate": { "client": "x" } }), BASELINE),
        (json!({ "standing": "refuse" }), "mcp:connect repo:admin"),
        (json!({}), "other"),
        (json!({ "max_lifetime": "1m" }), BASELINE),
        (json!({ "deny": true }), BASELINE),
    ] {
        let [_, elsewhere] = in_shadow(&rule, scope);
        if elsewhere.is_forwarded() {
            forwarded.push(elsewhere.record["would"]["reason"].clone());
        }
    }
    assert!(forwarded.is_empty(), "enforcement would refuse, and so must shadow: {forwarded:?}");
}

#[test]
fn p15_a_token_of_the_filter_itself_is_refused_in_shadow_too() {
    let document = with(with(plain(), "/mode", json!("shadow")), "/until", json!("2027-03-01"));
    let own = Token::new(BASELINE).claim("client_id", FILTER).text();
    Vm::new(&load(&document)).send(&call().bearer(&own)).assert_refused(401, "own_token_presented");
}
