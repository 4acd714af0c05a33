//! How a call gets what it lacks.

use super::*;

// P6: step_up.

#[test]
fn p06_a_missing_scope_is_challenged_unless_the_rule_says_none() {
    for rule in [json!({ "scope": "a" }), json!({ "scope": "a", "step_up": "challenge" })] {
        let settled = judge(&document(json!({ "get": rule })), &token(BASELINE), "get");
        settled.assert_refused(403, "scope_missing");
        assert!(settled.challenge().is_some());
    }
    let settled = judge(&document(json!({ "get": { "scope": "a", "step_up": "none" } })), &token(BASELINE), "get");
    settled.assert_refused(403, "scope_not_obtainable");
    assert_eq!(settled.challenge(), None);
    assert_eq!(settled.answer().code(), Some(40301));
}

#[test]
fn p06_none_lets_pass_who_holds_the_scope() {
    let document = document(json!({ "get": { "scope": "a", "step_up": "none" } }));
    judge(&document, &token("mcp:connect a"), "get").assert_forwarded();
}

#[test]
fn p06_exchange_needs_a_token_service_and_something_to_obtain() {
    let rule = json!({ "scope": "a", "step_up": "exchange" });
    assert_fault(&document(json!({ "get": rule })), &["tools.get", "`exchange` needs `token_service`"]);
    let tier = tiered(json!({ "step_up": "exchange" }), json!({ "tier": "t", "scope": "a" }));
    assert_fault(&tier, &["tools.get", "`exchange` needs `token_service`"]);
    load(&exchanging(json!({ "scope": "a" })));
    load(&exchanging(json!({ "scope": [], "audience": "urn:other" })));
    assert_fault(&exchanging(json!({ "scope": [] })), &["tools.get", "an exchange for nothing"]);
    assert_fault(&exchanging(json!({ "scope": [], "audience": RESOURCE })), &["tools.get", "an exchange for nothing"]);
    for step_up in [json!("approval"), json!("Challenge"), json!(true), json!(null)] {
        assert_faulty(&document(json!({ "get": { "scope": "a", "step_up": step_up } })), &["tools.get.step_up"]);
    }
}

/// A document whose one tool is elevated for.
fn exchanging(rule: Json) -> Json {
    let mut rule = rule;
    rule["step_up"] = json!("exchange");
    with(document(json!({ "get": rule })), "/token_service", service())
}

fn service() -> Json {
    json!({
        "issuer": ISSUER,
        "cluster": "as-token",
        "token": "https://as.example.com/token",
        "revoke": "https://as.example.com/revoke",
        "client": { "id": "step-up-filter", "auth": "cluster" },
    })
}

#[test]
fn p08_a_rule_without_may_elevate_is_warned_of() {
    let warned = |rule| load(&exchanging(rule)).warnings().iter().any(|warning| warning.problem.contains("(P8)"));
    assert!(warned(json!({ "scope": "a" })));
    assert!(!warned(json!({ "scope": "a", "may_elevate": { "client": "c" } })));
}

#[test]
fn p08_conditions_are_one_of_a_few_forms() {
    let rule = |condition: Json| exchanging(json!({ "scope": "a", "may_elevate": condition }));
    for good in [
        json!({ "client": ["https://agents.example.com/ci.json", "b"] }),
        json!({ "claim": "groups", "in": ["ops", 7] }),
        json!({ "claim": "/a~1b/c", "present": true }),
        json!({ "all": [{ "client": "c" }, { "not": { "claim": "level", "below": 2 } }] }),
        json!({ "source": "spiffe://td.example/ns/a/sa/b" }),
    ] {
        load(&rule(good));
    }
    for bad in [
        json!({}),
        json!("c"),
        json!({ "client": 7 }),
        json!({ "client": "a", "source": "b" }),
        json!({ "claim": "a" }),
        json!({ "claim": "a", "in": ["b"], "equals": "c" }),
        json!({ "claim": "a", "like": "b" }),
        json!({ "any": [] }),
        json!({ "client": "https://user@evil.example/x" }),
    ] {
        assert!(!faults(&rule(bad.clone())).is_empty(), "{bad}");
    }
}

