//! An authorization server for demonstrations: client credentials (RFC 6749 4.4), token exchange (RFC 8693), revocation (RFC 7009)
//! and introspection (RFC 7662). It answers as the one of the end-to-end tests does (`envoy/fixtures/authorization-server.mjs`):
//! a table of requests and answers holds both to it.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Json, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use form_urlencoded::parse;
use serde_json::{Value, json};

use super::Server;
use super::key::SigningKey;

/// What its tokens may be for.
#[derive(Clone, Debug)]
pub struct Resource {
    /// The scopes it knows.
    pub scopes: Vec<String>,
    /// Those of them that an exchange may give.
    pub elevate: Vec<String>,
}

impl Resource {
    /// With these scopes, and those that an exchange may give.
    pub fn new(scopes: &[&str], elevate: &[&str]) -> Resource {
        let owned = |scopes: &[&str]| scopes.iter().map(|scope| (*scope).to_owned()).collect();
        Resource { scopes: owned(scopes), elevate: owned(elevate) }
    }
}

/// A running authorization server. Dropping it ends it.
#[derive(Debug)]
pub struct AuthorizationServer {
    server: Server,
    books: Arc<Mutex<Books>>,
}

/// What it has given in exchange, and what of that was taken back.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// Tokens given in exchange.
    pub minted: usize,
    /// `jti` of tokens that were taken back.
    pub revoked: HashSet<String>,
}

impl AuthorizationServer {
    /// Starts one on loopback that knows these resources; port 0: any port.
    pub fn start(port: u16, resources: BTreeMap<String, Resource>, elevated_ttl: u64) -> Result<AuthorizationServer> {
        let key = SigningKey::new()?;
        let books = Arc::<Mutex<Books>>::default();
        let own = Arc::clone(&books);
        let server = Server::start(port, |port| {
            let issuer = format!("http://127.0.0.1:{port}");
            let state = Arc::new(Issuer { issuer, key, resources, elevated_ttl, books });
            Router::new()
                .route("/.well-known/oauth-authorization-server", get(metadata))
                .route("/.well-known/openid-configuration", get(metadata))
                .route("/jwks", get(keys))
                .route("/token", post(token))
                .route("/token/revocation", post(revoke))
                .route("/token/introspection", post(introspect))
                .with_state(state)
        })?;
        Ok(AuthorizationServer { server, books: own })
    }

    /// How they stand.
    pub fn books(&self) -> Books {
        self.books.lock().map(|books| books.clone()).unwrap_or_default()
    }

    /// Its identifier.
    pub fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.server.port)
    }
}

struct Issuer {
    issuer: String,
    key: SigningKey,
    resources: BTreeMap<String, Resource>,
    elevated_ttl: u64,
    books: Arc<Mutex<Books>>,
}

/// Who may ask, with which secret, and for which grant.
const CLIENTS: [(&str, &str, &str); 2] =
    [("mcp-client", "mcp-secret", "client_credentials"), ("step-up-filter", "filter-secret", TOKEN_EXCHANGE)];

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const BASE_TTL: u64 = 600;

/// What a client is told (RFC 6749 5.2).
struct Refused(StatusCode, &'static str, &'static str);

type Answer = Result<Json<Value>, Refused>;

impl axum::response::IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.1, "error_description": self.2 });
        (self.0, [("cache-control", "no-store")], Json(body)).into_response()
    }
}

const fn refused(error: &'static str, description: &'static str) -> Refused {
    Refused(StatusCode::BAD_REQUEST, error, description)
}

const NO_CLIENT: Refused = Refused(StatusCode::UNAUTHORIZED, "invalid_client", "client authentication failed");

/// The parameters of a request. RFC 6749 3.2 has each once; RFC 8693 2.1 lets `audience` and `resource` come again.
struct Form(Vec<(String, String)>);

impl Form {
    fn read(body: &str) -> Form {
        Form(parse(body.as_bytes()).into_owned().filter(|(_, value)| !value.is_empty()).collect())
    }

    fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f str> {
        self.0.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    fn get<'f>(&'f self, name: &'f str) -> Option<&'f str> {
        self.all(name).next()
    }

    fn words<'f>(&'f self, name: &'f str) -> Vec<&'f str> {
        let mut words: Vec<&str> = Vec::new();
        for word in self.get(name).unwrap_or_default().split(' ').filter(|word| !word.is_empty()) {
            if !words.contains(&word) {
                words.push(word);
            }
        }
        words
    }
}

async fn metadata(State(issuer): State<Arc<Issuer>>) -> Json<Value> {
    let at = |path: &str| format!("{}{path}", issuer.issuer);
    Json(json!({
        "issuer": issuer.issuer, "jwks_uri": at("/jwks"), "token_endpoint": at("/token"),
        "revocation_endpoint": at("/token/revocation"), "introspection_endpoint": at("/token/introspection"),
        "grant_types_supported": ["client_credentials", TOKEN_EXCHANGE], "response_types_supported": [],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
    }))
}

async fn keys(State(issuer): State<Arc<Issuer>>) -> Json<Value> {
    Json(json!({ "keys": [issuer.key.public()] }))
}

async fn token(State(issuer): State<Arc<Issuer>>, headers: HeaderMap, body: String) -> Answer {
    let form = Form::read(&body);
    let (client, grant) = client(&headers, &form).ok_or(NO_CLIENT)?;
    match form.get("grant_type") {
        None => Err(refused("invalid_request", "missing required parameter 'grant_type'")),
        Some(asked) if ![TOKEN_EXCHANGE, "client_credentials"].contains(&asked) => {
            Err(refused("unsupported_grant_type", "unsupported grant_type requested"))
        }
        Some(asked) if asked != grant => {
            Err(refused("invalid_request", "requested grant type is not allowed for this client"))
        }
        Some(TOKEN_EXCHANGE) => issuer.exchange(&form, client),
        Some(_) => issuer.client_credentials(&form, client),
    }
}

/// It is not told whether there was anything to revoke (RFC 7009 2.2).
async fn revoke(State(issuer): State<Arc<Issuer>>, headers: HeaderMap, body: String) -> Response {
    let form = Form::read(&body);
    let Some((client, _)) = client(&headers, &form) else { return NO_CLIENT.into_response() };
    if let Some(claims) = issuer.active(form.get("token").unwrap_or_default())
        // Only the client that obtained it.
        && claims.get("act").unwrap_or(&claims).get("client_id").is_some_and(|owner| owner == client)
        && let (Some(id), Ok(mut books)) = (claims.get("jti").and_then(Value::as_str), issuer.books.lock())
    {
        books.revoked.insert(id.to_owned());
    }
    StatusCode::OK.into_response()
}

async fn introspect(State(issuer): State<Arc<Issuer>>, headers: HeaderMap, body: String) -> Answer {
    let form = Form::read(&body);
    client(&headers, &form).ok_or(NO_CLIENT)?;
    let claims = issuer.active(form.get("token").unwrap_or_default());
    let mut answer = claims.unwrap_or_else(|| json!({}));
    let is_active = answer.get("iss").is_some();
    if let Some(members) = answer.as_object_mut() {
        members.insert("active".to_owned(), json!(is_active));
    }
    Ok(Json(answer))
}

/// The client that says who it is, in the header or in the form, and the grant it may use.
fn client(headers: &HeaderMap, form: &Form) -> Option<(&'static str, &'static str)> {
    let basic = headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Basic "));
    let (id, secret) = match basic {
        Some(basic) => {
            let text = String::from_utf8(STANDARD.decode(basic).ok()?).ok()?;
            let (id, secret) = text.split_once(':')?;
            // RFC 6749 2.3.1: both are form encoded first.
            let decoded = |text: &str| parse(text.as_bytes()).next().map(|(text, _)| text.into_owned());
            (decoded(id)?, decoded(secret)?)
        }
        None => (form.get("client_id")?.to_owned(), form.get("client_secret")?.to_owned()),
    };
    let known = CLIENTS.iter().find(|(known, own, _)| *known == id && *own == secret);
    known.map(|(id, _, grant)| (*id, *grant))
}

impl Issuer {
    fn client_credentials(&self, form: &Form, client: &str) -> Answer {
        let asked: HashSet<&str> = form.all("resource").collect();
        let (Some(audience), 1) = (asked.iter().next(), asked.len()) else {
            return Err(refused("invalid_target", "exactly one resource is required"));
        };
        let resource = self.resources.get(*audience).ok_or(refused("invalid_target", "unknown resource"))?;
        let words = form.words("scope");
        if words.iter().any(|word| !resource.scopes.iter().any(|known| known == word)) {
            return Err(refused("invalid_scope", "requested scope is not allowed"));
        }
        self.give(json!({ "aud": audience, "sub": client, "client_id": client, "scope": words.join(" ") }), BASE_TTL)
    }

