//! A login as MCP clients do it: a browser gets a code at the authorization server (RFC 6749 4.1, PKCE by RFC 7636), and the code
//! comes back to this machine (RFC 8252 7.3). Or as a service does it (RFC 6749 4.4).

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use axum::Router;
use axum::extract::RawQuery;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::request::Builder;
use http::{Request, Uri};
use http_body_util::Full;
use hyper::body::Bytes;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::https::{HttpsClient, ask};
use crate::metadata::{json as json_at, places};
use crate::shown::brief;
use crate::stack::encode;

/// Where, and for what.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    /// The authorization server.
    pub issuer: String,
    /// What the token is to be for (RFC 8707).
    pub resource: String,
    /// What it is to allow; `None`: what the authorization server finds right.
    pub scope: Option<String>,
}

/// How long a person may take.
const PATIENCE: Duration = Duration::from_secs(300);
const FORM: &str = "application/x-www-form-urlencoded";

impl Login {
    /// For this resource, by its metadata (RFC 9728 2) and by what it answered without a token.
    pub(crate) fn of(resource: &str, about: &Value, challenge: &str) -> Result<Login> {
        let named = about.get("resource").and_then(Value::as_str).unwrap_or_default().to_owned();
        // RFC 9728 3.3: metadata of another resource are not to be used.
        if named.trim_end_matches('/') != resource.trim_end_matches('/') {
            bail!("it is about {}", brief(&named));
        }
        let first = about.get("authorization_servers").and_then(|servers| servers.get(0)?.as_str());
        let issuer = first.context("it names no authorization server")?.to_owned();
        let all = about.get("scopes_supported").and_then(Value::as_array);
        let all = all.map(|scopes| scopes.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "));
        Ok(Login { issuer, resource: named, scope: parameter(challenge, "scope").or(all) })
    }

    /// A token for whoever logs in with a browser. Without a client, this command registers itself.
    pub(crate) async fn by_browser(&self, client: &HttpsClient, client_id: Option<&str>) -> Result<String> {
        let server = Server::of(client, &self.issuer).await?;
        let authorization = server.authorization()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let redirect = format!("http://127.0.0.1:{}/callback", listener.local_addr()?.port());
        let client_id = match client_id {
            Some(id) => id.to_owned(),
            None => server.register(client, &redirect).await?,
        };
        let (state, verifier) = (random()?, random()?);
        let hash = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
        let mut form = vec![
            ("response_type", "code"),
            ("client_id", &client_id),
            ("redirect_uri", &redirect),
            ("state", &state),
            ("code_challenge", &hash),
            ("code_challenge_method", "S256"),
            ("resource", &self.resource),
        ];
        form.extend(self.scope.as_deref().map(|scope| ("scope", scope)));
        let between = if authorization.contains('?') { '&' } else { '?' };
        let query = encode(&form);
        eprintln!("open this in a browser, to log in at {}:\n{authorization}{between}{query}", brief(&self.issuer));
        let code = code(listener, &state, &self.issuer).await?;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", &redirect),
            ("client_id", &client_id),
            ("code_verifier", &verifier),
            ("resource", &self.resource),
        ];
        server.token(client, None, &form).await
    }

    /// A token for a client itself, that has a secret.
    pub(crate) async fn by_secret(&self, client: &HttpsClient, id: &str, secret: &str) -> Result<String> {
        let server = Server::of(client, &self.issuer).await?;
        let mut form = vec![("grant_type", "client_credentials"), ("resource", &self.resource)];
        form.extend(self.scope.as_deref().map(|scope| ("scope", scope)));
        server.token(client, Some(&basic(id, secret)), &form).await
    }
}

/// A quoted parameter of a challenge (RFC 9110 11.2).
pub(crate) fn parameter(challenge: &str, name: &str) -> Option<String> {
    let (before, rest) = challenge.split_once(&format!("{name}=\""))?;
    let is_whole = before.ends_with([' ', ',']);
    rest.split_once('"').filter(|_| is_whole).map(|(value, _)| value.to_owned())
}

/// RFC 6749 2.3.1: both parts are form-encoded first.
fn basic(id: &str, secret: &str) -> String {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret))))
}

/// An authorization server, as its metadata describe it.
struct Server {
    document: Value,
    /// Where they are.
    place: String,
}

impl Server {
    async fn of(client: &HttpsClient, issuer: &str) -> Result<Server> {
        safe(issuer)?;
        for place in places(issuer)? {
            let Ok(document) = json_at(client, &place).await else { continue };
            let server = Server { document, place };
            if server.text("issuer") != Some(issuer) {
                bail!("{} is about another issuer", brief(&server.place));
            }
            return Ok(server);
        }
        bail!("{} has no metadata", brief(issuer))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.document.get(name)?.as_str()
    }

    fn endpoint(&self, name: &str) -> Result<&str> {
        self.text(name).with_context(|| format!("{} has no {name}", brief(&self.place))).and_then(safe)
    }

