//! What watches the response to an elevated call, to know when the operation has ended.

use std::cell::Cell;
use std::rc::Rc;

use crate::answer::ReplyTo;
use crate::http::{Events, ResponseHead, without_mark};
use crate::jose::Claims;
use crate::json::{self, Value};
use crate::mcp::Id;
use crate::secret::Secret;
use crate::time::Millis;
use crate::token::ElevatedToken;

/// An elevated operation that has gone upstream.
#[derive(Debug)]
pub(crate) struct Tail {
    pub token: ElevatedToken,
    /// Who gave it: a position in the policy's token services.
    pub service: usize,
    pub decision: String,
    pub trace: Vec<(&'static str, Secret)>,
    pub forwarded: Millis,
    /// The operation is over then, whatever the response does (P11).
    pub until: Millis,
    /// Where it was sent, and who called.
    pub server: Rc<str>,
    pub caller: Rc<Claims>,
    /// P30: where the operation goes on as a task, the token stays.
    pub keeps_tasks: bool,
    pub request: ReplyTo,
    pub awaited: Awaited,
    /// Its token has gone, and the head of its response is still to come.
    pub is_over: bool,
    /// It goes on in the response to a GET (SEP-1699), and would have rested until then.
    pub resumed: Option<Millis>,
}

/// What of the response is looked at.
#[derive(Debug, Default)]
pub(crate) enum Awaited {
    #[default]
    Head,
    /// Ends with the response.
    End,
    /// The same, and what it holds says whether the operation goes on; `None`: too much of it.
    Body { kept: Option<Vec<u8>>, is_accepted: bool },
    /// Ends with the event that holds the result; the stream may go on.
    Event(Events),
}

/// More of a result is not kept to look for a task in it.
const MAX_RESULT: usize = 256 * 1024;

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
    /// SEP-1699: the server closed its stream on purpose, after an event with an id.
    Paused,
    /// The server did not let a GET continue it.
    NotResumed,
    /// It goes on as a task.
    Continues,
    /// The caller called it off.
    Cancelled,
}

impl OperationEnd {
    pub(crate) fn name(self) -> &'static str {
        match self {
            OperationEnd::Completed => "completed",
            OperationEnd::Incomplete => "incomplete",
            OperationEnd::Paused => "paused",
            OperationEnd::NotResumed => "not resumed",
            OperationEnd::Continues => "continues as a task",
            OperationEnd::Cancelled => "cancelled",
        }
    }
}

impl Tail {
    /// MCP 2025-11-25: a disconnect is not the end of the operation, which may still be looking at its token.
    pub(crate) fn may_linger(&self) -> bool {
        !self.request.modern
    }

    /// Does this response refuse the token, which the client never had (P30)?
    pub(crate) fn refusal(&self, head: &ResponseHead<'_>) -> Refused {
        match head.status {
            // It was sent with the caller's own token.
            _ if self.resumed.is_some() => Refused::No,
            401 => Refused::Yes,
            // No server answers so, and nobody can tell whose it is before it has ended.
            403 if head.challenge.is_some() || head.has_events() => Refused::Yes,
            // OAuth errors stand in bodies, too.
            403 if !head.end_of_stream => Refused::Perhaps,
            // A server may tie its sessions to the client that the token names, which an exchange changes.
            404 if self.request.session.is_some() => Refused::Yes,
            _ => Refused::No,
        }
    }

    pub(crate) fn head(&mut self, head: &ResponseHead<'_>) -> Option<OperationEnd> {
        if self.resumed.is_some() && !(200..300).contains(&head.status) {
            return Some(OperationEnd::NotResumed);
        }
        if head.end_of_stream {
            // An answer that only says *accepted*: the result comes over another stream.
            let is_accepted = self.keeps_tasks && (200..300).contains(&head.status);
            return Some(if is_accepted { OperationEnd::Continues } else { OperationEnd::Completed });
        }
        self.awaited = match (head.has_events(), self.keeps_tasks && (200..300).contains(&head.status)) {
            (true, _) => Awaited::Event(Events::default()),
            (false, true) => Awaited::Body { kept: Some(Vec::new()), is_accepted: head.status == 202 },
            (false, false) => Awaited::End,
        };
        None
    }

