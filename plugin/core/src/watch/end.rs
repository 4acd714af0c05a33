//! What watches the response to an elevated call, to know when the operation has ended.

use crate::answer::ReplyTo;
use crate::http::Events;
use crate::json::{self, Value};
use crate::mcp::Id;
use crate::secret::Secret;
use crate::time::Millis;
use crate::token::ElevatedToken;

/// An elevated operation that has gone upstream.
#[derive(Debug)]
pub(crate) struct Tail {
    pub token: ElevatedToken,
    pub decision: String,
    pub trace: Vec<(&'static str, Secret)>,
    pub forwarded: Millis,
    /// The operation is over then, whatever the response does (P11).
    pub until: Millis,
    id: Option<Id>,
    modern: bool,
    awaited: Awaited,
}

#[derive(Debug)]
enum Awaited {
    Head,
    /// Ends with the response.
    End,
    /// Ends with the event that holds the result; the stream may go on.
    Event(Events),
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OperationEnd {
    /// A result or an error with this request's id, or the whole response.
    Completed,
    /// The stream ended, or the client went away, before a result.
    Incomplete,
}

impl OperationEnd {
    pub(crate) fn name(self) -> &'static str {
        match self {
            OperationEnd::Completed => "completed",
            OperationEnd::Incomplete => "incomplete",
        }
    }
}

impl Tail {
    pub(crate) fn new(
        token: ElevatedToken,
        id: Option<Id>,
        modern: bool,
        decision: String,
        trace: Vec<(&'static str, Secret)>,
        forwarded: Millis,
        until: Millis,
    ) -> Tail {
        Tail { token, decision, trace, forwarded, until, id, modern, awaited: Awaited::Head }
    }

    /// What an answer in its place needs to know.
    pub(crate) fn request(&self) -> ReplyTo {
        ReplyTo { id: self.id.clone(), modern: self.modern, fallback: None }
    }

    /// MCP 2025-11-25: a disconnect is not the end of the operation, which may still be looking at its token.
    pub(crate) fn may_linger(&self) -> bool {
        !self.modern
    }

    pub(crate) fn head(&mut self, content_type: Option<&str>, end_of_stream: bool) -> Option<OperationEnd> {
        if end_of_stream {
            return Some(OperationEnd::Completed);
        }
        let kind = content_type.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
        let events = kind.eq_ignore_ascii_case("text/event-stream");
        self.awaited = if events { Awaited::Event(Events::default()) } else { Awaited::End };
        None
    }

    pub(crate) fn chunk(&mut self, bytes: &[u8], end_of_stream: bool) -> Option<OperationEnd> {
        match &mut self.awaited {
            Awaited::Head | Awaited::End => end_of_stream.then_some(OperationEnd::Completed),
            Awaited::Event(lines) => {
                let id = &self.id;
                let found = lines.feed(bytes, |data| is_final(data, id));
                if found { Some(OperationEnd::Completed) } else { end_of_stream.then_some(OperationEnd::Incomplete) }
            }
        }
    }
}

/// Is this the result or the error of that request? A progress notification or a request of the server is not.
fn is_final(data: &[u8], id: &Option<Id>) -> bool {
    let Ok(message) = json::read_some(data, &|depth, name| depth == 0 && name == "id") else { return false };
    let ended = message.get("result").is_some() || message.get("error").is_some();
    let same = match (message.get("id"), id) {
        (Some(Value::Integer(a)), Some(Id::Number(b))) => a == b,
        (Some(Value::Text(a)), Some(Id::Text(b))) => a == b,
        _ => false,
    };
    ended && same
}
