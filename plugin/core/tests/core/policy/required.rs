//! P2: required and empty.

use super::*;

#[test]
fn p02_required_fields() {
    let good = document(json!({ "get": open() }));
    load(&good);
    for field in ["version", "issuers", "resource", "baseline"] {
        assert_fault(&without(good.clone(), &format!("/{field}")), &[&format!("`{field}` is missing")]);
    }
    assert_fault(&without(good.clone(), "/tools"), &["no rule (P2)"]);
    for kind in ["prompts", "resources", "methods"] {
        load(&with(without(good.clone(), "/tools"), &format!("/{kind}"), json!({ "x/y": open() })));
        assert_fault(&with(good.clone(), &format!("/{kind}"), json!({})), &[&format!("{kind}: no rule")]);
    }
    let server = json!({ "resource": RESOURCE, "baseline": [], "tools": { "get": open() } });
    let several = with(without(without(without(good, "/resource"), "/baseline"), "/tools"), "/servers", json!({}));
    assert_faulty(&several, &["servers"]);
    let several = with(several, "/servers/git", server);
    load(&several);
    for (field, problem) in
        [("resource", "`resource` is missing"), ("baseline", "`baseline` is missing"), ("tools", "no rule")]
    {
        let broken = without(several.clone(), &format!("/servers/git/{field}"));
        assert_fault(&broken, &["servers.git", problem]);
    }
}

#[test]
fn p02_at_least_one_issuer_and_one_rule() {
    let good = document(json!({ "get": open() }));
    assert_faulty(&with(good.clone(), "/issuers", json!({})), &["issuers"]);
    assert_faulty(&with(good, "/tools", json!({})), &["tools"]);
}

#[test]
fn p02_an_empty_rule_is_a_load_error() {
    for rule in [json!({}), Json::Null] {
        assert_fault(&document(json!({ "get": rule, "list": open() })), &["tools.get", "scope: []"]);
    }
    assert_fault(&document(json!({ "get": { "step_up": "none" } })), &["tools.get", "`scope` is missing"]);
    assert_fault(&document(json!({ "get": { "allow_weaker": true } })), &["tools.get", "`scope` is missing"]);
}

#[test]
fn p02_a_rule_that_asks_for_nothing_says_so() {
    judge(&document(json!({ "get": open() })), &token(BASELINE), "get").assert_forwarded();
    let tier = with(document(json!({ "get": { "tier": "open" } })), "/tiers", json!({ "open": { "scope": [] } }));
    judge(&tier, &token(BASELINE), "get").assert_forwarded();
}

#[test]
fn p02_star_for_nothing_is_accepted_with_a_warning() {
    let document = document(json!({ "*": open() }));
    assert!(warnings(&document).contains("`*` asks for nothing"));
    judge(&document, &token(BASELINE), "anything").assert_forwarded();
    assert_eq!(warnings(&support::document(json!({ "*": needs("a") }))), "");
}

#[test]
fn p02_an_empty_baseline_is_accepted_with_a_warning() {
    let document = with(document(json!({ "get": open() })), "/baseline", json!([]));
    assert!(warnings(&document).contains("empty baseline"));
    judge(&document, &token(""), "get").assert_forwarded();
    judge(&document, &Token::new("").without("scope").text(), "get").assert_forwarded();
    judge(&document, &Token::new("").claim("aud", "https://other.example.com/mcp").text(), "get")
        .assert_refused(401, "audience_mismatch");
}
