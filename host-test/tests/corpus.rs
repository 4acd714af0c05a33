//! Every file of the corpus, judged. `frames::0001` on the command line runs those whose name contains it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::Result;
use host_test::backend::{Backend, Component, Native, Run, Wasm};
use host_test::corpus::{Case, Corpus, Nobody};
use host_test::floors::{FRAMES, TOKENS};
use libtest_mimic::{Arguments, Failed, Trial};
use simulated_proxy::Headers;

type Reader = fn(&Corpus, &Path) -> Result<Case>;

fn main() -> ExitCode {
    let corpus = Corpus::at(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus"));
    let mut trials = Vec::new();
    for (kind, read, fewest) in [("frames", Corpus::frame as Reader, FRAMES), ("tokens", Corpus::token, TOKENS)] {
        let files = corpus.files(kind).unwrap_or_default();
        let names: Vec<String> = files.iter().map(|file| name(file)).collect();
        for (file, name) in files.into_iter().zip(&names) {
            for (backend, judge) in BACKENDS {
                let (corpus, file) = (corpus.clone(), file.clone());
                let trial = move || Ok(judge(&corpus, &file, read)?);
                trials.push(Trial::test(format!("{backend}::{kind}::{name}"), trial));
            }
        }
        trials.push(Trial::test(format!("{kind}::all"), move || complete(&names, fewest)));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

type Judge = fn(&Corpus, &Path, Reader) -> Result<(), String>;

/// Each case gets a fresh filter. The last two check all signatures in wasm itself.
const BACKENDS: [(&str, Judge); 4] = [
    ("native", |corpus, file, read| judge(&Native, corpus, file, read)),
    ("wasm", |corpus, file, read| judge(&wasm()?, corpus, file, read)),
    ("wasm_alone", |corpus, file, read| judge(&wasm()?.without_foreign_functions(), corpus, file, read)),
    ("component", |corpus, file, read| {
        judge(&Component::new().map_err(|error| format!("{error:#}"))?, corpus, file, read)
    }),
];

fn wasm() -> Result<Wasm, String> {
    Wasm::new().map_err(|error| format!("{error:#}"))
}

fn judge(backend: &dyn Backend, corpus: &Corpus, file: &Path, read: Reader) -> Result<(), String> {
    let told = |error: anyhow::Error| format!("{}: {error:#}", name(file));
    let case = read(corpus, file).map_err(told)?;
    let script = case.script(corpus.policy().map_err(told)?);
    let run = backend.run(&script, Rc::new(RefCell::new(Nobody))).map_err(told)?;
    match case.complaint(&run) {
        None => Ok(()),
        Some(complaint) => Err(format!("{}: {complaint}\n{}", name(file), shown(&run))),
    }
}

fn shown(run: &Run) -> String {
    let Some(transcript) = run.transcripts.first() else { return String::new() };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let lines = |headers: &Headers| -> String {
        headers.0.iter().map(|(name, value)| format!("{}: {}\n", text(name), text(value))).collect()
    };
    let upstream = transcript.upstream.as_ref().map(|upstream| format!("upstream got\n{}", lines(&upstream.headers)));
    let response = transcript.response.as_ref();
    let response = response
        .map(|response| format!("{:?}\n{}\n{}", response.origin, lines(&response.headers), text(&response.body)));
    let record = transcript.filter_state.get("stepup.audit").map(|record| text(record));
    format!(
        "{}{}\nrecord: {}\nlog: {}",
        upstream.unwrap_or_default(),
        response.unwrap_or_else(|| "no response".to_owned()),
        record.unwrap_or_default(),
        run.log.join("\n")
    )
}

/// Enough files, each with its own four digits.
fn complete(names: &[String], fewest: usize) -> Result<(), Failed> {
    if names.len() < fewest {
        return Err(format!("{} files; there must be {fewest}", names.len()).into());
    }
    let mut numbers = BTreeMap::new();
    for name in names {
        let number = name.split('-').next().filter(|digits| digits.len() == 4 && digits.parse::<u16>().is_ok());
        let number = number.ok_or_else(|| format!("{name}: the name must be like 0001-duplicate-method.yaml"))?;
        if let Some(other) = numbers.insert(number, name) {
            return Err(format!("{name} has the number of {other}").into());
        }
    }
    Ok(())
}

fn name(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.strip_suffix(".yaml").unwrap_or(&name).to_owned()
}
