//! What watches the response to an elevated call, to know when the operation has ended.

use crate::answer::ReplyTo;
use crate::http::{Events, ResponseHead};
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
    request: ReplyTo,
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

/// Is the elevated token refused?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Yes,
    No,
    /// The body says it.
    Perhaps,
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
        request: ReplyTo,
        decision: String,
        trace: Vec<(&'static str, Secret)>,
        forwarded: Millis,
        until: Millis,
    ) -> Tail {
        Tail { token, decision, trace, forwarded, until, request, awaited: Awaited::Head }
    }

    /// What an answer in its place needs to know.
    pub(crate) fn request(&self) -> &ReplyTo {
        &self.request
    }

    /// MCP 2025-11-25: a disconnect is not the end of the operation, which may still be looking at its token.
    pub(crate) fn may_linger(&self) -> bool {
        !self.request.modern
    }

    /// Does this response refuse the token, which the client never had (P30)?
    pub(crate) fn refusal(&self, head: &ResponseHead<'_>) -> Refused {
        match head.status {
            401 => Refused::Yes,
            403 if head.challenge.is_some() => Refused::Yes,
            // OAuth errors stand in bodies, too.
            403 if !head.end_of_stream && !head.has_events() => Refused::Perhaps,
            // A server may tie its sessions to the client that the token names, which an exchange changes.
            404 if self.request.session => Refused::Yes,
            _ => Refused::No,
        }
    }

    pub(crate) fn head(&mut self, head: &ResponseHead<'_>) -> Option<OperationEnd> {
        if head.end_of_stream {
            return Some(OperationEnd::Completed);
        }
        self.awaited = if head.has_events() { Awaited::Event(Events::default()) } else { Awaited::End };
        None
    }

    pub(crate) fn chunk(&mut self, bytes: &[u8], end_of_stream: bool) -> Option<OperationEnd> {
        match &mut self.awaited {
            Awaited::Head | Awaited::End => end_of_stream.then_some(OperationEnd::Completed),
            Awaited::Event(lines) => {
                let id = &self.request.id;
                let found = lines.feed(bytes, |data| is_final(data, id));
                if found { Some(OperationEnd::Completed) } else { end_of_stream.then_some(OperationEnd::Incomplete) }
            }
        }
    }
}

/// RFC 6749 5.2, as servers write it under a 403: `error` is a text. That of JSON-RPC is an object.
pub(crate) fn is_oauth_error(body: &[u8]) -> bool {
    let message = json::read_some(body, &|depth, name| depth == 0 && name == "error");
    matches!(message.as_ref().ok().and_then(|message| message.get("error")), Some(Value::Text(_)))
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
