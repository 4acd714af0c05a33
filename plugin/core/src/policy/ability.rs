//! What clients can do (P24). The policy says it; the module knows no product by name.

use crate::policy::client::{self, Origin};

/// What a client can do with an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ability {
    /// It obtains a wider token when it is challenged.
    pub steps_up: bool,
    /// It looks for challenges in results, not in HTTP (P25).
    pub by_result: bool,
    /// It knows RFC 9470.
    pub rfc9470: bool,
}

/// The entries of `clients`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clients {
    pub ids: Vec<(String, Ability)>,
    pub origins: Vec<(Origin, Ability)>,
}

impl Clients {
    /// Ids before origins. Who is not listed can do nothing.
    pub(crate) fn of(&self, client: Option<&str>) -> Ability {
        let Some(id) = client.filter(|_| !self.ids.is_empty() || !self.origins.is_empty()) else {
            return Ability::default();
        };
        let by_id = self.ids.iter().find(|(listed, _)| client::is_same(listed, id)).map(|(_, ability)| *ability);
        let by_origin = || {
            let origin = Origin::of(id)?;
            self.origins.iter().find(|(listed, _)| *listed == origin).map(|(_, ability)| *ability)
        };
        by_id.or_else(by_origin).unwrap_or_default()
    }
}
