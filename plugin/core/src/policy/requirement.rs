//! What an operation needs (P7), and the algebra of it (P5): one join and its order serve rules, raises, servers and warnings.

use std::borrow::Cow;

use crate::policy::condition::Condition;
use crate::policy::delegation::Delegation;
use crate::policy::scope::{Group, Scope};

/// What an operation needs. `and` of two is the weakest that asks at least what each of them asks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Requirement {
    /// Nobody may.
    pub deny: bool,
    /// P33: the caller's token must be bound to its certificate.
    pub bound: bool,
    /// P14: what must be true of the caller; the server's own first.
    pub callers: Vec<Condition>,
    /// P32: who may act for the caller.
    pub act: Option<Delegation>,
    /// Scopes the caller's own token must carry, baseline included, by name, each once.
    pub held: Vec<Held>,
    /// P6: the ways in which what is beyond the baseline is obtained, of all parts that ask for something.
    pub ways: Ways,
    /// `exp - iat` of the token, at most, in seconds (P13).
    pub max_lifetime: Option<u64>,
    /// Seconds since the login, at most (P13).
    pub max_age: Option<u64>,
    /// P37: how the user logged in: one of these, sorted.
    pub acr: Option<Vec<String>>,
    /// P8: who may be elevated at all, where an exchange is asked for. Empty: the token service alone decides.
    pub may_elevate: Vec<Condition>,
    /// What is to be obtained for the one call, if anything.
    pub exchange: Option<ExchangeTerms>,
}

/// A scope of the caller's own token, or one of several.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Held {
    pub group: Group,
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

    /// Is it one of them?
    pub(crate) fn has(self, way: StepUp) -> bool {
        self.contains(Ways::of(way))
    }
}

/// A token for one operation, as the policy wants it (P9 to P11).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ExchangeTerms {
    /// The scopes to ask for, by name, each once.
    pub granted: Vec<Group>,
    /// P10: unsaid, it is the `resource`.
    pub audience: Option<String>,
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
}

/// The same, for one operation: what is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    /// By name, each once.
    pub granted: Vec<Scope>,
    pub audience: String,
    pub service: usize,
    /// Seconds of life, at most.
    pub ttl: u64,
    pub keeps_tasks: bool,
}

/// Two parts that say a word which may be said once: its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Conflict(pub &'static str);

impl Requirement {
    /// These scopes of the caller's own token, and nothing else: a baseline.
    pub(crate) fn of(held: impl IntoIterator<Item = Group>) -> Requirement {
        let held = each_once(held).into_iter().map(|group| Held { group, challenged: true }).collect();
        Requirement { held, ..Requirement::default() }
    }

    /// P5, the join: both are asked for. The order does not matter.
    pub(crate) fn and(self, other: Requirement) -> Result<Requirement, Conflict> {
        Ok(Requirement {
            deny: self.deny || other.deny,
            bound: self.bound || other.bound,
            callers: both(self.callers, other.callers),
            act: match (self.act, other.act) {
                (Some(own), Some(their)) => Some(own.and(their)),
                (own, their) => own.or(their),
            },
            held: union(self.held, other.held),
            ways: self.ways.and(other.ways),
            max_lifetime: smaller(self.max_lifetime, other.max_lifetime),
            max_age: smaller(self.max_age, other.max_age),
            acr: once(self.acr, other.acr, "acr")?,
            may_elevate: both(self.may_elevate, other.may_elevate),
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
            |requirement: &Requirement| requirement.held.iter().map(|held| held.group.clone()).collect::<Vec<_>>();
        self.deny
            || (!other.deny
                && (self.bound || !other.bound)
                && other.callers.iter().all(|condition| self.callers.contains(condition))
                && other.act.as_ref().is_none_or(|their| self.act.as_ref().is_some_and(|own| own.implies(their)))
                && contains(&held(self), &held(other))
                && at_most(self.max_lifetime, other.max_lifetime)
                && at_most(self.max_age, other.max_age)
                && (other.acr.is_none() || self.acr == other.acr)
                // Where nothing is asked beyond the baseline, there is no way of asking to differ in.
                && (self.ways.is_empty() || self.ways.contains(other.ways))
                && other.may_elevate.iter().all(|condition| self.may_elevate.contains(condition))
                && other.exchange.as_ref().is_none_or(|their| self.exchange.as_ref().is_some_and(|own| own.implies(their))))
    }

    /// All conditions in it.
    pub(crate) fn conditions<'r>(&'r self, found: &mut Vec<&'r Condition>) {
        found.extend(&self.callers);
        found.extend(&self.may_elevate);
    }

    /// May a call go to another audience than the server's own (P10)?
    pub(crate) fn leads_elsewhere(&self, resource: &str) -> bool {
        let audience = self.exchange.as_ref().and_then(|exchange| exchange.audience.as_deref());
        audience.is_some_and(|audience| audience != resource)
    }

    /// P3: does it ask for a scope that is made of the name that was called?
    pub(crate) fn builds(&self) -> bool {
        let is_built = |group: &Group| group.ask().is_built;
        self.held.iter().any(|held| is_built(&held.group))
            || self.exchange.as_ref().is_some_and(|exchange| exchange.granted.iter().any(is_built))
    }

    /// The same, where this name is called. Its scopes are made of it, if it can stand in one.
    pub(crate) fn named(&self, name: Option<&str>) -> Cow<'_, Requirement> {
        let Some(name) = name.filter(|name| self.builds() && is_scopable(name)) else { return Cow::Borrowed(self) };
        let mut named = self.clone();
        named.held = union([], named.held.into_iter().map(|held| Held { group: held.group.named(name), ..held }));
        if let Some(exchange) = &mut named.exchange {
            exchange.granted = each_once(exchange.granted.iter().map(|group| group.named(name)));
        }
        Cow::Owned(named)
    }

