//! Inputs of the benches: scenarios of `policies/`, bodies of two sizes, and a real Envoy; and the formula of `docs/scale.md`.

pub mod rig;
pub mod scale;

use anyhow::{Context as _, Result};
use host_test::{paths, scenario};
use serde_json::json;

/// The scenario of that name.
pub fn case(name: &str) -> Result<scenario::Case> {
    let cases = scenario::load(&paths::policies())?;
    cases.into_iter().find(|case| case.name == name).with_context(|| format!("no scenario is called {name}"))
}

/// A call of about so many bytes.
pub fn body(size: usize) -> String {
    let call = |text: &str| {
        let arguments = json!({ "query": text, "limit": 10, "filters": { "lang": "en", "tags": ["a", "b", "c"] } });
        let params = json!({ "name": "get_file", "arguments": arguments });
        json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params }).to_string()
    };
    let bare = call("").len();
    call(&"x".repeat(size.saturating_sub(bare)))
}
