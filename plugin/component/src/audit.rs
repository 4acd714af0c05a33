//! The audit record, as the host is told it. The core writes it as a line, because a proxy wants nothing else; here it is read.

use step_up_core::json::{self, Value};
use step_up_core::{Ending, StreamId};

use crate::bindings::exports::step_up::decision::gates as wit;
use crate::metric;

/// The record of that line. What is lost otherwise goes to the log.
pub fn told(stream: StreamId, line: String) -> wit::Effect {
    match json::read(line.as_bytes()).ok().and_then(|record| read(stream, &record, &line)) {
        Some(audit) => wit::Effect::Audit(audit),
        None => wit::Effect::Log(wit::LogLine { level: wit::Level::Error, line: format!("no audit record: {line}") }),
    }
}

fn read(stream: StreamId, record: &Value<'_>, line: &str) -> Option<wit::Audit> {
    Some(wit::Audit {
        stream: stream.0,
        id: text(record, "id")?,
        verdict: verdict(record)?,
        reason: text(record, "reason")?,
        status: status(record),
        mode: text(record, "mode")?,
        would: record.get("would").and_then(would),
        missing: texts(record, "missing"),
        policy: text(record, "policy")?,
        server: text(record, "server"),
        protocol: text(record, "protocol"),
        method: text(record, "method"),
        kind: text(record, "kind"),
        name: text(record, "name"),
        rule: text(record, "rule"),
        issuer: text(record, "issuer"),
        subject: text(record, "subject"),
        client: text(record, "client"),
        actors: texts(record, "actors"),
        token: text(record, "token"),
        token_id: text(record, "token_id"),
        elevated: record.get("elevated").and_then(elevated),
        introspected: record.get("introspected").is_some(),
        anonymous: record.get("anonymous").is_some(),
        step_up: text(record, "step_up"),
        raised: list(record, "raised", |raise| u32::try_from(integer(raise)?).ok()),
        tool_changed: texts(record, "tool_changed"),
        environment: text(record, "environment"),
        data_class: text(record, "data_class"),
        purpose: text(record, "purpose"),
        declared_task: text(record, "declared_task"),
        service_error: text(record, "service_error"),
        claimed_request_id: text(record, "claimed_request_id"),
        suppressed: record.get("suppressed").and_then(integer).and_then(|count| u64::try_from(count).ok()).unwrap_or(0),
        line: line.to_owned(),
    })
}

fn would(would: &Value<'_>) -> Option<wit::Would> {
    Some(wit::Would { verdict: verdict(would)?, reason: text(would, "reason")?, status: status(would) })
}

fn elevated(elevated: &Value<'_>) -> Option<wit::Elevated> {
    Some(wit::Elevated {
        audience: text(elevated, "audience")?,
        scopes: texts(elevated, "scopes"),
        token: text(elevated, "token")?,
        token_id: text(elevated, "token_id"),
        expires_in: elevated.get("expires_in").and_then(integer)?,
        took: elevated.get("took").and_then(integer).and_then(|took| u64::try_from(took).ok())?,
    })
}

fn verdict(record: &Value<'_>) -> Option<wit::Ending> {
    const ALL: [Ending; 6] =
        [Ending::Permit, Ending::Challenge, Ending::Deny, Ending::Answer, Ending::Abandoned, Ending::Elevate];
    let name = record.get("verdict")?.text()?;
    ALL.into_iter().find(|ending| ending.name() == name).map(metric::ending)
}

fn status(record: &Value<'_>) -> Option<u16> {
    u16::try_from(integer(record.get("status")?)?).ok()
}

fn text(record: &Value<'_>, name: &str) -> Option<String> {
    record.get(name)?.text().map(str::to_owned)
}

fn texts(record: &Value<'_>, name: &str) -> Vec<String> {
    list(record, name, |item| item.text().map(str::to_owned))
}

fn list<T>(record: &Value<'_>, name: &str, read: impl Fn(&Value<'_>) -> Option<T>) -> Vec<T> {
    match record.get(name) {
        Some(Value::List(items)) => items.iter().filter_map(read).collect(),
        _ => Vec::new(),
    }
}

fn integer(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Integer(number) => Some(*number),
        _ => None,
    }
}
