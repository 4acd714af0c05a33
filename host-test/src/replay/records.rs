//! Audit records, out of an access log or alone.

use std::collections::BTreeMap;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    /// Records that are alike in all that a decision rests on, and how many there are.
    kinds: BTreeMap<String, (Value, u64)>,
    /// Lines that are no JSON object, by number, at most a few.
    pub unreadable: Vec<String>,
    /// Lines without a record: requests that the filter did not see.
    pub without: u64,
    /// Records that strangers' limits left out.
    pub suppressed: u64,
}

/// A line of a log.
pub(crate) enum Line {
    /// An audit record.
    /// With all of the line.
    Record(Box<Value>, Box<Value>),
    /// None.
    Without,
    /// It is no JSON object.
    Unreadable,
}

/// Members that differ from call to call, and that no decision rests on.
const OWN: [&str; 8] =
    ["id", "token", "token_id", "claimed_request_id", "suppressed", "service_error", "declared_task", "policy"];

/// What a line is: a record, alone or as `stepup` of a line of the access log.
pub(crate) fn read(line: &str) -> Line {
    let Ok(value @ Value::Object(_)) = serde_json::from_str::<Value>(line) else { return Line::Unreadable };
    let is_record = |value: &Value| {
        value.get("verdict").is_some_and(Value::is_string) && value.get("reason").is_some_and(Value::is_string)
    };
    if is_record(&value) {
        return Line::Record(Box::new(value.clone()), Box::new(value));
    }
    let inner = match value.get("stepup") {
        Some(Value::String(text)) => serde_json::from_str(text).ok(),
        Some(inner) => Some(inner.clone()),
        None => None,
    };
    match inner {
        Some(inner) if is_record(&inner) => Line::Record(Box::new(inner), Box::new(value)),
        // What Envoy writes where there is none.
        None | Some(Value::Null) if matches!(value.get("stepup"), None | Some(Value::Null)) => Line::Without,
        _ if value.get("stepup").and_then(Value::as_str) == Some("-") => Line::Without,
        _ => Line::Unreadable,
    }
}

/// When the request of a line of the access log came, in milliseconds since 1970; `None` where it does not say.
pub(crate) fn came(entry: &Value) -> Option<i128> {
    let time = OffsetDateTime::parse(entry.get("time")?.as_str()?, &Rfc3339).ok()?;
    Some(time.unix_timestamp_nanos() / 1_000_000)
}

impl Recorded {
    pub(super) fn add(&mut self, text: &str) {
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            match read(line) {
                Line::Record(mut record, _) => {
                    let more = record.get("suppressed").and_then(Value::as_u64).unwrap_or(0);
                    self.suppressed = self.suppressed.saturating_add(more);
                    if let Some(members) = record.as_object_mut() {
                        members.retain(|name, _| !OWN.contains(&name.as_str()));
                        if let Some(elevated) = members.get_mut("elevated").and_then(Value::as_object_mut) {
                            elevated.retain(|name, _| name == "audience" || name == "scopes");
                        }
                    }
                    self.kinds.entry(record.to_string()).or_insert_with(|| (*record, 0)).1 += 1;
                }
                Line::Without => self.without += 1,
                Line::Unreadable => self.unreadable.push(format!("line {}", at + 1)),
            }
        }
    }

    pub(super) fn kinds(&self) -> impl Iterator<Item = (&Value, u64)> {
        self.kinds.values().map(|(record, count)| (record, *count))
    }
}
