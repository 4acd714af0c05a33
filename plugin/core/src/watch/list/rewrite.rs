//! One message, and the list in it.

use std::borrow::Cow;

use serde_json::value::Value as Json;

use crate::answer::ReplyTo;
use crate::decide::{Audience, Scheme, Viewing};
use crate::json;
use crate::mcp::Target;
use crate::policy::{Policy, Server};
use crate::reason::Reason;
use crate::time::Millis;
use crate::watch::list::pinned::digest;

/// For whom a list is made, and of what.
#[derive(Debug)]
pub(crate) struct Lister {
    pub audience: Audience,
    /// Bytes of a response that are read.
    pub most: usize,
    /// P16: what cannot be reached is taken out.
    pub filters: bool,
}

/// What was seen while a list was made.
pub(crate) struct Shown<'s> {
    pub viewing: Viewing<'s>,
    /// P31: tools that are not what they were when they were pinned.
    pub changed: Vec<String>,
    /// Events that could not be read.
    pub unreadable: u32,
}

impl<'s> Shown<'s> {
    pub(crate) fn new(
        policy: &'s Policy,
        server: &'s Server,
        changed: &'s dyn Fn(&str) -> bool,
        now: Millis,
    ) -> Shown<'s> {
        Shown { viewing: Viewing { policy, server, changed, now }, changed: Vec::new(), unreadable: 0 }
    }
}

/// It must not pass.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// What the lists of the protocol are called, and what names a thing in them.
const LISTS: [(&str, &str); 4] =
    [("tools", "name"), ("prompts", "name"), ("resources", "uri"), ("resourceTemplates", "uriTemplate")];

/// JSON-RPC has no other members at the top.
const ENVELOPE: [&str; 5] = ["jsonrpc", "id", "method", "result", "error"];

impl Lister {
    /// The message as it goes on. `Ok(None)`: as it came.
    pub(super) fn message(&self, text: &str, shown: &mut Shown<'_>) -> Result<Option<String>, Unreadable> {
        json::check(text.as_bytes()).map_err(|_| Unreadable)?;
        let members = json::members(text).ok_or(Unreadable)?;
        no_twin(&members, &ENVELOPE)?;
        let has = |name: &str| members.iter().any(|(member, value)| member == name && *value != "null");
        // Requests and notifications of the server, and errors.
        if has("method") || (has("error") && !has("result")) {
            return Ok(None);
        }
        let mut found = false;
        let mut rewritten = Vec::new();
        for (name, value) in &members {
            let value = match name.as_ref() {
                "result" => match self.result(value, shown)? {
                    Some(result) => {
                        found = true;
                        Cow::Owned(result)
                    }
                    None => Cow::Borrowed(*value),
                },
                _ => Cow::Borrowed(*value),
            };
            rewritten.push((Cow::Borrowed(name.as_ref()), value));
        }
        Ok(found.then(|| json::object(rewritten)))
    }

