//! What answers in place of a tool: health checks, error pages, upgrades that are ignored.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use host_test::stack::{EnvoyStack, Request, Server, Stack as _, send};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{beside, file};
use crate::support::{call, expect, stack};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("neighbours::a_health_path_is_answered_without_the_filter", health),
        trial("neighbours::error_pages_spare_what_the_filter_says", error_pages),
        trial("neighbours::error_pages_by_response_flags_spare_it_too", error_pages_by_flag),
        trial("neighbours::upgrades_that_may_be_ignored_are", upgrades),
    ]
}

fn health() -> Result<()> {
    let stack = beside(file("health.yaml")?)?;
    let origin = format!("http://127.0.0.1:{}", stack.port());
    let answer = send(&Request::get(format!("{origin}/healthz")))?;
    ensure!(answer.status == 200 && answer.body == "ok\n", "{answer:?}");
    for path in ["/healthz/", "/healthz/../mcp", "/healthz/../notes/mcp"] {
        let answer = send(&Request::get(format!("{origin}{path}")))?;
        ensure!([401, 404].contains(&answer.status), "{path}: {answer:?}");
    }
    Ok(())
}

fn error_pages() -> Result<()> {
    let stack = beside(with_a_server_that_is_gone(file("error-pages.yaml")?))?;
    let token = stack.token(Server::Notes, "mcp:connect")?;
    let metadata = format!("http://127.0.0.1:{}/.well-known/oauth-protected-resource/notes/mcp", stack.port());
    let answers = [
        expect(&call(&stack, Server::Notes, &token, "get-env"), 403, "scope_missing")?,
        expect(&Request::post(stack.url(Server::Notes), "{}"), 401, "token_missing")?,
        expect(&Request::get(metadata), 200, "")?,
    ];
    for answer in answers {
        ensure!(answer.header("content-type") == Some("application/json"), "{answer:?}");
    }
    ensure_spared(&stack)
}

/// Without the details: what has a response flag is Envoy's own, and the filter's answers have none.
fn error_pages_by_flag() -> Result<()> {
    let mut neighbours = file("error-pages.yaml")?;
    let mapper = &mut neighbours["connection_manager"]["local_reply_config"]["mappers"][0];
    mapper["filter"] = json!({ "response_flag_filter": {} });
    ensure_spared(&beside(with_a_server_that_is_gone(neighbours))?)
}

/// A route to a cluster without endpoints, past the filter and its lock.
fn with_a_server_that_is_gone(mut neighbours: Value) -> Value {
    let off = json!({ "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": true });
    let route = json!({ "cluster": "nowhere" });
    let off = json!({ "step-up": off, "step-up-lock": off });
    let gone = json!({ "match": { "path": "/gone" }, "route": route, "typed_per_filter_config": off });
    neighbours["virtual_host"] = json!({ "routes": [gone] });
    neighbours
}

/// JSON by the filter, a page by Envoy.
fn ensure_spared(stack: &EnvoyStack) -> Result<()> {
    let token = stack.token(Server::Notes, "mcp:connect")?;
    let answer = expect(&call(stack, Server::Notes, &token, "get-env"), 403, "scope_missing")?;
    ensure!(answer.header("content-type") == Some("application/json"), "{answer:?}");
    let answer = send(&Request::get(format!("http://127.0.0.1:{}/gone", stack.port())))?;
    ensure!(answer.status == 503, "{answer:?}");
    ensure!(answer.header("content-type") == Some("text/html; charset=utf-8"), "{answer:?}");
    ensure!(answer.body.starts_with("<!doctype html><title>503</title>"), "{answer:?}");
    Ok(())
}

/// Java and Spring (Apache HttpClient 5.4) offer the one, curl and Java's own client the other.
const OFFERED: [&str; 2] = [
    "upgrade: TLS/1.2\r\nconnection: upgrade\r\n",
    "upgrade: h2c\r\nconnection: Upgrade, HTTP2-Settings\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
];

fn upgrades() -> Result<()> {
    let stack = stack()?;
    let token = stack.token(Server::Notes, "mcp:connect")?;
    for offer in OFFERED {
        let answer = raw(&stack, &token, offer)?;
        ensure!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("Echo: hi"), "{offer}{answer}");
    }
    let answer = raw(&stack, &token, "upgrade: websocket\r\nconnection: upgrade\r\n")?;
    ensure!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    Ok(())
}

fn raw(stack: &EnvoyStack, token: &str, headers: &str) -> Result<String> {
    let request = call(stack, Server::Notes, token, "echo");
    let body = request.body.context("no body")?;
    let mut head = format!("POST /notes/mcp HTTP/1.1\r\nhost: 127.0.0.1:{}\r\n{headers}", stack.port());
    for (name, value) in &request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("content-type: application/json\r\naccept: application/json, text/event-stream\r\n");
    let mut stream = TcpStream::connect(("127.0.0.1", stack.port()))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    // The connection stays open: it is read until nothing comes any more.
    while let Ok(size @ 1..) = stream.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..size]);
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
