//! A record as an event of OCSF 1.5.0: API Activity (6003) with the profile `security_control`.
//!
//! Members are taken out of the record one by one. What is left, because OCSF has no place for it or because it is not of its type, stays
//! under `unmapped`, with the names that docs/wire.md gives it.

use std::net::IpAddr;

use serde_json::{Map, Value, json};
use step_up_core::{Class, Reason};

/// Of the schema that this was written for.
const VERSION: &str = "1.5.0";
const CLASS: u64 = 6003;

/// The event of a record, of its line of the access log, and of the time that the line says, in milliseconds.
pub(super) fn event(record: Value, entry: &Value, time: i128) -> Value {
    let mut record = Record(if let Value::Object(members) = record { members } else { Map::new() });
    let word = |name: &str| record.0.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (verdict, reason, mode) = (word("verdict"), word("reason"), word("mode"));
    let would_refuse = record.0.contains_key("would");
    // A status of the filter's own is that of the answer; of what it let through, the access log has it.
    let own = record.0.get("status").and_then(Value::as_u64);
    let status = own.or_else(|| number(entry, "status"));
    let method = record.text("method");
    let (activity, activity_name) = activity(method.as_deref());
    let (action, disposition) = outcome(&verdict, would_refuse);
    let (success, success_name) = match (verdict.as_str(), status) {
        ("permit" | "answer", Some(..400) | None) => (1, "Success"),
        ("abandoned", _) => (0, "Unknown"),
        _ => (2, "Failure"),
    };
    let (severity, severity_name) = severity(&verdict, &reason);
    let (id, server, policy) = (record.text("id"), record.text("server"), record.text("policy"));
    let (kind, name) = (record.text("kind"), record.text("name"));
    let (subject, client) = (record.text("subject"), record.text("client"));
    let source = entry.get("source").and_then(Value::as_str).filter(|address| address.parse::<IpAddr>().is_ok());
    let message = [Some(verdict.clone()), Some(reason.clone()), method.clone(), name.clone()];
    let observables = [
        ("actor.user.uid", 31, "User Object: uid", subject.as_deref()),
        ("resources[].name", 38, "Resource Details Object: name", name.as_deref()),
        ("src_endpoint.ip", 2, "IP Address", source),
    ];
    let observables: Vec<Value> = observables
        .into_iter()
        .filter_map(|(name, kind, kind_name, value)| {
            Some(json!({ "name": name, "type_id": kind, "type": kind_name, "value": value? }))
        })
        .collect();
    let mut event = json!({
        "metadata": some(json!({
            "version": VERSION, "profiles": ["security_control"], "uid": id, "event_code": reason,
            "product": { "name": "step-up filter", "uid": "step-up" }, "log_name": "stepup", "log_provider": "Envoy",
            "original_time": entry.get("time"),
        })),
        "time": i64::try_from(time).unwrap_or_default(),
        "category_uid": 6, "category_name": "Application Activity",
        "class_uid": CLASS, "class_name": "API Activity",
        "activity_id": activity, "activity_name": activity_name,
        "type_uid": CLASS * 100 + activity, "type_name": format!("API Activity: {}", if activity == 99 { "Other" } else { activity_name }),
        "severity_id": severity, "severity": severity_name,
        "status_id": success, "status": success_name, "status_code": reason, "status_detail": detail(&reason),
        "action_id": action.0, "action": action.1,
        "disposition_id": disposition.0, "disposition": disposition.1,
        "message": message.into_iter().flatten().collect::<Vec<_>>().join(" "),
        "duration": number(entry, "duration"),
        "actor": actor(&mut record, subject, client.clone()),
        "api": some(json!({
            "operation": method.as_deref().unwrap_or("unknown"), "version": record.text("protocol"),
            "service": server.as_ref().map(|server| json!({ "name": server })),
            "request": id.as_ref().map(|id| json!({ "uid": id })),
            "response": status.map(|status| json!({ "code": status })),
        })),
        "src_endpoint": match source {
            Some(address) => json!({ "ip": address }),
            None => json!({ "svc_name": client.as_deref().unwrap_or("unknown") }),
        },
        "resources": name.map(|name| json!([some(json!({ "name": name, "type": kind, "namespace": server }))])),
        "http_request": some(json!({
            "http_method": entry.get("method").and_then(Value::as_str),
            "url": entry.get("path").and_then(Value::as_str).map(|path| json!({ "path": path })),
        })),
        "http_response": number(entry, "status").map(|status| json!({ "code": status })),
        "policy": policy.as_ref().map(|policy| json!({ "uid": policy, "is_applied": mode == "enforce" })),
        "authorizations": [some(json!({
            "decision": verdict,
            "policy": record.text("rule").map(|rule| some(json!({ "name": rule, "uid": policy }))),
        }))],
        "observables": if observables.is_empty() { Value::Null } else { observables.into() },
    });
    for mapped in ["verdict", "reason"] {
        record.0.remove(mapped);
    }
    if own.is_some() {
        record.0.remove("status");
    }
    if let Some(members) = event.as_object_mut().filter(|_| !record.0.is_empty()) {
        members.insert("unmapped".to_owned(), Value::Object(record.0));
    }
    some(event)
}

