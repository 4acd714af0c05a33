//! The policy language, point by point (P1 to P20), by what a gate does with it.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

mod support;

use proptest::prelude::*;
use prost::Message as _;
use serde_json::{Value as Json, json};
use step_up_core::Policy;
use support::*;

/// The pattern of the rule that decides about this name, `None` if it is refused without one.
fn rule_for(document: &Json, tool: &str) -> Option<String> {
    judge(document, &token(BASELINE), tool).rule().map(str::to_owned)
}

fn open() -> Json {
    json!({ "scope": [] })
}

fn needs(scope: &str) -> Json {
    json!({ "scope": scope })
}

// P1: match.

#[test]
fn p01_exact_beats_prefix_beats_star() {
    let document = document(json!({ "*": open(), "get_*": open(), "get_issue*": open(), "get_issue": open() }));
    for (tool, rule) in [
        ("get_issue", "get_issue"),
        ("get_issues", "get_issue*"),
        ("get_repo", "get_*"),
        ("get_", "get_*"),
        ("get", "*"),
        ("list", "*"),
        ("xget_issue", "*"),
    ] {
        assert_eq!(rule_for(&document, tool).as_deref(), Some(rule), "{tool}");
    }
}

#[test]
fn p01_an_exact_rule_beats_a_prefix_of_the_same_length() {
    let document = document(json!({ "get_*": open(), "get_": needs("a") }));
    assert_eq!(rule_for(&document, "get_").as_deref(), Some("get_"));
}

#[test]
fn p01_nothing_is_inherited() {
    let document = document(json!({
        "*": { "scope": "star", "max_lifetime": "1m" },
        "delete_*": { "scope": "repo:admin", "max_age": "1m", "step_up": "none" },
        "delete_draft": { "scope": "draft:write" },
        "delete_shell*": "deny",
        "delete_shell_log": { "scope": "log:write" },
    }));
    judge(&document, &token("mcp:connect draft:write"), "delete_draft").assert_forwarded();
    judge(&document, &token("mcp:connect log:write"), "delete_shell_log").assert_forwarded();
    let challenge = judge(&document, &token(BASELINE), "delete_draft");
    assert!(challenge.challenge().unwrap().contains(r#"scope="draft:write mcp:connect""#), "not of another rule");
}

#[test]
fn p01_no_rule_no_call() {
    let document = document(json!({ "get_*": open(), "list": open() }));
    for tool in ["ge", "lists", "lis", "delete", "_get_"] {
        judge(&document, &token(BASELINE), tool).assert_refused(403, "no_rule");
    }
}

#[test]
fn p01_the_baseline_applies_to_every_request() {
    let document = document(json!({ "get": needs("repo:read"), "open": open() }));
    for tool in ["get", "open"] {
        judge(&document, &token("repo:read"), tool).assert_refused(403, "scope_missing");
    }
    let mut vm = Vm::new(&load(&document));
    let list = Request::method("tools/list", json!({})).bearer(&token("repo:read"));
    vm.send(&list).assert_refused(403, "scope_missing");
    let stream = Request::bare("GET", "/mcp").bearer(&token("repo:read"));
    vm.send(&stream).assert_refused(403, "scope_missing");
}

#[test]
fn p01_a_pattern_has_one_star_and_it_is_the_last_character() {
    for pattern in ["get_*_all", "*get", "**", "get_**", ""] {
        let faults = faults(&document(json!({ pattern: open() })));
        assert_eq!(faults.len(), 1, "{pattern}: {faults:?}");
    }
}

#[test]
fn p01_a_prefix_that_could_match_nothing_is_a_load_error() {
    for pattern in ["get *", "löschen_*", "a\u{0}*"] {
        assert_eq!(faults(&document(json!({ pattern: open() }))).len(), 1, "{pattern}");
    }
}

#[test]
fn p01_confusable_case_is_refused_whatever_star_says() {
    let document = document(json!({ "*": open(), "delete_repo": "deny", "admin_*": "deny" }));
    for tool in ["Delete_Repo", "DELETE_REPO", "delete_repO", "Admin_x", "ADMIN_", "aDmin_x"] {
        judge(&document, &token(BASELINE), tool).assert_refused(403, "name_confusable");
    }
    judge(&document, &token(BASELINE), "Delete_Repos").assert_forwarded();
}

#[test]
fn p01_confusable_case_is_refused_in_both_directions() {
    let document = document(json!({ "*": open(), "GetUser": needs("user:read"), "Admin*": needs("admin") }));
    judge(&document, &token("mcp:connect user:read"), "GetUser").assert_forwarded();
    judge(&document, &token("mcp:connect admin"), "AdminX").assert_forwarded();
    for tool in ["getuser", "GETUSER", "adminx", "ADMINX"] {
        judge(&document, &token("mcp:connect user:read admin"), tool).assert_refused(403, "name_confusable");
    }
}

#[test]
fn p01_confusable_folding_may_not_change_which_prefix_is_longest() {
    let document = document(json!({ "get*": open(), "GETall*": needs("all") }));
    judge(&document, &token("mcp:connect all"), "GETall_x").assert_forwarded();
    judge(&document, &token(BASELINE), "getall_x").assert_refused(403, "name_confusable");
    judge(&document, &token(BASELINE), "getter").assert_forwarded();
}

#[test]
fn p01_confusable_names_outside_the_alphabet_match_exact_rules_only() {
    let document = document(json!({ "*": open(), "delete_*": open(), "say hello": needs("hello"), "größe": open() }));
    let long = "x".repeat(129);
    for tool in [
        "delete_repo ",
        " delete_repo",
        "delete_repo\n",
        "delete_repo\u{0}",
        "\u{ff44}elete_repo",
        "delete_repo\u{200b}",
        "delete_\u{212a}",
        "say  hello",
        "a*",
        "*",
        "delete_*",
        "",
        &long,
    ] {
        judge(&document, &token("mcp:connect hello"), tool).assert_refused(403, "name_confusable");
    }
    judge(&document, &token("mcp:connect hello"), "say hello").assert_forwarded();
    judge(&document, &token(BASELINE), "größe").assert_forwarded();
    judge(&document, &token(BASELINE), &"x".repeat(128)).assert_forwarded();
    judge(&document, &token(BASELINE), "A.b_c:d/e-9").assert_forwarded();
}

#[test]
fn p01_confusable_rules_are_a_load_error() {
    assert_faulty(&document(json!({ "getUser": open(), "getuser": open() })), &["tools.getuser"]);
    assert_faulty(&document(json!({ "Get*": open(), "get*": open() })), &["tools.get*"]);
    load(&document(json!({ "get": open(), "Get*": open() })));
}

#[test]
fn p01_warns_where_a_more_specific_rule_asks_less() {
    let cases = [
        (json!({ "delete_*": needs("admin"), "delete_draft": open() }), true),
        (json!({ "delete_*": needs("admin"), "delete_draft": needs("other") }), true),
        (json!({ "delete_*": needs("admin"), "delete_d*": open() }), true),
        (json!({ "*": "deny", "get": open() }), true),
        (json!({ "*": { "scope": "a", "max_lifetime": "5m" }, "get": needs("a") }), true),
        (json!({ "*": { "scope": "a", "max_lifetime": "5m" }, "get": { "scope": "a", "max_lifetime": "6m" } }), true),
        (json!({ "*": { "scope": "a", "max_age": "5m" }, "get": needs("a") }), true),
        (json!({ "delete_*": needs("admin"), "delete_draft": { "scope": [], "allow_weaker": true } }), false),
        (json!({ "delete_*": needs("admin"), "delete_draft": needs("admin") }), false),
        (json!({ "delete_*": needs("admin"), "delete_draft": { "scope": ["admin", "draft"] } }), false),
        (json!({ "delete_*": needs("admin"), "delete_draft": "deny" }), false),
        (json!({ "*": { "scope": "a", "max_lifetime": "5m" }, "get": { "scope": "a", "max_lifetime": "4m" } }), false),
        (json!({ "delete_*": needs("admin"), "list": open() }), false),
        (json!({ "delete_draft": open(), "delete_draft_*": needs("admin") }), false),
    ];
    for (tools, warned) in cases {
        let warnings = warnings(&document(tools.clone()));
        assert_eq!(warnings.contains("asks less than"), warned, "{tools}: {warnings}");
    }
}

#[test]
fn p01_a_scope_that_implies_the_other_is_not_weaker() {
    let tools = json!({ "get_*": needs("repo:read"), "get_secret": needs("repo:admin") });
    let scopes = json!({ "repo:admin": { "implies": ["repo:read"] } });
    assert_eq!(warnings(&with(document(tools), "/scopes", scopes)), "");
}

#[test]
fn p01_the_weaker_rule_and_the_lost_guard_are_both_named() {
    let warnings = warnings(&document(json!({ "delete_*": needs("admin"), "delete_draft": open() })));
    assert!(warnings.starts_with("tools.delete_draft: ") && warnings.contains("`delete_*`"), "{warnings}");
}

fn picks<'p>(patterns: &'p [String], name: &str) -> Option<&'p String> {
    let prefix = |pattern: &&String| pattern.strip_suffix('*').is_some_and(|prefix| name.starts_with(prefix));
    let exact = patterns.iter().find(|pattern| !pattern.ends_with('*') && *pattern == name);
    exact.or_else(|| patterns.iter().filter(prefix).max_by_key(|pattern| pattern.len()))
}

