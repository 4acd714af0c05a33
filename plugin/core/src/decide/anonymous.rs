//! What may be done without a token (P26).

use super::{Permit, checks};
use crate::http::Unwanted;
use crate::mcp::{Operation, Target};
use crate::policy::{Rule, Server};
use crate::reason::Reason;

/// A session has to be begun, and things to be found, before one can be called.
const METHODS: [&str; 9] = [
    "initialize",
    "ping",
    "server/discover",
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "prompts/list",
    "notifications/initialized",
    "notifications/cancelled",
];

/// What no token is needed for.
pub(crate) struct Anonymous<'p> {
    pub rule: Option<&'p Rule>,
}

/// None: a token is needed.
pub(crate) fn anonymous<'p>(server: &'p Server, method: &str, operation: &Operation<'_>) -> Option<Anonymous<'p>> {
    let rule = match operation {
        Operation::Baseline if METHODS.contains(&method) => return Some(Anonymous { rule: None }),
        // P26: it goes with what it is about.
        Operation::Complete(target) if target.is_template() => {
            server.rules.of_template(target.name()).rules.into_iter().find(|rule| rule.anonymous)
        }
        Operation::On(target) | Operation::Complete(target) => server.rules.select(target).ok(),
        Operation::Baseline | Operation::Notice(_) | Operation::Subscribe(_) | Operation::Listen(_) => None,
    };
    let rule = rule.filter(|rule| rule.anonymous)?;
    Some(Anonymous { rule: Some(rule) })
}

impl Anonymous<'_> {
    /// A token would not help where this refuses.
    pub(crate) fn permit(
        &self,
        server: &Server,
        operation: &Operation<'_>,
        changed: &dyn Fn(&str) -> bool,
        unwanted: &Unwanted,
    ) -> Result<Permit, Reason> {
        if let Operation::On(Target::Tool(tool)) = operation {
            checks::pinned(server, Some(tool), changed).map_err(|shortfall| shortfall.reason)?; // P31
        }
        Ok(Permit::of_nobody(unwanted))
    }
}
