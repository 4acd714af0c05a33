//! Where a permitted request stands in the policy, for filters of the host behind this one.

use sha2::{Digest as _, Sha256};

use crate::audit::Facts;
use crate::jose::Claims;
use crate::line::Line;
use crate::policy::Rule;
use crate::text::hex;

/// Bytes of a subject's digest that are shown.
const DIGEST: usize = 8;

/// Names under which a host keeps them, each with its value. What does not apply is left out: no rule, no tier.
pub(super) fn coordinates(facts: &Facts, rule: Option<&Rule>, caller: Option<&Claims>) -> Vec<(&'static str, String)> {
    let thing = facts.kind.zip(facts.name.as_ref()).map(|(kind, name)| format!("{kind} {}", Line::spelled(name)));
    let said = [
        ("stepup.server", facts.server.as_deref().map(str::to_owned)),
        ("stepup.thing", thing),
        ("stepup.tier", rule.and_then(|rule| rule.tier.clone())),
        ("stepup.subject", Some(caller.map_or_else(|| "anonymous".to_owned(), subject))),
    ];
    said.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// The same for all tokens of one subject; of a token without one, its client.
fn subject(claims: &Claims) -> String {
    let (kind, name) = match (&claims.subject, &claims.client_id) {
        (Some(subject), _) => ("subject", subject.as_str()),
        (None, client) => ("client", client.as_deref().unwrap_or_default()),
    };
    let mut hasher = Sha256::new();
    for part in [claims.issuer.as_str(), kind, name] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hex(&hasher.finalize(), DIGEST)
}
