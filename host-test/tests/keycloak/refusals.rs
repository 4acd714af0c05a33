//! What Keycloak refuses, in its own words, and what becomes of the call (P28).
//!
//! Each trial first asks Keycloak for the very exchange that the filter will ask for, so that the words are seen to be Keycloak's.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use host_test::stack::{Server, Stack as _};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::exchanges::authenticated_by_key;
use super::issuer::Said;
use super::policy::GIT;
use super::realm::OLD;
use super::trial;
use super::world::{Filter, World};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("refusals::a_revoked_subject", revoked),
        trial("refusals::a_user_who_was_logged_out", logged_out),
        trial("refusals::a_subject_whose_key_was_disabled", key_disabled),
        trial("refusals::a_subject_that_has_expired_for_keycloak", expired),
        trial("refusals::a_dead_subject_before_any_success", dead_before_success),
        trial("refusals::a_filter_that_the_subject_does_not_name", unnamed),
        trial("refusals::a_filter_without_the_switch_for_exchanges", switched_off),
        trial("refusals::a_filter_that_needs_consent", consent),
        trial("refusals::a_scope_that_the_filter_may_not_have", foreign_scope),
        trial("refusals::an_audience_that_the_scope_does_not_bring", audience_unavailable),
        trial("refusals::an_audience_that_is_no_client", audience_unknown),
        trial("refusals::an_audience_with_a_slash_more", audience_with_slash),
        trial("refusals::an_audience_that_is_switched_off", audience_off),
        trial("refusals::a_wrong_secret", wrong_secret),
        trial("refusals::an_unknown_filter", unknown_filter),
        trial("refusals::a_key_that_keycloak_does_not_have", unknown_key),
        trial("refusals::a_bound_subject_never_gets_there", bound),
    ]
}

/// What must become of the call.
struct Told {
    status: u16,
    code: i64,
    reason: &'static str,
}

/// The token service says no.
const REFUSED: Told = Told { status: 403, code: 40302, reason: "elevation_refused" };
/// The caller has to log in again.
const DEAD: Told = Told { status: 401, code: 40101, reason: "subject_token_rejected" };
/// The operator has to act.
const NOT_ACCEPTED: Told = Told { status: 503, code: 50301, reason: "filter_not_accepted" };

const INVALID: (u16, &str, &str) = (400, "invalid_request", "Invalid token");

// ---- the subject is dead

fn revoked(name: &str) -> Result<()> {
    dies(name, "alice", |world, caller| world.issuer.revoke("agent", caller))
}

fn logged_out(name: &str) -> Result<()> {
    dies(name, "bob", |world, caller| world.issuer.log_out(caller))
}

fn key_disabled(name: &str) -> Result<()> {
    dies(name, "alice", |world, caller| {
        world.issuer.rotate(300)?;
        world.issuer.disable_key_of(caller)
    })
}

/// 2 s of life are over for Keycloak, and not yet for us, whose clock may differ by 30 s.
fn expired(name: &str) -> Result<()> {
    let world = World::start(name)?;
    let good = world.issuer.password("agent", "mcp:connect", "bob")?;
    world.call("show-token", &good, 200)?;
    let caller = world.issuer.password("agent-short", "mcp:connect", "alice")?;
    sleep(Duration::from_millis(3500));
    let said = says(ask(&world, &caller), INVALID)?;
    becomes(&world, &caller, &DEAD, &said)
}

