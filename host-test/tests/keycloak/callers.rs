//! Who calls: users by code, services, and tokens of either kind that are no access tokens.

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use host_test::signing::claims;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::trial;
use super::world::{Filter, World, wait_for};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("callers::a_user_by_authorization_code", by_code),
        trial("callers::a_public_client_with_every_default", by_default),
        trial("callers::a_service_by_client_credentials", by_client_credentials),
        trial("callers::azp_is_the_client_under_rfc_9068", by_azp),
        trial("callers::id_tokens_and_refresh_tokens_are_refused", no_access_tokens),
    ]
}

fn by_code(name: &str) -> Result<()> {
    let world = World::start(name)?;
    let caller = world.issuer.login("agent", "mcp:connect repo:read")?.text("access_token")?;
    ensure!(claims(&caller)["client_id"] == "agent" && claims(&caller)["auth_time"].is_i64(), "{:#}", claims(&caller));
    ensure!(header(&caller)?["typ"] == "at+jwt" && header(&caller)?["alg"] == "ES256", "{}", header(&caller)?);
    served(&world, &caller, "agent")
}

/// RS256, `typ: JWT`, no `client_id`: an administrator has changed nothing.
fn by_default(name: &str) -> Result<()> {
    let world = World::start(name)?;
    let caller = world.issuer.login("agent-default", "mcp:connect repo:read")?.text("access_token")?;
    ensure!(header(&caller)?["typ"] == "JWT" && header(&caller)?["alg"] == "RS256", "{}", header(&caller)?);
    ensure!(
        claims(&caller)["client_id"].is_null() && claims(&caller)["azp"] == "agent-default",
        "{:#}",
        claims(&caller)
    );
    served(&world, &caller, "agent-default")
}

fn by_client_credentials(name: &str) -> Result<()> {
    let world = World::start_as(
        name,
        |_| Filter::good(),
        |_, policy| {
            policy["tiers"]["danger"]["may_elevate"] = json!({ "client": ["ci"] });
        },
    )?;
    let said = world.issuer.client_credentials("ci", "repo:read")?;
    ensure!(said.body["refresh_token"].is_null(), "{:#}", said.body);
    let caller = said.text("access_token")?;
    ensure!(claims(&caller)["sid"].is_null(), "{:#}", claims(&caller));
    served(&world, &caller, "ci")?;
    // And nobody else.
    let user = world.issuer.password("agent", "mcp:connect", "alice")?;
    world.call("show-token", &user, 403)?;
    let record = world.record()?;
    ensure!(record["reason"] == "not_eligible", "{record:#}");
    Ok(())
}

/// Keycloak's own switch for RFC 9068 writes the header, and no `client_id`.
fn by_azp(name: &str) -> Result<()> {
    let world = World::start_as(
        name,
        |_| Filter::good(),
        |world, policy| {
            let issuer = &mut policy["issuers"][&world.issuer.url];
            issuer["token_type"] = json!("at+jwt");
            issuer["claims"] = json!({ "client": ["client_id", "azp"] });
            policy["tiers"]["danger"]["may_elevate"] = json!({ "client": ["agent-azp"] });
        },
    )?;
    let caller = world.issuer.password("agent-azp", "mcp:connect repo:read", "alice")?;
    ensure!(header(&caller)?["typ"] == "at+jwt" && claims(&caller)["client_id"].is_null(), "{:#}", claims(&caller));
    served(&world, &caller, "agent-azp")
}

fn no_access_tokens(name: &str) -> Result<()> {
    let world = World::start(name)?;
    let said = world.issuer.login("agent", "openid mcp:connect")?;
    for (member, reason) in [("id_token", "not_an_access_token"), ("refresh_token", "algorithm_not_allowed")] {
        world.call("echo", &said.text(member)?, 401).context(member)?;
        let record = world.record()?;
        ensure!(record["reason"] == reason, "{member}: {record:#}");
    }
    Ok(())
}

/// This caller's ordinary calls run on its own token, and a dangerous one on a token for this call alone.
fn served(world: &World, caller: &str, client: &str) -> Result<()> {
    world.call("get-sum", caller, 200)?;
    let record = world.record()?;
    ensure!(record["reason"] == "permitted" && record["client"] == client, "{record:#}");
    ensure!(record["subject"] == claims(caller)["sub"], "{record:#}");
    let (token, answer) = world.elevated(caller)?;
    is_for_this_call(world, caller, &token)?;
    ensure!(answer["active"] == true && answer["aud"] == world.mcp, "during the call: {answer:#}");
    let record = world.record()?;
    let elevated = &record["elevated"];
    ensure!(record["reason"] == "elevated" && elevated["audience"] == world.mcp, "{record:#}");
    ensure!(elevated["scopes"] == json!(["repo:admin"]) && elevated["token_id"] == claims(&token)["jti"], "{record:#}");
    wait_for("the revocation", || Ok(!world.issuer.is_active(&token)?))?;
    ensure!(world.issuer.is_active(caller)?, "the caller's own token was revoked");
    Ok(())
}

/// Issued to the filter for the caller's subject and session, for this server and scope, and for 60 s at most.
pub fn is_for_this_call(world: &World, caller: &str, token: &str) -> Result<()> {
    let (before, after) = (claims(caller), claims(token));
    ensure!(after["aud"] == world.mcp && after["scope"] == "repo:admin", "{after:#}");
    ensure!(after["sub"] == before["sub"] && after["sid"] == before["sid"], "{after:#}\n{before:#}");
    ensure!(after["azp"] == "step-up-filter", "{after:#}");
    let life = after["exp"].as_i64().context("no exp")? - after["iat"].as_i64().context("no iat")?;
    ensure!((1..=60).contains(&life), "lives {life} s");
    Ok(())
}

fn header(token: &str) -> Result<Value> {
    let part = token.split('.').next().context("no JWT")?;
    Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part)?)?)
}
