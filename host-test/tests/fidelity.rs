//! Scenarios that need no simulated proxy, in real Envoy: as their file says, and as the simulated proxy does. And the corpus:
//! what Envoy lets through to the filter ends in the reason of its file; what it refuses itself goes nowhere.

use std::cell::RefCell;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::{Context as _, Result, bail};
use host_test::backend::{self, Backend as _, Envoy, REQUEST_ID, Wasm, in_time};
use host_test::corpus::{self, Corpus, Nobody};
use host_test::floors::{FRAMES, REPLAYED, TOKENS};
use host_test::paths;
use host_test::reached::Reached;
use host_test::scenario::{self, Case};
use libtest_mimic::{Arguments, Failed, Trial};
use simulated_proxy::Origin;

thread_local! {
    static ENVOY: RefCell<Option<Envoy>> = const { RefCell::new(None) };
    static REACHED: RefCell<Reached> = RefCell::default();
}

fn main() -> Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    // On this thread, one after the other: they share Envoys.
    arguments.test_threads = Some(1);
    let cases = scenario::load(&paths::policies())?;
    let cases: Vec<Case> = cases.into_iter().filter(|case| case.not_on_envoy().is_none()).collect();
    let count = cases.len();
    let mut trials: Vec<Trial> =
        cases.into_iter().map(|case| Trial::test(case.name.clone(), move || replay(&case))).collect();
    trials.push(Trial::test("all::enough_of_them", move || {
        if count >= REPLAYED { Ok(()) } else { Err(format!("{count}; there must be {REPLAYED}").into()) }
    }));
    let corpus = Corpus::at(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus"));
    for (kind, read, fewest) in [("frames", Corpus::frame as Reader, FRAMES), ("tokens", Corpus::token, TOKENS)] {
        let files = corpus.files(kind).unwrap_or_default();
        let count = files.len();
        trials.push(Trial::test(format!("corpus::{kind}::all"), move || {
            if count >= fewest { Ok(()) } else { Err(format!("{count} files; there must be {fewest}").into()) }
        }));
        for file in files {
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let corpus = corpus.clone();
            trials.push(Trial::test(format!("corpus::{kind}::{name}"), move || {
                judge(&corpus, &file, read).map_err(|error| format!("{error:#}").into())
            }));
        }
    }
    // The last one: it looks at what the others have led to.
    if arguments.filter.is_none() {
        trials.push(Trial::test("all::every_reason", every_reason));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // A thread's variables may outlive the process's own end; Envoys must not.
    ENVOY.with(|envoy| drop(envoy.take()));
    Ok(conclusion.exit_code())
}

type Reader = fn(&Corpus, &Path) -> Result<corpus::Case>;

fn judge(corpus: &Corpus, file: &Path, read: Reader) -> Result<()> {
    in_envoy(|envoy| {
        if read(corpus, file)?.on_envoy().not_on_envoy().is_some() {
            return Ok(());
        }
        let policy = corpus.policy()?;
        let (run, case) = in_time(envoy, |clock| {
            let now = clock.context("Envoy has no clock")?;
            let case = read(&corpus.clone().at_time(now), file)?.on_envoy();
            let mut script = case.script(policy.clone());
            for request in &mut script.requests {
                // Each attempt has an entry of its own in the access log.
                let id = format!("{}-{now}", file.display());
                request.client.headers.replace(REQUEST_ID.as_bytes(), id.as_bytes());
            }
            Ok((envoy.run(&script, Rc::new(RefCell::new(Nobody)))?, case))
        })?;
        let Some(transcript) = run.transcripts.first() else { bail!("nothing happened") };
        REACHED.with_borrow_mut(|reached| reached.by_record(&backend::record(transcript)));
        let (origin, status) =
            transcript.response.as_ref().map(|response| (response.origin, response.headers.status())).unzip();
        // A refusal of Envoy's own, and not what it says when a filter trapped (503) or nobody answered.
        let by_envoy = origin == Some(Origin::Proxy) && status.is_some_and(|status| (400..500).contains(&status));
        match case.complaint(&run) {
            Some(_) if by_envoy && transcript.upstream.is_none() && !case.is_permitted() => Ok(()),
            Some(complaint) => bail!("{complaint}; answer {status:?} of {origin:?}, {}", backend::record(transcript)),
            None => Ok(()),
        }
    })
}

/// What only a simulated proxy can do, or another test does in Envoy; and where.
const ELSEWHERE: [(&str, &str); 20] = [
    ("client_gone", "nobody reads the record of who left; clients that leave: envoy elevation"),
    ("upgrade_not_allowed", "envoy field"),
    ("header_malformed", "envoy hostile"),
    ("signature_rate", "fifty slow signatures in a second: core keys::memory"),
    ("token_not_bound", "envoy reasons"),
    ("token_inactive", "envoy reasons"),
    ("introspection_unavailable", "envoy reasons"),
    ("keys_unavailable", "envoy keys"),
    ("keys_stale", "an hour without keys: scenarios"),
    ("token_removed", "envoy field and neighbours"),
    ("body_timeout", "envoy configuration"),
    ("host_without_header_stop", "envoy configuration"),
    ("body_unreadable", "Envoy gives what it has: core answers::heads"),
    ("too_many_members", "envoy reasons"),
    ("session_foreign", "envoy language"),
    ("issuer_not_exchangeable", "envoy reasons"),
    ("not_elevatable", "envoy reasons"),
    ("cancelled", "a call that still waits for its token: scenarios"),
    ("elevation_rate", "envoy reasons"),
    ("internal", "nothing leads there"),
];

fn every_reason() -> Result<(), Failed> {
    let missing = REACHED.with_borrow(Reached::missing);
    let meant: Vec<&str> = ELSEWHERE.iter().map(|(name, _)| *name).collect();
    if missing == meant { Ok(()) } else { Err(format!("nothing leads to {missing:#?}; meant are {meant:#?}").into()) }
}

fn in_envoy<R>(act: impl FnOnce(&Envoy) -> Result<R>) -> Result<R> {
    ENVOY.with(|envoy| {
        let mut envoy = envoy.borrow_mut();
        if envoy.is_none() {
            *envoy = Some(Envoy::new()?);
        }
        act(envoy.as_ref().context("no Envoy")?)
    })
}

fn replay(case: &Case) -> Result<(), Failed> {
    let said = |error: anyhow::Error| format!("{error:#}");
    let simulated = case.run(&Wasm::new().map_err(said)?).map_err(said)?;
    let real = in_envoy(|envoy| case.run(envoy)).map_err(said)?;
    REACHED.with_borrow_mut(|reached| real.requests.iter().for_each(|request| reached.by_outcome(request)));
    let complaints = case.complaints(&real, Some(&simulated));
    if complaints.is_empty() { Ok(()) } else { Err(complaints.join("\n").into()) }
}
