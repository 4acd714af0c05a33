//! A JSON text taken apart into texts, for what is passed on as it is. It was read strictly before: here it is only cut.

use std::borrow::Cow;

/// The members of an object, in order, each as it is written. `None`: it is none.
pub fn members(text: &str) -> Option<Vec<(Cow<'_, str>, &str)>> {
    let pieces = cut(text, '{', '}')?;
    let (pairs, rest) = pieces.as_chunks();
    let members = pairs.iter().map(|&[name, value]| Some((unescaped(name)?, value)));
    if rest.is_empty() { members.collect() } else { None }
}

/// The items of an array. `None`: it is none.
pub fn items(text: &str) -> Option<Vec<&str>> {
    cut(text, '[', ']')
}

/// What stands between the commas, and colons, of an object or array itself.
fn cut(text: &str, open: char, close: char) -> Option<Vec<&str>> {
    let inner = text.trim().strip_prefix(open)?.strip_suffix(close)?;
    let (mut pieces, mut start) = (Vec::new(), 0);
    let (mut depth, mut in_text, mut is_escaped) = (0_usize, false, false);
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            b',' | b':' if depth == 0 => {
                pieces.push(inner.get(start..at)?.trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    let last = inner.get(start..)?.trim();
    if !last.is_empty() {
        pieces.push(last);
    }
    Some(pieces)
}

fn unescaped(name: &str) -> Option<Cow<'_, str>> {
    if name.contains('\\') {
        return serde_json::from_str(name).ok().map(Cow::Owned);
    }
    name.strip_prefix('"')?.strip_suffix('"').map(Cow::Borrowed)
}

/// An object of these members.
pub(crate) fn object<'m>(members: impl IntoIterator<Item = (Cow<'m, str>, Cow<'m, str>)>) -> String {
    let mut text = String::from("{");
    for (name, value) in members {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&serde_json::Value::from(name.as_ref()).to_string());
        text.push(':');
        text.push_str(&value);
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_items_are_as_they_are_written() {
        let text = " { \"a\" : [1, {\"b\":2}] ,\n\"c,:}\\\"\\\\\":\"{[\\\",:\\\\\", \"\\u0064\":{ } } ";
        let expected: Vec<(Cow<'_, str>, &str)> =
            vec![("a".into(), "[1, {\"b\":2}]"), ("c,:}\"\\".into(), "\"{[\\\",:\\\\\""), ("d".into(), "{ }")];
        assert_eq!(members(text), Some(expected));
        assert_eq!(items("[1, {\"b\":2},[ ],\"]\"]"), Some(vec!["1", "{\"b\":2}", "[ ]", "\"]\""]));
        assert_eq!((members("{ }"), items("[ ]")), (Some(Vec::new()), Some(Vec::new())));
        for other in ["1", "\"{}\"", "[1]", "null", ""] {
            assert_eq!(members(other), None, "{other}");
        }
        assert_eq!(items("{}"), None);
    }
}
