//! A response to a call that went upstream with the caller's own token: what of its challenge is repeated as ours (P27).

use crate::http::{Challenged, ResponseHead};
use crate::policy::{Issuer, Place, Server, Spot};
use crate::text::distinct;

/// Such a call.
#[derive(Debug)]
pub(crate) struct Own {
    /// Where it was sent.
    pub spot: Spot,
    /// The caller's issuer, a position in the policy's issuers.
    pub issuer: Option<usize>,
    /// P27: a challenge of the upstream's is replaced.
    pub challenges: bool,
    /// P35: whose sessions it opens.
    pub session: Option<SessionOwner>,
}

/// Whose a session is: issuer and subject, or nobody's.
pub(crate) type SessionOwner = Option<(String, Option<String>)>;

/// RFC 6750 3.1.
const ERRORS: [&str; 3] = ["invalid_request", "invalid_token", "insufficient_scope"];

/// Our challenge in place of the upstream's, if it makes one, and how many of its scopes are not repeated: an upstream may not make our
/// challenge ask for what it likes.
pub(crate) fn instead(
    head: &ResponseHead<'_>,
    (server, place): (&Server, &Place),
    issuer: Option<&Issuer>,
) -> Option<(String, u32)> {
    let said = match (head.status, head.challenge) {
        (401 | 403, Some(challenge)) => Challenged::read(challenge),
        // RFC 9110 15.5.2: a 401 has a challenge.
        (401, None) => Challenged::default(),
        _ => return None,
    };
    let spelled = |scope: &str| issuer.map_or_else(|| scope.to_owned(), |issuer| issuer.asked(scope));
    let named = || server.held_somewhere.iter().map(|(scope, _)| &**scope);
    let asked = |said: &String| named().find(|name| name == said || spelled(name) == *said).map(&spelled);
    let scopes: Vec<String> = said.scopes.iter().filter_map(asked).collect();
    let dropped = u32::try_from(said.scopes.len() - scopes.len()).unwrap_or(u32::MAX);
    let scopes = distinct(scopes);
    let error = said.error.filter(|error| ERRORS.contains(&error.as_str()));
    let scopes = match scopes.is_empty() && head.status == 401 {
        true if issuer.is_none() => server.asked.clone(),
        true => server.baseline.held.iter().map(|held| spelled(&held.group.ask().name)).collect::<Vec<_>>().join(" "),
        false => scopes.join(" "),
    };
    let mut parameters = Vec::new();
    parameters.extend(error.map(|error| format!("error=\"{error}\"")));
    if !scopes.is_empty() {
        parameters.push(format!("scope=\"{scopes}\""));
    }
    parameters.push(format!("resource_metadata=\"{}\"", place.metadata.url));
    Some((format!("Bearer {}", parameters.join(", ")), dropped))
}
