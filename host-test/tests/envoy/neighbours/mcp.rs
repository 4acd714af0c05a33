//! Envoy's own mcp filter with a rule of RBAC, and ours, on the same three bodies. One tool is denied in both.

use anyhow::{Result, ensure};
use host_test::stack::{Answer, EnvoyStack, Options, Server, Setup, Stack as _, send};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::support::{in_session, open_session, stack};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("neighbours::three_bodies_that_envoys_mcp_filter_lets_pass", as_it_comes),
        trial("neighbours::three_bodies_and_envoys_mcp_filter_at_its_strictest", strictest),
        trial("neighbours::three_bodies_that_ours_refuses", ours),
    ]
}

/// What each is, and its body.
fn bodies() -> [(&'static str, String); 3] {
    let call = |params: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
    let long = format!(r#"{{"arguments":{{"id":"7","note":"{}"}},"name":"delete_record"}}"#, "x".repeat(10 << 10));
    let one = call(r#"{"name":"delete_record","arguments":{"id":"7"}}"#);
    [
        ("its name behind 10 KB", call(&long)),
        ("its name twice", call(r#"{"name":"delete_record","name":"echo","arguments":{"id":"7","message":"hi"}}"#)),
        ("a batch", format!("[{one}]")),
    ]
}

/// A session, in which bodies are sent.
struct Caller {
    stack: EnvoyStack,
    token: String,
    session: String,
}

impl Caller {
    fn of(stack: EnvoyStack) -> Result<Caller> {
        let token = stack.token(Server::Notes, "mcp:connect")?;
        let session = open_session(&stack, Server::Notes, &token)?;
        Ok(Caller { stack, token, session })
    }

    fn send(&self, body: &str) -> Result<Answer> {
        let mut request = in_session(&self.stack, Server::Notes, &self.token, &self.session, json!({}));
        request.body = Some(body.to_owned());
        send(&request)
    }
}

/// Envoy without our filter.
fn guarded_by_envoy(settings: Value) -> Result<Caller> {
    let mut mcp = settings;
    mcp["@type"] = json!("type.googleapis.com/envoy.extensions.filters.http.mcp.v3.Mcp");
    let name = json!({
        "filter": "envoy.filters.http.mcp", "path": [{ "key": "params" }, { "key": "name" }],
        "value": { "string_match": { "exact": "delete_record" } },
    });
    let rules = json!({ "action": "DENY", "policies": { "delete": {
        "permissions": [{ "metadata": name }], "principals": [{ "any": true }],
    } } });
    let neighbours = json!({ "http_filters": [
        { "name": "envoy.filters.http.mcp", "typed_config": mcp },
        { "name": "envoy.filters.http.rbac", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC", "rules": rules,
        } },
        { "name": "step-up" },
    ] });
    let options = Options { neighbours: Some(neighbours), setup: Setup::Open, ..Options::default() };
    let caller = Caller::of(EnvoyStack::start(&options)?)?;
    // The rule is right: an ordinary call of the tool is refused, and another one passes.
    let call = |name: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{name}","arguments":{{"id":"7","message":"hi"}}}}}}"#
        )
    };
    let (denied, allowed) = (caller.send(&call("delete_record"))?, caller.send(&call("echo"))?);
    ensure!(denied.status == 403 && allowed.status == 200, "{denied:?}\n{allowed:?}");
    Ok(caller)
}

/// It came to the server.
fn passed(answer: &Answer) -> bool {
    !(answer.status == 403 && answer.body.contains("RBAC")) && answer.header("x-envoy-upstream-service-time").is_some()
}

fn as_it_comes() -> Result<()> {
    let caller = guarded_by_envoy(json!({}))?;
    for (what, body) in bodies() {
        let answer = caller.send(&body)?;
        println!("{what}: {} {}", answer.status, answer.body);
        ensure!(passed(&answer), "{what}: {answer:?}");
        if what.contains("10 KB") {
            ensure!(answer.body.contains("deleted 7"), "{answer:?}");
        }
    }
    Ok(())
}

fn strictest() -> Result<()> {
    let caller = guarded_by_envoy(json!({ "traffic_mode": "REJECT_NO_MCP", "reject_duplicate_keys": true }))?;
    for (what, body) in bodies() {
        let answer = caller.send(&body)?;
        println!("{what}: {} {}", answer.status, answer.body);
        ensure!(answer.status >= 400 && !passed(&answer), "{what}: {answer:?}");
    }
    // The price: whatever is longer than it reads.
    let harmless = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "echo", "arguments": { "message": "x".repeat(10 << 10) },
    } });
    let answer = caller.send(&harmless.to_string())?;
    ensure!(answer.status >= 400 && !passed(&answer), "{answer:?}");
    Ok(())
}

fn ours() -> Result<()> {
    let caller = Caller::of(stack()?)?;
    for ((what, body), (status, reason)) in
        bodies().into_iter().zip([(403, "not_allowed"), (400, "duplicate_key"), (400, "batch")])
    {
        let answer = caller.send(&body)?;
        let got = answer.reason().unwrap_or_default();
        ensure!((answer.status, got.as_str()) == (status, reason), "{what}: {answer:?}");
    }
    Ok(())
}
