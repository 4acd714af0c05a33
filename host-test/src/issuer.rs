//! `stepup issuer`: an authorization server and token service for trying a policy out where there is none. It gives whoever asks
//! what they ask for.

use std::io::{Write as _, stdout};
use std::process::ExitCode;

use anyhow::Result;

use crate::local::{AuthorizationServer, Resource};
use crate::process::stopped;
use crate::stack::tokens::{CLIENT, FILTER_CREDENTIAL};

/// What the user asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The `resource` of the policy: what tokens are for. May be repeated.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080/mcp")]
    resource: Vec<String>,
    /// The port on loopback.
    #[arg(long, default_value_t = 9000)]
    port: u16,
    /// What there is to be had. All of it can be asked for, and all of it be obtained by exchange.
    #[arg(long, value_name = "SCOPE", value_delimiter = ',', default_value = "mcp:connect,tools:write,tools:admin")]
    scope: Vec<String>,
}

/// Seconds that an elevated token lives.
const TTL: u64 = 60;

/// Serves until it is told to end.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let Arguments { resource: resources, port, scope } = arguments;
    let of = |url: &String| (url.clone(), Resource { scopes: scope.clone(), elevate: scope.clone() });
    let server = AuthorizationServer::start(port, resources.iter().map(of).collect(), TTL)?;
    let issuer = server.issuer();
    let stopped = stopped()?;
    let mut out = stdout().lock();
    let [(_, id), (_, secret)] = CLIENT;
    writeln!(
        out,
        "The authorization server {issuer}, for trying things out. Whoever is on this machine gets a token.\n"
    )?;
    writeln!(out, "A policy for your MCP server, with it as issuer and token service:")?;
    for resource in &resources {
        writeln!(
            out,
            "  stepup init --url URL --resource {resource} --issuer {issuer} --may-elevate {id} --output policy.yaml"
        )?;
    }
    writeln!(out, "The filter, that is a client of it:")?;
    writeln!(out, "  export FILTER='{FILTER_CREDENTIAL}'")?;
    writeln!(out, "  stepup serve policy.yaml --upstream URL --credential as-token=FILTER")?;
    writeln!(out, "A caller's token, ten minutes:")?;
    for resource in &resources {
        writeln!(
            out,
            "  curl -s {issuer}/token -u {id}:{secret} -d grant_type=client_credentials -d resource={resource} -d scope={}",
            scope.first().map(String::as_str).unwrap_or_default()
        )?;
    }
    writeln!(out, "\nCtrl-C ends it; its tokens and keys are gone then.")?;
    drop(out);
    stopped.recv()?;
    Ok(ExitCode::SUCCESS)
}
