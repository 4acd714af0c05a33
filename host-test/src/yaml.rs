//! YAML, as policies may use it (P18): the core schema of YAML 1.2 without anchors, aliases, merge keys and tags, with
//! every key written once.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use step_up_core::Decimal;
use step_up_core::json::Value;

/// Why a text is not such YAML, and where: line and column, both from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What is wrong.
    pub problem: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.problem)
    }
}

impl std::error::Error for Fault {}

/// Longer texts are refused.
const MAX_TEXT: usize = 1024 * 1024;
/// Deeper nesting is refused.
const MAX_DEPTH: usize = 64;

/// Where the values of a document stand, by their path as [`step_up_core::Fault`] writes it.
#[derive(Clone, Debug, Default)]
pub struct Places(HashMap<String, Range<usize>>);

impl Places {
    /// The bytes of a value, and of its key if it has one; of what encloses it, if it is not there itself.
    pub fn of(&self, path: &str) -> Range<usize> {
        let mut path = path;
        loop {
            if let Some(found) = self.0.get(path) {
                return found.clone();
            }
            let Some(end) = path.rfind(['.', '[']) else { return 0..0 };
            path = path.get(..end).unwrap_or_default();
        }
    }
}

/// Reads one document.
pub fn read(text: &str) -> Result<Value<'static>, Fault> {
    read_with_places(text).map(|(value, _)| value)
}

/// The same, with the places of all values.
pub fn read_with_places(text: &str) -> Result<(Value<'static>, Places), Fault> {
    if text.len() > MAX_TEXT {
        return Err(Fault { line: 1, column: 1, problem: "larger than 1 MiB".to_owned() });
    }
    let offsets = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        offsets,
        path: String::new(),
        depth: 0,
        places: Places::default(),
    };
    reader.expect(&Event::StreamStart)?;
    let (event, span) = reader.next()?;
    if !matches!(event, Event::DocumentStart(_)) {
        return Err(fault(span, "the document is empty"));
    }
    let value = reader.value()?;
    reader.expect(&Event::DocumentEnd)?;
    reader.expect(&Event::StreamEnd)?;
    Ok((value, reader.places))
}

/// Reads a file, as serde_json has the tree. The error names the file.
pub fn load(path: &Path) -> anyhow::Result<serde_json::Value> {
    let name = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("{name} cannot be read"))?;
    read(&text).map(|value| to_json(&value)).map_err(|fault| anyhow!("{name}:{fault}"))
}

/// The same tree as serde_json has it.
pub fn to_json(value: &Value<'_>) -> serde_json::Value {
    match value {
        Value::Null | Value::Skipped => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Integer(value) => (*value).into(),
        // A policy with a number of too many digits is refused before anybody asks for it as JSON.
        Value::Number(value) => value.map(|value| value.approximate()).into(),
        Value::Text(text) => text.as_ref().into(),
        Value::List(list) => list.iter().map(to_json).collect(),
        Value::Map(members) => members
            .iter()
            .map(|(name, value)| (name.to_string(), to_json(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

struct Reader<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    /// Where each character begins: the parser counts characters.
    offsets: Vec<usize>,
    /// Of the value that is being read.
    path: String,
    depth: usize,
    places: Places,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), Fault> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let (line, column) = (error.marker().line(), error.marker().col() + 1);
                Err(Fault { line, column, problem: error.info().to_owned() })
            }
            None => Err(Fault { line: 1, column: 1, problem: "the document ends too early".to_owned() }),
        }
    }

    fn expect(&mut self, wanted: &Event<'_>) -> Result<(), Fault> {
        let (event, span) = self.next()?;
        if event == *wanted { Ok(()) } else { Err(fault(span, "more than one document")) }
    }

    fn value(&mut self) -> Result<Value<'static>, Fault> {
        let (event, span) = self.next()?;
        self.value_from(event, span)
    }

    fn value_from(&mut self, event: Event<'t>, span: Span) -> Result<Value<'static>, Fault> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                plain(anchor, tag.as_ref(), span)?;
                Ok(scalar(&text, style))
            }
            Event::SequenceStart(anchor, tag) => {
                plain(anchor, tag.as_ref(), span)?;
                self.inside(span, Self::list)
            }
            Event::MappingStart(anchor, tag) => {
                plain(anchor, tag.as_ref(), span)?;
                self.inside(span, Self::map)
            }
            Event::Alias(_) => Err(fault(span, "an alias; write the value out")),
            _ => Err(fault(span, "a value is expected here")),
        }
    }

    fn inside(
        &mut self,
        span: Span,
        read: fn(&mut Self) -> Result<Value<'static>, Fault>,
    ) -> Result<Value<'static>, Fault> {
        if self.depth >= MAX_DEPTH {
            return Err(fault(span, "nested too deep"));
        }
        self.depth += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn list(&mut self) -> Result<Value<'static>, Fault> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, span) => {
                    let path = format!("{}[{}]", self.path, items.len());
                    self.note(&path, span, span);
                    let outer = std::mem::replace(&mut self.path, path);
                    items.push(self.value_from(event, span)?);
                    self.path = outer;
                }
            }
        }
    }

    fn map(&mut self) -> Result<Value<'static>, Fault> {
        let (mut members, mut seen) = (Vec::new(), HashSet::new());
        loop {
            let (name, span) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(Value::Map(members)),
                (event, span) => match self.value_from(event, span)? {
                    Value::Text(name) => (name.into_owned(), span),
                    _ => return Err(fault(span, "a key that is not a text; put it in quotes")),
                },
            };
            if name == "<<" {
                return Err(fault(span, "a merge key; write the fields out"));
            }
            if !seen.insert(name.clone()) {
                return Err(fault(span, &format!("`{name}` is written twice")));
            }
            let path = step_up_core::join(&self.path, &name);
            let (event, value) = self.next()?;
            self.note(&path, span, value);
            let outer = std::mem::replace(&mut self.path, path);
            members.push((Cow::Owned(name), self.value_from(event, value)?));
            self.path = outer;
        }
    }
}

