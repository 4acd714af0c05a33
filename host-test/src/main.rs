//! `stepup`: the command around the filter.

use std::process::ExitCode;

use clap::Parser;
use host_test::{check, demo, explain, init, pin, reference, serve, testing};

/// Step-up authorization for MCP, in the proxy: check and test policies, and try the filter.
#[derive(Debug, Parser)]
#[command(name = "stepup", version)]
enum Command {
    /// Say everything that is wrong with a policy, and what is rarely meant.
    Check(check::Arguments),
    /// Run the scenarios of policies on the core and on the very module that production runs.
    Test(testing::Arguments),
    /// Say which rule applies to a call, what it requires, what is missing and what the client sees.
    Explain(explain::Arguments),
    /// Print the pins of a server's tools, or what differs from those that were reviewed.
    Pin(pin::Arguments),
    /// Propose a policy for an MCP server, from what it lists: rules, pins, and its authorization server's dialect.
    Init(init::Arguments),
    /// Print the JSON Schema that editors complete from, or the reference.
    Schema(reference::Arguments),
    /// Put the filter in front of an MCP server, without Envoy: for work on one's own machine and for CI.
    Serve(serve::Arguments),
    /// Run the filter in a real system and tell its story.
    Demo(demo::Arguments),
}

/// 0: good; 1: the policy or a scenario is not; 2: it could not be found out.
fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Check(arguments) => check::run(&arguments),
        Command::Test(arguments) => testing::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Pin(arguments) => pin::run(&arguments),
        Command::Init(arguments) => init::run(&arguments),
        Command::Schema(arguments) => reference::run(arguments),
        Command::Serve(arguments) => serve::run(arguments),
        Command::Demo(arguments) => {
            // A story that does not go as told is a failure, not a mistake of the caller's.
            return match demo::run(arguments) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => failed(&error, 1),
            };
        }
    };
    done.unwrap_or_else(|error| failed(&error, 2))
}

fn failed(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("stepup: {error:#}");
    ExitCode::from(code)
}
