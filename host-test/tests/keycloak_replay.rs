//! What a real Keycloak answered (`keycloak/recorded.jsonl`, written by the trials of `--test keycloak`), given to the filter again,
//! with tokens that say the same and are signed anew.
//!
//! Each recorded trial is one: its callers' tokens come, the exchanges that the filter made are answered as they were, and what becomes
//! of the calls is what `EXPECTED` says.
//!
//! `KEYCLOAK_RECORDED=FILE`, with a FILE that those trials wrote, takes what is needed of it in place of what was recorded.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a trial that panics has failed")]

#[path = "keycloak/policy.rs"]
mod policy;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::{Context as _, Result, ensure};
use host_test::backend::{self, Backend, Component, Native, Request, Script, Start, Wasm};
use host_test::paths;
use host_test::signing::Key;
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Map, Value, json};
use simulated_proxy::{CallPlan, Chunk, Client, Headers, Network, OutboundCall, UpstreamPlan, UpstreamRequest};

const RECORDED: &str = "host-test/tests/keycloak/recorded.jsonl";
const ISSUER: &str = "http://127.0.0.1:8180/realms/corp";
const MCP: &str = "https://mcp.example.test/mcp";

/// What becomes of each exchange of a trial: the status, and the true reason.
const EXPECTED: &[(&str, &[(u16, &str)])] = &[
    ("callers::a_user_by_authorization_code", &[ELEVATED]),
    ("callers::a_public_client_with_every_default", &[ELEVATED]),
    ("callers::a_service_by_client_credentials", &[ELEVATED]),
    ("callers::azp_is_the_client_under_rfc_9068", &[ELEVATED]),
    ("exchanges::by_a_client_of_the_filters_own", &[ELEVATED, ELEVATED]),
    ("exchanges::by_the_resources_own_client", &[ELEVATED]),
    ("exchanges::by_a_client_with_every_default", &[ELEVATED]),
    ("exchanges::for_another_audience", &[ELEVATED]),
    ("refusals::a_revoked_subject", &[ELEVATED, DEAD, REFUSED, ELEVATED]),
    ("refusals::a_user_who_was_logged_out", &[ELEVATED, DEAD, REFUSED, ELEVATED]),
    ("refusals::a_subject_that_has_expired_for_keycloak", &[ELEVATED, DEAD]),
    ("refusals::a_dead_subject_before_any_success", &[REFUSED]),
    ("refusals::a_filter_that_the_subject_does_not_name", &[REFUSED]),
    ("refusals::a_filter_without_the_switch_for_exchanges", &[REFUSED]),
    ("refusals::a_filter_that_needs_consent", &[REFUSED]),
    ("refusals::a_scope_that_the_filter_may_not_have", &[REFUSED]),
    ("refusals::an_audience_that_the_scope_does_not_bring", &[REFUSED, ELEVATED]),
    ("refusals::an_audience_that_is_no_client", &[REFUSED, ELEVATED]),
    ("refusals::an_audience_that_is_switched_off", &[REFUSED, ELEVATED]),
    ("refusals::a_wrong_secret", &[NOT_ACCEPTED]),
    ("refusals::an_unknown_filter", &[NOT_ACCEPTED]),
    ("unacceptable::scopes_that_nobody_asked_for", &[(503, "granted_too_wide")]),
    ("unacceptable::a_token_that_lives_for_five_minutes", &[(503, "elevated_lifetime")]),
    ("unacceptable::three_times_and_then_it_is_left_alone", &[(503, "elevated_lifetime"); 3]),
];

const ELEVATED: (u16, &str) = (200, "elevated");
const DEAD: (u16, &str) = (401, "subject_token_rejected");
const REFUSED: (u16, &str) = (403, "elevation_refused");
const NOT_ACCEPTED: (u16, &str) = (503, "filter_not_accepted");

