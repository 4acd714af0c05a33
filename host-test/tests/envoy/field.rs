//! What clients and proxies in the field send (P29, P42), in real Envoy.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use host_test::stack::{EnvoyStack, Options, Request, Server, Stack as _, send};
use host_test::{paths, yaml};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::support::{call, expect};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("field::http2_trailers_are_taken_out", trailers),
        trial("field::head_gets_the_challenge_and_an_end_may_come_late", heads),
        trial("field::upgrades_that_may_be_ignored_are", upgrades),
        trial("field::a_token_that_jwt_authn_took", token_removed),
        trial("field::answers_say_in_their_details_what_the_client_is_told", details),
    ]
}

fn one_worker(neighbours: Option<Value>) -> Result<EnvoyStack> {
    EnvoyStack::start(&Options { workers: 1, neighbours, ..Options::default() })
}

fn trailers() -> Result<()> {
    let stack = one_worker(None)?;
    let token = stack.token(Server::Notes, "mcp:connect")?;
    for (tool, status, reason) in
        [(Some("echo"), 200, ""), (Some("delete_record"), 403, "not_allowed"), (None, 400, "json_syntax")]
    {
        let request = call(&stack, Server::Notes, &token, tool.unwrap_or_default());
        let headers: serde_json::Map<String, Value> =
            request.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let body = tool.and(request.body).unwrap_or_default();
        let mut client = stack.fixtures().node("h2-trailers.mjs");
        client.env("URL", stack.url(Server::Notes)).env("BODY", body).env("HEADERS", Value::from(headers).to_string());
        let output = client.output()?;
        let answer: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        ensure!(answer["status"] == status, "{tool:?}: {answer:#}");
        ensure!(answer["body"].as_str().is_some_and(|body| body.contains(reason)), "{tool:?}: {answer:#}");
    }
    expect(&call(&stack, Server::Notes, &token, "echo"), 200, "")?;
    ensure!(stack.stat("wasm.step-up.vm_reload_success")? == 0, "a VM was reloaded");
    Ok(())
}

/// A request as bytes: the line, the host, these headers, and what follows.
fn spelled(stack: &EnvoyStack, method: &str, headers: &str, rest: &str) -> String {
    format!("{method} /notes/mcp HTTP/1.1\r\nhost: 127.0.0.1:{}\r\n{headers}\r\n{rest}", stack.port())
}

/// The same of a call that is permitted.
fn spelled_call(stack: &EnvoyStack, token: &str, headers: &str) -> String {
    let request = call(stack, Server::Notes, token, "echo");
    let body = request.body.unwrap_or_default();
    let mut lines: String = request.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    lines += "content-type: application/json\r\naccept: application/json, text/event-stream\r\n";
    lines += &format!("content-length: {}\r\n{headers}", body.len());
    spelled(stack, "POST", &lines, &body)
}

/// Status and text of the answer to these bytes.
fn exchange(stack: &EnvoyStack, text: impl AsRef<[u8]>) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", stack.port()))?;
    // Nothing more comes after the answer; who waits for it waits so long.
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(text.as_ref())?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(size @ 1..) = stream.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..size]);
    }
    let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.context("no answer")?, answer))
}

fn heads() -> Result<()> {
    let stack = one_worker(None)?;
    let token = stack.token(Server::Notes, "mcp:connect")?;
    let (status, answer) = exchange(&stack, spelled(&stack, "HEAD", "", ""))?;
    ensure!(status == 401 && answer.contains("www-authenticate: bearer "), "{answer}");
    ensure!(answer.ends_with("\r\n\r\n"), "an answer to HEAD has no body: {answer}");

    let chunked = format!("authorization: Bearer {token}\r\nmcp-session-id: none\r\ntransfer-encoding: chunked\r\n");
    let before = stack.upstream_requests(Server::Notes)?;
    for method in ["GET", "DELETE"] {
        let (status, answer) = exchange(&stack, spelled(&stack, method, &chunked, "0\r\n\r\n"))?;
        let entry = stack.entry(|entry| entry["method"] == method)?;
        ensure!(entry["stepup"]["reason"] == "permitted", "{status} {answer} {entry:#}");
        ensure!(entry["details"] == "via_upstream", "{entry:#}");
    }
    let forwarded = stack.upstream_requests(Server::Notes)?;
    ensure!(forwarded == before + 2, "an end that comes late is no body");
    for method in ["GET", "DELETE"] {
        let (status, answer) = exchange(&stack, spelled(&stack, method, &chunked, "1\r\nx\r\n0\r\n\r\n"))?;
        ensure!(status == 400 && answer.contains("body_not_allowed"), "{answer}");
    }
    ensure!(stack.upstream_requests(Server::Notes)? == forwarded, "a body went upstream");
    // Latin-1 in a header that nobody here reads.
    let mut request = spelled_call(&stack, &token, "x-user-name: J?rgen\r\n").into_bytes();
    request.iter_mut().filter(|byte| **byte == b'?').for_each(|byte| *byte = 0xfc);
    let (status, answer) = exchange(&stack, &request)?;
    ensure!(status == 200, "{answer}");
    Ok(())
}

