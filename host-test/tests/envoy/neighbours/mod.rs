//! Other filters around ours, with the settings of `envoy/neighbours/`.

mod authorization;
mod bodies;
mod collector;
mod cors;
mod limits;
mod mcp;
mod replies;
mod traces;

use anyhow::Result;
use host_test::stack::{EnvoyStack, Options};
use host_test::{paths, yaml};
use libtest_mimic::Trial;
use serde_json::Value;

pub fn trials() -> Vec<Trial> {
    let trials = [
        authorization::trials(),
        bodies::trials(),
        cors::trials(),
        limits::trials(),
        mcp::trials(),
        replies::trials(),
        traces::trials(),
    ];
    trials.into_iter().flatten().collect()
}

/// A file of `envoy/neighbours/`.
fn file(name: &str) -> Result<Value> {
    yaml::load(&paths::envoy().join("neighbours").join(name))
}

/// A stack with these neighbours.
fn beside(neighbours: Value) -> Result<EnvoyStack> {
    EnvoyStack::start(&Options { neighbours: Some(neighbours), ..Options::default() })
}
