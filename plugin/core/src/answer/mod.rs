//! Answers given here: challenges (RFC 6750 3, RFC 9728 5.1), JSON-RPC errors, the metadata document.

use std::rc::Rc;

use serde_json::json;

use crate::decide::Asked;
use crate::http::Response;
use crate::mcp::{Id, MODERN};
use crate::policy::{Place, Server};
use crate::reason::{Challenge, Reason, Wire};

/// What an answer to an elevated request needs to know.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReplyTo {
    pub id: Option<Id>,
    pub modern: bool,
    /// The session that the request names.
    pub session: Option<String>,
    /// Scopes to challenge for, where the rule falls back to that.
    pub fallback: Option<String>,
    /// P25: the client looks for a challenge in the result of its call.
    pub by_result: bool,
}

/// Why a request is not forwarded, and what the answer needs to know.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub reason: Reason,
    /// The request's, where it was read unambiguously.
    pub id: Option<Id>,
    /// What the challenge of a 403 asks for.
    pub challenge: Option<Asked>,
    pub missing: Vec<String>,
    /// What the token service wants of the user beside (Entra), for a challenge in its place.
    pub claims: Option<String>,
    /// P28: waiting does not heal it.
    pub lasting: bool,
    /// P25: the client looks for a challenge in the result of its call.
    pub by_result: bool,
    /// Is the request of the modern era? A legacy client takes 404 for a lost session.
    pub modern: bool,
}

