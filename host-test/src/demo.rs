//! `stepup demo`: the story, told as a timeline on a running stack.

use std::io::{Write as _, stdout};
use std::time::Instant;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::local::LocalStack;
use crate::process::stopped;
use crate::stack::{EnvoyStack, Options, Server, Stack};
use crate::story::{self, Told};

/// What the user asked for.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Arguments {
    /// On real Envoy, with servers of other makes around it; installs them below `target/`.
    #[arg(long)]
    envoy: bool,
    /// Leave the stack running, and print how to use it.
    #[arg(long)]
    keep: bool,
    /// For machines: one JSON document on stdout.
    #[arg(long)]
    json: bool,
}

/// Starts the stack, tells the story, and fails when it does not go as told.
pub fn run(arguments: Arguments) -> Result<()> {
    let begin = Instant::now();
    let mut stack: Box<dyn Stack> = if arguments.envoy {
        eprintln!("starting Envoy, an authorization server and two MCP servers");
        Box::new(EnvoyStack::start(&Options::default())?)
    } else {
        eprintln!("starting the filter, an authorization server and two MCP servers, in this process");
        Box::new(LocalStack::start()?)
    };
    let stack = stack.as_mut();
    eprintln!("ready after {:.1} s", begin.elapsed().as_secs_f64());

    let begin = Instant::now();
    let mut told = Vec::new();
    let mut story = story::Story::new(&mut *stack);
    for step in story::STEPS.iter().filter(|step| !arguments.keep || !step.is_destructive()) {
        let step = story.tell(step)?;
        if !arguments.json {
            print(&step, begin.elapsed().as_millis())?;
        }
        told.push(step);
    }
    let failed = told.iter().filter(|step| step.surprise.is_some()).count();
    if arguments.json {
        let document = json!({ "steps": told, "failed": failed, "stack": sights(stack) });
        writeln!(stdout(), "{document:#}")?;
    } else if failed == 0 {
        writeln!(stdout(), "\nEverything went as told.")?;
    }
    if arguments.keep {
        keep(stack, arguments.json)?;
    }
    if failed > 0 {
        bail!("{failed} steps did not go as told");
    }
    Ok(())
}

fn print(step: &Told, elapsed: u128) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "\n{:>5} ms  {}", elapsed, step.title)?;
    writeln!(out, "          -> {}", step.request)?;
    writeln!(out, "          <- {} {}", step.status, step.answer)?;
    if let Some(challenge) = &step.challenge {
        writeln!(out, "             {challenge}")?;
    }
    for line in &step.proof {
        writeln!(out, "             {line}")?;
    }
    writeln!(out, "             audit: {} ({})", step.verdict, step.reason)?;
    if let Some(surprise) = &step.surprise {
        writeln!(out, "          !! {surprise}")?;
    }
    Ok(())
}

fn sights(stack: &dyn Stack) -> Value {
    stack
        .sights()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn keep(stack: &dyn Stack, quiet: bool) -> Result<()> {
    let stopped = stopped()?;
    if !quiet {
        let mut out = stdout().lock();
        writeln!(out, "\nStill running:")?;
        for (name, value) in stack.sights() {
            writeln!(out, "  {name:24} {value}")?;
        }
        let url = stack.url(Server::Notes);
        writeln!(out, "\nTokens for {url} (10 minutes):")?;
        writeln!(out, "  export MINIMAL={}", stack.token(Server::Notes, "mcp:connect")?)?;
        writeln!(out, "  export ADMIN={}", stack.token(Server::Notes, "mcp:connect tools:admin")?)?;
        writeln!(out, "\nTry (then with $ADMIN, and with another tool):")?;
        writeln!(out, "  curl -i {url} -H \"Authorization: Bearer $MINIMAL\" -H 'Content-Type: application/json' \\")?;
        writeln!(out, "    -H 'Accept: application/json, text/event-stream' -H 'MCP-Protocol-Version: 2026-07-28' \\")?;
        writeln!(out, "    -H 'Mcp-Method: tools/call' -H 'Mcp-Name: get-env' -d '{}'", story::modern_call("get-env"))?;
    }
    eprintln!("\nCtrl-C stops everything.");
    stopped.recv()?;
    Ok(())
}
