//! An authorization server, as its metadata describe it (RFC 8414, OpenID Connect Discovery 1.0).

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::dialect::Dialect;
use crate::https::HttpsClient;
use crate::metadata::{json, places};
use crate::text::shown;

/// What of it a policy needs.
#[derive(Clone, Debug)]
pub(super) struct Issuer {
    pub issuer: String,
    pub jwks: String,
    pub algorithms: Vec<&'static str>,
    /// Where the algorithms come from: its keys, or what it says in its metadata.
    pub told_by_keys: bool,
    pub token: Option<String>,
    pub revoke: Option<String>,
    pub introspect: Option<String>,
    pub exchanges: bool,
    pub dialect: Dialect,
}

impl Issuer {
    /// Asks the places where its metadata may be, in the order of the MCP specification.
    pub(super) async fn discover(client: &HttpsClient, issuer: &str) -> Result<Issuer> {
        let mut tried = Vec::new();
        for url in places(issuer)? {
            match json(client, &url).await {
                Ok(document) => {
                    let jwks = document.get("jwks_uri").and_then(Value::as_str);
                    let jwks = jwks.with_context(|| format!("{url} has no jwks_uri"))?;
                    let keys = json(client, jwks).await.context("its keys cannot be read")?;
                    return Issuer::of(issuer, &document, &keys).with_context(|| format!("{url} is of no use"));
                }
                Err(error) => tried.push(format!("{url}: {error:#}")),
            }
        }
        bail!("{issuer} has no metadata:\n  {}", tried.join("\n  "))
    }

    /// From its metadata and its keys (RFC 7517).
    pub(super) fn of(asked: &str, document: &Value, keys: &Value) -> Result<Issuer> {
        let text = |name: &str| document.get(name).and_then(Value::as_str).map(str::to_owned);
        let issuer = text("issuer").context("it has no `issuer`")?;
        // RFC 8414 3.3. Entra's common endpoints write a template.
        let is_template = issuer.contains("{tenantid}");
        if issuer != asked && !is_template {
            bail!("its issuer is {}, not {asked}: name that one with --issuer, if it is meant", shown(&issuer));
        }
        let token = text("token_endpoint");
        let jwks = text("jwks_uri").context("it has no `jwks_uri`")?;
        let dialect = Dialect::recognised(&issuer, token.as_deref().unwrap_or_default(), &jwks);
        let grants = names(document, "grant_types_supported");
        let exchanges = grants.contains(&"urn:ietf:params:oauth:grant-type:token-exchange") && token.is_some();
        let of_keys = algorithms_of(keys);
        let said = names(document, "id_token_signing_alg_values_supported");
        let said: Vec<&'static str> = ACCEPTED.iter().copied().filter(|known| said.contains(known)).collect();
        let told_by_keys = !of_keys.is_empty();
        let algorithms = if told_by_keys { of_keys } else { said };
        if algorithms.is_empty() {
            bail!("no algorithm of it is accepted here: it would have to be one of {}", ACCEPTED.join(", "));
        }
        Ok(Issuer {
            issuer: issuer.replace("{tenantid}", "{tid}"),
            jwks,
            algorithms,
            told_by_keys,
            token,
            revoke: text("revocation_endpoint"),
            introspect: text("introspection_endpoint"),
            exchanges,
            dialect,
        })
    }
}

/// P43.
const ACCEPTED: [&str; 6] = ["ES256", "ES384", "EdDSA", "RS256", "PS256", "Ed25519"];

/// What the keys for signatures are for, by `alg` or else by kind and curve.
fn algorithms_of(keys: &Value) -> Vec<&'static str> {
    let keys = keys.get("keys").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let of = |key: &Value| {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        if text("use").is_some_and(|its| its != "sig") {
            return None;
        }
        let alg = match (text("alg"), text("kty"), text("crv")) {
            (Some("Ed25519"), ..) | (None, Some("OKP"), Some("Ed25519")) => "EdDSA",
            (Some(alg), ..) => alg,
            (None, Some("RSA"), _) => "RS256",
            (None, Some("EC"), Some("P-256")) => "ES256",
            (None, Some("EC"), Some("P-384")) => "ES384",
            _ => return None,
        };
        ACCEPTED.iter().copied().find(|known| *known == alg)
    };
    let mut found: Vec<&'static str> = keys.iter().filter_map(of).collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn names<'d>(document: &'d Value, name: &str) -> Vec<&'d str> {
    let list = document.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Issuer;

    #[test]
    fn algorithms_are_those_of_the_keys_and_no_others() {
        let document = json!({
            "issuer": "https://as.example.com", "jwks_uri": "https://as.example.com/jwks",
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none", "RS512"],
        });
        let of = |keys| Issuer::of("https://as.example.com", &document, &keys).map(|issuer| issuer.algorithms);
        let keys = json!({ "keys": [
            { "kty": "RSA", "use": "enc", "alg": "RSA-OAEP" }, { "kty": "EC", "crv": "P-256", "use": "sig" },
            { "kty": "OKP", "crv": "Ed25519" }, { "kty": "RSA", "alg": "RS512" }, { "kty": "oct", "alg": "HS256" },
        ] });
        assert_eq!(of(keys).unwrap(), ["ES256", "EdDSA"]);
        assert_eq!(of(json!({ "keys": [] })).unwrap(), ["RS256"]);
        assert!(
            Issuer::of("https://as.example.com/", &document, &json!({})).unwrap_err().to_string().contains("--issuer")
        );
        let nothing = json!({ "issuer": "https://as.example.com", "jwks_uri": "https://as.example.com/jwks" });
        assert!(Issuer::of("https://as.example.com", &nothing, &json!({})).is_err());
    }
}
