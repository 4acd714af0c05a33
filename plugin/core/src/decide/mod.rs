//! The decision: policy, caller and operation in, verdict out. Total, and the only maker of a [`Permit`].

use crate::json;
use crate::mcp::Operation;
use crate::obtain::Elevation;
use crate::policy::{Exchange, Policy, Requirement, Rule, Scope, Server, Subject, Unmatched};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::time::Millis;
use crate::token::{CallerToken, ElevatedToken};

/// Proof that one request may go upstream, and how.
///
/// INVARIANT (permit): made only in this module; used up by the one `Continue` it belongs to.
#[derive(Debug)]
pub struct Permit {
    set: Vec<(&'static str, Secret)>,
    remove: Vec<String>,
    watched: bool,
}

impl Permit {
    /// Headers to set.
    pub fn set(&self) -> &[(&'static str, Secret)] {
        &self.set
    }

    /// Headers to remove.
    pub fn remove(&self) -> &[String] {
        &self.remove
    }

    /// Must the response be shown to the gate? If not, it passes without a single host call.
    pub fn is_watched(&self) -> bool {
        self.watched
    }

    fn plain(unwanted: &[String]) -> Permit {
        Permit { set: Vec::new(), remove: unwanted.to_vec(), watched: false }
    }
}

/// What the policy says to an operation.
#[derive(Debug)]
pub(crate) enum Verdict {
    Permit(Permit),
    Refuse(Shortfall),
    Elevate(Elevation),
}

/// Why the policy refuses, and what would help.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shortfall {
    pub reason: Reason,
    /// Scopes the caller lacks.
    pub missing: Vec<String>,
    /// The scopes a challenge names: everything the operation needs of the caller's own token, once (SEP-2350).
    pub challenge: Option<String>,
}

impl Shortfall {
    fn plain(reason: Reason) -> Shortfall {
        Shortfall { reason, missing: Vec::new(), challenge: None }
    }
}

/// A verdict and the rule that gave it.
#[derive(Debug)]
pub(crate) struct Decision<'p> {
    pub verdict: Verdict,
    pub rule: Option<&'p Rule>,
}

/// Who asks, and how the request came.
pub(crate) struct Asker<'a> {
    pub caller: &'a CallerToken,
    /// Identity in the peer's verified certificate.
    pub source: Option<&'a str>,
    /// The operation, for the token service.
    pub context: Option<&'a str>,
    /// The operation is to go on after its answer.
    pub is_task: bool,
    /// The caller's trace.
    pub trace: &'a [(&'static str, Secret)],
    /// Headers that must not reach the upstream.
    pub unwanted: &'a [String],
}

/// Judges one operation (P7): deny; standing; what the caller's own token must carry; who may be elevated; exchange.
pub(crate) fn decide<'p>(
    policy: &'p Policy,
    server: &'p Server,
    asker: &Asker<'_>,
    operation: &Operation<'_>,
    now: Millis,
) -> Decision<'p> {
    let refuse = |reason| Verdict::Refuse(Shortfall::plain(reason));
    let baseline = || judge(policy, &server.baseline, asker, now);
    let (rule, verdict) = match operation {
        Operation::Baseline | Operation::Dropped => (None, baseline()),
        Operation::WithoutRule => (None, refuse(Reason::NoRule)),
        Operation::Tool(name) => match server.rules.select(name) {
            Err(Unmatched::NoRule) => (None, refuse(Reason::NoRule)),
            Err(Unmatched::Confusable) => (None, refuse(Reason::NameConfusable)),
            Ok(rule) if rule.deny => (Some(rule), refuse(Reason::Denied)),
            Ok(rule) => (Some(rule), judge(policy, &rule.requirement, asker, now)),
        },
    };
    Decision { verdict, rule }
}

/// The permit of an elevated call: the elevated token, and never the caller's, goes upstream.
pub(crate) fn elevated(token: &ElevatedToken, unwanted: &[String]) -> Permit {
    let authorization = Secret::new(format!("Bearer {}", token.text().reveal()));
    // A proof of possession was for the caller's token; and in a compressed response the end of the operation cannot be seen.
    let remove = unwanted.iter().cloned().chain(["dpop", "accept-encoding"].map(str::to_owned)).collect();
    Permit { set: vec![("authorization", authorization)], remove, watched: true }
}

/// P15: in shadow mode a verdict of the policy is recorded, and the call goes on with the caller's own token.
/// `None` when the reason is not the policy's, or the shadow has ended.
pub(crate) fn in_shadow(policy: &Policy, reason: Reason, unwanted: &[String], now: Millis) -> Option<Permit> {
    (reason.is_policy() && policy.is_shadow(now)).then(|| Permit::plain(unwanted))
}

/// P15: nothing is exchanged in shadow mode. `None` where the caller's token must not go: to another audience.
pub(crate) fn not_elevated(exchange: &Exchange, server: &Server, unwanted: &[String]) -> Option<Permit> {
    (exchange.audience == server.resource).then(|| Permit::plain(unwanted))
}

