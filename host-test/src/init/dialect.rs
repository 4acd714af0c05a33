//! Whose metadata they are, and what its tokens and its token service are like: the words of the example policies.

/// A provider with words of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Keycloak,
    Entra,
    Okta,
    Auth0,
    Zitadel,
    /// As the specifications say.
    Plain,
}

impl Dialect {
    /// By what no installation can choose otherwise: the paths of its endpoints. Hosts may be anybody's.
    pub(super) fn recognised(issuer: &str, token: &str, jwks: &str) -> Dialect {
        let ends = |token_end: &str, jwks_end: &str| token.ends_with(token_end) && jwks.ends_with(jwks_end);
        if issuer.contains("/realms/") && ends("/protocol/openid-connect/token", "/protocol/openid-connect/certs") {
            Dialect::Keycloak
        } else if ends("/oauth2/v2.0/token", "/discovery/v2.0/keys") {
            Dialect::Entra
        } else if issuer.contains("/oauth2/") && ends("/v1/token", "/v1/keys") {
            Dialect::Okta
        } else if issuer.ends_with('/') && ends("/oauth/token", "/.well-known/jwks.json") {
            Dialect::Auth0
        } else if ends("/oauth/v2/token", "/oauth/v2/keys") {
            Dialect::Zitadel
        } else {
            Dialect::Plain
        }
    }

    /// Its name, and the folder of the example policy.
    pub(super) fn example(self) -> Option<(&'static str, &'static str)> {
        Some(match self {
            Dialect::Keycloak => ("Keycloak", "keycloak"),
            Dialect::Entra => ("Microsoft Entra ID", "entra"),
            Dialect::Okta => ("Okta", "okta"),
            Dialect::Auth0 => ("Auth0", "auth0"),
            Dialect::Zitadel => ("Zitadel", "zitadel"),
            Dialect::Plain => return None,
        })
    }

    /// The longest life of a token: Entra's live 60 to 90 minutes, and its `iat` is five minutes early.
    pub(super) fn max_lifetime(self) -> &'static str {
        if self == Dialect::Entra { "95m" } else { "1h" }
    }

    /// What stands between the parts of a scope: Entra and Zitadel's roles have no colon.
    pub(super) fn scope(self, left: &str, right: &str) -> String {
        let between = if matches!(self, Dialect::Entra | Dialect::Zitadel) { '.' } else { ':' };
        format!("{left}{between}{right}")
    }

    /// Further lines of the issuer. `audience`: what its tokens are for.
    pub(super) fn of_issuer(self, audience: &str) -> Vec<String> {
        let lines: &[&str] = match self {
            Dialect::Plain => &[],
            Dialect::Keycloak => &["token_type: jwt # the client is in `azp`, which counts unless said"],
            Dialect::Auth0 => {
                &["token_type: jwt # an API with the RFC 9068 profile types them `at+jwt`; that is accepted too"]
            }
            Dialect::Okta => &["token_type: jwt # its tokens have no type", "claims: { scope: [scp], client: [cid] }"],
            Dialect::Entra => &["token_type: jwt", "claims: { scope: [scp], subject: [oid] }"],
            Dialect::Zitadel => &[
                "token_type: jwt",
                "claims: { scope: [mcp_scopes] } # EDIT: an Action writes the names of the roles into this claim",
                "ask: \"urn:zitadel:iam:org:project:role:{scope}\"",
            ],
        };
        let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        if self == Dialect::Entra {
            lines.push(format!("ask: {}", crate::text::quoted(&format!("api://{audience}/{{scope}}"))));
        }
        lines
    }

    /// Further lines of the token service.
    pub(super) fn of_service(self, issuer: &str) -> Vec<String> {
        let target = "request: { target: audience } # it knows no `resource`".to_owned();
        match self {
            Dialect::Keycloak => vec![
                target,
                "also_granted: [profile, email] # default scopes; better: leave the client `basic` only".to_owned(),
            ],
            Dialect::Okta => vec![target],
            Dialect::Auth0 => {
                let userinfo = crate::text::quoted(&format!("{}/userinfo", issuer.trim_end_matches('/')));
                vec![target, format!("also_audience: [{userinfo}] # added wherever `openid` is among the scopes")]
            }
            Dialect::Zitadel => {
                vec!["request: { token_type: jwt, scope: \"urn:zitadel:iam:org:project:role:{scope}\" }".to_owned()]
            }
            Dialect::Entra | Dialect::Plain => Vec::new(),
        }
    }

    /// What tokens of this server are for where that is no URL: a number that stands for the one to be written.
    pub(super) fn audience(self) -> Option<&'static str> {
        match self {
            Dialect::Entra => Some("00000000-0000-0000-0000-000000000000"),
            Dialect::Zitadel => Some("000000000000000000"),
            _ => None,
        }
    }

    /// The shortest life that its token service gives, where it is longer than a minute.
    pub(super) fn ttl(self) -> &'static str {
        if matches!(self, Dialect::Okta | Dialect::Zitadel) { "5m" } else { "60s" }
    }

    /// Does its revocation endpoint take access tokens?
    pub(super) fn revokes(self) -> bool {
        !matches!(self, Dialect::Auth0 | Dialect::Entra)
    }
}

#[cfg(test)]
mod tests {
    use super::Dialect;
    use crate::{paths, yaml};

    /// The example policies have issuers and endpoints of every provider.
    #[test]
    fn every_provider_of_the_examples_is_recognised() {
        for dialect in [Dialect::Keycloak, Dialect::Entra, Dialect::Okta, Dialect::Auth0, Dialect::Zitadel] {
            let (_, folder) = dialect.example().unwrap();
            let policy = yaml::load(&paths::workspace().join("policies").join(folder).join("policy.yaml")).unwrap();
            let (issuer, words) = policy["issuers"].as_object().unwrap().iter().next().unwrap();
            let text = |pointer: &str| policy.pointer(pointer).unwrap().as_str().unwrap();
            let jwks = words["jwks"]["url"].as_str().unwrap();
            assert_eq!(Dialect::recognised(issuer, text("/token_service/token"), jwks), dialect, "{folder}");
        }
        let plain = Dialect::recognised(
            "https://as.example.com",
            "https://as.example.com/token",
            "https://as.example.com/jwks",
        );
        assert_eq!(plain, Dialect::Plain);
    }
}
