//! The decision: policy, caller and operation in, verdict out. Total, and the only maker of a [`Permit`].

use crate::effect::Millis;
use crate::elevation::Elevation;
use crate::mcp::Operation;
use crate::policy::{Policy, Requirement, Rule, Server, Unmatched};
use crate::reason::Reason;
use crate::tail::Tail;
use crate::token::CallerToken;

/// Proof that one request may go upstream, and how.
///
/// INVARIANT (permit): made only in this module; used up by the one `Continue` it belongs to.
#[derive(Debug)]
pub struct Permit {
    remove: Vec<String>,
    tail: Option<Tail>,
}

impl Permit {
    /// Headers to remove, all present in the request.
    pub fn remove(&self) -> &[String] {
        &self.remove
    }

    /// What watches the response, if anything does.
    pub fn tail(&self) -> Option<&Tail> {
        self.tail.as_ref()
    }
}

/// What the policy says to an operation.
#[derive(Debug)]
pub(crate) enum Verdict {
    Permit(Permit),
    Refuse(Shortfall),
    #[expect(dead_code, reason = "there is no elevation yet, only its place")]
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

/// A verdict and the rule that gave it.
#[derive(Debug)]
pub(crate) struct Decision<'p> {
    pub verdict: Verdict,
    pub rule: Option<&'p Rule>,
}

/// Judges one operation (P7): deny, then what the caller's own token must carry. With exchange come, between and
/// after, client, binding and standing, then `may_elevate` and the elevation itself.
pub(crate) fn decide<'p>(
    server: &'p Server,
    caller: &CallerToken,
    operation: &Operation<'_>,
    unwanted: &[String],
    now: Millis,
) -> Decision<'p> {
    let refuse = |reason| Err(Shortfall { reason, missing: Vec::new(), challenge: None });
    let (rule, judged) = match operation {
        Operation::Baseline | Operation::Dropped => (None, satisfied(&server.baseline, caller, now)),
        Operation::WithoutRule => (None, refuse(Reason::NoRule)),
        Operation::Tool(name) => match server.rules.select(name) {
            Err(Unmatched::NoRule) => (None, refuse(Reason::NoRule)),
            Err(Unmatched::Confusable) => (None, refuse(Reason::NameConfusable)),
            Ok(rule) if rule.deny => (Some(rule), refuse(Reason::Denied)),
            Ok(rule) => (Some(rule), satisfied(&rule.requirement, caller, now)),
        },
    };
    let verdict = match judged {
        Ok(()) => Verdict::Permit(Permit { remove: unwanted.to_vec(), tail: None }),
        Err(shortfall) => Verdict::Refuse(shortfall),
    };
    Decision { verdict, rule }
}

/// P15: in shadow mode a verdict of the policy is recorded, and the call goes on with the caller's own token.
/// `None` when the reason is not the policy's, or the shadow has ended.
pub(crate) fn in_shadow(policy: &Policy, reason: Reason, unwanted: Vec<String>, now: Millis) -> Option<Permit> {
    (reason.is_policy() && policy.is_shadow(now)).then_some(Permit { remove: unwanted, tail: None })
}

fn satisfied(requirement: &Requirement, caller: &CallerToken, now: Millis) -> Result<(), Shortfall> {
    let claims = caller.claims();
    let missing: Vec<String> = requirement
        .held
        .iter()
        .filter(|scope| !scope.covered_by.iter().any(|name| claims.has_scope(name)))
        .map(|scope| scope.name.to_string())
        .collect();
    if !missing.is_empty() {
        if !requirement.challenge {
            return Err(Shortfall { reason: Reason::ScopeNotObtainable, missing, challenge: None });
        }
        let challenge = requirement.held.iter().map(|scope| &*scope.name).collect::<Vec<_>>().join(" ");
        return Err(Shortfall { reason: Reason::ScopeMissing, missing, challenge: Some(challenge) });
    }
    // P13: of the token that satisfies `held`, so asked only now.
    let without_challenge = |reason| Err(Shortfall { reason, missing: Vec::new(), challenge: None });
    if requirement.max_lifetime.is_some_and(|most| claims.lifetime() > most) {
        return without_challenge(Reason::TokenTooLongLivedForRule);
    }
    // A login in the future is no fresh one; clocks differ by a minute at most.
    let age = claims.auth_time.map(|time| now.seconds().saturating_sub(time)).filter(|age| *age >= -60);
    let fresh = |most: u64| age.is_some_and(|age| age <= i64::try_from(most).unwrap_or(i64::MAX));
    if requirement.max_age.is_some_and(|most| !fresh(most)) {
        return without_challenge(Reason::LoginTooOld);
    }
    Ok(())
}
