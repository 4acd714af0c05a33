//! What several trials need.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use host_test::stack::{Answer, EnvoyStack, Options, Request, Server, Setup, Stack as _, send};
use serde_json::{Value, json};

pub fn stack() -> Result<EnvoyStack> {
    EnvoyStack::start(&Options::default())
}

/// A stack whose policy is the sample with changes.
pub fn stack_with(change: impl FnOnce(&mut Value)) -> Result<EnvoyStack> {
    let stack = stack()?;
    let mut policy = stack.sample_policy()?;
    change(&mut policy);
    apply(&stack, &policy)?;
    Ok(stack)
}

/// Gives the stack another policy and waits until Envoy has taken it.
pub fn apply(stack: &EnvoyStack, policy: &Value) -> Result<()> {
    let before = reloads(stack)?;
    stack.update(&Setup::Configuration(policy.to_string()))?;
    wait_for("the policy to be taken", || Ok(reloads(stack)? > before))
}

pub fn reloads(stack: &EnvoyStack) -> Result<u64> {
    stack.stat(&format!("{DISCOVERY}config_reload"))
}

pub const DISCOVERY: &str = "extension_config_discovery.http_filter.step-up.";

pub fn wait_for(what: &str, done: impl FnMut() -> Result<bool>) -> Result<()> {
    wait_for_seconds(20, what, done)
}

pub fn wait_for_seconds(most: usize, what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    for _ in 0..most * 50 {
        if done()? {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    anyhow::bail!("waited in vain for {what}")
}

/// A `tools/call` of revision 2026-07-28, complete in itself.
pub fn call(stack: &EnvoyStack, server: Server, token: &str, tool: &str) -> Request {
    let mut body = host_test::story::modern_call(tool);
    if tool == "echo" {
        body["params"]["arguments"] = json!({ "message": "hi" });
    }
    if tool == "get-sum" {
        body["params"]["arguments"] = json!({ "a": 2, "b": 3 });
    }
    Request::post(stack.url(server), body)
        .bearer(token)
        .with("mcp-protocol-version", "2026-07-28")
        .with("mcp-method", "tools/call")
        .with("mcp-name", tool)
}

pub fn expect(request: &Request, status: u16, reason: &str) -> Result<Answer> {
    let answer = send(request)?;
    let got = answer.reason();
    ensure!(
        answer.status == status && got.as_deref().unwrap_or("") == reason,
        "expected {status} {reason:?}, got {} {got:?}\n{answer:?}",
        answer.status
    );
    Ok(answer)
}

/// A session of 2025-11-25, opened with this token: its id.
pub fn open_session(stack: &EnvoyStack, server: Server, token: &str) -> Result<String> {
    let initialize = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": { "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "0" } },
    });
    let answer = expect(&Request::post(stack.url(server), initialize).bearer(token), 200, "")?;
    let session = answer.header("mcp-session-id").context("no session")?.to_owned();
    let opened = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    expect(&in_session(stack, server, token, &session, opened), 202, "")?;
    Ok(session)
}

/// A message in such a session.
pub fn in_session(stack: &EnvoyStack, server: Server, token: &str, session: &str, body: Value) -> Request {
    let request = Request::post(stack.url(server), body).bearer(token);
    request.with("mcp-session-id", session).with("mcp-protocol-version", "2025-11-25")
}

/// The GET leg of a 2025-11-25 session, open after its headers arrived.
pub fn open_event_stream(stack: &EnvoyStack, token: &str) -> Result<TcpStream> {
    let session = open_session(stack, Server::Everything, token)?;
    let mut stream = TcpStream::connect(("127.0.0.1", stack.port()))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "GET /mcp HTTP/1.1\r\nhost: 127.0.0.1:{}\r\naccept: text/event-stream\r\nauthorization: Bearer {token}\r\n\
         mcp-session-id: {session}\r\nmcp-protocol-version: 2025-11-25\r\n\r\n",
        stack.port()
    )?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).context("no headers on the event stream")?;
    ensure!(&head == b"HTTP/1.1 200", "{}", String::from_utf8_lossy(&head));
    Ok(stream)
}

/// Nothing to read on it, and no end either.
pub fn is_open(events: &mut TcpStream) -> Result<()> {
    events.set_read_timeout(Some(Duration::from_millis(500)))?;
    let mut buffer = [0; 1024];
    loop {
        match events.read(&mut buffer) {
            Ok(0) => anyhow::bail!("the event stream was cut"),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(()),
            Err(error) => return Err(error).context("the event stream was cut"),
        }
    }
}
