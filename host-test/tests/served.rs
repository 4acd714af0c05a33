//! Scenarios that need no simulated clock, over HTTP through `stepup serve`: as their file says, and as the simulated proxy does.

use std::process::ExitCode;

use anyhow::Result;
use host_test::backend::{Served, Wasm};
use host_test::floors::REPLAYED;
use host_test::paths;
use host_test::scenario::{self, Case};
use libtest_mimic::{Arguments, Failed, Trial};

thread_local! {
    static SERVED: Served = Served::default();
}

fn main() -> Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    // Most of the time they wait for silence.
    arguments.test_threads.get_or_insert(4);
    let cases = scenario::load(&paths::policies())?;
    let cases: Vec<Case> = cases.into_iter().filter(|case| case.not_on_envoy().is_none()).collect();
    let count = cases.len();
    let mut trials: Vec<Trial> =
        cases.into_iter().map(|case| Trial::test(case.name.clone(), move || replay(&case))).collect();
    trials.push(Trial::test("all::enough_of_them", move || {
        if count >= REPLAYED { Ok(()) } else { Err(format!("{count}; there must be {REPLAYED}").into()) }
    }));
    Ok(libtest_mimic::run(&arguments, trials).exit_code())
}

fn replay(case: &Case) -> Result<(), Failed> {
    let said = |error: anyhow::Error| format!("{error:#}");
    let simulated = case.run(&Wasm::new().map_err(said)?).map_err(said)?;
    let real = SERVED.with(|served| case.run(served)).map_err(said)?;
    let complaints = case.complaints(&real, Some(&simulated));
    if complaints.is_empty() { Ok(()) } else { Err(complaints.join("\n").into()) }
}
