//! Every scenario of `policies/`, on each host: as its file says, and alike.

use std::process::ExitCode;

use anyhow::Result;
use host_test::backend::{Backend, Component, Native, Wasm};
use host_test::floors::SCENARIOS;
use host_test::paths;
use host_test::scenario::{self, Case};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> Result<ExitCode> {
    let cases = scenario::load(&paths::policies())?;
    let count = cases.len();
    let enough = Trial::test("all::enough_of_them", move || {
        if count >= SCENARIOS { Ok(()) } else { Err(format!("{count}; there must be {SCENARIOS}").into()) }
    });
    let trials = cases.into_iter().flat_map(|case| {
        let (native, wasm, component) = (case.clone(), case.clone(), case.clone());
        [
            Trial::test(format!("native::{}", case.name), move || run(&native, &Native)),
            Trial::test(format!("wasm::{}", case.name), move || run(&wasm, &Wasm::new()?)),
            Trial::test(format!("component::{}", case.name), move || run(&component, &Component::new()?)),
            Trial::test(format!("alike::{}", case.name), move || alike(&case)),
        ]
    });
    Ok(libtest_mimic::run(&Arguments::from_args(), trials.chain([enough]).collect()).exit_code())
}

fn run(case: &Case, backend: &dyn Backend) -> Result<(), Failed> {
    let outcome = case.run(backend).map_err(|error| format!("{error:#}"))?;
    let differences = case.check(&outcome);
    if differences.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
    let all: Vec<String> = outcome.requests.iter().map(|request| format!("{request:#}")).collect();
    Err(format!("{}\n{}", lines.join("\n"), all.join("\n")).into())
}

fn alike(case: &Case) -> Result<(), Failed> {
    let run = |backend: &dyn Backend| case.run(backend).map_err(|error| format!("{}: {error:#}", backend.name()));
    let native = run(&Native)?;
    let mut lines = Vec::new();
    for other in [&Wasm::new()? as &dyn Backend, &Component::new()?] {
        let differences = native.compare(&run(other)?);
        lines.extend(differences.iter().map(|difference| format!("native and {}: {difference}", other.name())));
    }
    if lines.is_empty() { Ok(()) } else { Err(lines.join("\n").into()) }
}
