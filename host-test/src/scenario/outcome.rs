//! What came of a scenario: what is compared with the file, and between hosts. Not in it: log lines, `connection`, the
//! borders of chunks, times, and ids that are random.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use simulated_proxy::{CallRecord, Headers, Origin, Transcript};

use super::file::{OneOrMany, Then};
use super::script::Plan;
use super::world::{World, form};
use crate::backend::{self, REQUEST_ID, Request, Run};

/// For each request, a tree of JSON: easy to compare, to print and to keep.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// For each request.
    pub requests: Vec<Value>,
    /// What the decision said beside, where a host knows it: compared between those.
    pub beside: Vec<String>,
    /// Fuel, where it is counted. Not compared.
    pub fuel: Option<u64>,
}

/// Two values for one field.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Which request, from 1.
    pub request: usize,
    /// Which field, with dots.
    pub field: String,
    /// What should be there.
    pub expected: Value,
    /// What is there.
    pub actual: Value,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Difference { request, field, expected, actual } = self;
        write!(f, "request {request}, {field}: expected {expected}, got {actual}")
    }
}

/// Members of the audit record that say the same on every host.
const RECORD: &[&str] = &[
    "verdict",
    "reason",
    "status",
    "mode",
    "would",
    "missing",
    "server",
    "method",
    "kind",
    "name",
    "rule",
    "issuer",
    "subject",
    "client",
    "token_id",
    "service_error",
    "step_up",
    "anonymous",
    "introspected",
    "raised",
    "actors",
    "environment",
    "data_class",
    "purpose",
    "declared_task",
    "tool_changed",
];

/// Headers of answers that are compared.
const SHOWN: [&str; 4] = ["retry-after", "allow", "cache-control", "content-type"];

/// Parameters of challenges, and the scheme.
const PARAMETERS: [&str; 7] =
    ["scheme", "error", "error_description", "scope", "resource_metadata", "max_age", "acr_values"];

impl Outcome {
    pub(super) fn of(run: &Run, plan: &Plan, world: &World) -> Outcome {
        let requests = plan.script.requests.iter().zip(&run.transcripts);
        let requests = requests.map(|(request, transcript)| tree(request, transcript, &run.calls, world)).collect();
        Outcome { requests, beside: run.beside.clone(), fuel: run.fuel }
    }

    /// Where another host says something else.
    pub fn compare(&self, other: &Outcome) -> Vec<Difference> {
        let mut found = Vec::new();
        for (at, (expected, actual)) in self.requests.iter().zip(&other.requests).enumerate() {
            differ(at + 1, "", expected, actual, &mut found);
        }
        if !self.beside.is_empty() && !other.beside.is_empty() {
            differ(0, "beside", &json!(self.beside), &json!(other.beside), &mut found);
        }
        found
    }

    /// Where the file says something else.
    pub fn differences(&self, then: &OneOrMany<Then>) -> Vec<Difference> {
        let mut found = Vec::new();
        if then.all().len() != self.requests.len() {
            let (expected, actual) = (json!(then.all().len()), json!(self.requests.len()));
            found.push(Difference { request: 0, field: "number of requests".to_owned(), expected, actual });
        }
        for (at, (then, actual)) in then.all().iter().zip(&self.requests).enumerate() {
            // Nobody means that: the upstream would read another request, or wait for ever.
            if actual.get("framed") == Some(&Value::Bool(false)) {
                let (field, expected) = ("framed".to_owned(), json!(true));
                found.push(Difference { request: at + 1, field, expected, actual: json!(false) });
            }
            for (field, expected) in then.fields() {
                let value = actual.pointer(&field).unwrap_or(&Value::Null);
                let name = field.trim_start_matches('/').replace('/', ".");
                contains(at + 1, &name, &expected, value, &mut found);
            }
        }
        found
    }
}

impl Then {
    /// A word that can never be there: what is expected of it would always be met, or never.
    pub(super) fn fault(&self) -> Option<String> {
        let unknown =
            |names: &[&str], map: &Map<String, Value>| map.keys().find(|name| !names.contains(&name.as_str())).cloned();
        let challenge = self.challenge.as_ref().and_then(Value::as_object);
        let found = unknown(RECORD, &self.record)
            .or_else(|| unknown(&SHOWN, &self.headers))
            .or_else(|| challenge.and_then(|members| unknown(&PARAMETERS, members)));
        match found {
            Some(name) => Some(format!("`then` knows no `{name}`")),
            None => self.fields().is_empty().then(|| "`then` says nothing".to_owned()),
        }
    }

