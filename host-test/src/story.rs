//! The story of the demo: one list of steps, each with what must come of it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::{Value, json};

use crate::stack::{Answer, Request, Server, Stack, send};

/// One step.
#[derive(Debug)]
pub struct Step {
    title: &'static str,
    act: Act,
    status: u16,
    verdict: &'static str,
    reason: &'static str,
}

/// What the agent does.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// Connects without a token.
    Stranger,
    /// Gets a token with the baseline and connects.
    Connect,
    /// Calls a tool with the token at hand.
    Call(&'static str),
    /// Gets a token with the scopes of the last challenge and calls again.
    StepUp(&'static str),
    /// Calls a tool with a token for the other server.
    ForeignToken(&'static str),
    /// Calls with this text as `params`.
    Params(&'static str),
    /// Calls, with the minimal token, a tool that the filter elevates for, and shows what became of it.
    Exchange(&'static str),
    /// Presents the token that the server has just shown.
    Echo(&'static str),
    /// The same call while the token service is down.
    ServiceDown(&'static str),
}

impl Step {
    /// Nothing works after it: left out where the stack is kept.
    pub fn is_destructive(&self) -> bool {
        matches!(self.act, Act::ServiceDown(_))
    }
}

const fn step(title: &'static str, act: Act, status: u16, verdict: &'static str, reason: &'static str) -> Step {
    Step { title, act, status, verdict, reason }
}

/// The whole story. Later versions add steps.
pub const STEPS: &[Step] = &[
    step("an agent without a token is told where to get one", Act::Stranger, 401, "challenge", "token_missing"),
    step("with the minimal token it connects", Act::Connect, 200, "permit", "permitted"),
    step("a harmless tool runs on the minimal token", Act::Call("echo"), 200, "permit", "permitted"),
    step(
        "a sensitive tool needs more, and the challenge says what",
        Act::Call("get-env"),
        403,
        "challenge",
        "scope_missing",
    ),
    step("the agent steps up and calls again", Act::StepUp("get-env"), 200, "permit", "permitted"),
    step(
        "a token for another server is worth nothing here",
        Act::ForeignToken("echo"),
        401,
        "challenge",
        "audience_mismatch",
    ),
    step("a name that only looks like a guarded one", Act::Call("Get-Env"), 403, "deny", "name_confusable"),
    step(
        "one body, two tools: which one would the server run?",
        Act::Params(r#"{"name":"echo","name":"get-env","arguments":{}}"#),
        400,
        "deny",
        "duplicate_key",
    ),
    step("a tool the policy denies", Act::Call("gzip-file-as-resource"), 403, "deny", "denied"),
    step(
        "a dangerous tool: the filter obtains a token for this one call, and takes it back",
        Act::Exchange("show-token"),
        200,
        "permit",
        "elevated",
    ),
    step(
        "the server shows the token it got; presented at the front door, it is worth nothing",
        Act::Echo("echo"),
        401,
        "challenge",
        "own_token_presented",
    ),
    step(
        "the token service is down: nothing goes upstream",
        Act::ServiceDown("show-token"),
        503,
        "deny",
        "elevation_unavailable",
    ),
];

/// What came of a step.
#[derive(Debug, Serialize)]
pub struct Told {
    /// The step.
    pub title: &'static str,
    /// What was sent.
    pub request: String,
    /// HTTP status.
    pub status: u16,
    /// The result or the error, in short.
    pub answer: String,
    /// `WWW-Authenticate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub challenge: Option<String>,
    /// From the audit record.
    pub verdict: String,
    /// From the audit record.
    pub reason: String,
    /// What the step proves, line by line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub proof: Vec<String>,
    /// What should have come instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub surprise: Option<String>,
}

/// An agent in the middle of the story.
pub struct Story<'s> {
    stack: &'s mut dyn Stack,
    token: String,
    session: Option<String>,
    challenged: Option<String>,
    shown: Option<String>,
    next_id: u32,
}

/// The server the story plays at: the one that has sessions.
const SERVER: Server = Server::Everything;
const REVISION: &str = "2025-11-25";

impl<'s> Story<'s> {
    /// At the beginning.
    pub fn new(stack: &'s mut dyn Stack) -> Story<'s> {
        Story { stack, token: String::new(), session: None, challenged: None, shown: None, next_id: 0 }
    }

    /// Tells one step.
    pub fn tell(&mut self, step: &Step) -> Result<Told> {
        let mut proof = Vec::new();
        let (said, answer) = self.act(step.act, &mut proof)?;
        if let Some(scope) = answer.challenge("scope") {
            self.challenged = Some(scope.to_owned());
        }
        let record = self.stack.last_record()?;
        let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (verdict, reason) = (text("verdict"), text("reason"));
        let unproven = proof.iter().find(|line| line.starts_with(UNPROVEN)).cloned();
        let as_told = answer.status == step.status && verdict == step.verdict && reason == step.reason;
        let surprise =
            (!as_told).then(|| format!("expected {} {} ({})", step.status, step.verdict, step.reason)).or(unproven);
        let challenge = answer.header("www-authenticate").map(str::to_owned);
        Ok(Told {
            title: step.title,
            request: said,
            status: answer.status,
            answer: summary(&answer),
            challenge,
            verdict,
            reason,
            proof,
            surprise,
        })
    }

    fn act(&mut self, act: Act, proof: &mut Vec<String>) -> Result<(String, Answer)> {
        match act {
            Act::Exchange(tool) => self.exchange(tool, proof),
            Act::Echo(tool) => {
                let token = self.shown.take().context("no token was shown")?;
                let request = modern_request(&self.stack.url(Server::Notes), tool).bearer(&token);
                Ok((format!("POST {} tools/call ({tool}, with that token)", Server::Notes.path()), send(&request)?))
            }
            Act::ServiceDown(tool) => self.service_down(tool, proof),
            Act::Stranger => self.post("initialize", initialize(), "no token"),
            Act::Connect => {
                let scope = self.challenged.clone().context("nothing was challenged before")?;
                self.token = self.stack.token(SERVER, &scope)?;
                let (said, answer) = self.post("initialize", initialize(), &format!("token: {scope}"))?;
                self.session = answer.header("mcp-session-id").map(str::to_owned);
                Ok((said, answer))
            }
            Act::Call(tool) => self.call(tool, "same token"),
            Act::StepUp(tool) => {
                let scope = self.challenged.clone().context("nothing was challenged before")?;
                self.token = self.stack.token(SERVER, &scope)?;
                self.call(tool, &format!("token: {scope}"))
            }
            Act::ForeignToken(tool) => {
                let own = std::mem::replace(&mut self.token, self.stack.token(Server::Notes, "mcp:connect")?);
                let told = self.call(tool, &format!("token for {}", self.stack.url(Server::Notes)));
                self.token = own;
                told
            }
            Act::Params(params) => self.post("tools/call", params.to_owned(), params),
        }
    }

    /// What the client held, what the upstream received, and what is left of it.
    fn exchange(&mut self, tool: &str, proof: &mut Vec<String>) -> Result<(String, Answer)> {
        let own = self.stack.token(Server::Notes, "mcp:connect")?;
        let request = modern_request(&self.stack.url(Server::Notes), tool).bearer(&own);
        let mut answer = send(&request)?;
        let answered = Instant::now();
        let text = answer.message().and_then(|json| Some(json.pointer("/result/content/0/text")?.as_str()?.to_owned()));
        let said = format!("POST {} tools/call ({tool}, minimal token)", Server::Notes.path());
        let Some(received) = text.filter(|text| text.split('.').count() == 3) else { return Ok((said, answer)) };
        answer.body = answer.body.replace(&received, "(the token it received)");
        proof.push(format!("the client holds      {}", described(&own)));
        proof.push(format!("the server received   {}", described(&received)));
        let revoked = loop {
            if !self.stack.is_active(&received)? {
                break Some(answered.elapsed());
            }
            if answered.elapsed() > Duration::from_secs(5) {
                break None;
            }
        };
        proof.push(match revoked {
            Some(after) => format!("revoked               {} ms after the answer", after.as_millis()),
            None => format!("{UNPROVEN}the token is still alive"),
        });
        if received == own || self.stack.is_active(&own).is_ok_and(|active| !active) {
            proof.push(format!("{UNPROVEN}the caller's own token was used, or revoked"));
        }
        self.shown = Some(received);
        Ok((said, answer))
    }

    fn service_down(&mut self, tool: &str, proof: &mut Vec<String>) -> Result<(String, Answer)> {
        let token = self.stack.token(Server::Notes, "mcp:connect")?;
        self.stack.stop_token_service()?;
        let before = self.stack.upstream_requests(Server::Notes)?;
        let answer = send(&modern_request(&self.stack.url(Server::Notes), tool).bearer(&token))?;
        let reached = self.stack.upstream_requests(Server::Notes)? - before;
        proof.push(match reached {
            0 => "the server got no request".to_owned(),
            _ => format!("{UNPROVEN}the server got {reached} requests"),
        });
        Ok((format!("POST {} tools/call ({tool}, minimal token)", Server::Notes.path()), answer))
    }

    fn call(&mut self, tool: &str, said: &str) -> Result<(String, Answer)> {
        let arguments = if tool == "echo" { json!({ "message": "hi" }) } else { json!({}) };
        self.post("tools/call", json!({ "name": tool, "arguments": arguments }).to_string(), &format!("{tool}, {said}"))
    }

    fn post(&mut self, method: &str, params: String, said: &str) -> Result<(String, Answer)> {
        self.next_id += 1;
        // By hand, because some of the texts are no JSON a library would write.
        let body = format!(r#"{{"jsonrpc":"2.0","id":{},"method":"{method}","params":{params}}}"#, self.next_id);
        let url = self.stack.url(SERVER);
        let mut request = Request::post(&url, body);
        if !self.token.is_empty() {
            request = request.bearer(&self.token);
        }
        if let Some(session) = &self.session {
            request = request.with("mcp-session-id", session).with("mcp-protocol-version", REVISION);
        }
        let answer = send(&request)?;
        Ok((format!("POST {} {method} ({said})", SERVER.path()), answer))
    }
}

/// A line of proof that proves the opposite.
const UNPROVEN: &str = "NOT PROVEN: ";

/// The claims that matter here, in one line.
fn described(token: &str) -> String {
    let claims: Value = token
        .split('.')
        .nth(1)
        .and_then(|part| URL_SAFE_NO_PAD.decode(part).ok())
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    let time = |name: &str| claims.get(name).and_then(Value::as_i64).unwrap_or_default();
    let actor = claims.pointer("/act/sub").and_then(Value::as_str).map(|actor| format!(" act={actor}"));
    let (scope, subject, seconds) = (text("scope"), text("sub"), time("exp") - time("iat"));
    format!("sub={subject} scope=\"{scope}\" aud={} {seconds} s{}", text("aud"), actor.unwrap_or_default())
}

/// A call of revision 2026-07-28.
pub fn modern_request(url: &str, tool: &str) -> Request {
    let mut body = modern_call(tool);
    if tool == "echo"
        && let Some(params) = body.get_mut("params").and_then(Value::as_object_mut)
    {
        params.insert("arguments".to_owned(), json!({ "message": "hi" }));
    }
    Request::post(url, body)
        .with("mcp-protocol-version", "2026-07-28")
        .with("mcp-method", "tools/call")
        .with("mcp-name", tool)
}

/// A request of revision 2026-07-28: complete in itself.
pub fn modern_call(tool: &str) -> Value {
    json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {
            "name": tool, "arguments": {},
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": { "name": "curl", "version": "0" },
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    })
}

fn initialize() -> String {
    let client = json!({ "name": "stepup-demo", "version": env!("CARGO_PKG_VERSION") });
    json!({ "protocolVersion": REVISION, "capabilities": {}, "clientInfo": client }).to_string()
}

/// The result or the error of a message, in one short line.
fn summary(answer: &Answer) -> String {
    let message = answer.message().unwrap_or_default();
    let text = |pointer: &str| message.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let summary = text("/result/content/0/text")
        .or_else(|| text("/result/serverInfo/name").map(|name| format!("connected to {name}")))
        .or_else(|| Some(format!("error {}: {}", message.pointer("/error/code")?, text("/error/message")?)))
        .or_else(|| text("/error/message"))
        .unwrap_or_else(|| answer.body.clone());
    let line: String = summary.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(90).collect()
}
