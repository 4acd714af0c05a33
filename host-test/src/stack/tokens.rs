//! What a client and the filter say to the authorization server of a stack.

use anyhow::{Context as _, Result};

use super::http::{Request, encode, send};

/// The filter's own credential (see `envoy/token-service.sds.yaml`).
pub const FILTER_CREDENTIAL: &str = "Basic c3RlcC11cC1maWx0ZXI6ZmlsdGVyLXNlY3JldA==";

/// The client whose tokens a stack hands out (see `envoy/fixtures/README.md`).
pub(crate) const CLIENT: [(&str, &str); 2] = [("client_id", "mcp-client"), ("client_secret", "mcp-secret")];

/// A token for that resource with these scopes (RFC 6749 4.4, RFC 8707).
pub fn granted(issuer: &str, resource: &str, scope: &str) -> Result<String> {
    let [id, secret] = CLIENT;
    let form = [("grant_type", "client_credentials"), id, secret, ("scope", scope), ("resource", resource)];
    let request = Request::post(format!("{issuer}/token"), encode(&form))
        .with("content-type", "application/x-www-form-urlencoded");
    let answer = send(&request)?;
    let token = answer.message().and_then(|json| Some(json.get("access_token")?.as_str()?.to_owned()));
    token.with_context(|| format!("no token from the authorization server: {} {}", answer.status, answer.body))
}

/// Is that token alive (RFC 7662)?
pub(crate) fn is_active(issuer: &str, token: &str) -> Result<bool> {
    let request = Request::post(format!("{issuer}/token/introspection"), encode(&[("token", token)]))
        .with("content-type", "application/x-www-form-urlencoded")
        .with("authorization", FILTER_CREDENTIAL);
    let answer = send(&request)?;
    let active = answer.message().and_then(|json| json.get("active")?.as_bool());
    active.with_context(|| format!("no introspection: {} {}", answer.status, answer.body))
}
