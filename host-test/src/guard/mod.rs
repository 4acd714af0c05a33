//! `stepup guard`: is a gateway guarded? Of what an Envoy runs, route by route; or of a URL, by what it answers.

mod url;

use std::fs;
use std::io::{Write as _, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use crate::check::guard::{Judged, State, judged};
use crate::shown::plain;

/// What the user asked for.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 guarded, 1 open or not working, 2 it could not be found out. A dump says what runs: ask for it with\n\
    curl -s 'http://127.0.0.1:9901/config_dump?include_eds' > dump.json. Several files are one Envoy.\n\
    A URL says what a stranger sees: new connections each time. A dump cannot say that, nor a URL whether every route is guarded: run both."
)]
pub struct Arguments {
    /// Dumps and files of an Envoy, or the URL of a server of the policy.
    #[arg(required = true, value_name = "CONFIG_DUMP|URL")]
    what: Vec<String>,
    /// Of a URL: a caller's minimal token, in a file.
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
    /// A tool that this token may call: it IS called, without arguments.
    #[arg(long, value_name = "TOOL", requires = "token")]
    permitted: Option<String>,
    /// A tool that it may not call.
    #[arg(long, value_name = "TOOL", requires = "token")]
    refused: Option<String>,
    /// For machines.
    #[arg(long)]
    json: bool,
}

/// Looks.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let urls: Vec<&String> =
        arguments.what.iter().filter(|what| what.starts_with("http://") || what.starts_with("https://")).collect();
    let found = match (urls.as_slice(), arguments.what.len()) {
        ([url], 1) => url::judged(url, &probe(arguments)?)?,
        ([], _) => {
            if arguments.token.is_some() {
                bail!("a token is for a URL");
            }
            let files = arguments.what.iter().map(|name| Ok((Path::new(name), read(Path::new(name))?)));
            judged(files.collect::<Result<Vec<_>>>()?)?
        }
        _ => bail!("name one URL, or files"),
    };
    let worst = found.iter().map(|judged| judged.state).max().unwrap_or(State::Open);
    if arguments.json {
        writeln!(stdout(), "{:#}", json!({ "state": worst, "found": found }))?;
    } else {
        for Judged { place, state, why } in &found {
            writeln!(stdout(), "{:<13} {}: {}", state.text(), plain(place), plain(why))?;
        }
        writeln!(stdout(), "{}", worst.text())?;
    }
    Ok(if worst == State::Guarded { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn probe(arguments: &Arguments) -> Result<url::Probe> {
    let token = arguments.token.as_deref().map(read).transpose()?;
    Ok(url::Probe {
        token: token.map(|token| token.trim().to_owned()),
        permitted: arguments.permitted.clone(),
        refused: arguments.refused.clone(),
    })
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}
