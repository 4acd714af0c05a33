//! A policy as the filter understands it, for tools that look at it.

use anyhow::{Result, anyhow};
use serde_json::Value;
use step_up_core::{Environment, Policy};

use crate::signing::Key;

/// Has every secret that a policy may name: something that will do for either kind of credential.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnyCredential;

impl Environment for AnyCredential {
    fn variable(&self, _: &str) -> Option<String> {
        Key::for_tests("ES256").ok().map(|key| key.text())
    }
}

/// The same for one policy, whose `sessions` name keys of another form (P35).
struct OfPolicy<'d>(&'d Value);

impl Environment for OfPolicy<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        /// 32 bytes in base64.
        const SESSION_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let keys = self.0.pointer("/sessions/keys_env").and_then(Value::as_array);
        let is_session_key = keys.is_some_and(|keys| keys.iter().any(|key| key == name));
        if is_session_key { Some(SESSION_KEY.to_owned()) } else { AnyCredential.variable(name) }
    }
}

/// Whatever its secrets are, and whatever the date.
pub(crate) fn loaded(document: &Value) -> Result<Policy> {
    Policy::load(document.to_string().as_bytes(), &OfPolicy(document))
        .map_err(|faults| anyhow!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))
}
