//! The page's own scenarios, as far as the decision alone answers them: (policy fragment, claims or none, frame, expected).
use super::naive::{Answer::*, *};
use crate::random::NOW;
use serde_json::{Value, json};

fn whole(fragment: Value) -> Value {
    let mut policy = json!({ "version": 1, "resource": "https://mcp.example.com/mcp", "baseline": ["mcp:connect"],
        "token_service": { "issuer": "https://as.example.com", "client": { "id": "step-up-filter", "auth": "cluster" } } });
    policy.as_object_mut().unwrap().extend(fragment.as_object().unwrap().clone());
    policy
}

fn token(scope: &str) -> Value {
    json!({ "scope": scope, "client_id": "agent", "sub": "alice", "iat": NOW, "exp": NOW + 3600 })
}

fn with(scope: &str, extra: Value) -> Value {
    let mut claims = token(scope);
    claims.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    claims
}

fn tool(name: &str) -> Value {
    call("tools/call", json!({ "name": name, "arguments": {} }))
}

fn call(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
}

fn challenge(scopes: &str) -> Answer {
    Challenge { scopes: scopes.split(' ').map(String::from).collect() }
}

fn elevated(scopes: &str, audience: &str, ttl: u64) -> Answer {
    Elevate {
        scopes: scopes.split(' ').filter(|s| !s.is_empty()).map(String::from).collect(),
        audience: audience.into(),
        ttl,
    }
}

fn own(scopes: &str) -> Answer {
    elevated(scopes, "https://mcp.example.com/mcp", 60)
}

fn check(point: &str, fragment: Value, rows: Vec<(Value, Value, Answer)>) {
    let policy = whole(fragment);
    for (claims, frame, expected) in rows {
        assert_eq!(answer(&policy, &claims, &frame, None, false), expected, "{point}: {frame} with {claims}");
    }
}

fn answer(policy: &Value, claims: &Value, frame: &Value, source: Option<&str>, modern: bool) -> Answer {
    let caller = Caller { claims, source, certificate: None };
    decide(policy, (!claims.is_null()).then_some(&caller), frame, modern, NOW)
}

const NOBODY: Value = Value::Null;

#[test]
fn p1_to_p4() {
    let (agent, reader, writer) =
        (token("mcp:connect"), token("mcp:connect repo:read"), token("mcp:connect repo:write"));
    let policy = json!({ "tools": { "get_*": { "scope": "repo:read" }, "get_secret": { "scope": ["repo:read", "repo:admin"] }, "*": { "scope": "repo:write" } } });
    check(
        "P1",
        policy,
        vec![
            (reader.clone(), tool("get_file"), Permit),
            (reader.clone(), tool("get_secret"), challenge("mcp:connect repo:admin repo:read")),
            (reader.clone(), tool("create_file"), challenge("mcp:connect repo:read repo:write")),
            (writer.clone(), tool("create_file"), Permit),
            (reader.clone(), tool("GET_file"), Refuse("name_confusable")),
            (reader.clone(), tool("get_file "), Refuse("name_confusable")),
            (reader.clone(), tool("get_/../delete_repo"), Refuse("name_confusable")),
            (writer.clone(), tool("git//get_file"), Refuse("name_confusable")),
        ],
    );
    check(
        "P1",
        json!({ "tools": { "get_file": { "scope": [] }, "debug_shell": "deny" } }),
        vec![
            (agent.clone(), tool("debug_shell"), Refuse("denied")),
            (agent.clone(), tool("no_such_tool"), Refuse("no_rule")),
        ],
    );
    check(
        "P3",
        json!({ "tools": { "publish": { "scope": ["repo:read", "repo:write"] } } }),
        vec![(agent.clone(), tool("publish"), challenge("mcp:connect repo:read repo:write"))],
    );
    let group = json!({ "tools": { "a": { "scope": { "any": ["x", "y"], "ask": "y" } }, "b": { "scope": [{ "any": ["x", "y"], "ask": "y" }, "z"] }, "*": { "scope": "tool:{name}" } } });
    check(
        "P3",
        group,
        vec![
            (agent.clone(), tool("a"), challenge("mcp:connect y")),
            (token("mcp:connect x"), tool("a"), Permit),
            (token("mcp:connect x"), tool("b"), challenge("mcp:connect x z")),
            (agent.clone(), tool("c"), challenge("mcp:connect tool:c")),
            (token("mcp:connect tool:c"), tool("c"), Permit),
            (agent.clone(), tool("c:d"), Refuse("name_not_scopable")),
        ],
    );
    let hierarchy = json!({ "scopes": { "repo:admin": { "implies": ["repo:write"] }, "repo:write": { "implies": ["repo:read"] } }, "tools": { "get_file": { "scope": "repo:read" } } });
    check(
        "P4",
        hierarchy,
        vec![
            (token("mcp:connect repo:admin"), tool("get_file"), Permit),
            (agent, tool("get_file"), challenge("mcp:connect repo:read")),
        ],
    );
}

