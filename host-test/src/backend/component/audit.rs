//! The typed record says all that its line does.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::wit;

/// An error names the field that one of them lacks.
pub(super) fn complete(audit: &wit::Audit) -> Result<()> {
    let line: Value = serde_json::from_str(&audit.line)?;
    let mut fields = json!({
        "id": audit.id,
        "verdict": verdict(audit.verdict),
        "reason": audit.reason,
        "status": audit.status,
        "mode": audit.mode,
        "would": audit.would.as_ref().map(would),
        "missing": audit.missing,
        "policy": audit.policy,
        "server": audit.server,
        "protocol": audit.protocol,
        "method": audit.method,
        "kind": audit.kind,
        "name": audit.name,
        "rule": audit.rule,
        "issuer": audit.issuer,
        "subject": audit.subject,
        "client": audit.client,
        "actors": audit.actors,
        "token": audit.token,
        "token_id": audit.token_id,
        "elevated": audit.elevated.as_ref().map(elevated),
        "introspected": audit.introspected,
        "anonymous": audit.anonymous,
        "step_up": audit.step_up,
        "raised": audit.raised,
        "tool_changed": audit.tool_changed,
        "environment": audit.environment,
        "data_class": audit.data_class,
        "purpose": audit.purpose,
        "declared_task": audit.declared_task,
        "service_error": audit.service_error,
        "claimed_request_id": audit.claimed_request_id,
        "suppressed": audit.suppressed,
    });
    leave_out(&mut fields);
    ensure!(fields == line, "the typed record is {fields}, its line {line}");
    Ok(())
}

fn would(would: &wit::Would) -> Value {
    json!({ "verdict": verdict(would.verdict), "reason": would.reason, "status": would.status })
}

fn elevated(elevated: &wit::Elevated) -> Value {
    json!({
        "audience": elevated.audience,
        "scopes": elevated.scopes,
        "token": elevated.token,
        "token_id": elevated.token_id,
        "expires_in": elevated.expires_in,
        "took": elevated.took,
    })
}

fn verdict(ending: wit::Ending) -> &'static str {
    super::metrics::ending(ending).name()
}

/// What is not known, or does not apply, is left out of a line.
fn leave_out(fields: &mut Value) {
    let is_said = |value: &Value| ![json!(null), json!([]), json!(false), json!(0)].contains(value);
    if let Value::Object(members) = fields {
        members.retain(|_, value| is_said(value));
        // Inside of another, a list that is empty says so, and so does a time that is nothing.
        members
            .values_mut()
            .filter_map(Value::as_object_mut)
            .for_each(|inner| inner.retain(|_, value| !value.is_null()));
    }
}
