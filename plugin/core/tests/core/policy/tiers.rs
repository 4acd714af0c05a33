//! P5: tier and rule.

use super::*;

#[test]
fn p05_scopes_add_up() {
    let document = tiered(json!({ "scope": ["a"], "max_age": "1h" }), json!({ "tier": "t", "scope": ["b"] }));
    let fresh = |scope: &str| Token::new(scope).claim("auth_time", START).text();
    judge(&document, &fresh("mcp:connect a b"), "get").assert_forwarded();
    judge(&document, &fresh("mcp:connect a"), "get").assert_refused(403, "scope_missing");
    judge(&document, &fresh("mcp:connect b"), "get").assert_refused(403, "scope_missing");
}

#[test]
fn p05_deny_in_either_place_denies() {
    for (tier, rule) in [
        (json!({ "deny": true }), json!({ "tier": "t", "scope": [] })),
        (json!({ "scope": [] }), json!({ "tier": "t", "deny": true })),
        (json!({ "deny": true }), json!({ "tier": "t" })),
    ] {
        judge(&tiered(tier, rule), &token(BASELINE), "get").assert_refused(403, "denied");
    }
    judge(&document(json!({ "get": { "deny": true } })), &token(BASELINE), "get").assert_refused(403, "denied");
    judge(&document(json!({ "get": "deny" })), &token(BASELINE), "get").assert_refused(403, "denied");
}

#[test]
fn p05_deny_cannot_be_taken_back() {
    assert_faulty(&tiered(json!({ "deny": true }), json!({ "tier": "t", "deny": false })), &["tools.get.deny"]);
    assert_faulty(&document(json!({ "get": { "scope": [], "deny": "no" } })), &["tools.get.deny"]);
    assert_faulty(&document(json!({ "get": "allow" })), &["tools.get"]);
}

#[test]
fn p05_the_smaller_time_holds() {
    for (tier, rule) in [("5m", "9m"), ("9m", "5m")] {
        let lifetime =
            tiered(json!({ "max_lifetime": tier }), json!({ "tier": "t", "scope": [], "max_lifetime": rule }));
        let token = |seconds| Token::new(BASELINE).lifetime(seconds).text();
        judge(&lifetime, &token(300), "get").assert_forwarded();
        judge(&lifetime, &token(301), "get").assert_refused(403, "token_too_long_lived_for_rule");

        let age = tiered(json!({ "max_age": tier }), json!({ "tier": "t", "scope": [], "max_age": rule }));
        let token = |age| Token::new(BASELINE).claim("auth_time", START - age).text();
        judge(&age, &token(300), "get").assert_forwarded();
        judge(&age, &token(301), "get").assert_refused(403, "login_too_old");
    }
}

#[test]
fn p05_step_up_is_said_once() {
    let rule = |step_up: &str| json!({ "tier": "t", "scope": "a", "step_up": step_up });
    let tier = |step_up: &str| json!({ "step_up": step_up, "max_age": "1h" });
    assert_fault(&tiered(tier("none"), rule("challenge")), &["tools.get", "step_up"]);
    assert_fault(&tiered(tier("challenge"), rule("none")), &["tools.get", "step_up"]);
    load(&tiered(tier("none"), rule("none")));
    let inherited = tiered(tier("none"), json!({ "tier": "t", "scope": "a" }));
    judge(&inherited, &token(BASELINE), "get").assert_refused(403, "scope_not_obtainable");
}

#[test]
fn p05_an_unknown_tier_is_an_error_and_an_unused_one_a_warning() {
    assert_fault(&document(json!({ "get": { "tier": "wirte", "scope": [] } })), &["tools.get.tier", "`wirte`"]);
    let unused = tiered(json!({ "scope": [], "max_age": "1h" }), open());
    assert!(warnings(&unused).contains("tiers.t: a tier that no rule uses"), "{}", warnings(&unused));
    let used = tiered(json!({ "scope": [], "max_age": "1h" }), json!({ "tier": "t" }));
    assert_eq!(warnings(&used), "");
}

#[test]
fn p05_the_order_of_writing_never_matters() {
    let parts = [
        r#""version": 1"#.to_owned(),
        format!(
            r#""issuers": {{ "{ISSUER}": {{ "algorithms": ["EdDSA"], "keys": {{ "keys": [{}] }} }} }}"#,
            key().jwk()
        ),
        format!(r#""resource": "{RESOURCE}""#),
        r#""baseline": ["mcp:connect"]"#.to_owned(),
        r#""scopes": { "b": { "implies": ["a"] }, "c": { "implies": ["b"] } }"#.to_owned(),
        r#""tiers": { "t": { "scope": ["a"], "max_lifetime": "1h", "step_up": "none" } }"#.to_owned(),
        r#""tools": { "*": "deny", "get_*": { "scope": ["c"], "tier": "t" }, "get_all": { "scope": [] } }"#.to_owned(),
    ];
    let mut answers = Vec::new();
    for start in 0..parts.len() {
        let order: Vec<&str> = (0..parts.len()).map(|at| parts[(start + at) % parts.len()].as_str()).collect();
        let policy =
            Policy::load(format!("{{ {} }}", order.join(", ")).as_bytes(), &step_up_core::NoEnvironment).unwrap();
        let mut vm = Vm::new(&policy.into());
        let mut outcome = |scope: &str, tool: &str| {
            let settled = vm.send(&Request::call(tool).bearer(&token(scope)));
            (settled.reason().to_owned(), settled.rule().map(str::to_owned))
        };
        answers.push([
            outcome(BASELINE, "get_x"),
            outcome("mcp:connect c", "get_x"),
            outcome("mcp:connect b", "get_x"),
            outcome(BASELINE, "get_all"),
            outcome(BASELINE, "drop"),
        ]);
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
}
