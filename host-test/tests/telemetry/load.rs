//! A bounded load on stacks of `envoy/`, in which everything happens that the dashboard shows.

use std::thread::sleep;
use std::time::{Duration, SystemTime};

use host_test::stack::{EnvoyStack, Request, Server, Setup, Stack as _, send};
use serde_json::json;
use time::OffsetDateTime;

/// So many rounds of calls; in their middle a faulty policy, and a good one with a rule in shadow mode.
pub fn run(stacks: &[EnvoyStack], rounds: usize) {
    calls(stacks, rounds / 2);
    for stack in stacks {
        let taken = stat(stack, "update_success");
        stack.update(&Setup::Configuration(json!({ "version": 1, "surprise": true }).to_string())).unwrap();
        wait_for(stack, "config_fail", 1);
        let mut policy = stack.sample_policy().unwrap();
        let rule = &mut policy["servers"]["notes"]["tools"]["get-env"];
        rule["mode"] = json!("shadow");
        rule["until"] = json!((OffsetDateTime::from(SystemTime::now()) + time::Duration::days(180)).date().to_string());
        stack.update(&Setup::Configuration(policy.to_string())).unwrap();
        wait_for(stack, "update_success", taken + 1);
    }
    calls(stacks, rounds - rounds / 2);
}

/// Mostly what passes; now and then what is refused, challenged or elevated.
fn calls(stacks: &[EnvoyStack], rounds: usize) {
    let token = |stack: &EnvoyStack, server| stack.token(server, "mcp:connect").unwrap();
    let tokens: Vec<_> =
        stacks.iter().map(|stack| (stack, token(stack, Server::Notes), token(stack, Server::Everything))).collect();
    for round in 0..rounds {
        for (stack, notes, everything) in &tokens {
            let every =
                [("echo", 1), ("get-sum", 1), ("echo", 1), ("show-token", 4), ("get-env", 3), ("delete_record", 5)];
            for (tool, _) in every.iter().filter(|(_, every)| round % every == 0) {
                send(&call(stack, notes, tool)).unwrap();
            }
            // Without a token; and with one for another server.
            send(&Request::post(stack.url(Server::Everything), "{}")).unwrap();
            if round % 5 == 0 {
                send(&call(stack, everything, "echo")).unwrap();
            }
        }
        sleep(Duration::from_millis(200));
    }
}

/// A `tools/call` of revision 2026-07-28 at the server `notes`.
fn call(stack: &EnvoyStack, token: &str, tool: &str) -> Request {
    let mut body = host_test::story::modern_call(tool);
    body["params"]["arguments"] = match tool {
        "echo" => json!({ "message": "hi" }),
        "get-sum" => json!({ "a": 2, "b": 3 }),
        _ => json!({}),
    };
    let request =
        Request::post(stack.url(Server::Notes), body).bearer(token).with("mcp-protocol-version", "2026-07-28");
    request.with("mcp-method", "tools/call").with("mcp-name", tool)
}

fn stat(stack: &EnvoyStack, name: &str) -> u64 {
    stack.stat(&format!("extension_config_discovery.http_filter.step-up.{name}")).unwrap()
}

fn wait_for(stack: &EnvoyStack, name: &str, least: u64) {
    for _ in 0..1000 {
        if stat(stack, name) >= least {
            return;
        }
        sleep(Duration::from_millis(20));
    }
    panic!("waited in vain for {name} of {least}");
}
