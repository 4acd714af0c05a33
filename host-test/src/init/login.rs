//! A login as MCP clients do it: the server's metadata name an authorization server (RFC 9728), a browser gets a code there
//! (RFC 6749 4.1, PKCE by RFC 7636), and the code comes back to this machine (RFC 8252 7.3).

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use axum::Router;
use axum::extract::RawQuery;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Request, Uri};
use http_body_util::Full;
use hyper::body::Bytes;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::issuer::{json as document, places};
use super::text::shown;
use crate::https::{HttpsClient, ask};
use crate::stack::encode;

/// How long a person may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// A token for that server. The challenge is what it answered without one.
pub(super) async fn token(client: &HttpsClient, url: &str, challenge: &str, client_id: Option<&str>) -> Result<String> {
    let about = about(client, url, challenge).await?;
    let server = Server::of(client, &about.issuer).await?;
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
        ("resource", &about.resource),
    ];
    if let Some(scope) = &about.scope {
        form.push(("scope", scope));
    }
    let between = if server.authorization.contains('?') { '&' } else { '?' };
    eprintln!(
        "open this in a browser, to log in at {}:\n{}{between}{}",
        shown(&about.issuer),
        server.authorization,
        encode(&form)
    );
    let code = code(listener, &state, &about.issuer).await?;
    let form = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", &redirect),
        ("client_id", &client_id),
        ("code_verifier", &verifier),
        ("resource", &about.resource),
    ];
    let answer = post(client, &server.token, "application/x-www-form-urlencoded", encode(&form)).await?;
    let token = answer.get("access_token").and_then(Value::as_str).map(str::to_owned);
    token.with_context(|| format!("no token: {} says {}", server.token, shown(&answer.to_string())))
}

/// What the server's metadata say (RFC 9728 2).
struct About {
    resource: String,
    issuer: String,
    scope: Option<String>,
}

async fn about(client: &HttpsClient, url: &str, challenge: &str) -> Result<About> {
    let uri: Uri = url.parse().with_context(|| format!("{url} is no URL"))?;
    let (scheme, authority) = uri.scheme_str().zip(uri.authority()).with_context(|| format!("{url} has no host"))?;
    let root = format!("{scheme}://{authority}/.well-known/oauth-protected-resource");
    let named = parameter(challenge, "resource_metadata");
    let mut tried = Vec::new();
    for place in named.into_iter().chain([format!("{root}{}", uri.path()), root.clone()]) {
        match document(client, safe(&place)?).await {
            Ok(found) => {
                return About::of(url, challenge, &found).with_context(|| format!("{} is of no use", shown(&place)));
            }
            Err(error) => tried.push(format!("{}: {error:#}", shown(&place))),
        }
    }
    bail!("{url} does not say who gives tokens for it:\n  {}", tried.join("\n  "))
}

impl About {
    fn of(url: &str, challenge: &str, found: &Value) -> Result<About> {
        let resource = found.get("resource").and_then(Value::as_str).unwrap_or_default().to_owned();
        // RFC 9728 3.3: metadata of another resource are not to be used.
        if resource.trim_end_matches('/') != url.trim_end_matches('/') {
            bail!("it is about {}", shown(&resource));
        }
        let first = found.get("authorization_servers").and_then(|servers| servers.get(0)?.as_str());
        let issuer = first.context("it names no authorization server")?.to_owned();
        let all = found.get("scopes_supported").and_then(Value::as_array);
        let all = all.map(|scopes| scopes.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "));
        Ok(About { resource, issuer, scope: parameter(challenge, "scope").or(all) })
    }
}

/// A quoted parameter of a challenge (RFC 9110 11.2).
fn parameter(challenge: &str, name: &str) -> Option<String> {
    let (before, rest) = challenge.split_once(&format!("{name}=\""))?;
    let is_whole = before.ends_with([' ', ',']);
    rest.split_once('"').filter(|_| is_whole).map(|(value, _)| value.to_owned())
}

/// Where it gives codes and tokens, and takes new clients.
struct Server {
    authorization: String,
    token: String,
    registration: Option<String>,
}

impl Server {
    async fn of(client: &HttpsClient, issuer: &str) -> Result<Server> {
        safe(issuer)?;
        for place in places(issuer)? {
            let Ok(found) = document(client, &place).await else { continue };
            let text = |name: &str| found.get(name).and_then(Value::as_str);
            if text("issuer") != Some(issuer) {
                bail!("{} is about another issuer", shown(&place));
            }
            let methods = found.get("code_challenge_methods_supported").and_then(Value::as_array);
            if !methods.is_some_and(|methods| methods.iter().any(|method| method == "S256")) {
                bail!("{} does not say that it knows PKCE with S256, which MCP clients must have", shown(issuer));
            }
            let endpoint = |name: &str| {
                text(name).with_context(|| format!("{} has no {name}", shown(&place))).and_then(safe).map(str::to_owned)
            };
            let registration = text("registration_endpoint").map(safe).transpose()?.map(str::to_owned);
            return Ok(Server {
                authorization: endpoint("authorization_endpoint")?,
                token: endpoint("token_endpoint")?,
                registration,
            });
        }
        bail!("{} has no metadata", shown(issuer))
    }

    /// RFC 7591: a client without a secret.
    async fn register(&self, client: &HttpsClient, redirect: &str) -> Result<String> {
        let registration = self.registration.as_deref();
        let registration = registration.context("it takes no new clients: name one that it knows with --client-id")?;
        let body = json!({
            "client_name": "stepup init", "redirect_uris": [redirect], "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code"], "response_types": ["code"], "application_type": "native",
        });
        let answer = post(client, registration, "application/json", body.to_string()).await?;
        let id = answer.get("client_id").and_then(Value::as_str).map(str::to_owned);
        id.with_context(|| format!("it takes no new client: {}", shown(&answer.to_string())))
    }
}

/// Codes and tokens go nowhere in the clear but on this machine.
fn safe(url: &str) -> Result<&str> {
    let uri: Uri = url.parse().with_context(|| format!("{} is no URL", shown(url)))?;
    let is_printable = url.bytes().all(|byte| byte.is_ascii_graphic());
    match (uri.scheme_str(), uri.host()) {
        (Some("https"), Some(_)) | (Some("http"), Some("127.0.0.1" | "localhost" | "[::1]")) if is_printable => Ok(url),
        _ => bail!("{} is neither https nor on this machine", shown(url)),
    }
}

async fn post(client: &HttpsClient, url: &str, kind: &str, body: String) -> Result<Value> {
    let request = Request::post(url).header("content-type", kind).header("accept", "application/json");
    let (status, body) = ask(client, request.body(Full::new(Bytes::from(body)))?).await?;
    serde_json::from_slice(&body).with_context(|| format!("{url} answers {status}, and no JSON"))
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
    of("code").with_context(|| format!("the login failed: {}", shown(&of("error").unwrap_or_default())))
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
