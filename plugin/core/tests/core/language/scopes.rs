//! P3: one of several scopes, and a scope for each name.

use super::*;

fn either() -> Json {
    document(json!({ "publish": { "scope": { "any": ["repo:read", "repo:write"], "ask": "repo:write" } } }))
}

#[test]
fn p03_one_of_a_group_is_enough() {
    for scope in ["mcp:connect repo:read", "mcp:connect repo:write", "mcp:connect repo:read repo:write"] {
        judge(&either(), &token(scope), "publish").assert_forwarded();
    }
    let settled = judge(&either(), &token(BASELINE), "publish");
    settled.assert_refused(403, "scope_missing");
    assert!(settled.challenge().unwrap().contains(r#"scope="mcp:connect repo:write""#), "the one that is asked for");
    assert_eq!(settled.record["missing"], json!(["repo:write"]));
    // Unsaid, it is the first.
    let first = document(json!({ "publish": { "scope": { "any": ["repo:write", "repo:read"] } } }));
    assert!(judge(&first, &token(BASELINE), "publish").challenge().unwrap().contains("repo:write"));
}

#[test]
fn p03_a_group_is_met_by_what_implies_a_member() {
    let scopes = json!({ "repo:admin": { "implies": ["repo:read"] } });
    judge(&with(either(), "/scopes", scopes), &token("mcp:connect repo:admin"), "publish").assert_forwarded();
}

#[test]
fn p03_where_another_member_is_held_that_one_is_named() {
    let tools =
        json!({ "publish": { "scope": [{ "any": ["repo:read", "repo:write"], "ask": "repo:write" }, "page:edit"] } });
    let settled = judge(&document(tools), &token("mcp:connect repo:read"), "publish");
    assert!(settled.challenge().unwrap().contains(r#"scope="mcp:connect page:edit repo:read""#));
}

#[test]
fn p03_an_exchange_asks_for_the_one() {
    let rule = json!({ "step_up": "exchange", "scope": { "any": ["repo:read", "repo:write"], "ask": "repo:write" } });
    let document = exchanging(document(json!({ "publish": rule })));
    let call = Request::call("publish").bearer(&token("mcp:connect repo:read"));
    assert_eq!(outcome(&document, &call), "elevate repo:write");
    // P9: any of them is a standing privilege.
    let refusing = with(document, "/tools/publish/standing", json!("refuse"));
    assert_eq!(outcome(&refusing, &call), "standing_privilege");
}

#[test]
fn p03_groups_are_read_strictly() {
    for (scope, words) in [
        (json!({ "any": [] }), "an empty list"),
        (json!({ "any": ["a"], "ask": "b" }), "`ask` is none of `any`"),
        (json!({ "ask": "b" }), "`any` is missing"),
        (json!({ "any": ["a"], "all": ["b"] }), "unknown field `all`"),
        (json!({ "any": [{ "any": ["a"] }] }), "one of several scopes where each is needed"),
        (json!({ "any": ["tool:{name}"] }), "a brace inside a scope"),
    ] {
        let faults = faults(&document(json!({ "t": { "scope": scope } })));
        assert!(problems(&faults).contains(words), "{scope}: {}", problems(&faults));
    }
    let baseline = with(either(), "/baseline", json!([{ "any": ["a", "b"] }]));
    assert_fault(&baseline, &["baseline[0]", "one of several scopes where each is needed (P3)"]);
}

#[test]
fn p03_every_name_has_a_scope_of_its_own() {
    let document = document(json!({ "*": { "scope": "tool:{name}" }, "ping": { "scope": [], "allow_weaker": true } }));
    judge(&document, &token("mcp:connect tool:get"), "get").assert_forwarded();
    judge(&document, &token(BASELINE), "ping").assert_forwarded();
    for held in ["mcp:connect", "mcp:connect tool:set", "mcp:connect tool:{name}", "mcp:connect tool:"] {
        let settled = judge(&document, &token(held), "get");
        settled.assert_refused(403, "scope_missing");
        assert!(settled.challenge().unwrap().contains("tool:get"), "{held}");
        assert_eq!(settled.record["missing"], json!(["tool:get"]));
    }
    let long = "x".repeat(65);
    for name in ["a/b", "a:b", &long] {
        judge(&document, &token("mcp:connect tool:a"), name).assert_refused(403, "name_not_scopable");
    }
    judge(&document, &token(&format!("mcp:connect tool:{}", "x".repeat(64))), &"x".repeat(64)).assert_forwarded();
}

#[test]
fn p03_a_scope_that_is_made_is_obtained_too() {
    let rule = json!({ "step_up": "exchange", "scope": "tool:{name}" });
    let document = exchanging(document(json!({ "delete_*": rule })));
    let call = Request::call("delete_page").bearer(&token(BASELINE));
    assert_eq!(outcome(&document, &call), "elevate tool:delete_page");
}

#[test]
fn p03_a_scope_that_is_made_is_no_other_one() {
    let made = json!({ "scope": "tool:{name}" });
    for (words, place) in [
        (json!({ "tools": { "*": made, "get": { "scope": "tool:x" } } }), "tools.*"),
        (json!({ "tools": { "*": made }, "prompts": { "*": made } }), "tools.*"),
        (json!({ "tools": { "*": made }, "scopes": { "tool:admin": {} } }), "tools.*"),
        (json!({ "tools": { "a*": { "scope": "tool:{name}" }, "b*": { "scope": "tool:a.{name}" } } }), "tools.a*"),
    ] {
        let faults = faults(&server(words.clone()));
        assert!(faults.iter().any(|fault| fault.path == place && fault.problem.contains("(P3)")), "{words}");
    }
    for words in [
        // The exact rule wins the name.
        json!({ "tools": { "*": made, "x": { "scope": "tool:x" } } }),
        json!({ "tools": { "*": made }, "prompts": { "*": { "scope": "prompt:{name}" } } }),
        json!({ "tools": { "a*": made, "b*": made } }),
        json!({ "tools": { "*": made, "get": { "scope": "tool:a/b" } } }),
    ] {
        load(&server(words));
    }
}

#[test]
fn p03_braces_stand_at_the_end_of_tools_and_prompts_scopes_only() {
    for scope in ["{name}", "tool{name}", "tool:{name}:x", "tool:{nam}", "tool:{name", "{name}:tool", "tool-{name}"] {
        assert_fault(&document(json!({ "t": { "scope": scope } })), &["tools.t.scope", "a brace inside a scope"]);
    }
    for kind in ["resources", "methods"] {
        let words = json!({ "tools": { "t": { "scope": [] } }, kind: { "x/y": { "scope": "a:{name}" } } });
        assert_fault(&server(words), &[kind, "(P3)"]);
    }
    load(&document(json!({ "t": { "scope": ["a:{name}", "b.{name}", "c/{name}"] } })));
}
