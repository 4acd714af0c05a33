//! A token service (RFC 8693, RFC 7009) that says one thing all day.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow};
use host_test::signing::Key;
use serde_json::{Map, Value, json};
use tiny_http::{Response, Server};

use super::{ISSUER, RESOURCE};

/// What it answers to an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `access_denied`.
    Refusal,
    /// A token of another type: refused unread.
    OtherType,
    /// A token of somebody else: refused when it has been read and its signature checked.
    OtherSubject,
    /// What was asked for.
    Token,
}

impl Answer {
    /// As the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Answer::Refusal => "refusal",
            Answer::OtherType => "other-type",
            Answer::OtherSubject => "other-subject",
            Answer::Token => "token",
        }
    }

    /// By that name.
    pub fn from_name(name: &str) -> Option<Answer> {
        [Answer::Refusal, Answer::OtherType, Answer::OtherSubject, Answer::Token]
            .into_iter()
            .find(|answer| answer.name() == name)
    }
}

/// The policy's part about it, and the rule for a tool that needs it.
pub(super) fn policy() -> (Value, Value) {
    let url = |path: &str| format!("{ISSUER}/{path}");
    let service = json!({
        "issuer": ISSUER, "cluster": "token-service", "token": url("token"), "revoke": url("revoke"),
        "client": { "id": "step-up-filter", "auth": "cluster" },
    });
    let rule = json!({
        "scope": "repo:admin", "step_up": "exchange", "ttl": "60s", "may_elevate": { "client": ["agent"] },
    });
    (service, rule)
}

/// Is this process to be one? Then it is, until it is ended.
pub fn serve_if_asked(arguments: &[&str]) -> Result<()> {
    let ["token-service", port, answer] = arguments else { return Ok(()) };
    serve(port.parse()?, Answer::from_name(answer).context("no such answer")?)
}

/// Every token is another one.
fn serve(port: u16, answer: Answer) -> Result<()> {
    let server = Server::http(("127.0.0.1", port)).map_err(|error| anyhow!("no server: {error}"))?;
    let key = Key::for_tests("ES256")?;
    for (number, request) in server.incoming_requests().enumerate() {
        let response = match answer {
            _ if request.url() == "/revoke" => Response::from_string(""),
            Answer::Refusal => Response::from_string(r#"{"error":"access_denied"}"#).with_status_code(400),
            _ => Response::from_string(token(&key, answer, number)?),
        };
        // Envoy may have been ended.
        let _ = request.respond(response);
    }
    Ok(())
}

fn token(key: &Key, answer: Answer, number: usize) -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    // Not for another audience: after three faults of settings the filter would not ask (P28).
    let subject = if answer == Answer::OtherSubject { "bob" } else { "alice" };
    let claims = json!({
        "iss": ISSUER, "aud": RESOURCE, "sub": subject, "client_id": "step-up-filter", "jti": format!("e-{number}"),
        "iat": now, "exp": now + 60, "scope": "repo:admin",
    });
    let kind = if answer == Answer::OtherType { "DPoP" } else { "Bearer" };
    Ok(json!({
        "access_token": key.token(&Map::new(), &claims)?, "token_type": kind,
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "expires_in": 60, "scope": "repo:admin",
    })
    .to_string())
}
