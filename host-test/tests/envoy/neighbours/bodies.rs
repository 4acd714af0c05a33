//! Filters that change bodies: decompressor and compressor.

use anyhow::{Context as _, Result, ensure};
use host_test::stack::{EnvoyStack, Request, Server, Stack as _};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{beside, file};
use crate::support::{call, expect, stack, wait_for};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("neighbours::decompressor_before_unpacks_what_is_judged", decompressor),
        trial("neighbours::compressed_bodies_are_refused_without_a_decompressor", no_decompressor),
        trial("neighbours::compressor_before_packs_what_was_read", compressor),
    ]
}

/// Sends it as a client that takes compressed answers, compressed itself where asked for.
fn packed(stack: &EnvoyStack, request: &Request, gzip: bool) -> Result<Value> {
    let headers: serde_json::Map<String, Value> =
        request.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let mut command = stack.fixtures().node("gzip.mjs");
    command.env("URL", &request.url).env("BODY", request.body.as_deref().unwrap_or_default());
    let output =
        command.env("HEADERS", Value::from(headers).to_string()).env("GZIP", if gzip { "1" } else { "" }).output()?;
    serde_json::from_slice(&output.stdout).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn decompressor() -> Result<()> {
    let stack = beside(file("decompressor.yaml")?)?;
    let token = stack.token(Server::Notes, "mcp:connect")?;
    let answer = packed(&stack, &call(&stack, Server::Notes, &token, "echo"), true)?;
    ensure!(answer["status"] == 200, "{answer:#}");
    ensure!(answer["body"].as_str().is_some_and(|body| body.contains("Echo: hi")), "{answer:#}");
    let answer = packed(&stack, &call(&stack, Server::Notes, &token, "get-env"), true)?;
    ensure!(answer["status"] == 403 && answer["body"].as_str().is_some_and(|body| body.contains("scope_missing")));
    expect(&call(&stack, Server::Notes, &token, "echo"), 200, "")?;
    Ok(())
}

/// What the filter says without it: plain text only.
fn no_decompressor() -> Result<()> {
    let stack = stack()?;
    let token = stack.token(Server::Notes, "mcp:connect")?;
    let answer = packed(&stack, &call(&stack, Server::Notes, &token, "echo"), true)?;
    ensure!(answer["status"] == 400, "{answer:#}");
    ensure!(answer["body"].as_str().is_some_and(|body| body.contains("content_encoding")), "{answer:#}");
    Ok(())
}

fn compressor() -> Result<()> {
    let stack = beside(file("compressor.yaml")?)?;
    let token = stack.token(Server::Notes, "mcp:connect")?;
    // An elevated call: the filter has to read when it ends.
    let answer = packed(&stack, &call(&stack, Server::Notes, &token, "show-token"), false)?;
    ensure!(answer["status"] == 200 && answer["headers"]["content-encoding"] == "gzip", "{answer:#}");
    let body: Value = serde_json::from_str(answer["body"].as_str().unwrap_or_default())?;
    let minted = body["result"]["content"][0]["text"].as_str().context("no token")?;
    wait_for("the revocation", || Ok(!stack.is_active(minted)?))?;
    // An event stream stays as it is.
    let mut wait = call(&stack, Server::Notes, &token, "wait");
    let mut body: Value = serde_json::from_str(&wait.body.unwrap_or_default())?;
    body["params"]["arguments"] = json!({ "seconds": 0.1 });
    body["params"]["_meta"]["progressToken"] = json!("p");
    wait.body = Some(body.to_string());
    let answer = packed(&stack, &wait, false)?;
    ensure!(answer["headers"]["content-type"] == "text/event-stream", "{answer:#}");
    ensure!(answer["status"] == 200 && answer["headers"]["content-encoding"].is_null(), "{answer:#}");
    Ok(())
}
