//! From what a scenario says to what happens, byte by byte.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value, json};
use simulated_proxy::{Chunk, Client, Headers, Protocol};
use step_up_core::EndpointView;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::file::{Given, Scenario, Token, When};
use crate::backend::{
    PAYLOAD, PEER_CERTIFICATE, PEER_IDENTITY, REQUEST_ID, ROUTE_SERVER, Request, Script, Start, VERIFIED_TOKEN,
};
use crate::policy;
use crate::signing::Key;

const CLOCK: &str = "2026-11-21T12:00:00Z";
const LINGER: u64 = 1_000;
const LEGACY: &str = "2025-11-25";
const MODERN: &str = "2026-07-28";

/// A script, and what its parts are called.
#[derive(Debug)]
pub struct Plan {
    pub script: Script,
    /// Every token, by its text.
    pub tokens: BTreeMap<String, String>,
    pub policy: Policy,
}

/// What the world has to know of the policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Name and resource.
    pub servers: Vec<(String, String)>,
    pub issuers: Vec<Issuer>,
    pub token_services: Vec<TokenService>,
}

#[derive(Clone, Debug)]
pub struct Issuer {
    pub name: String,
    pub algorithm: String,
    /// Cluster and URL of its keys.
    pub keys: Option<(String, String)>,
    /// The same of its introspection endpoint.
    pub introspection: Option<(String, String)>,
}

#[derive(Clone, Debug)]
pub struct TokenService {
    pub issuer: String,
    pub cluster: String,
    pub token: String,
    /// `None`: its tokens live until their `exp`.
    pub revoke: Option<String>,
    pub client: String,
}

impl Plan {
    pub fn new(given: &Given, scenario: &Scenario, document: &Value, clock: Option<u64>) -> Result<Plan> {
        let mut document = document.clone();
        for (pointer, value) in &given.with {
            set(&mut document, pointer, value).with_context(|| format!("`with` cannot set {pointer}"))?;
        }
        let policy = Policy::of(&document).context("the policy")?;
        let now = match clock {
            Some(now) => now,
            None => {
                let text = given.clock.as_deref().unwrap_or(CLOCK);
                u64::try_from(OffsetDateTime::parse(text, &Rfc3339).context("`clock`")?.unix_timestamp())? * 1000
            }
        };
        // Unique in the process: on some hosts scenarios share an access log.
        static RUNS: AtomicUsize = AtomicUsize::new(0);
        let number = RUNS.fetch_add(1, Ordering::Relaxed);

        let (mut minted, mut requests) = (Minted::new(), Vec::new());
        for (index, when) in scenario.when.all().iter().enumerate() {
            let id = format!("scenario-{number}-{}", index + 1);
            let client = client(when, &id, given, &policy, now, &mut minted)
                .with_context(|| format!("request {} of `when`", index + 1))?;
            let at = when.after.map_or(Start::Then, |after| Start::After(after.0));
            requests.push(Request { at, client });
        }
        ensure!(!requests.is_empty(), "`when` is empty");
        let tokens = minted.into_iter().map(|((name, _), text)| (text, name)).collect();
        let environment = given.environment.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let linger = given.linger.map_or(LINGER, |linger| linger.0);
        Ok(Plan { script: Script { now, policy: document.to_string(), environment, requests, linger }, tokens, policy })
    }
}

/// Tokens by name and by the resource they are for.
type Minted = BTreeMap<(String, String), String>;