#[test]
fn p5_to_p13() {
    let agent = token("mcp:connect");
    let tiers = json!({ "tiers": { "write": { "scope": "repo:write", "max_lifetime": "30m", "max_age": "1h" } }, "tools": { "create_issue": { "tier": "write", "max_lifetime": "15m" } } });
    check(
        "P5",
        tiers,
        vec![
            (agent.clone(), tool("create_issue"), challenge("mcp:connect repo:write")),
            (
                with("mcp:connect repo:write", json!({ "iat": NOW - 600, "exp": NOW + 600, "auth_time": NOW - 600 })),
                tool("create_issue"),
                Refuse("token_too_long_lived_for_rule"),
            ),
        ],
    );
    check(
        "P6, P7",
        json!({ "tools": { "get_payroll": { "scope": "hr:read", "step_up": "none" } } }),
        vec![
            (agent.clone(), tool("get_payroll"), Refuse("scope_not_obtainable")),
            (token("hr:read"), tool("get_payroll"), challenge("hr:read mcp:connect")),
            (token("repo:read"), tool("get_payroll"), Refuse("scope_not_obtainable")),
        ],
    );
    let stranger = |scope| with(scope, json!({ "client_id": "stranger" }));
    check(
        "P7",
        json!({ "tools": { "delete_repo": { "step_up": "exchange", "scope": "repo:admin", "standing": "refuse", "may_elevate": { "client": ["ops"] } } } }),
        vec![
            (stranger("repo:admin"), tool("delete_repo"), Refuse("standing_privilege")),
            (stranger("repo:read"), tool("delete_repo"), challenge("mcp:connect")),
            (stranger("mcp:connect"), tool("delete_repo"), Refuse("not_eligible")),
        ],
    );
    let raised = json!({ "tools": { "merge_pr": { "scope": "repo:write", "raise": [{ "unless": { "arg": "base", "in": ["dev", "next"] }, "step_up": "exchange", "scope": "repo:admin" }] } } });
    let merge = |base: Value| call("tools/call", json!({ "name": "merge_pr", "arguments": { "base": base } }));
    check(
        "P7",
        raised,
        vec![
            (token("mcp:connect repo:write"), merge(json!("dev")), Permit),
            (token("mcp:connect repo:write"), merge(json!("main")), own("repo:admin")),
            (token("mcp:connect repo:write"), merge(json!(["dev"])), own("repo:admin")),
            (agent.clone(), merge(json!("main")), challenge("mcp:connect repo:write")),
        ],
    );
    check(
        "P8",
        json!({ "tools": { "delete_repo": { "step_up": "exchange", "scope": "repo:admin", "may_elevate": { "claim": "level", "above": 2 } } } }),
        vec![
            (with("mcp:connect", json!({ "level": 3 })), tool("delete_repo"), own("repo:admin")),
            (with("mcp:connect", json!({ "level": 2 })), tool("delete_repo"), Refuse("not_eligible")),
            (agent.clone(), tool("delete_repo"), Refuse("not_eligible")),
            (
                with("mcp:connect", json!({ "level": 3, "may_act": { "sub": "somebody-else" } })),
                tool("delete_repo"),
                Refuse("not_eligible"),
            ),
        ],
    );
    let standing = json!({ "scopes": { "repo:owner": { "implies": ["repo:admin"] } }, "tools": {
        "delete_branch": { "step_up": "exchange", "scope": "repo:admin", "standing": "refuse" }, "delete_draft": { "step_up": "exchange", "scope": "repo:admin" } } });
    check(
        "P9",
        standing,
        vec![
            (token("mcp:connect repo:admin"), tool("delete_branch"), Refuse("standing_privilege")),
            (token("mcp:connect repo:owner"), tool("delete_branch"), Refuse("standing_privilege")),
            (token("mcp:connect repo:admin"), tool("delete_draft"), own("repo:admin")),
        ],
    );
    let audiences = json!({ "tools": { "delete_repo": { "step_up": "exchange", "scope": "repo:admin", "audience": "https://git.internal/admin", "ttl": "30s" } } });
    check(
        "P10, P11, P12",
        audiences,
        vec![
            (agent.clone(), tool("delete_repo"), elevated("repo:admin", "https://git.internal/admin", 30)),
            (
                agent.clone(),
                call("tools/call", json!({ "name": "delete_repo", "arguments": {}, "task": {} })),
                Refuse("task_not_elevated"),
            ),
        ],
    );
    let times = |iat: u64, exp: u64, auth: u64| {
        with("mcp:connect repo:write", json!({ "iat": NOW - iat, "exp": NOW + exp, "auth_time": NOW - auth }))
    };
    check(
        "P13",
        json!({ "tools": { "create_issue": { "scope": "repo:write", "max_lifetime": "15m", "max_age": "10m" }, "x": { "scope": [], "max_age": "5m" } } }),
        vec![
            (times(60, 840, 600), tool("create_issue"), Permit),
            (times(60, 841, 600), tool("create_issue"), Refuse("token_too_long_lived_for_rule")),
            (times(60, 840, 601), tool("create_issue"), Refuse("login_too_old")),
            (with("mcp:connect", json!({ "auth_time": NOW + 30 })), tool("x"), Permit),
            (with("mcp:connect", json!({ "auth_time": NOW + 31 })), tool("x"), Refuse("login_too_old")),
        ],
    );
}

