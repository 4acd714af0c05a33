//! `stepup replay`: what a policy would have decided on what an access log recorded, and where that differs.
//!
//! A record does not say everything that a decision rests on: no scopes, no claims, no arguments. So each request is built again in
//! every way that the record leaves open, and each is sent to the gate. Where all of them come to one decision, that is told; where
//! they do not, it is said what would have to be known. Nothing is guessed.

mod conditions;
mod document;
mod records;
mod told;
mod trial;
mod worlds;

use std::fs;
use std::io::{Read as _, Write as _, stdin, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::matrix::moment;
use crate::yaml;
use document::Document;
use records::Recorded;
pub(crate) use records::{Line, came, read as read_line};
use told::Told;

/// What the user asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The policy that is asked, as YAML.
    policy: PathBuf,
    /// Access logs, one JSON object a line, with the audit record as `stepup`; or audit records alone. `-` reads standard input.
    #[arg(required = true, value_name = "ACCESS_LOG")]
    logs: Vec<PathBuf>,
    /// The policy that was in force when it was recorded: what it decided says much of what the records leave out.
    #[arg(long, value_name = "POLICY")]
    under: Option<PathBuf>,
    /// For a program.
    #[arg(long)]
    json: bool,
    /// The time at which the policy is asked, RFC 3339; shadow modes end. Otherwise now.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

/// 0: it would have decided alike; 1: something differs; 2: nothing does, and of some records it cannot be told.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let document = |path: &Path| -> Result<Document> {
        Document::of(&yaml::load(path)?).with_context(|| path.display().to_string())
    };
    let policy = document(&arguments.policy)?;
    let under = arguments.under.as_deref().map(document).transpose()?;
    let mut recorded = Recorded::default();
    for log in &arguments.logs {
        recorded.add(&text(log)?);
    }
    let trial = trial::Trial { policy: &policy, under: under.as_ref(), at: moment(arguments.at.as_deref())? };
    let mut told = Told::new(&recorded);
    for (record, count) in recorded.kinds() {
        told.add(record, count, trial.of(record)?);
    }
    write!(stdout(), "{}", if arguments.json { told.json() } else { told.text() })?;
    Ok(ExitCode::from(told.code()))
}

fn text(path: &Path) -> Result<String> {
    let mut text = String::new();
    if path == Path::new("-") {
        stdin().read_to_string(&mut text)?;
    } else {
        text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    }
    Ok(text)
}
