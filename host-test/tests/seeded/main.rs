//! Do the tests notice? In a copy of the sources something is made wrong, and tests must fail.
//!
//! Takes an hour and a half, so it is asked for: `cargo test -p host-test --test seeded -- --ignored --nocapture`.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]

mod findings;
mod words;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use findings::{BUGS, Noticed};

use host_test::backend::Wasm;
use host_test::{artifact, paths, scenario};

/// Where, what is there, and what somebody wrote instead.
const OF_THE_FILTER: [(&str, &str, &str, &str); 5] = [
    (
        "the caller's token goes upstream in place of the elevated one",
        "plugin/core/src/decide/permit.rs",
        "Permit { set, remove, state: Vec::new(), watched: true }",
        "Permit { set: if remove.is_empty() { set } else { Vec::new() }, remove, state: Vec::new(), watched: true }",
    ),
    (
        "a body is judged by its first piece",
        "plugin/proxy-wasm/src/stream.rs",
        "        if !end_of_stream {\n            self.driver.on_part_of_body(self.id);\n            return Action::Pause;\n        }\n",
        "",
    ),
    (
        "what a client that leaves has minted is kept",
        "plugin/core/src/gate/exchanges.rs",
        "(None, Answer::Elevated(token)) => self.take_back_elevated(&pending, &token, now),",
        "(None, Answer::Elevated(_)) => {}",
    ),
    (
        "one of several missing scopes is enough",
        "plugin/core/src/decide/checks.rs",
        "    if missing.is_empty() {\n",
        "    if missing.len() < requirement.held.len() {\n",
    ),
    (
        "an elevated token may live a little longer",
        "plugin/core/src/token/elevated.rs",
        "claims.lifetime() > wanted.exchange.ttl",
        "claims.lifetime() > wanted.exchange.ttl + 5",
    ),
];

/// A seed whose place is gone plants nothing. Runs with all other tests, so that who moves the place moves the seed.
#[test]
fn every_bug_has_its_place() {
    let of_findings = BUGS.iter().map(|bug| (bug.what, bug.file, bug.there));
    let of_the_filter = OF_THE_FILTER.into_iter().map(|(bug, file, there, _)| (bug, file, there));
    let is_lost = |(_, file, there): &(&str, &str, &str)| {
        fs::read_to_string(paths::workspace().join(file)).map_or(0, |source| source.matches(there).count()) != 1
    };
    let of_words = [
        ("a word does not do what it says", words::PLACE.0, words::PLACE.1),
        ("the same", words::PLACE.0, words::MODULE.0),
    ];
    let lost: Vec<_> = of_findings.chain(of_the_filter).chain(of_words).filter(is_lost).collect();
    assert!(lost.is_empty(), "not there, or more than once: {lost:#?}");
}

