//! What an operation needs (P7), and the algebra of it (P5): one join and its order serve rules, servers and warnings.

use std::rc::Rc;

use crate::policy::condition::{Condition, Subject, Truth};

/// What an operation needs. `and` of two is the weakest that asks at least what each of them asks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Requirement {
    /// Nobody may.
    pub deny: bool,
    /// P14: what must be true of the caller; the server's own first.
    pub callers: Vec<Condition>,
    /// Scopes the caller's own token must carry, baseline included, by name, each once.
    pub held: Vec<Held>,
    /// P6: the ways in which what is beyond the baseline is obtained, of all parts that ask for something.
    pub ways: Ways,
    /// `exp - iat` of the token, at most, in seconds (P13).
    pub max_lifetime: Option<u64>,
    /// Seconds since the login, at most (P13).
    pub max_age: Option<u64>,
    /// What is to be obtained for the one call, if anything.
    pub exchange: Option<Exchange>,
}

/// A scope of the caller's own token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Held {
    pub scope: Scope,
    /// Where it is missing, may the client be told to ask for it? False in a part with `step_up: none`.
    pub challenged: bool,
}

/// P6: how missing strength is obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepUp {
    None = 1,
    Challenge = 2,
    Exchange = 4,
    /// One of the last two, by what the client can do (P24). No requirement has it.
    Auto = 8,
}

/// A set of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ways(u8);

impl Ways {
    pub(crate) fn of(way: StepUp) -> Ways {
        Ways(way as u8)
    }

    fn and(self, other: Ways) -> Ways {
        Ways(self.0 | other.0)
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn contains(self, other: Ways) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A token for one operation, as the policy wants it (P9 to P11).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Exchange {
    /// The scopes to ask for, by name, each once.
    pub granted: Vec<Scope>,
    pub audience: String,
    /// Whom to ask: a position in the policy's token services.
    pub service: usize,
    /// Seconds of life, at most.
    pub ttl: u64,
    /// P9: a caller whose own token has one of the scopes is refused.
    pub refuse_standing: bool,
    /// A token service that wants the user is answered with a challenge.
    pub fallback: bool,
    /// P30: a token lives until its `exp` where the operation goes on as a task.
    pub keeps_tasks: bool,
    /// P8: who may be elevated at all. Empty: the token service alone decides.
    pub may_elevate: Vec<Condition>,
}

/// A scope and the scopes that cover it: itself, and those that imply it (P4).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scope {
    pub name: Rc<str>,
    pub covered_by: Rc<[String]>,
    /// The scopes it implies, directly and through others.
    pub implies: Rc<[String]>,
}

/// Two parts that say a word which may be said once: its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Conflict(pub &'static str);

impl Requirement {
    /// These scopes of the caller's own token, and nothing else: a baseline.
    pub(crate) fn of(held: impl IntoIterator<Item = Scope>) -> Requirement {
        let held = each_once(held).into_iter().map(|scope| Held { scope, challenged: true }).collect();
        Requirement { held, ..Requirement::default() }
    }

    /// P5, the join: both are asked for. The order does not matter.
    pub(crate) fn and(self, other: Requirement) -> Result<Requirement, Conflict> {
        Ok(Requirement {
            deny: self.deny || other.deny,
            callers: both(self.callers, other.callers),
            held: union(self.held, other.held),
            ways: self.ways.and(other.ways),
            max_lifetime: smaller(self.max_lifetime, other.max_lifetime),
            max_age: smaller(self.max_age, other.max_age),
            exchange: match (self.exchange, other.exchange) {
                (Some(own), Some(their)) => Some(own.and(their)?),
                (own, their) => own.or(their),
            },
        })
    }

    /// P5, the order, row by row: is everything asked here that `other` asks, and as much of it? Minted is not held, and
    /// neither replaces the other (P9).
    pub(crate) fn implies(&self, other: &Requirement) -> bool {
        let at_most =
            |own: Option<u64>, their: Option<u64>| their.is_none_or(|most| own.is_some_and(|own| own <= most));
        let held =
            |requirement: &Requirement| requirement.held.iter().map(|held| held.scope.clone()).collect::<Vec<_>>();
        self.deny
            || (!other.deny
                && other.callers.iter().all(|condition| self.callers.contains(condition))
                && contains(&held(self), &held(other))
                && at_most(self.max_lifetime, other.max_lifetime)
                && at_most(self.max_age, other.max_age)
                // Where nothing is asked beyond the baseline, there is no way of asking to differ in.
                && (self.ways.is_empty() || self.ways.contains(other.ways))
                && other.exchange.as_ref().is_none_or(|their| self.exchange.as_ref().is_some_and(|own| own.implies(their))))
    }

