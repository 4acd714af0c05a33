//! An answer given here, and the head of one that was given elsewhere.

use std::rc::Rc;

use crate::reason::Reason;

/// An HTTP response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header names and values, visible ASCII.
    pub headers: Vec<(&'static str, String)>,
    /// Body bytes; empty for none.
    pub body: Rc<[u8]>,
    /// Why it is given.
    pub reason: Reason,
}

impl Response {
    /// For the host's own log, and for what it makes of answers that say nothing of themselves: Envoy's response code details. It
    /// names what the client is told, and no more (P42).
    pub fn details(&self) -> String {
        format!("stepup:{}", self.reason.public_name())
    }
}

/// The head of an upstream's response.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResponseHead<'a> {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`, if it is text.
    pub content_type: Option<&'a str>,
    /// `WWW-Authenticate`, if it is text.
    pub challenge: Option<&'a str>,
    /// `Content-Encoding`, if it is text.
    pub content_encoding: Option<&'a str>,
    /// `Mcp-Session-Id`, if it is text.
    pub session: Option<&'a str>,
    /// True when no body follows.
    pub end_of_stream: bool,
}

impl ResponseHead<'_> {
    /// `application/json`, whatever its parameters.
    pub(crate) fn is_json(&self) -> bool {
        self.kind().eq_ignore_ascii_case("application/json")
    }

    /// `text/event-stream`, whatever its parameters.
    pub(crate) fn has_events(&self) -> bool {
        self.kind().eq_ignore_ascii_case("text/event-stream")
    }

    fn kind(&self) -> &str {
        self.content_type.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim()
    }
}
