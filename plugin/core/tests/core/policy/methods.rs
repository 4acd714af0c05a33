//! P20: methods.

use super::*;

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
        "logging/setLevel",
        "subscriptions/listen",
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
fn p20_what_has_no_rule_is_refused_whatever_tools_may_do() {
    let policy = load(&document(json!({ "*": open() })));
    let mut vm = Vm::new(&policy);
    let reference = json!({ "type": "ref/prompt", "name": "x" });
    let complete = json!({ "ref": reference, "argument": { "name": "a", "value": "b" } });
    for (method, params) in [
        ("resources/read", json!({ "uri": "file:///x" })),
        ("resources/subscribe", json!({ "uri": "file:///x" })),
        ("prompts/get", json!({ "name": "x" })),
        ("completion/complete", complete),
    ] {
        vm.send(&Request::method(method, params).bearer(&token(BASELINE))).assert_refused(403, "no_rule");
        vm.send(&Request::method(method, json!({})).bearer(&token(BASELINE))).assert_refused(400, "params_invalid");
    }
}

/// MCP 2026-07-28 took it out: a server of that revision answers 404. What it names is judged all the same.
#[test]
fn p20_subscribing_to_nothing_is_unknown_where_the_revision_has_no_such_method() {
    let policy = load(&with(document(json!({ "*": open() })), "/resources", json!({ "*": open(), "x://y": "deny" })));
    let mut vm = Vm::new(&policy);
    let mut send = |request: Request| vm.send(&request.bearer(&token(BASELINE)));
    let settled = send(Request::modern("resources/subscribe", json!({})));
    settled.assert_refused(404, "unknown_method");
    assert_eq!(settled.answer().code(), Some(-32601));
    send(Request::method("resources/subscribe", json!({}))).assert_refused(400, "params_invalid");
    for method in [Request::modern, Request::method] {
        send(method("resources/subscribe", json!({ "uri": "x://y" }))).assert_refused(403, "denied");
        send(method("resources/subscribe", json!({ "uri": "file:///x" }))).assert_forwarded();
    }
}

#[test]
fn p20_everything_else_is_refused() {
    let policy = load(&document(json!({ "*": open() })));
    let mut vm = Vm::new(&policy);
    for method in [
        "logging/setlevel",
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

#[test]
fn p20_a_subscription_names_resources_or_passes_with_the_baseline() {
    let policy = load(&document(json!({ "*": open() })));
    let mut vm = Vm::new(&policy);
    let mut listen = |notifications: Json| {
        let params = json!({ "notifications": notifications });
        let legacy = vm.send(&Request::method("subscriptions/listen", params.clone()).bearer(&token(BASELINE)));
        let modern = vm.send(&Request::modern("subscriptions/listen", params).bearer(&token(BASELINE)));
        assert_eq!(legacy.reason(), modern.reason());
        legacy
    };
    for notifications in [
        json!({}),
        json!({ "toolsListChanged": true, "promptsListChanged": false }),
        json!({ "resourceSubscriptions": [] }),
        json!({ "com.example/news": true, "resourceSubscriptions": [] }),
    ] {
        listen(notifications).assert_forwarded();
    }
    for notifications in [
        json!({ "resourceSubscriptions": ["file:///x"] }),
        json!({ "toolsListChanged": true, "resourceSubscriptions": ["file:///x", "ui://y"] }),
    ] {
        listen(notifications).assert_refused(403, "no_rule");
    }
    for notifications in [
        json!(null),
        json!([]),
        json!("x"),
        json!({ "toolsListChanged": null }),
        json!({ "toolsListChanged": "yes" }),
        json!({ "com.example/news": ["file:///x"] }),
        json!({ "com.example/news": 1, "resourceSubscriptions": [] }),
        json!({ "com.example/news": {}, "resourceSubscriptions": ["file:///x"] }),
        json!({ "resourceSubscriptions": null }),
        json!({ "resourceSubscriptions": true }),
        json!({ "resourceSubscriptions": "file:///x" }),
        json!({ "resourceSubscriptions": [1] }),
        json!({ "resourceSubscriptions": [["file:///x"]] }),
    ] {
        let settled = listen(notifications);
        settled.assert_refused(400, "params_invalid");
        assert_eq!(settled.answer().code(), Some(-32602));
    }
    // What a server that ignores case would read.
    listen(json!({ "ResourceSubscriptions": ["file:///x"] })).assert_refused(400, "folded_key");
    let folded = json!({ "Notifications": { "resourceSubscriptions": ["file:///x"] } });
    vm.send(&Request::method("subscriptions/listen", folded).bearer(&token(BASELINE)))
        .assert_refused(400, "folded_key");
}

#[test]
fn p20_to_unsubscribe_needs_the_baseline_only() {
    let request = Request::method("resources/unsubscribe", json!({ "uri": "file:///x" }));
    let mut vm = Vm::new(&load(&document(json!({ "get": open() }))));
    let settled = vm.send(&request.clone().bearer(&token(BASELINE)));
    settled.assert_forwarded();
    assert_eq!(settled.record["kind"], "method");
    vm.send(&request.bearer(&token("x"))).assert_refused(403, "scope_missing");
    assert_eq!(vm.send(&Request::call("get").bearer(&token(BASELINE))).record["kind"], "tool");
}
