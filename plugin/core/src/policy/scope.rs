//! Scopes as a policy means them (P3, P4).

use std::cmp::Ordering;
use std::rc::Rc;

/// A scope and the scopes that cover it: itself, and those that imply it (P4).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scope {
    pub name: Rc<str>,
    pub covered_by: Rc<[String]>,
    /// The scopes it implies, directly and through others.
    pub implies: Rc<[String]>,
    /// `name` is its beginning, and goes on with the name that is called.
    pub is_built: bool,
}

/// One of these is needed. Most groups are of one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    /// What a challenge and an exchange name.
    ask: Scope,
    /// By name.
    others: Vec<Scope>,
}

impl Scope {
    /// Does the token with these scopes cover this one, by its name or by one that implies it?
    pub(crate) fn is_covered(&self, has: impl Fn(&str) -> bool) -> bool {
        self.covered_by.iter().any(|name| has(name))
    }

    fn named(&self, name: &str) -> Scope {
        if !self.is_built {
            return self.clone();
        }
        // P3: no other scope of the policy has this name, so none implies it or is implied.
        let name = format!("{}{name}", self.name);
        Scope {
            name: Rc::from(name.as_str()),
            covered_by: Rc::from([name]),
            implies: Rc::clone(&self.implies),
            is_built: false,
        }
    }
}

impl From<Scope> for Group {
    fn from(ask: Scope) -> Group {
        Group { ask, others: Vec::new() }
    }
}

impl Group {
    pub(crate) fn new(ask: Scope, more: Vec<Scope>) -> Group {
        let mut others: Vec<Scope> = Vec::new();
        for scope in more {
            if let (false, Err(at)) = (scope.name == ask.name, others.binary_search_by(|own| own.name.cmp(&scope.name)))
            {
                others.insert(at, scope);
            }
        }
        Group { ask, others }
    }

    pub(crate) fn ask(&self) -> &Scope {
        &self.ask
    }

    /// That first.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Scope> {
        std::iter::once(&self.ask).chain(&self.others)
    }

    /// The member that is covered, the one that is asked for if it is.
    pub(crate) fn met(&self, has: impl Fn(&str) -> bool) -> Option<&Scope> {
        self.members().find(|scope| scope.is_covered(&has))
    }

    /// P5: whoever meets this one meets the other.
    pub(crate) fn implies(&self, other: &Group) -> bool {
        self.members().all(|own| {
            let covers = |their: &Scope| their.is_built == own.is_built && their.is_covered(|name| *name == *own.name);
            other.members().any(covers)
        })
    }

    pub(crate) fn order(&self, other: &Group) -> Ordering {
        let key = |scope: &Scope| (Rc::clone(&scope.name), scope.is_built);
        self.members().map(key).cmp(other.members().map(key))
    }

    pub(crate) fn named(&self, name: &str) -> Group {
        Group { ask: self.ask.named(name), others: self.others.clone() }
    }
}