#[test]
fn p14_and_p17() {
    let policy = json!({ "callers": { "not": { "claim": "suspended", "present": true } }, "tools": {
        "get_file": { "scope": [], "callers": { "claim": "groups", "in": ["staff"] } }, "get_page": { "scope": [], "callers": { "client_origin": ["https://agents.example.com"] } } } });
    let suspended = with("mcp:connect", json!({ "groups": ["staff"], "suspended": true }));
    let id = |id: &str| with("mcp:connect", json!({ "client_id": id }));
    check(
        "P14",
        policy,
        vec![
            (with("mcp:connect", json!({ "groups": ["x", "staff"] })), tool("get_file"), Permit),
            (with("mcp:connect", json!({ "groups": ["x"] })), tool("get_file"), Refuse("caller_not_allowed")),
            (token("mcp:connect"), tool("get_file"), Refuse("caller_not_allowed")),
            (suspended.clone(), tool("get_file"), Refuse("caller_not_allowed")),
            (suspended, call("ping", json!({})), Refuse("caller_not_allowed")),
            (id("https://AGENTS.example.com:443/ci.json"), tool("get_page"), Permit),
            (id("https://agents.example.com.evil.example/ci.json"), tool("get_page"), Refuse("caller_not_allowed")),
            (id("agent"), tool("get_page"), Refuse("caller_not_allowed")),
        ],
    );
    let policy = json!({ "tools": { "delete_repo": { "step_up": "exchange", "scope": "a", "may_elevate": { "client": ["https://agents.example.com/ci.json"] } },
        "other": { "scope": [], "callers": { "not": { "client": ["https://agents.example.com/ci.json"] } } } } });
    check(
        "P14",
        policy,
        vec![
            (id("https://AGENTS.example.com/ci.json"), tool("delete_repo"), own("a")),
            (id("https://agents.example.com/ci.json/x"), tool("delete_repo"), Refuse("not_eligible")),
            (id("https://agents.example.com/CI.json"), tool("delete_repo"), Refuse("not_eligible")),
            (id("https://x@agents.example.com/ci.json"), tool("delete_repo"), Refuse("not_eligible")),
            (id("http://agents.example.com/ci.json"), tool("other"), Refuse("caller_not_allowed")),
            (id("agent"), tool("other"), Permit),
        ],
    );
    let policy = json!({ "tools": {
        "by_role": { "step_up": "exchange", "scope": "a", "may_elevate": { "claim": "realm_access.roles", "in": ["admin"] } },
        "by_tenant": { "step_up": "exchange", "scope": "a", "may_elevate": { "claim": "/https:~1~1example.com~1tenant", "prefix": "eu-" } },
        "not_a_contractor": { "step_up": "exchange", "scope": "a", "may_elevate": { "not": { "claim": "kind", "equals": "contractor" } } },
        "by_fraction": { "step_up": "exchange", "scope": "a", "may_elevate": { "claim": "level", "equals": 1.0 } },
        "by_absence": { "step_up": "exchange", "scope": "a", "may_elevate": { "claim": "limits.refund", "present": false } } } });
    let right = with(
        "mcp:connect",
        json!({ "realm_access": { "roles": ["user", "admin"] }, "https://example.com/tenant": "eu-1", "kind": "staff", "level": 1, "limits": [{ "refund": 500 }] }),
    );
    let wrong = with(
        "mcp:connect",
        json!({ "realm_access": { "roles": ["user"] }, "https://example.com/tenant": "us-1", "kind": "contractor", "Limits": { "refund": 500 } }),
    );
    let mut rows = vec![];
    for name in ["by_role", "by_tenant", "not_a_contractor", "by_fraction"] {
        rows.push((right.clone(), tool(name), own("a")));
        rows.push((wrong.clone(), tool(name), Refuse("not_eligible")));
        rows.push((token("mcp:connect"), tool(name), Refuse("not_eligible")));
    }
    rows.push((token("mcp:connect"), tool("by_absence"), own("a")));
    rows.push((right, tool("by_absence"), Refuse("not_eligible")));
    rows.push((wrong, tool("by_absence"), Refuse("not_eligible")));
    check("P17", policy, rows);
}

