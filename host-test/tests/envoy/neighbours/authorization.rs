//! Other filters that judge: jwt_authn, ext_authz, Envoy's own mcp filter.

use std::sync::mpsc::{Receiver, channel};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use host_test::process::free_port;
use host_test::stack::{EnvoyStack, Options, Request, Server, Stack as _, send};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tiny_http::{Header, Response, Server as Listener};

use super::{beside, file};
use crate::support::{apply, call, expect, wait_for};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("neighbours::jwt_authn_lets_the_filter_answer", jwt_authn),
        trial("neighbours::jwt_authn_as_it_comes_takes_the_token", jwt_authn_as_it_comes),
        trial("neighbours::jwt_authn_that_requires_a_token_challenges_without_metadata", jwt_authn_requires),
        trial("neighbours::ext_authz_before_is_asked_first", ext_authz),
        trial("neighbours::ext_authz_that_reads_bodies_leaves_them_whole", ext_authz_with_body),
        trial("neighbours::ext_authz_sets_the_token_that_is_judged", ext_authz_sets),
        trial("neighbours::ext_authz_behind_is_sent_elevated_tokens", ext_authz_behind),
        trial("neighbours::all_of_them_in_the_order_of_the_readme", all),
        trial("neighbours::mcp_before_changes_nothing", mcp),
        trial("neighbours::mcp_router_after_gets_what_was_judged", mcp_router),
        trial("neighbours::mcp_router_does_not_know_2026_07_28", mcp_router_modern),
    ]
}

/// What the filter alone answers, whatever stands before it. Gives the token that all calls had.
fn ensure_judged(stack: &EnvoyStack) -> Result<String> {
    let weak = stack.token(Server::Notes, "mcp:connect")?;
    let metadata = format!("http://127.0.0.1:{}/.well-known/oauth-protected-resource/notes/mcp", stack.port());
    expect(&call(stack, Server::Notes, &weak, "echo"), 200, "")?;
    let answer = expect(&call(stack, Server::Notes, &weak, "get-env"), 403, "scope_missing")?;
    ensure!(answer.challenge("scope") == Some("mcp:connect tools:admin"), "{answer:?}");
    expect(&call(stack, Server::Notes, &weak, "delete_record"), 403, "not_allowed")?;
    let answer = expect(&Request::post(stack.url(Server::Notes), "{}"), 401, "token_missing")?;
    ensure!(answer.challenge("resource_metadata") == Some(&metadata), "{answer:?}");
    let answer = expect(&call(stack, Server::Notes, &spoilt(&weak), "echo"), 401, "signature_invalid")?;
    ensure!(answer.challenge("error") == Some("invalid_token"), "{answer:?}");
    // Elevated by exchange.
    expect(&call(stack, Server::Notes, &weak, "show-token"), 200, "")?;
    ensure!(send(&Request::get(metadata))?.status == 200);
    Ok(weak)
}

/// The same token with another signature.
fn spoilt(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap_or_default();
    let (first, rest) = signature.split_at(1);
    format!("{signed}.{}{rest}", if first == "A" { "B" } else { "A" })
}

fn jwt_authn() -> Result<()> {
    let stack = beside(file("jwt-authn.yaml")?)?;
    ensure_judged(&stack)?;
    ensure!(stack.stat("http.mcp.jwt_authn.allowed")? > 0, "jwt_authn was not asked");
    Ok(())
}

fn jwt_authn_as_it_comes() -> Result<()> {
    let mut neighbours = file("jwt-authn.yaml")?;
    neighbours["http_filters"][0]["typed_config"]["providers"]["as"]["forward"] = json!(false);
    let stack = beside(neighbours)?;
    let token = stack.token(Server::Notes, "mcp:connect")?;
    // A login would bring a token that is taken out again.
    let answer = expect(&call(&stack, Server::Notes, &token, "echo"), 500, "token_removed")?;
    ensure!(answer.header("www-authenticate").is_none(), "{answer:?}");
    Ok(())
}

fn jwt_authn_requires() -> Result<()> {
    let mut neighbours = file("jwt-authn.yaml")?;
    neighbours["http_filters"][0]["typed_config"]["rules"][0]["requires"] = json!({ "provider_name": "as" });
    let stack = beside(neighbours)?;
    let answer = send(&Request::post(stack.url(Server::Notes), "{}"))?;
    ensure!(answer.status == 401 && answer.reason().is_none(), "{answer:?}");
    ensure!(answer.challenge("resource_metadata").is_none(), "{answer:?}");
    // The documents that tell a client where to log in are behind it, too.
    let metadata = format!("http://127.0.0.1:{}/.well-known/oauth-protected-resource/notes/mcp", stack.port());
    ensure!(send(&Request::get(metadata))?.status == 401);
    Ok(())
}

