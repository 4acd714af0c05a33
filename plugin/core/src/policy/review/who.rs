//! Callers that a policy tells apart by their client's id.

use std::collections::BTreeSet;

use crate::policy::client::Origin;
use crate::policy::{Condition, Policy};

/// A caller, as far as a policy tells one from another by its client.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The client of this id.
    Client(String),
    /// Any client that the policy does not name, with a metadata URL of this origin.
    Origin(String),
    /// Any other client.
    Other,
    /// A token that names no client.
    Nameless,
}

impl Who {
    /// An id of such a client.
    pub fn id(&self) -> Option<String> {
        match self {
            Who::Client(id) => Some(id.clone()),
            Who::Origin(origin) => Some(format!("{origin}/any-client.json")),
            // A plain URL that nobody lists: whether it is one of those is known, and it is none of them.
            Who::Other => Some("https://client.invalid/any-client.json".to_owned()),
            Who::Nameless => None,
        }
    }
}

/// All that the policy names, and the two that are nobody in particular.
pub(in crate::policy) fn of(policy: &Policy) -> BTreeSet<Who> {
    let mut found = BTreeSet::from([Who::Other, Who::Nameless]);
    found.extend(policy.clients.ids.iter().map(|(id, _)| Who::Client(id.clone())));
    found.extend(policy.clients.origins.iter().map(|(origin, _)| Who::Origin(origin.text())));
    for server in &policy.servers {
        let mut conditions = Vec::new();
        server.baseline.conditions(&mut conditions);
        server.rules.all().iter().for_each(|(_, rule)| conditions.extend(rule.conditions()));
        conditions.into_iter().for_each(|condition| named(condition, &mut found));
    }
    found
}

fn named(condition: &Condition, found: &mut BTreeSet<Who>) {
    match condition {
        Condition::All(list) | Condition::Any(list) => list.iter().for_each(|inner| named(inner, found)),
        Condition::Not(inner) => named(inner, found),
        Condition::Client(list) => found.extend(list.iter().map(|id| Who::Client(id.clone()))),
        Condition::ClientOrigin(list) => found.extend(list.iter().map(Origin::text).map(Who::Origin)),
        Condition::Source(_) | Condition::Member(..) | Condition::Every(..) | Condition::Some(..) => {}
    }
}
