//! Settings that control planes make by themselves, and what becomes of calls under them: each row of the tables of what was seen there.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::spawn;

use anyhow::{Context as _, Result, ensure};
use host_test::stack::{EnvoyStack, Given, Server, Stack as _, send};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{expecting, gateway, istio, managers, start, statuses};
use crate::support::{apply, call, wait_for};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("mesh::variant_default_retries_execute_a_call_three_times", retries),
        trial("mesh::variant_100_continue_is_left_to_the_server", continues),
        trial("mesh::variant_a_small_buffer_refuses_in_envoys_words", buffer),
        trial("mesh::variant_a_misspelt_field_is_seen_by_a_permitted_call_only", misspelt),
        trial("mesh::variant_an_inline_policy_answers_once_more", inline),
        trial("mesh::variant_the_filter_off_on_a_route", off),
    ]
}

const INSERTED: [&str; 2] = ["--way", "inserted"];

fn content<'g>(given: &'g mut Given, name: &str) -> Result<&'g mut Value> {
    let found = given.files.iter_mut().find(|(other, _)| other == name);
    found.map(|(_, content)| content).with_context(|| format!("no {name}"))
}

/// A server that answers each request with `grpc-status: 14`, and says what tokens it saw.
fn unavailable() -> Result<(u16, Arc<Mutex<Vec<String>>>)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let theirs = Arc::clone(&seen);
    spawn(move || {
        for stream in listener.incoming().flatten() {
            let theirs = Arc::clone(&theirs);
            spawn(move || answer_unavailable(stream, &theirs));
        }
    });
    Ok((port, seen))
}

fn answer_unavailable(stream: TcpStream, seen: &Mutex<Vec<String>>) -> Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut length, mut token) = (0, String::new());
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            match line.trim_end().split_once(": ") {
                Some(("content-length", value)) => length = value.parse()?,
                Some(("authorization", value)) => value.clone_into(&mut token),
                Some(_) => {}
                None if line.trim_end().is_empty() => break,
                None => {}
            }
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
        seen.lock().unwrap().push(token);
        reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ngrpc-status: 14\r\ncontent-length: 0\r\n\r\n")?;
    }
}

/// Every route of a tree.
fn routes(tree: &mut Value, change: &mut dyn FnMut(&mut Value)) {
    match tree {
        Value::Object(members) if members.contains_key("match") && members.contains_key("route") => change(tree),
        Value::Object(members) => members.values_mut().for_each(|value| routes(value, change)),
        Value::Array(items) => items.iter_mut().for_each(|item| routes(item, change)),
        _ => {}
    }
}

/// As Istio has them unless a VirtualService says `attempts: 0`. An elevated call is executed as often, each time with the one token.
fn retries() -> Result<()> {
    for (retry, times) in [
        (json!(null), 1),
        (json!({ "retry_on": "connect-failure,refused-stream,unavailable,cancelled", "num_retries": 2 }), 3),
    ] {
        let (port, seen) = unavailable()?;
        let mut given = istio::given(&INSERTED)?;
        routes(content(&mut given, "rds.json")?, &mut |route| {
            if !retry.is_null() {
                route["route"]["retry_policy"] = retry.clone();
            }
        });
        for (_, content) in given.files.iter_mut().filter(|(name, _)| name.starts_with("eds-")) {
            *content = serde_json::from_str(
                &content.to_string().replace("\"port_value\":8811", &format!("\"port_value\":{port}")),
            )?;
        }
        let stack = start(given)?;
        let token = stack.token(Server::Notes, "mcp:connect")?;
        for (tool, is_elevated) in [("echo", false), ("show-token", true)] {
            seen.lock().unwrap().clear();
            send(&call(&stack, Server::Notes, &token, tool))?;
            let seen = seen.lock().unwrap().clone();
            ensure!(seen.len() == times, "{tool}: executed {} times", seen.len());
            ensure!(seen.iter().all(|one| Some(one) == seen.first()), "{tool}: with different tokens");
            let is_callers = seen.first() == Some(&format!("Bearer {token}"));
            ensure!(is_callers != is_elevated, "{tool}: with another token");
        }
    }
    Ok(())
}

/// `proxy_100_continue`, Istio's default: nobody asks for the body, and the client is told so, not the proxy.
fn continues() -> Result<()> {
    let mut given = istio::given(&INSERTED)?;
    managers(content(&mut given, "lds.json")?, &mut |manager| manager["proxy_100_continue"] = json!(true));
    let stack = start(given)?;
    let mut policy = stack.sample_policy()?;
    policy["limits"] = json!({ "body_wait": "1s" });
    apply(&stack, &policy)?;
    let (status, was_asked) = expecting(&stack)?;
    ensure!(status == 408 && !was_asked, "{status}, asked for the body: {was_asked}");
    Ok(())
}

/// Envoy Gateway's 32 KiB, without a ClientTrafficPolicy.
fn buffer() -> Result<()> {
    let mut given = gateway::given()?;
    let listeners = content(&mut given, "lds.json")?["resources"].as_array_mut().context("no listeners")?;
    listeners.iter_mut().for_each(|listener| listener["per_connection_buffer_limit_bytes"] = json!(32 << 10));
    let stack = start(given)?;
    let mut request = call(&stack, Server::Notes, &stack.token(Server::Notes, "mcp:connect")?, "echo");
    let long = format!("\"{}\"", "x".repeat(40 << 10));
    request.body = request.body.map(|body| body.replace("\"hi\"", &long));
    let answer = send(&request)?;
    ensure!(answer.status == 413 && answer.body == "Payload Too Large", "{answer:?}");
    Ok(())
}

