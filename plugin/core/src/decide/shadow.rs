//! Shadow mode (P15): what becomes of a verdict while the policy only says what it would do. Nothing else knows of it.

use super::{Asked, Asker, Permit, Shortfall, Verdict};
use crate::ends::Ending;
use crate::mcp::Operation;
use crate::policy::{Rule, Server};
use crate::reason::Reason;

/// A verdict that was suspended, as the record has it.
#[derive(Debug)]
pub(crate) struct Suspended {
    /// The reason that the record names.
    pub reason: Reason,
    /// Scopes the caller lacks.
    pub missing: Vec<String>,
    /// What would have been asked for.
    pub challenge: Option<Asked>,
    pub would: Would,
}

/// What enforcement would have done.
#[derive(Debug)]
pub(crate) struct Would {
    pub ending: Ending,
    pub reason: Reason,
    /// Unknown where the token service would have had a say.
    pub status: Option<u16>,
}

/// A verdict of the policy is recorded, and the call goes on with the caller's own token. What is not the policy's stays.
pub(super) fn suspend(
    verdict: Verdict,
    rule: Option<&Rule>,
    server: &Server,
    asker: &Asker<'_>,
    operation: &Operation<'_>,
) -> (Verdict, Option<Suspended>) {
    let refused = |reason| (Verdict::Refuse(Shortfall::plain(reason)), None);
    let permit = || Verdict::Permit(Permit::of_caller(asker.caller, asker.unwanted));
    match verdict {
        // Nothing is exchanged, and to another audience the caller's token must not go.
        Verdict::Obtain(elevation) if elevation.exchange.audience != server.resource => {
            refused(Reason::ShadowCannotExchange)
        }
        Verdict::Obtain(_) => {
            let would = Would { ending: Ending::Elevate, reason: Reason::Elevated, status: None };
            (permit(), Some(Suspended { reason: Reason::Permitted, missing: Vec::new(), challenge: None, would }))
        }
        // Nothing is elevated, so a task is as good as any other call.
        Verdict::Refuse(shortfall) if shortfall.reason.is_policy() || shortfall.reason == Reason::TaskNotElevated => {
            if *operation == Operation::Dropped {
                // Allowed, it would go nowhere either.
                (Verdict::Drop, Some(Suspended::from(shortfall)))
            } else if !leads_elsewhere(rule, server, operation) {
                (permit(), Some(Suspended::from(shortfall)))
            } else if matches!(shortfall.reason, Reason::NameConfusable | Reason::TaskNotElevated) {
                refused(Reason::ShadowCannotExchange)
            } else {
                (Verdict::Refuse(shortfall), None)
            }
        }
        other => (other, None),
    }
}

/// Could this be a call for another audience? A name that no rule may be asked about could be any of those that it reads
/// like.
fn leads_elsewhere(rule: Option<&Rule>, server: &Server, operation: &Operation<'_>) -> bool {
    match (rule, operation) {
        (Some(rule), _) => rule.requirement.leads_elsewhere(&server.resource),
        (None, Operation::On(target)) => {
            server.rules.readings(target).any(|rule| rule.requirement.leads_elsewhere(&server.resource))
        }
        (None, _) => false,
    }
}

impl From<Shortfall> for Suspended {
    fn from(Shortfall { reason, missing, challenge }: Shortfall) -> Suspended {
        let ending = if challenge.is_some() { Ending::Challenge } else { Ending::Deny };
        // The status is the answer's to say: it depends on the form (P25).
        let would = Would { ending, reason, status: None };
        Suspended { reason, missing, challenge, would }
    }
}
