//! What the caller's own token must carry.

use super::Shortfall;
use crate::policy::{Held, Policy, Requirement, Scope};
use crate::reason::Reason;
use crate::time::Millis;
use crate::token::CallerToken;

/// All of it, in the order of P7.
pub(super) fn satisfied(
    policy: &Policy,
    requirement: &Requirement,
    caller: &CallerToken,
    now: Millis,
) -> Result<(), Shortfall> {
    scopes(policy, requirement, caller)?;
    lifetime(requirement, caller)?;
    login(policy, requirement, caller, now)
}

fn scopes(policy: &Policy, requirement: &Requirement, caller: &CallerToken) -> Result<(), Shortfall> {
    let claims = caller.claims();
    let missing: Vec<&Held> =
        requirement.held.iter().filter(|held| !held.scope.is_covered(|name| claims.has_scope(name))).collect();
    if missing.is_empty() {
        return Ok(());
    }
    // P7: what one part does not let be asked for is not asked for; the baseline is a part of its own.
    let is_challenged = missing.iter().all(|held| held.challenged);
    let missing = missing.iter().map(|held| held.scope.name.to_string()).collect();
    if !is_challenged {
        return Err(Shortfall { missing, ..Shortfall::plain(Reason::ScopeNotObtainable) });
    }
    Err(Shortfall {
        reason: Reason::ScopeMissing,
        missing,
        challenge: Some(asked(policy, caller, requirement.held.iter().map(|held| &held.scope))),
    })
}

/// Scopes, as they are asked of this caller (P21).
pub(super) fn asked<'s>(policy: &Policy, caller: &CallerToken, scopes: impl Iterator<Item = &'s Scope>) -> String {
    let issuer = policy.issuer(&caller.claims().issuer).map(|(_, issuer)| issuer);
    let asked = |scope: &Scope| issuer.map_or_else(|| scope.name.to_string(), |issuer| issuer.asked(&scope.name));
    let mut scopes: Vec<String> = scopes.map(asked).collect();
    scopes.sort_unstable();
    scopes.dedup();
    scopes.join(" ")
}

/// P13: of the token that carries the scopes, so asked only then.
fn lifetime(requirement: &Requirement, caller: &CallerToken) -> Result<(), Shortfall> {
    if requirement.max_lifetime.is_some_and(|most| caller.claims().lifetime() > most) {
        return Err(Shortfall::plain(Reason::TokenTooLongLivedForRule));
    }
    Ok(())
}

/// P37: a login in the future is no fresh one; clocks differ by the issuer's leeway at most.
fn login(policy: &Policy, requirement: &Requirement, caller: &CallerToken, now: Millis) -> Result<(), Shortfall> {
    let Some(most) = requirement.max_age else { return Ok(()) };
    let claims = caller.claims();
    let leeway = policy.issuer(&claims.issuer).map_or(0, |(_, issuer)| issuer.leeway);
    let leeway = i64::try_from(leeway).unwrap_or(0);
    let age = claims.auth_time.map(|time| now.seconds().saturating_sub(time)).filter(|age| *age >= -leeway);
    if age.is_some_and(|age| age <= i64::try_from(most).unwrap_or(i64::MAX)) {
        return Ok(());
    }
    Err(Shortfall::plain(Reason::LoginTooOld))
}
