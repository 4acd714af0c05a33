//! Every file of the corpus, judged. `frames::0001` on the command line runs those whose name contains it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use host_test::corpus::{Case, Corpus, NOW};
use host_test::native::{Native, Outcome, Request};
use libtest_mimic::{Arguments, Failed, Trial};

/// Fewer files mean that the corpus was not found, or lost.
const FEWEST: usize = 60;

/// A way to judge one request under the policy of the corpus. Each case gets a fresh filter.
type Backend = fn(&Corpus, &Request) -> Result<Outcome>;
type Reader = fn(&Corpus, &Path) -> Result<Case>;

fn native(corpus: &Corpus, request: &Request) -> Result<Outcome> {
    Ok(Native::new(corpus.policy()?, NOW).send(request)?)
}

fn main() -> ExitCode {
    let corpus = Corpus::at(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus"));
    let mut trials = Vec::new();
    for (kind, read) in [("frames", Corpus::frame as Reader), ("tokens", Corpus::token)] {
        let files = corpus.files(kind).unwrap_or_default();
        let names: Vec<String> = files.iter().map(|file| name(file)).collect();
        for (file, name) in files.into_iter().zip(&names) {
            let corpus = corpus.clone();
            trials.push(Trial::test(format!("{kind}::{name}"), move || judge(native, &corpus, &file, read)));
        }
        trials.push(Trial::test(format!("{kind}::all"), move || complete(&names)));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn judge(backend: Backend, corpus: &Corpus, file: &Path, read: Reader) -> Result<(), Failed> {
    let case = read(corpus, file).map_err(|error| format!("{}: {error:#}", name(file)))?;
    let outcome = backend(corpus, &case.request).map_err(|error| format!("{}: {error:#}", name(file)))?;
    match case.complaint(&outcome) {
        None => Ok(()),
        Some(complaint) => Err(format!("{}: {complaint}\n{}", name(file), shown(&outcome)).into()),
    }
}

fn shown(outcome: &Outcome) -> String {
    let answer = match &outcome.response {
        None => format!("forwarded without {:?}", outcome.removed),
        Some(response) => {
            let headers: String = response.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
            format!("{}\n{headers}\n{}", response.status, String::from_utf8_lossy(&response.body))
        }
    };
    format!("{answer}\nrecord: {}", outcome.record)
}

/// Enough files, each with its own four digits.
fn complete(names: &[String]) -> Result<(), Failed> {
    if names.len() < FEWEST {
        return Err(format!("{} files; there must be {FEWEST}", names.len()).into());
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
