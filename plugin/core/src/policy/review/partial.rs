//! What a rule asks of one client: conditions about the client are decided, all others stay.

use crate::json::Value;
use crate::policy::requirement::Requirement;
use crate::policy::{Condition, Given, Subject, Truth};

use super::{Refused, Who};

/// A rule before it is known who asks, and after.
pub(super) struct Asked {
    pub requirement: Requirement,
    pub raises: Vec<(Condition, Requirement)>,
}

/// A condition of which a part is known.
enum Partial {
    Known(Truth),
    Open(Condition),
}

impl Asked {
    /// What is left of it for this caller, and why it is refused, if it is.
    pub(super) fn of(self, who: &Who) -> (Asked, Option<Refused>) {
        let (mut requirement, mut refused) = self::requirement(self.requirement, who);
        let mut raises = Vec::new();
        let mut open = Vec::new();
        for (when, part) in self.raises {
            match partial(&when, who) {
                // P7: what is true or unknown is asked for.
                Partial::Known(truth) if !truth.may_be_false() => raises.push(part),
                Partial::Known(_) => {}
                Partial::Open(when) => open.push((when, part)),
            }
        }
        for part in raises {
            let joined = requirement.and(part);
            // The policy would not have loaded; what cannot be joined is not allowed.
            let joined = joined.unwrap_or(Requirement { deny: true, ..Requirement::default() });
            let (joined, why) = self::requirement(joined, who);
            (requirement, refused) = (joined, refused.or(why));
        }
        let is_elevated = requirement.exchange.is_some();
        let open = open.into_iter().map(|(when, part)| {
            let (mut part, _) = self::requirement(part, who);
            let is_elevated = is_elevated || part.exchange.is_some();
            let may =
                part.may_elevate.iter().chain(&requirement.may_elevate).all(|condition| may_be(condition, who, true));
            part.deny |= is_elevated && !may;
            (when, part)
        });
        let raises = if refused.is_some() { Vec::new() } else { open.collect() };
        (Asked { requirement, raises }, refused)
    }
}

/// P8, P14: what is not so, or cannot be known, is no.
pub(super) fn requirement(mut asked: Requirement, who: &Who) -> (Requirement, Option<Refused>) {
    let (callers, are_callers) = left(&asked.callers, who);
    let (may_elevate, is_eligible) = left(&asked.may_elevate, who);
    let is_eligible = is_eligible || asked.exchange.is_none();
    let refused = match (asked.deny, are_callers, is_eligible) {
        (true, _, _) => Some(Refused::Rule),
        (_, false, _) => Some(Refused::Caller),
        (_, _, false) => Some(Refused::NotEligible),
        (false, true, true) => None,
    };
    asked.deny |= refused.is_some();
    asked.callers = callers;
    // Where nothing is exchanged, a raise may still ask for it.
    if asked.exchange.is_some() {
        asked.may_elevate = may_elevate;
    }
    (asked, refused)
}

/// The conditions that are not decided yet; `false`: one of them does not hold.
fn left(conditions: &[Condition], who: &Who) -> (Vec<Condition>, bool) {
    let mut open = Vec::new();
    for condition in conditions {
        match partial(condition, who) {
            Partial::Known(truth) if truth.may_be_true() => {}
            Partial::Open(condition) if may_be(&condition, who, true) => open.push(condition),
            Partial::Known(_) | Partial::Open(_) => return (Vec::new(), false),
        }
    }
    (open, true)
}

/// Is there anything unknown yet that would make it so? What is unknown of the client stays unknown.
fn may_be(condition: &Condition, who: &Who, so: bool) -> bool {
    match condition {
        Condition::All(list) if so => list.iter().all(|inner| may_be(inner, who, so)),
        Condition::Any(list) if !so => list.iter().all(|inner| may_be(inner, who, so)),
        Condition::All(list) | Condition::Any(list) => list.iter().any(|inner| may_be(inner, who, so)),
        Condition::Not(inner) => may_be(inner, who, !so),
        other => match partial(other, who) {
            Partial::Known(truth) if so => truth.may_be_true(),
            Partial::Known(truth) => truth.may_be_false(),
            Partial::Open(_) => true,
        },
    }
}

fn partial(condition: &Condition, who: &Who) -> Partial {
    match condition {
        Condition::All(list) => several(list, who, Truth::FALSE, Condition::All),
        Condition::Any(list) => several(list, who, Truth::TRUE, Condition::Any),
        Condition::Not(inner) => match partial(inner, who) {
            Partial::Known(truth) => Partial::Known(truth.not()),
            Partial::Open(open) => Partial::Open(Condition::Not(Box::new(open))),
        },
        Condition::Client(_) | Condition::ClientOrigin(_) => {
            let client = who.id();
            let (claims, given) = (&Value::Null, Given::Nothing);
            let subject =
                Subject { client: client.as_deref(), source: None, claims, name: None, arguments: given, meta: given };
            Partial::Known(condition.truth(&subject))
        }
        Condition::Source(_) | Condition::Member(..) | Condition::Every(..) | Condition::Some(..) => {
            Partial::Open(condition.clone())
        }
    }
}

/// `strong` alone decides; its opposite says nothing; what is unknown stays beside what is open.
fn several(list: &[Condition], who: &Who, strong: Truth, join: fn(Vec<Condition>) -> Condition) -> Partial {
    let (mut open, mut is_unknown, mut unknown) = (Vec::new(), false, Vec::new());
    for inner in list {
        match partial(inner, who) {
            Partial::Known(truth) if truth == strong => return Partial::Known(strong),
            Partial::Known(truth) if truth == strong.not() => {}
            Partial::Known(_) => {
                is_unknown = true;
                unknown.push(inner.clone());
            }
            Partial::Open(inner) => open.push(inner),
        }
    }
    match (open.is_empty(), is_unknown) {
        (true, true) => Partial::Known(Truth::UNKNOWN),
        (true, false) => Partial::Known(strong.not()),
        (false, false) if open.len() == 1 => open.pop().map_or(Partial::Known(strong.not()), Partial::Open),
        (false, _) => {
            open.extend(unknown);
            Partial::Open(join(open))
        }
    }
}
