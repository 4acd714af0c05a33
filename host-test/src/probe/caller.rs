//! Whose token is tried: one that is there, or one from a login.

use anyhow::{Context as _, Result};

use super::{Finding, good};
use crate::https;
use crate::login::Login;
use crate::metadata::json;
use crate::stack::{Request, send};
use crate::story::modern_call;

/// A caller.
#[derive(Clone, Debug)]
pub enum Caller {
    /// This one.
    Token(String),
    /// Whoever logs in with a browser (authorization code, PKCE).
    Browser {
        /// As which client; without one, this command registers itself.
        client: Option<String>,
        /// What to ask for, in place of what the filter's challenge names.
        scope: Option<String>,
    },
    /// A client itself (client credentials).
    Secret {
        /// Its id.
        client: String,
        /// What authenticates it.
        secret: String,
        /// As above.
        scope: Option<String>,
    },
}

impl Caller {
    /// Its token for a server, whose filter is asked at that address and path: without a token it says who gives one, and what that
    /// has to allow (RFC 9728, RFC 6750 3).
    pub(super) fn token(self, resource: &str, address: &str, path: &str) -> Result<(String, Option<Finding>)> {
        let (client_id, secret, scope) = match self {
            Caller::Token(token) => return Ok((token, None)),
            Caller::Browser { client, scope } => (client, None, scope),
            Caller::Secret { client, secret, scope } => (Some(client), Some(secret), scope),
        };
        let challenge = send(&Request::post(format!("{address}{path}"), modern_call("any")))?;
        let challenge = challenge.header("www-authenticate").unwrap_or_default().to_owned();
        let metadata = format!("{address}/.well-known/oauth-protected-resource{path}");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        runtime.block_on(async {
            let client = https::client()?;
            let about = json(&client, &metadata).await.context("the filter's own metadata cannot be read")?;
            let mut login = Login::of(resource, &about, &challenge)?;
            login.scope = scope.or(login.scope);
            let token = match (&client_id, &secret) {
                (Some(id), Some(secret)) => login.by_secret(&client, id, secret).await?,
                (id, _) => login.by_browser(&client, id.as_deref()).await?,
            };
            let asked = login.scope.as_deref().unwrap_or("no scope");
            Ok((token, Some(good("login", format!("at {}, asking for {asked}", login.issuer)))))
        })
    }
}