#[test]
#[ignore = "builds the module once for each bug"]
fn every_bug_of_the_filter_is_caught_by_a_scenario() {
    let place = paths::target().join("seeded");
    let cases = scenario::load(&paths::policies()).unwrap();
    let complains = |case: &&scenario::Case, module: &Wasm| -> bool {
        let outcome = case.run(module).unwrap_or_else(|error| panic!("{}: {error:#}", case.name));
        !case.check(&outcome).is_empty()
    };
    let shipped = Wasm::new().unwrap();
    assert_eq!(cases.iter().filter(|case| complains(case, &shipped)).count(), 0, "without a bug, nobody complains");
    for (bug, file, there, instead) in OF_THE_FILTER {
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

/// A copy of everything that tests need.
fn workspace() -> PathBuf {
    let place = paths::target().join("seeded-findings");
    let copied =
        ["benches", "docs", "envoy", "host-test", "plugin", "policies", "Cargo.toml", "Cargo.lock", "clippy.toml"];
    for name in copied {
        let (from, to) = (paths::workspace().join(name), place.join(name));
        match from.is_dir() {
            true => copy(&from, &to),
            false => assert!(fs::copy(&from, &to).is_ok(), "{name}"),
        }
    }
    place
}

#[test]
#[ignore = "runs tests once for each word"]
fn every_word_that_does_not_do_what_it_says_is_caught() {
    const JUDGES: [(&str, &[&str]); 4] = [
        ("a scenario", &["-p", "host-test", "--test", "scenarios", "--", "native::"]),
        ("an example of the page", &["-p", "host-test", "--test", "documents", "--", "policy-language.md::"]),
        ("a test", &["-p", "step-up-core", "--lib", "--test", "core"]),
        ("check", &["-p", "host-test", "--lib", "--test", "check"]),
    ];
    let place = workspace();
    let path = place.join(words::PLACE.0);
    let source = fs::read_to_string(&path).unwrap();
    let planted = source.replace(words::PLACE.1, words::PLACE.2).replace(words::MODULE.0, words::MODULE.1);
    fs::write(&path, planted).unwrap();
    fs::write(place.join(words::PLANTED.0), words::PLANTED.1).unwrap();
    let complains = |arguments: &[&str], seed: &str| {
        let mut command = Command::new(env!("CARGO"));
        command.args(["test", "--quiet", "--locked"]).args(arguments).current_dir(&place);
        command
            .env("CARGO_TARGET_DIR", place.join("target"))
            .env("INSTA_UPDATE", "no")
            .env("STEP_UP_WASM", artifact::module().unwrap())
            .env("STEP_UP_COMPONENT", artifact::component().unwrap());
        if !seed.is_empty() {
            command.env("SEEDED_WORD", seed);
        }
        !command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    };
    for (judge, arguments) in JUDGES {
        assert!(!complains(arguments, ""), "without a seed, {judge} passes");
    }
    // `SEEDED=Raise,Limits` tries those.
    let only = std::env::var("SEEDED").unwrap_or_default();
    let mut missed = Vec::new();
    for words::Seed { map, word, kind } in words::seeds() {
        let seed = format!("{map} {word} {kind}");
        if !only.split(',').any(|map| seed.starts_with(map)) {
            continue;
        }
        let noticed = JUDGES.iter().find(|(_, arguments)| complains(arguments, &seed)).map(|(judge, _)| *judge);
        println!("{seed}: {}", noticed.map_or("MISSED".to_owned(), |judge| format!("noticed by {judge}")));
        if noticed.is_none() {
            missed.push(seed);
        }
    }
    fs::write(&path, source).unwrap();
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
#[ignore = "builds and runs tests once for each bug"]
fn every_finding_that_came_back_is_caught() {
    let place = workspace();
    let run = |noticed: Noticed, arguments: &[&str]| {
        let tests: &[&str] = match noticed {
            Noticed::Core => &["-p", "step-up-core", "--lib", "--test", "core"],
            Noticed::Check => &["-p", "host-test", "--lib", "--test", "check"],
        };
        let mut command = Command::new(env!("CARGO"));
        command.arg("test").args(tests).args(["--quiet", "--locked"]).args(arguments).current_dir(&place);
        // What is compared is what is there.
        command.env("CARGO_TARGET_DIR", place.join("target")).env("INSTA_UPDATE", "no");
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    };
    for noticed in [Noticed::Core, Noticed::Check] {
        assert!(run(noticed, &[]), "without a bug, {noticed:?} passes");
    }
    let mut missed = Vec::new();
    // `SEEDED=4,17` tries those.
    let only = std::env::var("SEEDED").unwrap_or_default();
    let is_wanted =
        |bug: &&findings::Bug| only.is_empty() || only.split(',').any(|finding| finding == bug.finding.to_string());
    for bug in BUGS.iter().filter(is_wanted) {
        let path = place.join(bug.file);
        let source = fs::read_to_string(&path).unwrap();
        assert_eq!(source.matches(bug.there).count(), 1, "{}: {} has changed", bug.what, bug.file);
        fs::write(&path, source.replace(bug.there, bug.instead)).unwrap();
        let builds = run(bug.noticed_by, &["--no-run"]);
        let caught = builds && !run(bug.noticed_by, &[]);
        fs::write(&path, source).unwrap();
        let verdict = if caught {
            "caught"
        } else if builds {
            "MISSED"
        } else {
            "DOES NOT BUILD"
        };
        println!("finding {}, {}: {verdict}", bug.finding, bug.what);
        if !caught {
            missed.push(bug.what);
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
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