#[test]
fn p17_operators() {
    let cases: Vec<(Value, Value, Option<bool>)> = vec![
        (json!({ "arg": "v", "within": "/srv/" }), json!("/srv"), Some(true)),
        (json!({ "arg": "v", "within": "/srv/" }), json!("/srv/a/"), Some(true)),
        (json!({ "arg": "v", "within": "/srv/" }), json!("/srvx"), Some(false)),
        (json!({ "arg": "v", "within": "/srv/" }), json!("/"), Some(false)),
        (json!({ "arg": "v", "within": "/srv/" }), json!("/srv/../x"), None),
        (json!({ "arg": "v", "within": "/srv/" }), json!("/srv//"), None),
        (json!({ "arg": "v", "within": "/srv/" }), json!("srv/a"), None),
        (json!({ "arg": "v", "host": ["*.example.com"] }), json!("HTTPS://a.B.example.com:443/x"), Some(true)),
        (json!({ "arg": "v", "host": ["*.example.com"] }), json!("https://example.com"), Some(false)),
        (json!({ "arg": "v", "host": ["example.com"] }), json!("https://example.com:80"), None),
        (json!({ "arg": "v", "host": ["example.com"] }), json!("https://u@example.com"), None),
        (json!({ "arg": "v", "host": ["10.0.0.1"] }), json!("http://10.0.0.1/"), Some(true)),
        (json!({ "arg": "v", "host": ["10.0.0.1"] }), json!("http://10.1/"), None),
        (json!({ "arg": "v", "in": ["a"] }), json!(["a"]), None),
        (json!({ "arg": "v", "present": true }), json!([]), Some(true)),
        (json!({ "arg": "v", "present": true }), json!(null), Some(false)),
        (json!({ "every": { "arg": "v", "in": ["a"] } }), json!([]), Some(true)),
        (json!({ "some": { "arg": "v", "in": ["a"] } }), json!([]), Some(false)),
        (json!({ "some": { "arg": "v", "in": ["a"] } }), json!(["a", 1]), Some(true)),
        (json!({ "every": { "arg": "v", "in": ["a"] } }), json!(["b", 1]), Some(false)),
        (json!({ "every": { "arg": "v", "in": ["a"] } }), json!(["a", 1]), None),
        (json!({ "every": { "arg": "v", "in": ["a"] } }), json!("a"), None),
        (json!({ "arg": "v", "equals": "tool:{name}" }), json!("tool:t"), Some(true)),
    ];
    for (condition, value, expected) in cases {
        let policy = |unless: Value| {
            whole(json!({ "tools": { "t": { "scope": [], "raise": [{ "unless": unless, "deny": true }] } } }))
        };
        let frame = call("tools/call", json!({ "name": "t", "arguments": { "v": value } }));
        let yes = answer(&policy(condition.clone()), &token("mcp:connect"), &frame, None, false) == Permit;
        let no = answer(&policy(json!({ "not": condition })), &token("mcp:connect"), &frame, None, false) == Permit;
        assert_eq!((yes, no), (expected == Some(true), expected == Some(false)), "{condition} of {value}");
    }
}