fn client(when: &When, id: &str, given: &Given, policy: &Policy, now: u64, minted: &mut Minted) -> Result<Client> {
    let server = match &when.server {
        None => policy.servers.first().filter(|_| policy.servers.len() == 1).context("say which `server`")?,
        Some(name) => {
            let found = policy.servers.iter().find(|(other, _)| other == name);
            found.with_context(|| format!("there is no server `{name}`"))?
        }
    };
    let (_, resource) = server;
    let (authority, path) = place(resource);
    let method = when.http.as_deref().unwrap_or("POST");
    let path = when.path.clone().unwrap_or(path);
    let mut headers = Headers::of([(":method", method), (":path", &path), (":authority", &authority)]);
    headers.add(REQUEST_ID.as_bytes(), id.as_bytes());

    // Another method has the body that is written, and no more.
    let body = if method == "POST" { Some(body(when, &mut headers)?) } else { when.body.clone() };
    if let Some(name) = &when.token {
        let token = given.tokens.get(name).with_context(|| format!("there is no token `{name}` under `tokens`"))?;
        // The same token each time it is sent to the same server.
        let key = (name.clone(), resource.clone());
        let text = match minted.get(&key) {
            Some(text) => String::clone(text),
            None => mint(token, name, resource, policy, now)?,
        };
        headers.add(b"authorization", format!("Bearer {text}").as_bytes());
        minted.insert(key, text);
    }
    for (name, value) in &when.headers {
        headers.remove(name.as_bytes());
        let values = match value {
            Value::Null => &[],
            Value::Array(values) => values.as_slice(),
            other => std::slice::from_ref(other),
        };
        for value in values {
            let text = value.as_str().with_context(|| format!("the value of `{name}` is no text"))?;
            headers.add(name.as_bytes(), text.as_bytes());
        }
    }
    let mut properties = BTreeMap::new();
    let properties_of =
        [(ROUTE_SERVER, &when.route), (PEER_IDENTITY, &when.source), (PEER_CERTIFICATE, &when.certificate)];
    for (path, value) in properties_of {
        properties.extend(value.iter().map(|value| (path.to_owned(), value.clone().into_bytes())));
    }
    if when.token_removed {
        properties.insert(VERIFIED_TOKEN.to_owned(), PAYLOAD.to_vec());
    }
    let late = || if when.ends_late { vec![Chunk::now([])] } else { Vec::new() };
    Ok(Client {
        headers,
        body: body.map_or_else(late, |body| in_pieces(&body, when.pieces.unwrap_or(1), when.pause.0)),
        trailers: when.trailers.then(|| Headers::of([("x-trailer", "1")])),
        leaves: when.leaves.map(|leaves| leaves.0),
        properties,
        worker: 0,
        protocol: if when.http2 { Protocol::Http2 } else { Protocol::Http1 },
        is_open: false,
    })
}

/// The body, and the headers that go with it.
fn body(when: &When, headers: &mut Headers) -> Result<String> {
    headers.add(b"content-type", b"application/json");
    headers.add(b"accept", b"application/json, text/event-stream");
    let revision = when.revision.as_deref().unwrap_or(LEGACY);
    headers.add(b"mcp-protocol-version", revision.as_bytes());
    if let Some(body) = &when.body {
        return Ok(body.clone());
    }
    let (method, mut params) = match (&when.tool, &when.method) {
        (Some(tool), None) => {
            let arguments = when.arguments.clone().unwrap_or_else(|| json!({}));
            ("tools/call", json!({ "name": tool, "arguments": arguments }))
        }
        (None, Some(method)) => (method.as_str(), when.params.clone().unwrap_or_else(|| json!({}))),
        _ => bail!("say either `tool`, `method` or `body`"),
    };
    if revision == MODERN {
        headers.add(b"mcp-method", method.as_bytes());
        if let Some(tool) = &when.tool {
            headers.add(b"mcp-name", tool.as_bytes());
        }
        if let Some(params) = params.as_object_mut() {
            params.entry("_meta").or_insert_with(|| {
                json!({
                    "io.modelcontextprotocol/protocolVersion": MODERN,
                    "io.modelcontextprotocol/clientInfo": { "name": "stepup", "version": "0" },
                    "io.modelcontextprotocol/clientCapabilities": {},
                })
            });
        }
    }
    let mut message = json!({ "jsonrpc": "2.0", "method": method, "params": params });
    if !method.starts_with("notifications/")
        && let Some(message) = message.as_object_mut()
    {
        message.insert("id".to_owned(), when.id.clone().unwrap_or_else(|| json!(1)));
    }
    Ok(message.to_string())
}

fn in_pieces(body: &str, pieces: usize, pause: u64) -> Vec<Chunk> {
    let size = body.len().div_ceil(pieces.max(1)).max(1);
    let chunks = body.as_bytes().chunks(size).enumerate();
    chunks.map(|(index, bytes)| Chunk { after: if index == 0 { 0 } else { pause }, bytes: bytes.to_vec() }).collect()
}

