//! `stepup`: the command around the filter.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser};
use host_test::{
    about, audit, check, demo, diff, explain, guard, init, issuer, matrix, package, pin, probe, reference, render,
    replay, serve, testing,
};

/// Step-up authorization for MCP, in the proxy: check and test policies, and try the filter.
#[derive(Debug, Parser)]
#[command(name = "stepup", version = about::version())]
enum Command {
    /// Say everything that is wrong with a policy, and what is rarely meant.
    Check(check::Arguments),
    /// Run the scenarios of policies on the core and on the very module that production runs.
    Test(testing::Arguments),
    /// Say which rule applies to a call, what it requires, what is missing and what the client sees.
    Explain(explain::Arguments),
    /// Print who may do what with a policy, and what it takes.
    Matrix(matrix::Arguments),
    /// Say what became weaker, stronger, reachable or unreachable from one policy to another.
    Diff(diff::Arguments),
    /// Say what a policy would have decided on what an access log recorded, and where that differs.
    Replay(replay::Arguments),
    /// Hold the audit records of an access log to their schema, or write them as OCSF events.
    Audit(audit::Arguments),
    /// Print the pins of a server's tools, or what differs from those that were reviewed.
    Pin(pin::Arguments),
    /// Propose a policy for an MCP server, from what it lists: rules, pins, and its authorization server's dialect.
    Init(init::Arguments),
    /// Try one exchange and one revocation at the real token service, and say what is surprising about them.
    Probe(probe::Arguments),
    /// Render what Envoy, Istio or Envoy Gateway is to be given, with every setting that the filter relies on.
    Render(render::Arguments),
    /// Say whether a gateway is guarded: of what its Envoy runs, route by route; or of a URL, by what it answers.
    Guard(guard::Arguments),
    /// Write the module as an OCI image, with its bill of materials and its signature, into a folder.
    Package(package::Arguments),
    /// Print the JSON Schema that editors complete from, or the reference.
    Schema(reference::Arguments),
    /// Be an authorization server and token service for trying a policy out: whoever asks gets a token.
    Issuer(issuer::Arguments),
    /// Put the filter in front of an MCP server, without Envoy: for work on one's own machine and for CI.
    Serve(serve::Arguments),
    /// Print a script by which a shell completes these words.
    Completions(about::Completions),
    /// Print the manual page, of a subcommand if one is named (`stepup man serve | man -l -`).
    Man(about::Man),
    /// Run the filter in a real system and tell its story.
    Demo(demo::Arguments),
}

/// 0: good; 1: the policy or a scenario is not, or something differs; 2: it could not be found out.
fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Check(arguments) => check::run(&arguments),
        Command::Test(arguments) => testing::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Matrix(arguments) => matrix::run(&arguments),
        Command::Diff(arguments) => diff::run(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Audit(arguments) => audit::run(&arguments),
        Command::Pin(arguments) => pin::run(&arguments),
        Command::Init(arguments) => init::run(&arguments),
        Command::Probe(arguments) => probe::run(&arguments),
        Command::Render(arguments) => render::run(arguments),
        Command::Guard(arguments) => guard::run(&arguments),
        Command::Package(arguments) => package::run(&arguments),
        Command::Schema(arguments) => reference::run(arguments),
        Command::Issuer(arguments) => issuer::run(arguments),
        Command::Serve(arguments) => serve::run(arguments),
        Command::Completions(arguments) => about::completions(&arguments, Command::command()),
        Command::Man(arguments) => about::man(&arguments, Command::command()),
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
