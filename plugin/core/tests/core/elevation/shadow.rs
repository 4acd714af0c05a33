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

/// Rules of the caller's own audience, and of another, in shadow.
fn two_audiences() -> Vm {
    let mut document = with(with(plain(), "/mode", json!("shadow")), "/until", json!("2027-03-01"));
    let elsewhere = document["tools"]["delete"].clone();
    document["tools"] = json!({
        "delete": elsewhere.clone(),
        "admin_*": elsewhere.clone(),
        "ops/reset": elsewhere.clone(),
        "ops//wipe": elsewhere.clone(),
        "Überblick": elsewhere,
        "get_*": { "scope": [] },
        "shell": "deny",
    });
    Vm::new(&load(&document))
}

/// A name that no rule may be asked about goes upstream in shadow mode with the caller's token: but never to where any reading of it
/// leads elsewhere.
#[test]
fn p15_a_confusable_name_is_not_forwarded_where_a_reading_leads_to_another_audience() {
    let mut vm = two_audiences();
    for name in [
        "Delete",
        "DELETE",
        "Admin_reset",
        "delete ",
        " delete",
        "\u{a0}delete",
        "del\u{200b}ete",
        "delete\t",
        "ns/../delete",
        "ns//delete",
        "./delete",
        "ns/../DELETE",
        "get_/../delete",
        "get_a/../admin_reset",
        "ns/x y/delete",
        "github//admin_reset",
        // Each by one reading alone: as a path, trimmed, without what is not plain.
        "ops/x/../reset",
        "Überblick ",
        "ops//wi\u{200b}pe",
    ] {
        let settled = vm.send(&Request::call(name).bearer(&token(BASELINE)));
        settled.assert_refused(403, "shadow_cannot_exchange");
        assert_eq!((settled.answer().code(), settled.challenge()), (Some(40301), None), "{name:?}");
        assert_eq!(settled.record.get("would"), None, "{name:?} is refused in earnest");
    }
    assert!(vm.take_calls().is_empty());
}

#[test]
fn p15_a_confusable_name_that_leads_nowhere_else_is_forwarded() {
    let mut vm = two_audiences();
    for name in ["Shell", "shell ", "get_/../shell", "GET_x", "ns//get_x", "un known"] {
        let settled = vm.send(&Request::call(name).bearer(&token(BASELINE)));
        settled.assert_forwarded();
        assert_eq!(settled.record["would"]["reason"], "name_confusable", "{name:?}");
    }
}
