//! Conditions whose answer no record has: each is given every answer in turn, true, false and unknown, in place of what it asks.

use serde_json::{Map, Value, json};

/// An answer to a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    True,
    False,
    Unknown,
}

pub(super) const ANSWERS: [Answer; 3] = [Answer::True, Answer::False, Answer::Unknown];

/// A claim that every token of a replay has.
pub(super) const MARK: &str = "stepup_replay";

/// Claims that a record has.
const KNOWN: [&str; 4] = ["sub", "iss", "client_id", MARK];

/// Conditions in it that cannot be answered, each once, as they are written. `is_uri`: arguments are those of a URI, which is known.
pub(super) fn open(value: &Value, is_uri: bool, found: &mut Vec<Value>) {
    match value {
        Value::Object(members) if is_open(members, is_uri) => {
            let atom = Value::Object(members.clone());
            if !found.contains(&atom) {
                found.push(atom);
            }
        }
        Value::Object(members) => members.values().for_each(|inner| open(inner, is_uri, found)),
        Value::Array(list) => list.iter().for_each(|inner| open(inner, is_uri, found)),
        _ => {}
    }
}

/// The same with these answers in their place.
pub(super) fn answered(value: &Value, is_uri: bool, answers: &[(Value, Answer)]) -> Value {
    match value {
        Value::Object(members) if is_open(members, is_uri) => {
            let atom = Value::Object(members.clone());
            let answer =
                answers.iter().find(|(asked, _)| *asked == atom).map_or(Answer::Unknown, |(_, answer)| *answer);
            constant(answer)
        }
        Value::Object(members) => Value::Object(
            members.iter().map(|(name, inner)| (name.clone(), answered(inner, is_uri, answers))).collect(),
        ),
        Value::Array(list) => list.iter().map(|inner| answered(inner, is_uri, answers)).collect(),
        other => other.clone(),
    }
}

fn constant(answer: Answer) -> Value {
    match answer {
        Answer::True => json!({ "claim": MARK, "present": true }),
        Answer::False => json!({ "claim": MARK, "present": false }),
        Answer::Unknown => json!({ "claim": format!("{MARK}_missing"), "equals": "x" }),
    }
}

fn is_open(members: &Map<String, Value>, is_uri: bool) -> bool {
    let is_claim = |path: &Value| path.as_str().is_some_and(|path| !KNOWN.contains(&path) && !path.starts_with(MARK));
    members.get("claim").is_some_and(is_claim)
        || (members.get("arg").is_some_and(Value::is_string) && !is_uri)
        || ["meta", "every", "some", "source"].iter().any(|name| members.contains_key(*name))
}
