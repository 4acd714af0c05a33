//! The JSON-RPC frame: exactly one of request, notification, response. A member that is null is absent (P29), and nothing else is
//! tolerated.

use std::borrow::Cow;
use std::cell::RefCell;

use sha2::{Digest as _, Sha256};

use crate::json::{self, Value};
use crate::mcp::paths::{Paths, Reads};
use crate::reason::Reason;
use crate::text::hex;

/// One message.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    pub kind: Kind,
    /// Requests and responses have one.
    id: Option<Id>,
    /// Empty for a response.
    pub method: Cow<'a, str>,
    /// Absent where it is null.
    params: Option<Value<'a>>,
    has_null_params: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Notification,
    Response,
}

/// The `id` of a request (JSON-RPC 2.0, 4; MCP: never null).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub(crate) enum Id {
    Number(i64),
    Text(String),
}

/// An operation, as a token service is told of it.
#[derive(Debug)]
pub(crate) struct Context {
    pub method: String,
    pub name: Option<String>,
    pub uri: Option<String>,
    /// SHA-256, in hexadecimal digits.
    pub arguments: Option<String>,
}

/// What a completion is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reference<'a> {
    Prompt(&'a str),
    /// A URI or a template.
    Resource(&'a str),
}

/// Why a body is no frame, and its id where that was read unambiguously.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoFrame {
    pub reason: Reason,
    pub id: Option<Id>,
}

/// The `_meta` member with the revision (MCP 2026-07-28, base protocol).
pub(crate) const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";

/// Names the protocol gives a meaning to. A server that ignores case would read a folded twin as one of these.
const PROTOCOL_NAMES: [&str; 17] = [
    "jsonrpc",
    "id",
    "method",
    "params",
    "result",
    "error",
    "name",
    "uri",
    "arguments",
    "_meta",
    "requestState",
    "inputResponses",
    "task",
    "taskId",
    "cursor",
    "ref",
    "notifications",
];

/// The member of `params.notifications` that names resources (MCP 2026-07-28, subscriptions).
const RESOURCES: &str = "resourceSubscriptions";

impl<'a> Frame<'a> {
    /// `reads`: what conditions look at, beside what every frame is read for.
    pub(crate) fn read(body: &'a [u8], reads: &Reads) -> Result<Frame<'a>, NoFrame> {
        let value = if reads.params.is_empty() { json::read_some(body, &wanted) } else { read_more(body, reads) };
        let value = value.map_err(|fault| NoFrame { reason: reason(fault), id: None })?;
        let members = match &value {
            Value::Map(members) => members,
            Value::List(_) => return Err(NoFrame { reason: Reason::Batch, id: None }),
            _ => return Err(NoFrame { reason: Reason::FrameShape, id: None }),
        };
        // Before the id is believed: a folded twin of `id` makes it ambiguous.
        if has_folded(&value) {
            return Err(NoFrame { reason: Reason::FoldedKey, id: None });
        }
        let id = match value.get("id") {
            None => None,
            Some(id) => Some(Id::read(id).ok_or(NoFrame { reason: Reason::FrameId, id: None })?),
        };
        // P29: clients whose serializers write every member send `null` for what is not there.
        let said = |name: &str| value.get(name).filter(|value| **value != Value::Null);
        let has = |name: &str| members.iter().any(|(member, _)| member == name);
        // The id of a response is the server's: an error under it would look like the answer to something else.
        let is_response = said("method").is_none() && (has("result") || has("error"));
        let refuse = |reason| NoFrame { reason, id: id.clone().filter(|_| !is_response) };
        if value.get("jsonrpc").and_then(Value::text) != Some("2.0") {
            return Err(refuse(Reason::FrameShape));
        }
        let params = said("params");
        if params.is_some_and(|params| params.members().is_none()) {
            return Err(refuse(Reason::ParamsInvalid));
        }
        let meta = params.and_then(|params| params.get("_meta")).filter(|meta| **meta != Value::Null);
        if meta.is_some_and(|meta| meta.members().is_none()) {
            return Err(refuse(Reason::ParamsInvalid));
        }
        if params.is_some_and(has_folded) || meta.is_some_and(|meta| is_folded_member(meta, &[META_VERSION])) {
            return Err(refuse(Reason::FoldedKey));
        }
        let kind = match (said("method"), id.is_some(), said("result").is_some(), said("error").is_some()) {
            (Some(Value::Text(method)), true, false, false) if !method.starts_with(NOTIFICATION) => Kind::Request,
            (Some(Value::Text(method)), false, false, false) if method.starts_with(NOTIFICATION) => Kind::Notification,
            (None, true, result, error) if result != error && params.is_none() => Kind::Response,
            // A result may be null, an error may not. With both null it is not known which of them is meant.
            (None, true, false, false) if has("result") && !has("error") && params.is_none() => Kind::Response,
            _ => return Err(refuse(Reason::FrameShape)),
        };
        let mut method = Cow::Borrowed("");
        let (mut params, mut has_null_params) = (None, false);
        if let Value::Map(members) = value {
            for (name, value) in members {
                match (name.as_ref(), value) {
                    ("method", Value::Text(text)) => method = text,
                    ("params", Value::Null) => has_null_params = true,
                    ("params", value) => params = Some(value),
                    _ => {}
                }
            }
        }
        Ok(Frame { kind, id, method, params, has_null_params })
    }

    /// The id to answer under: a request's own.
    pub(crate) fn request_id(&self) -> Option<Id> {
        self.id.clone().filter(|_| self.kind == Kind::Request)
    }

    /// A member of `params`, as text. Another type is refused; it is nobody's to guess.
    pub(crate) fn param(&self, name: &str) -> Result<Option<&str>, Reason> {
        match self.params.as_ref().and_then(|params| params.get(name)) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(Reason::ParamsInvalid),
        }
    }