    /// The caller's token in, a token for one audience with exactly the asked scopes out.
    fn exchange(&self, form: &Form, client: &str) -> Answer {
        let types = [Some(ACCESS_TOKEN), Some(JWT)];
        let subject = form.get("subject_token").ok_or(refused("invalid_request", "subject_token required"))?;
        if !types.contains(&form.get("subject_token_type")) {
            return Err(refused("invalid_request", "unsupported subject_token_type"));
        }
        if form.get("requested_token_type").is_some() && !types.contains(&form.get("requested_token_type")) {
            return Err(refused("invalid_request", "unsupported requested_token_type"));
        }
        let subject = self.active(subject).ok_or(refused("invalid_grant", "subject_token invalid"))?;
        let named: HashSet<&str> = form.all("audience").chain(form.all("resource")).collect();
        let (Some(audience), 1) = (named.iter().next(), named.len()) else {
            return Err(refused("invalid_target", "exactly one audience or resource required"));
        };
        let resource = self.resources.get(*audience).ok_or(refused("invalid_target", "unknown resource"))?;
        let words = form.words("scope");
        if words.is_empty() {
            return Err(refused("invalid_scope", "scope required"));
        }
        if words.iter().any(|word| !resource.elevate.iter().any(|known| known == word)) {
            return Err(refused("invalid_scope", "scope may not be obtained by exchange"));
        }
        let of = |name: &str| subject.get(name).cloned().unwrap_or_default();
        let claims = json!({
            "aud": audience, "sub": of("sub"), "scope": words.join(" "), "parent_jti": of("jti"),
            // Servers tie a session to the client that a token names: it stays the caller's, and the filter acts (RFC 8693 4.1).
            "client_id": of("client_id"), "act": { "sub": client, "client_id": client },
        });
        let Json(mut answer) = self.give(claims, self.elevated_ttl)?;
        if let Some(members) = answer.as_object_mut() {
            members.insert("issued_token_type".to_owned(), json!(ACCESS_TOKEN));
        }
        if let Ok(mut books) = self.books.lock() {
            books.minted += 1;
        }
        Ok(Json(answer))
    }

    fn give(&self, mut claims: Value, ttl: u64) -> Answer {
        const FAILED: Refused = Refused(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "no token can be made");
        let now = now();
        let id = self.key.unique().map_err(|_| FAILED)?;
        if let Some(members) = claims.as_object_mut() {
            members.retain(|_, value| value != "");
            let own = json!({ "iss": self.issuer, "iat": now, "exp": now + ttl, "jti": id });
            members.extend(own.as_object().cloned().unwrap_or_default());
        }
        let token = self.key.sign(&claims).map_err(|_| FAILED)?;
        let mut answer = json!({ "access_token": token, "token_type": "Bearer", "expires_in": ttl });
        if let (Some(scope), Some(members)) = (claims.get("scope"), answer.as_object_mut()) {
            members.insert("scope".to_owned(), scope.clone());
        }
        Ok(Json(answer))
    }

    /// The claims of a token of ours that counts.
    fn active(&self, token: &str) -> Option<Value> {
        let claims = self.key.verify(token)?;
        let is_alive = claims.get("exp").and_then(Value::as_u64).is_some_and(|end| end > now());
        let id = claims.get("jti").and_then(Value::as_str)?;
        (is_alive && !self.books.lock().ok()?.revoked.contains(id)).then_some(claims)
    }
}

/// Seconds since the epoch.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