#[test]
fn p15_shadow() {
    let agent = token("mcp:connect");
    let policy = |until: &str| {
        json!({ "mode": "shadow", "until": until, "tools": {
        "debug_shell": "deny", "create_issue": { "scope": "repo:write", "max_lifetime": "15m" }, "delete_branch": { "step_up": "exchange", "scope": "repo:admin" },
        "delete_repo": { "step_up": "exchange", "scope": "repo:admin", "audience": "https://git.internal/" } } })
    };
    check(
        "P15",
        policy("2027-06-30"),
        vec![
            (agent.clone(), tool("debug_shell"), Permit),
            (agent.clone(), tool("create_issue"), Permit),
            (agent.clone(), tool("delete_branch"), Permit),
            (NOBODY, tool("create_issue"), NeedsToken),
            (agent.clone(), tool("delete_repo"), Refuse("shadow_cannot_exchange")),
            (agent.clone(), tool("Delete_Repo"), Refuse("shadow_cannot_exchange")),
            (agent.clone(), tool("git/../delete_repo"), Refuse("shadow_cannot_exchange")),
        ],
    );
    check("P15", policy("2026-12-31"), vec![(agent, tool("debug_shell"), Refuse("denied"))]);
}

#[test]
fn p19_resources() {
    let agent = token("mcp:connect");
    let policy = json!({ "tools": { "t": "deny" }, "resources": {
        "repo://acme/*": { "scope": [] }, "repo://acme/a/../b": { "scope": [] }, "confluence://{space}/pages/{id}": { "scope": [] }, "file:///srv/*": { "scope": [] } } });
    let read = |uri: &str| call("resources/read", json!({ "uri": uri }));
    let mut rows = vec![];
    for uri in [
        "repo://acme/x",
        "repo://acme/x/",
        "repo://acme/",
        "repo://acme/a/../b",
        "repo://acme/a%20b",
        "confluence://eng/pages/1",
        "file:///srv/x",
    ] {
        rows.push((agent.clone(), read(uri), Permit));
    }
    for uri in [
        "repo://acme/../x",
        "repo://acme//x",
        "repo://acme/x//",
        "repo://acme/%2E",
        "repo://acme/%73",
        "repo://acme/x#y",
        "repo://acme/x?y",
        "repo://acme/\\x",
        "file:/srv/x",
        "file://host/srv/x",
        "repo://u@acme/x",
        "repo://ACME/x",
    ] {
        rows.push((agent.clone(), read(uri), Refuse("name_confusable")));
    }
    rows.push((agent, read("confluence://eng/pages/a%20b"), Refuse("no_rule")));
    check("P19", policy.clone(), rows);
    let policy = whole(policy);
    let claims = token("mcp:connect");
    let caller = Caller { claims: &claims, source: None, certificate: None };
    let is_listed = |template: &str| listed(&policy, Some(&caller), "templates", template, false, NOW);
    assert!(is_listed("confluence://{a}/pages/{b}") && is_listed("repo://{org}/{x}") && !is_listed("other://{x}"));
}

