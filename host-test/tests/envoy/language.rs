//! Lists, pins, sessions and streams (P16, P31, P35), with real servers and clients.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use host_test::signing::Key;
use host_test::stack::{Answer, EnvoyStack, Options, Request, Server, Setup, Stack as _, send};
use libtest_mimic::Trial;
use serde_json::{Map, Value, json};
use step_up_core::json::{items, members};

use crate::support::{call, expect, in_session, open_session, reloads, stack_with, wait_for};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("language::python_lists_what_it_can_reach", || reaches(Client::Python)),
        trial("language::typescript_lists_what_it_can_reach", || reaches(Client::TypeScript)),
        trial("language::a_session_is_continued_by_its_caller_at_any_replica", sessions),
        trial("language::a_stream_ends_with_its_token_and_an_answer_does_not", streams),
        trial("language::a_tool_that_changes_is_seen_by_nobody_and_called_by_nobody", turncoat),
    ]
}

#[derive(Clone, Copy)]
enum Client {
    Python,
    TypeScript,
}

/// P16, P19, P20: whoever cannot call a tool, or read a resource, does not see it; and is refused if it tries.
fn reaches(client: Client) -> Result<()> {
    let stack = stack_with(|policy| {
        policy["servers"]["notes"]["resources"] = json!({ "ui://*": { "scope": [] }, "note://*": "deny" });
    })?;
    let mut command = match client {
        Client::Python => stack.fixtures().python("client.py"),
        Client::TypeScript => stack.fixtures().node("client.mjs"),
    };
    command.env("MCP_URL", stack.url(Server::Notes)).env("GRANT", "cc").env("READ", "ui://panel/main");
    let output = command.env("CALLS", r#"[["echo",{"message":"hi"}],["delete_record",{"id":"1"}]]"#).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let events: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let of = |kind: &str| -> Vec<&Value> { events.iter().filter(|event| event["event"] == kind).collect() };
    let listed = of("listed");
    ensure!(listed.len() >= 2, "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    // `delete_record` is denied. What would be challenged, or exchanged, is seen.
    ensure!(listed[0]["tools"] == json!(["echo", "get-sum", "get-env", "show-token", "wait"]), "{text}");
    ensure!(listed[1]["resources"] == json!(["ui://panel/main"]), "{text}");
    ensure!(of("read").iter().any(|event| event["text"] == "<p>a panel</p>"), "{text}");
    let calls: Vec<_> = of("call").iter().map(|event| (event["tool"].clone(), event["ok"].clone())).collect();
    ensure!(calls == [(json!("echo"), json!(true)), (json!("delete_record"), json!(false))], "{text}");
    let denied = stack.entry(|entry| entry["stepup"]["name"] == "delete_record")?;
    ensure!(denied["stepup"]["reason"] == "denied", "{denied:#}");
    Ok(())
}

pub const ISSUER: &str = "https://as.example.com";

/// A policy that lets everybody in, and trusts our own key, so that there are two callers.
fn apply(stack: &EnvoyStack, words: &Value, of_notes: &Value) -> Result<()> {
    let key = Key::for_tests("ES256")?.public();
    let server = |server| json!({ "resource": stack.url(server), "baseline": [], "tools": { "*": { "scope": [] } } });
    let mut policy = json!({
        "version": 1,
        "issuers": { ISSUER: { "keys": { "keys": [key] }, "algorithms": ["ES256"], "max_lifetime": "1h" } },
        "servers": { "everything": server(Server::Everything), "notes": server(Server::Notes) },
    });
    let add = |to: &mut Value, words: &Value| {
        words.as_object().into_iter().flatten().for_each(|(name, value)| to[name] = value.clone());
    };
    add(&mut policy, words);
    add(&mut policy["servers"]["notes"], of_notes);
    let before = reloads(stack)?;
    stack.update_document(&Setup::Configuration(policy.to_string()), |document| {
        let variables = json!({ "key_values": { "SESSION_KEY": STANDARD.encode([7; 32]) } });
        document["resources"][0]["typed_config"]["config"]["vm_config"]["environment_variables"] = variables;
    })?;
    wait_for("the policy to be taken", || Ok(reloads(stack)? > before))
}

pub fn token(stack: &EnvoyStack, server: Server, subject: &str, seconds: i64) -> Result<String> {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let claims = json!({
        "iss": ISSUER, "aud": stack.url(server), "sub": subject, "client_id": "agent", "jti": subject,
        "iat": now - 1, "exp": now + seconds,
    });
    Key::for_tests("ES256")?.token(&Map::new(), &claims)
}

/// P35: two processes that share their configuration, and nothing else.
fn sessions() -> Result<()> {
    let stack = EnvoyStack::start(&Options::default())?;
    apply(&stack, &json!({ "sessions": { "keys_env": ["SESSION_KEY"] } }), &json!({}))?;
    let replica = stack.replica()?;
    let of = |subject: &str| token(&stack, Server::Everything, subject, 600);
    let (alice, mallory) = (of("alice")?, of("mallory")?);
    let session = open_session(&stack, Server::Everything, &alice)?;
    ensure!(session.contains('.'), "{session} is not sealed");
    let list = |token: &str, session: &str| {
        let body = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" });
        in_session(&stack, Server::Everything, token, session, body)
    };
    let raw = session.rsplit_once('.').context("a seal")?.0;
    for at_replica in [false, true] {
        let sent = |request: Request| send(&if at_replica { replica.instead(request) } else { request });
        let own = sent(list(&alice, &session))?;
        ensure!(own.status == 200 && own.body.contains("get-sum"), "{own:?}");
        for (what, token, id) in [
            ("a stolen id", &mallory, session.as_str()),
            ("the server's id", &alice, raw),
            ("a made-up one", &alice, "x.y"),
        ] {
            let answer = sent(list(token, id))?;
            ensure!(
                answer.status == 404 && answer.reason().as_deref() == Some("session_foreign"),
                "{what}: {answer:?}"
            );
        }
    }
    Ok(())
}

/// P35: a GET ends at the token's `exp`; a call that is under way goes on.
fn streams() -> Result<()> {
    let stack = EnvoyStack::start(&Options::default())?;
    apply(&stack, &json!({}), &json!({}))?;
    let lasting = token(&stack, Server::Everything, "alice", 600)?;
    let session = open_session(&stack, Server::Everything, &lasting)?;
    let brief = token(&stack, Server::Everything, "alice", 3)?;
    let begin = Instant::now();
    let silent = TcpStream::connect(("127.0.0.1", stack.port()))?;
    silent.set_read_timeout(Some(Duration::from_secs(15)))?;
    let request = format!(
        "GET /mcp HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nauthorization: Bearer {brief}\r\naccept: text/event-stream\r\n\
         mcp-session-id: {session}\r\nmcp-protocol-version: 2025-11-25\r\n\r\n",
        stack.port()
    );
    (&silent).write_all(request.as_bytes())?;
    let mut got = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(size @ 1..) = (&silent).read(&mut buffer) {
        got.extend_from_slice(&buffer[..size]);
    }
    let (took, text) = (begin.elapsed(), String::from_utf8_lossy(&got).into_owned());
    ensure!(text.starts_with("HTTP/1.1 200") && !text.ends_with("0\r\n\r\n"), "{text}");
    // The end of HTTP/1.1 comes `delayed_close_timeout` later, and the token was a part of a second old.
    ensure!((2.0..6.0).contains(&took.as_secs_f64()), "it ended after {took:?}");
    let entry = stack.entry(|entry| entry["method"] == "GET")?;
    ensure!(entry["details"] == "upstream_max_stream_duration_reached", "{entry:#}");

    let brief = token(&stack, Server::Notes, "alice", 2)?;
    let mut request = call(&stack, Server::Notes, &brief, "wait");
    let mut body: Value = serde_json::from_str(request.body.as_deref().unwrap_or_default())?;
    body["params"]["arguments"] = json!({ "seconds": 4 });
    request.body = Some(body.to_string());
    let begin = Instant::now();
    let answer = send(&request)?;
    ensure!(answer.status == 200 && answer.body.contains("result"), "{answer:?}");
    ensure!(begin.elapsed() >= Duration::from_secs(4), "it did not take its time: {:?}", begin.elapsed());
    Ok(())
}

/// P31: the tools were reviewed; then the server shows another one in every second list.
fn turncoat() -> Result<()> {
    let stack = EnvoyStack::start(&Options { turncoat: true, ..Options::default() })?;
    apply(&stack, &json!({}), &json!({}))?;
    let token = token(&stack, Server::Notes, "alice", 600)?;
    let reviewed = list(&stack, &token)?;
    let pins: Map<String, Value> = tools(&reviewed)?
        .into_iter()
        .map(|(name, tool)| Ok((name, json!(step_up_core::pin(&tool).context("no pin")?))))
        .collect::<Result<_>>()?;
    apply(&stack, &json!({}), &json!({ "pins": pins, "lists": "pass" }))?;
    // The second list is the other one. From then on nobody sees the tool, in good lists neither, and nobody can call it.
    for _ in 0..6 {
        let seen: Vec<String> = tools(&list(&stack, &token)?)?.into_iter().map(|(name, _)| name).collect();
        ensure!(!seen.contains(&"echo".to_owned()) && seen.contains(&"get-sum".to_owned()), "{seen:?}");
    }
    // Each worker has connections of its own.
    for _ in 0..8 {
        expect(&call(&stack, Server::Notes, &token, "echo"), 403, "not_allowed")?;
    }
    expect(&call(&stack, Server::Notes, &token, "get-sum"), 200, "")?;
    let entry = stack.entry(|entry| entry["stepup"]["tool_changed"] == json!(["echo"]))?;
    ensure!(entry["stepup"]["method"] == "tools/list", "{entry:#}");
    let denied = stack.entry(|entry| entry["stepup"]["reason"] == "tool_changed")?;
    ensure!(denied["stepup"]["name"] == "echo", "{denied:#}");
    Ok(())
}

fn list(stack: &EnvoyStack, token: &str) -> Result<Answer> {
    let mut body = host_test::story::modern_call("");
    (body["method"], body["params"]["name"]) = (json!("tools/list"), Value::Null);
    body["params"].as_object_mut().context("params")?.retain(|name, _| name == "_meta");
    let request = Request::post(stack.url(Server::Notes), body).bearer(token);
    expect(&request.with("mcp-protocol-version", "2026-07-28").with("mcp-method", "tools/list"), 200, "")
}

/// Each tool of a list as the server wrote it.
fn tools(answer: &Answer) -> Result<Vec<(String, String)>> {
    let text = answer.body.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or(&answer.body);
    let member = |text: &str, name: &str| -> Option<String> {
        members(text)?.into_iter().find(|(member, _)| member == name).map(|(_, value)| value.to_owned())
    };
    let tools = member(text, "result").and_then(|result| member(&result, "tools")).context("no tools")?;
    let of = |tool: &str| Some((serde_json::from_str(&member(tool, "name")?).ok()?, tool.to_owned()));
    items(&tools).context("no list")?.into_iter().map(of).collect::<Option<_>>().context("a tool without a name")
}
