//! `stepup test`: runs the scenarios of policies, as `cargo test` runs tests.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Write as _, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde_json::{Value, json};

use crate::backend::{Backend, Component, Envoy, Native, Wasm};
use crate::scenario::{self, Case, Outcome};

/// What the user asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Scenario files, or folders with scenario files in folders called `tests`.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Only scenarios whose name contains this.
    #[arg(long)]
    filter: Option<String>,
    /// On which host: the core alone, the module of production, or both; the component, or all of them. With the same outcome.
    #[arg(long, value_enum, default_value_t = Host::Both)]
    host: Host,
    /// In real Envoy too, where a scenario needs no simulated proxy; and with the same outcome.
    #[arg(long)]
    envoy: bool,
    /// How to tell the result.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Host {
    Native,
    Wasm,
    Component,
    Both,
    All,
}

/// What may be asked by several threads.
type Shared = Box<dyn Backend + Send + Sync>;

impl Host {
    /// Those hosts, of which the last is the one to be compared with Envoy.
    fn backends(self) -> Result<Vec<Shared>> {
        let mut backends: Vec<Shared> = Vec::new();
        if matches!(self, Host::Native | Host::Both | Host::All) {
            backends.push(Box::new(Native));
        }
        if matches!(self, Host::Component | Host::All) {
            backends.push(Box::new(Component::new()?));
        }
        if matches!(self, Host::Wasm | Host::Both | Host::All) {
            backends.push(Box::new(Wasm::new()?));
        }
        Ok(backends)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Human,
    Json,
    Junit,
}

/// What became of one scenario.
struct Tested {
    name: String,
    /// Nothing: it passed.
    complaints: Vec<String>,
    outcome: Option<Outcome>,
    took: Duration,
}

/// Runs them. 0: all passed; 1: some did not. What keeps it from running is an error.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut cases = Vec::new();
    for path in &arguments.paths {
        cases.extend(scenario::load(path).with_context(|| format!("{} cannot be loaded", path.display()))?);
    }
    if let Some(filter) = &arguments.filter {
        cases.retain(|case| case.name.contains(filter.as_str()));
    }
    if cases.is_empty() {
        let paths: Vec<String> = arguments.paths.iter().map(|path| path.display().to_string()).collect();
        let filter =
            arguments.filter.as_ref().map_or_else(String::new, |filter| format!(" whose name contains `{filter}`"));
        bail!(
            "no scenarios{filter} in {}; they are *.yaml or *.yml files in a folder called `tests`",
            paths.join(", ")
        );
    }
    let begin = Instant::now();
    let backends = arguments.host.backends()?;
    let human = arguments.format == Format::Human;
    if human {
        writeln!(stdout(), "running {} scenarios", cases.len())?;
    }
    let mut tested = test_all(&cases, &backends, human);
    if arguments.envoy {
        replay(&cases, &mut tested)?;
    }
    let failed = tested.iter().filter(|tested| !tested.complaints.is_empty()).count();
    match arguments.format {
        Format::Human => {
            print_failures(&tested)?;
            print_coverage(&cases, &tested, arguments.filter.is_some())?;
            let result = if failed == 0 { "ok" } else { "FAILED" };
            let passed = tested.len() - failed;
            writeln!(
                stdout(),
                "\ntest result: {result}. {passed} passed; {failed} failed; finished in {:.2?}",
                begin.elapsed()
            )?;
        }
        Format::Json => writeln!(stdout(), "{:#}", as_json(&cases, &tested))?,
        Format::Junit => writeln!(stdout(), "{}", as_junit(&tested)?)?,
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn test_all(cases: &[Case], backends: &[Shared], human: bool) -> Vec<Tested> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let at = next.fetch_add(1, Ordering::Relaxed)
                    && let Some(case) = cases.get(at)
                {
                    let tested = test(case, backends);
                    if human {
                        let result = if tested.complaints.is_empty() { "ok" } else { "FAILED" };
                        // When nobody reads, the result will not be written either, and that is said.
                        let _ = writeln!(stdout(), "scenario {} ... {result}", tested.name);
                    }
                    if let Ok(mut done) = done.lock() {
                        done.insert(at, tested);
                    }
                }
            });
        }
    });
    done.into_inner().unwrap_or_default().into_values().collect()
}

fn test(case: &Case, backends: &[Shared]) -> Tested {
    let begin = Instant::now();
    let (mut complaints, mut outcomes) = (Vec::new(), Vec::new());
    for backend in backends {
        match case.run(backend.as_ref()) {
            Err(error) => complaints.push(format!("{}: {error:#}", backend.name())),
            Ok(outcome) => {
                let differences = case.check(&outcome);
                complaints.extend(differences.iter().map(|difference| format!("{}: {difference}", backend.name())));
                outcomes.push((backend.name(), outcome));
            }
        }
    }
    if let Some(((first, expected), others)) = outcomes.split_first() {
        for (other, outcome) in others {
            let differences = expected.compare(outcome);
            complaints.extend(differences.iter().map(|difference| format!("{first} and {other} differ: {difference}")));
        }
    }
    let outcome = outcomes.pop().map(|(_, outcome)| outcome);
    Tested { name: case.name.clone(), complaints, outcome, took: begin.elapsed() }
}

