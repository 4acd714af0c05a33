//! Shadow mode (P15): what becomes of a verdict while the policy only says what it would do. Nothing else knows of it.

use super::case::{Case, Need, Way};
use super::{Asked, Decision, Permit, Shortfall, Verdict, checks};
use crate::ends::Ending;
use crate::mcp::Target;
use crate::policy::{Given, Mode, Rule, Unmatched};
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

/// The decision that a verdict makes, in shadow or not.
pub(super) fn decided<'p>(
    case: &Case<'p, '_>,
    verdict: Verdict,
    rule: Option<&'p Rule>,
    need: Need<'p, '_>,
    is_shadow: bool,
    is_dropped: bool,
) -> Decision<'p> {
    let leads_elsewhere = need.requirement.leads_elsewhere(&case.server.resource);
    let (verdict, suspended) = match is_shadow {
        true => suspend(case, verdict, &need, leads_elsewhere, is_dropped),
        false => (verdict, None),
    };
    Decision { verdict, rule, raised: need.raised, suspended, is_shadow, step_up: None, name: None }
}

/// The same of something that has no rule. What the policy does not judge must not go where a rule leads that it could be read as.
pub(super) fn unmatched<'p>(
    case: &Case<'p, '_>,
    verdict: Verdict,
    unmatched: Unmatched,
    target: &Target<'_>,
    way: Way,
) -> Decision<'p> {
    let (rules, name) = (case.server.rules.of(target), target.name());
    let is_shadow = |mode: Option<Mode>| mode.unwrap_or(case.policy.mode).is_shadow(case.now);
    let of_rule = |rule: Option<&Rule>| is_shadow(rule.and_then(|rule| rule.mode));
    let written = rules.as_written(name);
    let mut others = rules.readings(name);
    others.extend(written);
    let in_shadow = match unmatched {
        Unmatched::NoRule => is_shadow(None),
        // It is, only if each rule is that it could mean.
        Unmatched::Confusable => of_rule(written) && others.iter().all(|rule| of_rule(Some(rule))),
    };
    let mut need = case.of_server();
    let mut leads_elsewhere = false;
    for rule in others {
        let known = case.arguments(rule, target);
        let given = if way == Way::List { Given::Any } else { known.as_deref().map_or(Given::Nothing, Given::Known) };
        let other = case.need(rule, target, given, way).requirement;
        leads_elsewhere |= other.leads_elsewhere(&case.server.resource);
        if other.bound {
            need.requirement.to_mut().bound = true;
        }
    }
    let (verdict, suspended) = match in_shadow {
        true => suspend(case, verdict, &need, leads_elsewhere, false),
        false => (verdict, None),
    };
    Decision { verdict, rule: None, raised: Vec::new(), suspended, is_shadow: in_shadow, step_up: None, name: None }
}

/// A verdict of the policy is recorded, and the call goes on with the caller's own token. What is not the policy's stays.
fn suspend(
    case: &Case<'_, '_>,
    verdict: Verdict,
    need: &Need<'_, '_>,
    leads_elsewhere: bool,
    is_dropped: bool,
) -> (Verdict, Option<Suspended>) {
    let refused = |reason| (Verdict::Refuse(Shortfall::plain(reason)), None);
    let permit = || Verdict::Permit(Permit::of_caller(case.asker.caller, case.asker.unwanted));
    match verdict {
        // Nothing is exchanged, and to another audience the caller's token must not go.
        Verdict::Obtain(_) if leads_elsewhere => refused(Reason::ShadowCannotExchange),
        Verdict::Obtain(_) => {
            let would = Would { ending: Ending::Elevate, reason: Reason::Elevated, status: None };
            (permit(), Some(Suspended { reason: Reason::Permitted, missing: Vec::new(), challenge: None, would }))
        }
        Verdict::Refuse(shortfall) if shortfall.reason.is_policy() || is_about_elevation(shortfall.reason) => {
            let stays = shortfall.reason != Reason::NameConfusable && !is_about_elevation(shortfall.reason);
            if leads_elsewhere && stays && !is_dropped {
                return (Verdict::Refuse(shortfall), None);
            }
            // P7: the judging goes on past what is suspended.
            if let Err(shortfall) = checks::bound(&need.requirement, case.asker) {
                return (Verdict::Refuse(shortfall), None);
            }
            if is_dropped {
                // Allowed, it would go nowhere either.
                (Verdict::Drop, Some(Suspended::from(shortfall)))
            } else if leads_elsewhere {
                refused(Reason::ShadowCannotExchange)
            } else {
                (permit(), Some(Suspended::from(shortfall)))
            }
        }
        other => (other, None),
    }
}

/// Nothing is elevated in shadow, so a task or a stream is as good as any other call.
fn is_about_elevation(reason: Reason) -> bool {
    matches!(reason, Reason::TaskNotElevated | Reason::NotElevatable)
}

impl From<Shortfall> for Suspended {
    fn from(Shortfall { reason, missing, challenge }: Shortfall) -> Suspended {
        let ending = if challenge.is_some() { Ending::Challenge } else { Ending::Deny };
        // The status is the answer's to say: it depends on the form (P25).
        let would = Would { ending, reason, status: None };
        Suspended { reason, missing, challenge, would }
    }
}
