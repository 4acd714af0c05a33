//! `stepup matrix`: who may do what, and what it takes, for whoever has to answer for it.

mod page;
mod rows;
mod table;

pub use rows::{Row, rows};
pub(crate) use rows::{kind_name, label, needs, of_groups};

use std::fs;
use std::io::{Write as _, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use step_up_core::{Millis, Policy};

use crate::{check, shown};

/// What the user asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The policy, as YAML; or a file that Envoy loads with one policy in it.
    policy: PathBuf,
    /// As what: a table for the terminal, CSV for a spreadsheet, one HTML page that can be filtered and printed, or JSON.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// The time at which it is asked, RFC 3339; shadow modes end. Otherwise now.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    Table,
    Csv,
    Html,
    Json,
}

/// Prints the matrix of a policy.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let policy = loaded(&arguments.policy)?;
    let name = arguments.policy.display().to_string();
    let text = print(&policy, &name, moment(arguments.at.as_deref())?, arguments.format)?;
    write!(stdout(), "{text}")?;
    Ok(ExitCode::SUCCESS)
}

fn print(policy: &Policy, name: &str, at: Millis, format: Format) -> Result<String> {
    let rows = rows(policy, at);
    Ok(match format {
        Format::Table => table::terminal(&rows),
        Format::Csv => table::csv(&rows)?,
        Format::Html => page::html(name, policy, &rows),
        Format::Json => {
            let document =
                json!({ "policy": policy.digest(), "rows": rows.iter().map(Row::to_json).collect::<Vec<_>>() });
            shown::plain_json(&format!("{document:#}\n"))
        }
    })
}

/// The one policy that a file is, or has.
pub(crate) fn loaded(path: &std::path::Path) -> Result<Policy> {
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let mut policies = check::that_load(&text);
    match (policies.pop(), policies.is_empty()) {
        (Some(policy), true) => Ok(policy),
        (Some(_), false) => bail!("{} has several policies: name a file with one", path.display()),
        (None, _) => bail!("{} has no policy that loads: `stepup check` says where it is wrong", path.display()),
    }
}

/// A time of the user's, or now.
pub(crate) fn moment(text: Option<&str>) -> Result<Millis> {
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;
    let moment = match text {
        None => SystemTime::now().into(),
        Some(text) => {
            OffsetDateTime::parse(text, &Rfc3339).with_context(|| format!("`{text}` is no time (RFC 3339)"))?
        }
    };
    Ok(Millis(u64::try_from(moment.unix_timestamp()).context("a time before 1970")? * 1000))
}

/// The same, to read.
pub(crate) fn date(at: Millis) -> String {
    let moment =
        i64::try_from(at.0 / 1000).ok().and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok());
    let text = |moment: time::OffsetDateTime| {
        let (date, clock) = (moment.date(), moment.time());
        let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
        format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", clock.hour(), clock.minute())
    };
    moment.map_or_else(|| format!("{} ms", at.0), text)
}