fn main() -> Result<ExitCode> {
    let file = paths::workspace().join(RECORDED);
    if let Some(other) = std::env::var_os("KEYCLOAK_RECORDED") {
        fs::write(&file, renewed(&fs::read_to_string(paths::workspace().join(other))?)?)?;
    }
    let recorded = Recorded::read(&fs::read_to_string(&file)?)?;
    let trials = EXPECTED.iter().flat_map(|(name, expected)| {
        let replay = Replay { name, expected, recorded: recorded.clone() };
        let (other, component) = (replay.clone(), replay.clone());
        [
            trial(format!("native::{name}"), move || replay.run(&Native)),
            trial(format!("wasm::{name}"), move || other.run(&Wasm::new()?)),
            trial(format!("component::{name}"), move || component.run(&Component::new()?)),
        ]
    });
    Ok(libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code())
}

fn trial(name: String, run: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    Trial::test(name, move || run().map_err(|error| Failed::from(format!("{error:#}"))))
}

/// What the filter asked and got in the trials that are replayed, with the tokens in it, and one key document for all.
fn renewed(recording: &str) -> Result<String> {
    let (mut kept, mut keys) = (String::new(), 0);
    let mut tokens = BTreeMap::new();
    for text in recording.lines() {
        let line: Value = serde_json::from_str(text).with_context(|| text.to_owned())?;
        if let Some(number) = line["token"].as_u64() {
            tokens.insert(format!("@{number}"), text);
            continue;
        }
        let is_wanted = line["by"] == "filter" && EXPECTED.iter().any(|(name, _)| line["trial"] == *name);
        keys += usize::from(is_wanted && is_at(&line, "certs"));
        if !is_wanted || (is_at(&line, "certs") && keys > 1) {
            continue;
        }
        for value in [&line["form"], &line["body"]].into_iter().filter_map(Value::as_object).flat_map(Map::values) {
            if let Some(says) = value.as_str().and_then(|name| tokens.remove(name)) {
                kept += &format!("{says}\n");
            }
        }
        kept += &format!("{text}\n");
    }
    Ok(kept)
}

fn is_at(line: &Value, endpoint: &str) -> bool {
    let path = line["path"].as_str().and_then(|path| path.split_once("/protocol/openid-connect/"));
    path.is_some_and(|(_, place)| place == endpoint)
}

/// The lines of the recording, the tokens in them, signed anew, by what stands in their place, and the key document.
#[derive(Clone, Debug, Default)]
struct Recorded {
    lines: Vec<Value>,
    tokens: BTreeMap<String, String>,
    keys: Value,
}

impl Recorded {
    fn read(text: &str) -> Result<Recorded> {
        let lines = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
        let (tokens, lines): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line["token"].is_u64());
        let keys = lines.iter().find(|line| is_at(line, "certs")).context("no key document is recorded")?.clone();
        let mut recorded = Recorded { lines, keys, ..Recorded::default() };
        for line in tokens {
            let token = recorded.signed(&line["header"], &line["claims"])?;
            recorded.tokens.insert(format!("@{}", line["token"]), token);
        }
        Ok(recorded)
    }

    /// The same header and claims by the key of the tests, under the name that this kind of key has in the document.
    fn signed(&self, header: &Value, claims: &Value) -> Result<String> {
        let algorithm = header["alg"].as_str().unwrap_or_default();
        let keys = self.keys["body"]["keys"].as_array();
        let named = keys.into_iter().flatten().find(|key| key["alg"] == algorithm).context("no such key")?;
        let mut header = header.as_object().context("no header")?.clone();
        header.insert("kid".to_owned(), named["kid"].clone());
        Key::for_tests(algorithm)?.token(&header, claims)
    }

    fn of<'r>(&'r self, trial: &'r str, endpoint: &'r str) -> impl Iterator<Item = &'r Value> {
        self.lines.iter().filter(move |line| line["trial"] == trial && is_at(line, endpoint))
    }
}

#[derive(Clone, Debug)]
struct Replay {
    name: &'static str,
    expected: &'static [(u16, &'static str)],
    recorded: Recorded,
}