    /// All scopes that it asks for, held or obtained.
    pub(crate) fn groups(&self) -> Vec<&Group> {
        let mut groups: Vec<&Group> = self.held.iter().map(|held| &held.group).collect();
        self.exchange.iter().for_each(|exchange| groups.extend(&exchange.granted));
        groups
    }
}

/// P3: can this name stand in a scope that is made of it?
pub(crate) fn is_scopable(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

impl ExchangeTerms {
    fn and(self, other: ExchangeTerms) -> Result<ExchangeTerms, Conflict> {
        if self.service != other.service {
            return Err(Conflict("token_service"));
        }
        Ok(ExchangeTerms {
            granted: each_once(self.granted.into_iter().chain(other.granted)),
            audience: once(self.audience, other.audience, "audience")?,
            service: self.service,
            ttl: self.ttl.min(other.ttl),
            refuse_standing: self.refuse_standing || other.refuse_standing,
            fallback: self.fallback || other.fallback,
            keeps_tasks: self.keeps_tasks || other.keeps_tasks,
        })
    }

    fn implies(&self, other: &ExchangeTerms) -> bool {
        contains(&self.granted, &other.granted)
            && self.audience == other.audience
            && self.service == other.service
            && self.ttl <= other.ttl
            && (self.refuse_standing || !other.refuse_standing)
            && self.fallback == other.fallback
            && self.keeps_tasks == other.keeps_tasks
    }

    /// What is asked for, of a group the one that it names (P3).
    pub(crate) fn resolved(&self, resource: &str) -> Exchange {
        let mut granted: Vec<Scope> = self.granted.iter().map(|group| group.ask().clone()).collect();
        granted.dedup_by(|a, b| a.name == b.name);
        Exchange {
            granted,
            audience: self.audience.clone().unwrap_or_else(|| resource.to_owned()),
            service: self.service,
            ttl: self.ttl,
            keeps_tasks: self.keeps_tasks,
        }
    }
}

/// By name, each once. What one part does not let be asked for is not asked for.
fn union(own: impl IntoIterator<Item = Held>, other: impl IntoIterator<Item = Held>) -> Vec<Held> {
    let mut all: Vec<Held> = own.into_iter().collect();
    for held in other {
        match all.binary_search_by(|known| known.group.order(&held.group)) {
            Ok(at) => all.get_mut(at).into_iter().for_each(|known| known.challenged &= held.challenged),
            Err(at) => all.insert(at, held),
        }
    }
    all
}

/// By name, each once.
pub(super) fn each_once(groups: impl IntoIterator<Item = Group>) -> Vec<Group> {
    let mut all: Vec<Group> = Vec::new();
    for group in groups {
        if let Err(at) = all.binary_search_by(|known| known.order(&group)) {
            all.insert(at, group);
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
pub(super) fn smaller<T: Ord>(own: Option<T>, other: Option<T>) -> Option<T> {
    own.into_iter().chain(other).min()
}

/// What two may say only if it is the same.
fn once<T: PartialEq>(own: Option<T>, other: Option<T>, word: &'static str) -> Result<Option<T>, Conflict> {
    match (own, other) {
        (Some(own), Some(other)) if own != other => Err(Conflict(word)),
        (own, other) => Ok(own.or(other)),
    }
}

/// Has every group of `other` one here that is met only where that is?
fn contains(own: &[Group], other: &[Group]) -> bool {
    other.iter().all(|need| own.iter().any(|has| has.implies(need)))
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

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
        Scope { name: Rc::from(name), covered_by: texts(covered_by), implies: texts(implies), is_built: false }
    }

    fn groups() -> impl Strategy<Value = Vec<Group>> {
        let name = || prop::sample::select(vec!["a", "b", "c", "all"]).prop_map(scope);
        let group = (name(), prop::collection::vec(name(), 0..3)).prop_map(|(ask, others)| Group::new(ask, others));
        prop::collection::vec(group, 0..4)
    }

    fn conditions() -> impl Strategy<Value = Vec<Condition>> {
        let client = prop::sample::select(vec!["x", "y"]).prop_map(|client| Condition::Client(vec![client.to_owned()]));
        prop::collection::vec(client, 0..3).prop_map(|list| both(Vec::new(), list))
    }

    fn exchange() -> impl Strategy<Value = ExchangeTerms> {
        (groups(), 1..4_u64, any::<bool>()).prop_map(|(granted, ttl, refuse_standing)| ExchangeTerms {
            granted: each_once(granted),
            audience: None,
            service: 0,
            ttl,
            refuse_standing,
            fallback: false,
            keeps_tasks: false,
        })
    }

    fn delegation() -> impl Strategy<Value = Delegation> {
        let clients = prop::option::of(prop::sample::subsequence(vec!["x", "y"], 0..=2));
        (any::<bool>(), clients, prop::option::of(1..4_usize)).prop_map(|(required, clients, depth)| {
            let clients = clients.map(|list| list.into_iter().map(str::to_owned).collect());
            Delegation { required, clients, depth }
        })
    }

    /// Any, where the words that are said once are said alike.
    fn requirement() -> impl Strategy<Value = Requirement> {
        let times = || prop::option::of(1..4_u64);
        let caller = (conditions(), any::<bool>(), prop::option::of(delegation()));
        let token = (groups(), any::<bool>(), times(), times());
        let exchange = (prop::option::of(exchange()), conditions());
        (any::<bool>(), caller, token, exchange).prop_map(
            |(deny, (callers, bound, act), (held, challenged, max_lifetime, max_age), (exchange, may_elevate))| {
                let may_elevate = both(Vec::new(), may_elevate);
                let mut made = Requirement::of(held);
                made.held.iter_mut().for_each(|held| held.challenged = challenged);
                let way = if challenged { StepUp::Challenge } else { StepUp::None };
                made.ways = if made.held.is_empty() { Ways::default() } else { Ways::of(way) };
                if exchange.is_some() {
                    made.ways = made.ways.and(Ways::of(StepUp::Exchange));
                }
                Requirement { deny, bound, callers, act, max_lifetime, max_age, may_elevate, exchange, ..made }
            },
        )
    }

    /// The order in which conditions are written does not matter.
    fn same(a: &Requirement, b: &Requirement) -> bool {
        let bare = |of: &Requirement| {
            let mut bare = of.clone();
            bare.callers.clear();
            bare.may_elevate.clear();
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
    fn p05_two_values_of_a_word_that_is_said_once_are_a_conflict() {
        let to = |audience: Option<&str>, service| Requirement {
            exchange: Some(ExchangeTerms {
                granted: Vec::new(),
                audience: audience.map(str::to_owned),
                service,
                ttl: 60,
                refuse_standing: false,
                fallback: false,
                keeps_tasks: false,
            }),
            ..Requirement::default()
        };
        assert_eq!(to(Some("a"), 0).and(to(Some("b"), 0)), Err(Conflict("audience")));
        assert_eq!(to(None, 0).and(to(None, 1)), Err(Conflict("token_service")));
        assert!(to(Some("a"), 0).and(to(Some("a"), 0)).is_ok());
        assert_eq!(to(Some("a"), 0).and(to(None, 0)), Ok(to(Some("a"), 0)), "P7: what is not said is free");
        let by = |acr: &str| Requirement { acr: Some(vec![acr.to_owned()]), ..Requirement::default() };
        assert_eq!(by("mfa").and(by("pwd")), Err(Conflict("acr")));
        assert!(by("mfa").and(Requirement::default()).is_ok_and(|joined| joined == by("mfa")));
    }

    #[test]
    fn p05_a_group_asks_at_least_what_another_asks_if_it_is_met_only_where_that_is() {
        let group = |names: &[&str]| {
            let mut names = names.iter().map(|name| scope(name));
            Group::new(names.next().unwrap(), names.collect())
        };
        for (own, other, implies) in [
            (&["a"][..], &["a"][..], true),
            (&["a"], &["a", "c"], true),
            (&["a", "c"], &["a"], false),
            (&["c", "a"], &["a", "c"], true),
            (&["all"], &["b", "c"], true),
            (&["all", "a"], &["b"], true),
            (&["all", "c"], &["b"], false),
            (&["b"], &["all"], false),
        ] {
            assert_eq!(group(own).implies(&group(other)), implies, "{own:?} {other:?}");
        }
    }
}