    /// Where codes are given, to clients that prove that it was they who asked.
    fn authorization(&self) -> Result<&str> {
        let methods = self.document.get("code_challenge_methods_supported").and_then(Value::as_array);
        if !methods.is_some_and(|methods| methods.iter().any(|method| method == "S256")) {
            bail!("{} does not say that it knows PKCE with S256, which MCP clients must have", brief(&self.place));
        }
        self.endpoint("authorization_endpoint")
    }

    /// RFC 7591: a client without a secret.
    async fn register(&self, client: &HttpsClient, redirect: &str) -> Result<String> {
        if self.text("registration_endpoint").is_none() {
            bail!("it takes no new clients: name one that it knows with --client-id");
        }
        let body = json!({
            "client_name": "stepup", "redirect_uris": [redirect], "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code"], "response_types": ["code"], "application_type": "native",
        });
        let request = Request::post(self.endpoint("registration_endpoint")?).header("content-type", "application/json");
        let answer = answer(client, request, body.to_string()).await?;
        let id = answer.get("client_id").and_then(Value::as_str).map(str::to_owned);
        id.with_context(|| format!("it takes no new client: {}", brief(&answer.to_string())))
    }

    async fn token(&self, client: &HttpsClient, credential: Option<&str>, form: &[(&str, &str)]) -> Result<String> {
        let mut request = Request::post(self.endpoint("token_endpoint")?).header("content-type", FORM);
        if let Some(credential) = credential {
            request = request.header("authorization", credential);
        }
        let answer = answer(client, request, encode(form)).await?;
        let token = answer.get("access_token").and_then(Value::as_str).map(str::to_owned);
        token.with_context(|| format!("no token: {} says {}", brief(&self.place), brief(&answer.to_string())))
    }
}

async fn answer(client: &HttpsClient, request: Builder, body: String) -> Result<Value> {
    let request = request.header("accept", "application/json").body(Full::new(Bytes::from(body)))?;
    let url = request.uri().to_string();
    let (status, body) = ask(client, request).await?;
    serde_json::from_slice(&body).with_context(|| format!("{url} answers {status}, and no JSON"))
}

/// Codes and tokens go nowhere in the clear but on this machine.
pub(crate) fn safe(url: &str) -> Result<&str> {
    let uri: Uri = url.parse().with_context(|| format!("{} is no URL", brief(url)))?;
    let is_printable = url.bytes().all(|byte| byte.is_ascii_graphic());
    match (uri.scheme_str(), uri.host()) {
        (Some("https"), Some(_)) | (Some("http"), Some("127.0.0.1" | "localhost" | "[::1]")) if is_printable => Ok(url),
        _ => bail!("{} is neither https nor on this machine", brief(url)),
    }
}

/// Waits for the browser to come back.
async fn code(listener: TcpListener, state: &str, issuer: &str) -> Result<String> {
    let (sent, mut come) = mpsc::channel(1);
    let back = get(move |RawQuery(query): RawQuery| {
        let sent = sent.clone();
        async move {
            let _ = sent.try_send(query.unwrap_or_default());
            "Done: back to the terminal."
        }
    });
    let served = tokio::spawn(async move { axum::serve(listener, Router::new().route("/callback", back)).await });
    let query = tokio::time::timeout(PATIENCE, come.recv()).await;
    // The page is on its way to the browser.
    tokio::time::sleep(Duration::from_millis(100)).await;
    served.abort();
    let query = query.map_err(|_| anyhow!("nobody logged in within {PATIENCE:?}"))?.context("nobody came back")?;
    let of = |name: &str| {
        form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    // RFC 6749 10.12, RFC 9207 2.4.
    if of("state").as_deref() != Some(state) || of("iss").is_some_and(|iss| iss != issuer) {
        bail!("what came back is not the answer to this login");
    }
    of("code").with_context(|| format!("the login failed: {}", brief(&of("error").unwrap_or_default())))
}

/// 256 bits.
fn random() -> Result<String> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow!("the system has no randomness"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::{parameter, safe};

    #[test]
    fn parameters_of_a_challenge() {
        let challenge = r#"Bearer error="invalid_token", resource_metadata="https://a/b", scope="x y""#;
        assert_eq!(parameter(challenge, "resource_metadata").as_deref(), Some("https://a/b"));
        assert_eq!(parameter(challenge, "scope").as_deref(), Some("x y"));
        assert_eq!(parameter(challenge, "metadata"), None);
        assert_eq!(parameter("", "scope"), None);
    }

    #[test]
    fn nothing_goes_out_in_the_clear() {
        for good in ["https://as.example.com/token", "http://127.0.0.1:1/token", "http://localhost/token"] {
            assert!(safe(good).is_ok(), "{good}");
        }
        for bad in [
            "http://as.example.com/token",
            "http://localhost.example.com/",
            "file:///etc/passwd",
            "token",
            "https:///x",
        ] {
            assert!(safe(bad).is_err(), "{bad}");
        }
    }
}
