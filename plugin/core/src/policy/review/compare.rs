//! Two policies before one thing: the order of P5, across documents.
//!
//! Scopes are compared by what satisfies them: each document has a hierarchy of its own. Conditions are compared by their form, and
//! where a list is in another one, a bound beside another one.

use std::rc::Rc;

use crate::policy::condition::Test;
use crate::policy::requirement::{ExchangeTerms, Held, Requirement};
use crate::policy::{Condition, Group, Scope};

use super::{Became, Context, Need};

impl Need {
    /// What became of it. `None`: the same is asked.
    pub fn became(&self, new: &Need) -> Option<Became> {
        match (self.is_closed(), new.is_closed()) {
            (true, true) => return None,
            (true, false) => return Some(Became::Reachable),
            (false, true) => return Some(Became::Unreachable),
            (false, false) => {}
        }
        match (new.implies(self), self.implies(new)) {
            (true, true) => (!self.is_alike(new)).then_some(Became::Changed),
            (true, false) => Some(Became::Stronger),
            (false, true) => Some(Became::Weaker),
            (false, false) => Some(Became::Changed),
        }
    }

    /// Is everything asked here that `other` asks?
    fn implies(&self, other: &Need) -> bool {
        let is_in_force = match (self.shadow, other.shadow) {
            (Some(own), Some(their)) => own <= their,
            (own, _) => own.is_none(),
        };
        let own = &comparable(&self.requirement, &self.context, &self.context);
        let their = |part: &Requirement| comparable(part, &other.context, &self.context);
        let is_raised = |(when, part): &(Condition, Requirement)| {
            let part = their(part);
            let by = |(own_when, own_part): &(Condition, Requirement)| {
                // It is asked for wherever the other one is.
                implies(when, own_when) && at_least(&comparable(own_part, &self.context, &self.context), &part)
            };
            at_least(own, &part) || self.raises.iter().any(by)
        };
        is_in_force
            && (!self.anonymous || other.anonymous)
            && at_least(own, &their(&other.requirement))
            && (own.deny || other.raises.iter().all(is_raised))
    }

    /// They ask as much: in the same way, too?
    fn is_alike(&self, other: &Need) -> bool {
        let manner = |need: &Need| {
            let parts = std::iter::once(&need.requirement).chain(need.raises.iter().map(|(_, part)| part));
            let of_part = |part: &Requirement| {
                let mut challenged: Vec<bool> = part.held.iter().map(|held| held.challenged).collect();
                challenged.dedup();
                (part.ways, challenged)
            };
            parts.map(of_part).collect::<Vec<_>>()
        };
        self.requirement.deny || manner(self) == manner(other)
    }
}

/// P5's order, with conditions by what they mean.
fn at_least(own: &Requirement, other: &Requirement) -> bool {
    let with = |own: &[Condition], other: &[Condition]| {
        let implied = other.iter().filter(|their| own.iter().any(|condition| implies(condition, their)));
        own.iter().chain(implied).cloned().collect::<Vec<_>>()
    };
    let mut own = own.clone();
    own.callers = with(&own.callers, &other.callers);
    own.may_elevate = with(&own.may_elevate, &other.may_elevate);
    if let (Some(values), Some(theirs)) = (&own.acr, &other.acr)
        && values.iter().all(|value| theirs.contains(value))
    {
        own.acr.clone_from(&other.acr);
    }
    own.implies(other)
}

/// In terms that mean the same in every policy: each scope by all that satisfy it, the audience written out, the token service by what
/// it is.
fn comparable(requirement: &Requirement, context: &Context, by: &Context) -> Requirement {
    let held = requirement.held.iter().map(|held| Held { group: expanded(&held.group), challenged: held.challenged });
    let exchange = requirement.exchange.as_ref().map(|exchange| {
        let known = context.services.get(exchange.service).and_then(|service| {
            let is_it = |other: &String| other == service;
            by.services.iter().position(is_it)
        });
        ExchangeTerms {
            granted: exchange.granted.iter().map(expanded).collect(),
            audience: Some(exchange.audience.clone().unwrap_or_else(|| context.resource.clone())),
            service: known.unwrap_or(by.services.len() + exchange.service),
            ..exchange.clone()
        }
    });
    // Who may be elevated matters where something is exchanged.
    let may_elevate = requirement.may_elevate.clone();
    Requirement { held: held.collect(), exchange, may_elevate, ..requirement.clone() }
}