fn config_of(given: &mut Given) -> Result<&mut serde_json::Map<String, Value>> {
    let found = content(given, "step-up.ecds.yaml")?.pointer_mut("/resources/0/typed_config/config");
    found.and_then(Value::as_object_mut).context("no filter")
}

/// istiod warns of a field that it does not know, and drops it. A probe without a token sees nothing of that.
fn misspelt() -> Result<()> {
    let mut given = istio::given(&[])?;
    let config = config_of(&mut given)?;
    config.remove("allow_on_headers_stop_iteration").context("it is not there")?;
    let policy = config.get_mut("configuration").and_then(|policy| policy.get_mut("value")).context("no policy")?;
    let mut limited: Value = serde_json::from_str(policy.as_str().unwrap_or_default())?;
    limited["limits"] = json!({ "body_wait": "1s" });
    *policy = limited.to_string().into();
    ensure!(statuses(&start(given)?)? == (401, 503), "dropped");
    // Envoy itself, told to be strict, refuses the whole resource.
    let mut given = istio::given(&[])?;
    config_of(&mut given)?.insert("allow_on_header_stop_iteration".to_owned(), json!(true));
    ensure!(statuses(&start(given)?)? == (403, 403), "misspelt");
    Ok(())
}

/// The policy in the listener itself: a change drains the listener, and a kept connection has one more answer by the old policy.
fn inline() -> Result<()> {
    let mut given = istio::given(&[])?;
    let filter = content(&mut given, "step-up.ecds.yaml")?["resources"][0]["typed_config"].clone();
    managers(content(&mut given, "lds.json")?, &mut |manager| {
        manager["http_filters"][0] = json!({ "name": "step-up", "typed_config": filter });
    });
    // As both control planes start it.
    given.arguments.extend(["--drain-strategy", "immediate"].map(str::to_owned));
    let stack = start(given)?;
    let token = stack.token(Server::Notes, "mcp:connect")?;
    let echo = call(&stack, Server::Notes, &token, "echo");
    let mut kept = Kept::open(&stack, &token)?;
    ensure!(kept.ask()? == (200, false), "before");
    // The change, as a control plane sends it.
    let (file, new) = (stack.folder().join("lds.json"), stack.folder().join("lds.new"));
    let text = std::fs::read_to_string(&file)?;
    let mut listeners: Value = serde_json::from_str(&text)?;
    managers(&mut listeners, &mut |manager| {
        let value = &mut manager["http_filters"][0]["typed_config"]["config"]["configuration"]["value"];
        *value = json!(value.as_str().unwrap_or_default().replace(r#""echo": {"#, r#""nothing": {"#));
    });
    std::fs::write(&new, listeners.to_string())?;
    std::fs::rename(&new, &file)?;
    wait_for("the new policy, on a new connection", || Ok(send(&echo)?.status == 403))?;
    let answer = kept.ask()?;
    ensure!(answer == (200, true), "not one more answer by the old policy and an end: {answer:?}");
    Ok(())
}

/// A connection that is kept.
struct Kept {
    stream: BufReader<TcpStream>,
    request: String,
}

impl Kept {
    fn open(stack: &EnvoyStack, token: &str) -> Result<Kept> {
        let request = call(stack, Server::Notes, token, "echo");
        let body = request.body.context("no body")?;
        let headers: String = request.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!(
            "POST /notes/mcp HTTP/1.1\r\nhost: 127.0.0.1:{}\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n{headers}content-length: {}\r\n\r\n{body}",
            stack.port(),
            body.len(),
        );
        Ok(Kept { stream: BufReader::new(TcpStream::connect(("127.0.0.1", stack.port()))?), request })
    }

    /// The status, and whether it was the last one.
    fn ask(&mut self) -> Result<(u16, bool)> {
        self.stream.get_mut().write_all(self.request.as_bytes())?;
        let (mut status, mut length, mut is_chunked, mut closes) = (0, 0, false, false);
        for at in 0.. {
            let mut line = String::new();
            ensure!(self.stream.read_line(&mut line)? > 0, "the connection was closed");
            let line = line.trim_end();
            match line.split_once(": ") {
                None if at == 0 => status = line.split(' ').nth(1).context("no status")?.parse()?,
                Some(("content-length", value)) => length = value.parse()?,
                Some(("transfer-encoding", _)) => is_chunked = true,
                Some(("connection", "close")) => closes = true,
                None => break,
                Some(_) => {}
            }
        }
        if !is_chunked {
            std::io::copy(&mut self.stream.by_ref().take(length), &mut std::io::sink())?;
        }
        while is_chunked {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            is_chunked = line.trim_end() != "0";
            if !is_chunked {
                self.stream.read_line(&mut line)?;
            }
        }
        Ok((status, closes))
    }
}

/// Somebody's own patch: `disabled: true` on a route. Each way has a lock for that.
fn off() -> Result<()> {
    for given in [istio::given(&INSERTED)?, istio::given(&[])?, gateway::given()?] {
        let mut given = given;
        for (_, content) in &mut given.files {
            routes(content, &mut |route| {
                route["typed_per_filter_config"]["step-up"] = json!({
                    "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": true,
                });
            });
        }
        ensure!(statuses(&start(given)?)? == (403, 403), "it is open");
    }
    Ok(())
}
