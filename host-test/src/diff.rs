//! `stepup diff`: what became weaker, stronger, reachable or unreachable from one policy to another, by the order of P5 and not by
//! the text.

mod findings;
mod settings;
mod told;

pub use findings::{Finding, Report, compare};

use std::io::{Write as _, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use crate::matrix::{loaded, moment};

/// What the user asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The policy as it is in force.
    old: PathBuf,
    /// The policy as it shall be.
    new: PathBuf,
    /// As what: text for a terminal, Markdown for a pull request, or JSON.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The time at which both are asked, RFC 3339; shadow modes end. Otherwise now.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    Text,
    Markdown,
    Json,
}

/// 0: nothing became weaker or reachable, and nothing changed such that it cannot be told; 1: something did.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let report = compare(&loaded(&arguments.old)?, &loaded(&arguments.new)?, moment(arguments.at.as_deref())?);
    let names = (arguments.old.display().to_string(), arguments.new.display().to_string());
    let text = match arguments.format {
        Format::Text => told::text(&report, &names),
        Format::Markdown => told::markdown(&report, &names),
        Format::Json => told::json(&report),
    };
    write!(stdout(), "{text}")?;
    Ok(if report.needs_review() { ExitCode::from(1) } else { ExitCode::SUCCESS })
}
