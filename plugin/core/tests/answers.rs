//! What clients see: the table "answers on the wire" of the design, row by row, and what stands around it.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

mod support;

use serde_json::{Value as Json, json};
use step_up_core::BodyFault;
use step_up_core::{Change, Metric};
use support::*;

/// One tool for each outcome.
fn example() -> Json {
    document(json!({
        "get": { "scope": [] },
        "put": { "scope": ["repo:write", "repo:read"] },
        "none": { "scope": "repo:admin", "step_up": "none" },
        "short": { "scope": [], "max_lifetime": "1m" },
        "fresh": { "scope": [], "max_age": "1m" },
        "shell": "deny",
    }))
}

fn vm() -> Vm {
    Vm::new(&load(&example()))
}

fn good() -> String {
    token(BASELINE)
}

/// Answers to the head alone, without a look at the body.
#[track_caller]
fn at_head(vm: &mut Vm, request: &Request) -> Settled {
    let stream = vm.head(request);
    assert!(!vm.wants_body(stream));
    // A second for each, so that no record is suppressed.
    vm.pass(1_000);
    vm.settled(stream)
}

/// Asserts status, code and the absence of a challenge and of an id.
#[track_caller]
fn assert_plain(settled: &Settled, status: u16, code: Option<i64>, reason: &str) {
    settled.assert_refused(status, reason);
    assert_eq!((settled.answer().code(), settled.challenge()), (code, None), "{reason}");
    assert_eq!(settled.answer().json().get("id"), None, "{reason}");
}

// No token.

