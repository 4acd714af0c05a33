//! What an operator sees: the access log and the metrics.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use host_test::stack::{Request, Server, Stack as _, send};
use libtest_mimic::Trial;

use crate::support::{call, expect, stack, wait_for};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("observed::access_log_shows_the_audit_record", audit_record),
        trial("observed::metrics_are_the_fixed_list_with_labels", metrics),
    ]
}

fn audit_record() -> Result<()> {
    let stack = stack()?;
    let token = stack.token(Server::Notes, "mcp:connect")?;
    let answer = expect(&call(&stack, Server::Notes, &token, "get-env"), 403, "scope_missing")?;
    let message = answer.message().context("no body")?;
    let id = message["error"]["data"]["request_id"].as_str().context("no request_id")?.to_owned();

    // Client and operator have the same id in their hands.
    let entry = stack.entry(|entry| entry["stepup"]["id"] == id.as_str())?;
    ensure!(entry["status"] == 403 && entry["path"] == "/notes/mcp" && entry["method"] == "POST", "{entry:#}");
    let record = &entry["stepup"];
    let expected = [
        ("verdict", "challenge"),
        ("reason", "scope_missing"),
        ("mode", "enforce"),
        ("server", "notes"),
        ("method", "tools/call"),
        ("name", "get-env"),
        ("rule", "get-env"),
        ("protocol", "2026-07-28"),
        ("client", "mcp-client"),
        ("subject", "mcp-client"),
    ];
    for (field, value) in expected {
        ensure!(record[field] == value, "{field} is not {value}: {record:#}");
    }
    ensure!(record["missing"] == serde_json::json!(["tools:admin"]), "{record:#}");
    ensure!(record["issuer"] == stack.issuer(), "{record:#}");
    let text = entry.to_string();
    ensure!(!text.contains(&token) && token.split('.').all(|part| !text.contains(part)), "the log holds the token");

    expect(&Request::post(stack.url(Server::Notes), "{}"), 401, "token_missing")?;
    let entry = stack.entry(|entry| entry["stepup"]["reason"] == "token_missing")?;
    ensure!(entry["status"] == 401 && entry["stepup"]["verdict"] == "challenge", "{entry:#}");
    Ok(())
}

/// The list of docs/wire.md: names, and the labels of each.
fn fixed_list() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    [
        ("stepup_decisions_total", &["mode", "reason", "server", "verdict"][..]),
        ("stepup_exchange_ms_bucket", &["le", "server"]),
        ("stepup_exchange_ms_count", &["server"]),
        ("stepup_exchange_ms_sum", &["server"]),
        ("stepup_exchanges_total", &["outcome", "server"]),
        ("stepup_faults_total", &["kind"]),
        ("stepup_info", &["module", "policy"]),
        ("stepup_jwks_fetches_total", &["issuer", "outcome"]),
        ("stepup_keys_age_seconds", &["issuer"]),
        ("stepup_revocations_total", &["outcome"]),
        ("stepup_shadow", &[]),
    ]
    .into_iter()
    .map(|(name, labels)| (name, labels.iter().copied().collect()))
    .collect()
}

fn metrics() -> Result<()> {
    let stack = stack()?;
    let token = stack.token(Server::Notes, "mcp:connect")?;
    for tool in ["echo", "echo", "delete_record", "unlisted-tool", "show-token"] {
        send(&call(&stack, Server::Notes, &token, tool))?;
    }
    let permits = r#"stepup_decisions_total{server="notes",verdict="permit",reason="permitted",mode="enforce"} 2"#;
    let denied = r#"stepup_decisions_total{server="notes",verdict="deny",reason="denied",mode="enforce"} 1"#;
    let unmatched = r#"stepup_decisions_total{server="notes",verdict="deny",reason="no_rule",mode="enforce"} 1"#;
    // Ages and decisions are told by ticks, and Envoy merges histograms every few seconds.
    let late = ["stepup_keys_age_seconds", "stepup_revocations_total", "stepup_exchange_ms_count"];
    for text in late.into_iter().chain([permits, denied, unmatched]) {
        wait_for(text, || Ok(prometheus(&stack)?.contains(text)))
            .with_context(|| prometheus(&stack).unwrap_or_default())?;
    }
    let text = prometheus(&stack)?;
    let mut seen: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("stepup_")) {
        let (name, rest) = line.split_once('{').with_context(|| format!("no labels: {line}"))?;
        let labels = rest.split_once('}').context("no end of labels")?.0.split(',');
        seen.entry(name).or_default().extend(labels.filter_map(|label| label.split_once('=')).map(|(label, _)| label));
    }
    ensure!(seen == fixed_list(), "{text}");
    ensure!(!text.lines().any(|line| line.contains("wasmcustom")), "a metric escaped the tags:\n{text}");
    ensure!(!text.contains("unlisted-tool"), "a name from a request became a label:\n{text}");
    for line in [permits, denied, unmatched] {
        ensure!(text.lines().any(|other| other == line), "{line} is not in:\n{text}");
    }
    Ok(())
}

fn prometheus(stack: &host_test::stack::EnvoyStack) -> Result<String> {
    Ok(send(&Request::get(stack.admin_url("/stats/prometheus")))?.body)
}
