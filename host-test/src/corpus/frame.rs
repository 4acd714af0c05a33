//! Frames: a request that is permitted, and what a file changes in it.

use super::*;

/// A file of `frames`: overrides of a request that is permitted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Frame {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, Option<Values>>,
    pub body: Option<Bytes>,
    pub trailers: bool,
    pub ends_late: bool,
    pub token_removed: bool,
    pub route: Option<String>,
    pub scopes: Option<String>,
    pub audience: Option<String>,
    pub claims: Map<String, Value>,
    pub expect: String,
    pub on_envoy: Option<String>,
    pub status: Option<u16>,
    pub rule: Option<String>,
    pub removes: Option<Vec<String>>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Values {
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
            ends_late: false,
            token_removed: false,
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
    pub(super) fn into_case(self, token: &str, now: Millis) -> Result<Case> {
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
        if self.token_removed {
            client.properties.insert(backend::VERIFIED_TOKEN.to_owned(), backend::PAYLOAD.to_vec());
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
        if self.ends_late {
            client.body.push(Chunk::now([]));
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
pub(super) enum Bytes {
    Text(String),
    Hex(Hex),
    Nested(Nested),
    Joined(Vec<Bytes>),
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hex {
    hex: String,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nested {
    open: String,
    times: usize,
    #[serde(default)]
    close: String,
}

impl Bytes {
    /// The bytes; in texts, the placeholder is replaced.
    pub(super) fn to_bytes(&self, placeholder: (&str, &str)) -> Result<Vec<u8>> {
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