    /// The fields that are said, by their place in the tree.
    fn fields(&self) -> Vec<(String, Value)> {
        let mut fields = Vec::new();
        let mut say = |place: &str, value: Option<Value>| fields.extend(value.map(|value| (place.to_owned(), value)));
        say("/forwarded", self.forwarded.map(Value::from));
        say("/status", self.status.clone());
        say("/record/reason", self.reason.clone().map(Value::from));
        say("/challenge", self.challenge.clone());
        say("/error/code", self.error.clone());
        say("/token", self.token.clone().map(Value::from));
        say("/elevated", (!self.elevated.is_empty()).then(|| self.elevated.clone().into()));
        say("/set", self.set.clone().map(|set| json!(set)));
        say("/removed", self.removed.clone().map(Value::from));
        say("/calls", self.calls.clone().map(Value::from));
        say("/body", self.body.clone());
        say("/reset", self.reset.map(Value::from));
        say("/details", self.details.clone().map(Value::from));
        say("/by", self.by.clone().map(Value::from));
        for (name, value) in &self.headers {
            say(&format!("/headers/{name}"), Some(value.clone()));
        }
        for (name, value) in &self.record {
            say(&format!("/record/{name}"), Some(value.clone()));
        }
        fields
    }
}

fn tree(request: &Request, transcript: &Transcript, calls: &[CallRecord], world: &World) -> Value {
    let own = transcript.response.as_ref().filter(|response| response.origin != Origin::Upstream);
    let body: Value = transcript.response.as_ref().map(|response| json_of(&response.body)).unwrap_or_default();
    // A server's own is nothing of ours, unless it was replaced (P27).
    let challenge = transcript.response.as_ref().and_then(|response| response.headers.text("www-authenticate"));
    let challenge = challenge.filter(|text| own.is_some() || world.challenge() != Some(text));
    let error = own.and_then(|_| body.get("error")).map(|error| {
        let reason = error.pointer("/data/reason");
        json!({ "code": error.get("code"), "reason": reason, "id": body.get("id") })
    });
    let upstream = transcript.upstream.as_ref();
    let bearer = |headers: &Headers| {
        let value = headers.text("authorization")?;
        Some(value.strip_prefix("Bearer ").unwrap_or(&value).to_owned())
    };
    let sent = upstream.and_then(|upstream| bearer(&upstream.headers));
    let own_token = bearer(&request.client.headers);
    let elevated = sent.as_ref().and_then(|token| world.minted.get(token)).map(timeless);
    let id = request.client.headers.text(REQUEST_ID);
    let calls = calls.iter().filter(|record| record.call.headers.text(REQUEST_ID) == id);
    let calls = without_order(calls.map(|record| (record.at, call(record, world))).collect());
    json!({
        "forwarded": upstream.is_some(),
        "status": transcript.response.as_ref().map(|response| response.headers.status()),
        "by": transcript.response.as_ref().map(|response| match response.origin {
            Origin::Upstream => "upstream",
            Origin::Filter => "filter",
            Origin::Proxy => "proxy",
        }),
        "details": own.filter(|response| response.origin == Origin::Filter).map(|_| transcript.details.clone()),
        "challenge": challenge.map(|text| parameters(&text)),
        "error": error,
        "headers": own.map(|response| own_headers(&response.headers)),
        "token": sent.as_ref().map(|token| if own_token.as_ref() == Some(token) { "caller".to_owned() } else { world.name_of(token) }),
        "elevated": elevated,
        "set": upstream.map(|upstream| set(&request.client.headers, &upstream.headers)),
        "removed": upstream.map(|upstream| removed(&request.client.headers, &upstream.headers)),
        "framed": upstream.map(|upstream| upstream.is_framed_well()),
        "calls": calls,
        "record": record(transcript),
        "body": body,
        "reset": transcript.is_reset,
    })
}

fn own_headers(headers: &Headers) -> Value {
    SHOWN.iter().filter_map(|name| Some(((*name).to_owned(), headers.text(name)?.into()))).collect::<Map<_, _>>().into()
}

fn json_of(bytes: &[u8]) -> Value {
    let mut body: Value = serde_json::from_slice(bytes).unwrap_or_default();
    if let Some(data) = body.pointer_mut("/error/data").and_then(Value::as_object_mut) {
        data.remove("request_id");
    }
    body
}

fn record(transcript: &Transcript) -> Value {
    let record = backend::record(transcript);
    if record.is_null() {
        return record;
    }
    let members = RECORD.iter().filter_map(|name| Some(((*name).to_owned(), record.get(*name)?.clone())));
    Value::Object(members.collect())
}

/// `name="value"`, separated by commas (RFC 9110 11.2), with the scheme as a parameter.
fn parameters(challenge: &str) -> Value {
    let (scheme, rest) = challenge.split_once(' ').unwrap_or((challenge, ""));
    let pairs = rest.split(", ").filter_map(|pair| pair.split_once('='));
    let mut found: Map<String, Value> =
        pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('"').into())).collect();
    found.insert("scheme".to_owned(), scheme.into());
    found.into()
}

