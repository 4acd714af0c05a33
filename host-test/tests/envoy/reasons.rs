//! Causes of answers that scenarios have, but not in real Envoy: those need another policy for each.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use host_test::signing::Key;
use host_test::stack::{EnvoyStack, Options, Request, Server, Stack as _, send};
use libtest_mimic::Trial;
use serde_json::{Map, Value, json};

use crate::language::{ISSUER, token};
use crate::support::{apply, call, in_session};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![trial("reasons::that_no_scenario_leads_to_in_envoy", others)]
}

fn others() -> Result<()> {
    // Each worker counts the exchanges of a caller for itself, minute by minute.
    let stack = EnvoyStack::start(&Options { workers: 1, ..Options::default() })?;
    let mut policy = stack.sample_policy()?;
    let own = stack.issuer();
    policy["issuers"][ISSUER] = json!({ "keys": { "keys": [Key::for_tests("ES256")?.public()] }, "algorithms": ["ES256"], "max_lifetime": "1h" });
    let client = policy["token_service"]["client"].clone();
    policy["issuers"][&own]["introspection"] =
        json!({ "cluster": "as-token", "url": format!("{own}/token/introspection"), "client": client });
    for (_, server) in policy["servers"].as_object_mut().into_iter().flatten() {
        server["baseline"] = json!([]);
        server["issuers"] = json!([own, ISSUER]);
        server["tools"]["bound"] = json!({ "scope": [], "binding": "certificate" });
        server["resources"] = json!({ "vault://*": { "tier": "danger", "scope": "tools:admin" } });
    }
    policy["tiers"]["danger"]["may_elevate"]["client"] = json!(["mcp-client", "agent"]);
    policy["limits"] = json!({ "exchange_rate": 1 });
    apply(&stack, &policy)?;
    let caller = stack.token(Server::Notes, "mcp:connect")?;
    let foreign = token(&stack, Server::Notes, "alice", 600)?;
    let of = |token: &str, tool: &str| call(&stack, Server::Notes, token, tool);
    let long: Map<String, Value> = (0..10_001).map(|at| (at.to_string(), Value::Null)).collect();
    let other = |method: &str, params: Value| {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        in_session(&stack, Server::Notes, &caller, "s", body)
    };
    let requests: [(&str, u16, Request); 7] = [
        ("token_not_bound", 401, of(&caller, "bound")),
        ("not_elevatable", 403, other("resources/subscribe", json!({ "uri": "vault://key" }))),
        ("issuer_not_exchangeable", 403, of(&foreign, "show-token")),
        ("elevated", 200, of(&caller, "show-token")),
        ("elevation_rate", 503, of(&caller, "show-token")),
        ("too_many_members", 400, other("tools/list", Value::Object(long))),
        ("token_inactive", 401, of("an-opaque-token", "echo")),
    ];
    leave_the_end_of_the_minute()?;
    for (reason, status, request) in requests {
        let answer = send(&request)?;
        ensure!(answer.status == status, "{reason}: {answer:?}");
        let entry = stack.entry(|entry| entry["stepup"]["reason"] == reason);
        entry.with_context(|| {
            format!("{reason}: {:#}", stack.access_log().unwrap_or_default().last().cloned().unwrap_or_default())
        })?;
    }
    policy["issuers"][&own]["introspection"]["cluster"] = json!("nowhere");
    apply(&stack, &policy)?;
    let answer = send(&of("an-opaque-token", "echo"))?;
    ensure!(answer.status == 503, "{answer:?}");
    stack.entry(|entry| entry["stepup"]["reason"] == "introspection_unavailable")?;
    Ok(())
}

/// So that what follows within ten seconds is of one minute.
fn leave_the_end_of_the_minute() -> Result<()> {
    let second = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() % 60;
    if second >= 50 {
        std::thread::sleep(Duration::from_secs(60 - second));
    }
    Ok(())
}
