//! The corpus of hostile and good inputs (`host-test/corpus`): one file, one request, one expected reason.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use simulated_proxy::{CallPlan, Chunk, Client, Headers, Network, Origin, OutboundCall, UpstreamPlan, UpstreamRequest};
use step_up_core::Millis;

use crate::backend::{self, Request, Run, Script, Start};
use crate::signing::Key;
use crate::yaml;

/// Where the clock of the corpus stands: 2026-11-21T00:00:00Z.
pub const NOW: Millis = Millis(1_795_219_200_000);

/// The folder.
#[derive(Clone, Debug)]
pub struct Corpus {
    root: PathBuf,
    now: Millis,
}

/// The world of the corpus: no token service, and an upstream that says yes.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Network for Nobody {
    fn call(&mut self, _: u64, _: &OutboundCall) -> CallPlan {
        CallPlan::UnknownCluster
    }

    fn upstream(&mut self, _: &UpstreamRequest) -> UpstreamPlan {
        UpstreamPlan { headers: Headers::of([(":status", "200")]), ..UpstreamPlan::default() }
    }
}

/// One file, ready to be sent.
#[derive(Debug)]
pub struct Case {
    /// What is sent.
    pub client: Client,
    expected: Expected,
    now: Millis,
}

#[derive(Debug)]
struct Expected {
    reason: String,
    /// Where Envoy has changed the request before the filter saw it.
    on_envoy: Option<String>,
    status: Option<u16>,
    rule: Option<String>,
    removes: Option<Vec<String>>,
}

impl Corpus {
    /// The corpus in this folder.
    pub fn at(root: impl Into<PathBuf>) -> Corpus {
        Corpus { root: root.into(), now: NOW }
    }

    /// The same files at another time (milliseconds since the epoch).
    #[must_use]
    pub fn at_time(self, now: u64) -> Corpus {
        Corpus { now: Millis(now), ..self }
    }

    /// The policy everything in it is judged by, as JSON.
    pub fn policy(&self) -> Result<String> {
        Ok(yaml::load(&self.root.join("policy.yaml"))?.to_string())
    }

