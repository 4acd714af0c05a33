//! What the caller's own token must carry.

use super::{Asked, Asker, Shortfall};
use crate::policy::{Held, Policy, Requirement, Server};
use crate::reason::Reason;
use crate::text::distinct;
use crate::time::Millis;
use crate::token::CallerToken;

/// P3: what is made of the name that is called; this one can stand in no scope.
pub(super) fn scopable(requirement: &Requirement) -> Result<(), Shortfall> {
    unless(requirement.builds(), Reason::NameNotScopable)
}

pub(super) fn denied(requirement: &Requirement) -> Result<(), Shortfall> {
    unless(requirement.deny, Reason::Denied)
}

/// P31: is the tool the one that was reviewed?
pub(super) fn pinned(server: &Server, tool: Option<&str>, changed: &dyn Fn(&str) -> bool) -> Result<(), Shortfall> {
    let Some(tool) = tool else { return Ok(()) };
    unless(changed(tool), Reason::ToolChanged)?;
    unless(server.pins.hides_others && !server.pins.digests.contains_key(tool), Reason::ToolUnpinned)
}

/// P33: a token that is bound came with its certificate, or it would not have been believed.
pub(super) fn bound(requirement: &Requirement, asker: &Asker<'_>) -> Result<(), Shortfall> {
    unless(requirement.bound && !asker.caller.claims().is_bound(), Reason::TokenNotBound)
}

/// P32.
pub(super) fn actors(requirement: &Requirement, asker: &Asker<'_>) -> Result<(), Shortfall> {
    let actors = &asker.caller.claims().actors;
    unless(requirement.act.as_ref().is_some_and(|act| !act.allows(actors)), Reason::ActorNotAllowed)
}

fn unless(is_wrong: bool, reason: Reason) -> Result<(), Shortfall> {
    if is_wrong { Err(Shortfall::plain(reason)) } else { Ok(()) }
}

/// What the token itself must carry, in the order of P7.
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
    let has = |name: &str| claims.has_scope(name);
    let missing: Vec<&Held> = requirement.held.iter().filter(|held| held.group.met(has).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    // P7: what one part does not let be asked for is not asked for; the baseline is a part of its own.
    let is_challenged = missing.iter().all(|held| held.challenged);
    let missing = missing.iter().map(|held| held.group.ask().name.to_string()).collect();
    if !is_challenged {
        return Err(Shortfall { missing, ..Shortfall::plain(Reason::ScopeNotObtainable) });
    }
    let asked = Asked::Scopes(named_in_challenge(policy, server, requirement, asker));
    Err(Shortfall { reason: Reason::ScopeMissing, missing, challenge: Some(asked) })
}

/// P24: what a challenge names that is about what the caller's own token lacks.
pub(super) fn named_in_challenge(
    policy: &Policy,
    server: &Server,
    requirement: &Requirement,
    asker: &Asker<'_>,
) -> String {
    let granted = requirement.exchange.iter().flat_map(|exchange| &exchange.granted);
    let granted: Vec<&str> = granted.map(|group| &*group.ask().name).collect();
    // P3: of a group that is met, the member that is held.
    let needed = requirement.held.iter().map(|held| {
        let mut members = held.group.members();
        &*members.find(|scope| asker.caller.claims().has_scope(&scope.name)).unwrap_or(held.group.ask()).name
    });
    asked(policy, server, asker, needed, &granted)
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
    distinct(scopes).join(" ")
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
    let claims = asker.caller.claims();
    let leeway = policy.issuer(&claims.issuer).map_or(0, |(_, issuer)| issuer.leeway);
    let leeway = i64::try_from(leeway).unwrap_or(0);
    let age = claims.auth_time.map(|time| now.seconds().saturating_sub(time)).filter(|age| *age >= -leeway);
    let is_old = |most: u64| age.is_none_or(|age| age > i64::try_from(most).unwrap_or(i64::MAX));
    let is_weak = |values: &Vec<String>| claims.acr.as_ref().is_none_or(|acr| !values.contains(acr));
    let reason = match (requirement.max_age.is_some_and(is_old), requirement.acr.as_ref().is_some_and(is_weak)) {
        (true, _) => Reason::LoginTooOld,
        (false, true) => Reason::LoginTooWeak,
        (false, false) => return Ok(()),
    };
    let asked = Asked::Login { max_age: requirement.max_age, acr: requirement.acr.as_ref().map(|acr| acr.join(" ")) };
    Err(Shortfall { challenge: asker.ability.rfc9470.then_some(asked), ..Shortfall::plain(reason) })
}
