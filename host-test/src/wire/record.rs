//! The audit record: its fields, what they hold, and the same as JSON Schema.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use step_up_core::Reason;

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A whole number, from 0.
    Count,
    /// Several of them.
    Counts,
    /// The name of a reason.
    Reason,
    /// A status of HTTP.
    Status,
    /// A text.
    Text,
    /// Several texts.
    Texts,
    /// `true`, or it is left out.
    True,
}

/// Those that every record has.
const ALWAYS: [&str; 5] = ["id", "verdict", "reason", "mode", "policy"];

/// Every field of the audit record, with a dot for those inside of another, what it holds, and what it means.
pub const FIELDS: [(&str, Form, &str); 40] = [
    ("id", Form::Text, "ours, random; also in the answer's `error.data.request_id`"),
    (
        "verdict",
        Form::Choice(&["permit", "challenge", "deny", "answer", "abandoned"]),
        "`permit`, `challenge` or `deny`; `answer` for what the filter serves itself; `abandoned`: the client left before",
    ),
    ("reason", Form::Reason, "one of the reasons above"),
    ("status", Form::Status, "of the filter's own answer"),
    ("mode", Form::Choice(&["enforce", "shadow"]), "`enforce` or `shadow`"),
    (
        "would.verdict",
        Form::Choice(&["challenge", "deny", "elevate"]),
        "in shadow mode, what enforcement would have come to; `elevate` where the token service would have been asked",
    ),
    ("would.reason", Form::Reason, "its reason"),
    ("would.status", Form::Status, "its status; not where the token service would have had a say"),
    ("missing", Form::Texts, "scopes that the caller lacks"),
    ("policy", Form::Text, "the policy's digest: of what it says, not of its spelling"),
    ("server", Form::Text, "the server's name in the policy"),
    ("protocol", Form::Text, "the MCP revision that the header claims"),
    ("method", Form::Text, "the JSON-RPC method"),
    (
        "kind",
        Form::Choice(&["tool", "prompt", "resource", "method"]),
        "what is asked for: `tool`, `prompt`, `resource`, or `method`",
    ),
    ("name", Form::Text, "the tool, prompt or URI"),
    ("rule", Form::Text, "the rule's pattern in the policy"),
    ("issuer", Form::Text, "`iss` of the verified token"),
    ("subject", Form::Text, "its `sub`"),
    ("client", Form::Text, "its `client_id`"),
    ("actors", Form::Texts, "who acts for the subject, the current actor first"),
    ("token", Form::Text, "the first 16 hexadecimal digits of the token's SHA-256: to join, never to identify alone"),
    ("token_id", Form::Text, "its `jti`"),
    ("elevated.audience", Form::Text, "of an elevated call: whom the token is for"),
    ("elevated.scopes", Form::Texts, "what was granted"),
    ("elevated.token", Form::Text, "the first 16 hexadecimal digits of its SHA-256"),
    ("elevated.token_id", Form::Text, "its `jti`"),
    ("elevated.expires_in", Form::Count, "seconds that it lives"),
    ("elevated.took", Form::Count, "milliseconds that it took to obtain"),
    ("introspected", Form::True, "`true`: its issuer was asked about the token"),
    ("anonymous", Form::True, "`true`: it was called without a token, which its rule allows"),
    (
        "step_up",
        Form::Choice(&["challenge", "exchange"]),
        "which way `step_up: auto` took for this caller: `challenge` or `exchange`",
    ),
    ("raised", Form::Counts, "the raises of the rule that applied, by their position from 0"),
    (
        "tool_changed",
        Form::Texts,
        "of a list: tools that were not what they were when they were pinned, and were taken out",
    ),
    ("environment", Form::Text, "a label of the policy: where this is"),
    ("data_class", Form::Text, "a label of the policy: what it holds"),
    ("purpose", Form::Text, "a label of the policy: what it is for"),
    (
        "declared_task",
        Form::Text,
        "what the caller says in `_meta` that it is about: its word, and nobody has checked it",
    ),
    (
        "service_error",
        Form::Text,
        "what the token service said when it gave no token: status, `error` and the first 128 characters of its description",
    ),
    ("claimed_request_id", Form::Text, "`x-request-id`, as the caller or the proxy claims it"),
    ("suppressed", Form::Count, "records left out before this one: strangers get ten a second for each reason"),
];

