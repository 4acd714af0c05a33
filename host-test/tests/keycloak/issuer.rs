//! A realm in the running Keycloak: its endpoints, its administration, and tokens for callers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use host_test::signing::{Key, claims};
use host_test::stack::{Answer, Request, encode, send};
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use super::realm::{SECRET, ecdsa, realm};
use super::server::Keycloak;

/// A name for the realm of a trial.
pub fn new_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("corp-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The issuer of that name.
pub fn url(keycloak: &Keycloak, name: &str) -> String {
    format!("{}/realms/{name}", keycloak.base)
}

/// A realm. It stays in the database until the next run begins with a fresh one.
pub struct Issuer {
    keycloak: Arc<Keycloak>,
    name: String,
    mcp: String,
    /// Its identifier.
    pub url: String,
}

/// What Keycloak answered at one of its endpoints.
#[derive(Debug)]
pub struct Said {
    pub status: u16,
    pub body: Value,
}

impl Said {
    pub fn text(&self, member: &str) -> Result<String> {
        let text = self.body.get(member).and_then(Value::as_str);
        Ok(text.with_context(|| format!("no {member}: {} {:#}", self.status, self.body))?.to_owned())
    }
}

impl Issuer {
    /// Makes the realm, for the MCP server of that URL.
    pub fn create(keycloak: &Arc<Keycloak>, name: &str, mcp: &str) -> Result<Issuer> {
        let url = url(keycloak, name);
        let issuer = Issuer { keycloak: Arc::clone(keycloak), name: name.to_owned(), mcp: mcp.to_owned(), url };
        let (status, body) = issuer.admin_call("POST", "/admin/realms", Some(&realm(name, mcp)))?;
        ensure!(status == 201, "no realm: {status} {body:#}");
        Ok(issuer)
    }

    /// The URL of an endpoint: `token`, `revoke`, `token/introspect`, `certs`, `auth`.
    pub fn endpoint(&self, name: &str) -> String {
        format!("{}/protocol/openid-connect/{name}", self.url)
    }

    // ---- callers

    /// A token for a user of that client, by password.
    pub fn password(&self, client: &str, scope: &str, user: &str) -> Result<String> {
        let form = [("grant_type", "password"), ("username", user), ("password", user), ("scope", scope)];
        self.post("token", client, &form)?.text("access_token")
    }

    /// A token for a service.
    pub fn client_credentials(&self, client: &str, scope: &str) -> Result<Said> {
        self.post("token", client, &[("grant_type", "client_credentials"), ("scope", scope)])
    }

    /// A login of alice without a browser, and the answer to its code (RFC 6749 4.1, RFC 7636).
    pub fn login(&self, client: &str, scope: &str) -> Result<Said> {
        let (verifier, redirect) = ("a-verifier-that-is-long-enough-to-be-one-1234567890", "http://127.0.0.1/callback");
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
        let query = encode(&[
            ("response_type", "code"),
            ("client_id", client),
            ("redirect_uri", redirect),
            ("scope", scope),
            ("state", "s"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("resource", &self.mcp),
        ]);
        let location = self.log_in_at(&format!("{}?{query}", self.endpoint("auth")))?;
        let query = location.split_once('?').map(|(_, query)| query).unwrap_or_default();
        let parameter = |wanted: &str| {
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            pairs.find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
        };
        ensure!(parameter("iss").as_ref() == Some(&self.url), "RFC 9207: {location}");
        let code = parameter("code").with_context(|| format!("no code: {location}"))?;
        self.post(
            "token",
            client,
            &[
                ("grant_type", "authorization_code"),
                ("code", &code),
                ("redirect_uri", redirect),
                ("code_verifier", verifier),
            ],
        )
    }

    /// Alice at the page of that URL: where she is sent then.
    pub fn log_in_at(&self, url: &str) -> Result<String> {
        let page = send(&Request::get(url).with("accept", "text/html"))?;
        let action = between(&page.body, "action=\"", "\"").with_context(|| format!("no form: {page:?}"))?;
        // They are `Secure`, and it is plain HTTP: a browser sends them to loopback all the same.
        let cookies = page.headers.iter().filter(|(name, _)| name == "set-cookie");
        let cookies: Vec<&str> = cookies.filter_map(|(_, cookie)| cookie.split(';').next()).collect();
        let form = Request::post(action.replace("&amp;", "&"), encode(&[("username", "alice"), ("password", "alice")]));
        let answer = send(&form.with("content-type", FORM).with("cookie", &cookies.join("; ")))?;
        Ok(answer.header("location").with_context(|| format!("no login: {answer:?}"))?.to_owned())
    }

    /// A token of `agent-dpop`, bound to a key of ours (RFC 9449).
    pub fn bound(&self) -> Result<String> {
        let key = Key::for_tests("ES256")?;
        let header: Map<String, Value> =
            [("typ", json!("dpop+jwt")), ("kid", Value::Null), ("jwk", thumbprinted(&key.public()))]
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
        let endpoint = self.endpoint("token");
        let proof = key.token(&header, &json!({ "jti": new_name(), "htm": "POST", "htu": endpoint, "iat": now }))?;
        let form = [("grant_type", "password"), ("username", "alice"), ("password", "alice")];
        let request = Request::post(endpoint, encode(&form)).with("content-type", FORM).with("dpop", &proof);
        said(&send(&request.with("authorization", &basic("agent-dpop", SECRET)))?).text("access_token")
    }

    // ---- as the filter does it, and as a server that introspects

    /// The exchange that the filter would ask for.
    pub fn exchange(&self, filter: &str, subject: &str, audience: &str, scope: &str) -> Result<Said> {
        self.exchange_with(filter, SECRET, subject, audience, scope)
    }

    /// The same with another secret.
    pub fn exchange_with(
        &self,
        filter: &str,
        secret: &str,
        subject: &str,
        audience: &str,
        scope: &str,
    ) -> Result<Said> {
        let access_token = "urn:ietf:params:oauth:token-type:access_token";
        self.post_with(
            "token",
            filter,
            secret,
            &[
                ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
                ("subject_token", subject),
                ("subject_token_type", access_token),
                ("requested_token_type", access_token),
                ("audience", audience),
                ("scope", scope),
            ],
        )
    }

    /// What the MCP server learns about a token.
    pub fn introspect(&self, token: &str) -> Result<Value> {
        self.introspect_as(&self.mcp, token)
    }

    /// What somebody else does.
    pub fn introspect_as(&self, client: &str, token: &str) -> Result<Value> {
        let said = self.post("token/introspect", client, &[("token", token)])?;
        ensure!(said.status == 200, "{said:?}");
        Ok(said.body)
    }

    pub fn is_active(&self, token: &str) -> Result<bool> {
        let answer = self.introspect(token)?;
        answer["active"].as_bool().with_context(|| format!("{answer:#}"))
    }

    /// Takes a token back, as the client that it was issued to.
    pub fn revoke(&self, client: &str, token: &str) -> Result<()> {
        let said = self.post("revoke", client, &[("token", token)])?;
        ensure!(said.status == 200 && said.body == Value::Null, "{said:?}");
        Ok(())
    }

    /// A POST as that client.
    pub fn post(&self, endpoint: &str, client: &str, form: &[(&str, &str)]) -> Result<Said> {
        self.post_with(endpoint, client, SECRET, form)
    }

    fn post_with(&self, endpoint: &str, client: &str, secret: &str, form: &[(&str, &str)]) -> Result<Said> {
        let mut form = form.to_vec();
        let is_public = client == "agent-default";
        if is_public {
            form.push(("client_id", client));
        }
        let mut request = Request::post(self.endpoint(endpoint), encode(&form)).with("content-type", FORM);
        if !is_public {
            request = request.with("authorization", &basic(client, secret));
        }
        Ok(said(&send(&request)?))
    }

    // ---- administration

    /// Ends all sessions of the user of that token.
    pub fn log_out(&self, token: &str) -> Result<()> {
        self.log_out_user(claims(token)["sub"].as_str().context("no sub")?)
    }

    /// The same by the user's id.
    pub fn log_out_user(&self, subject: &str) -> Result<()> {
        let (status, body) = self.admin("POST", &format!("/users/{subject}/logout"), None)?;
        ensure!(status == 204, "{status} {body:#}");
        Ok(())
    }

    /// Adds an ES256 key that signs from now on.
    pub fn rotate(&self, priority: u32) -> Result<()> {
        let (_, realm) = self.admin("GET", "", None)?;
        let component = json!({
            "name": format!("es256-{priority}"), "providerId": "ecdsa-generated",
            "providerType": "org.keycloak.keys.KeyProvider", "parentId": realm["id"], "config": ecdsa(priority),
        });
        let (status, body) = self.admin("POST", "/components", Some(&component))?;
        ensure!(status == 201, "{status} {body:#}");
        Ok(())
    }

    /// Disables the key that signed this token: from then on it is in no key document.
    pub fn disable_key_of(&self, token: &str) -> Result<()> {
        let header = token.split('.').next().and_then(|part| URL_SAFE_NO_PAD.decode(part).ok()).context("no header")?;
        let header: Value = serde_json::from_slice(&header)?;
        let (_, keys) = self.admin("GET", "/keys", None)?;
        let key = keys["keys"].as_array().into_iter().flatten().find(|key| key["kid"] == header["kid"]);
        let id = key.and_then(|key| key["providerId"].as_str()).with_context(|| format!("no such key: {keys:#}"))?;
        let place = format!("/components/{id}");
        let (_, mut component) = self.admin("GET", &place, None)?;
        component["config"]["enabled"] = json!(["false"]);
        component["config"]["active"] = json!(["false"]);
        let (status, body) = self.admin("PUT", &place, Some(&component))?;
        ensure!(status == 204, "{status} {body:#}");
        Ok(())
    }

    /// What Keycloak itself has noted of that kind.
    pub fn events(&self, kind: &str) -> Result<Vec<Value>> {
        let (_, events) = self.admin("GET", &format!("/events?type={kind}&max=1000"), None)?;
        Ok(events.as_array().cloned().unwrap_or_default())
    }

    fn admin(&self, method: &str, place: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        self.admin_call(method, &format!("/admin/realms/{}{place}", self.name), body)
    }

    fn admin_call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        let base = &self.keycloak.base;
        let form =
            [("grant_type", "password"), ("client_id", "admin-cli"), ("username", "admin"), ("password", "admin")];
        let request = Request::post(format!("{base}/realms/master/protocol/openid-connect/token"), encode(&form));
        // Good for a minute.
        let token = said(&send(&request.with("content-type", FORM))?).text("access_token")?;
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let builder = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{base}{path}"))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        let mut response = match body {
            Some(body) => agent.run(builder.body(body.to_string())?)?,
            None if method == "GET" => agent.run(builder.body(())?)?,
            None => agent.run(builder.body("")?)?,
        };
        let text = response.body_mut().read_to_string()?;
        Ok((response.status().as_u16(), serde_json::from_str(&text).unwrap_or_else(|_| json!(text))))
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

fn said(answer: &Answer) -> Said {
    Said { status: answer.status, body: answer.message().unwrap_or_default() }
}

/// RFC 6749 2.3.1: both parts are form-encoded first, which matters to an id that is a URL.
pub fn basic(id: &str, secret: &str) -> String {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret))))
}

/// The members that count (RFC 7638).
fn thumbprinted(jwk: &Value) -> Value {
    json!({ "kty": jwk["kty"], "crv": jwk["crv"], "x": jwk["x"], "y": jwk["y"] })
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    text.split_once(before)?.1.split_once(after).map(|(found, _)| found)
}
