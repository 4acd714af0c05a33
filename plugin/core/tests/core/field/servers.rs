//! P26 and P27: servers as they are.

use step_up_core::ResponseHead;

use super::*;

fn challenging() -> Json {
    let document = document(json!({
        "get": { "scope": "repo:read" }, "put": { "scope": "repo:write" },
        "drop": { "scope": "repo:admin", "step_up": "exchange", "may_elevate": { "client": ["agent"] } },
    }));
    let document = with(document, "/upstream_challenge", json!("ours"));
    with(
        document,
        "/token_service",
        json!({
            "issuer": ISSUER, "cluster": "as", "token": "https://as.example.com/token", "revoke": "https://as.example.com/revoke",
            "client": { "id": "step-up-filter", "auth": "cluster" },
        }),
    )
}

/// What the client sees in place of this challenge; `None`: the response is as it was.
fn seen(document: &Json, status: u16, challenge: Option<&str>) -> (Option<String>, u32) {
    let mut vm = Vm::new(&load(document));
    let stream = vm.head(&Request::call("get").bearer(&able().text()));
    vm.body(stream, Request::call("get").body());
    vm.response(stream, ResponseHead { status, challenge, ..ResponseHead::default() });
    let dropped = vm.metrics.iter().map(|metric| match metric {
        step_up_core::Metric::Fault { kind: "upstream_scope_dropped", count } => *count,
        _ => 0,
    });
    let dropped = dropped.sum();
    let seen = vm.challenged(stream).map(str::to_owned);
    vm.gone(stream);
    assert!(vm.is_idle());
    (seen, dropped)
}