/// What Envoy is not told to ignore it refuses itself; what it is told to let through comes to the filter.
fn upgrades() -> Result<()> {
    let types = json!([{ "upgrade_type": "websocket" }]);
    let stack = one_worker(Some(json!({ "connection_manager": { "upgrade_configs": types } })))?;
    let token = stack.token(Server::Notes, "mcp:connect")?;
    let offer = |name: &str| spelled_call(&stack, &token, &format!("connection: Upgrade\r\nupgrade: {name}\r\n"));
    let (status, answer) = exchange(&stack, offer("TLS/1.2"))?;
    ensure!(status == 200, "{answer}");
    let (status, answer) = exchange(&stack, offer("x"))?;
    ensure!(status == 403 && !answer.contains("reason"), "Envoy's own: {answer}");
    let (status, answer) = exchange(&stack, offer("websocket"))?;
    ensure!(status == 400 && answer.contains("upgrade_not_allowed"), "{answer}");
    Ok(())
}

/// `jwt_authn` before our filter, as it comes: it takes the token out. And it says why one failed.
fn token_removed() -> Result<()> {
    let mut neighbours = yaml::load(&paths::envoy().join("neighbours/jwt-authn.yaml"))?;
    let provider = &mut neighbours["http_filters"][0]["typed_config"]["providers"]["as"];
    provider["forward"] = json!(false);
    provider["failed_status_in_metadata"] = json!("failed");
    let stack = one_worker(Some(neighbours))?;
    let token = stack.token(Server::Notes, "mcp:connect")?;
    let answer = expect(&call(&stack, Server::Notes, &token, "echo"), 500, "token_removed")?;
    ensure!(answer.header("www-authenticate").is_none(), "a login would not help: {answer:?}");
    let entry = stack.entry(|entry| entry["stepup"]["reason"] == "token_removed")?;
    ensure!(entry["details"] == "stepup:token_removed", "{entry:#}");
    // It says why a token failed also where there was none: that is no token.
    let mut bare = call(&stack, Server::Notes, &token, "echo");
    bare.headers.retain(|(name, _)| name != "authorization");
    let answer = expect(&bare, 401, "token_missing")?;
    ensure!(answer.header("www-authenticate").is_some(), "{answer:?}");
    // What it did not verify it does not take.
    expect(&call(&stack, Server::Notes, "x.y.z", "echo"), 401, "token_malformed")?;
    Ok(())
}

fn details() -> Result<()> {
    let stack = one_worker(None)?;
    let token = stack.token(Server::Notes, "mcp:connect")?;
    let metadata = format!("http://127.0.0.1:{}/.well-known/oauth-protected-resource/notes/mcp", stack.port());
    let notification = Request::post(stack.url(Server::Notes), r#"{"jsonrpc":"2.0","method":"notifications/x"}"#);
    for (request, status, details) in [
        (call(&stack, Server::Notes, &token, "delete_record"), 403, "stepup:not_allowed"),
        (call(&stack, Server::Notes, &token, "get-env"), 403, "stepup:scope_missing"),
        (Request::post(stack.url(Server::Notes), "{}"), 401, "stepup:token_missing"),
        (notification.bearer(&token), 202, "stepup:dropped"),
        (Request::get(metadata), 200, "stepup:metadata"),
    ] {
        let answer = send(&request)?;
        ensure!(answer.status == status, "{details}: {answer:?}");
        let entry = stack.entry(|entry| entry["details"] == details)?;
        ensure!(entry["status"] == status, "{entry:#}");
    }
    Ok(())
}
