//! What Keycloak gives that is not what was asked for: the token is taken back, and nothing reaches the server.

use anyhow::{Context as _, Result, ensure};
use host_test::stack::{Server, Stack as _};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::policy::believe_defaults;
use super::trial;
use super::world::{Filter, World, wait_for};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("unacceptable::a_token_for_two_audiences", two_audiences),
        trial("unacceptable::scopes_that_nobody_asked_for", too_wide),
        trial("unacceptable::a_token_that_lives_for_five_minutes", too_long),
        trial("unacceptable::a_token_that_is_signed_otherwise", signed_otherwise),
        trial("unacceptable::three_times_and_then_it_is_left_alone", left_alone),
    ]
}

/// A scope brings its audience along. Asked for by `audience`, only that one is left.
fn two_audiences(name: &str) -> Result<()> {
    let both = |policy: &mut Value| {
        for tool in ["show-token", "ask-issuer"] {
            policy["servers"]["notes"]["tools"][tool]["scope"] = json!(["repo:admin", "git:admin"]);
        }
    };
    let world = World::start_as(
        name,
        |_| Filter::good(),
        |_, policy| {
            both(policy);
            policy["token_service"]["request"] = json!({ "target": "unsaid" });
        },
    )?;
    refused(&world, "elevated_audience")?;
    let mut policy = world.policy("step-up-filter");
    both(&mut policy);
    world.apply(&policy)?;
    let (token, _) = world.elevated(&caller(&world)?)?;
    let after = host_test::signing::claims(&token);
    ensure!(after["aud"] == world.mcp, "{after:#}");
    Ok(())
}

fn too_wide(name: &str) -> Result<()> {
    let world = by_default(name, |policy| {
        policy["token_service"].as_object_mut().map(|service| service.remove("also_granted"));
    })?;
    refused(&world, "granted_too_wide")
}

fn too_long(name: &str) -> Result<()> {
    let world = by_default(name, |policy| policy["tiers"]["danger"]["ttl"] = json!("60s"))?;
    refused(&world, "elevated_lifetime")
}

fn signed_otherwise(name: &str) -> Result<()> {
    let world = by_default(name, |policy| {
        for issuer in policy["issuers"].as_object_mut().into_iter().flat_map(serde_json::Map::values_mut) {
            issuer["algorithms"] = json!(["ES256"]);
        }
    })?;
    refused(&world, "elevated_signature")
}

/// Nothing is minted only to be taken back.
fn left_alone(name: &str) -> Result<()> {
    let world = by_default(name, |policy| policy["tiers"]["danger"]["ttl"] = json!("60s"))?;
    let caller = caller(&world)?;
    for call in 1..=6 {
        world.call("show-token", &caller, 503)?;
        let record = world.record()?;
        ensure!(record["reason"] == "elevated_lifetime", "call {call}: {record:#}");
    }
    let minted = world.issuer.events("TOKEN_EXCHANGE")?;
    ensure!(minted.len() == 3, "Keycloak has minted {} times", minted.len());
    // Another rule is another matter, and so are ordinary calls.
    world.call("echo", &caller, 200).map(drop)
}

/// The client that was clicked together, under a policy that puts up with it but for one thing.
fn by_default(name: &str, change: impl FnOnce(&mut Value)) -> Result<World> {
    World::start_as(
        name,
        |_| Filter::named("step-up-filter-default"),
        |_, policy| {
            believe_defaults(policy);
            change(policy);
        },
    )
}

fn caller(world: &World) -> Result<String> {
    world.issuer.password("agent", "mcp:connect", "alice")
}

fn refused(world: &World, reason: &str) -> Result<()> {
    let (before, revoked) = (world.stack.upstream_requests(Server::Notes)?, world.revoked()?);
    let answer = world.call("show-token", &caller(world)?, 503)?;
    let message = answer.message().unwrap_or_default();
    ensure!(message["error"]["code"] == 50300, "{message:#}");
    let record = world.record()?;
    ensure!(record["reason"] == reason, "{record:#}");
    ensure!(world.stack.upstream_requests(Server::Notes)? == before, "it was forwarded");
    // Waiting heals none of these.
    ensure!(answer.header("retry-after").is_none(), "{answer:?}");
    wait_for("the revocation", || Ok(world.revoked()? == revoked + 1)).context(reason.to_owned())
}