/// One after the other: they share Envoys.
fn replay(cases: &[Case], tested: &mut [Tested]) -> Result<()> {
    let envoy = Envoy::new()?;
    let mut replayed = 0;
    for (case, tested) in cases.iter().zip(tested) {
        if case.not_on_envoy().is_some() {
            continue;
        }
        replayed += 1;
        match case.run(&envoy) {
            Ok(real) => tested.complaints.extend(case.complaints(&real, tested.outcome.as_ref())),
            Err(error) => tested.complaints.push(format!("envoy: {error:#}")),
        }
    }
    eprintln!("{replayed} of {} scenarios were replayed in Envoy", cases.len());
    Ok(())
}

fn print_failures(tested: &[Tested]) -> Result<()> {
    let failed: Vec<&Tested> = tested.iter().filter(|tested| !tested.complaints.is_empty()).collect();
    if !failed.is_empty() {
        writeln!(stdout(), "\nfailures:")?;
    }
    for tested in failed {
        writeln!(stdout(), "\n---- {}", tested.name)?;
        for complaint in &tested.complaints {
            writeln!(stdout(), "{complaint}")?;
        }
        for (at, request) in tested.outcome.iter().flat_map(|outcome| &outcome.requests).enumerate() {
            writeln!(stdout(), "request {} came to {}", at + 1, short(request))?;
        }
    }
    Ok(())
}

/// What a person wants to see first.
fn short(request: &Value) -> Value {
    const FIRST: [&str; 6] = ["forwarded", "status", "challenge", "error", "token", "record"];
    FIRST
        .iter()
        .map(|name| ((*name).to_owned(), request.get(name).cloned().unwrap_or_default()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Rules that no scenario came to, for each policy.
fn uncovered(cases: &[Case], tested: &[Tested]) -> BTreeMap<String, Vec<String>> {
    let mut rules: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    for (case, tested) in cases.iter().zip(tested) {
        let left =
            rules.entry(case.policy_name()).or_insert_with(|| case.rules().unwrap_or_default().into_iter().collect());
        for request in tested.outcome.iter().flat_map(|outcome| &outcome.requests) {
            let member = |name: &str| request.pointer(name).and_then(Value::as_str).map(str::to_owned);
            if let (Some(server), Some(rule)) = (member("/record/server"), member("/record/rule")) {
                left.remove(&(server, rule));
            }
        }
    }
    let named = |(server, rule): (String, String)| format!("{server}: {rule}");
    let left = rules.into_iter().map(|(policy, left)| (policy, left.into_iter().map(named).collect::<Vec<_>>()));
    left.filter(|(_, left)| !left.is_empty()).collect()
}

fn print_coverage(cases: &[Case], tested: &[Tested], filtered: bool) -> Result<()> {
    if filtered {
        return Ok(());
    }
    for (policy, left) in uncovered(cases, tested) {
        writeln!(stdout(), "\n{policy}: no scenario came to the rules of {}", left.join(", "))?;
    }
    Ok(())
}

fn as_json(cases: &[Case], tested: &[Tested]) -> Value {
    let list = tested.iter().map(|tested| {
        json!({
            "name": tested.name,
            "passed": tested.complaints.is_empty(),
            "complaints": tested.complaints,
            "requests": tested.outcome.as_ref().map(|outcome| &outcome.requests),
            "fuel": tested.outcome.as_ref().and_then(|outcome| outcome.fuel),
        })
    });
    json!({ "scenarios": list.collect::<Vec<_>>(), "rules_without_scenario": uncovered(cases, tested) })
}

fn as_junit(tested: &[Tested]) -> Result<String> {
    let mut report = Report::new("stepup");
    let mut suites: BTreeMap<&str, TestSuite> = BTreeMap::new();
    for tested in tested {
        let (suite, name) = tested.name.rsplit_once("::").unwrap_or(("", &tested.name));
        let mut status = TestCaseStatus::success();
        if let Some(first) = tested.complaints.first() {
            status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(first.as_str()).set_description(tested.complaints.join("\n"));
        }
        let mut case = TestCase::new(name, status);
        case.set_time(tested.took);
        suites.entry(suite).or_insert_with(|| TestSuite::new(suite)).add_test_case(case);
    }
    report.add_test_suites(suites.into_values());
    report.to_string().context("JUnit")
}
