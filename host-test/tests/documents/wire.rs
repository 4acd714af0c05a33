//! `docs/wire.md`: generated, and true of the records that the filter writes.

use std::collections::BTreeSet;

use host_test::backend::{self, Backend as _, Native};
use host_test::{paths, scenario, wire};
use serde_json::Value;

use crate::Complaints;
use crate::traceability::held;
use crate::tree::Tree;

/// What is wrong with the file; or it is written.
pub fn complaints(tree: &Tree) -> Complaints {
    held(tree, "docs/wire.md", &wire::wire())
}

/// The fields of all records that the example scenarios leave behind, against those that the page describes.
pub fn fields() -> Complaints {
    let mut seen = BTreeSet::new();
    for case in scenario::load(&paths::policies()).expect("the scenarios load") {
        let (script, network) = case.script(1).expect("it can be scripted");
        let run = Native.run(&script, network).expect("it runs");
        for transcript in &run.transcripts {
            collect("", &backend::record(transcript), &mut seen);
        }
    }
    let described: BTreeSet<String> = wire::FIELDS.iter().map(|(field, ..)| (*field).to_owned()).collect();
    let mut complaints: Complaints =
        seen.difference(&described).map(|field| format!("`{field}` is in records, and not described")).collect();
    // Eleven strangers in a second, and another one later, are no scenario.
    let missing = described.difference(&seen).filter(|field| *field != "suppressed");
    complaints.extend(missing.map(|field| format!("`{field}` is described, and in no record")));
    complaints
}

fn collect(prefix: &str, value: &Value, seen: &mut BTreeSet<String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let field = format!("{prefix}{name}");
        if value.is_object() {
            collect(&format!("{field}."), value, seen);
        } else {
            seen.insert(field);
        }
    }
}
