//! Who gives tokens for a server: its own metadata name an authorization server (RFC 9728).

use anyhow::{Context as _, Result, bail};
use http::Uri;

use crate::https::HttpsClient;
use crate::login::{Login, parameter, safe};
use crate::metadata::json;
use crate::text::shown;

/// A login for that server. The challenge is what it answered without a token.
pub(super) async fn login(client: &HttpsClient, url: &str, challenge: &str) -> Result<Login> {
    let uri: Uri = url.parse().with_context(|| format!("{url} is no URL"))?;
    let (scheme, authority) = uri.scheme_str().zip(uri.authority()).with_context(|| format!("{url} has no host"))?;
    let root = format!("{scheme}://{authority}/.well-known/oauth-protected-resource");
    let named = parameter(challenge, "resource_metadata");
    let mut tried = Vec::new();
    for place in named.into_iter().chain([format!("{root}{}", uri.path()), root.clone()]) {
        match json(client, safe(&place)?).await {
            Ok(found) => {
                return Login::of(url, &found, challenge).with_context(|| format!("{} is of no use", shown(&place)));
            }
            Err(error) => tried.push(format!("{}: {error:#}", shown(&place))),
        }
    }
    bail!("{url} does not say who gives tokens for it:\n  {}", tried.join("\n  "))
}