/// What is left of a record.
struct Record(Map<String, Value>);

impl Record {
    /// Takes a member out, if it is a text with something in it.
    fn text(&mut self, name: &str) -> Option<String> {
        self.0.get(name)?.as_str().filter(|text| !text.is_empty())?;
        self.0.remove(name)?.as_str().map(str::to_owned)
    }
}

/// Who called: at least an application without a name.
fn actor(record: &mut Record, subject: Option<String>, client: Option<String>) -> Value {
    let user = subject.map(|subject| some(json!({ "uid": subject, "credential_uid": record.text("token_id") })));
    let nobody = if record.0.get("anonymous") == Some(&json!(true)) { "anonymous" } else { "unknown" };
    some(json!({
        "app_name": if user.is_none() && client.is_none() { Some(nobody) } else { None },
        "app_uid": client, "user": user,
        "idp": record.text("issuer").map(|issuer| json!({ "uid": issuer })),
    }))
}

/// MCP says of few methods what they do; what a tool does is not known.
fn activity(method: Option<&str>) -> (u64, &str) {
    match method {
        None => (0, "Unknown"),
        Some("prompts/get" | "resources/read") => (2, "Read"),
        Some(method) if method.ends_with("/list") => (2, "Read"),
        Some(method) => (99, method),
    }
}

type Choice = (u8, &'static str);

/// Action and disposition.
fn outcome(verdict: &str, would_refuse: bool) -> (Choice, Choice) {
    const ALLOWED: Choice = (1, "Allowed");
    const DENIED: Choice = (2, "Denied");
    match verdict {
        // Shadow mode: enforcing would have come to something else.
        "permit" if would_refuse => (ALLOWED, (15, "Detected")),
        "permit" | "answer" => (ALLOWED, (1, "Allowed")),
        "challenge" => (DENIED, (26, "Unauthorized")),
        "deny" => (DENIED, (2, "Blocked")),
        _ => ((0, "Unknown"), (0, "Unknown")),
    }
}

/// By whom something is to be done: nobody, the caller or the policy's author, or who runs proxy and token service.
fn severity(verdict: &str, reason: &str) -> Choice {
    let class = known(reason).map(Reason::class);
    match (verdict, class) {
        // A token that was made for one call is in a client's hands.
        _ if reason == Reason::OwnTokenPresented.name() => (4, "High"),
        (_, Some(Class::Ours | Class::TokenService)) => (3, "Medium"),
        ("deny", _) => (2, "Low"),
        _ => (1, "Informational"),
    }
}

fn detail(reason: &str) -> Option<&'static str> {
    known(reason).filter(|reason| reason.class() != Class::Done).map(|reason| reason.wire().text)
}

fn known(name: &str) -> Option<Reason> {
    Reason::ALL.iter().copied().find(|reason| reason.name() == name)
}

/// Envoy writes numbers as numbers, and other formats as texts.
fn number(entry: &Value, name: &str) -> Option<u64> {
    let value = entry.get(name)?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// Without the members that are null.
fn some(mut value: Value) -> Value {
    if let Some(members) = value.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    value
}
