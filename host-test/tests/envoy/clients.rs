//! Clients that know nothing of this filter connect, are challenged, step up by themselves and succeed.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use host_test::serve::{Served, Serving, Told, Upstream};
use host_test::stack::{EnvoyStack, FILTER_CREDENTIAL, Options, Server, Setup, Stack as _};
use libtest_mimic::Trial;
use serde_json::Value;

use crate::support::stack;
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("clients::python_code_2025_11_25", || {
            step_up(Client::Python, Server::Everything, "legacy", "2025-11-25")
        }),
        trial("clients::python_code_2026_07_28", || step_up(Client::Python, Server::Notes, "auto", "2026-07-28")),
        trial("clients::typescript_credentials_2025_11_25", || {
            step_up(Client::TypeScript, Server::Everything, "legacy", "2025-11-25")
        }),
        trial("clients::typescript_credentials_2026_07_28", || {
            step_up(Client::TypeScript, Server::Notes, "auto", "2026-07-28")
        }),
        trial("clients::python_is_not_slowed_down", python_is_not_slowed_down),
        trial("clients::served_python_2025_11_25", || {
            served(Client::Python, Server::Everything, "legacy", "2025-11-25")
        }),
        trial("clients::served_python_2026_07_28", || served(Client::Python, Server::Notes, "auto", "2026-07-28")),
        trial("clients::served_typescript_2025_11_25", || {
            served(Client::TypeScript, Server::Everything, "legacy", "2025-11-25")
        }),
        trial("clients::served_typescript_2026_07_28", || {
            served(Client::TypeScript, Server::Notes, "auto", "2026-07-28")
        }),
    ]
}

#[derive(Clone, Copy)]
enum Client {
    /// `mcp` 2.3.0 with authorization code, PKCE and registration.
    Python,
    /// `@modelcontextprotocol/client` 2.4.0 with client credentials.
    TypeScript,
}

fn step_up(client: Client, server: Server, protocol: &str, revision: &str) -> Result<()> {
    let stack = stack()?;
    steps_up(&stack, client, server, protocol, revision)?;
    // And the filter saw it: a challenge for the tool, then a permit under its rule.
    for verdict in ["challenge", "permit"] {
        stack.entry(|entry| is_of_tool(&entry["stepup"], verdict))?;
    }
    Ok(())
}

/// The same with `stepup serve` where Envoy was. The run is not slower, which it would be if heads of event streams were held back.
fn served(client: Client, server: Server, protocol: &str, revision: &str) -> Result<()> {
    let mut stack = stack()?;
    let with_envoy = run(&stack, client, server, protocol)?.1;
    let policy = Served::of(&stack.sample_policy()?)?;
    ensure!(Command::new("kill").arg(stack.envoy().id().to_string()).status()?.success(), "Envoy does not end");
    stack.envoy().wait_for_end()?;
    let upstream = |server: Server| -> Result<Upstream> {
        Ok(Upstream { server: Some(server.name().to_owned()), url: stack.direct_url(server).parse()? })
    };
    let upstreams = vec![upstream(Server::Everything)?, upstream(Server::Notes)?];
    let (told, heard) = channel();
    let _serving = Serving::start(
        policy,
        host_test::serve::Options {
            credentials: BTreeMap::from([("as-token".to_owned(), FILTER_CREDENTIAL.to_owned())]),
            ..host_test::serve::Options::new(stack.port(), upstreams, move |what| drop(told.send(what)))
        },
    )?;
    let took = steps_up(&stack, client, server, protocol, revision)?;
    let records: Vec<Value> = heard
        .try_iter()
        .filter_map(|told| if let Told::Ended(way) = told { serde_json::from_slice(&way.record).ok() } else { None })
        .collect();
    for verdict in ["challenge", "permit"] {
        ensure!(records.iter().any(|record| is_of_tool(record, verdict)), "no {verdict}: {records:#?}");
    }
    println!("whole run: {took:?} through serve, {with_envoy:?} through Envoy before");
    ensure!(took < with_envoy * 2, "{took:?} through serve, {with_envoy:?} through Envoy before");
    Ok(())
}

fn is_of_tool(record: &Value, verdict: &str) -> bool {
    record["name"] == "get-env" && record["verdict"] == verdict && record["rule"] == "get-env"
}

fn steps_up(stack: &EnvoyStack, client: Client, server: Server, protocol: &str, revision: &str) -> Result<Duration> {
    let (events, took) = run(stack, client, server, protocol)?;
    let of = |kind: &str| -> Vec<&Value> { events.iter().filter(|event| event["event"] == kind).collect() };
    ensure!(of("connected").len() == 1 && of("connected")[0]["protocol"] == revision, "{events:#?}");
    let calls = of("call");
    ensure!(calls.len() == 4 && calls.iter().all(|call| call["ok"] == true), "{events:#?}");

    // It began with the minimal scope and ended with what the tool needs.
    let scopes: Vec<&str> = of("token").iter().filter_map(|event| event["scope"].as_str()).collect();
    let (first, last) = (scopes.first().context("no token")?, scopes.last().context("no token")?);
    ensure!(!first.contains("tools:") && last.contains("tools:admin"), "{scopes:?}");
    Ok(took)
}

/// Response headers of an SSE stream that are held back make this run ten times as long: the client waits for them
/// before its next request.
fn python_is_not_slowed_down() -> Result<()> {
    let filtered = stack()?;
    let open = EnvoyStack::start(&Options { setup: Setup::Open, ..Options::default() })?;
    let best = |stack: &EnvoyStack| -> Result<Duration> {
        let runs = (0..3).map(|_| Ok(run(stack, Client::Python, Server::Everything, "legacy")?.1));
        runs.collect::<Result<Vec<_>>>()?.into_iter().min().context("no run")
    };
    let (with, without) = (best(&filtered)?, best(&open)?);
    let ratio = with.as_secs_f64() / without.as_secs_f64();
    println!("whole run, best of 3: {with:?} with the filter (3 logins), {without:?} without (none), ratio {ratio:.2}");
    ensure!(ratio <= 2.0, "{with:?} with the filter, {without:?} without");
    Ok(())
}

fn run(stack: &EnvoyStack, client: Client, server: Server, protocol: &str) -> Result<(Vec<Value>, Duration)> {
    let mut command = match client {
        Client::Python => stack.fixtures().python("client.py"),
        Client::TypeScript => stack.fixtures().node("client.mjs"),
    };
    let grant = match client {
        Client::Python => "code",
        Client::TypeScript => "cc",
    };
    let begin = Instant::now();
    let output = command.env("MCP_URL", stack.url(server)).env("GRANT", grant).env("PROTOCOL", protocol).output()?;
    let elapsed = begin.elapsed();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the client failed:\n{text}\n{errors}");
    let events = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    Ok((events, elapsed))
}
