//! Scopes, and which imply which.

use super::*;

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
    // And what the caller holds that this server's rules want, up to 2025-11-25 (P24).
    assert!(challenge.contains(r#"scope="mcp:connect repo:admin repo:read""#), "{challenge}");
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
