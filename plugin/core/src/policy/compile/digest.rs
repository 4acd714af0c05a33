//! The name of a policy: of what it says, not of how it was delivered. A `Struct` has its members in another order at each start,
//! YAML and JSON are written differently, and all of them are one policy.

use sha2::{Digest as _, Sha256};

use crate::decimal::Decimal;
use crate::json::Value;
use crate::text::hex;

/// Twelve hexadecimal digits.
pub(super) fn digest(document: &Value<'_>) -> String {
    let mut hasher = Sha256::new();
    feed(document, &mut hasher);
    hex(&hasher.finalize(), 6)
}

/// Each value begins with its kind, and what has a length with that: no two trees feed the same bytes.
fn feed(value: &Value<'_>, hasher: &mut Sha256) {
    let text = |kind: &[u8], text: &str, hasher: &mut Sha256| {
        hasher.update(kind);
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text);
    };
    match value {
        Value::Null | Value::Skipped => hasher.update(b"0"),
        Value::Bool(value) => hasher.update(if *value { b"t" } else { b"f" }),
        // As decimals: 60 and 60.0 are one number to everybody.
        Value::Integer(number) => match Decimal::parse(&number.to_string()) {
            Some(number) => text(b"n", &format!("{number:?}"), hasher),
            None => text(b"i", &number.to_string(), hasher),
        },
        Value::Number(number) => text(b"n", &number.map_or_else(String::new, |number| format!("{number:?}")), hasher),
        Value::Text(value) => text(b"s", value, hasher),
        Value::List(items) => {
            text(b"l", &items.len().to_string(), hasher);
            items.iter().for_each(|item| feed(item, hasher));
        }
        Value::Map(members) => {
            text(b"m", &members.len().to_string(), hasher);
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            for (name, value) in members {
                text(b"k", name, hasher);
                feed(value, hasher);
            }
        }
    }
}