    /// Is anything asked of the peer's certificate?
    pub(crate) fn asks_source(&self) -> bool {
        let may_elevate = self.exchange.iter().flat_map(|exchange| &exchange.may_elevate);
        self.callers.iter().chain(may_elevate).any(Condition::asks_source)
    }

    /// May a call go to another audience than the server's own (P10)?
    pub(crate) fn leads_elsewhere(&self, resource: &str) -> bool {
        self.exchange.as_ref().is_some_and(|exchange| exchange.audience != resource)
    }
}

impl Exchange {
    fn and(self, other: Exchange) -> Result<Exchange, Conflict> {
        if self.audience != other.audience {
            return Err(Conflict("audience"));
        }
        if self.keeps_tasks != other.keeps_tasks {
            return Err(Conflict("task"));
        }
        if self.service != other.service {
            return Err(Conflict("token_service"));
        }
        Ok(Exchange {
            granted: each_once(self.granted.into_iter().chain(other.granted)),
            audience: self.audience,
            service: self.service,
            ttl: self.ttl.min(other.ttl),
            refuse_standing: self.refuse_standing || other.refuse_standing,
            fallback: self.fallback || other.fallback,
            keeps_tasks: self.keeps_tasks,
            may_elevate: both(self.may_elevate, other.may_elevate),
        })
    }

    fn implies(&self, other: &Exchange) -> bool {
        contains(&self.granted, &other.granted)
            && self.audience == other.audience
            && self.service == other.service
            && self.ttl <= other.ttl
            && (self.refuse_standing || !other.refuse_standing)
            && self.fallback == other.fallback
            && self.keeps_tasks == other.keeps_tasks
            && other.may_elevate.iter().all(|condition| self.may_elevate.contains(condition))
    }
}

impl Scope {
    /// Does the token with these scopes cover this one, by its name or by one that implies it?
    pub(crate) fn is_covered(&self, has: impl Fn(&str) -> bool) -> bool {
        self.covered_by.iter().any(|name| has(name))
    }
}

/// What cannot be known is no (P8, P14).
pub(crate) fn all_hold(conditions: &[Condition], subject: &Subject<'_>) -> bool {
    conditions.iter().all(|condition| condition.holds(subject) == Truth::True)
}

/// By name, each once. What one part does not let be asked for is not asked for.
fn union(own: impl IntoIterator<Item = Held>, other: impl IntoIterator<Item = Held>) -> Vec<Held> {
    let mut all: Vec<Held> = own.into_iter().collect();
    for held in other {
        match all.binary_search_by(|known| known.scope.name.cmp(&held.scope.name)) {
            Ok(at) => all.get_mut(at).into_iter().for_each(|known| known.challenged &= held.challenged),
            Err(at) => all.insert(at, held),
        }
    }
    all
}

/// By name, each once.
pub(super) fn each_once(scopes: impl IntoIterator<Item = Scope>) -> Vec<Scope> {
    let mut all: Vec<Scope> = Vec::new();
    for scope in scopes {
        if let Err(at) = all.binary_search_by(|known| known.name.cmp(&scope.name)) {
            all.insert(at, scope);
        }
    }
    all
}

/// Both lists of conditions must hold.
pub(super) fn both(mut own: Vec<Condition>, other: Vec<Condition>) -> Vec<Condition> {
    let new: Vec<Condition> = other.into_iter().filter(|condition| !own.contains(condition)).collect();
    own.extend(new);
    own
}

/// The smaller of what is said.
pub(super) fn smaller(own: Option<u64>, other: Option<u64>) -> Option<u64> {
    own.into_iter().chain(other).min()
}

/// Is every scope of `other` among `own`, or implied by one of them?
fn contains(own: &[Scope], other: &[Scope]) -> bool {
    other.iter().all(|need| own.iter().any(|has| need.is_covered(|name| *name == *has.name)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `all` implies `a`, which implies `b`; `c` stands alone.
    fn scope(name: &str) -> Scope {
        let (covered_by, implies): (&[&str], &[&str]) = match name {
            "a" => (&["a", "all"], &["b"]),
            "b" => (&["b", "a", "all"], &[]),
            "all" => (&["all"], &["a", "b"]),
            _ => (&["c"], &[]),
        };
        let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Scope { name: Rc::from(name), covered_by: texts(covered_by), implies: texts(implies) }
    }

    fn scopes() -> impl Strategy<Value = Vec<Scope>> {
        prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "all"]).prop_map(scope), 0..4)
    }

