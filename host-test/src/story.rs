//! The story of the demo: one list of steps, each with what must come of it.

use anyhow::{Context as _, Result};
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
    /// What should have come instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub surprise: Option<String>,
}

/// An agent in the middle of the story.
pub struct Story<'s> {
    stack: &'s dyn Stack,
    token: String,
    session: Option<String>,
    challenged: Option<String>,
    next_id: u32,
}

/// The server the story plays at: the one that has sessions.
const SERVER: Server = Server::Everything;
const REVISION: &str = "2025-11-25";

impl<'s> Story<'s> {
    /// At the beginning.
    pub fn new(stack: &'s dyn Stack) -> Story<'s> {
        Story { stack, token: String::new(), session: None, challenged: None, next_id: 0 }
    }

    /// Tells one step.
    pub fn tell(&mut self, step: &Step) -> Result<Told> {
        let (said, answer) = self.act(step.act)?;
        if let Some(scope) = answer.challenge("scope") {
            self.challenged = Some(scope.to_owned());
        }
        let record = self.stack.last_record()?;
        let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (verdict, reason) = (text("verdict"), text("reason"));
        let as_told = answer.status == step.status && verdict == step.verdict && reason == step.reason;
        let surprise = (!as_told).then(|| format!("expected {} {} ({})", step.status, step.verdict, step.reason));
        let challenge = answer.header("www-authenticate").map(str::to_owned);
        Ok(Told {
            title: step.title,
            request: said,
            status: answer.status,
            answer: summary(&answer),
            challenge,
            verdict,
            reason,
            surprise,
        })
    }

    fn act(&mut self, act: Act) -> Result<(String, Answer)> {
        match act {
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
