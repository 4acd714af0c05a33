//! What the caller's own token must carry.

use super::{Asked, Asker, Shortfall};
use crate::policy::{Held, Policy, Requirement, Server};
use crate::reason::Reason;
use crate::time::Millis;
use crate::token::CallerToken;

/// All of it, in the order of P7.
pub(super) fn satisfied(
    policy: &Policy,
    server: &Server,
    requirement: &Requirement,
    asker: &Asker<'_>,
    now: Millis,
) -> Result<(), Shortfall> {
    scopes(policy, server, requirement, asker)?;
    lifetime(requirement, asker.caller)?;
    login(policy, requirement, asker, now)
}

fn scopes(policy: &Policy, server: &Server, requirement: &Requirement, asker: &Asker<'_>) -> Result<(), Shortfall> {
    let claims = asker.caller.claims();
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
    let granted = requirement.exchange.iter().flat_map(|exchange| &exchange.granted);
    let granted: Vec<&str> = granted.map(|scope| &*scope.name).collect();
    let needed = requirement.held.iter().map(|held| &*held.scope.name);
    let asked = Asked::Scopes(asked(policy, server, asker, needed, &granted));
    Err(Shortfall { reason: Reason::ScopeMissing, missing, challenge: Some(asked) })
}

/// P24, P21: what is needed, and up to 2025-11-25 what the caller holds of what this server's rules want, but for what it would be granted
/// for the call: clients of that time replace their scopes by those of the challenge.
pub(super) fn asked<'s>(
    policy: &Policy,
    server: &Server,
    asker: &Asker<'_>,
    needed: impl Iterator<Item = &'s str>,
    granted: &[&str],
) -> String {
    let claims = asker.caller.claims();
    let issuer = policy.issuer(&claims.issuer).map(|(_, issuer)| issuer);
    let spelled = |scope: &str| issuer.map_or_else(|| scope.to_owned(), |issuer| issuer.asked(scope));
    let steps_up = asker.ability.steps_up;
    let held = server.held_somewhere.iter().filter(|(_, by_some)| steps_up || !by_some).map(|(scope, _)| &**scope);
    let held = held.filter(|scope| !asker.modern && claims.has_scope(scope) && !granted.contains(scope));
    let mut scopes: Vec<String> = needed.map(spelled).collect();
    scopes.extend(held.map(spelled));
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
fn login(policy: &Policy, requirement: &Requirement, asker: &Asker<'_>, now: Millis) -> Result<(), Shortfall> {
    let Some(most) = requirement.max_age else { return Ok(()) };
    let claims = asker.caller.claims();
    let leeway = policy.issuer(&claims.issuer).map_or(0, |(_, issuer)| issuer.leeway);
    let leeway = i64::try_from(leeway).unwrap_or(0);
    let age = claims.auth_time.map(|time| now.seconds().saturating_sub(time)).filter(|age| *age >= -leeway);
    if age.is_some_and(|age| age <= i64::try_from(most).unwrap_or(i64::MAX)) {
        return Ok(());
    }
    let challenge = asker.ability.rfc9470.then_some(Asked::Login { max_age: most });
    Err(Shortfall { challenge, ..Shortfall::plain(Reason::LoginTooOld) })
}
