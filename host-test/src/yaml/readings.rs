//! Unquoted scalars as Envoy reads them when it makes a `Struct` of YAML. It reads YAML 1.1 in part, and keeps small integers only:
//! `parseYamlNode` of its `yaml_utility.cc`. Seen on Envoy 1.40.0.

use std::num::ParseIntError;

use step_up_core::json::Value;

/// What is wrong with a scalar that Envoy takes for something else than YAML 1.2 does.
pub(super) fn differ(text: &str, ours: &Value<'_>) -> Option<String> {
    let theirs = envoys(text);
    let differs = match (&theirs, ours) {
        (Reading::Null, Value::Null) => false,
        (Reading::Bool(theirs), Value::Bool(ours)) => theirs != ours,
        (Reading::Integer(theirs), Value::Integer(ours)) => theirs != ours,
        (Reading::Text, Value::Text(_)) => false,
        _ => true,
    };
    let read = match theirs {
        Reading::Null => "nothing".to_owned(),
        Reading::Bool(value) => value.to_string(),
        Reading::Integer(value) => format!("the number {value}"),
        Reading::Text => "a text".to_owned(),
    };
    differs.then(|| format!("`{text}` is {read} to Envoy"))
}

enum Reading {
    Null,
    Bool(bool),
    Integer(i64),
    Text,
}

fn envoys(text: &str) -> Reading {
    if matches!(text, "" | "~" | "null" | "Null" | "NULL") {
        return Reading::Null;
    }
    if let Some(value) = boolean(text) {
        return Reading::Bool(value);
    }
    match integer(text) {
        Some(value) if i32::try_from(value).is_ok() => Reading::Integer(value),
        // Larger integers and all fractions become texts.
        _ => Reading::Text,
    }
}

/// YAML 1.1, in lower case, upper case or capitalized.
fn boolean(text: &str) -> Option<bool> {
    let lower = text.to_ascii_lowercase();
    let capitalized = || {
        let mut letters = text.chars();
        letters.next().is_some_and(char::is_uppercase) && letters.all(char::is_lowercase)
    };
    if text != lower && text != text.to_ascii_uppercase() && !capitalized() {
        return None;
    }
    match lower.as_str() {
        "y" | "yes" | "true" | "on" => Some(true),
        "n" | "no" | "false" | "off" => Some(false),
        _ => None,
    }
}

/// As C++ streams read integers without a base: a zero in front means octal.
fn integer(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (if text.starts_with('-') { "-" } else { "" }, digits),
        None => ("", text),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let in_base =
        |digits: &str, base| -> Result<i64, ParseIntError> { i64::from_str_radix(&format!("{sign}{digits}"), base) };
    let read = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) if hex.starts_with(['-', '+']) => return None,
        Some(hex) => in_base(hex, 16),
        None if digits.len() > 1 && digits.starts_with('0') => in_base(digits, 8),
        None => in_base(digits, 10),
    };
    read.ok()
}

#[cfg(test)]
mod tests {
    use saphyr_parser::ScalarStyle;

    use super::*;
    use crate::yaml::scalar;

    fn difference(text: &str) -> Option<String> {
        differ(text, &scalar(text, ScalarStyle::Plain))
    }

    #[test]
    fn p18_what_both_read_alike_is_not_spoken_of() {
        for text in
            ["", "~", "null", "true", "FALSE", "1", "-7", "0", "0x10", "2147483647", "60s", "a b", "yEs", "nO", "1.2.3"]
        {
            assert_eq!(difference(text), None, "{text}");
        }
    }

    #[test]
    fn p18_what_envoy_reads_otherwise_is_told() {
        for (text, read) in [
            ("yes", "true"),
            ("N", "false"),
            ("Off", "false"),
            ("010", "the number 8"),
            ("08", "a text"),
            ("0o17", "a text"),
            ("1.5", "a text"),
            ("1e3", "a text"),
            ("2147483648", "a text"),
            ("9007199254740993", "a text"),
        ] {
            assert_eq!(difference(text), Some(format!("`{text}` is {read} to Envoy")));
        }
    }
}
