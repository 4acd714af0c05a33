//! One JSON object on one line of visible ASCII, as records are written: printed raw into access logs, where a line
//! separator or a direction mark would let a caller forge or hide an entry.

use std::fmt::Write as _;

use crate::text::field;

/// An object that is being written, or some of its members.
#[derive(Debug)]
pub(crate) struct Line(String);

impl Line {
    /// Holds most records.
    const USUAL: usize = 1024;

    pub(crate) fn new() -> Line {
        let mut text = String::with_capacity(Self::USUAL);
        text.push('{');
        Line(text)
    }

    /// Members that are written once, and put into many objects.
    pub(crate) fn members() -> Line {
        Line(String::new())
    }

    pub(crate) fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }

    pub(crate) fn into_members(self) -> std::rc::Rc<str> {
        self.0.into()
    }

    /// A text as it stands in such a line, without its quotes.
    pub(crate) fn spelled(value: &str) -> String {
        let mut line = Line(String::new());
        line.content(value);
        line.0
    }

    pub(crate) fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.string(value);
    }

    /// A text of our own, which needs no escapes.
    pub(crate) fn plain(&mut self, name: &str, value: &str) {
        self.name(name);
        self.0.push('"');
        self.0.push_str(value);
        self.0.push('"');
    }

    pub(crate) fn text_if(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// A text that came from outside, cut.
    pub(crate) fn field(&mut self, name: &str, value: &str) {
        self.text(name, &field(value));
    }

    pub(crate) fn number(&mut self, name: &str, value: impl Into<i128>) {
        self.name(name);
        // Writing to a String cannot fail.
        let _ = write!(self.0, "{}", value.into());
    }

    pub(crate) fn texts<'t>(&mut self, name: &str, values: impl IntoIterator<Item = &'t str>) {
        self.name(name);
        self.0.push('[');
        for value in values {
            self.separate('[');
            self.string(value);
        }
        self.0.push(']');
    }

    pub(crate) fn object(&mut self, name: &str, write: impl FnOnce(&mut Line)) {
        self.name(name);
        self.0.push('{');
        write(self);
        self.0.push('}');
    }

    /// Members written before, by [`Line::members`].
    pub(crate) fn put(&mut self, members: &str) {
        if !members.is_empty() {
            self.separate('{');
            self.0.push_str(members);
        }
    }

    fn name(&mut self, name: &str) {
        self.separate('{');
        self.0.push('"');
        self.0.push_str(name);
        self.0.push_str("\":");
    }

    /// A comma, but at the beginning.
    fn separate(&mut self, opening: char) {
        if !self.0.is_empty() && !self.0.ends_with(opening) {
            self.0.push(',');
        }
    }

    fn string(&mut self, value: &str) {
        self.0.push('"');
        self.content(value);
        self.0.push('"');
    }

    fn content(&mut self, value: &str) {
        if value.bytes().all(is_plain) {
            self.0.push_str(value);
        } else {
            value.chars().for_each(|c| self.escaped(c));
        }
    }

    fn escaped(&mut self, c: char) {
        match c {
            '"' | '\\' => self.0.extend(['\\', c]),
            ' '..='~' => self.0.push(c),
            // RFC 8259 7: in UTF-16, with surrogate pairs.
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(self.0, "\\u{unit:04x}");
                }
            }
        }
    }
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_one_line_of_visible_ascii_with_the_same_content() {
        let nasty = "x\n\u{2028}\u{202e}\"é😀\u{7f}\t\u{1b}[2J\\u0041[{";
        let mut members = Line::members();
        members.text("a", nasty);
        members.number("b", -7);
        let members = members.into_members();
        let mut line = Line::new();
        line.put("");
        line.put(&members);
        line.texts("c", [nasty, "", nasty]);
        line.texts("d", []);
        line.object("e", |inner| inner.put(&members));
        line.object("f", |_| ());
        line.text_if("g", None);
        line.field("h", &"é".repeat(200));
        let text = line.finish();
        assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let expected = serde_json::json!({
            "a": nasty, "b": -7, "c": [nasty, "", nasty], "d": [], "e": { "a": nasty, "b": -7 }, "f": {},
            "h": format!("{}...", "é".repeat(128)),
        });
        assert_eq!(value, expected);
    }
}
