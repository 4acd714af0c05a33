//! The decision: policy, caller and operation in, verdict out. Total, and the only maker of a [`Permit`].

mod anonymous;
mod case;
mod checks;
mod eligibility;
mod lists;
mod permit;
mod shadow;

use crate::http::Unwanted;
use crate::json::Value;
use crate::mcp::{Context, Operation, Target};
use crate::obtain::Elevation;
use crate::policy::{Ability, Policy, Rule, Server};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::time::Millis;
use crate::token::CallerToken;

pub(crate) use anonymous::anonymous;
use case::Case;
pub(crate) use lists::{Audience, Scheme, Viewing};
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
    /// RFC 9470 3: a login at most so many seconds old, or in one of these ways, separated by spaces.
    Login { max_age: Option<u64>, acr: Option<String> },
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
    /// P7: the raises that applied, by position.
    pub raised: Vec<usize>,
    /// What shadow mode made of the verdict.
    pub suspended: Option<Suspended>,
    /// P15: of the rule, or of the policy.
    pub is_shadow: bool,
    /// P24: which way `auto` took.
    pub step_up: Option<&'static str>,
    /// P20: of several things that were asked for, the one that the verdict is about.
    pub name: Option<String>,
}

/// Who asks, and how the request came.
pub(crate) struct Asker<'a> {
    pub caller: &'a CallerToken,
    /// Identity in the peer's verified certificate.
    pub source: Option<&'a str>,
    /// The operation, for the token service.
    pub context: Option<&'a Context>,
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
    /// What conditions are asked about: the arguments of a tool or prompt, the params of a method.
    pub arguments: Option<&'a Value<'a>>,
    pub meta: Option<&'a Value<'a>>,
    /// P31: tools whose definition is not the one that was pinned.
    pub changed: &'a dyn Fn(&str) -> bool,
}

/// Judges one operation, in the order of P7.
pub(crate) fn decide<'p>(
    policy: &'p Policy,
    server: &'p Server,
    asker: &Asker<'_>,
    operation: &Operation<'_>,
    now: Millis,
) -> Decision<'p> {
    let case = Case::new(policy, server, asker, now);
    match operation {
        Operation::Baseline => case.baseline(false),
        Operation::Notice(target) if server.rules.select(target).is_err() => case.baseline(true),
        Operation::On(target) | Operation::Notice(target) => case.call(target),
        Operation::Complete(target) => case.complete(target),
        Operation::Subscribe(target) => case.listen(target),
        Operation::Listen(targets) => listen(&case, targets),
    }
}

/// P20: all must be allowed; the first that is not gives the reason. Listening itself is no anonymous thing, and needs the baseline.
fn listen<'p>(case: &Case<'p, '_>, targets: &[Target<'_>]) -> Decision<'p> {
    let mut first: Option<Decision<'p>> = None;
    for target in targets {
        let decision = Decision { name: Some(target.name().to_owned()), ..case.listen(target) };
        if !matches!(decision.verdict, Verdict::Permit(_)) {
            return decision;
        }
        // What shadow mode suspends of a later one is recorded, too.
        match &first {
            Some(first) if first.suspended.is_some() || decision.suspended.is_none() => {}
            _ => first = Some(decision),
        }
    }
    let listening = case.baseline(false);
    match first {
        Some(first) if matches!(listening.verdict, Verdict::Permit(_)) => first,
        _ => listening,
    }
}