impl Reader<'_> {
    /// A scalar stands from its key to its end; of a map or a list the key alone is shown.
    fn note(&mut self, path: &str, key: Span, value: Span) {
        let end = if value.start.line() == key.start.line() { value.end } else { key.end };
        let offset = |at: usize| self.offsets.get(at).or(self.offsets.last()).copied().unwrap_or_default();
        let range = offset(key.start.index())..offset(end.index());
        self.places.0.insert(path.to_owned(), range);
    }
}

/// P18: neither anchors nor tags.
fn plain(anchor: usize, tag: Option<&Cow<'_, Tag>>, span: Span) -> Result<(), Fault> {
    if anchor != 0 {
        return Err(fault(span, "an anchor; write the value out where it is needed"));
    }
    if tag.is_some() {
        return Err(fault(span, "a tag; write the value without it"));
    }
    Ok(())
}

/// YAML 1.2.2, 10.3.2: what an unquoted scalar means.
fn scalar(text: &str, style: ScalarStyle) -> Value<'static> {
    if style != ScalarStyle::Plain {
        return Value::Text(Cow::Owned(text.to_owned()));
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).unwrap_or_else(|| Value::Text(Cow::Owned(text.to_owned()))),
    }
}

fn number(text: &str) -> Option<Value<'static>> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let integer = match (text.strip_prefix("0x"), text.strip_prefix("0o")) {
        (Some(hex), _) => i64::from_str_radix(hex, 16).ok(),
        (_, Some(octal)) => i64::from_str_radix(octal, 8).ok(),
        _ => text.parse().ok(),
    };
    let is_float = || text.parse::<f64>().is_ok_and(f64::is_finite);
    let float = || is_float().then(|| Value::Number(Decimal::parse(text.trim_start_matches('+'))));
    integer.map(Value::Integer).or_else(float)
}

fn fault(span: Span, problem: &str) -> Fault {
    Fault { line: span.start.line(), column: span.start.col() + 1, problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn p18_yaml_has_one_meaning() {
        let value = read("a: [1, yes, 'true', ~, 0x10, 1.5, on, 1e3]\n'b': {c: -7}").unwrap();
        let expected = serde_json::json!({"a": [1, "yes", "true", null, 16, 1.5, "on", 1000.0], "b": {"c": -7}});
        assert_eq!(to_json(&value), expected);
    }

    #[test]
    fn p18_what_yaml_can_hide_is_refused_where_it_stands() {
        assert_eq!(problem("a: 1\nb: 2\na: 3"), "3:1: `a` is written twice");
        assert_eq!(problem("a: &x 1\nb: *x"), "1:4: an anchor; write the value out where it is needed");
        assert!(problem("a: *x").contains("unknown anchor") || problem("a: *x").contains("alias"));
        assert_eq!(problem("a: !!str 1"), "1:4: a tag; write the value without it");
        assert_eq!(problem("<<: {a: 1}"), "1:1: a merge key; write the fields out");
        assert_eq!(problem("1: a"), "1:1: a key that is not a text; put it in quotes");
        assert_eq!(problem("true: a"), "1:1: a key that is not a text; put it in quotes");
        assert_eq!(problem("[a]: b"), "1:1: a key that is not a text; put it in quotes");
        assert!(problem("a: 1\n---\nb: 2").contains("more than one document"));
        assert!(problem("").contains("empty"));
        assert!(problem(&format!("{}{}", "[".repeat(70), "]".repeat(70))).contains("deep"));
    }
}