/// Claims without the times, which are the host's.
fn timeless(claims: &Value) -> Value {
    let mut claims = claims.clone();
    let number = |name: &str| claims.get(name).and_then(Value::as_i64);
    let lifetime = number("exp").zip(number("iat")).map(|(exp, iat)| exp - iat);
    if let Some(members) = claims.as_object_mut() {
        members.retain(|name, _| !["iat", "exp", "jti"].contains(&name.as_str()));
        members.insert("lifetime".to_owned(), json!(lifetime));
    }
    claims
}

fn set(before: &Headers, after: &Headers) -> BTreeMap<String, String> {
    let differs =
        |(name, value): &&(Vec<u8>, Vec<u8>)| name != b"authorization" && before.get(name).as_ref() != Some(value);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    after.0.iter().filter(differs).map(|(name, value)| (text(name), text(value))).collect()
}

fn removed(before: &Headers, after: &Headers) -> Vec<String> {
    let gone = before.0.iter().filter(|(name, _)| after.get(name).is_none());
    let mut names: Vec<String> = gone.map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect();
    names.sort();
    names.dedup();
    names
}

/// A call by its kind, and what was sent, tokens by name.
fn call(record: &CallRecord, world: &World) -> Value {
    let mut sent: Map<String, Value> =
        form(&record.call.body).into_iter().map(|(name, value)| (name, value.into())).collect();
    for name in ["subject_token", "assertion", "token"] {
        if let Some(value) = sent.get_mut(name) {
            *value = world.name_of(value.as_str().unwrap_or_default()).into();
        }
    }
    if let Some(assertion) = sent.get_mut("client_assertion") {
        *assertion = "a JWT".into();
    }
    let kind = if sent.contains_key("grant_type") { "exchange" } else { "revocation" };
    sent.insert("call".to_owned(), kind.into());
    sent.into()
}

/// Revocations that are sent at once take a connection each: which arrives first is not the filter's to say. They are put in
/// the order of their tokens' names.
fn without_order(mut calls: Vec<(u64, Value)>) -> Vec<Value> {
    let is_revocation = |call: &Value| call.get("call").is_some_and(|kind| kind == "revocation");
    let name = |call: &Value| call.get("token").and_then(Value::as_str).unwrap_or_default().to_owned();
    let at_once =
        |one: &(u64, Value), next: &(u64, Value)| one.0 == next.0 && is_revocation(&one.1) && is_revocation(&next.1);
    for group in calls.chunk_by_mut(at_once) {
        group.sort_by_key(|(_, call)| name(call));
    }
    calls.into_iter().map(|(_, call)| call).collect()
}

/// What is said must be there; what is not said is not looked at. A call may be named by its kind alone.
fn contains(request: usize, field: &str, expected: &Value, actual: &Value, found: &mut Vec<Difference>) {
    match (expected, actual) {
        (Value::Object(members), Value::Object(there)) => {
            for (name, value) in members {
                let actual = there.get(name).unwrap_or(&Value::Null);
                contains(request, &format!("{field}.{name}"), value, actual, found);
            }
        }
        (Value::Array(expected), Value::Array(actual)) if field == "calls" && expected.len() == actual.len() => {
            for (at, (expected, actual)) in expected.iter().zip(actual).enumerate() {
                let kind = expected.as_str().map(|kind| json!({ "call": kind }));
                contains(request, &format!("{field}.{}", at + 1), kind.as_ref().unwrap_or(expected), actual, found);
            }
        }
        _ if expected == actual => {}
        _ => {
            let (field, expected) = (field.to_owned(), expected.clone());
            let actual = if field == "calls" { kinds(actual) } else { actual.clone() };
            found.push(Difference { request, field, expected, actual });
        }
    }
}

fn kinds(calls: &Value) -> Value {
    calls.as_array().into_iter().flatten().map(|call| call.get("call").cloned().unwrap_or_default()).collect()
}

fn differ(request: usize, field: &str, expected: &Value, actual: &Value, found: &mut Vec<Difference>) {
    match (expected, actual) {
        (Value::Object(one), Value::Object(other)) => {
            let names: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for name in names {
                let place = if field.is_empty() { name.clone() } else { format!("{field}.{name}") };
                let value = |tree: &Map<String, Value>| tree.get(name).cloned().unwrap_or_default();
                differ(request, &place, &value(one), &value(other), found);
            }
        }
        _ if expected == actual => {}
        _ => found.push(Difference {
            request,
            field: field.to_owned(),
            expected: expected.clone(),
            actual: actual.clone(),
        }),
    }
}
