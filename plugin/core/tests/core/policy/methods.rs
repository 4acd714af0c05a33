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
