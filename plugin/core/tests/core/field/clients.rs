//! P14, P24, P25 and P40: callers and what their clients can do.

use super::*;

fn ruled(rule: Json) -> Json {
    document(json!({ "get": rule }))
}

fn of_client(id: &str) -> Token {
    able().claim("client_id", id)
}

#[test]
fn p14_callers_narrow_ordinary_rules() {
    let condition = |condition: Json| ruled(json!({ "scope": "repo:read", "callers": condition }));
    let staff = condition(json!({ "claim": "groups", "in": ["staff"] }));
    for (token, reason) in [
        (able().claim("groups", json!(["x", "staff"])), "permitted"),
        (able().claim("groups", "staff"), "permitted"),
        (able().claim("groups", json!(["x"])), "caller_not_allowed"),
        (able().claim("groups", json!([])), "caller_not_allowed"),
        (able().claim("groups", json!([["staff"]])), "caller_not_allowed"),
        (able().claim("groups", json!([1, "staff"])), "permitted"),
        (able(), "caller_not_allowed"),
        // Before what is held.
        (Token::new(BASELINE), "caller_not_allowed"),
    ] {
        let settled = judge(&staff, &token.text(), "get");
        assert_eq!(settled.reason(), reason, "{}", token.claims());
        if reason == "caller_not_allowed" {
            settled.assert_refused(403, reason);
            assert_eq!((settled.answer().code(), settled.challenge()), (Some(40301), None));
            assert_eq!(settled.answer().json()["error"]["data"]["reason"], "not_allowed");
        }
    }
    // Unknown is no, under `not` too.
    assert_eq!(
        reason(&condition(json!({ "not": { "claim": "contractor", "equals": true } })), &able()),
        "caller_not_allowed"
    );
    assert_faulty(&ruled(json!({ "callers": { "client": ["ci"] } })), &["tools.get"]);
}

#[test]
fn p14_callers_of_a_server_are_asked_of_every_request_with_a_token() {
    let narrowed = with(
        ruled(json!({ "scope": "repo:read", "callers": { "client": ["agent", "other"] } })),
        "/callers",
        json!({ "not": { "client": ["other"] } }),
    );
    let mut vm = Vm::new(&load(&narrowed));
    let requests = |token: &str| {
        [
            Request::method("ping", json!({})).bearer(token),
            Request::method("tools/list", json!({})).bearer(token),
            Request::notification("notifications/initialized").bearer(token),
            Request::bare("GET", "/mcp").bearer(token),
            Request::bare("DELETE", "/mcp").bearer(token),
            Request::call("get").bearer(token),
        ]
    };
    for request in requests(&able().text()) {
        vm.send(&request).assert_forwarded();
    }
    for request in requests(&of_client("other").text()) {
        vm.send(&request).assert_refused(403, "caller_not_allowed");
    }
    assert_eq!(vm.send(&Request::bare("GET", "/.well-known/oauth-protected-resource/mcp")).answer().status, 200);
    // Both must hold: the server's and the rule's.
    vm.send(&Request::call("get").bearer(&of_client("third").text())).assert_refused(403, "caller_not_allowed");
}

#[test]
fn p14_callers_of_tier_and_rule_must_both_hold() {
    let mut both = ruled(json!({ "tier": "t", "scope": "repo:read", "callers": { "client": ["agent"] } }));
    both["tiers"] = json!({ "t": { "callers": { "claim": "tid", "equals": "t-1" } } });
    assert_eq!(reason(&both, &able().claim("tid", "t-1")), "permitted");
    assert_eq!(reason(&both, &able()), "caller_not_allowed");
    assert_eq!(reason(&both, &of_client("x").claim("tid", "t-1")), "caller_not_allowed");
    // P5: who asks less of the caller asks less.
    let weaker =
        document(json!({ "get_*": { "scope": "a", "callers": { "client": ["x"] } }, "get_x": { "scope": "a" } }));
    assert!(warnings(&weaker).contains("asks less than"));
}

