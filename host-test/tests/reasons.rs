//! Every cause of every answer is reached by a scenario or a file of the corpus, on the core, on the module and on the component. In
//! real Envoy, `fidelity` looks at the same.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use anyhow::Result;
use host_test::backend::{Backend, Component, Native, Wasm, record};
use host_test::corpus::{self, Corpus, Nobody};
use host_test::reached::Reached;
use host_test::{paths, scenario};
use serde_json::{Map, Value, json};

/// Nothing that a request or an answer can do leads there; what does is tried elsewhere.
const ELSEWHERE: [(&str, &str); 6] = [
    (
        "client_gone",
        "whoever left gets no answer, and reads no record: core::answers::records, core::elevation::operation",
    ),
    ("header_malformed", "headers of scenarios are texts: core::answers::heads, envoy hostile"),
    ("signature_rate", "fifty slow signatures in a second: core::keys::memory"),
    ("host_without_header_stop", "a host with another setting: core::keys::deadlines, envoy configuration"),
    ("body_unreadable", "a host that does not give what it said it has: core::answers::heads"),
    ("internal", "nothing leads there"),
];

#[test]
fn every_reason_is_reached_on_the_core() {
    all_are_reached(&Native);
}

#[test]
fn every_reason_is_reached_on_the_module() {
    all_are_reached(&Wasm::new().unwrap());
}

#[test]
fn every_reason_is_reached_on_the_component() {
    all_are_reached(&Component::new().unwrap());
}

type Reader = fn(&Corpus, &Path) -> Result<corpus::Case>;

fn all_are_reached(backend: &dyn Backend) {
    let mut reached = Reached::default();
    let mut cases = scenario::load(&paths::policies()).unwrap();
    let members: Map<String, Value> = (0..10_001).map(|at| (at.to_string(), Value::Null)).collect();
    let given = json!({ "tokens": { "t": {} } });
    let when = json!({ "method": "x", "params": members, "token": "t" });
    let long = json!({ "name": "", "given": given, "when": when, "then": {} });
    cases.push(cases[0].instead(serde_json::from_value(long).unwrap()));
    for case in cases {
        case.run(backend).unwrap().requests.iter().for_each(|request| reached.by_outcome(request));
    }
    let corpus = Corpus::at(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus"));
    for (kind, read) in [("frames", Corpus::frame as Reader), ("tokens", Corpus::token)] {
        for file in corpus.files(kind).unwrap() {
            let script = read(&corpus, &file).unwrap().script(corpus.policy().unwrap());
            let run = backend.run(&script, Rc::new(RefCell::new(Nobody))).unwrap();
            run.transcripts.iter().for_each(|transcript| reached.by_record(&record(transcript)));
        }
    }
    let meant: Vec<&str> = ELSEWHERE.iter().map(|(name, _)| *name).collect();
    assert_eq!(reached.missing(), meant, "reasons that nothing leads to, and those that are meant");
}
