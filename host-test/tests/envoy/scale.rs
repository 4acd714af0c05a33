//! Figures for docs/scale.md, of Envoy's memory: `-- --ignored --nocapture scale::`. Not asserted, because they are the machine's.

use std::thread::scope;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use host_test::stack::{EnvoyStack, Given, Options, Request, Server, Setup, Stack as _, send};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::mesh::{plain_for, without};
use crate::report::resident;
use crate::support::{apply, call};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("scale::memory_of_workers_and_rules", workers_and_rules).with_ignored_flag(true),
        trial("scale::memory_of_waiting_revocations", waiting_revocations).with_ignored_flag(true),
        trial("scale::revocations_that_fail", revocations_that_fail).with_ignored_flag(true),
        trial("scale::bytes_of_a_line_of_the_access_log", bytes_of_a_line).with_ignored_flag(true),
    ]
}

/// With so many tools more than the sample has; `None`: no filter.
fn given(tools: Option<usize>) -> Result<Given> {
    let mut given = plain_for(None)?;
    let Some(tools) = tools else {
        without(&mut given.files[0].1, &["step-up", "step-up-lock"]);
        return Ok(given);
    };
    let place = "/resources/0/typed_config/config/configuration/value";
    let text = given.files[1].1.pointer_mut(place).context("no policy is rendered")?;
    let mut policy: Value = serde_json::from_str(text.as_str().context("no text")?)?;
    for at in 0..tools {
        policy["servers"]["notes"]["tools"][format!("tool_{at:05}")] =
            json!({ "tier": "write", "scope": "tools:write" });
    }
    *text = policy.to_string().into();
    Ok(given)
}

/// The median of three starts, in KiB, after ten requests.
fn workers_and_rules() -> Result<()> {
    for (name, tools) in [("no filter", None), ("the sample's rules", Some(0)), ("10,000 rules more", Some(10_000))] {
        for workers in [1, 2, 4, 8] {
            let mut figures = Vec::new();
            for _ in 0..3 {
                let given = Some(given(tools)?);
                let mut stack = EnvoyStack::start(&Options { workers, given, ..Options::default() })?;
                let token = stack.token(Server::Notes, "mcp:connect")?;
                for _ in 0..10 {
                    let answer = send(&call(&stack, Server::Notes, &token, "echo"))?;
                    ensure!(answer.status == 200, "{answer:?}");
                }
                figures.push(resident(stack.envoy().id())?);
            }
            figures.sort_unstable();
            println!("{name}, {workers} workers: {} KiB", figures[1]);
        }
    }
    Ok(())
}

/// A stack whose revocations go there.
fn revoking_at(place: &str) -> Result<(EnvoyStack, Request)> {
    let stack = EnvoyStack::start(&Options { workers: 1, elevated_ttl: 300, ..Options::default() })?;
    let mut policy = stack.sample_policy()?;
    policy["tiers"]["danger"]["ttl"] = json!("300s");
    policy["token_service"]["revoke"] = json!(format!("{}{place}", stack.issuer()));
    policy["limits"] = json!({ "exchanges_per_caller": 64, "exchange_rate": 100_000, "max_ttl": "300s" });
    apply(&stack, &policy)?;
    std::thread::sleep(Duration::from_secs(1));
    let token = stack.token(Server::Notes, "mcp:connect")?;
    let request = call(&stack, Server::Notes, &token, "show-token");
    ensure!(send(&request)?.status == 200, "{:?}", send(&request)?);
    Ok((stack, request))
}

/// How often four tokens are tried in half a minute.
fn revocations_that_fail() -> Result<()> {
    let (stack, request) = revoking_at("/nowhere")?;
    exchange(&request, 3)?;
    std::thread::sleep(Duration::from_secs(30));
    println!("4 tokens: {} calls of the revocation endpoint", stack.stat("cluster.as-token.upstream_rq_404")?);
    Ok(())
}

/// Three thousand tokens that cannot be taken back, and as many that can.
fn waiting_revocations() -> Result<()> {
    const MANY: usize = 3_000;
    for revoke in ["/token/revocation", "/nowhere"] {
        let (mut stack, request) = revoking_at(revoke)?;
        let before = resident(stack.envoy().id())?;
        exchange(&request, MANY)?;
        let after = resident(stack.envoy().id())?;
        println!("{MANY} exchanges, revoked at {revoke}: from {before} to {after} KiB");
    }
    Ok(())
}

fn exchange(request: &Request, many: usize) -> Result<()> {
    scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|at| {
                scope.spawn(move || {
                    (at..many).step_by(8).filter(|_| !send(request).is_ok_and(|answer| answer.status == 200)).count()
                })
            })
            .collect();
        let failed: usize = threads.into_iter().map(|thread| thread.join().unwrap_or(1)).sum();
        ensure!(failed == 0, "{failed} calls failed");
        Ok(())
    })
}

/// Of an allowed call, and of an elevated one.
fn bytes_of_a_line() -> Result<()> {
    let stack = EnvoyStack::start(&Options { setup: Setup::Sample, ..Options::default() })?;
    let token = stack.token(Server::Notes, "mcp:connect")?;
    for tool in ["echo", "show-token", "delete_record"] {
        let answer = send(&call(&stack, Server::Notes, &token, tool))?;
        std::thread::sleep(Duration::from_millis(300));
        let log = std::fs::read_to_string(stack.folder().join("access.log"))?;
        let line = log.lines().last().context("no line")?;
        println!(
            "{tool}: {} and a line of {} bytes, of which {} are the record\n{line}",
            answer.status,
            line.len(),
            stack.last_record()?.to_string().len()
        );
    }
    Ok(())
}