#[test]
fn p14_a_client_by_its_origin() {
    let origin = ruled(
        json!({ "scope": [], "callers": { "client_origin": ["https://agents.example.com", "https://b.example:8443"] } }),
    );
    for (client, allowed) in [
        ("https://agents.example.com/ci.json", true),
        ("https://AGENTS.example.com:443/x/y", true),
        ("https://b.example:8443/a", true),
        ("https://b.example/a", false),
        ("https://agents.example.com.evil.example/ci.json", false),
        ("https://agents.example.com@evil.example/ci.json", false),
        ("http://agents.example.com/ci.json", false),
        ("agents.example.com", false),
        ("https://agents.example.com", false),
    ] {
        assert_eq!(judge(&origin, &of_client(client).text(), "get").is_forwarded(), allowed, "{client}");
    }
    let not = ruled(json!({ "scope": [], "callers": { "not": { "client_origin": ["https://agents.example.com"] } } }));
    assert!(!judge(&not, &of_client("ci").text(), "get").is_forwarded(), "unknown for what is no such URL");
    for faulty in [
        json!("https://a.example/x"),
        json!("http://a.example"),
        json!([]),
        json!("https://*.example"),
        json!("a.example"),
        json!("https://u@a.example"),
    ] {
        let document = ruled(json!({ "scope": [], "callers": { "client_origin": faulty } }));
        assert!(!faults(&document).is_empty(), "{faulty}");
    }
}

#[test]
fn p14_clients_on_a_rule_or_server_is_meant_as_callers() {
    for place in ["/tools/get/clients", "/tiers/t/clients", "/servers/a/clients"] {
        let mut document = document(json!({ "get": { "scope": "a", "tier": "t" } }));
        document["tiers"] = json!({ "t": { "max_age": "1h" } });
        if place.starts_with("/servers") {
            let server = json!({ "resource": RESOURCE, "baseline": [BASELINE], "tools": document["tools"].take() });
            for name in ["resource", "baseline", "tools"] {
                document.as_object_mut().expect("a map").remove(name);
            }
            document["servers"] = json!({ "a": server });
        }
        assert_fault(&with(document, place, json!(["ci"])), &["`callers`"]);
    }
}

#[test]
fn p40_a_gateway_is_believed_about_its_own_client() {
    const GATEWAY: &str = "spiffe://example.com/ns/mesh/sa/gateway";
    const AGENT: &str = "spiffe://example.com/ns/agents/sa/ci";
    let rule = json!({ "scope": [], "callers": { "source": AGENT } });
    let xfcc = || with(ruled(rule.clone()), "/source_from", json!({ "xfcc": { "peers": [GATEWAY] } }));
    let call = || Request::call("get").bearer(&able().text());
    let header = |value: &str| call().certified_as(GATEWAY).header("x-forwarded-client-cert", value);
    let good = format!("By={GATEWAY};URI={AGENT}");
    let allowed = |document: &Json, request: &Request| Vm::new(&load(document)).send(request).is_forwarded();
    assert!(load(&xfcc()).asks_source());
    assert!(allowed(&xfcc(), &header(&good)));
    assert!(allowed(&xfcc(), &header(&format!("URI=spiffe://evil/x,{good}"))));
    assert!(allowed(&xfcc(), &call().certified_as(AGENT)), "anybody else is who its own certificate says");
    for refused in [
        header(&format!("{good},URI=spiffe://evil/x")),
        header(&format!("{good};URI={AGENT}")),
        header("nonsense"),
        header(&good).another("x-forwarded-client-cert", &good),
        call().certified_as(GATEWAY),
        call().certified_as("spiffe://evil/x").header("x-forwarded-client-cert", &good),
        call().header("x-forwarded-client-cert", &good),
    ] {
        assert!(!allowed(&xfcc(), &refused), "{refused:?}");
    }
    assert!(!allowed(&ruled(rule.clone()), &header(&good)), "not without the word");
    assert!(allowed(&with(ruled(rule.clone()), "/source_from", json!("certificate")), &call().certified_as(AGENT)));
    for faulty in [
        json!("xfcc"),
        json!({}),
        json!({ "xfcc": {} }),
        json!({ "xfcc": { "peers": [] } }),
        json!({ "xfcc": { "peers": [GATEWAY] }, "x": 1 }),
    ] {
        assert!(!faults(&with(ruled(rule.clone()), "/source_from", faulty.clone())).is_empty(), "{faulty}");
    }
}

/// A policy with a token service, where `put` takes the way of each client.
fn automatic(more: Json) -> Json {
    let mut rule =
        json!({ "step_up": "auto", "scope": "repo:write", "may_elevate": { "claim": "sub", "present": true } });
    for (name, value) in more.as_object().expect("a map") {
        rule[name] = value.clone();
    }
    rule.as_object_mut().expect("a map").retain(|_, value| !value.is_null());
    let mut document = document(json!({ "get": { "scope": "repo:read", "step_up": "challenge" }, "put": rule }));
    document["token_service"] = json!({
        "issuer": ISSUER, "cluster": "as", "token": "https://as.example.com/token", "revoke": "https://as.example.com/revoke",
        "client": { "id": "step-up-filter", "auth": "cluster" },
    });
    document["clients"] = json!([
        { "client": ["agent"], "steps_up": true },
        { "client_origin": ["https://agents.example.com"], "steps_up": true, "challenge": "result", "rfc9470": true },
        { "client": ["https://agents.example.com/old.json"] },
    ]);
    document
}