    fn conditions() -> impl Strategy<Value = Vec<Condition>> {
        let client = prop::sample::select(vec!["x", "y"]).prop_map(|client| Condition::Client(vec![client.to_owned()]));
        prop::collection::vec(client, 0..3).prop_map(|list| both(Vec::new(), list))
    }

    fn exchange() -> impl Strategy<Value = Exchange> {
        (scopes(), 1..4_u64, any::<bool>(), conditions()).prop_map(|(granted, ttl, refuse_standing, may_elevate)| {
            let audience = "https://mcp.example/mcp".to_owned();
            let may_elevate = both(Vec::new(), may_elevate);
            let granted = each_once(granted);
            Exchange {
                granted,
                audience,
                service: 0,
                ttl,
                refuse_standing,
                fallback: false,
                keeps_tasks: false,
                may_elevate,
            }
        })
    }

    /// Any, where the words that are said once are said alike.
    fn requirement() -> impl Strategy<Value = Requirement> {
        let times = || prop::option::of(1..4_u64);
        (any::<bool>(), conditions(), scopes(), any::<bool>(), times(), times(), prop::option::of(exchange())).prop_map(
            |(deny, callers, held, challenged, max_lifetime, max_age, exchange)| {
                let mut made = Requirement::of(held);
                made.held.iter_mut().for_each(|held| held.challenged = challenged);
                let way = if challenged { StepUp::Challenge } else { StepUp::None };
                made.ways = if made.held.is_empty() { Ways::default() } else { Ways::of(way) };
                if exchange.is_some() {
                    made.ways = made.ways.and(Ways::of(StepUp::Exchange));
                }
                Requirement { deny, callers, max_lifetime, max_age, exchange, ..made }
            },
        )
    }

    /// The order in which conditions are written does not matter.
    fn same(a: &Requirement, b: &Requirement) -> bool {
        let bare = |of: &Requirement| {
            let mut bare = of.clone();
            bare.callers.clear();
            bare.exchange.iter_mut().for_each(|exchange| exchange.may_elevate.clear());
            bare
        };
        bare(a) == bare(b) && a.implies(b) && b.implies(a)
    }

    proptest! {
        #[test]
        fn p05_the_join_is_a_join(a in requirement(), b in requirement(), c in requirement()) {
            let and = |a: &Requirement, b: &Requirement| a.clone().and(b.clone()).unwrap();
            prop_assert!(same(&and(&a, &b), &and(&b, &a)), "the order of writing matters");
            prop_assert!(same(&and(&and(&a, &b), &c), &and(&a, &and(&b, &c))), "grouping matters");
            prop_assert!(same(&and(&a, &a), &a), "twice is more than once");
            prop_assert!(same(&and(&a, &Requirement::default()), &a), "nothing is not nothing");
            prop_assert!(and(&a, &b).implies(&a) && and(&a, &b).implies(&b), "it asks less than one of them");
        }

        #[test]
        fn p05_the_join_asks_no_more_than_both(a in requirement(), b in requirement(), c in requirement()) {
            prop_assume!(c.implies(&a) && c.implies(&b));
            prop_assert!(c.implies(&a.and(b).unwrap()));
        }

        #[test]
        fn p05_deny_is_above_all(a in requirement()) {
            let denied = Requirement { deny: true, ..Requirement::default() };
            prop_assert!(denied.implies(&a));
            prop_assert!(a.deny || !a.implies(&denied));
        }
    }

    #[test]
    fn p05_two_audiences_are_a_conflict() {
        let to = |audience: &str| Requirement {
            exchange: Some(Exchange {
                granted: Vec::new(),
                audience: audience.to_owned(),
                service: 0,
                ttl: 60,
                refuse_standing: false,
                fallback: false,
                keeps_tasks: false,
                may_elevate: Vec::new(),
            }),
            ..Requirement::default()
        };
        assert_eq!(to("a").and(to("b")), Err(Conflict("audience")));
        assert!(to("a").and(to("a")).is_ok());
    }
}
