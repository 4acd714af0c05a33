//! Plain HTTP requests, as an agent without an SDK would send them.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// A request to an MCP endpoint.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where to.
    pub url: String,
    /// The method.
    pub method: &'static str,
    /// What is sent; `None`: nothing.
    pub body: Option<String>,
    /// Headers beside `content-type` and `accept`.
    pub headers: Vec<(String, String)>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body, as text.
    pub body: String,
}

impl Request {
    /// A POST of this text.
    pub fn post(url: impl Into<String>, body: impl ToString) -> Request {
        Request { url: url.into(), method: "POST", body: Some(body.to_string()), headers: Vec::new() }
    }

    /// A GET.
    pub fn get(url: impl Into<String>) -> Request {
        Request { url: url.into(), method: "GET", body: None, headers: Vec::new() }
    }

    /// What a browser asks before it lets a page of that origin send such a request (Fetch, 4.8).
    pub fn preflight(url: impl Into<String>, origin: &str, method: &str, headers: &str) -> Request {
        let request = Request { method: "OPTIONS", ..Request::get(url) };
        let request = request.with("origin", origin).with("access-control-request-method", method);
        request.with("access-control-request-headers", headers)
    }

    /// With one header more.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a bearer token.
    #[must_use]
    pub fn bearer(self, token: &str) -> Request {
        self.with("authorization", &format!("Bearer {token}"))
    }
}

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// A parameter of the challenge, e.g. `scope`.
    pub fn challenge(&self, parameter: &str) -> Option<&str> {
        let challenge = self.header("www-authenticate")?;
        challenge.strip_prefix("Bearer ")?.split(", ").find_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            (name == parameter).then(|| value.trim_matches('"'))
        })
    }

    /// The JSON-RPC message of the body: the body itself, or the last event of an SSE stream that has one.
    pub fn message(&self) -> Option<Value> {
        let sse = self.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
        if !sse {
            return serde_json::from_str(&self.body).ok();
        }
        self.body
            .lines()
            .rev()
            .filter_map(|line| line.strip_prefix("data:"))
            .find_map(|data| serde_json::from_str(data).ok())
    }

    /// `error.data.reason` of a refusal.
    pub fn reason(&self) -> Option<String> {
        self.message()?.pointer("/error/data/reason")?.as_str().map(str::to_owned)
    }
}

/// Sends it and reads the whole answer, whatever its status.
pub fn send(request: &Request) -> Result<Answer> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(Duration::from_secs(30)))
        .build()
        .into();
    let mut builder = ureq::http::Request::builder().uri(&request.url).method(request.method);
    let given = |name: &str| request.headers.iter().any(|(header, _)| header.eq_ignore_ascii_case(name));
    if request.body.is_some() && !given("content-type") {
        builder = builder.header("content-type", "application/json");
    }
    if !given("accept") {
        builder = builder.header("accept", "application/json, text/event-stream");
    }
    for (name, value) in &request.headers {
        builder = builder.header(name, value);
    }
    let sent = match &request.body {
        Some(body) => agent.run(builder.body(body.clone())?),
        None => agent.run(builder.body(())?),
    };
    let mut response = sent.with_context(|| format!("no answer from {}", request.url))?;
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let body = response.body_mut().with_config().limit(64 * 1024 * 1024).read_to_string()?;
    Ok(Answer { status: response.status().as_u16(), headers, body })
}

/// `application/x-www-form-urlencoded`
pub fn encode(form: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish()
}
