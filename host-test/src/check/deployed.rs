//! Policies inside of what Envoy loads: a discovery file, a bootstrap, a listener. They are found by what is around them, not by
//! the file's name.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use step_up_core::join;
use step_up_core::json::Value;

/// The `configuration` of a wasm filter.
#[derive(Debug)]
pub(super) struct Delivery<'v> {
    /// The filter's name, or that of what encloses it.
    pub filter: String,
    /// Where `configuration` stands.
    pub path: String,
    pub content: Content<'v>,
}

/// What the filter is handed.
#[derive(Debug)]
pub(super) enum Content<'v> {
    /// A `google.protobuf.Struct`.
    Struct(&'v Value<'static>),
    /// A `StringValue`, or a `BytesValue`: to be read as JSON.
    Json(Cow<'v, [u8]>),
    /// Here stands an alias: what is meant stands elsewhere.
    Alias,
    /// Fields of a policy where Envoy does not look for them.
    Misplaced,
    /// Something for another filter. Ours would refuse it.
    Foreign,
}

/// Any two of these make a policy. One that loads has `version` and `issuers` at least: what is passed over does not load.
const WORDS: [&str; 8] = ["version", "issuers", "token_service", "tiers", "servers", "resource", "baseline", "tools"];

/// Does the file itself want to be a policy? Nothing at all is one that lacks everything.
pub(super) fn is_policy(document: &Value<'static>) -> bool {
    match words(document) {
        0 => document.members().is_some_and(<[_]>::is_empty),
        1 => deliveries(document).is_empty(),
        _ => true,
    }
}

/// Every configuration of a wasm filter, in the order of the file.
pub(super) fn deliveries<'v>(document: &'v Value<'static>) -> Vec<Delivery<'v>> {
    let mut found = Vec::new();
    search(document, "", Around { filter: "without a name", is_wasm: false }, &mut found);
    found
}

#[derive(Clone, Copy)]
struct Around<'v> {
    filter: &'v str,
    /// This is the message of a wasm filter: its `config` holds what we look for, whatever else that has.
    is_wasm: bool,
}

fn search<'v>(value: &'v Value<'static>, path: &str, around: Around<'v>, found: &mut Vec<Delivery<'v>>) {
    match value {
        Value::List(items) => {
            for (at, item) in items.iter().enumerate() {
                search(item, &format!("{path}[{at}]"), Around { is_wasm: false, ..around }, found);
            }
        }
        Value::Map(members) => {
            let filter = value.get("name").and_then(Value::text).unwrap_or(around.filter);
            let is_plugin = around.is_wasm || value.get("vm_config").or(value.get("vmConfig")).is_some();
            let is_wasm = ["@type", "type_url", "typeUrl"].iter().any(|name| is_wasm(value.get(name)));
            for (name, member) in members {
                let path = join(path, name);
                if is_plugin && name == "configuration" {
                    found.push(Delivery { filter: filter.to_owned(), path, content: content(member) });
                } else {
                    // A TypedStruct has the message in its `value`.
                    let is_wasm = (is_wasm && matches!(name.as_ref(), "config" | "value"))
                        || (around.is_wasm && name == "config");
                    search(member, &path, Around { filter, is_wasm }, found);
                }
            }
        }
        _ => {}
    }
}

fn is_wasm(name: Option<&Value<'_>>) -> bool {
    name.and_then(Value::text).is_some_and(|name| name.ends_with(".wasm.v3.Wasm"))
}

fn content<'v>(configuration: &'v Value<'static>) -> Content<'v> {
    let (kind, value) = (configuration.get("@type"), configuration.get("value"));
    if [Some(configuration), kind, value].contains(&Some(&Value::Skipped)) {
        return Content::Alias;
    }
    let kind = kind.and_then(Value::text).and_then(|kind| kind.rsplit('/').next());
    let content = match (kind, value) {
        (Some("google.protobuf.Struct"), Some(tree)) if words(tree) > 1 => Some(Content::Struct(tree)),
        (Some("google.protobuf.StringValue"), Some(Value::Text(text))) => json(Cow::Borrowed(text.as_bytes())),
        (Some("google.protobuf.BytesValue"), Some(Value::Text(text))) => {
            STANDARD.decode(text.as_bytes()).ok().and_then(|bytes| json(Cow::Owned(bytes)))
        }
        _ => None,
    };
    let misplaced = words(configuration) > 1 || value.is_some_and(|value| words(value) > 1);
    content.unwrap_or(if misplaced { Content::Misplaced } else { Content::Foreign })
}

/// By the words alone, so that a policy that cannot be read is one.
fn json(bytes: Cow<'_, [u8]>) -> Option<Content<'_>> {
    let text = String::from_utf8_lossy(&bytes);
    let is_policy = WORDS.iter().filter(|word| text.contains(**word)).count() > 1;
    is_policy.then(|| Content::Json(bytes.clone()))
}

fn words(value: &Value<'_>) -> usize {
    WORDS.iter().filter(|word| value.get(word).is_some()).count()
}