impl Refusal {
    /// Of an elevated request.
    pub(crate) fn of(reason: Reason, request: &ReplyTo) -> Refusal {
        let fallback = request.fallback.clone().filter(|_| reason == Reason::ElevationNeedsUser);
        let (id, modern, by_result) = (request.id.clone(), request.modern, request.by_result);
        Refusal { id, modern, by_result, challenge: fallback.map(Asked::Scopes), ..reason.into() }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Refusal {
        Refusal {
            reason,
            id: None,
            challenge: None,
            missing: Vec::new(),
            claims: None,
            lasting: false,
            by_result: false,
            modern: true,
        }
    }
}

/// The answer. `challenge` is that of [`challenge`]; `version` is what the request's header claims.
pub(crate) fn refusal(
    refusal: &Refusal,
    challenge: Option<String>,
    denies_by_jsonrpc: bool,
    version: Option<&str>,
    request_id: &str,
) -> Response {
    let Wire { code, text, .. } = refusal.reason.wire();
    let status = status(refusal, challenge.is_some(), denies_by_jsonrpc);
    if let (Shape::Result, Some(challenge)) = (refusal.shape(challenge.is_some(), denies_by_jsonrpc), &challenge) {
        return result(refusal, challenge);
    }
    let mut headers = vec![("content-type", "application/json".to_owned()), ("cache-control", "no-store".to_owned())];
    match refusal.reason {
        Reason::MethodNotAllowed => headers.push(("allow", "POST, GET, DELETE".to_owned())),
        _ if status == 503 && !refusal.lasting => headers.push(("retry-after", "5".to_owned())),
        _ => {}
    }
    headers.extend(challenge.map(|challenge| ("www-authenticate", challenge)));
    let mut data = json!({ "reason": refusal.reason.public_name(), "request_id": request_id });
    if let (Reason::ProtocolVersion, Some(members)) = (refusal.reason, data.as_object_mut()) {
        // MCP 2026-07-28: what a request can say of itself, as `server/discover` lists it. Earlier ones are agreed on by `initialize`.
        members.insert("supported".to_owned(), json!([MODERN]));
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

/// The HTTP status of a refusal.
pub(crate) fn status(refusal: &Refusal, is_challenged: bool, denies_by_jsonrpc: bool) -> u16 {
    match refusal.shape(is_challenged, denies_by_jsonrpc) {
        Shape::Error | Shape::Result => 200,
        // MCP 2025-11-25: 404 means that the session is gone and the client must begin a new one.
        Shape::Http if refusal.reason == Reason::UnknownMethod && !refusal.modern => 200,
        Shape::Http if matches!(refusal.challenge, Some(Asked::Login { .. })) => 401,
        Shape::Http => refusal.reason.wire().status,
    }
}

/// In what a refusal leaves (P25).
enum Shape {
    Http,
    /// A JSON-RPC error under 200.
    Error,
    /// A result that says it, with the challenge in it.
    Result,
}

impl Refusal {
    /// Only a *request* has an answer of JSON-RPC's own.
    fn shape(&self, is_challenged: bool, denies_by_jsonrpc: bool) -> Shape {
        let reason = self.reason;
        let is_denial = reason.is_policy()
            || matches!(
                reason,
                Reason::ElevationRefused
                    | Reason::ElevationNeedsUser
                    | Reason::TaskNotElevated
                    | Reason::NotElevatable
                    | Reason::ShadowCannotExchange
            );
        match (self.id.is_some(), is_challenged) {
            (true, true) if self.by_result && matches!(self.challenge, Some(Asked::Scopes(_))) => Shape::Result,
            (true, false) if denies_by_jsonrpc && is_denial => Shape::Error,
            _ => Shape::Http,
        }
    }
}

/// For clients that step up by what a result says, and by no header.
fn result(refusal: &Refusal, challenge: &str) -> Response {
    let needed = match &refusal.challenge {
        Some(Asked::Scopes(scopes)) if !scopes.is_empty() => format!("for {scopes}"),
        _ => "with more scope".to_owned(),
    };
    let text = format!("{}: authorize again {needed}, then call again", refusal.reason.wire().text);
    let mut result = json!({
        "content": [{ "type": "text", "text": text }],
        "isError": true,
        "_meta": { "mcp/www_authenticate": [challenge] },
    });
    if let (true, Some(members)) = (refusal.modern, result.as_object_mut()) {
        members.insert("resultType".to_owned(), "complete".into());
    }
    let body = json!({ "jsonrpc": "2.0", "id": refusal.id, "result": result }).to_string().into_bytes().into();
    Response {
        status: 200,
        headers: vec![("content-type", "application/json".to_owned()), ("cache-control", "no-store".to_owned())],
        body,
        reason: refusal.reason,
    }
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
    let mut parameters = Vec::new();
    let (error, scope, description) = match (refusal.reason.challenge(), &refusal.challenge) {
        (Challenge::Nothing, _) => return None,
        (Challenge::Login, _) => (None, baseline(), None),
        (Challenge::InvalidToken, _) => (Some("invalid_token"), baseline(), text),
        (Challenge::Scopes | Challenge::Fallback, Some(Asked::Scopes(scopes))) => {
            (Some("insufficient_scope"), scopes.clone(), text)
        }
        (Challenge::Reauthentication, Some(Asked::Login { max_age, acr })) => {
            parameters.extend(acr.iter().map(|acr| format!("acr_values=\"{acr}\"")));
            parameters.extend(max_age.map(|max_age| format!("max_age=\"{max_age}\"")));
            (Some("insufficient_user_authentication"), String::new(), text)
        }
        (Challenge::Scopes | Challenge::Fallback | Challenge::Reauthentication, _) => return None,
    };
    if let Some(error) = error {
        parameters.insert(0, format!("error=\"{error}\""));
    }
    if !scope.is_empty() {
        parameters.push(format!("scope=\"{scope}\""));
    }
    parameters.push(format!("resource_metadata=\"{}\"", place.metadata.url));
    if let Some(claims) = refusal.claims.as_ref().filter(|_| error.is_some()) {
        let claims = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, claims);
        parameters.push(format!("claims=\"{claims}\""));
    }
    if let Some(description) = description {
        parameters.push(format!("error_description=\"{description}\""));
    }
    Some(format!("Bearer {}", parameters.join(", ")))
}
