//! The corpus of hostile and good inputs (`host-test/corpus`): one file, one request, one expected reason.

mod frame;
mod token;

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
use frame::{Bytes, Frame};
use token::Token;

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
        // Of our own trials: Envoy and the filter let it pass.
        if self.is_permitted() && self.client.headers.0.iter().any(|(_, value)| !value.is_ascii()) {
            return Some("an upstream that reads ASCII only");
        }
        (!self.client.properties.is_empty()).then_some("metadata")
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
        // With what stands behind a point kept as it is written.
        let (whole, fraction) = match seconds.as_str().and_then(|text| text.split_once('.')) {
            Some((whole, fraction)) => (whole.parse::<i64>().ok(), format!(".{fraction}")),
            None => (seconds.as_i64(), String::new()),
        };
        let whole = whole.context("`now` takes seconds: a whole number, or a text with a fraction")?;
        Ok(format!("{}{fraction}", now.seconds() + whole))
    } else if let Some(length) = short("fill") {
        let length = length.as_u64().context("`fill` takes a number of bytes")?;
        Ok(json!("x".repeat(usize::try_from(length)?)).to_string())
    } else if let Some(text) = short("json") {
        Ok(text.as_str().context("`json` takes a text")?.to_owned())
    } else {
        Ok(value.to_string())
    }
}

/// A numbered file: it begins by saying why it exists.
fn read_case<T: DeserializeOwned>(file: &Path) -> Result<T> {
    let text = fs::read_to_string(file)?;
    ensure!(text.starts_with("# "), "the file must begin with a comment that says why somebody would send this");
    Ok(serde_json::from_value(yaml::to_json(&yaml::read(&text)?))?)
}
