//! What is rendered beside what ran: equal, but for what has a reason here.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use serde_json::{Map, Value, json};

/// A part of a path, and why it differs there.
pub type Difference = (&'static str, &'static str);

/// The recording was of plain files.
pub const WATCHED: Difference =
    ("/path_config_source/watched_directory", "a mounted file changes by a symbolic link of its folder");

/// Whichever way it gets into an Istio gateway.
pub const ISTIO: [Difference; 7] = [
    ("/http_filters/step-up-lock", "a lock of its own: where the filter is lost it is 403"),
    ("/path_config_source/path", "a name"),
    WATCHED,
    ("/code/local/filename", "a name"),
    ("/configuration/@type", "a StringValue: the digest of a Struct differs at every start"),
    ("/origins", "the sample lets a page call"),
    ("/capability_restriction_config", "the module gets what it has, and nothing else"),
];

/// Fails where they differ without a reason, and where a reason is not needed.
pub fn same(what: &str, ours: &Value, theirs: &Value, reasons: &[Difference]) -> Result<()> {
    let mut found = BTreeSet::new();
    differ("", &plain(ours), &plain(theirs), &mut found);
    let is_of = |path: &str, (part, _): &Difference| path.contains(part);
    let unexplained: Vec<_> = found.iter().filter(|path| !reasons.iter().any(|reason| is_of(path, reason))).collect();
    ensure!(unexplained.is_empty(), "{what}: differs without a reason: {unexplained:#?}");
    let idle: Vec<_> = reasons.iter().filter(|reason| !found.iter().any(|path| is_of(path, reason))).collect();
    ensure!(idle.is_empty(), "{what}: not different: {idle:?}");
    Ok(())
}

fn differ(path: &str, ours: &Value, theirs: &Value, found: &mut BTreeSet<String>) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            for name in ours.keys().chain(theirs.keys()) {
                let of = |map: &Map<String, Value>| map.get(name).cloned().unwrap_or_default();
                differ(&format!("{path}/{name}"), &of(ours), &of(theirs), found);
            }
        }
        (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => {
            for (at, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                differ(&format!("{path}/{at}"), ours, theirs, found);
            }
        }
        _ if ours == theirs => {}
        _ => drop(found.insert(path.to_owned())),
    }
}

/// Lists by the names of their items, numbers however they are written, policies as documents, and without what is the default anyway.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let is_default = |name: &str, value: &Value| {
                (name == "apply_default_config_without_warming" && *value == json!(false))
                    || (name == "action" && *value == json!("ALLOW"))
            };
            let kept = members.iter().filter(|(name, value)| !is_default(name, value));
            kept.map(|(name, value)| (name.clone(), plain(value))).collect()
        }
        Value::Array(items) => {
            let name = |item: &Value| {
                let inner = ["/active_state/listener", "/cluster", "/route_config", "/ecds_filter"];
                let named = inner.iter().find_map(|inner| item.pointer(inner).filter(|inner| inner.is_object()));
                let named = named.unwrap_or(item);
                Some((named.get("name")?.as_str()?.to_owned(), plain(named)))
            };
            let named: Option<Map<String, Value>> = items.iter().map(name).collect();
            named
                .filter(|map| map.len() == items.len())
                .map_or_else(|| items.iter().map(plain).collect(), Value::Object)
        }
        Value::String(text) => match serde_json::from_str(text) {
            Ok(number @ Value::Number(_)) => number,
            Ok(document @ Value::Object(_)) => plain(&document),
            _ => value.clone(),
        },
        other => other.clone(),
    }
}
