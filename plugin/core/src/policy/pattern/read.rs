//! Keys as they are written, read by what they are about: problem and help where they mean nothing.

use super::plain::{has_plain_characters, has_plain_uri_characters};
use super::{Part, Pattern};

/// What is wrong, and what to do.
type Fault = (&'static str, &'static str);

/// The longest plain name (P1).
const LONGEST_NAME: usize = 128;

const NOTHING: &str = "a pattern that matches nothing";

impl Pattern {
    /// P1: a tool or a prompt. One `*` stands for any text.
    pub(crate) fn name(text: &str) -> Result<Pattern, Fault> {
        let help = "write an exact name, or a pattern with one `*` in it: `get_*`, `*_delete`, `jira_*_issue`, `*`";
        let Some((head, tail)) = text.split_once('*') else {
            return if text.is_empty() { Err(("an empty name", help)) } else { Ok(Pattern::of([literal(text)])) };
        };
        if tail.contains('*') {
            return Err(("more than one `*`", help));
        }
        let alphabet = "patterns match names of letters, digits and `_ . : / -`, up to 128 of them, without empty and dot \
                        segments between slashes; other names need their exact rule";
        let is_whole = |segment: &str| !matches!(segment, "" | "." | "..");
        let (heads, tails) = (head.split('/').rev().skip(1), tail.split('/').skip(1));
        let fits = has_plain_characters(head) && has_plain_characters(tail) && head.len() + tail.len() <= LONGEST_NAME;
        if !fits || !heads.chain(tails).all(is_whole) {
            return Err((NOTHING, alphabet));
        }
        Ok(Pattern::of([literal(head), Part::Star, literal(tail)]))
    }

    /// P20: a method, or all that begin so.
    pub(crate) fn method(text: &str) -> Result<Pattern, Fault> {
        let help = "write an exact method, or all that begin so up to a slash: `tasks/*`";
        match text.strip_suffix('*') {
            None if text.contains('*') || text.is_empty() => Err(("not a method", help)),
            None => Ok(Pattern::of([literal(text)])),
            Some("") => Err(("`*` is not a rule for methods (P2)", help)),
            Some(prefix) if prefix.contains('*') || !prefix.ends_with('/') => Err(("not a method", help)),
            Some(_) => Pattern::name(text),
        }
    }

    /// P19: a URI, a prefix, a template or `*`.
    pub(crate) fn uri(text: &str) -> Result<Pattern, Fault> {
        let help = "write an exact URI, a prefix up to a slash or colon (`repo://acme/*`), a template (`wiki://{space}/{id}`) or `*`";
        if text.is_empty() {
            return Err(("an empty URI", help));
        }
        let pattern = match text.strip_suffix('*') {
            _ if text.contains(['{', '}']) => {
                let template = Pattern::template(text).filter(|template| template.is_level_1() && !text.contains('*'));
                let help = "RFC 6570 level 1: `{name}`, each name once, of letters, digits and `_`";
                template.ok_or(("not a template that is understood here (P19)", help))?
            }
            None if text.contains('*') => return Err(("a `*` that is not the last character", help)),
            None => return Ok(Pattern::of([literal(text)])),
            Some("") => Pattern::of([Part::Star]),
            Some(prefix) if prefix.contains('*') => return Err(("more than one `*`", help)),
            Some(prefix) if !prefix.ends_with(['/', ':']) => {
                return Err(("a prefix that ends within a segment", help));
            }
            Some(prefix) => Pattern::of([literal(prefix), Part::Star]),
        };
        let is_plain = pattern.literal_parts().all(has_plain_uri_characters);
        if is_plain { Ok(pattern) } else { Err((NOTHING, "URIs that are spelled so need their exact rule (P19)")) }
    }

    /// A template of RFC 6570, of any level. `None`: it is none.
    pub(crate) fn template(text: &str) -> Option<Pattern> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let (expression, after) = behind.split_once('}')?;
            let is_variable = !expression.is_empty() && expression.bytes().all(is_of_variable);
            parts.push(literal(before));
            parts.push(if is_variable { Part::Variable(expression.to_owned()) } else { Part::Anything });
            rest = after;
        }
        parts.push(literal(rest));
        let has_brace = |part: &Part| matches!(part, Part::Literal(text) if text.contains(['{', '}']));
        (!parts.iter().any(has_brace)).then(|| Pattern::of(parts))
    }

    /// Variables only, each name once. `uri` is the whole URI to conditions (P17).
    fn is_level_1(&self) -> bool {
        let mut names: Vec<&str> = vec!["uri"];
        self.parts.iter().all(|part| match part {
            Part::Literal(_) => true,
            Part::Variable(name) if names.contains(&name.as_str()) => false,
            Part::Variable(name) => {
                names.push(name);
                true
            }
            Part::Star | Part::Anything => false,
        })
    }

    /// Without the empty literals.
    fn of(parts: impl IntoIterator<Item = Part>) -> Pattern {
        let is_something = |part: &Part| !matches!(part, Part::Literal(text) if text.is_empty());
        Pattern { parts: parts.into_iter().filter(is_something).collect() }
    }
}

fn literal(text: &str) -> Part {
    Part::Literal(text.to_owned())
}

/// RFC 6570 2.3, without what is percent-encoded and without dots, which paths of conditions have.
fn is_of_variable(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
