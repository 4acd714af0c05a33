//! Who may act for a caller (P32).

use crate::policy::client;
use crate::policy::requirement::smaller;

/// What is asked of the actors in a token (RFC 8693 4.1).
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Delegation {
    /// There must be one.
    pub required: bool,
    /// The current one must be one of these, sorted. `None`: anybody may.
    pub clients: Option<Vec<String>>,
    /// How many there may be.
    pub depth: Option<usize>,
}

impl Delegation {
    /// P5: both are asked for.
    pub(crate) fn and(self, other: Delegation) -> Delegation {
        Delegation {
            required: self.required || other.required,
            clients: match (self.clients, other.clients) {
                (Some(own), Some(their)) => Some(own.into_iter().filter(|client| their.contains(client)).collect()),
                (own, their) => own.or(their),
            },
            depth: smaller(self.depth, other.depth),
        }
    }

    pub(crate) fn implies(&self, other: &Delegation) -> bool {
        let is_among = |their: &Vec<String>| {
            self.clients.as_ref().is_some_and(|own| own.iter().all(|client| their.contains(client)))
        };
        (self.required || !other.required)
            && other.clients.as_ref().is_none_or(is_among)
            && other.depth.is_none_or(|most| self.depth.is_some_and(|own| own <= most))
    }

    /// `actors`: the current one first, each by its names, one of which counts.
    pub(crate) fn allows(&self, actors: &[Vec<String>]) -> bool {
        let Some(current) = actors.first() else { return !self.required };
        let is_named =
            |listed: &Vec<String>| current.iter().any(|name| listed.iter().any(|listed| client::is_same(listed, name)));
        self.clients.as_ref().is_none_or(is_named) && self.depth.is_none_or(|most| actors.len() <= most)
    }
}