#[test]
fn p20_methods() {
    let agent = token("mcp:connect");
    let listen = |notifications: Value| call("subscriptions/listen", json!({ "notifications": notifications }));
    let note = json!({ "jsonrpc": "2.0", "method": "notifications/com.example/news" });
    check(
        "P20",
        json!({ "tools": { "get_file": { "scope": [] } } }),
        vec![
            (agent.clone(), call("tools/list", json!({})), Permit),
            (agent.clone(), call("ping", json!({})), Permit),
            (NOBODY, call("ping", json!({})), NeedsToken),
            (agent.clone(), note.clone(), Drop),
            (agent.clone(), call("com.example/run", json!({})), Refuse("unknown_method")),
            (agent.clone(), call("prompts/get", json!({ "name": "review" })), Refuse("no_rule")),
            (agent.clone(), call("resources/read", json!({ "uri": "repo://acme/readme" })), Refuse("no_rule")),
            (agent.clone(), listen(json!({ "toolsListChanged": true })), Permit),
            (agent.clone(), listen(json!({ "resourceSubscriptions": ["repo://x"] })), Refuse("no_rule")),
            (agent.clone(), listen(json!({ "com.example/news": ["repo://x"] })), Refuse("params_invalid")),
        ],
    );
    assert_eq!(answer(&whole(json!({ "tools": {} })), &agent, &note, None, true), Refuse("unknown_method"));
}

#[test]
fn p24_and_p37() {
    let policy = json!({
        "clients": [{ "client": ["ide"], "steps_up": true }, { "client_origin": ["https://agents.example.com"], "steps_up": true, "rfc9470": true }],
        "tools": { "get_file": { "scope": "repo:read", "step_up": "challenge" }, "create_issue": { "step_up": "auto", "scope": "repo:write", "may_elevate": { "claim": "sub", "present": true } },
            "get_secret": { "scope": [], "max_age": "5m" } } });
    let ide = with("mcp:connect repo:read", json!({ "client_id": "ide" }));
    let cimd = with("mcp:connect repo:read", json!({ "client_id": "https://agents.example.com/ci.json" }));
    check(
        "P24",
        policy.clone(),
        vec![
            (ide.clone(), tool("create_issue"), challenge("mcp:connect repo:read repo:write")),
            (cimd.clone(), tool("create_issue"), challenge("mcp:connect repo:read repo:write")),
            (token("mcp:connect"), tool("create_issue"), own("repo:write")),
            (cimd, tool("get_secret"), Login { max_age: Some(300), acr: vec![] }),
            (ide.clone(), tool("get_secret"), Refuse("login_too_old")),
        ],
    );
    assert_eq!(answer(&whole(policy), &ide, &tool("create_issue"), None, true), challenge("mcp:connect repo:write"));
}

