//! What the loader demands of a document.

use super::*;

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

struct On(Millis);

impl Environment for On {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn now(&self) -> Option<Millis> {
        Some(self.0)
    }
}

#[test]
fn p15_a_shadow_ends_within_a_year_of_the_load() {
    let load = |until: &str| {
        let shadow = with(document(json!({ "get": open() })), "/mode", json!("shadow"));
        let shadow = with(shadow, "/until", json!(until));
        Policy::load(shadow.to_string().as_bytes(), &On(NOW)).map_err(|faults| faults[0].path.clone())
    };
    // The tests begin on 2027-01-15.
    assert!(load("2028-01-15").is_ok_and(|policy| policy.warnings().is_empty()));
    assert_eq!(load("2028-01-16").err().as_deref(), Some("until"));
    assert_eq!(load("9999-12-31").err().as_deref(), Some("until"));
    assert!(load("2027-01-15").is_ok_and(|policy| policy.warnings().iter().any(|warning| warning.path == "until")));
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
        // RFC 9728 3.1: they have one metadata document.
        (server("https://h.example.com/mcp"), server("https://h.example.com/mcp/")),
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
    assert_eq!(faults(&with(good.clone(), at, json!({ "keys": vec![key().jwk(); 129] }))).len(), 1);
    assert_eq!(faults(&with(good, at, json!([key().jwk()]))).len(), 1);
}

#[test]
fn limits_are_whole_numbers_with_units() {
    let limits = |limits: Json| with(document(json!({ "get": open() })), "/limits", limits);
    let policy = load(&limits(json!({ "request_body": "64KiB", "body_wait": "5s", "keys_wait": "1m" })));
    assert_eq!((policy.limits().request_body, policy.limits().body_wait), (64 * 1024, 5));
    assert_eq!((policy.limits().keys_wait, policy.limits().verified_cache), (60, 300));
    assert_eq!(load(&limits(json!({ "verified_cache": "2m" }))).limits().verified_cache, 120);
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
        "https://mcp.example.com/mcp#x",
        "https://mcp.example.com/%zz",
        "https://mcp.example.com/mcp?x=%2",
        "https://mcp.example.com/%00",
        "https://user@mcp.example.com/mcp",
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
    for path in ["mcp", "/a/../b", "/a%2Fb", "/a?b", "/a#b", "//a", "/a b"] {
        assert_faulty(&with(good.clone(), "/paths", json!([path])), &["paths[0]"]);
    }
    for origin in [
        "https://app.example.com/",
        "app.example.com",
        "null",
        "*",
        "https://app.example.com:443",
        "://x",
        "file://",
        "Vscode-webview://x",
        "a_b://x",
        "chrome-extension://*",
        "chrome-extension://x/",
        "x://a@b",
    ] {
        assert_faulty(&with(good.clone(), "/origins", json!([origin])), &["origins[0]"]);
    }
    assert!(warnings(&with(good, "/resource", json!("http://mcp.example.com/mcp"))).contains("without TLS"));
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
    assert_eq!(policy.view().servers().map(|server| server.name()).collect::<Vec<_>>(), ["default"]);
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

/// A `Struct` has its members in another order at each start of Envoy.
#[test]
fn p18_the_order_of_members_does_not_change_the_name_of_a_policy() {
    let document = generated(4);
    let backwards = backwards(&document);
    assert_ne!(document.to_string(), backwards);
    let digest =
        |text: &str| Policy::load(text.as_bytes(), &step_up_core::NoEnvironment).expect("it loads").digest().to_owned();
    assert_eq!(digest(&document.to_string()), digest(&backwards));
    assert_ne!(digest(&document.to_string()), digest(&generated(5).to_string()));
}

fn backwards(value: &Json) -> String {
    match value {
        Json::Object(members) => {
            let members: Vec<String> =
                members.iter().rev().map(|(name, value)| format!("{}:{}", json!(name), backwards(value))).collect();
            format!("{{{}}}", members.join(","))
        }
        Json::Array(items) => format!("[{}]", items.iter().map(backwards).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
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
