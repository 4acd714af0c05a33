//! The filter in real Envoy, with a real authorization server, real MCP servers and real clients.
//!
//! Downloads Envoy, npm and Python packages into `target/fixtures` the first time (about 460 MB). Needs Node.js 20 and
//! Python 3.11 with venv. Runs one trial after the other; `cargo test -p host-test --test envoy -- NAME` runs some.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a trial that panics has failed")]

#[path = "envoy/browser.rs"]
mod browser;
#[path = "check_envoy/changes.rs"]
mod changes;
#[path = "envoy/clients.rs"]
mod clients;
#[path = "envoy/configuration.rs"]
mod configuration;
#[path = "envoy/conformance.rs"]
mod conformance;
#[path = "envoy/elevation/mod.rs"]
mod elevation;
#[path = "envoy/field.rs"]
mod field;
#[path = "envoy/hostile.rs"]
mod hostile;
#[path = "envoy/keys.rs"]
mod keys;
#[path = "envoy/language.rs"]
mod language;
#[path = "envoy/mesh/mod.rs"]
mod mesh;
#[path = "envoy/neighbours/mod.rs"]
mod neighbours;
#[path = "envoy/observed.rs"]
mod observed;
#[path = "envoy/reasons.rs"]
mod reasons;
#[path = "envoy/report.rs"]
mod report;
#[path = "envoy/scale.rs"]
mod scale;
#[path = "envoy/servers.rs"]
mod servers;
#[path = "envoy/shadow.rs"]
mod shadow;
#[path = "envoy/support.rs"]
mod support;
#[path = "envoy/versions.rs"]
mod versions;

use std::process::ExitCode;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    if !arguments.list
        && let Err(error) = host_test::fixtures::install().and_then(|_| host_test::artifact::module())
    {
        eprintln!("{error:#}");
        return ExitCode::FAILURE;
    }
    let measuring = [
        browser::trials(),
        configuration::trials(),
        conformance::trials(),
        elevation::trials(),
        hostile::trials(),
        keys::trials(),
        observed::trials(),
        report::trials(),
        scale::trials(),
    ];
    let others = [
        clients::trials(),
        field::trials(),
        language::trials(),
        reasons::trials(),
        mesh::trials(),
        neighbours::trials(),
        servers::trials(),
        shadow::trials(),
        versions::trials(),
    ];
    // The machine may be small: two at a time of those that only wait, and one where something is measured.
    let mut has_failed = false;
    for (threads, trials) in
        [(1, measuring.into_iter().flatten().collect()), (2, others.into_iter().flatten().collect())]
    {
        arguments.test_threads = Some(threads);
        has_failed |= libtest_mimic::run(&arguments, trials).has_failed();
    }
    if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn trial(name: &str, run: fn() -> Result<()>) -> Trial {
    Trial::test(name, move || run().map_err(|error| Failed::from(format!("{error:#}"))))
}
