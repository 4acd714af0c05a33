//! `stepup`: the command around the filter.

use std::process::ExitCode;

use clap::Parser;
use host_test::demo;

/// Step-up authorization for MCP, in the proxy: try it, and later check, test and explain policies.
#[derive(Debug, Parser)]
#[command(name = "stepup", version)]
enum Command {
    /// Run the filter in a real system and tell its story.
    Demo(demo::Arguments),
}

fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Demo(arguments) => demo::run(arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stepup: {error:#}");
            ExitCode::FAILURE
        }
    }
}
