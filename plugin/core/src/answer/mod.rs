//! Answers given here: challenges (RFC 6750 3, RFC 9728 5.1), JSON-RPC errors, the metadata document.

use std::rc::Rc;

use serde_json::json;

use crate::http::Response;
use crate::mcp::{Id, REVISIONS};
use crate::policy::{Place, Server};
use crate::reason::{Challenge, Reason, Wire};

/// What an answer to an elevated request needs to know.
#[derive(Clone, Debug)]
pub(crate) struct ReplyTo {
    pub id: Option<Id>,
    pub modern: bool,
    /// Has the request named a session?
    pub session: bool,
    /// Scopes to challenge for, where the rule falls back to that.
    pub fallback: Option<String>,
}

/// Why a request is not forwarded, and what the answer needs to know.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub reason: Reason,
    /// The request's, where it was read unambiguously.
    pub id: Option<Id>,
    /// Scopes for the challenge of a 403.
    pub challenge: Option<String>,
    pub missing: Vec<String>,
    /// Is the request of the modern era? A legacy client takes 404 for a lost session.
    pub modern: bool,
}

impl Refusal {
    /// Of an elevated request.
    pub(crate) fn of(reason: Reason, request: &ReplyTo) -> Refusal {
        let challenge = request.fallback.clone().filter(|_| reason == Reason::ElevationNeedsUser);
        Refusal { id: request.id.clone(), modern: request.modern, challenge, ..reason.into() }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Refusal {
        Refusal { reason, id: None, challenge: None, missing: Vec::new(), modern: true }
    }
}

/// The answer. `challenge` is that of [`challenge`]; `version` is what the request's header claims.
pub(crate) fn refusal(
    refusal: &Refusal,
    challenge: Option<String>,
    version: Option<&str>,
    request_id: &str,
) -> Response {
    let Wire { mut status, code, text } = refusal.reason.wire();
    // MCP 2025-11-25: 404 means that the session is gone and the client must begin a new one.
    if refusal.reason == Reason::UnknownMethod && !refusal.modern {
        status = 200;
    }
    let mut headers = vec![("content-type", "application/json".to_owned()), ("cache-control", "no-store".to_owned())];
    match refusal.reason {
        Reason::MethodNotAllowed => headers.push(("allow", "POST, GET, DELETE".to_owned())),
        _ if status == 503 => headers.push(("retry-after", "5".to_owned())),
        _ => {}
    }
    headers.extend(challenge.map(|challenge| ("www-authenticate", challenge)));
    let mut data = json!({ "reason": refusal.reason.public_name(), "request_id": request_id });
    if let (Reason::ProtocolVersion, Some(members)) = (refusal.reason, data.as_object_mut()) {
        members.insert("supported".to_owned(), REVISIONS.into());
        members.insert("requested".to_owned(), version.into());
    }
    let body = match code {
        None => json!({ "error": { "message": text, "data": data } }),
        Some(code) => {
            let mut body = json!({ "jsonrpc": "2.0", "error": { "code": code, "message": text, "data": data } });
            if let (Some(id), Some(members)) = (&refusal.id, body.as_object_mut()) {
                members.insert("id".to_owned(), json!(id));
            }
            body
        }
    };
    Response { status, headers, body: body.to_string().into_bytes().into(), reason: refusal.reason }
}

/// RFC 9728 3.2.
pub(crate) fn metadata(place: &Place, head_only: bool) -> Response {
    let headers =
        vec![("content-type", "application/json".to_owned()), ("cache-control", "public, max-age=300".to_owned())];
    let body = if head_only { Rc::from([]) } else { Rc::clone(&place.metadata.document) };
    Response { status: 200, headers, body, reason: Reason::Metadata }
}

/// A legacy notification that goes nowhere (MCP 2025-11-25, transports: accepted, no body).
pub(crate) fn accepted() -> Response {
    Response { status: 202, headers: Vec::new(), body: Rc::from([]), reason: Reason::Dropped }
}

/// One challenge, the same for the same question, in the order that real clients parse: they search the header for
/// `scope=` and `error=` without anchors, so the description comes last and holds no `=`.
pub(crate) fn challenge(refusal: &Refusal, server: &Server, place: &Place) -> Option<String> {
    let baseline = || server.asked.clone();
    let text = Some(refusal.reason.wire().text);
    let (error, scope, description) = match refusal.reason.challenge() {
        Challenge::Nothing => return None,
        Challenge::Login => (None, baseline(), None),
        Challenge::InvalidToken => (Some("invalid_token"), baseline(), text),
        Challenge::Scopes | Challenge::Fallback => (Some("insufficient_scope"), refusal.challenge.clone()?, text),
    };
    let mut parameters = Vec::new();
    if let Some(error) = error {
        parameters.push(format!("error=\"{error}\""));
    }
    if !scope.is_empty() {
        parameters.push(format!("scope=\"{scope}\""));
    }
    parameters.push(format!("resource_metadata=\"{}\"", place.metadata.url));
    if let Some(description) = description {
        parameters.push(format!("error_description=\"{description}\""));
    }
    Some(format!("Bearer {}", parameters.join(", ")))
}
