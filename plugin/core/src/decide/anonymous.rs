//! What may be done without a token (P26).

use super::Permit;
use crate::http::Unwanted;
use crate::mcp::Operation;
use crate::policy::{Rule, Server};

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

/// The permit, and the rule that gives it. `None`: a token is needed.
pub(crate) fn without_token<'p>(
    server: &'p Server,
    method: &str,
    operation: &Operation<'_>,
    unwanted: &Unwanted,
) -> Option<(Permit, Option<&'p Rule>)> {
    let rule = match operation {
        Operation::Baseline if METHODS.contains(&method) => None,
        Operation::On(target) => Some(server.rules.select(target).ok().filter(|rule| rule.anonymous)?),
        Operation::Baseline | Operation::Dropped => return None,
    };
    Some((Permit::of_nobody(unwanted), rule))
}
