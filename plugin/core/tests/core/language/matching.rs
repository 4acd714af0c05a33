//! P1, P20: patterns with a star anywhere; prompts and methods.

use super::*;

#[test]
fn p01_the_pattern_with_the_most_literal_characters_wins() {
    let tools = json!({
        "*": { "scope": "star" }, "get_*": { "scope": "get" }, "*_delete": { "scope": "delete" },
        "jira_*_issue": { "scope": "jira" }, "get_everything_*": { "scope": "everything", "allow_weaker": true },
    });
    let document = document(tools);
    for (name, scope) in [
        ("get_page", "get"),
        ("get_", "get"),
        ("page_delete", "delete"),
        ("_delete", "delete"),
        ("get_delete", "delete"),
        ("get_everything_delete", "everything"),
        ("jira_new_issue", "jira"),
        ("jira__issue", "jira"),
        ("jira_issue", "star"),
        ("other", "star"),
    ] {
        judge(&document, &token(&format!("mcp:connect {scope}")), name).assert_forwarded();
        judge(&document, &token(BASELINE), name).assert_refused(403, "scope_missing");
    }
}

#[test]
fn p01_patterns_as_specific_as_each_other_need_equal_rules() {
    for (one, other) in [("get_*", "*_all"), ("a*c", "ab*"), ("GET_*", "*_all"), ("x*", "*y")] {
        let tools = |scope: &str| document(json!({ one: { "scope": "a" }, other: { "scope": scope } }));
        assert_fault(&tools("b"), &["tools.", "as specific as", "(P1)"]);
        load(&tools("a"));
    }
    // No name matches both, or they are not as specific.
    for (one, other) in [("get_*", "set_*"), ("*_a", "*_b"), ("get_*", "*_b"), ("a*x", "a*y")] {
        load(&document(json!({ one: { "scope": "a" }, other: { "scope": "b", "allow_weaker": true } })));
    }
}

#[test]
fn p01_warns_of_patterns_that_overlap() {
    let warned = |tools: Json| warnings(&document(tools));
    let weaker = json!({ "get_everything_*": { "scope": [] }, "*_delete": { "scope": "admin" } });
    assert!(warned(weaker).contains("asks less than `*_delete`, which it replaces for some names (P1)"));
    let stronger = json!({ "get_everything_*": { "scope": ["admin", "x"] }, "*_delete": { "scope": "admin" } });
    assert_eq!(warned(stronger), "");
    let silenced =
        json!({ "get_everything_*": { "scope": [], "allow_weaker": true }, "*_delete": { "scope": "admin" } });
    assert_eq!(warned(silenced), "");
    let raise = json!([{ "when": { "arg": "x", "present": true }, "scope": "b" }]);
    let lost = json!({ "get_x": { "scope": "a" }, "get_*": { "scope": "a", "raise": raise } });
    assert!(warned(lost).contains("asks less than `get_*`"), "a raise is lost");
    let kept = json!({ "get_x": { "scope": "a", "raise": raise }, "get_*": { "scope": "a", "raise": raise } });
    assert_eq!(warned(kept), "");
}

#[test]
fn p01_prompts_have_rules_as_tools_have() {
    let document = server(json!({
        "prompts": { "plan_*": { "scope": "plan" }, "plan_secret": "deny" },
        "tools": { "*": { "scope": [] } },
    }));
    let get = |name: &str| Request::method("prompts/get", json!({ "name": name })).bearer(&token("mcp:connect plan"));
    for (name, expected) in [
        ("plan_x", "permit"),
        ("plan_secret", "denied"),
        ("PLAN_x", "name_confusable"),
        ("plan_x ", "name_confusable"),
        ("other", "no_rule"),
    ] {
        assert_eq!(outcome(&document, &get(name)), expected, "{name}");
    }
    let mut vm = Vm::new(&load(&document));
    let settled = vm.send(&get("plan_x"));
    assert_eq!((&settled.record["kind"], &settled.record["name"]), (&json!("prompt"), &json!("plan_x")));
    let modern = Request::modern("prompts/get", json!({ "name": "plan_x" })).header("mcp-name", "plan_x");
    vm.send(&modern.bearer(&token("mcp:connect plan"))).assert_forwarded();
}

#[test]
fn p20_methods_are_listed_by_name_or_prefix() {
    let document = server(json!({ "methods": {
        "tasks/*": { "scope": "tasks" }, "tasks/cancel": "deny", "com.example/run": { "scope": [] },
        "notifications/com.example/*": { "scope": [] },
    } }));
    let send = |method: &str| Request::method(method, json!({})).bearer(&token("mcp:connect tasks"));
    for (method, expected) in [
        ("tasks/get", "permit"),
        ("tasks/cancel", "denied"),
        ("com.example/run", "permit"),
        ("com.example/other", "unknown_method"),
        ("Tasks/get", "unknown_method"),
        ("tasks/../get", "unknown_method"),
        ("tasks/", "unknown_method"),
        ("tools/Call", "unknown_method"),
    ] {
        assert_eq!(outcome(&document, &send(method)), expected, "{method}");
    }
    let mut vm = Vm::new(&load(&document));
    vm.send(&Request::notification("notifications/com.example/news").bearer(&token(BASELINE))).assert_forwarded();
    vm.send(&Request::notification("notifications/other").bearer(&token(BASELINE))).assert_refused(202, "dropped");
    assert_eq!(vm.send(&send("tasks/get")).record["kind"], "method");
}

#[test]
fn p20_methods_that_have_rules_of_their_own_cannot_be_listed() {
    for method in
        ["ping", "tools/list", "tools/call", "Tools/Call", "prompts/get", "resources/read", "completion/complete"]
    {
        let document = server(json!({ "methods": { method: { "scope": [] } } }));
        assert_fault(&document, &["methods", "a method that has its own rule (P20)"]);
    }
    for (key, words) in [
        ("*", "(P2)"),
        ("ta*", "not a method"),
        ("a/*/b", "not a method"),
        ("*/b", "not a method"),
        ("", "not a method"),
    ] {
        assert_fault(&server(json!({ "methods": { key: { "scope": [] } } })), &["methods", words]);
    }
    // And a prefix does not reach them, in whatever case.
    let document = server(json!({ "methods": { "tools/*": { "scope": [] } } }));
    for method in ["tools/Call", "TOOLS/CALL", "tools/calls"] {
        let expected = if method == "tools/calls" { "permit" } else { "unknown_method" };
        assert_eq!(
            outcome(&document, &Request::method(method, json!({ "name": "x" })).bearer(&token(BASELINE))),
            expected
        );
    }
}