#[test]
fn p09_standing_needs_scopes_and_bears_no_fallback() {
    let refuse = json!({ "scope": [], "audience": "urn:x", "standing": "refuse" });
    assert_fault(&exchanging(refuse), &["tools.get", "`standing` without scopes"]);
    let both = json!({ "scope": "a", "standing": "refuse", "fallback": "challenge" });
    assert_fault(&exchanging(both), &["tools.get", "`standing: refuse` beside `fallback: challenge`"]);
}

#[test]
fn p11_ttl_has_bounds() {
    let rule = |ttl: &str| exchanging(json!({ "scope": "a", "ttl": ttl }));
    for good in ["1s", "60s", "5m"] {
        load(&rule(good));
    }
    for bad in ["0s", "301s", "6m", "60"] {
        assert_fault(&rule(bad), &["tools.get.ttl"]);
    }
    load(&with(rule("10m"), "/limits", json!({ "max_ttl": "10m" })));
}

#[test]
fn words_of_an_exchange_need_an_exchange() {
    for (word, value) in [
        ("ttl", json!("60s")),
        ("standing", json!("refuse")),
        ("fallback", json!("challenge")),
        ("may_elevate", json!({ "client": "c" })),
        ("audience", json!("urn:x")),
    ] {
        let rule = with(document(json!({ "get": needs("a") })), &format!("/tools/get/{word}"), value);
        assert_fault(&rule, &[&format!("tools.get.{word}: `{word}` needs `step_up: exchange`")]);
    }
}

#[test]
fn the_token_service_is_checked_when_loaded() {
    let with_service =
        |place: &str, value| with(exchanging(json!({ "scope": "a" })), &format!("/token_service{place}"), value);
    for (place, value, at) in [
        ("/issuer", json!("https://other.example.com"), "token_service.issuer"),
        ("/subject_issuers", json!(["https://other.example.com"]), "token_service.subject_issuers[0]"),
        ("/token", json!("http://as.example.com/token"), "token_service.token"),
        ("/revoke", json!("revoke"), "token_service.revoke"),
        ("/client", json!({ "id": "x" }), "token_service.client"),
        ("/client", json!({ "id": "x", "secret_env": "STEP_UP_SECRET" }), "token_service.client.secret_env"),
        ("/client", json!({ "id": "x", "secret": "s" }), "token_service.client.secret"),
        ("/timeout", json!("soon"), "token_service.timeout"),
    ] {
        assert_fault(&with_service(place, value), &[at]);
    }
}

// P10, first sentence.

#[test]
fn p10_any_other_audience_than_the_resource_needs_an_exchange() {
    load(&document(json!({ "get": { "scope": "a", "audience": RESOURCE } })));
    for audience in ["https://git.internal/admin", "https://mcp.example.com/mcp/", "HTTPS://mcp.example.com/mcp"] {
        let rule = json!({ "scope": "a", "audience": audience });
        assert_fault(&document(json!({ "get": rule })), &["tools.get.audience", "exchange"]);
    }
}

#[test]
fn p18_words_that_one_might_look_for_are_refused_by_name() {
    let rule = ["approval", "after", "reuse", "seal", "secret"];
    let server = ["session", "seal", "require"];
    let top = ["approval", "after"];
    let places = rule.iter().map(|word| ("/tools/get", "tools.get.", word));
    let places = places.chain(rule.iter().map(|word| ("/tiers/t", "tiers.t.", word)));
    let places = places.chain(top.iter().chain(&server).map(|word| ("", "", word)));
    for (place, path, word) in places {
        let good = tiered(json!({ "max_age": "1h" }), json!({ "scope": "a", "tier": "t" }));
        let document = with(good, &format!("{place}/{word}"), json!("x"));
        assert_fault(&document, &[&format!("{path}{word}: `{word}` is not part of this version")]);
    }
}

#[test]
fn p12_reuse_of_elevated_tokens_is_refused_by_name() {
    for word in ["reuse", "once"] {
        let rule = with(document(json!({ "get": needs("a") })), &format!("/tools/get/{word}"), json!("30s"));
        assert_fault(&rule, &[&format!("tools.get.{word}: `{word}` is not part of this version")]);
    }
}
