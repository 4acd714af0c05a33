//! Scenarios that need no simulated proxy, in real Envoy: as their file says, and as the simulated proxy does.

use std::cell::RefCell;
use std::path::Path;
use std::process::ExitCode;

use host_test::backend::{Backend, Envoy, Wasm};
use host_test::scenario::{self, Case};
use libtest_mimic::{Arguments, Failed, Trial};

/// Fewer mean that scenarios have become simulations.
const FEWEST: usize = 80;

thread_local! {
    static ENVOY: RefCell<Option<Envoy>> = const { RefCell::new(None) };
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // On this thread, one after the other: they share Envoys.
    arguments.test_threads = Some(1);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let cases = match scenario::load(&folder) {
        Ok(cases) => cases,
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    };
    let cases: Vec<Case> = cases.into_iter().filter(|case| case.not_on_envoy().is_none()).collect();
    let count = cases.len();
    let mut trials: Vec<Trial> =
        cases.into_iter().map(|case| Trial::test(case.name.clone(), move || replay(&case))).collect();
    trials.push(Trial::test("all::enough_of_them", move || {
        if count >= FEWEST { Ok(()) } else { Err(format!("{count}; there must be {FEWEST}").into()) }
    }));
    let conclusion = libtest_mimic::run(&arguments, trials);
    // A thread's variables may outlive the process's own end; Envoys must not.
    ENVOY.with(|envoy| drop(envoy.take()));
    conclusion.exit_code()
}

fn replay(case: &Case) -> Result<(), Failed> {
    let said = |error: anyhow::Error| format!("{error:#}");
    let simulated = case.run(&Wasm::new().map_err(said)?).map_err(said)?;
    let real = ENVOY.with(|envoy| {
        let mut envoy = envoy.borrow_mut();
        if envoy.is_none() {
            *envoy = Some(Envoy::new().map_err(said)?);
        }
        let Some(envoy) = envoy.as_ref() else { return Err("no Envoy".to_owned()) };
        case.run(envoy as &dyn Backend).map_err(said)
    })?;
    let wrong = case.check(&real).into_iter().map(|difference| format!("in Envoy: {difference}"));
    let unlike = simulated.compare(&real).into_iter().map(|difference| format!("simulated and real: {difference}"));
    let complaints: Vec<String> = wrong.chain(unlike).collect();
    if complaints.is_empty() { Ok(()) } else { Err(complaints.join("\n").into()) }
}