    pub(crate) fn chunk(&mut self, bytes: &[u8], end_of_stream: bool) -> Option<OperationEnd> {
        let (id, keeps, may_linger) = (&self.request.id, self.keeps_tasks, self.may_linger());
        match &mut self.awaited {
            Awaited::Head | Awaited::End => end_of_stream.then_some(OperationEnd::Completed),
            Awaited::Body { kept, is_accepted } => {
                let fits = kept.as_ref().is_some_and(|kept| kept.len() + bytes.len() <= MAX_RESULT);
                match kept {
                    Some(kept) if fits => kept.extend_from_slice(bytes),
                    _ => *kept = None,
                }
                let body = kept.as_deref().filter(|_| end_of_stream);
                let goes_on = body.is_some_and(|body| goes_on(body, *is_accepted, &self.request));
                end_of_stream.then_some(if goes_on { OperationEnd::Continues } else { OperationEnd::Completed })
            }
            Awaited::Event(events) => {
                // The first final event decides; what the same piece has behind it is not looked at.
                let stays = Cell::new(None);
                let found = events.feed(bytes, |data| {
                    let message = skimmed(data).filter(|message| is_final(message, id));
                    let is_first = message.as_ref().filter(|_| stays.get().is_none());
                    is_first.iter().for_each(|message| stays.set(Some(keeps && is_task(message, &self.request))));
                    message.is_some()
                });
                match (found, end_of_stream, events.last_id()) {
                    (true, ..) if stays.get() == Some(true) => Some(OperationEnd::Continues),
                    (true, ..) => Some(OperationEnd::Completed),
                    (false, true, Some(_)) if may_linger => Some(OperationEnd::Paused),
                    (false, true, _) => Some(OperationEnd::Incomplete),
                    (false, false, _) => None,
                }
            }
        }
    }

    /// Is it known what the upstream says to the token?
    pub(crate) fn has_head(&self) -> bool {
        !matches!(self.awaited, Awaited::Head)
    }

    /// The stream paused after the event of this id.
    pub(crate) fn paused_at(&self) -> Option<&str> {
        match &self.awaited {
            Awaited::Event(events) => events.last_id(),
            Awaited::Head | Awaited::End | Awaited::Body { .. } => None,
        }
    }
}

/// RFC 6749 5.2, as servers write it under a 403: `error` is a text. That of JSON-RPC is an object.
pub(crate) fn is_oauth_error(body: &[u8]) -> bool {
    let message = json::skim(without_mark(body), &|depth, name| depth == 0 && name == "error");
    match &message {
        Ok(message) => {
            let members = message.members().unwrap_or_default();
            members.iter().any(|(_, error)| matches!(error, Value::Text(_)))
        }
        // Whatever a reader that is less strict makes of it.
        Err(_) => String::from_utf8_lossy(body).contains("\"error\""),
    }
}

/// What of an answer of JSON-RPC tells how its operation goes on.
fn skimmed(data: &[u8]) -> Option<Value<'_>> {
    let wanted = |depth, name: &str| {
        matches!((depth, name), (0, "id" | "method" | "result" | "error") | (1, "resultType" | "task"))
    };
    json::skim(data, &wanted).ok()
}

/// P29: a member that is null is absent beside another.
fn says(message: &Value<'_>, name: &str) -> bool {
    message.get(name).is_some_and(|value| *value != Value::Null)
}

/// Does this message answer that request?
pub(crate) fn answers(message: &[u8], request: &ReplyTo) -> bool {
    skimmed(message).is_some_and(|message| is_final(&message, &request.id))
}

/// Is this the result or the error of that request? A progress notification or a request of the server is not.
fn is_final(message: &Value<'_>, id: &Option<Id>) -> bool {
    // Of a batch it is not looked at whose answer is in it.
    if let Value::List(items) = message {
        return items.iter().any(|item| item.get("result").is_some() || item.get("error").is_some());
    }
    let is_empty = || message.get("method").is_none() && message.get("result").is_some();
    let ended = says(message, "result") || says(message, "error") || is_empty();
    let same = match (message.get("id"), id) {
        (Some(Value::Integer(a)), Some(Id::Number(b))) => a == b,
        (Some(Value::Text(a)), Some(Id::Text(b))) => a == b,
        _ => false,
    };
    ended && same
}

/// Is this the result of that request, and a task? Its type says so where it has one (2026-07-28); before, it carries the task.
fn is_task(message: &Value<'_>, request: &ReplyTo) -> bool {
    let member = |name| message.get("result").and_then(|result| result.get(name));
    let is_task = match member("resultType") {
        Some(kind) => kind.text() == Some("task"),
        None => !request.modern && matches!(member("task"), Some(Value::Map(_))),
    };
    is_task && !says(message, "error") && is_final(message, &request.id)
}

/// Does the operation go on after this whole body: as a task, or with its result elsewhere? What cannot be read says nothing but what
/// its status says.
fn goes_on(body: &[u8], is_accepted: bool, request: &ReplyTo) -> bool {
    match skimmed(body) {
        _ if body.is_empty() => true,
        None => is_accepted,
        Some(message @ Value::Map(_)) => {
            let is_answer = message.get("result").is_some() || message.get("error").is_some();
            !is_answer || is_task(&message, request)
        }
        // A batch, or no message at all.
        Some(_) => false,
    }
}
