//! The decision: policy, caller and operation in, verdict out. Total, and the only maker of a [`Permit`].

mod anonymous;
mod checks;
mod eligibility;
mod permit;
mod shadow;

use crate::http::Unwanted;
use crate::mcp::Operation;
use crate::obtain::Elevation;
use crate::policy::{Ability, Policy, Requirement, Rule, Server, Unmatched};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::time::Millis;
use crate::token::CallerToken;

pub(crate) use anonymous::without_token;
pub use permit::Permit;
pub(crate) use shadow::{Suspended, Would};

/// What the policy says to an operation.
#[derive(Debug)]
pub(crate) enum Verdict {
    Permit(Permit),
    /// Allowed, and it goes nowhere: a notification that nobody needs.
    Drop,
    Refuse(Shortfall),
    Obtain(Box<Elevation>),
}

/// Why the policy refuses, and what would help.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shortfall {
    pub reason: Reason,
    /// Scopes the caller lacks.
    pub missing: Vec<String>,
    /// What a challenge asks for.
    pub challenge: Option<Asked>,
}

/// What a challenge asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Scopes, each once: everything the operation needs of the caller's own token, and up to 2025-11-25 what the caller holds of what
    /// this server's rules want (P24).
    Scopes(String),
    /// RFC 9470 3: a login at most so many seconds old.
    Login { max_age: u64 },
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
    /// What shadow mode made of the verdict.
    pub suspended: Option<Suspended>,
    /// P24: which way `auto` took.
    pub step_up: Option<&'static str>,
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
    /// What its client can do with an answer (P24).
    pub ability: Ability,
    /// Is the request of the modern era, where a challenge names this operation's scopes only (SEP-2350)?
    pub modern: bool,
    /// The caller's trace.
    pub trace: &'a [(&'static str, Secret)],
    /// What must not reach the upstream.
    pub unwanted: &'a Unwanted,
}

/// Judges one operation (P7): deny; callers; standing; what the caller's own token must carry; who may be elevated; exchange.
pub(crate) fn decide<'p>(
    policy: &'p Policy,
    server: &'p Server,
    asker: &Asker<'_>,
    operation: &Operation<'_>,
    now: Millis,
) -> Decision<'p> {
    let case = Case { policy, server, asker, now };
    let mut step_up = None;
    let (rule, verdict) = match operation {
        Operation::Baseline => (None, case.judge(&server.baseline, "")),
        Operation::Dropped => (None, dropped(case.judge(&server.baseline, ""))),
        Operation::On(target) => match server.rules.select(target) {
            Err(Unmatched::NoRule) => (None, refuse(Reason::NoRule)),
            Err(Unmatched::Confusable) => (None, refuse(Reason::NameConfusable)),
            Ok(rule) => {
                let ways = if asker.ability.steps_up { "challenge" } else { "exchange" };
                step_up = rule.challenge.as_ref().map(|_| ways);
                (Some(rule), case.judge(rule.requirement_for(asker.ability), &rule.place))
            }
        },
    };
    let (verdict, suspended) = match policy.is_shadow(now) {
        true => shadow::suspend(verdict, rule, server, asker, operation),
        false => (verdict, None),
    };
    Decision { verdict, rule, suspended, step_up }
}

fn refuse(reason: Reason) -> Verdict {
    Verdict::Refuse(Shortfall::plain(reason))
}

fn dropped(verdict: Verdict) -> Verdict {
    if matches!(verdict, Verdict::Permit(_)) { Verdict::Drop } else { verdict }
}

/// What a requirement is judged by.
struct Case<'c> {
    policy: &'c Policy,
    server: &'c Server,
    asker: &'c Asker<'c>,
    now: Millis,
}

impl Case<'_> {
    fn judge(&self, requirement: &Requirement, rule: &str) -> Verdict {
        let Case { policy, server, asker, now } = *self;
        if requirement.deny {
            return refuse(Reason::Denied);
        }
        if let Err(shortfall) = eligibility::callers(requirement, asker) {
            return Verdict::Refuse(shortfall);
        }
        let satisfied = || checks::satisfied(policy, server, requirement, asker, now);
        let judged = match &requirement.exchange {
            None => satisfied().map(|()| Verdict::Permit(Permit::of_caller(asker.caller, asker.unwanted))),
            Some(exchange) => eligibility::standing(exchange, asker)
                .and_then(|()| satisfied())
                .and_then(|()| eligibility::eligible(policy, exchange, asker))
                .and_then(|()| eligibility::ends_with_its_answer(exchange, asker))
                .map(|()| Verdict::Obtain(Box::new(eligibility::elevation(policy, server, rule, exchange, asker)))),
        };
        judged.unwrap_or_else(Verdict::Refuse)
    }
}