/// Where the file has its port.
const SERVICE: &str =
    "/clusters/0/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/port_value";

/// What the service was asked.
struct Asked {
    path: String,
    authorization: Option<String>,
    body: String,
}

/// The tool for whose calls the service sets another token.
const SWAPPED: &str = "wait";

/// An authorization service that refuses calls of `get-sum`, by their header.
fn service() -> Result<(u16, Receiver<Asked>)> {
    let port = free_port()?;
    let listener = Listener::http(("127.0.0.1", port)).map_err(|error| anyhow::anyhow!("no listener: {error}"))?;
    let (tell, asked) = channel();
    thread::spawn(move || {
        for mut request in listener.incoming_requests() {
            let header = |name: &'static str| {
                let header = request.headers().iter().find(|header| header.field.equiv(name));
                header.map(|header| header.value.to_string())
            };
            let (authorization, name) = (header("authorization"), header("mcp-name"));
            let (path, mut body) = (request.url().to_owned(), String::new());
            let _ = request.as_reader().read_to_string(&mut body);
            let status = if name.as_deref() == Some("get-sum") { 403 } else { 200 };
            let mut response = Response::from_string("").with_status_code(status);
            if name.as_deref() == Some(SWAPPED)
                && let Ok(header) = Header::from_bytes("authorization", "Bearer another")
            {
                response.add_header(header);
            }
            // Told before it is answered: the test asks as soon as its own answer has come.
            if tell.send(Asked { path, authorization, body }).is_err() || request.respond(response).is_err() {
                return;
            }
        }
    });
    Ok((port, asked))
}

fn with_service(mut neighbours: Value) -> Result<(EnvoyStack, Receiver<Asked>)> {
    let (port, asked) = service()?;
    *neighbours.pointer_mut(SERVICE).context("no port in the file")? = json!(port);
    Ok((beside(neighbours)?, asked))
}

fn ext_authz() -> Result<()> {
    let (stack, asked) = with_service(file("ext-authz.yaml")?)?;
    let weak = ensure_judged(&stack)?;
    let asked: Vec<Asked> = asked.try_iter().collect();
    ensure!(asked.len() == 7 && asked.iter().all(|asked| asked.path.starts_with("/check/") && asked.body.is_empty()));
    // It sees callers' tokens and none that was minted.
    let callers = [format!("Bearer {weak}"), format!("Bearer {}", spoilt(&weak))];
    let mut tokens = asked.iter().filter_map(|asked| asked.authorization.as_ref());
    ensure!(tokens.all(|token| callers.contains(token)), "another token than the caller's");

    let refused = send(&call(&stack, Server::Notes, &weak, "get-sum"))?;
    ensure!(refused.status == 403 && refused.body.is_empty() && refused.reason().is_none(), "{refused:?}");
    let entry = stack.entry(|entry| entry["details"] == "ext_authz_denied")?;
    ensure!(entry["stepup"].is_null(), "a record of what the filter never saw: {entry:#}");
    Ok(())
}

fn ext_authz_with_body() -> Result<()> {
    let mut neighbours = file("ext-authz.yaml")?;
    neighbours["http_filters"][0]["typed_config"]["with_request_body"] =
        json!({ "max_request_bytes": 1_114_112, "allow_partial_message": false });
    let (stack, asked) = with_service(neighbours)?;
    ensure_judged(&stack)?;
    ensure!(asked.try_iter().any(|asked| asked.body.contains("get-env")), "no body came");
    Ok(())
}

fn ext_authz_sets() -> Result<()> {
    let mut neighbours = file("ext-authz.yaml")?;
    neighbours["http_filters"][0]["typed_config"]["http_service"]["authorization_response"] =
        json!({ "allowed_upstream_headers": { "patterns": [{ "exact": "authorization" }] } });
    let (stack, _asked) = with_service(neighbours)?;
    let weak = stack.token(Server::Notes, "mcp:connect")?;
    expect(&call(&stack, Server::Notes, &weak, "echo"), 200, "")?;
    expect(&call(&stack, Server::Notes, &weak, SWAPPED), 401, "token_malformed")?;
    Ok(())
}

/// Why it stands before ours.
fn ext_authz_behind() -> Result<()> {
    let mut neighbours = file("ext-authz.yaml")?;
    neighbours["http_filters"].as_array_mut().context("no filters")?.reverse();
    let (stack, asked) = with_service(neighbours)?;
    let weak = stack.token(Server::Notes, "mcp:connect")?;
    expect(&call(&stack, Server::Notes, &weak, "show-token"), 200, "")?;
    let sent = asked.try_iter().next().and_then(|asked| asked.authorization).context("it was not asked")?;
    ensure!(sent.starts_with("Bearer ") && !sent.contains(&weak), "it was sent the caller's token");
    Ok(())
}

