//! What a gateway answers to who is not to get through, and to who is.

use anyhow::Result;
use http_body_util::Full;
use hyper::body::Bytes;

use crate::check::guard::{Judged, State};
use crate::https;
use crate::stack::{Answer, Request};
use crate::story::modern_request;

/// What is tried beside a call without a token.
pub(super) struct Probe {
    pub token: Option<String>,
    pub permitted: Option<String>,
    pub refused: Option<String>,
}

/// Tries each, on a connection of its own.
pub(super) fn judged(url: &str, probe: &Probe) -> Result<Vec<Judged>> {
    let place = |what: &str| format!("{url}, {what}");
    let mut found = vec![of("a call without a token", send(&modern_request(url, "stepup-guard")), stranger)];
    if let Some(token) = &probe.token {
        let call = |tool: &String| send(&modern_request(url, tool).bearer(token));
        let permitted = probe.permitted.as_ref().map(|tool| of("a call that is permitted", call(tool), permitted));
        let refused = probe.refused.as_ref().map(|tool| of("a call that is not", call(tool), refused));
        found.extend(permitted.into_iter().chain(refused));
    }
    Ok(found.into_iter().map(|judged| Judged { place: place(&judged.place), ..judged }).collect())
}

/// On a connection of its own.
fn send(request: &Request) -> Result<Answer> {
    let mut builder = http::Request::post(&request.url)
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream");
    for (name, value) in &request.headers {
        builder = builder.header(name, value);
    }
    let body = request.body.clone().unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (head, body) = runtime
        .block_on(async { https::whole(&https::client()?, builder.body(Full::new(Bytes::from(body)))?).await })?;
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Ok(Answer {
        status: head.status.as_u16(),
        headers: head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

fn of(what: &str, answer: Result<Answer>, judge: fn(&Answer) -> (State, String)) -> Judged {
    let (state, why) = match &answer {
        Ok(answer) => judge(answer),
        Err(error) => (State::DoesNotWork, format!("no answer: {error:#}")),
    };
    Judged { place: what.to_owned(), state, why }
}

/// Our own answers name their reason.
fn reason(answer: &Answer) -> Option<String> {
    let message = answer.message()?;
    message.pointer("/error/data/reason").and_then(|reason| reason.as_str()).map(str::to_owned)
}

fn stranger(answer: &Answer) -> (State, String) {
    let is_challenged =
        answer.header("www-authenticate").is_some_and(|challenge| challenge.contains("resource_metadata"));
    match answer.status {
        401 if is_challenged => (State::Guarded, "401 with a challenge".to_owned()),
        401 => (
            State::DoesNotWork,
            "401 without a challenge of ours: something before the filter answers, and no client logs in".to_owned(),
        ),
        403 if answer.body.contains("RBAC") => (
            State::DoesNotWork,
            "403 of Envoy's own: no policy is there, or the filter is lost and a lock answers".to_owned(),
        ),
        status @ 200..=299 => (State::Open, format!("{status}")),
        status @ 500..=599 => (State::DoesNotWork, format!("{status} {}", reason(answer).unwrap_or_default())),
        404 if answer.body.is_empty() => (State::DoesNotWork, "404: no route leads here".to_owned()),
        status => match reason(answer) {
            Some(reason) => (State::DoesNotWork, format!("{status} {reason}")),
            // Whoever says so may be the server.
            None => (State::Open, format!("{status}, which is not the filter's")),
        },
    }
}

fn permitted(answer: &Answer) -> (State, String) {
    match (answer.status, reason(answer)) {
        (status @ 200..=299, None) => (State::Guarded, format!("{status}")),
        (status, Some(reason)) => (State::DoesNotWork, format!("{status} {reason}")),
        (status, None) => (State::DoesNotWork, format!("{status}")),
    }
}

fn refused(answer: &Answer) -> (State, String) {
    match (answer.status, reason(answer)) {
        (200..=299, None) => (State::Open, "it is not refused".to_owned()),
        (status, Some(reason)) => (State::Guarded, format!("{status} {reason}")),
        (status, None) => (State::DoesNotWork, format!("{status}, which is not the filter's")),
    }
}