    /// The files of one kind (`frames`, `tokens`), in order.
    pub fn files(&self, kind: &str) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(self.root.join(kind))?.collect::<io::Result<Vec<_>>>()?;
        let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
        files.sort();
        Ok(files)
    }

    /// Reads a file of `frames`.
    pub fn frame(&self, file: &Path) -> Result<Case> {
        let frame: Frame = read_case(file)?;
        let mut claims = frame.claims.clone();
        let named = [("scope", &frame.scopes), ("aud", &frame.audience)];
        claims.extend(named.into_iter().filter_map(|(name, text)| Some((name.to_owned(), json!(text.as_ref()?)))));
        let token = self.mint(&Token { claims, ..Token::default() })?;
        frame.into_case(&token, self.now)
    }

    /// Reads a file of `tokens`.
    pub fn token(&self, file: &Path) -> Result<Case> {
        let token: Token = read_case(file)?;
        let frame = Frame {
            body: Some(Bytes::Text(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#.to_owned())),
            expect: token.expect.clone(),
            on_envoy: token.on_envoy.clone(),
            status: token.status,
            ..Frame::default()
        };
        frame.into_case(&self.mint(&token)?, self.now)
    }
}

impl Case {
    /// The case as a script, under this policy.
    pub fn script(&self, policy: String) -> Script {
        let request = Request { at: Start::Then, client: self.client.clone() };
        Script { now: self.now.0, policy, environment: Vec::new(), requests: vec![request], linger: 0 }
    }

    /// What is not as expected, if anything. Nothing but `permitted` may go upstream, whatever the file says.
    pub fn complaint(&self, run: &Run) -> Option<String> {
        let Expected { reason, status, rule, removes, .. } = &self.expected;
        let Some(transcript) = run.transcripts.first() else { return Some("nothing happened".to_owned()) };
        let record = backend::record(transcript);
        let member = |name: &str| record.get(name).and_then(Value::as_str);
        let actual = member("reason").unwrap_or("(no record)");
        let own = transcript.response.as_ref().filter(|response| response.origin == Origin::Filter);
        let actual_status = own.map(|response| response.headers.status());
        let removed: Vec<String> =
            transcript.upstream.iter().flat_map(|upstream| self.missing_in(&upstream.headers)).collect();
        let forwarded = transcript.upstream.is_some();
        if actual != reason {
            Some(format!("expected `{reason}`, got `{actual}`"))
        } else if forwarded != (reason == "permitted") || forwarded == own.is_some() {
            Some(format!("`{reason}`, and yet it was {}", if forwarded { "forwarded" } else { "answered" }))
        } else if status.is_some() && *status != actual_status {
            Some(format!("expected status {status:?}, got {actual_status:?}"))
        } else if rule.is_some() && rule.as_deref() != member("rule") {
            Some(format!("expected rule {rule:?}, got {:?}", member("rule")))
        } else if removes.as_ref().is_some_and(|removes| *removes != removed) {
            Some(format!("expected {removes:?} to be removed, got {removed:?}"))
        } else {
            None
        }
    }

    /// The case as Envoy shows it to the filter.
    #[must_use]
    pub fn on_envoy(mut self) -> Case {
        if let Some(reason) = self.expected.on_envoy.take() {
            self.expected = Expected { reason, on_envoy: None, status: None, rule: None, removes: None };
        }
        self
    }

    /// Does the file say that it goes upstream?
    pub fn is_permitted(&self) -> bool {
        self.expected.reason == "permitted"
    }

    /// Why real Envoy cannot be asked, if it cannot.
    pub fn not_on_envoy(&self) -> Option<&'static str> {
        if self.client.trailers.is_some() {
            return Some("trailers");
        }
        (!self.client.properties.is_empty()).then_some("route metadata")
    }

    /// The names of headers that were sent and are not there.
    fn missing_in(&self, headers: &Headers) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for (name, _) in &self.client.headers.0 {
            let name = String::from_utf8_lossy(name).into_owned();
            if headers.get(name.as_bytes()).is_none() && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

/// A file of `frames`: overrides of a request that is permitted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Frame {
    method: String,
    path: String,
    headers: BTreeMap<String, Option<Values>>,
    body: Option<Bytes>,
    trailers: bool,
    route: Option<String>,
    scopes: Option<String>,
    audience: Option<String>,
    claims: Map<String, Value>,
    expect: String,
    on_envoy: Option<String>,
    status: Option<u16>,
    rule: Option<String>,
    removes: Option<Vec<String>>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Values {
    Several(Vec<Bytes>),
    One(Bytes),
}

impl Default for Frame {
    fn default() -> Frame {
        Frame {
            method: "POST".to_owned(),
            path: "/mcp".to_owned(),
            headers: BTreeMap::new(),
            body: None,
            trailers: false,
            route: None,
            scopes: None,
            audience: None,
            claims: Map::new(),
            expect: String::new(),
            on_envoy: None,
            status: None,
            rule: None,
            removes: None,
        }
    }
}

impl Frame {
    fn into_case(self, token: &str, now: Millis) -> Result<Case> {
        let mut headers = BTreeMap::new();
        for (name, value) in [
            (":method", self.method.as_str()),
            (":path", &self.path),
            (":authority", "mcp.example.com"),
            ("authorization", "Bearer {token}"),
            ("content-type", "application/json"),
            ("mcp-protocol-version", "2025-11-25"),
        ] {
            headers.insert(name.to_owned(), Some(Values::One(Bytes::Text(value.to_owned()))));
        }
        headers.extend(self.headers);

        let mut client = Client::default();
        if self.trailers {
            client.trailers = Some(Headers::of([("x-trailer", "1")]));
        }
        if let Some(server) = self.route {
            client.properties.insert(backend::ROUTE_SERVER.to_owned(), server.into_bytes());
        }
        for (name, values) in headers {
            let values = match values {
                None => Vec::new(),
                Some(Values::One(value)) => vec![value],
                Some(Values::Several(values)) => values,
            };
            for value in values {
                client.headers.0.push((name.clone().into_bytes(), value.to_bytes(("{token}", token))?));
            }
        }
        if let Some(body) = self.body {
            client.body.push(Chunk::now(body.to_bytes(("{token}", token))?));
        }
        let Frame { expect: reason, on_envoy, status, rule, removes, .. } = self;
        ensure!(!reason.is_empty(), "`expect` is missing");
        Ok(Case { client, expected: Expected { reason, on_envoy, status, rule, removes }, now })
    }
}

/// Bytes as a file writes them.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Bytes {
    Text(String),
    Hex(Hex),
    Nested(Nested),
    Joined(Vec<Bytes>),
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hex {
    hex: String,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nested {
    open: String,
    times: usize,
    #[serde(default)]
    close: String,
}

impl Bytes {
    /// The bytes; in texts, the placeholder is replaced.
    fn to_bytes(&self, placeholder: (&str, &str)) -> Result<Vec<u8>> {
        match self {
            Bytes::Text(text) => Ok(text.replace(placeholder.0, placeholder.1).into_bytes()),
            Bytes::Hex(Hex { hex }) => {
                hex.split_whitespace().map(|byte| Ok(u8::from_str_radix(byte, 16)?)).collect::<Result<_>>()
            }
            Bytes::Nested(Nested { open, times, close }) => {
                Ok((open.repeat(*times) + &close.repeat(*times)).into_bytes())
            }
            Bytes::Joined(pieces) => {
                Ok(pieces.iter().map(|piece| piece.to_bytes(placeholder)).collect::<Result<Vec<_>>>()?.concat())
            }
        }
    }
}

/// A file of `tokens`: overrides of a token that is good.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Token {
    sign: String,
    header: Map<String, Value>,
    claims: Map<String, Value>,
    raw_header: Option<Bytes>,
    raw_payload: Option<Bytes>,
    signature: Option<SignatureEdit>,
    compact: Vec<Edit>,
    expect: String,
    on_envoy: Option<String>,
    status: Option<u16>,
}

/// Another signature than the one that was made.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum SignatureEdit {
    Der,
    Zeros,
    FlipFirstBit,
    FlipLastBit,
    CutLastByte,
    AddZeroByte,
}

/// An edit of the finished token.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Edit {
    Prepend(String),
    Append(String),
    /// Another text for a part.
    Set {
        part: Part,
        text: String,
    },
    /// More text at the end of a part.
    Add {
        part: Part,
        text: String,
    },
    /// One part less.
    Drop(Part),
    /// One part more.
    AddPart(String),
    /// Other bits where the last character has bits to spare.
    Noncanonical(Part),
    /// `+` and `/` for `-` and `_`.
    StandardAlphabet(Part),
    /// Other claims under the same signature.
    Claims(Map<String, Value>),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Part {
    Header,
    Payload,
    Signature,
}

impl Default for Token {
    fn default() -> Token {
        Token {
            sign: "es256".to_owned(),
            header: Map::new(),
            claims: Map::new(),
            raw_header: None,
            raw_payload: None,
            signature: None,
            compact: Vec::new(),
            expect: String::new(),
            on_envoy: None,
            status: None,
        }
    }
}

impl Corpus {
    fn mint(&self, token: &Token) -> Result<String> {
        let signer = self.signer(&token.sign)?;
        let header = json!({ "typ": "at+jwt", "alg": signer.algorithm(), "kid": signer.key_id() });
        let claims = json!({
            "iss": "https://as.example.com",
            "sub": "user-1",
            "client_id": "https://agents.example.com/ci.json",
            "aud": "https://mcp.example.com/mcp",
            "iat": { "now": -60 },
            "exp": { "now": 600 },
            "jti": "token-1",
            "scope": "mcp:connect",
        });
        let header = text(header, &token.header, token.raw_header.as_ref(), self.now)?;
        let payload = text(claims, &token.claims, token.raw_payload.as_ref(), self.now)?;
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let mut signature = signer.sign(signed.as_bytes(), token.signature == Some(SignatureEdit::Der))?;
        if let Some(edit) = token.signature {
            edit.apply(&mut signature);
        }
        let compact = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        token.compact.iter().try_fold(compact, |text, edit| edit.apply(&text))
    }

    fn signer(&self, name: &str) -> Result<Signer> {
        match name {
            "none" => Ok(Signer::Fixed(&[])),
            "garbage" => Ok(Signer::Fixed(&[0xa5; 64])),
            "hs256-with-public-key" => Ok(Signer::Hmac(self.key("rs256")?.public_pem()?)),
            name => self.key(name).map(Signer::Key),
        }
    }

    fn key(&self, name: &str) -> Result<Key> {
        Key::read(&fs::read(self.root.join("keys").join(format!("{name}.json")))?)
    }
}

/// A JSON object of good members and overrides, or the bytes given instead, in which `{good}` stands for its members.
fn text(good: Value, overrides: &Map<String, Value>, raw: Option<&Bytes>, now: Millis) -> Result<Vec<u8>> {
    let Value::Object(mut members) = good else { bail!("not an object") };
    members.extend(overrides.clone());
    members.retain(|_, value| !value.is_null());
    let members: Vec<String> = members
        .iter()
        .map(|(name, value)| Ok(format!("{}:{}", json!(name), spelled_out(value, now)?)))
        .collect::<Result<_>>()?;
    let members = members.join(",");
    raw.map_or_else(|| Ok(format!("{{{members}}}").into_bytes()), |raw| raw.to_bytes(("{good}", &members)))
}

/// The JSON text of a member: `{ now: seconds }` is a time, `{ fill: bytes }` a long string, `{ json: text }` that text.
fn spelled_out(value: &Value, now: Millis) -> Result<String> {
    let short = |name: &str| value.as_object().filter(|object| object.len() == 1).and_then(|object| object.get(name));
    if let Some(seconds) = short("now") {
        Ok((now.seconds() + seconds.as_i64().context("`now` takes whole seconds")?).to_string())
    } else if let Some(length) = short("fill") {
        let length = length.as_u64().context("`fill` takes a number of bytes")?;
        Ok(json!("x".repeat(usize::try_from(length)?)).to_string())
    } else if let Some(text) = short("json") {
        Ok(text.as_str().context("`json` takes a text")?.to_owned())
    } else {
        Ok(value.to_string())
    }
}

impl SignatureEdit {
    fn apply(self, signature: &mut Vec<u8>) {
        match self {
            // It was signed so.
            SignatureEdit::Der => {}
            SignatureEdit::Zeros => signature.fill(0),
            SignatureEdit::FlipFirstBit => signature.iter_mut().take(1).for_each(|byte| *byte ^= 0x80),
            SignatureEdit::FlipLastBit => signature.iter_mut().rev().take(1).for_each(|byte| *byte ^= 1),
            SignatureEdit::CutLastByte => drop(signature.pop()),
            SignatureEdit::AddZeroByte => signature.insert(0, 0),
        }
    }
}

impl Edit {
    fn apply(&self, token: &str) -> Result<String> {
        let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
        let mut edit = |part: Part, change: &dyn Fn(&str) -> Option<String>| {
            let text = parts.get_mut(part as usize)?;
            *text = change(text)?;
            Some(parts.join("."))
        };
        let edited = match self {
            Edit::Prepend(text) => Some(format!("{text}{token}")),
            Edit::Append(text) => Some(format!("{token}{text}")),
            Edit::AddPart(text) => Some(format!("{token}.{text}")),
            Edit::Set { part, text } => edit(*part, &|_| Some(text.clone())),
            Edit::Add { part, text } => edit(*part, &|old| Some(format!("{old}{text}"))),
            Edit::StandardAlphabet(part) => edit(*part, &|old| Some(old.replace('-', "+").replace('_', "/"))),
            Edit::Noncanonical(part) => edit(*part, &noncanonical),
            Edit::Claims(claims) => edit(Part::Payload, &|old| {
                let mut payload: Map<String, Value> =
                    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(old).ok()?).ok()?;
                payload.extend(claims.clone());
                Some(URL_SAFE_NO_PAD.encode(Value::Object(payload).to_string()))
            }),
            Edit::Drop(part) => {
                let kept = parts.iter().enumerate().filter(|(at, _)| *at != *part as usize);
                Some(kept.map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("."))
            }
        };
        edited.filter(|edited| edited != token).context("an edit that changes nothing")
    }
}