#[test]
fn p26_anonymous() {
    let other = json!({ "scope": "other", "client_id": "other" });
    check(
        "P26",
        json!({ "callers": { "client": ["agent"] }, "tools": { "search": { "anonymous": true }, "get_file": { "scope": [] } } }),
        vec![
            (NOBODY, tool("search"), Anonymous),
            (NOBODY, call("initialize", json!({})), Anonymous),
            (NOBODY, call("tools/list", json!({})), Anonymous),
            (other, tool("search"), Permit),
            (NOBODY, tool("get_file"), NeedsToken),
            (NOBODY, call("logging/setLevel", json!({})), NeedsToken),
        ],
    );
}

#[test]
fn p32_and_p33() {
    let policy = json!({ "tools": { "t": { "scope": [], "act": { "required": true, "clients": ["gateway"], "depth": 1 } }, "b": { "scope": [], "binding": "certificate" } } });
    let acted = |act: Value| with("mcp:connect", json!({ "act": act }));
    check(
        "P32, P33",
        policy.clone(),
        vec![
            (token("mcp:connect"), tool("t"), Refuse("actor_not_allowed")),
            (acted(json!({ "sub": "gateway" })), tool("t"), Permit),
            (acted(json!({ "sub": "x", "act": { "sub": "gateway" } })), tool("t"), Refuse("actor_not_allowed")),
            (acted(json!({ "sub": "gateway", "act": { "sub": "x" } })), tool("t"), Refuse("actor_not_allowed")),
            (acted(json!("gateway")), tool("t"), Refuse("claim_malformed")),
            (token("mcp:connect"), tool("b"), Refuse("token_not_bound")),
            (with("mcp:connect", json!({ "cnf": { "jkt": "x" } })), tool("b"), Refuse("token_bound")),
            (with("mcp:connect", json!({ "cnf": { "x5t#S256": "x" } })), tool("t"), Refuse("binding_mismatch")),
        ],
    );
    let claims = with("mcp:connect", json!({ "cnf": { "x5t#S256": "x" } }));
    let caller = Caller { claims: &claims, source: None, certificate: Some("x") };
    assert_eq!(decide(&whole(policy), Some(&caller), &tool("b"), false, NOW), Permit);
}

#[test]
fn p40_source() {
    let policy = whole(
        json!({ "tools": { "delete_repo": { "step_up": "exchange", "scope": "repo:admin", "may_elevate": { "source": "spiffe://example.com/ci" } } } }),
    );
    assert_eq!(
        answer(&policy, &token("mcp:connect"), &tool("delete_repo"), Some("spiffe://example.com/ci"), false),
        own("repo:admin")
    );
    assert_eq!(answer(&policy, &token("mcp:connect"), &tool("delete_repo"), None, false), Refuse("not_eligible"));
}

#[test]
fn p16_lists() {
    let policy = whole(json!({ "tools": {
        "get_file": { "scope": [] }, "debug_shell": "deny", "merge": { "scope": [], "raise": [{ "when": { "arg": "x", "present": true }, "deny": true }] },
        "locked": { "scope": [], "raise": [{ "unless": { "claim": "ok", "present": true }, "deny": true }] }, "wide": { "scope": "w" }, "none": { "scope": "w", "step_up": "none" },
        "search": { "anonymous": true } } }));
    let claims = token("mcp:connect");
    let caller = Caller { claims: &claims, source: None, certificate: None };
    let is_listed = |caller: Option<&Caller>, name: &str| listed(&policy, caller, "tools", name, false, NOW);
    for (name, expected) in [
        ("get_file", true),
        ("debug_shell", false),
        ("merge", true),
        ("locked", false),
        ("wide", true),
        ("none", false),
        ("nothing", false),
        ("GET_file", false),
        ("search", true),
    ] {
        assert_eq!(is_listed(Some(&caller), name), expected, "{name}");
    }
    assert!(is_listed(None, "search") && !is_listed(None, "get_file"));
}