fn expanded(group: &Group) -> Group {
    let alone = |name: &str, is_built: bool| Scope {
        name: Rc::from(name),
        covered_by: Rc::from([name.to_owned()]),
        implies: Rc::from([]),
        is_built,
    };
    let mut all: Vec<Scope> = Vec::new();
    for scope in group.members() {
        if scope.is_built {
            all.push(alone(&scope.name, true));
        } else {
            all.extend(scope.covered_by.iter().map(|name| alone(name, false)));
        }
    }
    let first = all.first().cloned().unwrap_or_else(|| group.ask().clone());
    Group::new(first, all)
}

/// Wherever `own` is true, `other` is; and wherever `own` may be true for want of knowledge, so may `other`.
pub(super) fn implies(own: &Condition, other: &Condition) -> bool {
    if own == other {
        return true;
    }
    let among = |own: &[String], other: &[String]| own.iter().all(|item| other.contains(item));
    match (own, other) {
        (_, Condition::All(list)) => list.iter().all(|other| implies(own, other)),
        (Condition::Any(list), _) => list.iter().all(|own| implies(own, other)),
        (Condition::Not(own), Condition::Not(other)) => implies(other, own),
        (Condition::Client(own), Condition::Client(other)) | (Condition::Source(own), Condition::Source(other)) => {
            among(own, other)
        }
        (Condition::ClientOrigin(own), Condition::ClientOrigin(other)) => own.iter().all(|item| other.contains(item)),
        (Condition::Member(root, path, own), Condition::Member(their_root, their_path, other)) => {
            root == their_root && path == their_path && is_narrower(own, other)
        }
        (Condition::Every(path, own), Condition::Every(their_path, other))
        | (Condition::Some(path, own), Condition::Some(their_path, other)) => {
            path == their_path && is_narrower(own, other)
        }
        (_, Condition::Any(list)) => list.iter().any(|other| implies(own, other)),
        (Condition::All(list), _) => list.iter().any(|own| implies(own, other)),
        _ => false,
    }
}

/// The same of tests of one value. They are unknown of the same values.
fn is_narrower(own: &Test, other: &Test) -> bool {
    match (own, other) {
        (Test::Equals(own), Test::In(list)) => list.contains(own),
        (Test::In(own), Test::In(other)) => own.iter().all(|value| other.contains(value)),
        (Test::Prefix(own), Test::Prefix(other)) => own.starts_with(other.as_str()),
        (Test::Suffix(own), Test::Suffix(other)) => own.ends_with(other.as_str()),
        (Test::Above(own), Test::Above(other)) => own >= other,
        (Test::Below(own), Test::Below(other)) => own <= other,
        (Test::Within(own), Test::Within(other)) => own.starts_with(other.as_str()),
        (Test::Host(own), Test::Host(other)) => own.iter().all(|host| other.contains(host)),
        (own, other) => own == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(ids: &[&str]) -> Condition {
        Condition::Client(ids.iter().map(|id| (*id).to_owned()).collect())
    }

    #[test]
    fn p17_conditions_are_compared_by_what_they_let_pass() {
        let (a, b, both) = (clients(&["a"]), clients(&["b"]), clients(&["a", "b"]));
        let not = |inner: &Condition| Condition::Not(Box::new(inner.clone()));
        let all = |list: &[&Condition]| Condition::All(list.iter().map(|one| (*one).clone()).collect());
        let any = |list: &[&Condition]| Condition::Any(list.iter().map(|one| (*one).clone()).collect());
        for (own, other, expected) in [
            (&a, &both, true),
            (&both, &a, false),
            (&a, &b, false),
            (&not(&both), &not(&a), true),
            (&not(&a), &not(&both), false),
            (&all(&[&a, &b]), &a, true),
            (&a, &all(&[&a, &b]), false),
            (&a, &any(&[&a, &b]), true),
            (&any(&[&a, &b]), &a, false),
            (&any(&[&a, &b]), &both, true),
            (&not(&a), &a, false),
        ] {
            assert_eq!(implies(own, other), expected, "{own:?} {other:?}");
        }
    }
}
