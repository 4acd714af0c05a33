//! `stepup pin`: the digests of a server's tools, and what differs from those that were reviewed (P31).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;
use similar::TextDiff;
use step_up_core::json::{items, members, read_long};
use step_up_core::pin;

use crate::yaml;

/// What the user asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The answers to `tools/list` as the server sent them, a file for each page: the whole JSON-RPC answer, its `result`, or the
    /// list of tools. `-` reads from standard input.
    #[arg(required = true)]
    lists: Vec<PathBuf>,
    /// The list that was reviewed: what differs is shown in place of the pins.
    #[arg(long, value_name = "LIST")]
    reviewed: Vec<PathBuf>,
    /// A policy, as YAML: which of its pins do not hold any more?
    #[arg(long, conflicts_with = "reviewed")]
    policy: Option<PathBuf>,
    /// Its server, where it has several.
    #[arg(long, requires = "policy")]
    server: Option<String>,
}

/// 1: something differs.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let tools = read(&arguments.lists)?;
    let (text, differs) = match &arguments.policy {
        Some(policy) => held_against(&tools, &pins(policy, arguments.server.as_deref())?)?,
        None if arguments.reviewed.is_empty() => (written(&tools)?, false),
        None => differences(&read(&arguments.reviewed)?, &tools)?,
    };
    write!(stdout(), "{text}")?;
    Ok(ExitCode::from(u8::from(differs)))
}

/// Tools by name, each as it was sent.
type Tools = BTreeMap<String, String>;

fn read(files: &[PathBuf]) -> Result<Tools> {
    let mut tools = Tools::new();
    for file in files {
        let text = content(file)?;
        let what = || format!("{} is no list of tools", file.display());
        read_long(text.as_bytes()).map_err(|fault| anyhow!("{fault:?}")).with_context(what)?;
        for tool in items(list(&text).with_context(what)?).with_context(what)? {
            let name = member(tool, "name").and_then(|name| serde_json::from_str::<String>(name).ok());
            let name = name.with_context(|| format!("{} has a tool without a name", file.display()))?;
            if tools.insert(name.clone(), tool.to_owned()).is_some() {
                bail!("{name:?} is listed twice");
            }
        }
    }
    Ok(tools)
}

/// The list itself, wherever it lies.
pub(crate) fn list(text: &str) -> Option<&str> {
    let text = text.trim();
    if text.starts_with('[') {
        return Some(text);
    }
    member(text, "tools").or_else(|| member(member(text, "result")?, "tools"))
}

pub(crate) fn member<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    members(text)?.into_iter().find(|(member, _)| member == name).map(|(_, value)| value)
}

pub(crate) fn content(file: &Path) -> Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))
}

fn pinned(name: &str, tool: &str) -> Result<String> {
    pin(tool).with_context(|| format!("{name:?} is no object, and cannot be pinned"))
}

/// To be put into a policy.
fn written(tools: &Tools) -> Result<String> {
    let mut text = "pins:\n".to_owned();
    for (name, tool) in tools {
        writeln!(text, "  {}: {}", Value::from(name.as_str()), pinned(name, tool)?)?;
    }
    Ok(text)
}

/// The pins of a policy's server, by tool.
fn pins(policy: &Path, server: Option<&str>) -> Result<BTreeMap<String, String>> {
    let document = yaml::load(policy)?;
    let servers = document.get("servers").and_then(Value::as_object);
    let found = match (servers, server) {
        (None, None) => Some(&document),
        (None, Some(_)) => bail!("{} has one server, and it has no name", policy.display()),
        (Some(servers), Some(server)) => servers.get(server),
        (Some(servers), None) if servers.len() == 1 => servers.values().next(),
        (Some(_), None) => bail!("{} has several servers: say which, with --server", policy.display()),
    };
    let found = found.with_context(|| format!("{} has no such server", policy.display()))?;
    let pins = found.get("pins").with_context(|| format!("that server of {} has no pins", policy.display()))?;
    serde_json::from_value(pins.clone()).context("`pins` is no map of texts")
}

fn held_against(tools: &Tools, pins: &BTreeMap<String, String>) -> Result<(String, bool)> {
    let (mut text, mut differs) = (String::new(), false);
    for (name, pin) in pins {
        let what = match tools.get(name) {
            None => "is gone".to_owned(),
            Some(tool) => match pinned(name, tool)? {
                now if now == *pin => continue,
                now => format!("has changed: it is {now} now"),
            },
        };
        differs = true;
        writeln!(text, "{name} {what}")?;
    }
    for name in tools.keys().filter(|name| !pins.contains_key(*name)) {
        writeln!(text, "{name} is not pinned")?;
    }
    Ok((text, differs))
}

/// What a reviewer has to look at before pinning anew.
fn differences(reviewed: &Tools, now: &Tools) -> Result<(String, bool)> {
    let mut text = String::new();
    let names: std::collections::BTreeSet<&String> = reviewed.keys().chain(now.keys()).collect();
    for name in names {
        let (before, after) = (reviewed.get(name), now.get(name));
        let of = |tool: Option<&String>| tool.map(|tool| pinned(name, tool)).transpose();
        if of(before)? == of(after)? {
            continue;
        }
        let lines = |tool: Option<&String>| -> Result<String> {
            let Some(tool) = tool else { return Ok(String::new()) };
            Ok(serde_json::to_string_pretty(&serde_json::from_str::<Value>(tool)?)? + "\n")
        };
        let (before, after) = (lines(before)?, lines(after)?);
        let diff = TextDiff::from_lines(&before, &after);
        write!(text, "{}", diff.unified_diff().header(&format!("{name} reviewed"), &format!("{name} now")))?;
    }
    let differs = !text.is_empty();
    Ok((text, differs))
}
