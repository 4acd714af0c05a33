//! Who the filter can be to Keycloak: a client of its own, the resource's own client, or one that was clicked together.

use anyhow::{Context as _, Result, ensure};
use host_test::signing::claims;
use libtest_mimic::Trial;
use serde_json::json;

use super::callers::is_for_this_call;
use super::policy::{GIT, believe_defaults};
use super::trial;
use super::world::{Filter, World, wait_for};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("exchanges::by_a_client_of_the_filters_own", by_own_client),
        trial("exchanges::by_the_resources_own_client", by_the_resource),
        trial("exchanges::by_a_secret_of_the_filters_own", by_secret),
        trial("exchanges::by_a_private_key_of_the_filters_own", by_private_key),
        trial("exchanges::by_a_client_with_every_default", by_default),
        trial("exchanges::what_it_is_for_may_be_said", with_context),
        trial("exchanges::for_another_audience", for_another_audience),
    ]
}

fn by_own_client(name: &str) -> Result<()> {
    let world = World::start(name)?;
    let caller = caller(&world)?;
    let (token, answer) = world.elevated(&caller)?;
    is_for_this_call(&world, &caller, &token)?;
    ensure!(answer["active"] == true && answer["client_id"] == "step-up-filter", "{answer:#}");
    // One call, one token.
    ensure!(world.elevated(&caller)?.0 != token, "a token was used twice");
    gone(&world, &token)
}

/// Every caller's token names it already, and what it obtains it may introspect.
fn by_the_resource(name: &str) -> Result<()> {
    let world = World::start_as(name, Filter::named, |_, _| {})?;
    obtained_by_the_resource(&world)
}

/// The same with `secret_env`: its id is a URL, which must be encoded in HTTP Basic.
fn by_secret(name: &str) -> Result<()> {
    let world = World::start_as(name, Filter::named, |world, policy| {
        // A cluster that adds no credential.
        policy["token_service"]["cluster"] = json!("as-keys");
        policy["token_service"]["client"] = json!({ "id": world.mcp, "secret_env": "KEYCLOAK_SECRET" });
    })?;
    obtained_by_the_resource(&world)
}

/// `private_key_jwt`: no secret that both sides have.
fn by_private_key(name: &str) -> Result<()> {
    let world = authenticated_by_key(name, "step-up-filter-key")?;
    let (token, answer) = world.elevated(&caller(&world)?)?;
    ensure!(claims(&token)["azp"] == "step-up-filter-key" && answer["active"] == true, "{:#}", claims(&token));
    gone(&world, &token)
}

pub fn authenticated_by_key(name: &str, filter: &str) -> Result<World> {
    let client = json!({ "id": filter, "private_key_env": "KEYCLOAK_KEY" });
    World::start_as(
        name,
        |_| Filter::named(filter),
        |_, policy| {
            // A cluster that adds no credential.
            policy["token_service"]["cluster"] = json!("as-keys");
            policy["token_service"]["client"] = client;
        },
    )
}

/// Keycloak ignores `authorization_details` (RFC 9396) at exchanges: `context` does no harm, and no good.
fn with_context(name: &str) -> Result<()> {
    let world = World::start_as(
        name,
        |_| Filter::good(),
        |_, policy| {
            policy["token_service"]["context"] = json!(true);
        },
    )?;
    let caller = caller(&world)?;
    let (token, _) = world.elevated(&caller)?;
    is_for_this_call(&world, &caller, &token)?;
    ensure!(claims(&token)["authorization_details"].is_null(), "{:#}", claims(&token));
    gone(&world, &token)
}

fn obtained_by_the_resource(world: &World) -> Result<()> {
    let caller = caller(world)?;
    let (token, answer) = world.elevated(&caller)?;
    let after = claims(&token);
    ensure!(after["azp"] == world.mcp && after["aud"] == world.mcp && after["scope"] == "repo:admin", "{after:#}");
    ensure!(answer["active"] == true, "{answer:#}");
    gone(world, &token)
}

/// `profile` and `email` in everything, RS256, five minutes.
fn by_default(name: &str) -> Result<()> {
    let world =
        World::start_as(name, |_| Filter::named("step-up-filter-default"), |_, policy| believe_defaults(policy))?;
    let caller = caller(&world)?;
    let (token, _) = world.elevated(&caller)?;
    let after = claims(&token);
    let mut scopes: Vec<&str> = after["scope"].as_str().context("no scope")?.split(' ').collect();
    scopes.sort_unstable();
    ensure!(scopes == ["email", "profile", "repo:admin"] && after["aud"] == world.mcp, "{after:#}");
    let life = after["exp"].as_i64().context("no exp")? - after["iat"].as_i64().context("no iat")?;
    ensure!(life == 300, "lives {life} s");
    gone(&world, &token)?;
    // What the service adds is never believed of callers: there is no rule that such a scope would satisfy.
    let user = world.issuer.login("agent-default", "mcp:connect profile email")?.text("access_token")?;
    world.call("get-sum", &user, 403)?;
    let record = world.record()?;
    ensure!(record["reason"] == "scope_missing" && record["missing"] == json!(["repo:read"]), "{record:#}");
    Ok(())
}

/// The token is for the server behind the tool, and the MCP server gets it.
fn for_another_audience(name: &str) -> Result<()> {
    let world = World::start_as(
        name,
        |_| Filter::good(),
        |_, policy| {
            policy["servers"]["notes"]["tools"]["show-token"] =
                json!({ "tier": "danger", "scope": "git:admin", "audience": GIT });
        },
    )?;
    let caller = caller(&world)?;
    let token = world.said("show-token", &caller)?;
    let after = claims(&token);
    ensure!(after["aud"] == GIT && after["scope"] == "git:admin", "{after:#}");
    let introspected = || world.issuer.introspect_as(GIT, &token);
    wait_for("the revocation", || Ok(introspected()?["active"] == false))?;
    ensure!(world.issuer.is_active(&caller)?, "the caller's own token was revoked");
    Ok(())
}

fn caller(world: &World) -> Result<String> {
    world.issuer.password("agent", "mcp:connect repo:read", "alice")
}

fn gone(world: &World, token: &str) -> Result<()> {
    wait_for("the revocation", || Ok(!world.issuer.is_active(token)?))
}
