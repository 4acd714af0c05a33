//! What the command says of itself: its version, completions for shells, manual pages.

use std::io::{Write as _, stdout};
use std::process::ExitCode;
use std::sync::OnceLock;

use anyhow::{Context as _, Result};
use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man as Page;

use crate::artifact;

/// For which shell.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Completions {
    /// The shell.
    shell: Shell,
}

/// Which page.
#[derive(Clone, Debug, clap::Args)]
pub struct Man {
    /// A subcommand; otherwise the page of `stepup` itself.
    subcommand: Option<String>,
}

/// Writes the script.
pub fn completions(arguments: &Completions, mut command: Command) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "stepup", &mut script);
    stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the page, as roff.
pub fn man(arguments: &Man, mut command: Command) -> Result<ExitCode> {
    command.build();
    let command = match &arguments.subcommand {
        None => command,
        Some(name) => {
            command.find_subcommand(name).cloned().with_context(|| format!("there is no subcommand {name}"))?
        }
    };
    let mut page = Vec::new();
    Page::new(command).render(&mut page)?;
    stdout().write_all(&page)?;
    Ok(ExitCode::SUCCESS)
}

/// Version of the command; of the policy language; which module it would run. That is read only for who asks.
pub fn version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| {
        let is_asked = std::env::args_os().skip(1).any(|argument| argument == "--version" || argument == "-V");
        let module = if is_asked { artifact::module_digest() } else { None };
        let module = module.unwrap_or_else(|| "not built yet".to_owned());
        format!("{}\npolicy version 1\nmodule {module}", env!("CARGO_PKG_VERSION"))
    })
}