#[test]
fn p24_auto_is_resolved_for_each_caller() {
    let document = automatic(json!({}));
    for (client, way) in [
        ("agent", "challenge"),
        ("https://agents.example.com/new.json", "challenge"),
        ("https://AGENTS.example.com/old.json", "exchange"),
        ("codex", "exchange"),
    ] {
        let mut vm = Vm::new(&load(&document));
        let request = Request::call("put").bearer(&of_client(client).text());
        let stream = vm.head(&request);
        vm.body(stream, request.body());
        assert_eq!(vm.is_settled(stream), way == "challenge", "{client}");
        assert_eq!(vm.take_calls().len(), usize::from(way == "exchange"));
        if way == "challenge" {
            let settled = vm.settled(stream);
            assert_eq!((settled.reason(), &settled.record["step_up"]), ("scope_missing", &json!("challenge")));
        }
    }
    // Who steps up and holds the scope is not elevated, and goes on with its own token.
    let held = Token::new("mcp:connect repo:write").text();
    let settled = judge(&document, &held, "put");
    assert_eq!((settled.reason(), &settled.record["step_up"]), ("permitted", &json!("challenge")));
    assert_eq!(judge(&document, &able().text(), "get").record.get("step_up"), None);
}

#[test]
fn p24_auto_needs_what_keeps_it_fair() {
    let faulty = |more: Json, place: &str| assert_faulty(&automatic(more), &[place]);
    faulty(json!({ "may_elevate": null }), "tools.put");
    faulty(json!({ "audience": "https://git.internal/" }), "tools.put.audience");
    faulty(json!({ "audience": RESOURCE }), "tools.put.audience");
    faulty(json!({ "standing": "refuse" }), "tools.put.standing");
    faulty(json!({ "fallback": "challenge" }), "tools.put.fallback");
    faulty(json!({ "scope": [] }), "tools.put");
    assert_faulty(&without(automatic(json!({})), "/token_service"), &["tools.put"]);
    load(&automatic(json!({ "ttl": "30s", "max_lifetime": "15m" })));
}

#[test]
fn p24_each_client_stands_once() {
    let listed = |clients: Json| with(automatic(json!({})), "/clients", clients);
    let ability = json!({ "steps_up": true });
    for (clients, place) in [
        (json!([]), "clients"),
        (json!([ability]), "clients[0]"),
        (json!([{ "client": ["a"], "client_origin": ["https://a.example"] }]), "clients[0]"),
        (json!([{ "client": ["a"] }, { "client": ["b", "a"] }]), "clients[1].client[1]"),
        (json!([{ "client": ["https://A.example/x", "https://a.example/x"] }]), "clients[0].client[1]"),
        (json!([{ "client_origin": ["https://a.example", "https://A.example:443"] }]), "clients[0].client_origin[1]"),
        (json!([{ "client": [] }]), "clients[0].client"),
        (json!([{ "client": ["a*"] }]), "clients[0].client[0]"),
        (json!([{ "client": ["a"], "challenge": "result" }]), "clients[0].challenge"),
        (json!([{ "client": ["a"], "steps_up": "yes" }]), "clients[0].steps_up"),
        (json!([{ "client": ["a"], "challenge": "smoke" }]), "clients[0].challenge"),
    ] {
        assert_faulty(&listed(clients), &[place]);
    }
}

fn scope_of(settled: &Settled) -> String {
    let challenge = settled.challenge().expect("a challenge");
    let (_, rest) = challenge.split_once("scope=\"").expect("scope");
    rest.split_once('"').expect("its end").0.to_owned()
}