/// A token of `user` that was elevated once, and then dies so. Keycloak's word for that is the word for other faults too; here an
/// exchange has succeeded, so it is the token. The caller is sent to log in, once.
fn dies(name: &str, user: &str, die: fn(&World, &str) -> Result<()>) -> Result<()> {
    let world = World::start(name)?;
    let caller = world.issuer.password("agent", "mcp:connect", user)?;
    world.call("show-token", &caller, 200)?;
    die(&world, &caller)?;
    let said = says(ask(&world, &caller), INVALID)?;
    becomes(&world, &caller, &DEAD, &said)?;
    // A client that comes back with the same subject's token is not sent in circles.
    becomes(&world, &caller, &REFUSED, &said).context("again")?;
    // And a login is all that it takes. The fresh key may have to be fetched.
    let fresh = world.issuer.password("agent", "mcp:connect", user)?;
    let mut served = world.call("show-token", &fresh, 200);
    for _ in 0..10 {
        if served.is_err() {
            sleep(Duration::from_secs(1));
            served = world.call("show-token", &fresh, 200);
        }
    }
    served.context("after a login").map(drop)
}

fn dead_before_success(name: &str) -> Result<()> {
    let world = World::start(name)?;
    let caller = world.issuer.password("agent", "mcp:connect", "alice")?;
    world.issuer.revoke("agent", &caller)?;
    let said = says(ask(&world, &caller), INVALID)?;
    becomes(&world, &caller, &REFUSED, &said)
}

// ---- the realm, or the filter's client, is set up otherwise

fn unnamed(name: &str) -> Result<()> {
    let world = World::start_as(name, |_| Filter::named("step-up-filter-unnamed"), |_, _| {})?;
    let words = (403, "access_denied", "Client is not within the token audience");
    refuses(&world, "step-up-filter-unnamed", "repo:admin", words)
}

fn switched_off(name: &str) -> Result<()> {
    let world = World::start_as(name, |_| Filter::named("step-up-filter-off"), |_, _| {})?;
    let words = (400, "invalid_request", "Standard token exchange is not enabled for the requested client");
    refuses(&world, "step-up-filter-off", "repo:admin", words)
}

fn consent(name: &str) -> Result<()> {
    let world = World::start_as(name, |_| Filter::named("step-up-filter-consent"), |_, _| {})?;
    refuses(&world, "step-up-filter-consent", "repo:admin", (400, "invalid_scope", "Missing consents"))
}

fn foreign_scope(name: &str) -> Result<()> {
    let world = World::start_as(
        name,
        |_| Filter::good(),
        |_, policy| {
            tool(policy)["scope"] = json!("repo:read");
        },
    )?;
    refuses(&world, "step-up-filter", "repo:read", (400, "invalid_scope", "Invalid scopes: repo:read"))
}

fn refuses(world: &World, filter: &str, scope: &str, words: (u16, &str, &str)) -> Result<()> {
    let caller = world.issuer.password("agent", "mcp:connect", "alice")?;
    let said = says(world.issuer.exchange(filter, &caller, &world.mcp, scope), words)?;
    becomes(world, &caller, &REFUSED, &said)
}

// ---- the target: 400 `invalid_client` is about it, and 401 about us

fn audience_unavailable(name: &str) -> Result<()> {
    let unavailable = format!("Requested audience not available: {GIT}");
    audience(name, |_| GIT.to_owned(), (400, "invalid_request", &unavailable))
}

fn audience_unknown(name: &str) -> Result<()> {
    audience(name, |_| "https://nobody.test/".to_owned(), (400, "invalid_client", "Audience not found"))
}

fn audience_with_slash(name: &str) -> Result<()> {
    audience(name, |world| format!("{}/", world.mcp), (400, "invalid_client", "Audience not found"))
}

fn audience_off(name: &str) -> Result<()> {
    audience(name, |_| OLD.to_owned(), (400, "invalid_client", "Client disabled"))
}

fn audience(name: &str, audience: fn(&World) -> String, words: (u16, &str, &str)) -> Result<()> {
    let world = World::start_as(
        name,
        |_| Filter::good(),
        |world, policy| {
            tool(policy)["audience"] = json!(audience(world));
        },
    )?;
    let caller = world.issuer.password("agent", "mcp:connect", "alice")?;
    let said = says(world.issuer.exchange("step-up-filter", &caller, &audience(&world), "repo:admin"), words)?;
    becomes(&world, &caller, &REFUSED, &said)?;
    // Other rules are not concerned.
    world.elevated(&caller).map(drop)
}