    /// `None`: there is no list in it.
    fn result(&self, text: &str, shown: &mut Shown<'_>) -> Result<Option<String>, Unreadable> {
        let Some(members) = json::members(text) else { return Ok(None) };
        no_twin(&members, &LISTS.map(|(list, _)| list))?;
        let is_list = |name: &str| LISTS.iter().any(|(list, _)| *list == name);
        if !members.iter().any(|(name, _)| is_list(name)) {
            return Ok(None);
        }
        let modern = self.audience.modern;
        let mut rewritten = Vec::new();
        for (name, value) in &members {
            let value = match LISTS.iter().find(|(list, _)| list == name) {
                Some((list, key)) => Cow::Owned(self.list(list, key, value, shown)?),
                None if modern && name == "cacheScope" => continue,
                None => Cow::Borrowed(*value),
            };
            rewritten.push((Cow::Borrowed(name.as_ref()), value));
        }
        // It is this caller's, and nobody else's.
        if modern {
            rewritten.push(("cacheScope".into(), r#""private""#.into()));
        }
        Ok(Some(json::object(rewritten)))
    }

    fn list(&self, list: &str, key: &str, text: &str, shown: &mut Shown<'_>) -> Result<String, Unreadable> {
        let mut items: Vec<Cow<'_, str>> = Vec::new();
        for item in json::items(text).ok_or(Unreadable)? {
            let members = json::members(item).ok_or(Unreadable)?;
            no_twin(&members, &[key])?;
            let (_, name) = members.iter().find(|(name, _)| name == key).ok_or(Unreadable)?;
            let name: String = serde_json::from_str(name).map_err(|_| Unreadable)?;
            let is_tool = list == "tools";
            if is_tool && self.is_changed(&name, item, shown)? {
                continue;
            }
            let target = match list {
                "tools" => Target::Tool(name.into()),
                "prompts" => Target::Prompt(name.into()),
                _ => Target::Resource(name.into()),
            };
            if self.filters && !self.audience.sees(&shown.viewing, &target) {
                continue;
            }
            let annotated = is_tool && shown.viewing.server.annotates;
            items.push(if annotated { self.annotated(members, &target, shown)?.into() } else { item.into() });
        }
        Ok(format!("[{}]", items.join(",")))
    }

    /// P31: such a tool is shown to nobody, but where its rule is in shadow (P15).
    fn is_changed(&self, name: &str, item: &str, shown: &mut Shown<'_>) -> Result<bool, Unreadable> {
        let pins = &shown.viewing.server.pins;
        let Some(pin) = pins.digests.get(name) else {
            return Ok(pins.hides_others && !self.is_in_shadow(name, shown));
        };
        // One that was another a moment ago cannot be called, whatever it looks like now.
        let mut is_changed = (shown.viewing.changed)(name);
        if digest(item).ok_or(Unreadable)? != *pin {
            shown.changed.push(name.to_owned());
            is_changed = true;
        }
        Ok(is_changed && !self.is_in_shadow(name, shown))
    }

    fn is_in_shadow(&self, name: &str, shown: &Shown<'_>) -> bool {
        let Viewing { policy, server, now, .. } = shown.viewing;
        let rule = server.rules.select(&Target::Tool(name.into())).ok();
        self.audience.caller.is_some() && rule.and_then(|rule| rule.mode).unwrap_or(policy.mode).is_shadow(now)
    }

    /// `securitySchemes`, in place of what the server says; and under `_meta`, too.
    fn annotated(
        &self,
        members: Vec<(Cow<'_, str>, &str)>,
        tool: &Target<'_>,
        shown: &Shown<'_>,
    ) -> Result<String, Unreadable> {
        const NAME: &str = "securitySchemes";
        let scheme = match self.audience.scheme(&shown.viewing, tool) {
            Scheme::Nobody => serde_json::json!([{ "type": "noauth" }]),
            Scheme::OAuth(scopes) => {
                let scopes: Vec<&str> = scopes.split(' ').filter(|scope| !scope.is_empty()).collect();
                serde_json::json!([{ "type": "oauth2", "scopes": scopes }])
            }
        };
        let scheme = scheme.to_string();
        let with = |members: Vec<(Cow<'_, str>, Cow<'_, str>)>| {
            let others = members.into_iter().filter(|(name, _)| name != NAME);
            json::object(others.chain([(NAME.into(), scheme.as_str().into())]))
        };
        let is_there = |value: &&str| *value != "null";
        let meta = members.iter().find(|(name, _)| name == "_meta").map(|(_, value)| *value).filter(is_there);
        let meta = json::members(meta.unwrap_or("{}")).ok_or(Unreadable)?;
        let meta = with(meta.into_iter().map(|(name, value)| (name, value.into())).collect());
        let others = members.into_iter().filter(|(name, _)| name != "_meta");
        let others = others.map(|(name, value)| (name, value.into())).chain([("_meta".into(), meta.into())]);
        Ok(with(others.collect()))
    }
}

/// A reader that ignores case would find another member than we do.
fn no_twin(members: &[(Cow<'_, str>, &str)], names: &[&str]) -> Result<(), Unreadable> {
    let is_twin = |(member, _): &(Cow<'_, str>, &str)| {
        names.iter().any(|name| member != name && member.eq_ignore_ascii_case(name))
    };
    if members.iter().any(is_twin) { Err(Unreadable) } else { Ok(()) }
}

/// What goes in place of an answer that cannot be read, once the head has gone.
pub(super) fn error(request: &ReplyTo) -> String {
    let reason = Reason::ListUnreadable;
    let (code, text) = (reason.wire().code, reason.wire().text);
    let error: Json = serde_json::json!({
        "jsonrpc": "2.0", "id": request.id, "error": { "code": code, "message": text, "data": { "reason": reason.public_name() } },
    });
    error.to_string()
}