fn mint(token: &Token, name: &str, resource: &str, policy: &Policy, now: u64) -> Result<String> {
    let issuer = token.claims.get("iss").and_then(Value::as_str);
    let first = policy.issuers.first().context("the policy has no issuer")?;
    let issuer = match issuer {
        None if policy.issuers.len() == 1 => first,
        None => bail!("there are several issuers: say `iss` of `{name}`"),
        // Of an issuer that nobody knows: signed all the same.
        Some(name) => policy.issuers.iter().find(|issuer| issuer.name == name).unwrap_or(first),
    };
    let mut claims = json!({
        "iss": issuer.name, "aud": resource, "sub": name, "client_id": "agent", "jti": name,
        "iat": { "now": -60 }, "exp": { "now": 600 },
    });
    change(&mut claims, &token.claims, now)?;
    sign(&issuer.algorithm, token.forged, &token.header, &claims)
}

/// Signs with the issuer's key, or with one that has its name only.
pub fn sign(algorithm: &str, forged: bool, header: &Map<String, Value>, claims: &Value) -> Result<String> {
    let token = Key::for_tests(algorithm)?.token(header, claims)?;
    if !forged {
        return Ok(token);
    }
    // The signature of other claims, which is as good as that of another key.
    let other = Key::for_tests(algorithm)?.token(header, &json!({}))?;
    let (signed, _) = token.rsplit_once('.').context("no JWT")?;
    let (_, signature) = other.rsplit_once('.').context("no JWT")?;
    Ok(format!("{signed}.{signature}"))
}

/// Sets claims; null removes, `{ now: seconds }` is a time.
pub fn change(claims: &mut Value, changes: &Map<String, Value>, now: u64) -> Result<()> {
    let claims = claims.as_object_mut().context("no claims")?;
    claims.extend(changes.clone());
    claims.retain(|_, value| !value.is_null());
    for value in claims.values_mut() {
        if let Some(seconds) = value.as_object().filter(|time| time.len() == 1).and_then(|time| time.get("now")) {
            let seconds = seconds.as_i64().context("`now` takes whole seconds")?;
            *value = json!(i64::try_from(now / 1000)? + seconds);
        }
    }
    Ok(())
}

impl Policy {
    fn of(document: &Value) -> Result<Policy> {
        let policy = policy::loaded(document)?;
        let view = policy.view();
        let place = |endpoint: EndpointView<'_>| (endpoint.cluster().to_owned(), endpoint.url().to_owned());
        Ok(Policy {
            servers: view.servers().map(|server| (server.name().to_owned(), server.resource().to_owned())).collect(),
            issuers: view
                .issuers()
                .map(|issuer| Issuer {
                    name: issuer.name().to_owned(),
                    algorithm: issuer.algorithms().next().unwrap_or("ES256").to_owned(),
                    keys: issuer.keys().map(place),
                    introspection: issuer.introspection().map(place),
                })
                .collect(),
            token_services: Vec::from_iter(view.token_services().map(|service| TokenService {
                issuer: service.issuer().map(|issuer| issuer.name().to_owned()).unwrap_or_default(),
                cluster: service.token().cluster().to_owned(),
                token: service.token().url().to_owned(),
                revoke: service.revoke().map(|endpoint| endpoint.url().to_owned()),
                client: service.client().to_owned(),
            })),
        })
    }
}

/// Host and path of a URL.
pub fn place(url: &str) -> (String, String) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let slash = if path.starts_with('/') { "" } else { "/" };
    (authority.to_owned(), format!("{slash}{path}"))
}

fn set(document: &mut Value, pointer: &str, value: &Value) -> Option<()> {
    let (parent, name) = pointer.rsplit_once('/')?;
    let name = name.replace("~1", "/").replace("~0", "~");
    let members = document.pointer_mut(parent)?.as_object_mut()?;
    if value.is_null() {
        members.remove(&name)?;
    } else {
        members.insert(name, value.clone());
    }
    Some(())
}