/// Another text that a lenient decoder reads as the same bytes.
fn noncanonical(part: &str) -> Option<String> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    if part.len().is_multiple_of(4) {
        return None;
    }
    let (last, start) = part.as_bytes().split_last()?;
    let value = ALPHABET.iter().position(|letter| letter == last)?;
    let twin = ALPHABET.get(value | 1).filter(|_| value & 1 == 0)?;
    Some(String::from_utf8_lossy(start).into_owned() + &char::from(*twin).to_string())
}

/// What makes the signature, and what the header says about it by default.
enum Signer {
    Key(Key),
    Fixed(&'static [u8]),
    Hmac(Vec<u8>),
}

impl Signer {
    fn algorithm(&self) -> Option<&str> {
        match self {
            Signer::Key(key) => key.member("alg").ok(),
            Signer::Fixed(_) => Some("ES256"),
            Signer::Hmac(_) => Some("HS256"),
        }
    }

    fn key_id(&self) -> Option<&str> {
        match self {
            Signer::Key(key) => key.member("kid").ok(),
            Signer::Fixed(_) => Some("es256-1"),
            Signer::Hmac(_) => Some("rs256-1"),
        }
    }

    fn sign(&self, bytes: &[u8], der: bool) -> Result<Vec<u8>> {
        match self {
            Signer::Key(key) => key.sign(bytes, der),
            Signer::Fixed(signature) => Ok(signature.to_vec()),
            Signer::Hmac(secret) => Ok(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), bytes).as_ref().to_vec()),
        }
    }
}

/// A numbered file: it begins by saying why it exists.
fn read_case<T: DeserializeOwned>(file: &Path) -> Result<T> {
    let text = fs::read_to_string(file)?;
    ensure!(text.starts_with("# "), "the file must begin with a comment that says why somebody would send this");
    Ok(serde_json::from_value(yaml::to_json(&yaml::read(&text)?))?)
}
