//! P1: match.

use super::*;

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
fn p01_a_pattern_has_one_star() {
    for pattern in ["get_*_*", "*get*", "**", "get_**", ""] {
        let faults = faults(&document(json!({ pattern: open() })));
        assert_eq!(faults.len(), 1, "{pattern}: {faults:?}");
    }
}

#[test]
fn p01_a_prefix_that_could_match_nothing_is_a_load_error() {
    let long = format!("{}*{}", "a".repeat(64), "b".repeat(65));
    for pattern in ["get *", "löschen_*", "a\u{0}*", "* x", "/*", "a//b*", "a/../*", "*/./b", "*//b", "*/b/", &long] {
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

/// P5, the order, in the rows of an exchange.
#[test]
fn p01_warns_where_a_more_specific_rule_undoes_an_exchange() {
    let general = json!({
        "scope": "admin", "step_up": "exchange", "ttl": "10s", "standing": "refuse", "audience": "https://git.internal",
        "max_lifetime": "15m", "may_elevate": { "client": ["ops"] },
    });
    let changed = |place: &str, value: Json| with(general.clone(), place, value);
    let held = json!({ "scope": "admin", "max_lifetime": "15m" });
    let cases = [
        ("the same", general.clone(), general.clone(), false),
        ("a shorter life", general.clone(), changed("/ttl", json!("9s")), false),
        ("a longer life", general.clone(), changed("/ttl", json!("11s")), true),
        ("standing privilege is not refused", general.clone(), without(general.clone(), "/standing"), true),
        ("other clients", general.clone(), changed("/may_elevate", json!({ "client": ["agent"] })), true),
        ("anybody", general.clone(), without(general.clone(), "/may_elevate"), true),
        ("another audience", general.clone(), changed("/audience", json!("https://wiki.internal")), true),
        ("another scope", general.clone(), changed("/scope", json!("other")), true),
        ("a standing token", general.clone(), held.clone(), true),
        ("a standing token, of all that was to be obtained and more", general.clone(), needs("admin"), true),
        ("minted in place of held", held, changed("/max_lifetime", json!("15m")), true),
        ("minted, where nothing was asked", open(), general.clone(), false),
    ];
    let service = json!({
        "issuer": support::ISSUER, "cluster": "as", "token": "https://as.example.com/token",
        "revoke": "https://as.example.com/revoke", "client": { "id": "filter", "auth": "cluster" },
    });
    for (name, general, exact, warned) in cases {
        let tools = json!({ "delete_*": general, "delete_repo": exact });
        let warnings = warnings(&with(document(tools), "/token_service", service.clone()));
        assert_eq!(warnings.contains("asks less than"), warned, "{name}: {warnings}");
    }
    // Every caller has what the general rule asks for, by implication; it is minted by the exact one all the same.
    let tools = json!({ "delete_*": needs("admin"), "delete_repo": general });
    let covered = with(
        with(document(tools), "/baseline", json!(["root"])),
        "/scopes",
        json!({ "root": { "implies": ["admin"] }, "admin": {} }),
    );
    let warnings = warnings(&with(covered, "/token_service", service));
    assert!(warnings.contains("asks less than"), "{warnings}");
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

/// Several, where they are as specific as each other.
fn picks<'p>(patterns: &'p [String], name: &str) -> Vec<&'p String> {
    if let Some(exact) = patterns.iter().find(|pattern| !pattern.contains('*') && *pattern == name) {
        return vec![exact];
    }
    let fits = |pattern: &&String| {
        pattern.split_once('*').is_some_and(|(head, tail)| {
            name.len() >= head.len() + tail.len() && name.starts_with(head) && name.ends_with(tail)
        })
    };
    let most = patterns.iter().filter(fits).map(String::len).max();
    patterns.iter().filter(fits).filter(|pattern| Some(pattern.len()) == most).collect()
}

/// P1, read aloud.
fn naive<'p>(patterns: &'p [String], name: &str) -> Vec<&'p String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.:/-".contains(c);
    let segments = name.split('/').all(|segment| !["", ".", ".."].contains(&segment));
    if !(1..=128).contains(&name.len()) || !name.chars().all(plain) || !segments {
        return patterns.iter().filter(|pattern| !pattern.contains('*') && *pattern == name).collect();
    }
    let lower: Vec<String> = patterns.iter().map(|pattern| pattern.to_ascii_lowercase()).collect();
    let lowered = name.to_ascii_lowercase();
    let folded = picks(&lower, &lowered);
    let mut chosen = picks(patterns, name);
    chosen.retain(|pattern| folded.contains(&&pattern.to_ascii_lowercase()));
    chosen
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn p01_rules_behave_like_the_naive_reading(
        patterns in prop::collection::vec("[aAbB_.]{0,3}[*]?[aAb_]{0,2}", 1..8),
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
            // Which of equal rules it was does not matter, but it must be the same for every reader.
            if expected.len() < 2 {
                prop_assert_eq!(settled.is_forwarded(), !expected.is_empty(), "{}", name);
                prop_assert_eq!(settled.rule(), expected.first().map(|rule| rule.as_str()), "{}", name);
            } else if let Some(rule) = settled.rule() {
                prop_assert!(expected.iter().any(|pattern| *pattern == rule), "{}", name);
            }
        }
    }
}
