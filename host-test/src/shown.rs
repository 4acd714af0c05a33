//! Texts from outside on their way to somebody's eyes. A name in a policy or a record is whatever somebody wrote there.

use std::fmt::Write as _;

/// Without anything that a terminal, a page or a reader would obey, or not see: such characters are spelled out.
pub(crate) fn plain(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut plain, char| {
        if is_hidden(char) {
            // Nothing can go wrong with a String.
            let _ = write!(plain, "\\u{{{:x}}}", u32::from(char));
        } else {
            plain.push(char);
        }
        plain
    })
}

/// The same of what a stranger said at length.
pub(crate) fn brief(text: &str) -> String {
    cut(text, 300, plain)
}

/// At most so many characters, shown so; dots say that there are more.
pub(crate) fn cut(text: &str, most: usize, show: fn(&str) -> String) -> String {
    let cut: String = text.chars().take(most).collect();
    let more = if cut.len() < text.len() { "..." } else { "" };
    show(&cut) + more
}

/// JSON that is as good, and has no such character in it.
pub(crate) fn plain_json(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut plain, char| {
        if char != '\n' && is_hidden(char) {
            char.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                let _ = write!(plain, "\\u{unit:04x}");
            });
        } else {
            plain.push(char);
        }
        plain
    })
}

/// A cell of a table in Markdown: no line break, no new cell, no markup.
pub(crate) fn markdown(text: &str) -> String {
    plain(text).chars().fold(String::new(), |mut out, char| {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // A mention, a link, a reference to an issue: none is meant.
            '@' => out.push_str("&#64;"),
            '#' => out.push_str("&#35;"),
            ':' => out.push_str("&#58;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '!' => {
                out.push('\\');
                out.push(char);
            }
            // GitHub makes links of `www.`.
            '.' if out.to_ascii_lowercase().ends_with("www") => out.push_str("&#46;"),
            other => out.push(other),
        }
        out
    })
}

/// A cell of a table that a spreadsheet opens: a text, and no formula.
pub(crate) fn cell(text: &str) -> String {
    let text = plain(text);
    if text.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']) {
        format!("'{text}")
    } else {
        text
    }
}

fn is_hidden(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Seconds as a policy writes them.
pub(crate) fn duration(seconds: u64) -> String {
    match seconds {
        0 => "0s".to_owned(),
        _ if seconds.is_multiple_of(86_400) => format!("{}d", seconds / 86_400),
        _ if seconds.is_multiple_of(3_600) => format!("{}h", seconds / 3_600),
        _ if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_obeyed_that_is_only_a_name() {
        assert_eq!(
            plain("a\u{1b}[31mb\r\n\u{202e}c\u{200b}\u{e0041}"),
            "a\\u{1b}[31mb\\u{d}\\u{a}\\u{202e}c\\u{200b}\\u{e0041}"
        );
        assert_eq!(plain("größe 表 {x}"), "größe 表 {x}");
        assert_eq!(plain_json("{\"a\":\"\u{202e}\u{e0041}\"}"), "{\"a\":\"\\u202e\\udb40\\udc41\"}");
        assert_eq!(markdown("a|b`*<script>@you#1"), "a\\|b\\`\\*&lt;script&gt;&#64;you&#35;1");
        for formula in ["=cmd()", "+1", "-1", "@x", "  =1", "＝1"] {
            assert!(cell(formula).starts_with('\''), "{formula}");
        }
        assert!(cell("\t=1").starts_with("\\u{9}"), "a tab is no cell of its own");
        assert_eq!(cell("get_*"), "get_*");
    }

    #[test]
    fn durations_read_as_they_are_written() {
        let texts = [(0, "0s"), (59, "59s"), (60, "1m"), (90, "90s"), (900, "15m"), (3600, "1h"), (86_400, "1d")];
        texts.into_iter().for_each(|(seconds, text)| assert_eq!(duration(seconds), text));
    }
}
