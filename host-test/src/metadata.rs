//! Where authorization servers keep what they say of themselves.

use anyhow::{Context as _, Result, bail};
use http::{Request, Uri};
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::Value;

use crate::https::{HttpsClient, ask};

/// RFC 8414 3.1 and OpenID Connect Discovery 1.0, 4.
pub(crate) fn places(issuer: &str) -> Result<Vec<String>> {
    let uri: Uri = issuer.parse().with_context(|| format!("{issuer} is no URL"))?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"));
    let (scheme, authority) =
        scheme.zip(uri.authority()).with_context(|| format!("{issuer} is no http or https URL"))?;
    if uri.query().is_some() {
        bail!("{issuer} has a query: an issuer has none (RFC 8414 2)");
    }
    let (root, path) = (format!("{scheme}://{authority}"), uri.path().trim_end_matches('/'));
    let mut places = vec![
        format!("{root}/.well-known/oauth-authorization-server{path}"),
        format!("{root}/.well-known/openid-configuration{path}"),
        format!("{root}{path}/.well-known/openid-configuration"),
    ];
    places.dedup();
    Ok(places)
}

/// A document, without redirects.
pub(crate) async fn json(client: &HttpsClient, url: &str) -> Result<Value> {
    let request = Request::get(url).header("accept", "application/json").body(Full::new(Bytes::new()))?;
    let (status, body) = ask(client, request).await?;
    if !status.is_success() {
        bail!("{status}");
    }
    serde_json::from_slice(&body).context("no JSON")
}

#[cfg(test)]
mod tests {
    use super::places;

    #[test]
    fn metadata_are_looked_for_where_they_may_be() {
        assert_eq!(
            places("https://sso.example.com/realms/corp").unwrap(),
            [
                "https://sso.example.com/.well-known/oauth-authorization-server/realms/corp",
                "https://sso.example.com/.well-known/openid-configuration/realms/corp",
                "https://sso.example.com/realms/corp/.well-known/openid-configuration",
            ]
        );
        assert_eq!(places("https://example.eu.auth0.com/").unwrap().len(), 2);
        for bad in ["as.example.com", "ftp://as.example.com", "https://as.example.com/?a=b"] {
            assert!(places(bad).is_err(), "{bad}");
        }
    }
}