#[test]
fn p24_a_challenge_names_what_is_held_until_2025_11_25() {
    let mut document = automatic(json!({}));
    document["tools"]["drop"] = json!({ "scope": "repo:admin", "step_up": "exchange", "fallback": "challenge", "may_elevate": { "client": ["agent"] } });
    let caller = Token::new("mcp:connect repo:read repo:admin email").text();
    let mut vm = Vm::new(&load(&document));
    // Held and wanted by some rule: repo:read. Held and wanted by none, or only to be granted: not named.
    assert_eq!(scope_of(&vm.send(&Request::call("put").bearer(&caller))), "mcp:connect repo:read repo:write");
    assert_eq!(scope_of(&vm.send(&Request::modern_call("put").bearer(&caller))), "mcp:connect repo:write");
    let request = Request::call("drop").bearer(&caller);
    let stream = vm.head(&request);
    vm.body(stream, request.body());
    let (id, _) = vm.take_calls().pop().expect("an exchange");
    vm.reply(id, Ok((400, br#"{"error":"interaction_required"}"#)));
    assert_eq!(scope_of(&vm.settled(stream)), "mcp:connect repo:admin repo:read");
    // For nobody in particular nothing of it is said.
    assert_eq!(scope_of(&vm.send(&Request::call("put"))), "mcp:connect");
}

#[test]
fn p25_denials_as_json_rpc_errors() {
    let mut document =
        with(automatic(json!({ "callers": { "client": ["agent", "codex"] } })), "/denials", json!("jsonrpc"));
    document["tools"]["shell"] = json!("deny");
    let mut vm = Vm::new(&load(&document));
    let mut call = |tool: &str, token: &str| vm.send(&Request::call(tool).bearer(token));
    for (tool, token, reason) in
        [("shell", able(), "denied"), ("nothing", able(), "no_rule"), ("put", of_client("x"), "caller_not_allowed")]
    {
        let settled = call(tool, &token.text());
        settled.assert_refused(200, reason);
        assert_eq!((&settled.record["status"], &settled.record["verdict"]), (&json!(200), &json!("deny")));
        assert_eq!((settled.answer().code(), &settled.answer().json()["id"]), (Some(40301), &json!(7)));
    }
    // A challenge is HTTP's, and so is what is no request, no policy's, or ours.
    call("put", &able().text()).assert_refused(403, "scope_missing");
    call("put", "x").assert_refused(401, "token_malformed");
    vm.send(&Request::notification("notifications/initialized").bearer(&Token::new("").text()))
        .assert_refused(403, "scope_missing");
    vm.send(&Request::bare("GET", "/mcp").bearer(&Token::new("").text())).assert_refused(403, "scope_missing");
    vm.send(&Request::post("{}").bearer(&able().text())).assert_refused(400, "frame_shape");
    // What the token service refuses.
    let request = Request::call("put").bearer(&of_client("codex").text());
    for (said, status) in [
        (r#"{"error":"access_denied"}"#, 200),
        (r#"{"error":"interaction_required"}"#, 200),
        (r#"{"error":"unauthorized_client"}"#, 503),
    ] {
        let stream = vm.head(&request);
        vm.body(stream, request.body());
        let (id, _) = vm.take_calls().pop().expect("an exchange");
        vm.reply(id, Ok((400, said.as_bytes())));
        assert_eq!(vm.settled(stream).answer().status, status, "{said}");
    }
    let task = Request::method("tools/call", json!({ "name": "put", "task": {} })).bearer(&of_client("codex").text());
    vm.send(&task).assert_refused(200, "task_not_elevated");
    // Without the word it is HTTP.
    assert_eq!(judge(&without(document, "/denials"), &able().text(), "shell").answer().status, 403);
}

#[test]
fn p25_a_challenge_as_a_result() {
    let client = "https://agents.example.com/new.json";
    let document = automatic(json!({}));
    for (request, modern) in [(Request::call("put"), false), (Request::modern_call("put"), true)] {
        let mut vm = Vm::new(&load(&document));
        let settled = vm.send(&request.bearer(&of_client(client).text()));
        settled.assert_refused(200, "scope_missing");
        assert_eq!((settled.challenge(), &settled.record["verdict"]), (None, &json!("challenge")));
        assert_eq!(settled.record["status"], 200);
        let body = settled.answer().json();
        let result = &body["result"];
        assert_eq!((&body["id"], &result["isError"], body.get("error")), (&json!(7), &json!(true), None));
        assert_eq!(result.get("resultType"), modern.then_some(&json!("complete")));
        assert_eq!(result["content"].as_array().map(Vec::len), Some(1));
        let text = result["content"][0]["text"].as_str().expect("what is needed");
        assert!(text.contains("authorize again for mcp:connect repo:"), "{text}");
        let challenge = result["_meta"]["mcp/www_authenticate"][0].as_str().expect("the challenge");
        assert!(challenge.starts_with("Bearer error=\"insufficient_scope\", scope=\"mcp:connect repo:"), "{challenge}");
    }
    // Only of `tools/call`, only a missing scope, only this client.
    let mut vm = Vm::new(&load(&document));
    let none = Token::new("").claim("client_id", client).text();
    vm.send(&Request::method("ping", json!({})).bearer(&none)).assert_refused(403, "scope_missing");
    vm.send(&Request::call("nothing").bearer(&of_client(client).text())).assert_refused(403, "no_rule");
    vm.send(&Request::call("put").bearer(&able().text())).assert_refused(403, "scope_missing");
    vm.send(&Request::call("put")).assert_refused(401, "token_missing");
}

#[test]
fn p24_who_knows_rfc_9470_is_told_how_fresh_a_login_must_be() {
    let mut document = automatic(json!({}));
    document["tools"]["fresh"] = json!({ "scope": [], "max_age": "5m" });
    let mut vm = Vm::new(&load(&document));
    let settled = vm.send(&Request::call("fresh").bearer(&of_client("https://agents.example.com/a").text()));
    settled.assert_refused(401, "login_too_old");
    assert_eq!((settled.answer().code(), &settled.record["verdict"]), (Some(40102), &json!("challenge")));
    let challenge = settled.challenge().unwrap();
    assert!(
        challenge.starts_with("Bearer error=\"insufficient_user_authentication\", max_age=\"300\", resource_metadata="),
        "{challenge}"
    );
    let settled = vm.send(&Request::call("fresh").bearer(&able().text()));
    settled.assert_refused(403, "login_too_old");
    assert_eq!(settled.challenge(), None);
}

#[test]
fn p14_an_id_that_is_a_url_has_one_reading() {
    let not =
        ruled(json!({ "scope": "repo:read", "callers": { "not": { "client": ["https://agents.example.com"] } } }));
    for (id, expected) in [
        ("https://agents.example.com", "caller_not_allowed"),
        ("https://AGENTS.example.com", "caller_not_allowed"),
        ("https://x@agents.example.com", "caller_not_allowed"),
        ("HTTPS://agents.example.com/", "caller_not_allowed"),
        ("https://other.example.com", "permitted"),
        ("agents", "permitted"),
    ] {
        assert_eq!(reason(&not, &of_client(id)), expected, "{id}");
    }
    let listed = |id: &str| with(automatic(json!({})), "/clients", json!([{ "client": [id], "steps_up": true }]));
    assert_faulty(&listed("https://u@a.example.com/x"), &["clients[0].client[0]"]);
    load(&listed("https://A.example.com"));
}

#[test]
fn p24_what_only_auto_wants_is_granted_to_who_does_not_step_up() {
    let mut document = automatic(json!({}));
    document["tools"]["get"] = json!({ "scope": "repo:read" });
    document["clients"] = json!([{ "client": ["codex"], "steps_up": true }]);
    let mut vm = Vm::new(&load(&document));
    for (client, scopes) in [("agent", "mcp:connect repo:read"), ("codex", "mcp:connect repo:read repo:write")] {
        let caller = Token::new("mcp:connect repo:write").claim("client_id", client).text();
        assert_eq!(scope_of(&vm.send(&Request::call("get").bearer(&caller))), scopes, "{client}");
    }
}

#[test]
fn p15_p25_what_would_have_been_has_the_status_that_it_would_have_had() {
    let mut document = with(automatic(json!({})), "/denials", json!("jsonrpc"));
    document["tools"]["shell"] = json!("deny");
    document["clients"] = json!([{ "client": ["chat"], "steps_up": true, "challenge": "result" }]);
    document["callers"] = json!({ "not": { "client": ["bad"] } });
    (document["mode"], document["until"]) = (json!("shadow"), json!("2027-03-01"));
    let mut vm = Vm::new(&load(&document));
    let would = |vm: &mut Vm, request: &Request, client: &str| {
        vm.send(&request.clone().bearer(&of_client(client).text())).record["would"].clone()
    };
    let denied = would(&mut vm, &Request::call("shell"), "agent");
    assert_eq!(denied, json!({ "verdict": "deny", "reason": "denied", "status": 200 }));
    let challenged = would(&mut vm, &Request::call("put"), "chat");
    assert_eq!(challenged, json!({ "verdict": "challenge", "reason": "scope_missing", "status": 200 }));
    // What has no answer is refused in HTTP; one that goes nowhere would have been refused, too.
    for notification in ["notifications/initialized", "notifications/foo"] {
        let refused = would(&mut vm, &Request::notification(notification), "bad");
        assert_eq!(
            refused,
            json!({ "verdict": "deny", "reason": "caller_not_allowed", "status": 403 }),
            "{notification}"
        );
    }
}
