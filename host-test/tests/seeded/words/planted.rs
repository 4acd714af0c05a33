//! One word of the language is read and has no effect, or another one than it says. Only in the copy that the tests of the tests make.

use std::borrow::Cow;

use super::Entry;
use super::vocabulary::{MAPS, Shape, Word};
use crate::json::Value;

/// Words that say the same of the other half.
const PAIRS: [(&str, &str); 5] =
    [("when", "unless"), ("all", "any"), ("every", "some"), ("prefix", "suffix"), ("above", "below")];
/// Of a condition with one of these, the opposite is made.
const TESTS: [&str; 9] =
    ["equals", "in", "within", "host", "client", "client_origin", "source", "claim", "arg"];

/// `SEEDED_WORD` is the map, the word, and `ignored` or `inverted`.
pub(super) fn planted<'v>(
    members: Vec<(&'v str, Entry<'v>)>,
    known: &[&[&'static str]],
    path: &str,
) -> Vec<(&'v str, Entry<'v>)> {
    let Ok(seed) = std::env::var("SEEDED_WORD") else { return members };
    let [map, word, kind] = seed.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let map = MAPS.iter().find(|own| own.name == map).unwrap();
    let word = map.words.iter().find(|own| own.name == word).unwrap();
    let is_here = known.iter().any(|words| words.iter().copied().eq(map.words.iter().map(|word| word.name)));
    let is_said = members.iter().any(|(name, _)| *name == word.name);
    if !is_here || !is_said || path.contains('#') {
        return members;
    }
    if kind == "ignored" {
        return members.into_iter().filter(|(name, _)| *name != word.name).collect();
    }
    if TESTS.contains(&word.name) && ["Condition", "Test"].contains(&map.name) {
        let all = members.iter().map(|(name, entry)| (Cow::Borrowed(*name), entry.value.clone())).collect();
        return vec![("not", Entry { path: format!("{path}#"), value: kept(Value::Map(all)) })];
    }
    members.into_iter().map(|(name, entry)| if name == word.name { opposite(word, entry) } else { (name, entry) }).collect()
}

fn opposite<'v>(word: &'static Word, entry: Entry<'v>) -> (&'v str, Entry<'v>) {
    for (one, other) in PAIRS {
        if word.name == one || word.name == other {
            return (if word.name == one { other } else { one }, entry);
        }
    }
    let value = match (word.shape, entry.value) {
        _ if word.name == "not" => return ("all", Entry { value: kept(Value::List(vec![entry.value.clone()])), ..entry }),
        (Shape::Choice(words), Value::Text(text)) => {
            let at = words.iter().position(|own| *own == text.as_ref()).unwrap_or_default();
            Value::Text(Cow::Borrowed(words[(at + 1) % words.len()]))
        }
        (Shape::Boolean, Value::Bool(said)) => Value::Bool(!said),
        (Shape::Count, Value::Integer(count)) => Value::Integer(count * 2),
        (_, Value::Text(text)) => {
            let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            let number: u64 = text[..unit].parse().unwrap_or_default();
            Value::Text(Cow::Owned(format!("{}{}", number * 2, &text[unit..])))
        }
        (_, other) => other.clone(),
    };
    (word.name, Entry { value: kept(value), ..entry })
}

fn kept<'v>(value: Value<'v>) -> &'v Value<'v> {
    Box::leak(Box::new(value))
}