    /// Is `params` there, and null? That is absent only for a method that needs none.
    pub(crate) fn has_null_params(&self) -> bool {
        self.has_null_params
    }

    /// The resources of which a request wants to be notified (MCP 2026-07-28, subscriptions). Everything else it can ask for is a yes
    /// or no.
    pub(crate) fn subscriptions(&self) -> Result<Vec<&str>, Reason> {
        let Some(wanted) = self.params.as_ref().and_then(|params| params.get("notifications")) else {
            return Ok(Vec::new());
        };
        if is_folded_member(wanted, &[RESOURCES]) {
            return Err(Reason::FoldedKey);
        }
        let mut resources: &[Value<'_>] = &[];
        for (name, value) in wanted.members().ok_or(Reason::ParamsInvalid)? {
            match value {
                Value::List(list) if name == RESOURCES => resources = list,
                Value::Bool(_) if name != RESOURCES => {}
                _ => return Err(Reason::ParamsInvalid),
            }
        }
        resources.iter().map(|resource| resource.text().ok_or(Reason::ParamsInvalid)).collect()
    }

    /// What is to be completed (MCP 2025-11-25, completion): a prompt's argument, or a resource template's.
    pub(crate) fn reference(&self) -> Result<Reference<'_>, Reason> {
        const NAMES: [&str; 3] = ["type", "name", "uri"];
        let reference = self.params.as_ref().and_then(|params| params.get("ref")).ok_or(Reason::ParamsInvalid)?;
        if is_folded_member(reference, &NAMES) {
            return Err(Reason::FoldedKey);
        }
        let [kind, name, uri] = NAMES.map(|name| reference.get(name));
        match (kind.and_then(Value::text), name, uri) {
            (Some("ref/prompt"), Some(Value::Text(name)), None) => Ok(Reference::Prompt(name)),
            // What stands beside it might be what a server looks at.
            (Some("ref/resource"), None, Some(Value::Text(uri))) => Ok(Reference::Resource(uri)),
            _ => Err(Reason::ParamsInvalid),
        }
    }

    /// What a tool or prompt is called with; `None` where that is not asked about.
    pub(crate) fn arguments(&self) -> Option<&Value<'a>> {
        self.params.as_ref()?.get("arguments")
    }

    /// All that a method is called with.
    pub(crate) fn params(&self) -> Option<&Value<'a>> {
        self.params.as_ref()
    }

    /// What the caller adds of its own.
    pub(crate) fn meta(&self) -> Option<&Value<'a>> {
        self.params.as_ref()?.get("_meta")
    }

    /// The operation, for a token service that decides by it. The arguments are named by a digest of their bytes; `body` is what this
    /// frame was read from.
    pub(crate) fn context(&self, body: &[u8]) -> Context {
        let member = |text, name| json::members(text)?.into_iter().find(|(own, _)| own == name).map(|(_, value)| value);
        let params = std::str::from_utf8(body).ok().and_then(|body| member(body, "params"));
        let arguments = params.and_then(|params| member(params, "arguments")).filter(|text| *text != "null");
        let param = |name| self.param(name).ok().flatten().map(str::to_owned);
        Context {
            method: self.method.as_ref().to_owned(),
            name: param("name"),
            uri: param("uri"),
            arguments: arguments.map(|text| hex(&Sha256::digest(text), 32)),
        }
    }

    /// Is it to go on after its answer (MCP 2025-11-25, tasks)?
    pub(crate) fn is_task(&self) -> bool {
        let task = self.params.as_ref().and_then(|params| params.get("task"));
        task.is_some_and(|task| *task != Value::Null)
    }

    /// The request that this notification calls off.
    pub(crate) fn cancelled(&self) -> Option<Id> {
        let is_it = self.kind == Kind::Notification && self.method == "notifications/cancelled";
        let id = self.params.as_ref().filter(|_| is_it)?.get("requestId")?;
        Id::read(id)
    }

    /// The revision in `_meta`.
    pub(crate) fn meta_version(&self) -> Result<Option<&str>, Reason> {
        let meta = self.params.as_ref().and_then(|params| params.get("_meta"));
        match meta.and_then(|meta| meta.get(META_VERSION)) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(Reason::ParamsInvalid),
        }
    }
}

