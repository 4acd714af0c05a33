//! What watches the response to an elevated call, to know when the operation has ended.

use std::cell::Cell;
use std::rc::Rc;

use crate::answer::ReplyTo;
use crate::http::{Events, ResponseHead};
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
    /// Who called.
    pub caller: Rc<Claims>,
    /// P30: where the operation goes on as a task, the token stays.
    pub keeps_tasks: bool,
    pub request: ReplyTo,
    pub awaited: Awaited,
}

/// What of the response is looked at.
#[derive(Debug, Default)]
pub(crate) enum Awaited {
    #[default]
    Head,
    /// Ends with the response.
    End,
    /// The same, and what it holds says whether the operation goes on; `None`: too much of it.
    Body(Option<Vec<u8>>),
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
            401 => Refused::Yes,
            403 if head.challenge.is_some() => Refused::Yes,
            // OAuth errors stand in bodies, too.
            403 if !head.end_of_stream && !head.has_events() => Refused::Perhaps,
            // A server may tie its sessions to the client that the token names, which an exchange changes.
            404 if self.request.session.is_some() => Refused::Yes,
            _ => Refused::No,
        }
    }

    pub(crate) fn head(&mut self, head: &ResponseHead<'_>) -> Option<OperationEnd> {
        if head.end_of_stream {
            // An answer that only says *accepted*: the result comes over another stream.
            let is_accepted = self.keeps_tasks && (200..300).contains(&head.status);
            return Some(if is_accepted { OperationEnd::Continues } else { OperationEnd::Completed });
        }
        self.awaited = match (head.has_events(), self.keeps_tasks && (200..300).contains(&head.status)) {
            (true, _) => Awaited::Event(Events::default()),
            (false, true) => Awaited::Body(Some(Vec::new())),
            (false, false) => Awaited::End,
        };
        None
    }

    pub(crate) fn chunk(&mut self, bytes: &[u8], end_of_stream: bool) -> Option<OperationEnd> {
        let (id, keeps, may_linger) = (&self.request.id, self.keeps_tasks, self.may_linger());
        match &mut self.awaited {
            Awaited::Head | Awaited::End => end_of_stream.then_some(OperationEnd::Completed),
            Awaited::Body(kept) => {
                let fits = kept.as_ref().is_some_and(|kept| kept.len() + bytes.len() <= MAX_RESULT);
                match kept {
                    Some(kept) if fits => kept.extend_from_slice(bytes),
                    _ => *kept = None,
                }
                let body = kept.as_deref().filter(|_| end_of_stream);
                let goes_on = body.is_some_and(|body| body.is_empty() || goes_on(body, id));
                end_of_stream.then_some(if goes_on { OperationEnd::Continues } else { OperationEnd::Completed })
            }
            Awaited::Event(events) => {
                let is_task = Cell::new(false);
                let found = events.feed(bytes, |data| {
                    let found = is_final(data, id);
                    if found {
                        is_task.set(keeps && goes_on(data, id));
                    }
                    found
                });
                match (found, end_of_stream, events.last_id()) {
                    (true, ..) if is_task.get() => Some(OperationEnd::Continues),
                    (true, ..) => Some(OperationEnd::Completed),
                    (false, true, Some(_)) if may_linger => Some(OperationEnd::Paused),
                    (false, true, _) => Some(OperationEnd::Incomplete),
                    (false, false, _) => None,
                }
            }
        }
    }

    /// The stream paused after the event of this id.
    pub(crate) fn paused_at(&self) -> Option<&str> {
        match &self.awaited {
            Awaited::Event(events) => events.last_id(),
            Awaited::Head | Awaited::End | Awaited::Body(_) => None,
        }
    }

    pub(crate) fn is_of(&self, issuer: &str, subject: Option<&str>) -> bool {
        self.caller.issuer == issuer && self.caller.subject.as_deref() == subject
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

/// Does the operation go on: a task (MCP 2025-11-25, and `resultType` of 2026-07-28), or an answer without result and error? What cannot
/// be read says nothing.
fn goes_on(data: &[u8], id: &Option<Id>) -> bool {
    let wanted = |depth, name: &str| matches!((depth, name), (0, "result") | (1, "resultType" | "task"));
    let Ok(message) = json::read_some(data, &wanted) else { return false };
    match message.get("result") {
        Some(result) => {
            let is_task = result.get("resultType").and_then(Value::text) == Some("task");
            is_final(data, id) && (is_task || result.get("task").is_some_and(|task| *task != Value::Null))
        }
        None => message.get("error").is_none(),
    }
}