/// P1, read aloud.
fn naive<'p>(patterns: &'p [String], name: &str) -> Option<&'p String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.:/-".contains(c);
    let segments = name.split('/').all(|segment| !["", ".", ".."].contains(&segment));
    if !(1..=128).contains(&name.len()) || !name.chars().all(plain) || !segments {
        return patterns.iter().find(|pattern| !pattern.ends_with('*') && *pattern == name);
    }
    let lower: Vec<String> = patterns.iter().map(|pattern| pattern.to_ascii_lowercase()).collect();
    let chosen = picks(patterns, name);
    let same = chosen.map(|pattern| pattern.to_ascii_lowercase()) == picks(&lower, &name.to_ascii_lowercase()).cloned();
    chosen.filter(|_| same)
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn p01_rules_behave_like_the_naive_reading(
        patterns in prop::collection::vec("[aAbB_.]{0,4}[*]?", 1..8),
        names in prop::collection::vec("[aAbB_.]{0,6}|[aA é*]{0,3}", 1..16),
    ) {
        let mut seen = std::collections::BTreeSet::new();
        let patterns: Vec<String> = patterns
            .into_iter()
            .filter(|pattern| !pattern.is_empty() && seen.insert(pattern.to_ascii_lowercase()))
            .collect();
        prop_assume!(!patterns.is_empty());
        let tools: serde_json::Map<String, Json> = patterns.iter().map(|pattern| (pattern.clone(), open())).collect();
        let mut vm = Vm::new(&load(&document(tools.into())));
        for name in names {
            let settled = vm.send(&Request::call(&name).bearer(&token(BASELINE)));
            let expected = naive(&patterns, &name);
            prop_assert_eq!(settled.is_forwarded(), expected.is_some(), "{}", name);
            prop_assert_eq!(settled.rule(), expected.map(String::as_str), "{}", name);
        }
    }
}

// P2: required and empty.