#[test]
fn p27_the_upstreams_own_challenge_is_replaced_by_ours() {
    let document = challenging();
    let ours = |parameters: &str| Some(format!("Bearer {parameters}resource_metadata=\"{METADATA}\""));
    for (status, challenge, expected, dropped) in [
        (
            403,
            Some(
                r#"Bearer error="insufficient_scope", scope="repo:write", resource_metadata="http://10.0.0.1/x", error_description="x""#,
            ),
            ours(r#"error="insufficient_scope", scope="repo:write", "#),
            0,
        ),
        // What this server's rules do not want of callers is dropped, and counted.
        (
            403,
            Some(r#"Bearer error="insufficient_scope", scope="admin:all repo:write repo:admin""#),
            ours(r#"error="insufficient_scope", scope="repo:write", "#),
            2,
        ),
        (
            403,
            Some(r#"Bearer error="insufficient_scope", scope="admin:all""#),
            ours(r#"error="insufficient_scope", "#),
            1,
        ),
        (401, Some(r#"Bearer error="invalid_token""#), ours(r#"error="invalid_token", scope="mcp:connect", "#), 0),
        (401, Some(r#"Bearer error="something_else", scope="repo:read""#), ours(r#"scope="repo:read", "#), 0),
        (401, Some("Basic realm=\"x\""), ours(r#"scope="mcp:connect", "#), 0),
        (401, None, ours(r#"scope="mcp:connect", "#), 0),
        (403, None, None, 0),
        (200, Some("Bearer"), None, 0),
        (404, Some("Bearer"), None, 0),
    ] {
        assert_eq!(seen(&document, status, challenge), (expected, dropped), "{status} {challenge:?}");
    }
    // In the issuer's own spelling, and asked for in it.
    let asking = with(document, &format!("{AT}/ask"), json!("api://1/{scope}"));
    let (challenge, dropped) = seen(&asking, 403, Some(r#"Bearer scope="api://1/repo:write repo:read""#));
    assert_eq!((challenge, dropped), (ours(r#"scope="api://1/repo:read api://1/repo:write", "#), 0));
}

#[test]
fn p27_unsaid_no_response_is_looked_at() {
    for document in
        [without(challenging(), "/upstream_challenge"), with(challenging(), "/upstream_challenge", json!("route"))]
    {
        let mut vm = Vm::new(&load(&document));
        let stream = vm.head(&Request::call("get").bearer(&able().text()));
        vm.body(stream, Request::call("get").body());
        assert!(!vm.continues(stream));
    }
    assert_faulty(&with(challenging(), "/upstream_challenge", json!("theirs")), &["upstream_challenge"]);
}

fn open_to_anybody() -> Json {
    let document =
        document(json!({ "search": { "anonymous": true }, "get": { "scope": [] }, "put": { "scope": "repo:write" } }));
    with(document, "/callers", json!({ "client": ["agent"] }))
}

#[test]
fn p26_what_may_be_done_without_a_token() {
    let mut vm = Vm::new(&load(&open_to_anybody()));
    for request in [
        Request::call("search"),
        Request::modern_call("search"),
        Request::method("initialize", json!({ "protocolVersion": "2025-11-25" })),
        Request::method("ping", json!({})),
        Request::method("tools/list", json!({})),
        Request::method("resources/templates/list", json!({})),
        Request::method("prompts/list", json!({})),
        Request::modern("server/discover", json!({})),
        Request::notification("notifications/initialized"),
        Request::notification("notifications/cancelled"),
    ] {
        let settled = vm.send(&request);
        settled.assert_forwarded();
        assert_eq!((&settled.record["anonymous"], settled.record.get("client")), (&json!(true), None));
    }
    vm.pass(1_000);
    let settled = vm.send(&Request::call("search"));
    assert_eq!((settled.reason(), settled.rule()), ("permitted", Some("search")));
    for (request, id) in [
        (Request::call("get"), json!(7)),
        (Request::call("put"), json!(7)),
        (Request::call("nothing"), json!(7)),
        (Request::call("Search"), json!(7)),
        (Request::method("resources/read", json!({ "uri": "a://b" })), json!(7)),
        (Request::method("tasks/list", json!({})), json!(7)),
        (Request::notification("notifications/progress"), Json::Null),
        (Request::post(r#"{"jsonrpc":"2.0","id":7,"result":{}}"#).header("mcp-session-id", "s"), Json::Null),
        (Request::post("not JSON"), Json::Null),
        (
            Request::post(format!(
                r#"{{"jsonrpc":"2.0","id":7,"method":"ping","params":{{"a":"{}"}}}}"#,
                "x".repeat(70_000)
            )),
            Json::Null,
        ),
        (Request::call("search").header("mcp-name", "get"), json!(7)),
    ] {
        vm.pass(1_000);
        let settled = vm.send(&request);
        settled.assert_refused(401, "token_missing");
        assert_eq!(settled.answer().json().get("id").unwrap_or(&Json::Null), &id);
        assert!(
            settled
                .challenge()
                .is_some_and(|challenge| challenge.contains("scope=\"mcp:connect\"") && !challenge.contains("error="))
        );
    }
    // At the head: nothing follows that could be allowed, or too much is announced.
    for request in [
        Request::bare("GET", "/mcp"),
        Request::bare("DELETE", "/mcp"),
        Request::call("search").header("content-length", "70000"),
        Request::call("search").header("content-type", "text/plain"),
    ] {
        vm.pass(1_000);
        let stream = vm.head(&request);
        vm.settled(stream).assert_refused(401, "token_missing");
    }
}

#[test]
fn p26_a_token_that_is_there_and_bad_is_401_and_a_good_one_is_not_asked_for_more() {
    let mut vm = Vm::new(&load(&open_to_anybody()));
    for bad in ["x", "", &Token::new(BASELINE).claim("exp", START - 60).text()] {
        assert_eq!(vm.send(&Request::call("search").bearer(bad)).answer().status, 401);
    }
    // Neither baseline nor `callers` of the server apply to it.
    let other = Token::new("").claim("client_id", "somebody").text();
    vm.send(&Request::call("search").bearer(&other)).assert_forwarded();
    vm.send(&Request::call("get").bearer(&other)).assert_refused(403, "caller_not_allowed");
    vm.send(&Request::method("tools/list", json!({})).bearer(&other)).assert_refused(403, "caller_not_allowed");
}

#[test]
fn p26_strangers_are_bounded() {
    let mut vm = Vm::new(&load(&with(
        open_to_anybody(),
        "/limits",
        json!({ "anonymous_waiting": 2, "anonymous_body": "1KiB" }),
    )));
    let (one, two) = (vm.head(&Request::call("search")), vm.head(&Request::call("search")));
    let third = vm.head(&Request::call("search"));
    vm.settled(third).assert_refused(401, "token_missing");
    let with_token = vm.head(&Request::call("get").bearer(&able().text()));
    assert!(!vm.is_settled(with_token), "callers are not held up");
    vm.body(one, Request::call("search").body());
    vm.settled(one).assert_forwarded();
    vm.pass(2_100);
    vm.settled(two).assert_refused(401, "token_missing");
    let large = Request::post(format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"ping","params":{{"a":"{}"}}}}"#,
        "x".repeat(1_100)
    ));
    vm.send(&large).assert_refused(401, "token_missing");
}

#[test]
fn p26_nothing_stands_beside_it() {
    let rule = |rule: Json| document(json!({ "search": rule }));
    load(&rule(json!({ "anonymous": true })));
    for (more, path) in [
        (json!({ "anonymous": true, "scope": [] }), "tools.search.scope"),
        (json!({ "anonymous": true, "tier": "t" }), "tools.search.tier"),
        (json!({ "anonymous": true, "callers": { "client": ["a"] } }), "tools.search.callers"),
        (json!({ "anonymous": true, "allow_weaker": true }), "tools.search.allow_weaker"),
        (json!({ "anonymous": false }), "tools.search.anonymous"),
        (json!({ "anonymous": "yes" }), "tools.search.anonymous"),
    ] {
        assert_faulty(&rule(more), &[path]);
    }
    let mut tier = rule(json!({ "scope": "a", "tier": "t" }));
    tier["tiers"] = json!({ "t": { "anonymous": true } });
    assert_faulty(&tier, &["tiers.t.anonymous"]);
    assert!(warnings(&document(json!({ "*": { "anonymous": true } }))).contains("`*` asks for nothing"));
    // Without such a rule, nothing is read for strangers.
    let mut vm = Vm::new(&load(&rule(json!({ "scope": [] }))));
    let stream = vm.head(&Request::call("search"));
    vm.settled(stream).assert_refused(401, "token_missing");
}

#[test]
fn p26_a_body_has_the_shorter_of_both_bounds() {
    let document = with(open_to_anybody(), "/limits", json!({ "request_body": "1KiB" }));
    let mut vm = Vm::new(&load(&document));
    let stream = vm.head(&Request::call("search"));
    let long = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": { "name": "search", "arguments": { "q": "x".repeat(2000) } } });
    assert_eq!(vm.body_limit(stream), 1024);
    vm.body(stream, long.to_string().as_bytes());
    vm.settled(stream).assert_refused(401, "token_missing");
}

#[test]
fn p27_the_baseline_is_asked_for_as_the_callers_issuer_writes_it() {
    let mut document = challenging();
    let mut other = document.pointer(AT).expect("the issuer").clone();
    other["ask"] = json!("api://1/{scope}");
    document["issuers"]["https://other.example.com"] = document.pointer(AT).expect("the issuer").clone();
    *document.pointer_mut(AT).expect("the issuer") = other;
    let (challenge, _) = seen(&document, 401, None);
    assert!(
        challenge.as_ref().is_some_and(|challenge| challenge.contains("scope=\"api://1/mcp:connect\"")),
        "{challenge:?}"
    );
}