fn wrong_secret(name: &str) -> Result<()> {
    not_accepted(name, Filter { secret: "wrong", ..Filter::good() }, (401, "unauthorized_client", "Invalid client"))
}

fn unknown_filter(name: &str) -> Result<()> {
    not_accepted(name, Filter::named("nobody"), (401, "invalid_client", "Invalid client"))
}

/// It is about us, and Keycloak says 400 `invalid_client` all the same, as of a target that is no client. The operator learns it
/// from the description only.
fn unknown_key(name: &str) -> Result<()> {
    let world = authenticated_by_key(name, "step-up-filter-keyless")?;
    let caller = world.issuer.password("agent", "mcp:connect", "alice")?;
    let body = json!({ "error": "invalid_client", "error_description": "Unable to load public key" });
    becomes(&world, &caller, &REFUSED, &Said { status: 400, body })
}

fn not_accepted(name: &str, filter: Filter, words: (u16, &str, &str)) -> Result<()> {
    let (id, secret) = (filter.id.clone(), filter.secret);
    let world = World::start_as(name, |_| filter, |_, _| {})?;
    let caller = world.issuer.password("agent", "mcp:connect", "alice")?;
    let said = says(world.issuer.exchange_with(&id, secret, &caller, &world.mcp, "repo:admin"), words)?;
    becomes(&world, &caller, &NOT_ACCEPTED, &said)?;
    // Ordinary calls do not need it.
    world.call("echo", &caller, 200).map(drop)
}

// ---- before it gets there

fn bound(name: &str) -> Result<()> {
    let world = World::start(name)?;
    let caller = world.issuer.bound()?;
    let words = (400, "invalid_request", "Sender-constrained token exchange rejected");
    says(ask(&world, &caller), words)?;
    world.call("show-token", &caller, 401)?;
    let record = world.record()?;
    ensure!(record["reason"] == "token_bound", "{record:#}");
    Ok(())
}

// ---- what they are made with

fn tool(policy: &mut Value) -> &mut Value {
    &mut policy["servers"]["notes"]["tools"]["show-token"]
}

fn ask(world: &World, caller: &str) -> Result<Said> {
    world.issuer.exchange("step-up-filter", caller, &world.mcp, "repo:admin")
}

/// Keycloak says exactly so.
fn says(said: Result<Said>, (status, error, description): (u16, &str, &str)) -> Result<Said> {
    let said = said?;
    let same = said.status == status && said.body["error"] == error;
    let described = said.body["error_description"].as_str().is_some_and(|text| text.starts_with(description));
    ensure!(same && described, "Keycloak was expected to say {status} {error} {description:?}, and says {said:?}");
    Ok(said)
}

/// The call is told so, nothing of it reaches the server, and the record has Keycloak's words.
fn becomes(world: &World, caller: &str, told: &Told, said: &Said) -> Result<()> {
    let before = world.stack.upstream_requests(Server::Notes)?;
    let answer = world.call("show-token", caller, told.status)?;
    let message = answer.message().unwrap_or_default();
    ensure!(message["error"]["code"] == told.code, "{message:#}");
    let challenge = (told.status == 401).then_some("invalid_token");
    ensure!(answer.challenge("error") == challenge, "{answer:?}");
    ensure!(world.stack.upstream_requests(Server::Notes)? == before, "it was forwarded");
    let record = world.record()?;
    ensure!(record["reason"] == told.reason, "{record:#}");
    let words = record["service_error"].to_string();
    for member in ["error", "error_description"] {
        let word = said.text(member)?;
        ensure!(words.contains(&word), "the record does not say {word:?}: {record:#}");
        // The operator's business.
        ensure!(!answer.body.contains(&word), "the client is told {word:?}: {}", answer.body);
    }
    // Waiting heals none of these.
    ensure!(answer.header("retry-after").is_none(), "{answer:?}");
    Ok(())
}