#[test]
fn p02_required_fields() {
    let good = document(json!({ "get": open() }));
    load(&good);
    for field in ["version", "issuers", "resource", "baseline", "tools"] {
        assert_fault(&without(good.clone(), &format!("/{field}")), &[&format!("`{field}` is missing")]);
    }
    let server = json!({ "resource": RESOURCE, "baseline": [], "tools": { "get": open() } });
    let several = with(without(without(without(good, "/resource"), "/baseline"), "/tools"), "/servers", json!({}));
    assert_faulty(&several, &["servers"]);
    let several = with(several, "/servers/git", server);
    load(&several);
    for field in ["resource", "baseline", "tools"] {
        let broken = without(several.clone(), &format!("/servers/git/{field}"));
        assert_fault(&broken, &["servers.git", &format!("`{field}` is missing")]);
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

// P3: scope.

#[test]
fn p03_all_scopes_of_a_list_are_required() {
    let document = document(json!({ "merge": { "scope": ["repo:write", "ci:run"] } }));
    judge(&document, &token("mcp:connect repo:write ci:run"), "merge").assert_forwarded();
    for scope in ["mcp:connect repo:write", "mcp:connect ci:run", "repo:write ci:run"] {
        let settled = judge(&document, &token(scope), "merge");
        settled.assert_refused(403, "scope_missing");
        assert!(settled.challenge().unwrap().contains(r#"scope="ci:run mcp:connect repo:write""#));
    }
}

#[test]
fn p03_a_scope_is_one_token_of_rfc_6749() {
    for scope in ["repo:read repo:write", " a", "a ", "a\tb", "a\"b", "a\\b", "é", "a\u{7f}", "a\u{0}"] {
        assert_faulty(&document(json!({ "get": { "scope": scope } })), &["tools.get.scope"]);
        assert_faulty(&document(json!({ "get": { "scope": ["ok", scope] } })), &["tools.get.scope[1]"]);
        assert_faulty(&with(document(json!({ "get": open() })), "/baseline", json!([scope])), &["baseline[0]"]);
    }
    for scope in [json!(""), json!(1), json!(true), json!({ "a": 1 }), json!(null), json!([["a"]]), json!([""])] {
        faults(&document(json!({ "get": { "scope": scope } })));
    }
    // Braces are for names (P3), and come later.
    load(&document(json!({ "get": needs("!#$%&'()*+,-./09:;<=>?@AZ[]^_`az|~") })));
}

#[test]
fn p03_a_malformed_scope_is_not_reported_as_missing_too() {
    assert_faulty(&document(json!({ "get": { "scope": "" } })), &["tools.get.scope"]);
    assert_faulty(&document(json!({ "get": { "scope": 1 } })), &["tools.get.scope"]);
}

#[test]
fn p03_scopes_are_compared_whole_and_exactly() {
    let document = document(json!({ "get": needs("repo:read") }));
    for scope in ["mcp:connect repo:reader", "mcp:connect repo", "mcp:connect Repo:Read", "mcp:connect repo:read,x"] {
        judge(&document, &token(scope), "get").assert_refused(403, "scope_missing");
    }
}

// P4: hierarchy.

fn hierarchy(scopes: Json, tools: Json) -> Json {
    with(document(tools), "/scopes", scopes)
}

#[test]
fn p04_implication_is_transitive_and_one_way() {
    let scopes = json!({
        "repo:admin": { "implies": ["repo:write"] },
        "repo:write": { "implies": ["repo:read"] },
        "super": { "implies": ["repo:admin", "mcp:connect"] },
    });
    let document = hierarchy(
        scopes,
        json!({ "get": needs("repo:read"), "put": needs("repo:write"), "drop": needs("repo:admin") }),
    );
    for (scope, allowed) in [
        ("mcp:connect repo:read", "get"),
        ("mcp:connect repo:write", "get put"),
        ("mcp:connect repo:admin", "get put drop"),
        ("super", "get put drop"),
        ("mcp:connect", ""),
        ("repo:admin", ""),
    ] {
        for tool in ["get", "put", "drop"] {
            let settled = judge(&document, &token(scope), tool);
            assert_eq!(settled.is_forwarded(), allowed.split(' ').any(|name| name == tool), "{scope}: {tool}");
        }
    }
}

#[test]
fn p04_a_challenge_names_the_scopes_of_the_rule_and_no_broader_ones() {
    let scopes = json!({ "repo:admin": { "implies": ["repo:read"] } });
    let document = hierarchy(scopes, json!({ "get": needs("repo:read"), "drop": needs("repo:admin") }));
    let challenge = judge(&document, &token(BASELINE), "get").challenge().unwrap().to_owned();
    assert!(challenge.contains(r#"scope="mcp:connect repo:read""#), "{challenge}");
    let challenge = judge(&document, &token("repo:read"), "drop").challenge().unwrap().to_owned();
    assert!(challenge.contains(r#"scope="mcp:connect repo:admin""#), "{challenge}");
}

#[test]
fn p04_cycles_are_load_errors() {
    let tools = json!({ "get": needs("a") });
    assert_faulty(&hierarchy(json!({ "a": { "implies": ["a"] } }), tools.clone()), &["scopes.a"]);
    let cycle = json!({ "a": { "implies": ["b"] }, "b": { "implies": ["c"] }, "c": { "implies": ["a"] } });
    let faults = faults(&hierarchy(cycle, tools));
    assert!(faults.iter().all(|fault| fault.problem.contains("implies itself")), "{faults:?}");
}

#[test]
fn p04_undeclared_targets_are_load_errors() {
    let tools = json!({ "get": needs("repo:read") });
    let scopes = json!({ "repo:write": { "implies": ["repo:raed"] } });
    assert_fault(&hierarchy(scopes, tools.clone()), &["scopes.\"repo:write\".implies", "repo:raed"]);
    load(&hierarchy(json!({ "repo:write": { "implies": ["repo:read"] } }), tools.clone()));
    load(&hierarchy(json!({ "a": { "implies": ["b"] }, "b": {} }), tools));
}

#[test]
fn p04_scope_names_are_scope_tokens() {
    let tools = json!({ "get": needs("a") });
    assert_eq!(faults(&hierarchy(json!({ "a b": {} }), tools.clone())).len(), 1);
    assert_eq!(faults(&hierarchy(json!({ "a": { "implies": ["b c"] } }), tools)).len(), 1);
}

// P5: tier and rule.

fn tiered(tier: Json, rule: Json) -> Json {
    with(document(json!({ "get": rule })), "/tiers", json!({ "t": tier }))
}

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

// P7, P8, P9, P11, P12, P14, P16, P17, P20: the words this version does not have.

#[test]
fn words_of_later_versions_are_refused_by_name() {
    let rule = [
        "acr",      // P5
        "binding",  // P5
        "raise",    // P7, P17
        "clients",  // P14
        "mode",     // P15, of a single rule
        "approval", // P18
    ];
    let server = ["clients", "resources", "prompts", "methods", "lists", "session", "seal", "require"];
    let top = ["clients", "resources", "prompts", "methods", "environment", "approval"];
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

// P13: freshness.

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

// P15: what the loader demands. What it does is in `shadow.rs`.

#[test]
fn p15_shadow_needs_a_date() {
    let document = document(json!({ "get": open() }));
    assert_fault(&with(document.clone(), "/mode", json!("shadow")), &["`until` is missing"]);
    assert_faulty(&with(document.clone(), "/until", json!("2027-03-01")), &["until"]);
    let enforced = with(with(document.clone(), "/mode", json!("enforce")), "/until", json!("2027-03-01"));
    assert_faulty(&enforced, &["until"]);
    let shadow = with(document.clone(), "/mode", json!("shadow"));
    load(&with(shadow.clone(), "/until", json!("2027-03-01")));
    for until in [json!("soon"), json!(""), json!("2027-02-30"), json!(20270301), json!("01.03.2027"), json!(null)] {
        assert_faulty(&with(shadow.clone(), "/until", until), &["until"]);
    }
    assert_faulty(&with(document, "/mode", json!("off")), &["mode"]);
}

#[test]
fn p15_a_date_before_all_dates_is_refused_with_a_reason() {
    let shadow = with(document(json!({ "get": open() })), "/mode", json!("shadow"));
    assert_faulty(&with(shadow, "/until", json!("1969-12-31")), &["until"]);
}

// P18: the document.

#[test]
fn p18_duplicate_keys_are_errors_at_any_depth() {
    let good = document(json!({ "get": open() })).to_string();
    for twice in [
        good.replacen(r#""version":1"#, r#""version":1,"version":1"#, 1),
        good.replacen(r#""get":"#, r#""get":{"scope":"a"},"get":"#, 1),
        good.replacen(r#""get":"#, r#""\u0067et":{"scope":"a"},"get":"#, 1),
        good.replacen(r#""scope":[]"#, r#""scope":"a","scope":[]"#, 1),
    ] {
        assert_ne!(twice, good);
        let faults = faults_of(twice.as_bytes());
        assert!(faults.len() == 1 && faults[0].problem.contains("twice"), "{faults:?}");
    }
}

#[test]
fn p18_what_is_no_json_is_refused_with_a_reason() {
    for text in ["", "version: 1", "{", "[]", "null", "1", "\"x\"", "\u{feff}{}", "{} {}"] {
        assert_eq!(faults_of(text.as_bytes()).len(), 1, "{text}");
    }
    assert_eq!(faults_of(b"\xff\xfe").len(), 1);
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    assert!(faults_of(deep.as_bytes())[0].problem.contains("deep"));
}

#[test]
fn p18_one_mebibyte_and_not_a_byte_more() {
    let mut text = document(json!({ "get": open() })).to_string();
    text.push_str(&" ".repeat(1024 * 1024 - text.len()));
    Policy::load(text.as_bytes(), &step_up_core::NoEnvironment).unwrap();
    text.push(' ');
    assert!(faults_of(text.as_bytes())[0].problem.contains("1 MiB"));
}

#[test]
fn p18_unknown_fields_are_errors_with_a_suggestion() {
    let good = tiered(json!({ "max_age": "1h" }), json!({ "scope": "a", "tier": "t" }));
    for (place, field, suggestion) in [
        ("", "baselin", "baseline"),
        ("", "isuers", "issuers"),
        ("/tools/get", "scop", "scope"),
        ("/tools/get", "stepup", "step_up"),
        ("/tiers/t", "max_lifetme", "max_lifetime"),
        ("/issuers/https:~1~1as.example.com", "algoritms", "algorithms"),
    ] {
        let place = place.replace("~1", "/").replace("https://", "https:~1~1");
        let document = with(good.clone(), &format!("{place}/{field}"), json!("x"));
        assert_fault(&document, &[&format!("unknown field `{field}`"), &format!("did you mean `{suggestion}`?")]);
    }
    let document = with(good, "/tools/get/colour", json!("red"));
    assert_fault(&document, &["tools.get.colour", "unknown field `colour`", "known here: "]);
}

#[test]
fn p18_the_nearest_field_is_suggested() {
    // Two edits away from `until`, one from `limits`.
    let good = document(json!({ "get": open() }));
    for (field, nearest) in [("tols", "tools"), ("mod", "mode"), ("limit", "limits"), ("tier", "tiers")] {
        assert_fault(&with(good.clone(), &format!("/{field}"), json!({})), &[&format!("did you mean `{nearest}`?")]);
    }
}

#[test]
fn p18_several_servers_or_one_at_the_top_but_not_both() {
    let server = json!({ "resource": RESOURCE, "baseline": [BASELINE], "tools": { "get": open() } });
    let both = with(document(json!({ "get": open() })), "/servers", json!({ "git": server }));
    assert_faulty(&both, &["resource", "baseline", "tools"]);
    for field in ["paths", "origins"] {
        let several = without(without(without(both.clone(), "/resource"), "/baseline"), "/tools");
        load(&several);
        assert_faulty(&with(several, &format!("/{field}"), json!([])), &[field]);
    }
}

fn servers(servers: Json) -> Json {
    let one = without(without(without(document(json!({ "get": open() })), "/resource"), "/baseline"), "/tools");
    with(one, "/servers", servers)
}

fn server(resource: &str) -> Json {
    json!({ "resource": resource, "baseline": [BASELINE], "tools": { "get": open() } })
}

#[test]
fn p18_the_one_server_spelling_means_the_same() {
    let several = servers(json!({ "git": server(RESOURCE) }));
    let one = document(json!({ "get": open() }));
    for (scope, tool) in [(BASELINE, "get"), ("", "get"), (BASELINE, "put")] {
        let (several, one) = (judge(&several, &token(scope), tool), judge(&one, &token(scope), tool));
        assert_eq!((several.reason(), several.rule()), (one.reason(), one.rule()));
    }
}

#[test]
fn p18_two_servers_have_two_resources() {
    let document = servers(json!({ "a": server(RESOURCE), "b": server(RESOURCE) }));
    assert_fault(&document, &["servers.b", "the same host and path as `a`"]);
}

#[test]
fn two_servers_that_answer_to_the_same_place_are_a_load_error() {
    // Which of them would judge the request? A token for one would pass for the other.
    let with_path = with(server("https://h.example.com/a"), "/paths", json!(["/b"]));
    let pairs = [
        (with_path, server("https://h.example.com/b")),
        (server("https://h.example.com/mcp"), server("https://h.example.com:443/mcp")),
        (server("https://h.example.com"), server("https://h.example.com/")),
    ];
    let accepted: Vec<String> = pairs
        .into_iter()
        .map(|(a, b)| servers(json!({ "a": a, "b": b })))
        .filter(|document| Policy::load(document.to_string().as_bytes(), &step_up_core::NoEnvironment).is_ok())
        .map(|document| document["servers"].to_string())
        .collect();
    assert!(accepted.is_empty(), "{accepted:#?}");
}

#[test]
fn p18_server_names_are_plain() {
    for name in ["", "a b", "a;b", "a=b", "ä"] {
        assert_eq!(faults(&servers(json!({ name: server(RESOURCE) }))).len(), 1, "{name}");
    }
    load(&servers(json!({ "git-1.main_x": server(RESOURCE) })));
}

#[test]
fn p18_all_faults_at_once_each_with_its_path() {
    let document = json!({
        "version": 2,
        "issuers": { ISSUER: { "keys": { "keys": [] }, "algorithms": ["HS256"], "colour": "red" } },
        "scopes": { "a": { "implies": ["a"] } },
        "tiers": { "t": { "step_up": "maybe", "max_age": 5 } },
        "resource": "mcp",
        "baseline": ["a b"],
        "tools": { "x": {}, "y": { "scope": "a", "tier": "u" }, "z": { "scope": "\"" }, "w": { "tier": "t" } },
        "mode": "shadow",
        "limits": { "body_wait": "soon" },
        "tooling": {},
    });
    assert_faulty(
        &document,
        &[
            "version",
            "issuers.\"https://as.example.com\".keys",
            "issuers.\"https://as.example.com\".algorithms[0]",
            "issuers.\"https://as.example.com\".colour",
            "scopes.a",
            "tiers.t.step_up",
            "tiers.t.max_age",
            "resource",
            "baseline[0]",
            "tools.x",
            "tools.y.tier",
            "tools.z.scope",
            "tools.w",
            "",
            "limits.body_wait",
            "tooling",
        ],
    );
}

#[test]
fn p18_one_fault_does_not_hide_another_of_the_same_thing() {
    let at = |field: &str| format!("/issuers/https:~1~1as.example.com/{field}");
    let place = |field: &str| format!("issuers.\"https://as.example.com\".{field}");
    let good = || document(json!({ "get": needs("a") }));
    let cases = [
        (
            with(good(), &at("algorithms"), json!(["HS256", "EdDSA", "none"])),
            vec![place("algorithms[0]"), place("algorithms[2]")],
        ),
        (
            with(with(good(), &at("leeway"), json!("soon")), &at("colour"), json!("red")),
            vec![place("colour"), place("leeway")],
        ),
        (with(good(), "/baseline", json!([1, "ok", 2])), vec!["baseline[0]".into(), "baseline[2]".into()]),
        (with(good(), "/paths", json!([1, "x"])), vec!["paths[0]".into(), "paths[1]".into()]),
        (with(good(), "/origins", json!([1, "x"])), vec!["origins[0]".into(), "origins[1]".into()]),
        (
            document(json!({ "get": { "scope": "a", "allow_weaker": "yes", "colour": "red" } })),
            vec!["tools.get.allow_weaker".into(), "tools.get.colour".into()],
        ),
    ];
    let mut hidden = Vec::new();
    for (document, expected) in cases {
        let mut found: Vec<String> = faults(&document).into_iter().map(|fault| fault.path).collect();
        found.sort_unstable();
        if found != expected {
            hidden.push(format!("{found:?} instead of {expected:?}"));
        }
    }
    assert!(hidden.is_empty(), "{hidden:#?}");
}

#[test]
fn issuers_are_checked_when_loaded() {
    let issuer = |name: &str, body: Json| with(document(json!({ "get": open() })), "/issuers", json!({ name: body }));
    let keys = json!({ "keys": { "keys": [key().jwk()] }, "algorithms": ["EdDSA"] });
    for name in ["as.example.com", "http://as.example.com", "https://", "https://a@b", "https://a#b", "https://A"] {
        assert_eq!(faults(&issuer(name, keys.clone())).len(), 1, "{name}");
    }
    load(&issuer("http://localhost:9000", keys.clone()));
    let fetched = json!({ "jwks": { "cluster": "as", "url": "https://as.example.com/jwks" }, "algorithms": ["ES256"] });
    load(&issuer(ISSUER, fetched.clone()));
    for (place, value) in [
        ("/jwks/url", json!("http://as.example.com/jwks")),
        ("/jwks/url", json!("jwks")),
        ("/jwks/cluster", json!("")),
        ("/jwks/refresh", json!("0s")),
        ("/jwks/refresh", json!("1h")),
        ("/jwks/stale", json!("5m")),
        ("/jwks/stale", json!("2h")),
        ("/algorithms", json!([])),
        ("/algorithms", json!(["HS256"])),
        ("/algorithms", json!(["none"])),
        ("/leeway", json!("61s")),
        ("/token_type", json!("any")),
        ("/keys", json!({ "keys": [key().jwk()] })),
        ("/max_lifetime", json!("60")),
    ] {
        let document = issuer(ISSUER, with(fetched.clone(), place, value.clone()));
        assert_eq!(faults(&document).len(), 1, "{place}: {value}");
    }
}

#[test]
fn inline_keys_are_all_usable_or_none_is() {
    let at = "/issuers/https:~1~1as.example.com/keys";
    let private = with(key().jwk(), "/d", json!("AAAA"));
    let good = document(json!({ "get": open() }));
    assert_eq!(faults(&with(good.clone(), at, json!({ "keys": [key().jwk(), private] }))).len(), 1);
    assert_eq!(faults(&with(good.clone(), at, json!({ "keys": vec![key().jwk(); 33] }))).len(), 1);
    assert_eq!(faults(&with(good, at, json!([key().jwk()]))).len(), 1);
}

#[test]
fn limits_are_whole_numbers_with_units() {
    let limits = |limits: Json| with(document(json!({ "get": open() })), "/limits", limits);
    let policy = load(&limits(json!({ "request_body": "64KiB", "body_wait": "5s", "keys_wait": "1m" })));
    assert_eq!((policy.limits().request_body, policy.limits().body_wait), (64 * 1024, 5));
    assert_eq!((policy.limits().keys_wait, policy.limits().verified_cache), (60, 300));
    for text in ["", "5", "s", "0s", "-1s", "+1s", "1.5s", "1 s", "1S", "99999999999999999999s", "999999999999999999d"]
    {
        assert_faulty(&limits(json!({ "body_wait": text })), &["limits.body_wait"]);
    }
    for text in ["1", "1MB", "0MiB", "1mib", "99999999999999999MiB"] {
        assert_faulty(&limits(json!({ "request_body": text })), &["limits.request_body"]);
    }
    assert_faulty(&limits(json!({ "body_wait": 5 })), &["limits.body_wait"]);
}

#[test]
fn resources_paths_and_origins_are_checked_when_loaded() {
    let good = document(json!({ "get": open() }));
    for resource in [
        "mcp.example.com/mcp",
        "ftp://mcp.example.com",
        "https://mcp.example.com/mcp?x=1",
        "https://mcp.example.com/mcp#x",
        "https://user@mcp.example.com/mcp",
        "https://MCP.example.com/mcp",
        "https://mcp.example.com/a/../mcp",
        "https://mcp.example.com//mcp",
        "https://mcp.example.com/%2e/mcp",
        "https://mcp.example.com/m\"cp",
        "https://mcp.example.com/m\\cp",
        "https://mcp.example.com/mcp\u{e9}",
        "https:///mcp",
    ] {
        assert_faulty(&with(good.clone(), "/resource", json!(resource)), &["resource"]);
    }
    for path in ["mcp", "/a/../b", "/a?b", "/a#b", "//a", "/a b"] {
        assert_faulty(&with(good.clone(), "/paths", json!([path])), &["paths[0]"]);
    }
    for origin in ["https://app.example.com/", "app.example.com", "null", "*", "https://app.example.com:443"] {
        assert_faulty(&with(good.clone(), "/origins", json!([origin])), &["origins[0]"]);
    }
    assert!(warnings(&with(good, "/resource", json!("http://mcp.example.com/mcp"))).contains("without TLS"));
}

fn proto(value: &Json) -> prost_types::Value {
    use prost_types::value::Kind;
    let kind = match value {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(*value),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap()),
        Json::String(text) => Kind::StringValue(text.clone()),
        Json::Array(items) => Kind::ListValue(prost_types::ListValue { values: items.iter().map(proto).collect() }),
        Json::Object(_) => Kind::StructValue(proto_struct(value)),
    };
    prost_types::Value { kind: Some(kind) }
}

fn proto_struct(value: &Json) -> prost_types::Struct {
    let members = value.as_object().unwrap();
    prost_types::Struct { fields: members.iter().map(|(name, value)| (name.clone(), proto(value))).collect() }
}

#[test]
fn p18_a_struct_means_the_same_as_its_json() {
    let tools = json!({ "*": "deny", "get_*": needs("a"), "put": { "tier": "t" }, "open": open() });
    let document = with(document(tools), "/tiers", json!({ "t": { "scope": ["b"], "max_lifetime": "5m" } }));
    let policy = Policy::load(&proto_struct(&document).encode_to_vec(), &step_up_core::NoEnvironment)
        .expect("the Struct is accepted");
    let mut from_struct = Vm::new(&policy.into());
    let mut from_json = Vm::new(&load(&document));
    for scope in ["", BASELINE, "mcp:connect a", "mcp:connect b"] {
        for tool in ["get_x", "put", "open", "drop", "Open"] {
            let call = Request::call(tool).bearer(&token(scope));
            let (left, right) = (from_struct.send(&call), from_json.send(&call));
            assert_eq!(left.is_forwarded(), right.is_forwarded(), "{scope}: {tool}");
            assert_eq!((left.reason(), left.rule()), (right.reason(), right.rule()), "{scope}: {tool}");
        }
    }
}

#[test]
fn a_tree_read_elsewhere_means_the_same_and_has_the_same_name() {
    let text = document(json!({ "get": needs("a"), "drop": "deny" })).to_string();
    let tree = step_up_core::json::read(text.as_bytes()).unwrap();
    let policy = Policy::from_value(&tree, text.as_bytes(), &step_up_core::NoEnvironment).unwrap();
    assert_eq!(policy.digest(), Policy::load(text.as_bytes(), &step_up_core::NoEnvironment).unwrap().digest());
    assert_eq!(policy.servers().collect::<Vec<_>>(), ["default"]);
    Vm::new(&policy.into()).send(&Request::call("drop").bearer(&token(BASELINE))).assert_refused(403, "denied");
}

#[test]
fn p18_a_struct_has_the_same_faults_as_its_json() {
    let document = with(with(document(json!({ "x": {} })), "/version", json!(2)), "/colour", json!("red"));
    let from_struct = faults_of(&proto_struct(&document).encode_to_vec());
    let mut from_json = faults(&document);
    from_json.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let mut from_struct = from_struct;
    from_struct.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    assert_eq!(from_struct, from_json);
    // protobuf knows numbers only as doubles: 1 is whole, 1.5 is not.
    let half = with(support::document(json!({ "x": open() })), "/version", json!(1.5));
    assert_eq!(faults_of(&proto_struct(&half).encode_to_vec()).len(), 1);
}

/// A policy with a scope of its own for every tool, and one that implies it: what a generator makes of many tools.
fn generated(size: usize) -> Json {
    let scopes: serde_json::Map<String, Json> =
        (0..size).map(|n| (format!("t{n}:admin"), json!({ "implies": [format!("t{n}:use")] }))).collect();
    let tools: serde_json::Map<String, Json> =
        (0..size).map(|n| (format!("tool{n}"), needs(&format!("t{n}:use")))).collect();
    with(document(tools.into()), "/scopes", scopes.into())
}

#[test]
fn a_large_policy_decides_like_a_small_one() {
    let document = generated(300);
    judge(&document, &token("mcp:connect t299:admin"), "tool299").assert_forwarded();
    judge(&document, &token("mcp:connect t298:admin"), "tool299").assert_refused(403, "scope_missing");
}

#[test]
#[allow(clippy::disallowed_methods, reason = "measures itself; asserts a ratio only")]
fn loading_takes_time_in_proportion_to_the_policy() {
    let time = |size| {
        let text = generated(size).to_string();
        let load = |_| {
            let start = std::time::Instant::now();
            Policy::load(text.as_bytes(), &step_up_core::NoEnvironment).unwrap();
            start.elapsed().as_secs_f64()
        };
        (0..3).map(load).fold(f64::INFINITY, f64::min)
    };
    // Every VM of the host loads the policy before it serves anything: eight times as long, not sixty-four.
    let ratio = time(1_600) / time(200);
    assert!(ratio < 24.0, "eight times the policy takes {ratio:.0} times as long");
}

// P20: methods.

#[test]
fn p20_these_methods_need_the_baseline_and_nothing_else() {
    let policy = load(&document(json!({ "get": needs("a") })));
    let mut vm = Vm::new(&policy);
    for method in [
        "initialize",
        "ping",
        "server/discover",
        "tools/list",
        "resources/list",
        "resources/templates/list",
        "prompts/list",
    ] {
        let request = Request::method(method, json!({}));
        vm.send(&request.clone().bearer(&token(BASELINE))).assert_forwarded();
        vm.send(&request.clone().bearer(&token("a"))).assert_refused(403, "scope_missing");
        vm.send(&request).assert_refused(401, "token_missing");
        vm.send(&Request::modern(method, json!({})).bearer(&token(BASELINE))).assert_forwarded();
    }
    for method in [
        "notifications/initialized",
        "notifications/cancelled",
        "notifications/progress",
        "notifications/roots/list_changed",
    ] {
        let request = Request::notification(method);
        vm.send(&request.clone().bearer(&token(BASELINE))).assert_forwarded();
        vm.send(&request.bearer(&token("a"))).assert_refused(403, "scope_missing");
    }
}

#[test]
fn p20_methods_whose_rules_come_later_are_refused_like_tools_without_a_rule() {
    let policy = load(&document(json!({ "*": open() })));
    let mut vm = Vm::new(&policy);
    for method in [
        "resources/read",
        "resources/subscribe",
        "resources/unsubscribe",
        "subscriptions/listen",
        "prompts/get",
        "completion/complete",
    ] {
        let params = json!({ "name": "x", "uri": "file:///x" });
        vm.send(&Request::method(method, params).bearer(&token(BASELINE))).assert_refused(403, "no_rule");
    }
}

#[test]
fn p20_everything_else_is_refused() {
    let policy = load(&document(json!({ "*": open() })));
    let mut vm = Vm::new(&policy);
    for method in [
        "logging/setLevel",
        "tasks/get",
        "tasks/result",
        "sampling/createMessage",
        "elicitation/create",
        "roots/list",
        "tools/Call",
        "Tools/list",
        "tools/list ",
        "tools/call/",
        "rpc.discover",
        "",
    ] {
        let settled = vm.send(&Request::method(method, json!({ "name": "x" })).bearer(&token(BASELINE)));
        settled.assert_refused(200, "unknown_method");
    }
}

// Properties of all policies.

fn scope_set() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(vec!["a", "b", "c", "d", BASELINE], 0..=5)
}

fn rule() -> impl Strategy<Value = Json> {
    let step_up = prop::sample::select(vec!["none", "challenge"]);
    let scoped = (scope_set(), step_up, any::<bool>()).prop_map(|(scope, step_up, tier)| {
        // Where the tier says `challenge`, only `challenge` can be said again.
        if tier { json!({ "scope": scope, "tier": "t" }) } else { json!({ "scope": scope, "step_up": step_up }) }
    });
    prop_oneof![5 => scoped, 1 => Just(json!("deny"))]
}

/// Edges go up the alphabet only, so that there is no cycle.
fn implications() -> impl Strategy<Value = Json> {
    let edges = vec![("a", "b"), ("a", "c"), ("b", "c"), ("b", "d"), ("c", "d"), ("d", BASELINE), ("a", BASELINE)];
    prop::sample::subsequence(edges, 0..=7).prop_map(|edges| {
        let mut scopes = json!({ "a": {}, "b": {}, "c": {}, "d": {}, BASELINE: {} });
        for (from, to) in edges {
            let implied = &mut scopes[from]["implies"];
            *implied = implied.as_array().cloned().unwrap_or_default().into_iter().chain([json!(to)]).collect();
        }
        scopes
    })
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn more_scopes_never_turn_a_permit_into_a_refusal(
        rules in prop::collection::vec(rule(), 1..4),
        scopes in implications(),
        tier in scope_set(),
        some in scope_set(),
        more in scope_set(),
    ) {
        let tools: serde_json::Map<String, Json> =
            rules.into_iter().enumerate().map(|(at, rule)| (format!("t{at}"), rule)).collect();
        let names: Vec<String> = tools.keys().cloned().collect();
        let document = with(document(tools.into()), "/scopes", scopes);
        let document = with(document, "/tiers", json!({ "t": { "scope": tier, "max_lifetime": "1h" } }));
        let mut vm = Vm::new(&load(&document));
        let narrow = token(&some.join(" "));
        let wide = token(&some.iter().chain(&more).copied().collect::<Vec<_>>().join(" "));
        for tool in names {
            let permitted = vm.send(&Request::call(&tool).bearer(&narrow)).is_forwarded();
            let still = vm.send(&Request::call(&tool).bearer(&wide)).is_forwarded();
            prop_assert!(!permitted || still, "{} with {:?} and {:?}", tool, some, more);
        }
    }

    #[test]
    fn a_permit_means_that_every_scope_of_the_rule_is_covered(scopes in implications(), held in scope_set(), needed in scope_set()) {
        let document = with(document(json!({ "t": { "scope": needed } })), "/scopes", scopes.clone());
        let mut covered: Vec<String> = held.iter().map(ToString::to_string).collect();
        for at in 0.. {
            let Some(scope) = covered.get(at) else { break };
            let implied = scopes[scope]["implies"].as_array().cloned().unwrap_or_default();
            covered.extend(implied.iter().map(|scope| scope.as_str().unwrap().to_owned()));
        }
        let expected = needed.iter().chain([&BASELINE]).all(|scope| covered.iter().any(|held| held == scope));
        prop_assert_eq!(judge(&document, &token(&held.join(" ")), "t").is_forwarded(), expected);
    }

    #[test]
    fn loading_never_panics_on_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(faults) = Policy::load(&bytes, &step_up_core::NoEnvironment) {
            prop_assert!(!faults.is_empty());
        }
    }

    #[test]
    fn loading_never_panics_on_damaged_policies(cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..6usize), 1..4), structured in any::<bool>()) {
        let tools = json!({ "get_*": { "tier": "t", "scope": ["a"] }, "x": "deny", "*": { "scope": [], "allow_weaker": true } });
        let document = with(document(tools), "/tiers", json!({ "t": { "max_age": "5m" } }));
        let document = with(with(document, "/mode", json!("shadow")), "/until", json!("2027-03-01"));
        let mut bytes = if structured { proto_struct(&document).encode_to_vec() } else { document.to_string().into_bytes() };
        for (place, byte, length) in cuts {
            let at = place.index(bytes.len());
            let end = (at + length).min(bytes.len());
            bytes.splice(at..end, [byte]);
        }
        if let Err(faults) = Policy::load(&bytes, &step_up_core::NoEnvironment) {
            prop_assert!(!faults.is_empty(), "refused without saying why");
        }
    }

    #[test]
    fn loading_never_panics_on_any_value_at_any_place(place in prop::sample::select(PLACES.to_vec()), value in any_json()) {
        let tools = json!({ "get": { "tier": "t", "scope": ["a"] } });
        let document = with(document(tools), "/tiers", json!({ "t": { "max_age": "5m" } }));
        let document = with(with(with(document, "/limits", json!({})), "/mode", json!("shadow")), "/until", json!("2027-03-01"));
        if let Err(faults) = Policy::load(with(document, place, value).to_string().as_bytes(), &step_up_core::NoEnvironment) {
            prop_assert!(!faults.is_empty(), "refused without saying why");
        }
    }
}

const PLACES: [&str; 24] = [
    "/version",
    "/issuers",
    "/issuers/x",
    "/issuers/https:~1~1as.example.com/keys",
    "/issuers/https:~1~1as.example.com/jwks",
    "/issuers/https:~1~1as.example.com/algorithms",
    "/issuers/https:~1~1as.example.com/leeway",
    "/scopes",
    "/tiers",
    "/tiers/t",
    "/tiers/t/max_age",
    "/resource",
    "/baseline",
    "/tools",
    "/tools/get",
    "/tools/get/scope",
    "/tools/get/tier",
    "/tools/get/audience",
    "/paths",
    "/origins",
    "/limits/request_body",
    "/limits/body_wait",
    "/until",
    "/servers",
];

fn any_json() -> impl Strategy<Value = Json> {
    let words = [
        "",
        "a",
        "1s",
        "1h",
        "18446744073709551615d",
        "*",
        "deny",
        "EdDSA",
        "1900-01-01",
        "-9999-01-01",
        "9999-12-31",
        "https://a",
        "https://[::1",
        "https://",
        "/",
        "//",
        "64KiB",
        "18446744073709551615KiB",
        "é",
        "\0",
    ];
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        prop::sample::select(words.to_vec()).prop_map(Json::from),
        ".{0,8}".prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let names =
            prop::sample::select(vec!["scope", "tier", "deny", "implies", "keys", "kty", "cluster", "url", "x"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map(names, inner, 0..4)
                .prop_map(|map| map.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

// Properties of all requests.

/// What a lenient reader makes of the body of a forwarded request: the tool it would run.
fn tool_of(body: &[u8]) -> Option<String> {
    let frame: Json = serde_json::from_slice(body).expect("what is forwarded is JSON");
    let members = frame.as_object().expect("and an object");
    let fold = |name: &str| name.replace('\u{17f}', "s").to_ascii_lowercase();
    for member in members.keys().filter(|name| random::MEMBERS[..10].contains(&&*fold(name))) {
        assert_eq!(*member, fold(member), "a folded member went upstream");
    }
    (frame["method"] == "tools/call").then(|| frame["params"]["name"].as_str().unwrap_or_default().to_owned())
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn every_request_is_settled_and_none_is_forwarded_that_must_not_be(
        request in random::request(),
        body in prop::option::of(random::frame()),
        trailers in prop::bool::weighted(0.05),
    ) {
        let document = document(json!({ "get": open(), "shell": "deny" }));
        let mut vm = Vm::new(&load(&document));
        let request = match body {
            Some(body) if !request.head().end_of_stream => request.with_body(body),
            _ => request,
        };
        let stream = vm.head(&request);
        if trailers {
            vm.trailers(stream);
        }
        if !vm.is_settled(stream) {
            vm.body(stream, request.body());
        }
        prop_assert!(vm.is_settled(stream), "{:?} is left alone", request);
        if vm.settled(stream).is_forwarded() {
            let values = |name: &str| -> Vec<&[u8]> {
                let headers = request.head().headers;
                headers.iter().filter(|(header, _)| header == name).map(|(_, value)| value.as_slice()).collect()
            };
            let bearer = format!("Bearer {}", token(BASELINE));
            prop_assert_eq!(values("authorization"), [bearer.as_bytes()]);
            prop_assert_eq!(values(":path"), [b"/mcp"]);
            for name in ["upgrade", ":protocol", "x-http-method-override"] {
                prop_assert!(values(name).is_empty());
            }
            if values(":method") == [b"POST"] {
                let tool = tool_of(request.body());
                prop_assert!(tool.is_none() || tool.as_deref() == Some("get"), "{:?} was run", tool);
            } else {
                prop_assert!(request.head().end_of_stream);
            }
        }
    }
}
