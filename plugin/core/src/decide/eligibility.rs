//! Who may be elevated (P8, P9), and for which operations.

use super::case::Way;
use super::{Asker, Shortfall, checks};
use crate::mcp::Context;
use crate::obtain::Elevation;
use crate::policy::{ExchangeTerms, Group, Policy, Rule, Server};
use crate::reason::Reason;

/// P9: by name, or by a scope that implies it.
pub(super) fn standing(exchange: &ExchangeTerms, asker: &Asker<'_>) -> Result<(), Shortfall> {
    let claims = asker.caller.claims();
    let covers = |group: &Group| group.met(|name| claims.has_scope(name)).is_some();
    if exchange.refuse_standing && exchange.granted.iter().any(covers) {
        return Err(Shortfall::plain(Reason::StandingPrivilege));
    }
    Ok(())
}

/// P8: may this caller's token be sent, and for us?
pub(super) fn eligible(policy: &Policy, exchange: &ExchangeTerms, asker: &Asker<'_>) -> Result<(), Shortfall> {
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
    if !claims.may_act.as_ref().is_none_or(named) {
        return Err(Shortfall::plain(Reason::NotEligible));
    }
    Ok(())
}

/// P11, P20: the token is revoked when the operation is answered. A task would still need it, and a stream that is listened to.
pub(super) fn ends_with_its_answer(exchange: &ExchangeTerms, asker: &Asker<'_>, way: Way) -> Result<(), Shortfall> {
    match way {
        Way::Listen => Err(Shortfall::plain(Reason::NotElevatable)),
        _ if asker.is_task && !exchange.keeps_tasks => Err(Shortfall::plain(Reason::TaskNotElevated)),
        _ => Ok(()),
    }
}

/// The exchange, for this caller and this operation.
pub(super) fn elevation(
    policy: &Policy,
    server: &Server,
    rule: Option<&Rule>,
    exchange: &ExchangeTerms,
    asker: &Asker<'_>,
) -> Elevation {
    let is_told = policy.service_at(exchange.service).is_some_and(|service| service.context);
    let (token, claims) = (asker.caller.token(), asker.caller.claims());
    Elevation {
        exchange: exchange.resolved(&server.resource),
        subject: token.clone(),
        party: (claims.issuer.clone(), claims.subject.clone(), claims.client_id.clone()),
        claims: asker.caller.shared_claims(),
        rule: rule.map(|rule| rule.place.clone()).unwrap_or_default(),
        context: asker
            .context
            .filter(|_| is_told)
            .map(|context| told(context, server, rule, claims.client_id.as_deref())),
        trace: asker.trace.to_vec(),
        fallback: exchange.fallback.then(|| fallback(policy, server, exchange, asker)),
    }
}

/// RFC 9396: the operation as the token service sees it, with the labels that the policy gives it (P36).
fn told(context: &Context, server: &Server, rule: Option<&Rule>, client: Option<&str>) -> String {
    let mut object = serde_json::json!({
        "type": "mcp_operation", "method": context.method, "name": context.name, "client_id": client,
        "arguments_sha256": context.arguments,
    });
    let data_class = rule.and_then(|rule| rule.data_class.as_ref()).or(server.data_class.as_ref());
    let labels = [
        ("uri", context.uri.as_ref()),
        ("environment", server.environment.as_ref()),
        ("data_class", data_class),
        ("purpose", rule.and_then(|rule| rule.purpose.as_ref())),
    ];
    if let Some(members) = object.as_object_mut() {
        members.extend(labels.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.as_str().into()))));
    }
    serde_json::Value::from(vec![object]).to_string()
}

/// What a challenge asks for in place of the exchange: what the caller's own token would have to carry.
fn fallback(policy: &Policy, server: &Server, exchange: &ExchangeTerms, asker: &Asker<'_>) -> String {
    let groups = server.baseline.held.iter().map(|held| &held.group).chain(&exchange.granted);
    checks::asked(policy, server, asker, groups.map(|group| &*group.ask().name), &[])
}
