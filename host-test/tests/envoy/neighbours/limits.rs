//! Rate limits before and after.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use host_test::fixtures;
use host_test::paths;
use host_test::process::{Process, free_port};
use host_test::stack::{Answer, EnvoyStack, Request, Server, Stack as _, send};
use libtest_mimic::Trial;
use serde_json::json;

use super::{beside, file};
use crate::elevation::Client;
use crate::support::{apply, call, expect, wait_for};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("neighbours::a_rate_limit_before_counts_everything", before),
        trial("neighbours::a_rate_limit_after_counts_what_is_permitted", after),
        trial("neighbours::ten_calls_of_a_tier_a_minute_for_each_subject", by_tier),
        trial("neighbours::the_same_of_all_envoys_by_a_rate_limit_service", by_service),
    ]
}

fn few() -> serde_json::Value {
    json!({ "max_tokens": 2, "tokens_per_fill": 2, "fill_interval": "3600s" })
}

fn before() -> Result<()> {
    let mut neighbours = file("local-rate-limit.yaml")?;
    neighbours["http_filters"][0]["typed_config"]["token_bucket"] = few();
    let stack = beside(neighbours)?;
    let token = stack.token(Server::Notes, "mcp:connect")?;
    expect(&call(&stack, Server::Notes, "nonsense", "echo"), 401, "token_malformed")?;
    expect(&call(&stack, Server::Notes, &token, "echo"), 200, "")?;
    let answer = send(&call(&stack, Server::Notes, &token, "echo"))?;
    ensure!(answer.status == 429 && answer.header("retry-after") == Some("60"), "{answer:?}");
    let entry = stack.entry(|entry| entry["status"] == 429)?;
    ensure!(entry["stepup"].is_null() && entry["flags"] == "RL", "{entry:#}");
    Ok(())
}

fn after() -> Result<()> {
    let mut neighbours = file("local-rate-limit.yaml")?;
    neighbours["http_filters"][0]["typed_config"]["token_bucket"] = few();
    neighbours["http_filters"].as_array_mut().context("no filters")?.reverse();
    let stack = beside(neighbours)?;
    let token = stack.token(Server::Notes, "mcp:connect")?;
    for _ in 0..3 {
        expect(&call(&stack, Server::Notes, &token, "get-env"), 403, "scope_missing")?;
    }
    for _ in 0..2 {
        expect(&call(&stack, Server::Notes, &token, "echo"), 200, "")?;
    }
    // A token was minted for nothing, and is taken back.
    let answer = send(&call(&stack, Server::Notes, &token, "show-token"))?;
    ensure!(answer.status == 429, "{answer:?}");
    let entry = stack.entry(|entry| entry["status"] == 429)?;
    ensure!(entry["stepup"]["verdict"] == "permit", "{entry:#}");
    let revoked = r#"stepup_revocations_total{outcome="revoked"} 1"#;
    wait_for("the revocation", || Ok(send(&Request::get(stack.admin_url("/stats/prometheus")))?.body.contains(revoked)))
}

fn by_tier() -> Result<()> {
    let answer = eleventh(&beside(file("rate-limit-by-tier.yaml")?)?)?;
    ensure!(answer.header("retry-after") == Some("60"), "{answer:?}");
    Ok(())
}

/// With one count for all Envoys, as their rate limit service sees it.
fn by_service() -> Result<()> {
    let folder = paths::target().join("stacks").join(format!("rate-limit-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let port = free_port()?;
    let mut command = fixtures::install()?.node("rate-limit.mjs");
    let mut service = Process::start("rate-limit", command.env("PORT", port.to_string()), &folder)?;
    service.wait_until(|log| log.contains("ready"))?;
    let mut neighbours = file("rate-limit-service.yaml")?;
    let place = "/clusters/0/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/port_value";
    *neighbours.pointer_mut(place).context("no port in the file")? = json!(port);
    eleventh(&beside(neighbours)?)?;
    let asked = service.log();
    let of_danger = asked.lines().filter(|line| line.contains(r#""tier":"danger","subject":""#)).count();
    ensure!(of_danger == 12 && asked.lines().count() == 13, "{asked}");
    Ok(())
}

/// Ten calls of a tier pass, in a minute, for each subject. What the eleventh is answered.
fn eleventh(stack: &EnvoyStack) -> Result<Answer> {
    let mut policy = stack.sample_policy()?;
    policy["limits"] = json!({ "filter_state": true, "exchange_rate": 100 });
    let other = Client::register(stack)?;
    let clients = policy["tiers"]["danger"]["may_elevate"]["client"].as_array_mut().context("nobody may elevate")?;
    clients.push(json!(other.id));
    apply(stack, &policy)?;
    let of_client = || stack.token(Server::Notes, "mcp:connect");
    let (alice, again, bob) = (of_client()?, of_client()?, other.token(stack)?);
    for at in 0..10 {
        let token = if at % 2 == 0 { &alice } else { &again };
        expect(&call(stack, Server::Notes, token, "show-token"), 200, "")?;
    }
    let answer = send(&call(stack, Server::Notes, &alice, "show-token"))?;
    ensure!(answer.status == 429, "{answer:?}");
    // Neither another tier of the same subject, nor the same tier of another.
    expect(&call(stack, Server::Notes, &alice, "echo"), 200, "")?;
    expect(&call(stack, Server::Notes, &bob, "show-token"), 200, "")?;
    // Whatever was minted is taken back, the eleventh token too.
    let revoked = r#"stepup_revocations_total{outcome="revoked"} 12"#;
    wait_for("the revocations", || {
        Ok(send(&Request::get(stack.admin_url("/stats/prometheus")))?.body.contains(revoked))
    })?;
    Ok(answer)
}
