//! MCP requests over HTTP, as a client sends them or as an attacker would.

use serde_json::{Value as Json, json};
use step_up_core::RequestHead;

/// A request: a head, and a body if there is one.
#[derive(Clone, Debug)]
pub struct Request {
    headers: Vec<(String, Vec<u8>)>,
    server: Option<String>,
    source: Option<String>,
    certificate: Option<String>,
    token_removed: bool,
    /// The end of a request without a body comes later.
    ends_late: bool,
    body: Option<Vec<u8>>,
}

impl Request {
    /// `tools/call` of 2025-11-25, with id 7.
    pub fn call(tool: &str) -> Request {
        Request::method("tools/call", json!({ "name": tool, "arguments": {} }))
    }

    /// Any request of 2025-11-25, with id 7.
    pub fn method(method: &str, params: Json) -> Request {
        Request::post(json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params }).to_string())
    }

    /// A notification of 2025-11-25.
    pub fn notification(method: &str) -> Request {
        Request::post(json!({ "jsonrpc": "2.0", "method": method }).to_string())
    }

    /// A POST with any body under 2025-11-25.
    pub fn post(body: impl AsRef<[u8]>) -> Request {
        let mut request = Request::bare("POST", "/mcp")
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-11-25");
        request.body = Some(body.as_ref().to_vec());
        request
    }

    /// `tools/call` of 2026-07-28, with id 7.
    pub fn modern_call(tool: &str) -> Request {
        Request::modern("tools/call", json!({ "name": tool, "arguments": {} })).header("mcp-name", tool)
    }

    /// A request of 2026-07-28, with id 7.
    pub fn modern(method: &str, mut params: Json) -> Request {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        Request::method(method, params).header("mcp-protocol-version", "2026-07-28").header("mcp-method", method)
    }

    /// A request without a body.
    pub fn bare(method: &str, path: &str) -> Request {
        let request = Request {
            headers: Vec::new(),
            server: None,
            source: None,
            certificate: None,
            token_removed: false,
            ends_late: false,
            body: None,
        };
        request
            .header(":method", method)
            .header(":path", path)
            .header(":scheme", "https")
            .header(":authority", "mcp.example.com")
            .header("x-request-id", "edge-1")
    }

    /// Sets the header.
    pub fn header(self, name: &str, value: impl AsRef<[u8]>) -> Request {
        self.without(name).another(name, value)
    }

    /// Adds the header, also if it is there.
    pub fn another(mut self, name: &str, value: impl AsRef<[u8]>) -> Request {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub fn without(mut self, name: &str) -> Request {
        self.headers.retain(|(header, _)| header != name);
        self
    }

    pub fn bearer(self, token: &str) -> Request {
        self.header("authorization", format!("Bearer {token}"))
    }

    pub fn with_body(mut self, body: Vec<u8>) -> Request {
        self.body = Some(body);
        self
    }

    /// The route names this server.
    pub fn routed_to(mut self, server: &str) -> Request {
        self.server = Some(server.to_owned());
        self
    }

    /// The peer's certificate names this.
    pub fn certified_as(mut self, source: &str) -> Request {
        self.source = Some(source.to_owned());
        self
    }

    /// The peer's certificate has this SHA-256, in hexadecimal digits.
    pub fn with_certificate(mut self, digest: &str) -> Request {
        self.certificate = Some(digest.to_owned());
        self
    }

    /// A filter before this one has verified a token, and taken it out.
    pub fn with_token_removed(mut self) -> Request {
        self.token_removed = true;
        self
    }

    /// No body is announced, and the head is not the end.
    pub fn ending_late(mut self) -> Request {
        self.ends_late = true;
        self
    }

    /// The headers as a host has them.
    pub fn pairs(&self) -> Vec<(&[u8], &[u8])> {
        self.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_slice())).collect()
    }

    /// With those headers.
    pub fn head<'a>(&'a self, pairs: &'a [(&'a [u8], &'a [u8])]) -> RequestHead<'a> {
        RequestHead {
            headers: pairs,
            server: self.server.as_deref(),
            source: self.source.as_deref(),
            peer: &self.certificate,
            token_removed: self.token_removed,
            end_of_stream: self.is_bodiless() && !self.ends_late,
        }
    }

    /// Does no body follow?
    pub fn is_bodiless(&self) -> bool {
        self.body.is_none()
    }

    /// The bytes of the body; none for a request without one.
    pub fn body(&self) -> &[u8] {
        self.body.as_deref().unwrap_or_default()
    }
}
