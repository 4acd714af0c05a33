//! Do the scenarios notice? The filter is built with a bug, in a copy of its sources, and each bug must make a scenario fail.
//!
//! Takes minutes, so it is asked for: `cargo test -p host-test --test seeded -- --ignored`.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::Command;

use host_test::backend::Wasm;
use host_test::{paths, scenario};

/// Where, what is there, and what somebody wrote instead.
const BUGS: [(&str, &str, &str, &str); 5] = [
    (
        "the caller's token goes upstream in place of the elevated one",
        "plugin/core/src/decide/mod.rs",
        r#"Permit { set: vec![("authorization", authorization)], remove, watched: true }"#,
        r#"Permit { set: if authorization.reveal().is_empty() { vec![("authorization", authorization)] } else { Vec::new() }, remove, watched: true }"#,
    ),
    (
        "a body is judged by its first piece",
        "plugin/proxy-wasm/src/stream.rs",
        "        if !end_of_stream {\n            self.driver.on_part_of_body(self.id);\n            return Action::Pause;\n        }\n",
        "",
    ),
    (
        "what a client that leaves has minted is kept",
        "plugin/core/src/gate/elevations.rs",
        "(None, Answer::Elevated(token)) => self.take_back_elevated(&pending, &token, now),",
        "(None, Answer::Elevated(_)) => {}",
    ),
    (
        "one of several missing scopes is enough",
        "plugin/core/src/decide/mod.rs",
        "    if !missing.is_empty() {\n",
        "    if missing.len() == requirement.held.len() {\n",
    ),
    (
        "an elevated token may live a little longer",
        "plugin/core/src/token/elevated.rs",
        "claims.lifetime() > wanted.exchange.ttl",
        "claims.lifetime() > wanted.exchange.ttl + 5",
    ),
];

#[test]
#[ignore = "builds the module once for each bug"]
fn every_seeded_bug_is_caught() {
    let place = paths::target().join("seeded");
    let cases = scenario::load(&paths::policies()).unwrap();
    let complains = |case: &&scenario::Case, module: &Wasm| -> bool {
        let outcome = case.run(module).unwrap_or_else(|error| panic!("{}: {error:#}", case.name));
        !case.check(&outcome).is_empty()
    };
    let shipped = Wasm::new().unwrap();
    assert_eq!(cases.iter().filter(|case| complains(case, &shipped)).count(), 0, "without a bug, nobody complains");
    for (bug, file, there, instead) in BUGS {
        copy(&paths::workspace().join("plugin"), &place.join("plugin"));
        manifest(&place);
        let path = place.join(file);
        let source = fs::read_to_string(&path).unwrap();
        assert_eq!(source.matches(there).count(), 1, "{bug}: {file} has changed");
        fs::write(&path, source.replace(there, instead)).unwrap();
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--release", "--target", "wasm32-wasip1", "-p", "step-up-filter"])
            .current_dir(&place)
            .env("CARGO_TARGET_DIR", place.join("target"))
            .status();
        assert!(built.unwrap().success(), "{bug}: it does not build");
        let module = Wasm::of(&place.join("target/wasm32-wasip1/release/step_up_filter.wasm")).unwrap();
        let caught: Vec<&str> =
            cases.iter().filter(|case| complains(case, &module)).map(|case| case.name.as_str()).collect();
        println!("{bug}: caught by {} of {} scenarios, first {:?}", caught.len(), cases.len(), caught.first());
        assert!(!caught.is_empty(), "{bug}: nobody noticed");
    }
}

/// The workspace without what is not needed to build the module.
fn manifest(place: &Path) {
    let text = fs::read_to_string(paths::workspace().join("Cargo.toml")).unwrap();
    let members = |line: &&str| !line.starts_with("members = ") && !line.starts_with("default-members = ");
    let lines: Vec<&str> = text.lines().filter(members).collect();
    let text =
        lines.join("\n").replacen("[workspace]", "[workspace]\nmembers = [\"plugin/core\", \"plugin/proxy-wasm\"]", 1);
    fs::write(place.join("Cargo.toml"), text).unwrap();
    fs::copy(paths::workspace().join("Cargo.lock"), place.join("Cargo.lock")).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
