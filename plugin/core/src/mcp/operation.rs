//! What a request asks for, in the terms of the MCP revisions 2024-11-05 to 2026-07-28.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::mcp::frame::{Frame, Kind, Reference};
use crate::mcp::target::Target;
use crate::reason::Reason;

/// The revisions this filter knows. The last one is *modern*: no session, metadata on every request.
const REVISIONS: [&str; 5] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", MODERN];
pub(crate) const MODERN: &str = "2026-07-28";

/// What the headers say about the body. They can only cause a refusal, never an allowance.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mirror {
    pub version: Option<String>,
    pub method: Option<String>,
    pub name: Option<String>,
}

/// The method that negotiates the revision. Its header is not judged (MCP 2025-11-25, Protocol Version Header: it is for the
/// requests after it), so that a client that is ahead of us is not turned away before it has heard what the server speaks.
const INITIALIZE: &str = "initialize";

impl Mirror {
    /// A missing version means 2025-03-26 (MCP 2025-11-25, transports).
    pub(crate) fn is_modern(&self) -> bool {
        self.version.as_deref() == Some(MODERN)
    }

    pub(crate) fn has_known_version(&self) -> bool {
        self.version.as_deref().is_none_or(|version| REVISIONS.contains(&version))
    }
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation<'a> {
    /// A method that needs the baseline only (P20), a legacy response, or a legacy stream.
    Baseline,
    /// An operation on something that has a rule, or is refused for having none.
    On(Target<'a>),
    /// To be told of changes of this resource.
    Subscribe(Target<'a>),
    /// To be told of changes of all these resources, for as long as the stream lives.
    Listen(Vec<Target<'a>>),
    /// What could stand in a prompt or in a resource's template.
    Complete(Target<'a>),
    /// A legacy notification. Without a rule for it, it goes nowhere.
    Notice(Target<'a>),
}

impl<'a> Operation<'a> {
    /// What it is on; of several things, the first.
    pub(crate) fn target(&self) -> Option<&Target<'a>> {
        match self {
            Operation::On(target)
            | Operation::Subscribe(target)
            | Operation::Complete(target)
            | Operation::Notice(target) => Some(target),
            Operation::Listen(targets) => targets.first(),
            Operation::Baseline => None,
        }
    }
}

/// The operation of a frame that the headers agree with.
pub(crate) fn operation<'a>(frame: &'a Frame<'_>, mirror: &Mirror) -> Result<Operation<'a>, Reason> {
    let method = frame.method.as_ref();
    if method != INITIALIZE && !mirror.has_known_version() {
        return Err(Reason::ProtocolVersion);
    }
    if frame.kind == Kind::Response {
        // MCP 2026-07-28 forbids responses from clients. Earlier they answer a server's request, also that of a server without
        // sessions: an id of one is a MAY in all of those revisions.
        let allowed = !mirror.is_modern() && mirror.method.is_none() && mirror.name.is_none();
        return if allowed { Ok(Operation::Baseline) } else { Err(Reason::ResponseNotAllowed) };
    }
    if frame.has_null_params() && needs_params(method) {
        return Err(Reason::ParamsInvalid);
    }
    let named = match method {
        "tools/call" | "prompts/get" => frame.param("name")?,
        "resources/read" => frame.param("uri")?,
        // SEP-2663: the header names the task.
        "tasks/get" | "tasks/update" | "tasks/cancel" if mirror.name.is_some() => frame.param("taskId")?,
        _ => None,
    };
    agree(frame, mirror, named)?;
    let named =
        |kind: fn(Cow<'a, str>) -> Target<'a>| Ok(Operation::On(kind(named.ok_or(Reason::ParamsInvalid)?.into())));
    match method {
        "tools/call" => named(Target::Tool),
        "prompts/get" => named(Target::Prompt),
        "resources/read" => named(Target::Resource),
        "completion/complete" => Ok(Operation::Complete(match frame.reference()? {
            Reference::Prompt(name) => Target::Prompt(name.into()),
            Reference::Resource(uri) => Target::Resource(uri.into()),
        })),
        // MCP 2026-07-28 has none: one that names nothing is answered as every method that nobody knows.
        "resources/subscribe" if !mirror.is_modern() || frame.param("uri")?.is_some() => {
            let uri = frame.param("uri")?.ok_or(Reason::ParamsInvalid)?;
            Ok(Operation::Subscribe(Target::Resource(uri.into())))
        }
        "subscriptions/listen" => Ok(match frame.subscriptions()? {
            uris if uris.is_empty() => Operation::Baseline,
            uris => Operation::Listen(uris.into_iter().map(|uri| Target::Resource(uri.into())).collect()),
        }),
        _ if FREE.contains(&method) => Ok(Operation::Baseline),
        _ if frame.kind == Kind::Notification && !mirror.is_modern() => {
            Ok(Operation::Notice(Target::Method(method.into())))
        }
        _ => Ok(Operation::On(Target::Method(method.into()))),
    }
}

/// P20: with the baseline, and without a rule.
const FREE: [&str; 13] = [
    INITIALIZE,
    "ping",
    "server/discover",
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "prompts/list",
    "logging/setLevel",
    "resources/unsubscribe",
    "notifications/initialized",
    "notifications/cancelled",
    "notifications/progress",
    "notifications/roots/list_changed",
];

/// P20: about something that has rules of its own.
const RULED: [&str; 6] = [
    "tools/call",
    "prompts/get",
    "resources/read",
    "completion/complete",
    "resources/subscribe",
    "subscriptions/listen",
];

/// Is it a method whose rules are not under `methods`, to a server that ignores case?
pub(crate) fn is_fixed(method: &str) -> bool {
    FREE.iter().chain(&RULED).any(|fixed| fixed.eq_ignore_ascii_case(method))
}

/// Methods whose parameters are required by the schema of a revision that has them.
fn needs_params(method: &str) -> bool {
    matches!(
        method,
        INITIALIZE
            | "tools/call"
            | "prompts/get"
            | "completion/complete"
            | "logging/setLevel"
            | "resources/read"
            | "resources/subscribe"
            | "resources/unsubscribe"
            | "subscriptions/listen"
            | "notifications/cancelled"
            | "notifications/progress"
    )
}

/// MCP 2026-07-28, transports: who processes the body must refuse a disagreement. We do so in every era, because
/// somebody behind us may go by the headers.
fn agree(frame: &Frame<'_>, mirror: &Mirror, named: Option<&str>) -> Result<(), Reason> {
    // Not a judgement of the header: of two answers to one question.
    if frame.meta_version()?.is_some_and(|version| mirror.version.as_deref() != Some(version)) {
        return Err(Reason::HeaderMismatch);
    }
    if mirror.method.as_deref().is_some_and(|method| method != frame.method) {
        return Err(Reason::HeaderMismatch);
    }
    if let Some(header) = &mirror.name {
        let name = decoded(header).ok_or(Reason::HeaderMismatch)?;
        if named != Some(name.as_ref()) {
            return Err(Reason::HeaderMismatch);
        }
    }
    // The header requirements of notifications are not defined in that revision.
    if mirror.is_modern() && frame.kind == Kind::Request && frame.method != INITIALIZE {
        if mirror.method.is_none() || (named.is_some() && mirror.name.is_none()) {
            return Err(Reason::HeaderMissing);
        }
        if frame.meta_version()?.is_none() {
            return Err(Reason::ParamsInvalid);
        }
    }
    Ok(())
}

/// A header value that may be wrapped as `=?base64?...?=` (MCP 2026-07-28, transports).
fn decoded(value: &str) -> Option<Cow<'_, str>> {
    match value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) {
        None => Some(Cow::Borrowed(value)),
        Some(wrapped) => String::from_utf8(STANDARD.decode(wrapped).ok()?).ok().map(Cow::Owned),
    }
}