impl Replay {
    fn run(&self, backend: &dyn Backend) -> Result<()> {
        let made_by_filter = |line: &&Value| line["by"] == "filter" && line["form"]["subject_token"].is_string();
        let exchanges: Vec<&Value> = self.recorded.of(self.name, "token").filter(made_by_filter).collect();
        ensure!(
            exchanges.len() == self.expected.len(),
            "{} exchanges are recorded, {} expected",
            exchanges.len(),
            self.expected.len()
        );
        let requests = exchanges.iter().map(|line| self.request(line)).collect::<Result<Vec<_>>>()?;
        let now = exchanges.first().and_then(|line| line["at"].as_u64()).context("no time")? * 1000;
        let script = Script {
            now,
            policy: self.policy(&exchanges)?.to_string(),
            environment: Vec::new(),
            requests,
            linger: 1000,
        };
        let answers = exchanges.iter().map(|line| (*line).clone()).collect();
        let keycloak = Rc::new(RefCell::new(Keycloak {
            replay: self.clone(),
            answers,
            asked: Vec::new(),
            taken_back: Vec::new(),
        }));
        let run = backend.run(&script, Rc::<RefCell<Keycloak>>::clone(&keycloak))?;
        for (at, (transcript, (status, reason))) in run.transcripts.iter().zip(self.expected).enumerate() {
            let record = backend::record(transcript);
            let got = transcript.response.as_ref().map(|response| response.headers.status());
            ensure!(
                got == Some(*status) && record["reason"] == *reason,
                "call {}: expected {status} {reason}, got {got:?}: {record:#}",
                at + 1
            );
        }
        let keycloak = keycloak.borrow();
        ensure!(keycloak.answers.is_empty(), "{} exchanges were not made", keycloak.answers.len());
        // The answers are answers to these questions. If they are others by now: record anew.
        for (line, asked) in exchanges.iter().zip(&keycloak.asked) {
            for member in ["grant_type", "subject_token", "audience", "resource", "scope"] {
                let was = line["form"][member].as_str().map(|text| self.resolved(text));
                ensure!(was.as_ref() == asked.get(member), "{member} was {was:?}, and is {:?} now", asked.get(member));
            }
        }
        let minted = exchanges.iter().filter_map(|line| line["body"]["access_token"].as_str());
        let minted: Vec<String> = minted.map(|token| self.resolved(token)).collect();
        ensure!(keycloak.taken_back == minted, "not every token was taken back");
        Ok(())
    }

    /// That of the trial, with a tool for each audience and scope that was asked for.
    fn policy(&self, exchanges: &[&Value]) -> Result<Value> {
        let client = exchanges.first().context("no exchange")?["client"].as_str().context("no client")?;
        let mut policy = policy::policy(ISSUER, MCP, client);
        match self.name {
            "exchanges::by_a_client_with_every_default" => policy::believe_defaults(&mut policy),
            name if name.starts_with("unacceptable::") => {
                policy::believe_defaults(&mut policy);
                match self.expected[0].1 {
                    "elevated_lifetime" => policy["tiers"]["danger"]["ttl"] = json!("60s"),
                    _ => policy["token_service"]["also_granted"] = json!(["email"]),
                }
            }
            _ => {}
        }
        if self.name.contains("rfc_9068") {
            policy["issuers"][ISSUER]["token_type"] = json!("at+jwt");
            policy["issuers"][ISSUER]["claims"] = json!({ "client": ["client_id", "azp"] });
        }
        let mut tools = Map::new();
        for line in exchanges {
            let mut rule = json!({ "tier": "danger", "scope": line["form"]["scope"] });
            let audience = target(line);
            if audience != MCP {
                rule["audience"] = json!(audience);
            }
            tools.insert(tool(line), rule);
        }
        policy["servers"]["notes"]["tools"] = Value::from(tools);
        Ok(policy)
    }

    /// The call that the exchange was for.
    fn request(&self, line: &Value) -> Result<Request> {
        let subject = line["form"]["subject_token"].as_str().context("no subject")?;
        let (tool, token) = (tool(line), self.resolved(subject));
        let authorization = format!("Bearer {token}");
        let headers = [
            (":method", "POST"),
            (":path", "/mcp"),
            (":authority", "mcp.example.test"),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", &tool),
            ("authorization", &authorization),
        ];
        let body = vec![Chunk::now(host_test::story::modern_call(&tool).to_string())];
        Ok(Request { at: Start::Then, client: Client { headers: Headers::of(headers), body, ..Client::default() } })
    }