const NOTIFICATION: &str = "notifications/";

impl Id {
    fn read(value: &Value<'_>) -> Option<Id> {
        // 2^53: beyond it, readers that use doubles see another id.
        const MOST: i64 = 1 << 53;
        match value {
            Value::Integer(number) if (-MOST..=MOST).contains(number) => Some(Id::Number(*number)),
            Value::Text(text) if text.len() <= 256 => Some(Id::Text(text.as_ref().to_owned())),
            _ => None,
        }
    }
}

/// What of a body the decision looks at; the rest is checked and skipped.
fn wanted(depth: usize, name: &str) -> bool {
    match depth {
        0 => matches!(name, "jsonrpc" | "id" | "method" | "params"),
        1 => matches!(name, "name" | "uri" | "task" | "taskId" | "requestId" | "_meta" | "notifications" | "ref"),
        2 => matches!(name, META_VERSION | RESOURCES | "type" | "name" | "uri"),
        _ => false,
    }
}

/// The same, and of `params` what stands on a path that some condition asks about.
fn read_more<'a>(body: &'a [u8], reads: &Reads) -> Result<Value<'a>, json::Fault> {
    // Of the object that is being read, and of those around it: what is asked about in them.
    let open: RefCell<Vec<&Paths>> = RefCell::default();
    let keep = |depth: usize, name: &str| {
        let mut open = open.borrow_mut();
        open.truncate(depth);
        let inside = match depth {
            0 => (name == "params").then_some(&reads.params),
            _ => open.get(depth - 1).and_then(|paths| paths.below(name)),
        };
        open.extend(inside);
        inside.is_some() || wanted(depth, name)
    };
    if reads.numbers { json::read_some_exact(body, &keep) } else { json::read_some(body, &keep) }
}

fn reason(fault: json::Fault) -> Reason {
    match fault {
        json::Fault::DuplicateKey => Reason::DuplicateKey,
        json::Fault::ControlInName => Reason::FoldedKey,
        json::Fault::NotUtf8 => Reason::NotUtf8,
        json::Fault::Syntax => Reason::JsonSyntax,
        json::Fault::TooDeep => Reason::TooDeep,
        json::Fault::TooManyMembers => Reason::TooManyMembers,
    }
}

fn has_folded(object: &Value<'_>) -> bool {
    is_folded_member(object, &PROTOCOL_NAMES)
}

fn is_folded_member(object: &Value<'_>, names: &[&str]) -> bool {
    object.members().is_some_and(|members| members.iter().any(|(member, _)| is_folded(member, names)))
}

/// Different from all of the names, and equal to one of them under Unicode simple case folding.
fn is_folded(member: &str, names: &[&str]) -> bool {
    // A folded letter has at most three bytes; what is longer than any name can be is nobody's twin.
    if names.iter().all(|name| member.len() > name.len() * 3) {
        return false;
    }
    let mut names = names.iter();
    match member.is_ascii() {
        _ if names.as_slice().contains(&member) => false,
        true => names.any(|name| member.eq_ignore_ascii_case(name)),
        false => names.any(|name| member.chars().map(fold).eq(name.chars().map(fold))),
    }
}

// For ASCII names only two characters beyond ASCII fold into the alphabet: U+017F to s, U+212A to k. Java compares by
// upper case too, where the two Turkish letters meet i.
fn fold(c: char) -> char {
    match c {
        '\u{130}' | '\u{131}' => 'i',
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_names_the_operation_and_the_bytes_of_its_arguments() {
        let body = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{ "a": 1 }}}"#;
        let frame = Frame::read(body, &Reads::default()).unwrap();
        let context = frame.context(body);
        let digest = hex(&Sha256::digest(br#"{ "a": 1 }"#), 32);
        assert_eq!((context.method.as_str(), context.name.as_deref()), ("tools/call", Some("x")));
        assert_eq!(context.arguments, Some(digest));
    }
}
