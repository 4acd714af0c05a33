//! `stepup init`: a policy for an MCP server, proposed from what it lists.
//!
//! `connect` asks a live server, `listed` reads what was saved; `rules` says which names can have a rule, `tier` how much each may
//! do; `issuer` reads the metadata of an authorization server, `dialect` knows whose they are; `write` makes the file. All that
//! strangers say goes through `text`.

mod about;
mod connect;
mod dialect;
mod issuer;
mod listed;
mod rules;
mod tier;
mod write;

use std::fs::OpenOptions;
use std::io::{Write as _, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use annotate_snippets::Renderer;
use anyhow::{Context as _, Result, bail};
use tokio::runtime::Runtime;

use crate::check::check;
use crate::https;
use crate::login::safe;
use connect::Asked;
use issuer::Issuer;
use listed::Listed;
use write::Proposal;

/// What the user asked for.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "The policy is a proposal. Names and annotations are the server's own words: an annotation makes a tier \
    stricter, never looser, and a name that is not understood counts as a write. Read every rule, and every line marked EDIT."
)]
#[command(group(clap::ArgGroup::new("source").required(true).args(["url", "tools"])))]
pub struct Arguments {
    /// The MCP server: its tools, resources and prompts are listed; nothing is called.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// In place of a server: saved answers to `tools/list`, a file for each page. `-` reads from standard input.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    tools: Vec<PathBuf>,
    /// The authorization server: endpoints, algorithms and dialect are taken from its metadata and keys.
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// What clients will call the server, behind the filter: the `resource` of the policy. The URL above, unless said.
    #[arg(long, value_name = "URL")]
    resource: Option<String>,
    /// A bearer token for the server: the environment variable that has it.
    #[arg(long, value_name = "VARIABLE", requires = "url")]
    token_env: Option<String>,
    /// A bearer token for the server: the file that has it.
    #[arg(long, value_name = "FILE", requires = "url", conflicts_with = "token_env")]
    token: Option<PathBuf>,
    /// Log in with a browser where the server wants a token (OAuth, as MCP clients do). The token is used once, and not stored.
    #[arg(long, requires = "url", conflicts_with_all = ["token_env", "token"])]
    login: bool,
    /// The client to log in as. Without one, this command registers itself (RFC 7591).
    #[arg(long, value_name = "ID", requires = "login")]
    client_id: Option<String>,
    /// What the tokens of this server are for where that is no URL: the application of Entra, the project of Zitadel.
    #[arg(long, value_name = "ID")]
    audience: Option<String>,
    /// The client that the filter is at the token service.
    #[arg(long, value_name = "ID")]
    filter_client: Option<String>,
    /// A client whose dangerous calls get a token of their own (`may_elevate`). May be repeated. Without any, none does until
    /// somebody writes it down.
    #[arg(long, value_name = "CLIENT")]
    may_elevate: Vec<String>,
    /// Only record what the policy would do, until that day (`mode: shadow`).
    #[arg(long, value_name = "DATE")]
    shadow: Option<String>,
    /// No pins: for a server that words its tools for each user.
    #[arg(long)]
    no_pins: bool,
    /// Where to write the policy; otherwise to standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace that file if it is there.
    #[arg(long, requires = "output")]
    force: bool,
}

/// Proposes. An error if something cannot be reached or read, or the file is there.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    if let Some(file) = arguments.output.as_deref().filter(|file| !arguments.force && file.exists()) {
        bail!("{} is there already: choose another name, or replace it with --force", file.display());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let listed = listed(arguments, &runtime)?;
    let issuer = arguments
        .issuer
        .as_deref()
        .map(|issuer| runtime.block_on(async { Issuer::discover(&https::client()?, issuer).await }));
    let proposal = Proposal {
        listed: &listed,
        issuer: issuer.transpose()?,
        url: arguments.url.as_deref(),
        resource: arguments.resource.as_deref(),
        audience: arguments.audience.as_deref(),
        filter_client: arguments.filter_client.as_deref(),
        may_elevate: &arguments.may_elevate,
        shadow: arguments.shadow.as_deref(),
        pins: !arguments.no_pins,
    };
    let (text, remarks) = proposal.written()?;
    accepted(&text)?;
    match &arguments.output {
        None => write!(stdout(), "{text}")?,
        Some(file) => save(file, &text, arguments.force)?,
    }
    for remark in remarks {
        eprintln!("{remark}");
    }
    Ok(ExitCode::SUCCESS)
}

fn listed(arguments: &Arguments, runtime: &Runtime) -> Result<Listed> {
    let Some(url) = &arguments.url else { return Listed::read(&arguments.tools) };
    let token = match (&arguments.token_env, &arguments.token) {
        (Some(variable), _) => {
            Some(std::env::var(variable).with_context(|| format!("the environment has no {variable}"))?)
        }
        (None, Some(file)) => Some(listed::token(file)?),
        (None, None) => None,
    };
    if token.is_some() {
        safe(url).context("a token does not go there")?;
    }
    runtime.block_on(async {
        let client = https::client()?;
        match connect::ask(&client, url, token).await? {
            Asked::Refused(_, challenge) if arguments.login => {
                let login = about::login(&client, url, &challenge).await?;
                let token = login.by_browser(&client, arguments.client_id.as_deref()).await?;
                connect::ask(&client, url, Some(token)).await?
            }
            asked => asked,
        }
        .or_say()
    })
}

/// Nothing leaves here that `stepup check --strict` would not take.
fn accepted(text: &str) -> Result<()> {
    let findings = check(Path::new("proposal"), text, &Renderer::plain());
    if findings.errors + findings.warnings > 0 {
        bail!("{}with what was asked for, this would be no good policy, and nothing was written", findings.text);
    }
    Ok(())
}

/// A file that appears meanwhile is not replaced either.
fn save(file: &Path, text: &str, force: bool) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).create_new(!force);
    let mut opened = options.open(file).with_context(|| format!("{} cannot be written", file.display()))?;
    opened.write_all(text.as_bytes()).with_context(|| format!("{} cannot be written", file.display()))
}
