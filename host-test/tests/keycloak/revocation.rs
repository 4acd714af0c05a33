//! What Keycloak itself says of tokens that were taken back, and of those whose user was logged out.

use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use host_test::stack::send;
use libtest_mimic::Trial;

use super::trial;
use super::world::{World, wait_for};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("revocation::active_during_the_call_and_inactive_after_it", ends_with_the_call),
        trial("revocation::every_one_of_many", every_one),
        trial("revocation::a_logout_ends_elevated_tokens_too", ends_with_the_session),
        trial("revocation::a_revoked_caller_passes_until_exp", callers_are_verified_offline),
    ]
}

fn ends_with_the_call(name: &str) -> Result<()> {
    let world = World::start(name)?;
    let caller = world.issuer.password("agent", "mcp:connect", "alice")?;
    let begin = Instant::now();
    let (token, meanwhile) = world.elevated(&caller)?;
    ensure!(meanwhile["active"] == true && meanwhile["scope"] == "repo:admin", "{meanwhile:#}");
    wait_for("the revocation", || Ok(!world.issuer.is_active(&token)?))?;
    println!("call and revocation took {:?}", begin.elapsed());
    let after = world.issuer.introspect(&token)?;
    ensure!(after == serde_json::json!({ "active": false }), "{after:#}");
    ensure!(world.issuer.is_active(&caller)?, "the caller's own token was revoked");
    // A call that takes its time keeps its token for that long: only its end ends it.
    let waiting = world.request("wait", &caller);
    let answer = send(&waiting)?;
    ensure!(answer.status == 200, "{answer:?}");
    wait_for("the second revocation", || Ok(world.revoked()? == 2))
}

fn every_one(name: &str) -> Result<()> {
    const CALLERS: u64 = 4;
    const CALLS: u64 = 15;
    let world = World::start(name)?;
    let callers = ["alice", "bob", "alice", "bob"].map(|user| world.issuer.password("agent", "mcp:connect", user));
    let tokens = scope(|threads| -> Result<Vec<String>> {
        let running: Vec<_> = callers
            .into_iter()
            .map(|caller| {
                let world = &world;
                threads.spawn(move || {
                    let caller = caller?;
                    (0..CALLS).map(|_| world.said("show-token", &caller)).collect::<Result<Vec<_>>>()
                })
            })
            .collect();
        let mut tokens = Vec::new();
        for thread in running {
            tokens.extend(thread.join().map_err(|_| anyhow::anyhow!("a caller panicked"))??);
        }
        Ok(tokens)
    })?;
    let mut different = tokens.clone();
    different.sort_unstable();
    different.dedup();
    ensure!(different.len() as u64 == CALLERS * CALLS, "{} tokens for {} calls", different.len(), CALLERS * CALLS);
    wait_for("all revocations", || Ok(world.revoked()? == CALLERS * CALLS))?;
    for token in tokens {
        ensure!(!world.issuer.is_active(&token)?, "a token is still alive");
    }
    Ok(())
}

fn ends_with_the_session(name: &str) -> Result<()> {
    let world = World::start(name)?;
    let caller = world.issuer.password("agent", "mcp:connect", "bob")?;
    // The filter's exchange, made by hand: nobody revokes what comes of it.
    let minted = world.issuer.exchange("step-up-filter", &caller, &world.mcp, "repo:admin")?.text("access_token")?;
    ensure!(world.issuer.is_active(&minted)?, "not even born");
    // And one in the middle of a call, which ends well.
    let (issuer, waiting) = (&world.issuer, world.request("wait", &caller));
    let answer = scope(|threads| {
        let call = threads.spawn(|| send(&waiting));
        sleep(Duration::from_secs(1));
        issuer.log_out(&caller)?;
        call.join().map_err(|_| anyhow::anyhow!("the caller panicked"))?
    })?;
    ensure!(answer.status == 200, "{answer:?}");
    ensure!(!world.issuer.is_active(&minted)?, "an elevated token outlived the session");
    ensure!(!world.issuer.is_active(&caller)?, "the caller's token outlived the session");
    wait_for("the revocation", || Ok(world.revoked()? == 1))
}

/// As SECURITY.md says: verified offline.
fn callers_are_verified_offline(name: &str) -> Result<()> {
    let world = World::start(name)?;
    let caller = world.issuer.password("agent", "mcp:connect", "alice")?;
    world.issuer.revoke("agent", &caller)?;
    ensure!(!world.issuer.is_active(&caller)?, "not revoked");
    world.call("echo", &caller, 200)?;
    Ok(())
}
