//! What watches the response to an elevated call, to know when the operation has ended.

use crate::effect::Millis;
use crate::flow::Request;
use crate::json::{self, Value};
use crate::jsonrpc::Id;
use crate::policy::Secret;
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
    Event(Lines),
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A result or an error with this request's id, or the whole response.
    Completed,
    /// The stream ended, or the client went away, before a result.
    Incomplete,
}

impl End {
    pub fn name(self) -> &'static str {
        match self {
            End::Completed => "completed",
            End::Incomplete => "incomplete",
        }
    }
}

impl Tail {
    pub fn new(
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
    pub fn request(&self) -> Request {
        Request { id: self.id.clone(), modern: self.modern, fallback: None }
    }

    /// MCP 2025-11-25: a disconnect is not the end of the operation, which may still be looking at its token.
    pub fn may_linger(&self) -> bool {
        !self.modern
    }

    pub fn head(&mut self, content_type: Option<&str>, end_of_stream: bool) -> Option<End> {
        if end_of_stream {
            return Some(End::Completed);
        }
        let kind = content_type.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
        let events = kind.eq_ignore_ascii_case("text/event-stream");
        self.awaited = if events { Awaited::Event(Lines::default()) } else { Awaited::End };
        None
    }

    pub fn chunk(&mut self, bytes: &[u8], end_of_stream: bool) -> Option<End> {
        match &mut self.awaited {
            Awaited::Head | Awaited::End => end_of_stream.then_some(End::Completed),
            Awaited::Event(lines) => {
                let id = &self.id;
                let found = lines.feed(bytes, |data| is_final(data, id));
                if found { Some(End::Completed) } else { end_of_stream.then_some(End::Incomplete) }
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

/// The `data` of server-sent events, put together from chunks that end anywhere.
#[derive(Debug, Default)]
struct Lines {
    line: Vec<u8>,
    data: Vec<u8>,
    /// The last byte was a carriage return.
    after_return: bool,
    /// The event is larger than is looked at.
    overflown: bool,
}

/// Larger events are not looked at: they end with their stream, or their token with its `exp`.
const MAX_EVENT: usize = 256 * 1024;

impl Lines {
    /// True when one of the events is the one that is looked for.
    fn feed(&mut self, bytes: &[u8], is_it: impl Fn(&[u8]) -> bool) -> bool {
        let mut found = false;
        for byte in bytes {
            match byte {
                // CR LF is one end of line, and so is either alone.
                b'\n' if self.after_return => {}
                b'\n' | b'\r' => found |= self.end_of_line(&is_it),
                other if self.line.len() + self.data.len() < MAX_EVENT => self.line.push(*other),
                _ => self.overflown = true,
            }
            self.after_return = *byte == b'\r';
        }
        found
    }

    fn end_of_line(&mut self, is_it: &impl Fn(&[u8]) -> bool) -> bool {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            return !std::mem::take(&mut self.overflown) && !data.is_empty() && is_it(&data);
        }
        if let Some(data) = line.strip_prefix(b"data:") {
            if !self.data.is_empty() {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
        }
        false
    }
}