#[test]
fn without_a_token_the_challenge_names_the_baseline_and_no_error() {
    for request in [
        Request::call("get"),
        Request::call("put"),
        Request::call("shell"),
        Request::modern_call("get"),
        Request::bare("GET", "/mcp"),
        Request::bare("DELETE", "/mcp"),
        Request::call("get").header("authorization", "Basic YTpi"),
        Request::call("get").header("authorization", "DPoP abc"),
        Request::post("not even JSON").header("content-type", "text/plain"),
    ] {
        let settled = at_head(&mut vm(), &request);
        let answer = settled.answer();
        assert_eq!(answer.status, 401, "{request:?}");
        let expected = format!(r#"Bearer scope="mcp:connect", resource_metadata="{METADATA}""#);
        assert_eq!(settled.challenge(), Some(&*expected));
        assert_eq!((answer.code(), answer.json().get("id")), (Some(40100), None));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
}

#[test]
fn an_empty_baseline_leaves_the_scope_out() {
    let mut vm = Vm::new(&load(&with(example(), "/baseline", json!([]))));
    let settled = at_head(&mut vm, &Request::call("get"));
    assert_eq!(settled.challenge(), Some(&*format!(r#"Bearer resource_metadata="{METADATA}""#)));
}

#[test]
fn the_challenge_names_all_of_the_baseline_sorted() {
    let mut vm = Vm::new(&load(&with(example(), "/baseline", json!(["z:last", "a:first", "a:first"]))));
    let settled = at_head(&mut vm, &Request::call("get"));
    assert!(settled.challenge().unwrap().starts_with(r#"Bearer scope="a:first z:last", "#));
}

// Bad tokens.

fn bad_tokens() -> Vec<(&'static str, String)> {
    let good = || Token::new(BASELINE);
    let raw = |header: &str, payload: &str| key().sign(header.as_bytes(), payload.as_bytes());
    let header = r#"{"alg":"EdDSA","typ":"at+jwt","kid":"k1"}"#;
    let text = good().text();
    let (head, rest) = text.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    vec![
        ("token_malformed", "x".into()),
        ("token_malformed", "..".into()),
        ("token_malformed", format!("{head}.{payload}")),
        ("token_malformed", format!("{text}.{signature}")),
        ("token_malformed", format!("{head}.{payload}.{signature}~")),
        ("token_malformed", format!("{head}.{payload}.+{}", signature.get(1..).unwrap())),
        ("token_malformed", format!("{text} {text}")),
        ("token_malformed", format!("{text}=")),
        ("token_malformed", raw("[]", "{}")),
        ("token_malformed", raw(header, "[]")),
        ("token_malformed", raw(header, r#"{"iss":"a","iss":"b"}"#)),
        ("token_malformed", raw(r#"{"alg":"none","alg":"EdDSA","typ":"at+jwt"}"#, "{}")),
        ("token_malformed", raw(r#"{"typ":"at+jwt"}"#, "{}")),
        ("token_malformed", raw(r#"{"alg":5,"typ":"at+jwt"}"#, "{}")),
        ("token_malformed", good().header("kid", 1).text()),
        ("token_malformed", good().header("typ", Json::Null).text()),
        ("token_malformed", good().claim("padding", "x".repeat(16 * 1024)).text()),
        ("token_type", good().without_type().text()),
        ("token_type", good().header("typ", "JWT").text()),
        ("token_type", good().header("typ", "dpop+jwt").text()),
        ("token_type", good().header("typ", "logout+jwt").text()),
        ("token_type", good().header("typ", "oauth-id-jag+jwt").text()),
        ("token_type", good().header("typ", "txntoken+jwt").text()),
        ("token_type", good().header("typ", "secevent+jwt").text()),
        ("token_type", good().header("typ", "application/application/at+jwt").text()),
        ("algorithm_not_allowed", good().header("alg", "none").text()),
        ("algorithm_not_allowed", good().header("alg", "HS256").text()),
        ("algorithm_not_allowed", good().header("alg", "ES256").text()),
        ("algorithm_not_allowed", good().header("alg", "eddsa").text()),
        ("critical_header", good().header("crit", json!(["x"])).text()),
        ("critical_header", good().header("crit", json!([])).text()),
        ("key_in_header", good().header("jwk", key().jwk()).text()),
        ("key_in_header", good().header("jku", "https://evil.example.com").text()),
        ("key_in_header", good().header("x5u", "https://evil.example.com").text()),
        ("issuer_unknown", good().claim("iss", "https://evil.example.com").text()),
        ("issuer_unknown", good().claim("iss", format!("{ISSUER}/")).text()),
        ("issuer_unknown", good().claim("iss", ISSUER.to_uppercase()).text()),
        ("key_unknown", good().header("kid", "k9").text()),
        ("signature_invalid", good().header("kid", "k1").signed_by(other_key())),
        ("signature_invalid", good().without_kid().signed_by(other_key())),
        ("signature_invalid", format!("{head}.{payload}.{}", base64([0; 64]))),
        ("signature_invalid", format!("{head}.{payload}.")),
        ("claim_missing", good().without("iss").text()),
        ("claim_missing", good().without("aud").text()),
        ("claim_missing", good().without("exp").text()),
        ("claim_missing", good().without("iat").text()),
        ("claim_missing", good().without("sub").text()),
        ("claim_missing", good().without("client_id").text()),
        ("claim_missing", good().without("jti").text()),
        ("claim_malformed", good().claim("iss", 1).text()),
        ("claim_malformed", good().claim("sub", "").text()),
        ("claim_malformed", good().claim("aud", json!([])).text()),
        ("claim_malformed", good().claim("aud", json!([RESOURCE, 1])).text()),
        ("claim_malformed", good().claim("aud", json!({ "0": RESOURCE })).text()),
        ("claim_malformed", good().claim("exp", (START + 60).to_string()).text()),
        ("claim_malformed", good().claim("exp", START as f64 + 60.5).text()),
        ("claim_malformed", good().claim("exp", u64::MAX).text()),
        ("claim_malformed", good().claim("exp", Json::Null).text()),
        ("claim_malformed", good().claim("iat", -1).text()),
        ("claim_malformed", good().claim("nbf", "now").text()),
        ("claim_malformed", good().claim("auth_time", "now").text()),
        ("claim_malformed", good().claim("scope", json!([BASELINE])).text()),
        ("claim_malformed", good().claim("scope", "mcp:connect  x").text()),
        ("claim_malformed", good().claim("scope", " mcp:connect").text()),
        ("claim_malformed", good().claim("scope", "mcp:connect\u{e9}").text()),
        ("claim_malformed", good().claim("iat", START).claim("exp", START).text()),
        ("token_expired", good().claim("exp", START - 30).text()),
        ("token_expired", good().claim("iat", 0).claim("exp", 1).text()),
        ("token_not_yet_valid", good().claim("iat", START + 31).text()),
        ("token_not_yet_valid", good().claim("nbf", START + 31).text()),
        ("token_not_yet_valid", good().claim("nbf", i64::MAX).text()),
        ("audience_mismatch", good().claim("aud", "https://other.example.com/mcp").text()),
        ("audience_mismatch", good().claim("aud", format!("{RESOURCE}/")).text()),
        ("audience_mismatch", good().claim("aud", "https://mcp.example.com").text()),
        ("audience_mismatch", good().claim("aud", "https://MCP.example.com/mcp").text()),
        ("audience_mismatch", good().claim("aud", json!(["a", "b"])).text()),
        ("token_bound", good().claim("cnf", json!({ "jkt": "x" })).text()),
        ("token_bound", good().claim("cnf", Json::Null).text()),
    ]
}

#[test]
fn every_bad_token_is_an_invalid_token_at_the_head() {
    for (reason, token) in bad_tokens() {
        let settled = at_head(&mut vm(), &Request::call("get").bearer(&token));
        settled.assert_refused(401, reason);
        assert_eq!(settled.answer().code(), Some(40101), "{reason}");
        assert_eq!(settled.answer().json().get("id"), None, "{reason}");
        let challenge = settled.challenge().unwrap();
        let expected = format!(
            r#"Bearer error="invalid_token", scope="mcp:connect", resource_metadata="{METADATA}", error_description=""#
        );
        let description = challenge.strip_prefix(&expected).unwrap().strip_suffix('"').unwrap();
        assert!(!description.is_empty() && !description.contains(['"', '\\', '=', ',']), "{challenge}");
    }
}

#[test]
fn the_challenge_for_an_expired_token_word_for_word() {
    let settled =
        at_head(&mut vm(), &Request::call("get").bearer(&Token::new(BASELINE).claim("exp", START - 31).text()));
    assert_eq!(
        settled.challenge(),
        Some(
            "Bearer error=\"invalid_token\", scope=\"mcp:connect\", \
             resource_metadata=\"https://mcp.example.com/.well-known/oauth-protected-resource/mcp\", \
             error_description=\"the access token expired\""
        )
    );
}

#[test]
fn good_tokens_come_in_these_forms_too() {
    let good = || Token::new(BASELINE);
    for token in [
        good().header("typ", "AT+JWT").text(),
        good().header("typ", "application/at+jwt").text(),
        good().without_kid().text(),
        good().claim("aud", json!(["https://other.example.com", RESOURCE])).text(),
        good().claim("scope", "mcp:connect mcp:connect x").text(),
        good().claim("exp", START - 29).text(),
        good().claim("iat", START + 30).text(),
        good().claim("nbf", START + 30).text(),
        good().claim("groups", json!({ "deep": [[[1.5]]] })).text(),
        good().claim("sid", "x").text(),
    ] {
        vm().send(&Request::call("get").bearer(&token)).assert_forwarded();
    }
    let call = Request::call("get");
    vm().send(&call.header("authorization", format!("bEARER {}", good().text()))).assert_forwarded();
}

#[test]
fn a_token_seen_before_expires_all_the_same() {
    let mut vm = vm();
    let call = Request::call("get").bearer(&Token::new(BASELINE).claim("exp", START + 10).text());
    vm.send(&call).assert_forwarded();
    vm.now = NOW.plus_seconds(39);
    vm.send(&call).assert_forwarded();
    vm.now = NOW.plus_seconds(40);
    vm.send(&call).assert_refused(401, "token_expired");
}

#[test]
fn jwt_typed_tokens_are_accepted_where_the_issuer_says_so() {
    let place = "/issuers/https:~1~1as.example.com/token_type";
    let mut vm = Vm::new(&load(&with(example(), place, json!("jwt"))));
    let good = || Token::new(BASELINE);
    for token in [
        good().without_type().text(),
        good().header("typ", "JWT").text(),
        good().text(),
        good().header("typ", "JWT").without("jti").without("client_id").text(),
        good().header("typ", "JWT").claim("sid", "as Keycloak writes it").text(),
    ] {
        vm.send(&Request::call("get").bearer(&token)).assert_forwarded();
    }
    for claim in ["nonce", "at_hash", "c_hash", "events"] {
        let token = good().header("typ", "JWT").claim(claim, "x").text();
        vm.send(&Request::call("get").bearer(&token)).assert_refused(401, "not_an_access_token");
    }
    for kind in ["dpop+jwt", "logout+jwt", "oauth-id-jag+jwt", "token-introspection+jwt"] {
        let token = good().header("typ", kind).text();
        vm.send(&Request::call("get").bearer(&token)).assert_refused(401, "token_type");
    }
    let no_subject = good().header("typ", "JWT").without("sub").text();
    vm.send(&Request::call("get").bearer(&no_subject)).assert_refused(401, "claim_missing");
}

// `held` scope missing.

#[test]
fn a_missing_scope_is_challenged_with_all_that_is_held_and_the_id() {
    let settled = vm().send(&Request::call("put").bearer(&token("mcp:connect repo:read")));
    settled.assert_refused(403, "scope_missing");
    assert_eq!(
        settled.challenge(),
        Some(
            "Bearer error=\"insufficient_scope\", scope=\"mcp:connect repo:read repo:write\", \
             resource_metadata=\"https://mcp.example.com/.well-known/oauth-protected-resource/mcp\", \
             error_description=\"this operation needs more scope\""
        )
    );
    let answer = settled.answer().json();
    assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!(7)));
    assert_eq!(answer["error"]["code"], 40300);
    assert_eq!(answer["error"]["data"]["reason"], "scope_missing");
    assert_eq!(answer["error"]["data"]["request_id"], settled.record["id"]);
    assert_eq!(settled.record["missing"], json!(["repo:write"]));
    assert_eq!((&settled.record["verdict"], &settled.record["status"]), (&json!("challenge"), &json!(403)));
}

#[test]
fn the_answer_never_names_a_rule() {
    let document = document(json!({ "secret_prefix_*": { "scope": "a" }, "secret_exact": "deny" }));
    for tool in ["secret_prefix_x", "secret_exact"] {
        let settled = judge(&document, &good(), tool);
        assert!(!String::from_utf8_lossy(&settled.answer().body).contains("secret_"));
    }
}

#[test]
fn challenges_are_deterministic() {
    let policy = load(&example());
    let missing = Request::call("put").bearer(&good());
    let expired = Request::call("put").bearer(&Token::new(BASELINE).claim("exp", START - 31).text());
    for request in [missing, expired, Request::call("put")] {
        let challenges: Vec<String> = (1..4)
            .map(|seed| {
                let mut vm = Vm::in_process(&policy, &Memory::default(), NOW.plus_seconds(seed.into()), seed);
                vm.send(&Request::call("get").bearer(&good()));
                vm.send(&request).challenge().unwrap().to_owned()
            })
            .collect();
        assert!(challenges.iter().all(|challenge| *challenge == challenges[0]), "{challenges:?}");
    }
}

// Login too old, token too long-lived.

#[test]
fn an_old_login_is_refused_without_challenge() {
    let settled = vm().send(&Request::call("fresh").bearer(&good()));
    settled.assert_refused(403, "login_too_old");
    assert_eq!((settled.answer().code(), settled.challenge()), (Some(40102), None));
    assert_eq!(settled.answer().json()["id"], 7);
}

#[test]
fn a_long_lived_token_is_refused_without_challenge() {
    let settled = vm().send(&Request::call("short").bearer(&good()));
    settled.assert_refused(403, "token_too_long_lived_for_rule");
    assert_eq!((settled.answer().code(), settled.challenge()), (Some(40303), None));
    assert_eq!(settled.answer().json()["id"], 7);
}

// Denied, no rule, not obtainable.

#[test]
fn the_client_cannot_tell_denied_from_unknown_from_confusable() {
    let mut vm = vm();
    let mut answers = Vec::new();
    for (tool, reason) in [
        ("shell", "denied"),
        ("nothing", "no_rule"),
        ("Shell", "name_confusable"),
        ("none", "scope_not_obtainable"),
        ("shell ", "name_confusable"),
        ("get/../shell", "name_confusable"),
        ("get//shell", "name_confusable"),
    ] {
        let settled = vm.send(&Request::call(tool).bearer(&good()));
        settled.assert_refused(403, reason);
        assert_eq!((settled.answer().code(), settled.challenge()), (Some(40301), None));
        answers.push(settled.answer().anonymous());
    }
    let prompt = vm.send(&Request::method("prompts/get", json!({ "name": "x" })).bearer(&good()));
    answers.push(prompt.answer().anonymous());
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    assert_eq!(answers[0].2["id"], 7);
}

#[test]
fn request_ids_differ_and_cannot_be_foretold() {
    let policy = load(&example());
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..4 {
        let mut vm = Vm::in_process(&policy, &Memory::default(), NOW, seed);
        for _ in 0..8 {
            let settled = vm.send(&Request::call("shell").bearer(&good()));
            assert!(seen.insert(settled.answer().json()["error"]["data"]["request_id"].to_string()));
        }
    }
}

// Frames.

#[test]
fn bodies_that_are_no_frame_are_refused() {
    let deep =
        format!(r#"{{"jsonrpc":"2.0","id":7,"method":"ping","params":{{"a":{}1{}}}}}"#, "[".repeat(70), "]".repeat(70));
    // Reason, code, is the id told?
    let cases: &[(&str, i64, Option<i64>, &[u8])] = &[
        ("not_utf8", -32700, None, b"{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"\xff\"}"),
        ("json_syntax", -32700, None, b""),
        ("json_syntax", -32700, None, b"{"),
        ("json_syntax", -32700, None, b"\xef\xbb\xbf{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"ping\"}"),
        ("json_syntax", -32700, None, br#"{"jsonrpc":"2.0","id":7,"method":"ping"}{}"#),
        ("json_syntax", -32700, None, br#"{"jsonrpc":"2.0","id":7,"method":"ping"} x"#),
        ("json_syntax", -32700, None, br#"{"jsonrpc":"2.0","id":7,"method":"ping","params":{"a":NaN}}"#),
        ("duplicate_key", -32600, None, br#"{"jsonrpc":"2.0","id":7,"method":"ping","method":"tools/call"}"#),
        ("duplicate_key", -32600, None, br#"{"jsonrpc":"2.0","id":7,"id":8,"method":"ping"}"#),
        (
            "duplicate_key",
            -32600,
            None,
            br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"get","n\u0061me":"shell"}}"#,
        ),
        (
            "duplicate_key",
            -32600,
            None,
            br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"get","arguments":{"a":1,"a":2}}}"#,
        ),
        ("too_deep", -32600, None, deep.as_bytes()),
        ("batch", -32600, None, br#"[{"jsonrpc":"2.0","id":7,"method":"ping"}]"#),
        ("batch", -32600, None, b"[]"),
        ("frame_shape", -32600, None, b"null"),
        ("frame_shape", -32600, None, b"\"ping\""),
        ("frame_shape", -32600, None, b"{}"),
        ("frame_shape", -32600, Some(7), br#"{"id":7,"method":"ping"}"#),
        ("frame_shape", -32600, Some(7), br#"{"jsonrpc":"1.0","id":7,"method":"ping"}"#),
        ("frame_shape", -32600, Some(7), br#"{"jsonrpc":2.0,"id":7,"method":"ping"}"#),
        ("frame_shape", -32600, Some(7), br#"{"jsonrpc":"2.0","id":7}"#),
        ("frame_shape", -32600, Some(7), br#"{"jsonrpc":"2.0","id":7,"method":1}"#),
        ("frame_shape", -32600, Some(7), br#"{"jsonrpc":"2.0","id":7,"method":"notifications/initialized"}"#),
        ("frame_shape", -32600, Some(7), br#"{"jsonrpc":"2.0","id":7,"method":"ping","result":{}}"#),
        ("frame_shape", -32600, None, br#"{"jsonrpc":"2.0","id":7,"result":{},"error":{}}"#),
        ("frame_shape", -32600, None, br#"{"jsonrpc":"2.0","id":7,"result":{},"params":{}}"#),
        ("frame_shape", -32600, None, br#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"get"}}"#),
        ("frame_shape", -32600, None, br#"{"jsonrpc":"2.0","method":"ping"}"#),
        ("frame_shape", -32600, None, br#"{"jsonrpc":"2.0","result":{}}"#),
        ("frame_id", -32600, None, br#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#),
        ("frame_id", -32600, None, br#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#),
        ("frame_id", -32600, None, br#"{"jsonrpc":"2.0","id":7.0,"method":"ping"}"#),
        ("frame_id", -32600, None, br#"{"jsonrpc":"2.0","id":[7],"method":"ping"}"#),
        ("frame_id", -32600, None, br#"{"jsonrpc":"2.0","id":9007199254740993,"method":"ping"}"#),
        ("folded_key", -32600, None, br#"{"jsonrpc":"2.0","id":7,"method":"ping","Method":"tools/call"}"#),
        ("folded_key", -32600, None, br#"{"jsonrpc":"2.0","id":7,"ID":8,"method":"ping"}"#),
        (
            "folded_key",
            -32600,
            Some(7),
            br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"get","Name":"shell"}}"#,
        ),
        (
            "folded_key",
            -32600,
            None,
            "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/call\",\"param\u{17f}\":{\"name\":\"shell\"}}".as_bytes(),
        ),
        (
            "folded_key",
            -32600,
            Some(7),
            br#"{"jsonrpc":"2.0","id":7,"method":"ping","params":{"_meta":{"IO.modelcontextprotocol/protocolVersion":"x"}}}"#,
        ),
        ("params_invalid", -32602, Some(7), br#"{"jsonrpc":"2.0","id":7,"method":"ping","params":[]}"#),
        ("params_invalid", -32602, Some(7), br#"{"jsonrpc":"2.0","id":7,"method":"ping","params":{"_meta":1}}"#),
        ("params_invalid", -32602, Some(7), br#"{"jsonrpc":"2.0","id":7,"method":"tools/call"}"#),
        ("params_invalid", -32602, Some(7), br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{}}"#),
        ("params_invalid", -32602, Some(7), br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":["get"]}}"#),
    ];
    let mut vm = vm();
    for (reason, code, id, body) in cases {
        let settled = vm.send(&Request::post(body).bearer(&good()));
        let text = String::from_utf8_lossy(body);
        assert_eq!((settled.answer().status, settled.reason()), (400, *reason), "{text}");
        assert_eq!((settled.answer().code(), settled.challenge()), (Some(*code), None), "{text}");
        assert_eq!(settled.answer().json().get("id"), id.map(Json::from).as_ref(), "{text}");
    }
}

#[test]
fn ids_come_back_as_they_were() {
    let mut vm = vm();
    let long = "x".repeat(256);
    for id in [json!(0), json!(-5), json!(1_i64 << 53), json!("a"), json!(""), json!("7"), json!("é\"\\"), json!(long)]
    {
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "shell" } });
        let settled = vm.send(&Request::post(body.to_string()).bearer(&good()));
        assert_eq!(settled.answer().json()["id"], id);
    }
    let body = json!({ "jsonrpc": "2.0", "id": "x".repeat(257), "method": "ping" });
    vm.send(&Request::post(body.to_string()).bearer(&good())).assert_refused(400, "frame_id");
}

#[test]
fn headers_and_body_must_agree_in_every_era() {
    let mut vm = vm();
    let name = |value: &str| Request::call("get").header("mcp-name", value);
    let modern = || Request::modern_call("get");
    for request in [
        Request::call("get").header("mcp-method", "tools/list"),
        Request::call("get").header("mcp-method", "Tools/Call"),
        name("put"),
        name("Get"),
        name("=?base64?cHV0?="),
        name("=?base64?Z2V0"),
        name("=?base64?Z2V?="),
        name("=?base64?/w==?="),
        name("=?BASE64?Z2V0?="),
        modern().header("mcp-name", "put"),
        modern().header("mcp-method", "tools/list"),
        modern().header("mcp-protocol-version", "2025-11-25"),
        modern().without("mcp-protocol-version"),
        Request::modern("ping", json!({})).header("mcp-name", "x"),
    ] {
        let settled = vm.send(&request.clone().bearer(&good()));
        settled.assert_refused(400, "header_mismatch");
        assert_eq!((settled.answer().code(), &settled.answer().json()["id"]), (Some(-32020), &json!(7)), "{request:?}");
    }
    for request in [
        name("get"),
        name("=?base64?Z2V0?="),
        Request::call("get").header("mcp-method", "tools/call"),
        modern(),
        modern().header("mcp-name", "=?base64?Z2V0?="),
        Request::modern("tools/list", json!({})),
    ] {
        vm.send(&request.bearer(&good())).assert_forwarded();
    }
}

#[test]
fn the_modern_revision_requires_its_headers_and_metadata() {
    let mut vm = vm();
    for name in ["mcp-name", "mcp-method"] {
        let settled = vm.send(&Request::modern_call("get").without(name).bearer(&good()));
        settled.assert_refused(400, "header_missing");
        assert_eq!((settled.answer().code(), &settled.answer().json()["id"]), (Some(-32020), &json!(7)));
    }
    let without_meta = Request::call("get")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", "get");
    let settled = vm.send(&without_meta.bearer(&good()));
    settled.assert_refused(400, "params_invalid");
    assert_eq!(settled.answer().code(), Some(-32602));
}

#[test]
fn an_unsupported_version_is_told_which_are() {
    let mut vm = vm();
    let supported = json!(["2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"]);
    for version in ["2024-11-05", "2027-01-01", "1", ""] {
        let settled = vm.send(&Request::call("get").header("mcp-protocol-version", version).bearer(&good()));
        settled.assert_refused(400, "protocol_version");
        let answer = settled.answer().json();
        assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(-32022), &json!(7)));
        assert_eq!(answer["error"]["data"]["supported"], supported);
        assert_eq!(answer["error"]["data"]["requested"], version);
    }
    for version in ["2025-03-26", "2025-06-18", "2025-11-25"] {
        vm.send(&Request::call("get").header("mcp-protocol-version", version).bearer(&good())).assert_forwarded();
    }
    vm.send(&Request::call("get").without("mcp-protocol-version").bearer(&good())).assert_forwarded();
}

#[test]
fn an_unsupported_version_of_a_stream_is_told_which_are_too() {
    let request = Request::bare("GET", "/mcp").header("mcp-protocol-version", "2027-01-01").bearer(&good());
    let settled = vm().send(&request);
    settled.assert_refused(400, "protocol_version");
    assert_eq!(settled.answer().json()["error"]["data"]["requested"], "2027-01-01");
}

// Unknown methods and notifications.

#[test]
fn an_unknown_method_is_404_in_the_modern_era_and_200_in_the_legacy_one() {
    let mut vm = vm();
    let modern = vm.send(&Request::modern("tasks/get", json!({})).bearer(&good()));
    assert_eq!((modern.answer().status, modern.answer().code()), (404, Some(-32601)));
    assert_eq!(modern.answer().json()["id"], 7);
    for request in [
        Request::method("tasks/get", json!({})),
        Request::method("tasks/get", json!({})).without("mcp-protocol-version"),
        Request::method("tasks/get", json!({})).header("mcp-session-id", "s"),
    ] {
        let legacy = vm.send(&request.bearer(&good()));
        legacy.assert_refused(200, "unknown_method");
        assert_eq!((legacy.answer().code(), legacy.challenge()), (Some(-32601), None));
        assert_eq!(legacy.answer().json()["id"], 7, "a 404 would mean that the session is gone");
        assert_eq!(legacy.answer().header("content-type"), Some("application/json"));
    }
}

#[test]
fn an_unknown_legacy_notification_is_accepted_and_goes_nowhere() {
    let mut vm = vm();
    let settled = vm.send(&Request::notification("notifications/unheard_of").bearer(&good()));
    assert_eq!((settled.answer().status, settled.answer().body.len()), (202, 0));
    assert_eq!((settled.reason(), &settled.record["verdict"]), ("dropped", &json!("answer")));
    vm.send(&Request::notification("notifications/unheard_of").bearer(&token("x")))
        .assert_refused(403, "scope_missing");

    let frame = json!({ "jsonrpc": "2.0", "method": "notifications/unheard_of" });
    let modern = Request::post(frame.to_string()).header("mcp-protocol-version", "2026-07-28");
    let settled = vm.send(&modern.bearer(&good()));
    settled.assert_refused(404, "unknown_method");
    assert_eq!(settled.answer().json().get("id"), None);
}

#[test]
fn a_refused_notification_has_no_id() {
    let settled = vm().send(&Request::notification("notifications/initialized").bearer(&token("x")));
    settled.assert_refused(403, "scope_missing");
    assert_eq!(settled.answer().json().get("id"), None);
}

#[test]
fn responses_pass_in_a_legacy_session_only() {
    let mut vm = vm();
    let body = json!({ "jsonrpc": "2.0", "id": 7, "result": {} }).to_string();
    let response = || Request::post(&body).bearer(&good());
    let session = || response().header("mcp-session-id", "s");
    vm.send(&session()).assert_forwarded();
    let error = json!({ "jsonrpc": "2.0", "id": "a", "error": { "code": 1, "message": "no" } }).to_string();
    vm.send(&Request::post(error).bearer(&good()).header("mcp-session-id", "s")).assert_forwarded();
    vm.send(&session().bearer(&token("x"))).assert_refused(403, "scope_missing");
    for request in [
        response(),
        session().header("mcp-protocol-version", "2026-07-28"),
        session().header("mcp-method", "tools/call"),
        session().header("mcp-name", "get"),
    ] {
        vm.send(&request).assert_refused(400, "response_not_allowed");
    }
}

#[test]
fn a_refused_response_is_not_answered_under_its_id() {
    // The id is the server's: to the client it would look like the answer to a request of its own.
    let body = json!({ "jsonrpc": "2.0", "id": 7, "result": {} }).to_string();
    let settled = vm().send(&Request::post(&body).bearer(&good()));
    settled.assert_refused(400, "response_not_allowed");
    assert_eq!(settled.answer().json().get("id"), None);
}

// Before the token: Origin, method, path, upgrade, headers.

#[test]
fn a_foreign_origin_is_refused() {
    let mut vm =
        Vm::new(&load(&with(example(), "/origins", json!(["https://app.example.com", "http://localhost:3000"]))));
    for origin in [
        "https://evil.example.com",
        "null",
        "",
        "http://mcp.example.com",
        "https://mcp.example.com:444",
        "https://mcp.example.com.evil.example.com",
        "https://APP.example.com",
        "http://localhost",
    ] {
        for request in [Request::call("get"), Request::bare("GET", "/mcp")] {
            let settled = at_head(&mut vm, &request.header("origin", origin).bearer(&good()));
            assert_plain(&settled, 403, Some(-32600), "origin_not_allowed");
        }
    }
    for origin in ["https://mcp.example.com", "https://app.example.com", "http://localhost:3000"] {
        vm.send(&Request::call("get").header("origin", origin).bearer(&good())).assert_forwarded();
    }
}

#[test]
fn methods_that_are_not_served() {
    let mut vm = vm();
    for method in ["PUT", "PATCH", "OPTIONS", "HEAD", "CONNECT", "TRACE", "post", "get", ""] {
        let settled = at_head(&mut vm, &Request::bare(method, "/mcp").bearer(&good()));
        assert_plain(&settled, 405, None, "method_not_allowed");
        assert_eq!(settled.answer().header("allow"), Some("POST, GET, DELETE"), "{method}");
    }
    for method in ["GET", "DELETE"] {
        let modern = Request::bare(method, "/mcp").header("mcp-protocol-version", "2026-07-28").bearer(&good());
        assert_plain(&at_head(&mut vm, &modern), 405, None, "method_not_allowed");
    }
}

#[test]
fn legacy_streams_need_a_token_with_the_baseline_and_no_body() {
    let mut vm = vm();
    for method in ["GET", "DELETE"] {
        let request = || Request::bare(method, "/mcp").header("mcp-session-id", "s");
        at_head(&mut vm, &request().bearer(&good())).assert_forwarded();
        at_head(&mut vm, &request().bearer(&token("x"))).assert_refused(403, "scope_missing");
        at_head(&mut vm, &request()).assert_refused(401, "token_missing");
        let announced = request().header("content-length", "5").bearer(&good());
        assert_plain(&at_head(&mut vm, &announced), 400, None, "body_not_allowed");
        let following = Request::post("x").header(":method", method).bearer(&good());
        assert_plain(&at_head(&mut vm, &following), 400, None, "body_not_allowed");
        at_head(&mut vm, &request().header("content-length", "0").bearer(&good())).assert_forwarded();
    }
}

#[test]
fn only_the_path_of_the_resource_is_served() {
    let mut vm = Vm::new(&load(&with(example(), "/paths", json!(["/messages"]))));
    for path in
        ["/", "", "/mcp/", "/MCP", "//mcp", "/mcp/x", "/%6dcp", "/mcp;x", "/./mcp", "/messages/", "/admin", "mcp", "*"]
    {
        // Whoever asks: there is nothing to be had with a token either.
        for request in [Request::call("get").bearer(&good()), Request::call("get")] {
            let settled = at_head(&mut vm, &request.header(":path", path));
            assert_plain(&settled, 404, None, "unknown_path");
        }
    }
    for path in ["/mcp", "/mcp?session=1", "/mcp?", "/messages"] {
        vm.send(&Request::call("get").header(":path", path).bearer(&good())).assert_forwarded();
    }
}

#[test]
fn upgrades_overrides_and_tokens_in_the_query_are_refused() {
    let mut vm = vm();
    for (name, value, reason) in [
        ("upgrade", "websocket", "upgrade_not_allowed"),
        ("upgrade", "h2c", "upgrade_not_allowed"),
        (":protocol", "websocket", "upgrade_not_allowed"),
        ("connection", "keep-alive, Upgrade", "upgrade_not_allowed"),
        ("x-http-method-override", "DELETE", "method_override"),
        ("x-http-method", "DELETE", "method_override"),
        ("x-method-override", "DELETE", "method_override"),
        (":path", "/mcp?access_token=x", "token_in_query"),
        (":path", "/mcp?a=b&Access%5FToken=x", "token_in_query"),
    ] {
        for request in [Request::call("get").bearer(&good()), Request::bare("GET", "/mcp")] {
            assert_plain(&at_head(&mut vm, &request.header(name, value)), 400, None, reason);
        }
    }
}

#[test]
fn single_value_headers_come_once() {
    let mut vm = vm();
    let request = || Request::call("get").bearer(&good());
    for name in [
        "authorization",
        "origin",
        "content-type",
        "content-encoding",
        "content-length",
        "mcp-protocol-version",
        "mcp-session-id",
        "mcp-method",
        "mcp-name",
        ":path",
        ":method",
        ":authority",
        "host",
    ] {
        let twice = request().another(name, "a").another(name, "a");
        assert_plain(&at_head(&mut vm, &twice), 400, None, "header_duplicated");
    }
    for (name, value) in [
        ("authorization", format!("Bearer {}, Bearer {}", good(), good())),
        ("authorization", format!("Basic abc, Bearer {}", good())),
        ("content-type", "application/json, application/json".into()),
        ("mcp-protocol-version", "2025-11-25,2026-07-28".into()),
        ("mcp-session-id", "a,b".into()),
        ("origin", "https://mcp.example.com, https://evil.example.com".into()),
    ] {
        assert_plain(&at_head(&mut vm, &request().header(name, value)), 400, None, "header_duplicated");
    }
    assert_plain(&at_head(&mut vm, &request().header("x-any", b"\xff")), 400, None, "header_malformed");
}

#[test]
fn media_types_and_encodings_that_are_not_accepted() {
    let mut vm = vm();
    let request = || Request::call("get").bearer(&good());
    for media in ["text/plain", "application/json-rpc", "application/json; charset=latin1", ""] {
        assert_plain(&at_head(&mut vm, &request().header("content-type", media)), 400, Some(-32600), "content_type");
    }
    assert_plain(&at_head(&mut vm, &request().without("content-type")), 400, Some(-32600), "content_type");
    for coding in ["gzip", "br", "identity, gzip", "identity,identity"] {
        let encoded = request().header("content-encoding", coding);
        assert_plain(&at_head(&mut vm, &encoded), 400, Some(-32600), "content_encoding");
    }
    for (name, value) in [
        ("content-type", "application/json; charset=utf-8"),
        ("content-type", "Application/JSON"),
        ("content-encoding", "identity"),
    ] {
        vm.send(&request().header(name, value)).assert_forwarded();
    }
}

// Too large, internal.

#[test]
fn a_body_that_is_too_large_is_413_as_early_as_possible() {
    let mut vm = Vm::new(&load(&with(example(), "/limits", json!({ "request_body": "1KiB" }))));
    let padded = |bytes: usize| {
        let mut body =
            json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": { "name": "get" } }).to_string();
        body.push_str(&" ".repeat(bytes - body.len()));
        Request::post(body).bearer(&good())
    };
    vm.send(&padded(1024).header("content-length", "1024")).assert_forwarded();
    assert_plain(&vm.send(&padded(1025)), 413, Some(41300), "body_too_large");
    let announced = padded(1025).header("content-length", "1025");
    assert_plain(&at_head(&mut vm, &announced), 413, Some(41300), "body_too_large");
    // On a 32 bit machine, which WebAssembly is, the first of these is as good as the second.
    for length in ["5000000000", "99999999999999999999999"] {
        at_head(&mut vm, &padded(500).header("content-length", length)).assert_refused(413, "body_too_large");
    }
    for length in ["x", "-1", "+1", "1.5", "1 0"] {
        at_head(&mut vm, &padded(500).header("content-length", length)).assert_refused(400, "header_malformed");
    }
    let stream = vm.head(&padded(500));
    vm.body_fault(stream, BodyFault::TooLarge);
    assert_plain(&vm.settled(stream), 413, Some(41300), "body_too_large");
}

#[test]
fn a_body_the_host_cannot_read_is_our_fault_and_says_no_more() {
    let mut vm = vm();
    let stream = vm.head(&Request::call("get").bearer(&good()));
    vm.body_fault(stream, BodyFault::Unreadable);
    assert_plain(&vm.settled(stream), 500, Some(50001), "body_unreadable");
    assert_eq!(vm.settled(stream).answer().json()["error"]["message"], "internal error");
}

#[test]
fn request_trailers_are_refused() {
    let mut vm = vm();
    let stream = vm.head(&Request::call("get").bearer(&good()));
    vm.trailers(stream);
    assert_plain(&vm.settled(stream), 400, None, "trailers_not_allowed");
    vm.body(stream, Request::call("get").body());
    assert_plain(&vm.settled(stream), 400, None, "trailers_not_allowed");
}

#[test]
fn a_post_without_a_body_is_no_frame() {
    let request = Request::bare("POST", "/mcp").header("content-type", "application/json").bearer(&good());
    let mut vm = vm();
    // The host has nothing more to say by itself.
    let stream = vm.head(&request);
    vm.settled(stream).assert_refused(400, "json_syntax");
}

#[test]
fn inputs_for_streams_that_were_settled_or_never_began_do_nothing() {
    let mut vm = vm();
    let stream = vm.head(&Request::call("get"));
    let before = vm.settled(stream).record;
    vm.body(stream, b"{}");
    vm.trailers(stream);
    vm.gone(stream);
    assert_eq!(vm.settled(stream).record, before);
    let never = step_up_core::StreamId(99);
    vm.body(never, b"{}");
    vm.trailers(never);
    vm.gone(never);
    assert!(!vm.is_settled(never));
}

// What callers may not send upstream.

#[test]
fn headers_that_only_the_proxy_may_set_are_removed() {
    let mut vm = vm();
    let call = || Request::call("get").bearer(&good());
    assert!(vm.send(&call()).removed().is_empty());
    let unwanted = [
        "txn-token",
        "x-mcp-authorized",
        "x-envoy-retry-on",
        "x-envoy-retry-grpc-on",
        "x-envoy-hedge-on-per-try-timeout",
        "x-envoy-max-retries",
        "x-envoy-original-dst-host",
    ];
    for request in [call(), Request::bare("GET", "/mcp").bearer(&good())] {
        let request = unwanted.iter().fold(request, |request, name| request.header(name, "x"));
        let settled = vm.send(&request.header("x-envoy-external-address", "10.0.0.1").header("cookie", "a=b"));
        assert_eq!(settled.removed(), unwanted);
    }
}

// Metadata.

fn metadata(vm: &mut Vm, path: &str) -> Settled {
    at_head(vm, &Request::bare("GET", path))
}

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

#[test]
fn the_metadata_document_stands_at_its_path_and_at_the_root() {
    let mut vm = vm();
    for path in ["/.well-known/oauth-protected-resource/mcp", WELL_KNOWN, "/.well-known/oauth-protected-resource/mcp?x"]
    {
        let settled = metadata(&mut vm, path);
        let answer = settled.answer();
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
        let expected = json!({
            "resource": RESOURCE,
            "authorization_servers": [ISSUER],
            "bearer_methods_supported": ["header"],
            "scopes_supported": [BASELINE],
        });
        assert_eq!(answer.json(), expected);
        assert_eq!((settled.reason(), &settled.record["verdict"]), ("metadata", &json!("answer")));
    }
    for path in [
        "/.well-known/oauth-protected-resource/",
        "/.well-known/oauth-protected-resource/mcp/",
        "/.well-known/oauth-protected-resource/mcp/x",
        "/.well-known/oauth-protected-resource/MCP",
        "/.well-known/oauth-protected-resourcemcp",
        "/.well-known/openid-configuration",
        "/mcp/.well-known/oauth-protected-resource",
    ] {
        assert_plain(&metadata(&mut vm, path), 404, None, "unknown_path");
    }
}

#[test]
fn metadata_is_for_get_and_head() {
    let mut vm = vm();
    let head = at_head(&mut vm, &Request::bare("HEAD", WELL_KNOWN));
    assert_eq!((head.answer().status, head.answer().body.len()), (200, 0));
    assert_eq!(head.answer().header("content-type"), Some("application/json"));
    for method in ["POST", "DELETE", "PUT", "OPTIONS"] {
        at_head(&mut vm, &Request::bare(method, WELL_KNOWN).bearer(&good())).assert_refused(404, "unknown_path");
    }
}

#[test]
fn an_empty_baseline_is_not_advertised() {
    let mut vm = Vm::new(&load(&with(example(), "/baseline", json!([]))));
    assert_eq!(metadata(&mut vm, WELL_KNOWN).answer().json().get("scopes_supported"), None);
}

#[test]
fn the_well_known_part_goes_between_host_and_path() {
    for (origin, path, inserted) in [
        ("https://h.example.com", "", ""),
        ("https://h.example.com", "/", ""),
        ("https://h.example.com", "/a/b", "/a/b"),
        ("https://h.example.com", "/a/", "/a"),
        ("https://h.example.com:8443", "/a", "/a"),
    ] {
        let resource = format!("{origin}{path}");

        let mut vm = Vm::new(&load(&with(example(), "/resource", json!(resource))));
        let host = origin.trim_start_matches("https://");
        let well_known = format!("{WELL_KNOWN}{inserted}");
        let document = at_head(&mut vm, &Request::bare("GET", &well_known).header(":authority", host));
        assert_eq!(document.answer().json()["resource"], resource);
        let served = if path.is_empty() { "/" } else { path };
        let settled = at_head(&mut vm, &call_at(host, served));
        let url = format!(r#"resource_metadata="{origin}{WELL_KNOWN}{inserted}""#);
        assert!(settled.challenge().unwrap().ends_with(&url), "{settled:?}");
    }
}

// Several servers.

fn two_servers(a: &str, b: &str) -> Vm {
    let server = |resource: &str, scope: &str| json!({ "resource": resource, "baseline": [scope], "tools": { "get": { "scope": [] } } });
    let one = without(without(without(example(), "/resource"), "/baseline"), "/tools");
    let both = json!({ "a": server(a, "a:connect"), "b": server(b, "b:connect") });
    Vm::new(&load(&with(with(one, "/servers", both), "/select", json!("host"))))
}

fn call_at(host: &str, path: &str) -> Request {
    Request::call("get").header(":authority", host).header(":path", path)
}

#[test]
fn the_server_is_chosen_by_host_and_path() {
    let mut vm = two_servers("https://a.example.com/mcp", "https://b.example.com:8443/mcp");
    for (host, path, server) in [
        ("a.example.com", "/mcp", "a"),
        ("A.Example.Com", "/mcp", "a"),
        ("a.example.com:443", "/mcp", "a"),
        ("b.example.com:8443", "/mcp", "b"),
    ] {
        let settled = at_head(&mut vm, &call_at(host, path));
        settled.assert_refused(401, "token_missing");
        assert_eq!(settled.record["server"], server, "{host}");
        assert!(settled.challenge().unwrap().contains(&format!(r#"scope="{server}:connect""#)));
    }
    for host in ["b.example.com", "a.example.com:8443", "c.example.com", "", "a.example.com.", "xa.example.com"] {
        assert_plain(&at_head(&mut vm, &call_at(host, "/mcp")), 404, None, "unknown_server");
    }
    assert_plain(&at_head(&mut vm, &call_at("a.example.com", "/other")), 404, None, "unknown_path");
}

#[test]
fn p34_one_server_is_served_at_its_own_host_only() {
    assert_plain(&at_head(&mut vm(), &call_at("other.example.com", "/mcp")), 404, None, "unknown_server");
    let by_path = with(example(), "/select", json!("path"));
    at_head(&mut Vm::new(&load(&by_path)), &call_at("other.example.com", "/mcp")).assert_refused(401, "token_missing");
    let by_route = Vm::new(&load(&with(example(), "/select", json!("metadata"))));
    assert_plain(&at_head(&mut { by_route }, &call_at("mcp.example.com", "/mcp")), 404, None, "unknown_server");
}

#[test]
fn p34_several_servers_need_the_route_to_say_which() {
    let server =
        |resource: &str| json!({ "resource": resource, "baseline": ["c"], "tools": { "get": { "scope": [] } } });
    let servers = json!({ "a": server("https://a.example.com/a"), "b": server("https://b.example.com/b") });
    let one = without(without(without(example(), "/resource"), "/baseline"), "/tools");
    let mut vm = Vm::new(&load(&with(one, "/servers", servers)));
    assert_plain(&at_head(&mut vm, &call_at("a.example.com", "/a")), 404, None, "unknown_server");
    at_head(&mut vm, &call_at("x.example.com", "/a").routed_to("a")).assert_refused(401, "token_missing");
}

#[test]
fn p34_an_issuer_counts_where_the_server_names_it() {
    let server = |resource: &str, issuers: Json| json!({ "resource": resource, "baseline": ["c"], "issuers": issuers, "tools": { "get": { "scope": [] } } });
    let keys = json!({ "keys": { "keys": [key().jwk()] }, "algorithms": ["EdDSA"] });
    let document = json!({
        "version": 1,
        "issuers": { "https://z.example": keys.clone(), "https://a.example": keys },
        "servers": {
            "a": server("https://h.example.com/a", json!(["https://z.example", "https://a.example"])),
            "b": server("https://h.example.com/b", json!(["https://a.example"])),
        },
    });
    let mut vm = Vm::new(&load(&document));
    let from = |issuer: &str, server: &str| {
        let token = Token::new("c").claim("iss", issuer).claim("aud", format!("https://h.example.com/{server}"));
        call_at("h.example.com", &format!("/{server}")).routed_to(server).bearer(&token.text())
    };
    for _ in 0..2 {
        vm.send(&from("https://z.example", "a")).assert_forwarded();
        vm.send(&from("https://a.example", "a")).assert_forwarded();
        vm.send(&from("https://a.example", "b")).assert_forwarded();
        at_head(&mut vm, &from("https://z.example", "b")).assert_refused(401, "issuer_unknown");
    }
    let advertised = |vm: &mut Vm, server: &str| {
        let path = format!("{WELL_KNOWN}/{server}");
        let request = Request::bare("GET", &path).header(":authority", "h.example.com").routed_to(server);
        at_head(vm, &request).answer().json()["authorization_servers"].clone()
    };
    assert_eq!(advertised(&mut vm, "a"), json!(["https://z.example", "https://a.example"]));
    assert_eq!(advertised(&mut vm, "b"), json!(["https://a.example"]));
}

#[test]
fn the_route_has_the_first_word_on_the_server() {
    let mut vm = two_servers("https://a.example.com/a", "https://b.example.com/b");
    let settled = at_head(&mut vm, &call_at("a.example.com", "/b").routed_to("b"));
    assert_eq!((settled.reason(), &settled.record["server"]), ("token_missing", &json!("b")));
    assert_plain(&at_head(&mut vm, &call_at("a.example.com", "/a").routed_to("b")), 404, None, "unknown_path");
    assert_plain(&at_head(&mut vm, &call_at("a.example.com", "/a").routed_to("c")), 404, None, "unknown_server");
    assert_plain(&at_head(&mut vm, &call_at("a.example.com", "/a").routed_to("")), 404, None, "unknown_server");
    let one = &mut self::vm();
    assert_plain(&at_head(one, &Request::call("get").routed_to("git")), 404, None, "unknown_server");
}

#[test]
fn a_token_for_one_server_is_none_for_the_other() {
    let mut vm = two_servers("https://h.example.com/a", "https://h.example.com/b");
    let token = Token::new("a:connect b:connect").claim("aud", "https://h.example.com/a").text();
    let at = |path: &str| call_at("h.example.com", path).bearer(&token);
    // Also when the token is already in the cache.
    for _ in 0..2 {
        vm.send(&at("/a")).assert_forwarded();
        at_head(&mut vm, &at("/b")).assert_refused(401, "audience_mismatch");
    }
}

#[test]
fn each_server_has_its_own_metadata_and_the_root_form_only_where_it_is_unique() {
    let mut vm = two_servers("https://h.example.com/a", "https://h.example.com/b");
    let at = |vm: &mut Vm, host: &str, path: &str| at_head(vm, &Request::bare("GET", path).header(":authority", host));
    for name in ["a", "b"] {
        let settled = at(&mut vm, "h.example.com", &format!("{WELL_KNOWN}/{name}"));
        assert_eq!(settled.answer().json()["resource"], format!("https://h.example.com/{name}"));
        assert_eq!(settled.answer().json()["scopes_supported"], json!([format!("{name}:connect")]));
    }
    assert_plain(&at(&mut vm, "h.example.com", WELL_KNOWN), 404, None, "unknown_path");
    assert_plain(&at(&mut vm, "other.example.com", WELL_KNOWN), 404, None, "unknown_server");

    let mut vm = two_servers("https://a.example.com/mcp", "https://b.example.com/mcp");
    for name in ["a", "b"] {
        for path in [WELL_KNOWN, "/.well-known/oauth-protected-resource/mcp"] {
            let settled = at(&mut vm, &format!("{name}.example.com"), path);
            assert_eq!(settled.answer().json()["resource"], format!("https://{name}.example.com/mcp"));
        }
    }
}

// Records and metrics.

#[test]
fn every_decision_leaves_a_record_without_the_token() {
    let mut vm = vm();
    let token = token("mcp:connect");
    let settled = vm.send(&Request::call("get").bearer(&token));
    let expected = json!({
        "verdict": "permit",
        "reason": "permitted",
        "mode": "enforce",
        "server": "default",
        "protocol": "2025-11-25",
        "method": "tools/call",
        "name": "get",
        "rule": "get",
        "issuer": ISSUER,
        "subject": "alice",
        "client": "agent",
        "token_id": "t-1",
        "claimed_request_id": "edge-1",
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(settled.record[name], *value, "{name}");
    }
    assert_eq!(settled.record["token"].as_str().unwrap().len(), 16);
    assert_eq!(settled.record["id"].as_str().unwrap().len(), 32);
    assert_eq!(settled.record["policy"].as_str().unwrap().len(), 12);
    for part in token.split('.') {
        assert!(!settled.record.to_string().contains(part));
    }
    vm.send(&Request::call("shell").bearer(&token));
    vm.send(&Request::call("get"));
    vm.send(&Request::post("{").bearer(&token));
    assert_eq!(vm.records(), 4);
}

#[test]
fn the_record_names_what_was_asked_for() {
    let mut vm = vm();
    let read = Request::method("resources/read", json!({ "uri": "file:///etc/passwd" })).bearer(&good());
    assert_eq!(vm.send(&read).record["name"], "file:///etc/passwd");
    let prompt = Request::method("prompts/get", json!({ "name": "greet" })).bearer(&good());
    assert_eq!(vm.send(&prompt).record["name"], "greet");
}

#[test]
fn what_a_caller_writes_is_bounded_in_the_record() {
    let mut vm = vm();
    let name = "\u{1f600}\n\u{2028}\"".repeat(500);
    let settled = vm.send(&Request::call(&name).header("x-request-id", "r".repeat(5000)).bearer(&good()));
    assert!(settled.record["name"].as_str().unwrap().len() < 300);
    assert!(settled.record["claimed_request_id"].as_str().unwrap().len() < 300);
    let method = Request::method(&"m".repeat(5000), json!({})).bearer(&good());
    assert!(vm.send(&method).record["method"].as_str().unwrap().len() < 300);
}

#[test]
fn strangers_cannot_fill_the_log() {
    // Without a good token nobody gets more than ten records a second, whatever is tried. Counters stay exact.
    let bare = |path: &str| Request::bare("GET", path);
    let mut requests = vec![
        Request::call("get"),
        Request::call("get").header("authorization", "Basic x"),
        Request::call("get").bearer(&Token::new(BASELINE).claim("exp", START - 100).text()),
        Request::call("get").bearer("x"),
        Request::call("get").header("origin", "https://evil.example.com"),
        Request::call("get").header("upgrade", "websocket"),
        Request::call("get").header("x-http-method", "PUT"),
        Request::call("get").header(":path", "/mcp?access_token=x"),
        Request::call("get").another("mcp-name", "a").another("mcp-name", "a"),
        Request::call("get").header("x", b"\xff"),
        Request::call("get").routed_to("x"),
        bare("/other"),
        bare(WELL_KNOWN),
        bare("/mcp").header("content-length", "1"),
        bare("/mcp").header("mcp-protocol-version", "2026-07-28"),
        bare("/mcp").header("mcp-protocol-version", "unheard-of"),
    ];
    requests.extend(bad_tokens().into_iter().map(|(_, token)| Request::call("get").bearer(&token)));
    let mut flooding = Vec::new();
    for request in &requests {
        let mut vm = vm();
        for _ in 0..30 {
            vm.send(request);
        }
        if vm.records() > 10 {
            flooding.push(format!("{} records of {}", vm.records(), vm.send(request).reason()));
        }
        let decisions = vm.metrics.iter().filter(|metric| matches!(metric, Metric::Decision { .. })).count();
        assert!(decisions >= 30, "counters are exact");
    }
    assert!(flooding.is_empty(), "{flooding:#?}");
}

#[test]
fn suppressed_records_are_counted_in_the_next() {
    let mut vm = vm();
    for _ in 0..30 {
        vm.send(&Request::call("get"));
    }
    assert_eq!(vm.records(), 10);
    vm.pass(1_000);
    assert_eq!(vm.send(&Request::call("get")).record["suppressed"], 20);
    assert_eq!(vm.send(&Request::call("get")).record.get("suppressed"), None);
}

#[test]
fn metrics_name_server_verdict_reason_and_mode() {
    let mut vm = vm();
    vm.send(&Request::call("put").bearer(&good()));
    vm.send(&Request::call("get").bearer(&good()));
    let names: Vec<String> = vm.metrics.iter().map(Metric::name).collect();
    for expected in [
        "stepup_decisions_total;server=default;verdict=challenge;reason=scope_missing;mode=enforce",
        "stepup_decisions_total;server=default;verdict=permit;reason=permitted;mode=enforce",
    ] {
        assert!(names.iter().any(|name| name == expected), "{names:#?}");
    }
    let info = names.iter().find(|name| name.starts_with("stepup_info;")).unwrap();
    assert!(info.contains(&format!("policy={}", load(&example()).digest())), "{info}");
    assert!(names.iter().all(|name| !name.contains("put") && !name.contains("get")), "no tool names");
}

#[test]
fn a_client_that_leaves_is_counted() {
    let mut vm = vm();
    let stream = vm.head(&Request::call("get").bearer(&good()));
    vm.gone(stream);
    vm.body(stream, Request::call("get").body());
    assert!(!vm.is_settled(stream), "nobody is there to be answered");
    assert_eq!(vm.counted("client_gone"), 1);
}

#[test]
fn a_policy_is_announced_once_in_the_process_with_its_warnings() {
    let policy = load(&with(example(), "/tools/*", json!({ "scope": [] })));
    let process = Process::new(&policy, 3);
    let lines: Vec<&String> = process.vms.iter().flat_map(|vm| &vm.logs).collect();
    let in_force = lines.iter().filter(|line| line.contains("in force")).count();
    assert_eq!((in_force, lines.len()), (1, 1 + policy.warnings().len()), "{lines:#?}");
    assert!(lines[0].contains(policy.digest()));
}

#[test]
fn a_policy_that_was_replaced_is_no_longer_in_force() {
    let last = |vm: &Vm| {
        let info = vm.metrics.iter().rev().find(|metric| matches!(metric, Metric::Info { .. }));
        info.map(|metric| metric.change())
    };
    let memory = Memory::default();
    let (old, new) = (load(&example()), load(&with(example(), "/baseline", json!(["other"]))));
    let mut before = Vm::in_process(&old, &memory, NOW, 1);
    assert_eq!(last(&before), Some(Change::Set(1)));
    let after = Vm::in_process(&new, &memory, NOW, 2);
    before.retire();
    assert_eq!((last(&before), last(&after)), (Some(Change::Set(0)), Some(Change::Set(1))));
}
