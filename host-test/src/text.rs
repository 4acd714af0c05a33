//! Texts of strangers, written so that they can be nothing but texts.

use std::fmt::Write as _;

use crate::shown::cut;

/// A YAML scalar that is read back as exactly this text: plain where that is certain, else double-quoted (YAML 1.2.2, 5.7) in
/// printable ASCII.
pub(crate) fn scalar(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { quoted(text) }
}

/// A letter, then letters, digits, `_` and `-`: no indicator, number, date or space can be among those. What is left are words
/// that some reader takes for another thing than a text.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 10] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan"];
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(is_word)
        && text.len() <= 128
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

/// In double quotes. Everything but printable ASCII is escaped, so neither a line end of Unicode nor a letter that turns the
/// direction of writing stands in the file.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        // Writing to a text cannot fail.
        let _ = match (c, u32::from(c)) {
            ('"' | '\\', _) => write!(out, "\\{c}"),
            (' '..='~', _) => write!(out, "{c}"),
            (_, code @ 0..=0xff) => write!(out, "\\x{code:02x}"),
            (_, code @ 0..=0xffff) => write!(out, "\\u{code:04x}"),
            (_, code) => write!(out, "\\U{code:08x}"),
        };
    }
    out.push('"');
    out
}

/// For a comment or a message: quoted, on one line, cut.
pub(crate) fn shown(text: &str) -> String {
    cut(text, 60, quoted)
}

/// A message that may quote a stranger: on one line, cut.
pub(crate) fn ascii(text: &str) -> String {
    text.chars().take(200).map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use crate::yaml;

    #[test]
    fn every_text_is_read_back_as_it_was() {
        let long = "x".repeat(5000);
        let texts = [
            "get_file",
            "null",
            "No",
            "1e3",
            "0x1f",
            "2026-11-28",
            "",
            " ",
            "a: b",
            "a #b",
            "- a",
            "? a",
            "!!int 1",
            "&a",
            "*a",
            "{{ x }}",
            "[",
            "%YAML",
            "---",
            "a\nb: c",
            "\r\n",
            "\t",
            "\u{0}\u{7f}\u{85}\u{a0}",
            "\u{2028}\u{2029}\u{feff}",
            "\u{202e}gpj",
            "\u{1f600}",
            "\"\\'",
            "'",
            "<<",
            "~",
            "@a",
            "`a`",
            "x\u{10ffff}",
            &long,
            "=",
            ".inf",
        ];
        for text in texts {
            for written in [super::scalar(text), super::quoted(text)] {
                assert!(written.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{written}");
                let read = yaml::to_json(&yaml::read(&format!("{{ key: {written} }}")).unwrap());
                assert_eq!(read["key"], text, "{written}");
                // As a key of a block, which is on one line and has at most 1024 characters.
                if written.len() < 1000 && text != "<<" {
                    let read = yaml::to_json(&yaml::read(&format!("map:\n  {written}: 1\n")).unwrap());
                    assert_eq!(read["map"], serde_json::json!({ text: 1 }), "{written}");
                }
            }
        }
    }

    #[test]
    fn what_is_shown_is_one_short_line() {
        assert_eq!(super::shown("a\n# b"), r#""a\x0a# b""#);
        assert!(super::shown(&"\u{1f600}".repeat(900)).len() < 700);
    }
}
