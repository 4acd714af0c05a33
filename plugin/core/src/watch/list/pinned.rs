//! What pinned tools look like now (P31), and which of them are not what they were, for all workers of a process.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::json;
use crate::keys::Shared;
use crate::policy::{Digest, Policy, Server};
use crate::time::Millis;

/// SHA-256 over RFC 8785 of a tool as the server sent it: of `_meta` only `ui`, and what begins with `ui/`.
pub(super) fn digest(tool: &str) -> Option<Digest> {
    const NAME: &str = "_meta";
    let mut members = json::members(tool)?;
    let meta = members.iter().position(|(name, _)| name == NAME).map(|at| members.remove(at));
    let mut of_app = Vec::new();
    if let Some((_, meta)) = meta.filter(|(_, meta)| *meta != "null") {
        let is_of_app = |name: &str| name == "ui" || name.starts_with("ui/");
        of_app = json::members(meta)?.into_iter().filter(|(name, _)| is_of_app(name)).collect();
    }
    let meta = json::object(of_app.iter().map(|(name, value)| (name.as_ref().into(), (*value).into())));
    let rest = members.iter().map(|(name, value)| (name.as_ref().into(), (*value).into()));
    let kept = (!of_app.is_empty()).then(|| (NAME.into(), meta.as_str().into()));
    Some(Sha256::digest(json::canonical(&json::object(rest.chain(kept)))?).into())
}

/// A line of `pins`: the digest of a tool (JSON, as the server sent it), as in Subresource Integrity. `None`: it is no object, or
/// has a member twice.
pub fn pin(tool: &str) -> Option<String> {
    json::check(tool.as_bytes()).ok()?;
    Some(format!("sha256-{}", STANDARD.encode(digest(tool)?)))
}

/// Calls are denied for so long after the last list that showed another tool, in seconds.
const MEMORY: u64 = 600;
/// More of them are not remembered: the next list shows them again.
const MOST: usize = 1000;

/// What all workers know of this policy.
fn slot(policy: &Policy) -> String {
    format!("stepup/1/changed/{}", policy.digest())
}

/// One line for each: until when, in milliseconds, server and tool, which have no ends of lines in them here.
fn known(shared: &dyn Shared, slot: &str) -> (Vec<(u64, String)>, Option<u32>) {
    let Some((bytes, version)) = shared.get(slot) else { return (Vec::new(), None) };
    let line = |line: &str| {
        let (until, what) = line.split_once(' ')?;
        Some((until.parse().ok()?, what.to_owned()))
    };
    (String::from_utf8_lossy(&bytes).split('\n').filter_map(line).collect(), Some(version))
}

fn line(server: &Server, tool: &str) -> String {
    format!("{} {}", server.name, serde_json::Value::from(tool))
}

/// Is this tool not what it was when it was pinned?
pub(crate) fn changed(shared: &dyn Shared, policy: &Policy, server: &Server, tool: &str, now: Millis) -> bool {
    if !server.pins.digests.contains_key(tool) {
        return false;
    }
    let (known, _) = known(shared, &slot(policy));
    let line = line(server, tool);
    known.iter().any(|(until, what)| *what == line && now.0 < *until)
}

/// These are not.
pub(crate) fn note_changed(shared: &dyn Shared, policy: &Policy, server: &Server, tools: &[String], now: Millis) {
    /// Other workers may note others at the same moment, so it is looked at again.
    const TRIES: usize = 8;
    let (slot, until) = (slot(policy), now.plus_seconds(MEMORY).0);
    let lines: Vec<String> = tools.iter().map(|tool| line(server, tool)).collect();
    for _ in 0..TRIES {
        let (mut all, version) = known(shared, &slot);
        if lines.iter().all(|line| all.iter().any(|(end, what)| what == line && *end >= until)) {
            return;
        }
        all.retain(|(end, what)| now.0 < *end && !lines.contains(what));
        all.extend(lines.iter().map(|line| (until, line.clone())));
        let skipped = all.len().saturating_sub(MOST);
        let text: String = all.iter().skip(skipped).map(|(until, what)| format!("{until} {what}\n")).collect();
        shared.set(&slot, text.as_bytes(), version);
    }
}