fn judge(policy: &Policy, requirement: &Requirement, asker: &Asker<'_>, now: Millis) -> Verdict {
    let judged = match &requirement.exchange {
        None => {
            satisfied(policy, requirement, asker.caller, now).map(|()| Verdict::Permit(Permit::plain(asker.unwanted)))
        }
        Some(exchange) => standing(exchange, asker)
            .and_then(|()| satisfied(policy, requirement, asker.caller, now))
            .and_then(|()| eligible(policy, exchange, asker))
            .and_then(|()| ends_with_its_answer(asker))
            .map(|()| Verdict::Elevate(elevation(exchange, asker))),
    };
    judged.unwrap_or_else(Verdict::Refuse)
}

/// P9: by name, or by a scope that implies it.
fn standing(exchange: &Exchange, asker: &Asker<'_>) -> Result<(), Shortfall> {
    let claims = asker.caller.claims();
    let covers = |scope: &Scope| scope.covered_by.iter().any(|name| claims.has_scope(name));
    if exchange.refuse_standing && exchange.granted.iter().any(covers) {
        return Err(Shortfall::plain(Reason::StandingPrivilege));
    }
    Ok(())
}

/// P8: what cannot be evaluated is no.
fn eligible(policy: &Policy, exchange: &Exchange, asker: &Asker<'_>) -> Result<(), Shortfall> {
    let service = policy.token_service.as_ref().ok_or(Shortfall::plain(Reason::Internal))?;
    let claims = asker.caller.claims();
    let issuer = policy.issuer(&claims.issuer).map(|(at, _)| at);
    if !issuer.is_some_and(|at| service.subject_issuers.contains(&at)) {
        return Err(Shortfall::plain(Reason::IssuerNotExchangeable));
    }
    // RFC 8693 4.4: where the token says who may act, it must be us.
    let named = |parties: &Vec<String>| parties.contains(&service.client.id);
    let payload = json::read_exact(&claims.payload).map_err(|_| Shortfall::plain(Reason::Internal))?;
    let subject = Subject { client: claims.client_id.as_deref(), source: asker.source, claims: &payload };
    if !claims.may_act.as_ref().is_none_or(named) || !exchange.is_open_to(&subject) {
        return Err(Shortfall::plain(Reason::NotEligible));
    }
    Ok(())
}

/// P11: the token is revoked when the operation is answered, and a task would still need it.
fn ends_with_its_answer(asker: &Asker<'_>) -> Result<(), Shortfall> {
    if asker.is_task { Err(Shortfall::plain(Reason::TaskNotElevated)) } else { Ok(()) }
}

fn elevation(exchange: &Exchange, asker: &Asker<'_>) -> Elevation {
    let (token, claims) = (asker.caller.token(), asker.caller.claims());
    Elevation {
        exchange: exchange.clone(),
        subject: token.clone(),
        party: (claims.issuer.clone(), claims.subject.clone(), claims.client_id.clone()),
        claims: asker.caller.shared_claims(),
        context: asker.context.map(str::to_owned),
        trace: asker.trace.to_vec(),
    }
}

fn satisfied(policy: &Policy, requirement: &Requirement, caller: &CallerToken, now: Millis) -> Result<(), Shortfall> {
    let claims = caller.claims();
    let leeway = policy.issuer(&claims.issuer).map_or(0, |(_, issuer)| issuer.leeway);
    let missing: Vec<String> = requirement
        .held
        .iter()
        .filter(|scope| !scope.covered_by.iter().any(|name| claims.has_scope(name)))
        .map(|scope| scope.name.to_string())
        .collect();
    if !missing.is_empty() {
        if !requirement.challenge {
            return Err(Shortfall { missing, ..Shortfall::plain(Reason::ScopeNotObtainable) });
        }
        let challenge = requirement.held.iter().map(|scope| &*scope.name).collect::<Vec<_>>().join(" ");
        return Err(Shortfall { reason: Reason::ScopeMissing, missing, challenge: Some(challenge) });
    }
    // P13: of the token that satisfies `held`, so asked only now.
    let without_challenge = |reason| Err(Shortfall::plain(reason));
    if requirement.max_lifetime.is_some_and(|most| claims.lifetime() > most) {
        return without_challenge(Reason::TokenTooLongLivedForRule);
    }
    // P37: a login in the future is no fresh one; clocks differ by the issuer's leeway at most.
    let leeway = i64::try_from(leeway).unwrap_or(0);
    let age = claims.auth_time.map(|time| now.seconds().saturating_sub(time)).filter(|age| *age >= -leeway);
    let fresh = |most: u64| age.is_some_and(|age| age <= i64::try_from(most).unwrap_or(i64::MAX));
    if requirement.max_age.is_some_and(|most| !fresh(most)) {
        return without_challenge(Reason::LoginTooOld);
    }
    Ok(())
}