/// JSON Schema of a record.
pub fn schema() -> Value {
    let (mut own, mut inner) = (Map::new(), BTreeMap::<&str, Map<String, Value>>::new());
    for (field, form, meaning) in FIELDS {
        let mut schema = form.schema();
        if let Some(members) = schema.as_object_mut() {
            members.insert("description".to_owned(), json!(meaning));
        }
        match field.split_once('.') {
            Some((outer, field)) => inner.entry(outer).or_default().insert(field.to_owned(), schema),
            None => own.insert(field.to_owned(), schema),
        };
    }
    for (outer, fields) in inner {
        let object = json!({ "type": "object", "properties": fields, "additionalProperties": false });
        own.insert(outer.to_owned(), object);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Audit record",
        "description": "What the filter writes of a request, as `stepup` of a line of the access log. More: docs/wire.md.",
        "type": "object",
        "properties": own,
        "required": ALWAYS,
        "additionalProperties": false,
    })
}

/// What of a record is otherwise than the schema says, a field each.
pub fn faults(record: &Value) -> Vec<String> {
    let members = record.as_object().cloned().unwrap_or_default();
    let missing = ALWAYS.iter().filter(|field| !members.contains_key(**field));
    let mut faults: Vec<String> = missing.map(|field| format!("`{field}` is missing")).collect();
    for (name, value) in &members {
        let is_outer = FIELDS.iter().any(|(field, ..)| field.split_once('.').is_some_and(|(outer, _)| outer == name));
        match value.as_object().filter(|_| is_outer) {
            Some(inner) => {
                faults.extend(inner.iter().filter_map(|(field, value)| fault(&format!("{name}.{field}"), value)))
            }
            None => faults.extend(fault(name, value)),
        }
    }
    faults
}

fn fault(name: &str, value: &Value) -> Option<String> {
    match FIELDS.iter().find(|(field, ..)| *field == name) {
        None => Some(format!("`{name}` is not known")),
        Some((_, form, _)) => (!form.fits(value)).then(|| format!("`{name}` does not hold what it should")),
    }
}

impl Form {
    fn fits(self, value: &Value) -> bool {
        let all = |form: Form| value.as_array().is_some_and(|items| items.iter().all(|item| form.fits(item)));
        match self {
            Form::Choice(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Form::Count => value.is_u64(),
            Form::Counts => all(Form::Count),
            Form::Reason => value.as_str().is_some_and(|word| reasons().any(|reason| reason == word)),
            Form::Status => value.as_u64().is_some_and(|status| (100..600).contains(&status)),
            Form::Text => value.is_string(),
            Form::Texts => all(Form::Text),
            Form::True => value == true,
        }
    }

    fn schema(self) -> Value {
        let list = |form: Form| json!({ "type": "array", "items": form.schema() });
        match self {
            Form::Choice(words) => json!({ "enum": words }),
            Form::Count => json!({ "type": "integer", "minimum": 0 }),
            Form::Counts => list(Form::Count),
            Form::Reason => json!({ "enum": reasons().collect::<Vec<_>>() }),
            Form::Status => json!({ "type": "integer", "minimum": 100, "maximum": 599 }),
            Form::Text => json!({ "type": "string" }),
            Form::Texts => list(Form::Text),
            Form::True => json!({ "const": true }),
        }
    }
}

fn reasons() -> impl Iterator<Item = &'static str> {
    Reason::ALL.iter().map(|reason| reason.name())
}
