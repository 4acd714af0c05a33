//! What clients see: the table "answers on the wire" of the design, row by row, and what stands around it.

mod frames;
mod heads;
mod metadata;
mod records;
mod refusals;
mod servers;
mod tokens;

use serde_json::{Value as Json, json};
use step_up_core::BodyFault;
use step_up_core::{Change, Metric};

use crate::support::*;

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
        ("claim_malformed", good().claim("exp", u64::MAX).text()),
        ("claim_malformed", good().claim("exp", Json::Null).text()),
        ("claim_malformed", good().claim("iat", -1).text()),
        ("claim_malformed", good().claim("nbf", "now").text()),
        ("claim_malformed", good().claim("auth_time", "now").text()),
        ("claim_malformed", good().claim("scope", json!([BASELINE, 1])).text()),
        ("claim_malformed", good().claim("scope", json!({ "0": BASELINE })).text()),
        ("claim_malformed", good().claim("scope", Json::Null).text()),
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
        ("audience_mismatch", good().claim("aud", "https://mcp.example.com/MCP").text()),
        ("audience_mismatch", good().claim("aud", json!(["a", "b"])).text()),
        ("token_bound", good().claim("cnf", json!({ "jkt": "x" })).text()),
        ("token_bound", good().claim("cnf", Json::Null).text()),
    ]
}

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

fn call_at(host: &str, path: &str) -> Request {
    Request::call("get").header(":authority", host).header(":path", path)
}
