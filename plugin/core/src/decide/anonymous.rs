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

/// The permit, and the rule that gives it. [`Reason::TokenMissing`]: a token is needed.
pub(crate) fn without_token<'p>(
    server: &'p Server,
    method: &str,
    operation: &Operation<'_>,
    changed: &dyn Fn(&str) -> bool,
    unwanted: &Unwanted,
) -> Result<(Permit, Option<&'p Rule>), Reason> {
    let rule = match operation {
        Operation::Baseline if METHODS.contains(&method) => None,
        Operation::On(target) => Some(server.rules.select(target).ok()),
        // P26: it goes with what it is about.
        Operation::Complete(target) if target.is_template() => {
            Some(server.rules.of_template(target.name()).rules.into_iter().find(|rule| rule.anonymous))
        }
        Operation::Complete(target) => Some(server.rules.select(target).ok()),
        Operation::Baseline | Operation::Notice(_) | Operation::Subscribe(_) | Operation::Listen(_) => {
            return Err(Reason::TokenMissing);
        }
    };
    let rule = match rule {
        None => None,
        Some(found) => Some(found.filter(|rule| rule.anonymous).ok_or(Reason::TokenMissing)?),
    };
    // P31: a token would not help.
    if let Operation::On(Target::Tool(tool)) = operation {
        checks::pinned(server, Some(tool), changed).map_err(|shortfall| shortfall.reason)?;
    }
    Ok((Permit::of_nobody(unwanted), rule))
}
