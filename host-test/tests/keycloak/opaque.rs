//! Callers whose tokens say nothing: Keycloak's lightweight ones have no `sub`.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;

use super::trial;
use super::world::World;

pub fn trials() -> Vec<Trial> {
    vec![trial("opaque::lightweight_tokens_have_no_subject_without_that", no_subject)]
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