/// After the cors filter of the sample, which lets pages read also what the others refuse.
fn all() -> Result<()> {
    let mut all = json!({ "http_filters": [], "clusters": [] });
    let order = ["local-rate-limit", "decompressor", "compressor", "ext-authz", "jwt-authn", "mcp"];
    for name in order {
        let mut neighbour = file(&format!("{name}.yaml"))?;
        for word in ["http_filters", "clusters"] {
            let entries = neighbour[word].as_array_mut().map(std::mem::take).unwrap_or_default();
            let others = entries.into_iter().filter(|entry| entry["name"] != "step-up");
            all[word].as_array_mut().context("no list")?.extend(others);
        }
    }
    let filters = all["http_filters"].as_array_mut().context("no filters")?;
    ensure!(filters.len() == order.len());
    filters.push(json!({ "name": "step-up" }));
    let (port, _asked) = service()?;
    *all.pointer_mut(SERVICE).context("no port in the file")? = json!(port);
    let page = free_port()?;
    let stack = EnvoyStack::start(&Options { neighbours: Some(all), page: Some(page), ..Options::default() })?;
    let weak = ensure_judged(&stack)?;
    let origin = format!("http://127.0.0.1:{page}");
    let refused = send(&call(&stack, Server::Notes, &weak, "get-sum").with("origin", &origin))?;
    ensure!(refused.status == 403 && refused.reason().is_none(), "{refused:?}");
    ensure!(refused.header("access-control-allow-origin") == Some(&origin), "{refused:?}");
    Ok(())
}

fn mcp() -> Result<()> {
    let stack = beside(file("mcp.yaml")?)?;
    ensure_judged(&stack)?;
    Ok(())
}

/// It calls tools by other names: those are the names of the policy.
fn mcp_router() -> Result<()> {
    let stack = beside(file("mcp-router.yaml")?)?;
    let mut policy = stack.sample_policy()?;
    let tools = policy["servers"]["notes"]["tools"].as_object_mut().context("no tools")?;
    *tools = std::mem::take(tools).into_iter().map(|(name, rule)| (format!("notes__{name}"), rule)).collect();
    apply(&stack, &policy)?;
    let weak = stack.token(Server::Notes, "mcp:connect")?;
    let client = json!({ "name": "t", "version": "0" });
    let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client });
    let hello = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello });
    let answer = expect(&Request::post(stack.url(Server::Notes), hello).bearer(&weak), 200, "")?;
    let session = answer.header("mcp-session-id").context("no session")?.to_owned();
    let message = answer.message().context("no message")?;
    ensure!(message["result"]["protocolVersion"] == "2025-06-18", "{message:#}");
    let call = |tool: &str| {
        let params = if tool == "notes__echo" { json!({ "message": "hi" }) } else { json!({}) };
        let params = json!({ "name": tool, "arguments": params });
        let body = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params });
        let request = Request::post(stack.url(Server::Notes), body).bearer(&weak);
        request.with("mcp-session-id", &session).with("mcp-protocol-version", "2025-06-18")
    };
    let text = |tool: &str| -> Result<String> {
        let answer = expect(&call(tool), 200, "")?;
        let text = answer.message().and_then(|json| Some(json.pointer("/result/content/0/text")?.as_str()?.to_owned()));
        text.with_context(|| format!("{tool}: {answer:?}"))
    };
    ensure!(text("notes__echo")? == "Echo: hi");
    expect(&call("notes__get-env"), 403, "scope_missing")?;
    expect(&call("notes__delete_record"), 403, "not_allowed")?;
    expect(&call("delete_record"), 403, "not_allowed")?;
    // The server got the token that was minted for this call, which is soon dead.
    let minted = text("notes__show-token")?;
    ensure!(minted.split('.').count() == 3 && minted != weak, "{minted}");
    wait_for("the revocation", || Ok(!stack.is_active(&minted)?))
}

/// Of the revision that repeats the tool's name in a header, which the router leaves as it was.
fn mcp_router_modern() -> Result<()> {
    let stack = beside(file("mcp-router.yaml")?)?;
    let mut policy = stack.sample_policy()?;
    policy["servers"]["notes"]["tools"]["notes__echo"] = json!({ "scope": [] });
    apply(&stack, &policy)?;
    let weak = stack.token(Server::Notes, "mcp:connect")?;
    let answer = send(&call(&stack, Server::Notes, &weak, "notes__echo"))?;
    ensure!(answer.status == 500 && answer.reason().is_none(), "it works now, say so in the README: {answer:?}");
    Ok(())
}
