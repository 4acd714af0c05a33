//! Callers whose tokens say nothing: Keycloak's lightweight ones have no `sub`. Their issuer is asked about them (P23).

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use host_test::signing::claims;
use host_test::stack::send;
use libtest_mimic::Trial;
use serde_json::json;

use super::trial;
use super::world::{Filter, World, wait_for};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("opaque::lightweight_tokens_are_introspected", introspected),
        trial("opaque::lightweight_tokens_have_no_subject_without_that", no_subject),
    ]
}

/// Without keys: their issuer is asked about every token. Only a client in the token's audience learns anything, so it is the MCP
/// server's. An exchange needs keys, for what comes of it; here is none.
fn introspected(name: &str) -> Result<()> {
    let world = World::start_as(
        name,
        |_| Filter::good(),
        |world, policy| {
            policy["issuers"] = json!({ world.issuer.url.clone(): {
            "introspection": {
                "cluster": "as-keys",
                "url": world.issuer.endpoint("token/introspect"),
                "client": { "id": world.mcp, "secret_env": "KEYCLOAK_SECRET" },
                "cache": "2s",
            },
        } });
            policy["servers"]["notes"]["tools"] =
                json!({ "echo": { "scope": [] }, "get-sum": { "scope": "repo:read" } });
            for word in ["token_service", "tiers"] {
                policy.as_object_mut().map(|policy| policy.remove(word));
            }
        },
    )?;
    let caller = world.issuer.password("agent-light", "mcp:connect repo:read", "bob")?;
    ensure!(claims(&caller)["sub"].is_null(), "{:#}", claims(&caller));
    let says = world.issuer.introspect(&caller)?;
    world.call("get-sum", &caller, 200)?;
    let record = world.record()?;
    ensure!(record["subject"] == says["sub"] && record["client"] == "agent-light", "{record:#}\n{says:#}");
    // Scopes count as ever.
    let less = world.issuer.password("agent-light", "mcp:connect", "bob")?;
    world.call("get-sum", &less, 403)?;
    // Where the issuer is asked, a logout is seen.
    world.issuer.log_out_user(says["sub"].as_str().unwrap_or_default())?;
    let begin = Instant::now();
    let request = world.request("echo", &caller);
    wait_for("the refusal", || Ok(send(&request)?.status == 401))?;
    ensure!(begin.elapsed() < Duration::from_secs(4), "seen after {:?}", begin.elapsed());
    Ok(())
}

/// Signed, but for nobody in particular.
fn no_subject(name: &str) -> Result<()> {
    let world = World::start(name)?;
    let caller = world.issuer.password("agent-light", "mcp:connect repo:read", "bob")?;
    world.call("echo", &caller, 401)?;
    let record = world.record()?;
    ensure!(record["reason"] == "claim_missing", "{record:#}");
    Ok(())
}
