//! The filter in real Envoy, with a real Keycloak as issuer and token service.
//!
//! All trials are ignored unless asked for: `cargo test -p host-test --test keycloak -- --ignored`. They take Java 17 and Maven beside
//! what the trials of `--test envoy` take, fetch Keycloak into `target/keycloak` the first time (176 MB), and end it at the end.
//! `KEYCLOAK_RECORD=FILE` writes down what Keycloak was asked and what it answered (see `recorder.rs`).

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a trial that panics has failed")]

mod callers;
mod exchanges;
mod install;
mod issuer;
mod opaque;
mod policy;
mod probes;
mod realm;
mod recorder;
mod refusals;
mod revocation;
mod rotation;
mod server;
mod unacceptable;
mod world;

use std::process::ExitCode;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One Keycloak, and the machine may be small.
    arguments.test_threads = Some(1);
    let trials = [
        callers::trials(),
        exchanges::trials(),
        refusals::trials(),
        unacceptable::trials(),
        revocation::trials(),
        rotation::trials(),
        opaque::trials(),
        probes::trials(),
    ];
    if let Err(error) = server::stop_at_signals() {
        eprintln!("{error:#}");
        return ExitCode::FAILURE;
    }
    let conclusion = libtest_mimic::run(&arguments, trials.into_iter().flatten().collect());
    server::stop();
    conclusion.exit_code()
}

fn trial(name: &'static str, run: fn(&str) -> Result<()>) -> Trial {
    Trial::test(name, move || run(name).map_err(|error| Failed::from(format!("{error:#}")))).with_ignored_flag(true)
}
