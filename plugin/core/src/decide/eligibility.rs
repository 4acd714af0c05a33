//! Who may be elevated (P8, P9), and for which operations.

use super::{Asker, Shortfall, checks};
use crate::json;
use crate::obtain::Elevation;
use crate::policy::{Condition, Exchange, Policy, Requirement, Scope, Server, Subject, all_hold};
use crate::reason::Reason;

/// P14: it narrows, whatever the caller's token carries.
pub(super) fn callers(requirement: &Requirement, asker: &Asker<'_>) -> Result<(), Shortfall> {
    if holds(&requirement.callers, asker)? { Ok(()) } else { Err(Shortfall::plain(Reason::CallerNotAllowed)) }
}

fn holds(conditions: &[Condition], asker: &Asker<'_>) -> Result<bool, Shortfall> {
    if conditions.is_empty() {
        return Ok(true);
    }
    let claims = asker.caller.claims();
    let payload = json::read_exact(&claims.payload).map_err(|_| Shortfall::plain(Reason::Internal))?;
    let subject = Subject { client: claims.client_id.as_deref(), source: asker.source, claims: &payload };
    Ok(all_hold(conditions, &subject))
}

/// P9: by name, or by a scope that implies it.
pub(super) fn standing(exchange: &Exchange, asker: &Asker<'_>) -> Result<(), Shortfall> {
    let claims = asker.caller.claims();
    let covers = |scope: &Scope| scope.is_covered(|name| claims.has_scope(name));
    if exchange.refuse_standing && exchange.granted.iter().any(covers) {
        return Err(Shortfall::plain(Reason::StandingPrivilege));
    }
    Ok(())
}

/// P8: what cannot be evaluated is no.
pub(super) fn eligible(policy: &Policy, exchange: &Exchange, asker: &Asker<'_>) -> Result<(), Shortfall> {
    let service = policy.service_at(exchange.service).ok_or(Shortfall::plain(Reason::Internal))?;
    let claims = asker.caller.claims();
    let issuer = policy.issuer(&claims.issuer).map(|(at, _)| at);
    if !issuer.is_some_and(|at| service.subject_issuers.contains(&at)) {
        return Err(Shortfall::plain(Reason::IssuerNotExchangeable));
    }
    // P23: whoever is nobody in particular cannot be elevated.
    if claims.subject.is_none() {
        return Err(Shortfall::plain(Reason::NotEligible));
    }
    // RFC 8693 4.4: where the token says who may act, it must be us.
    let named = |parties: &Vec<String>| parties.contains(&service.client.id);
    if !claims.may_act.as_ref().is_none_or(named) || !holds(&exchange.may_elevate, asker)? {
        return Err(Shortfall::plain(Reason::NotEligible));
    }
    Ok(())
}

/// P11: the token is revoked when the operation is answered, and a task would still need it.
pub(super) fn ends_with_its_answer(exchange: &Exchange, asker: &Asker<'_>) -> Result<(), Shortfall> {
    if asker.is_task && !exchange.keeps_tasks { Err(Shortfall::plain(Reason::TaskNotElevated)) } else { Ok(()) }
}

/// The exchange, for this caller and this operation.
pub(super) fn elevation(
    policy: &Policy,
    server: &Server,
    rule: &str,
    exchange: &Exchange,
    asker: &Asker<'_>,
) -> Elevation {
    let is_told = policy.service_at(exchange.service).is_some_and(|service| service.context);
    let (token, claims) = (asker.caller.token(), asker.caller.claims());
    Elevation {
        exchange: exchange.clone(),
        subject: token.clone(),
        party: (claims.issuer.clone(), claims.subject.clone(), claims.client_id.clone()),
        claims: asker.caller.shared_claims(),
        rule: rule.to_owned(),
        context: asker.context.filter(|_| is_told).map(str::to_owned),
        trace: asker.trace.to_vec(),
        fallback: exchange.fallback.then(|| fallback(policy, server, exchange, asker)),
    }
}

/// What a challenge asks for in place of the exchange: what the caller's own token would have to carry.
fn fallback(policy: &Policy, server: &Server, exchange: &Exchange, asker: &Asker<'_>) -> String {
    let scopes = server.baseline.held.iter().map(|held| &held.scope).chain(&exchange.granted);
    checks::asked(policy, server, asker, scopes.map(|scope| &*scope.name), &[])
}
