//! What tests and benches of the core share: tokens, requests, policies, shared memory, and a host that drives gates with a clock of
//! its own. Only for tests: what is wrong panics.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "for tests")]
#![allow(missing_docs, reason = "names that are sentences")]

mod memory;
mod process;
pub mod random;
mod request;
mod settled;
mod tokens;

use std::rc::Rc;

use serde_json::{Value as Json, json};
use step_up_core::Millis;
use step_up_core::{Fault, Policy};

pub use memory::Memory;
pub use process::{Process, Vm};
pub use request::Request;
pub use settled::{Answer, Outcome, Settled};
pub use tokens::{Signer, Token, base64, key, other_key, token};

/// The one issuer of most tests.
pub const ISSUER: &str = "https://as.example.com";
/// The one resource of most tests.
pub const RESOURCE: &str = "https://mcp.example.com/mcp";
/// Where its metadata document is.
pub const METADATA: &str = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp";
/// The scope every request needs.
pub const BASELINE: &str = "mcp:connect";
/// The beginning of every test, in seconds: 2027-01-15.
pub const START: i64 = 1_800_000_000;
/// The same, as the gate counts.
pub const NOW: Millis = Millis(1_800_000_000_000);

/// How property tests run: this many cases, and no files left behind.
pub fn cases(cases: u32) -> proptest::prelude::ProptestConfig {
    proptest::prelude::ProptestConfig { cases, failure_persistence: None, ..Default::default() }
}

/// A policy for [`RESOURCE`] with these tools, the keys inline.
pub fn document(tools: Json) -> Json {
    json!({
        "version": 1,
        "issuers": { ISSUER: { "keys": { "keys": [key().jwk()] }, "algorithms": ["EdDSA"] } },
        "resource": RESOURCE,
        "baseline": [BASELINE],
        "tools": tools,
    })
}

/// The document with one field set; `place` is a JSON pointer to it, whose parent exists.
pub fn with(mut document: Json, place: &str, value: Json) -> Json {
    let (parent, field) = place.rsplit_once('/').expect("a JSON pointer");
    let field = field.replace("~1", "/");
    let parent = document.pointer_mut(parent).expect("the parent exists").as_object_mut().expect("it is a map");
    parent.insert(field, value);
    document
}

/// The document without one field.
pub fn without(mut document: Json, place: &str) -> Json {
    let (parent, field) = place.rsplit_once('/').expect("a JSON pointer");
    let parent = document.pointer_mut(parent).expect("the parent exists").as_object_mut().expect("it is a map");
    parent.remove(field).expect("the field exists");
    document
}

/// A policy that is accepted.
pub fn load(document: &Json) -> Rc<Policy> {
    match Policy::load(document.to_string().as_bytes(), &step_up_core::NoEnvironment) {
        Ok(policy) => Rc::new(policy),
        Err(faults) => panic!("the policy is refused: {}\n{document:#}", lines(&faults)),
    }
}

/// The faults of a policy that is refused.
pub fn faults(document: &Json) -> Vec<Fault> {
    faults_of(document.to_string().as_bytes())
}

/// The faults of a configuration that is refused.
pub fn faults_of(configuration: &[u8]) -> Vec<Fault> {
    let faults = Policy::load(configuration, &step_up_core::NoEnvironment).expect_err("the policy is accepted");
    assert!(!faults.is_empty(), "refused without saying why");
    for fault in &faults {
        assert!(!fault.problem.is_empty() && !fault.help.is_empty(), "{fault:?}");
    }
    faults
}

/// Asserts that exactly these places are at fault.
#[track_caller]
pub fn assert_faulty(document: &Json, places: &[&str]) {
    let faults = faults(document);
    let mut found: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
    let mut places = places.to_vec();
    found.sort_unstable();
    places.sort_unstable();
    assert_eq!(found, places, "{}", lines(&faults));
}

/// Asserts that the only fault mentions all of `words`, in path, problem or help.
#[track_caller]
pub fn assert_fault(document: &Json, words: &[&str]) {
    let faults = faults(document);
    let text = lines(&faults);
    assert_eq!(faults.len(), 1, "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

/// The warnings of a policy that is accepted, one a line.
pub fn warnings(document: &Json) -> String {
    lines(load(document).warnings())
}

/// What enforcing this policy makes of a call of this tool.
pub fn judge(document: &Json, token: &str, tool: &str) -> Settled {
    Vm::new(&load(document)).send(&Request::call(tool).bearer(token))
}

fn lines(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