    /// With tokens where their numbers stand.
    fn resolved(&self, text: &str) -> String {
        self.recorded.tokens.get(text).cloned().unwrap_or_else(|| text.to_owned())
    }

    /// The body of a recorded answer. Empty is empty.
    fn body(&self, line: &Value) -> Vec<u8> {
        let mut body = line["body"].clone();
        if let Some(text) = body.as_str() {
            return text.as_bytes().to_vec();
        }
        for value in body.as_object_mut().into_iter().flat_map(Map::values_mut) {
            if let Some(text) = value.as_str() {
                *value = json!(self.resolved(text));
            }
        }
        body.to_string().into_bytes()
    }
}

/// By the audience and the scope.
fn tool(line: &Value) -> String {
    let text = format!("{} {}", target(line), line["form"]["scope"].as_str().unwrap_or_default());
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

fn target(line: &Value) -> &str {
    let form = &line["form"];
    form["audience"].as_str().or(form["resource"].as_str()).unwrap_or(MCP)
}

/// Plays what was recorded.
struct Keycloak {
    replay: Replay,
    answers: VecDeque<Value>,
    asked: Vec<BTreeMap<String, String>>,
    taken_back: Vec<String>,
}

impl Network for Keycloak {
    fn call(&mut self, _: u64, call: &OutboundCall) -> CallPlan {
        let path = call.headers.text(":path").unwrap_or_default();
        let form: BTreeMap<String, String> = form_urlencoded::parse(&call.body).into_owned().collect();
        match path.rsplit('/').next() {
            Some("certs") => self.keys(),
            Some("token") => {
                let Some(line) = self.answers.pop_front() else { return CallPlan::ConnectionRefused };
                self.asked.push(form);
                answer(line["status"].as_u64(), line["type"].as_str(), self.replay.body(&line))
            }
            Some("revoke") => {
                self.taken_back.extend(form.get("token").cloned());
                let recorded = self.replay.recorded.of(self.replay.name, "revoke").find(|line| line["by"] == "filter");
                let Some(line) = recorded else { return CallPlan::ConnectionRefused };
                answer(line["status"].as_u64(), line["type"].as_str(), self.replay.body(line))
            }
            _ => CallPlan::UnknownCluster,
        }
    }

    fn upstream(&mut self, _: &UpstreamRequest) -> UpstreamPlan {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "result": {} }).to_string();
        let headers = Headers::of([(":status", "200"), ("content-type", "application/json")]);
        UpstreamPlan { headers, body: vec![Chunk::now(body)], ..UpstreamPlan::default() }
    }

    fn is_owed(&self) -> bool {
        false
    }
}

impl Keycloak {
    /// The recorded document, with our keys under the names of those that sign.
    fn keys(&self) -> CallPlan {
        let line = &self.replay.recorded.keys;
        let mut document = line["body"].clone();
        for jwk in document["keys"].as_array_mut().into_iter().flatten() {
            let key = Key::for_tests(jwk["alg"].as_str().unwrap_or_default());
            if let (Ok(key), Some(members)) = (key, jwk.as_object_mut()) {
                let Value::Object(mut ours) = key.public() else { continue };
                ours.retain(|name, _| ["crv", "x", "y", "n", "e"].contains(&name.as_str()));
                members.extend(ours);
            }
        }
        answer(line["status"].as_u64(), line["type"].as_str(), document.to_string().into_bytes())
    }
}

fn answer(status: Option<u64>, kind: Option<&str>, body: Vec<u8>) -> CallPlan {
    let status = status.unwrap_or_default().to_string();
    let mut headers = Headers::of([(":status", status.as_str())]);
    if let Some(kind) = kind {
        headers.add(b"content-type", kind.as_bytes());
    }
    CallPlan::Answer { after: 10, headers, body }
}
