//! Which causes of answers tests have led to.

use std::collections::BTreeSet;

use serde_json::Value;
use step_up_core::Reason;

/// Reasons, by the names that records have.
#[derive(Clone, Debug, Default)]
pub struct Reached(BTreeSet<String>);

impl Reached {
    /// What a record says was decided, and what would have been.
    pub fn by_record(&mut self, record: &Value) {
        let reasons = [record.get("reason"), record.pointer("/would/reason")];
        self.0.extend(reasons.into_iter().flatten().filter_map(|reason| reason.as_str().map(str::to_owned)));
    }

    /// What came of a request, as outcomes have it: also what is known only when the server has answered.
    pub fn by_outcome(&mut self, request: &Value) {
        self.by_record(request.get("record").unwrap_or(&Value::Null));
        self.0.extend(request.pointer("/error/reason").and_then(Value::as_str).map(str::to_owned));
    }

    /// Reasons that nothing has led to.
    pub fn missing(&self) -> Vec<&'static str> {
        Reason::ALL.iter().map(|reason| reason.name()).filter(|name| !self.0.contains(*name)).collect()
    }
}
