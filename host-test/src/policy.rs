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

    fn session_key(&self, _: &str) -> Option<String> {
        Some("A".repeat(43) + "=")
    }
}

/// Whatever its secrets are, and whatever the date.
pub(crate) fn loaded(document: &Value) -> Result<Policy> {
    Policy::load(document.to_string().as_bytes(), &AnyCredential)
        .map_err(|faults| anyhow!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))
}
