//! Shadow mode (P15): the policy only says what it would do; everything else is enforced.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use host_test::stack::{Request, Server, Stack as _};
use libtest_mimic::Trial;

use crate::support::{call, expect, stack_with};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![trial("shadow::verdicts_are_recorded_and_not_enforced", verdicts_are_recorded)]
}

/// A shadow ends within a year of its load.
fn in_half_a_year() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let day = time::OffsetDateTime::from_unix_timestamp((now + 180 * 86_400) as i64).map(|time| time.date());
    day.map_or_else(|_| String::new(), |day| format!("{}-{:02}-{:02}", day.year(), u8::from(day.month()), day.day()))
}

fn verdicts_are_recorded() -> Result<()> {
    let stack = stack_with(|policy| {
        policy["mode"] = "shadow".into();
        policy["until"] = in_half_a_year().into();
    })?;
    let token = stack.token(Server::Notes, "mcp:connect")?;
    for (tool, verdict, reason, status) in [
        ("delete_record", "deny", "denied", 403),
        ("get-env", "challenge", "scope_missing", 403),
        ("no-such-tool", "deny", "no_rule", 403),
    ] {
        expect(&call(&stack, Server::Notes, &token, tool), 200, "")?;
        let entry = stack.entry(|entry| entry["stepup"]["name"] == tool)?;
        let record = &entry["stepup"];
        ensure!(record["verdict"] == "permit" && record["mode"] == "shadow", "{record:#}");
        let would = serde_json::json!({ "verdict": verdict, "reason": reason, "status": status });
        ensure!(record["would"] == would, "{record:#}");
    }
    // Token and frame are not the policy's business.
    let foreign = stack.token(Server::Everything, "mcp:connect")?;
    expect(&call(&stack, Server::Notes, &foreign, "echo"), 401, "audience_mismatch")?;
    let twice = r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#;
    expect(&Request::post(stack.url(Server::Notes), twice).bearer(&token), 400, "duplicate_key")?;
    Ok(())
}
