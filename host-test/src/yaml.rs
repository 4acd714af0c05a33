//! YAML, as policies may use it (P18): the core schema of YAML 1.2 without anchors, aliases, merge keys and tags, with
//! every key written once. A file of the proxy's may use more; [`scan`] says where it does.

mod readings;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, anyhow, ensure};
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

/// Longer policies are refused.
const MAX_TEXT: usize = 1024 * 1024;
/// Longer files are refused.
const MAX_FILE: usize = 16 * MAX_TEXT;
/// The problem of a file with more than one document.
pub const SEVERAL: &str = "more than one document";
/// Deeper nesting is refused.
const MAX_DEPTH: usize = 64;

/// What a policy may not have, and a file around it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A key a second time in one map.
    Twice,
    /// `<<`.
    Merge,
    /// An anchor, an alias or a tag: what stands here is said elsewhere, or is something else than it looks like.
    Indirect,
    /// A key that is not a text.
    Key,
    /// An unquoted scalar that Envoy does not read as YAML 1.2 does.
    TwoReadings,
}

/// One place where a file does what a policy may not.
#[derive(Clone, Debug)]
pub struct Oddity {
    /// What it is.
    pub kind: Kind,
    /// Of the value, as [`step_up_core::Fault`] writes it.
    pub path: String,
    /// The bytes of it.
    pub range: Range<usize>,
    /// What is wrong with it in a policy.
    pub problem: String,
}

/// A file as it was read: of a key that comes twice the last value, an alias as [`Value::Skipped`].
#[derive(Clone, Debug)]
pub struct Scan {
    /// The tree.
    pub value: Value<'static>,
    /// Where everything stands.
    pub places: Places,
    /// All that a policy may not have, in the order of the file.
    pub oddities: Vec<Oddity>,
}

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
    let scan = document(text, true)?;
    Ok((scan.value, scan.places))
}

/// Reads a document that may be more than a policy. The error is about what cannot be read at all.
pub fn scan(text: &str) -> Result<Scan, Fault> {
    document(text, false)
}

fn document(text: &str, strict: bool) -> Result<Scan, Fault> {
    let (most, megabytes) = if strict { (MAX_TEXT, 1) } else { (MAX_FILE, 16) };
    if text.len() > most {
        return Err(Fault { line: 1, column: 1, problem: format!("larger than {megabytes} MiB") });
    }
    let offsets = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        offsets,
        path: String::new(),
        depth: 0,
        places: Places::default(),
        strict,
        oddities: Vec::new(),
    };
    reader.expect(&Event::StreamStart)?;
    let (event, span) = reader.next()?;
    if !matches!(event, Event::DocumentStart(_)) {
        return Err(fault(span, "the document is empty"));
    }
    let value = reader.value()?;
    reader.expect(&Event::DocumentEnd)?;
    reader.expect(&Event::StreamEnd)?;
    Ok(Scan { value, places: reader.places, oddities: reader.oddities })
}

/// Reads a file, as serde_json has the tree. The error names the file.
pub fn load(path: &Path) -> anyhow::Result<serde_json::Value> {
    let name = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("{name} cannot be read"))?;
    let value = read(&text).map_err(|fault| anyhow!("{name}:{fault}"))?;
    // It would be null, and a claim that is null is left out.
    ensure!(!has_long_number(&value), "{name}: a number of more than 15 digits, which JSON's readers do not agree on");
    Ok(to_json(&value))
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

fn has_long_number(value: &Value<'_>) -> bool {
    match value {
        Value::Number(number) => number.is_none(),
        Value::List(list) => list.iter().any(has_long_number),
        Value::Map(members) => members.iter().any(|(_, value)| has_long_number(value)),
        _ => false,
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
    /// The first oddity is an error.
    strict: bool,
    oddities: Vec<Oddity>,
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
        if event == *wanted { Ok(()) } else { Err(fault(span, SEVERAL)) }
    }

    fn value(&mut self) -> Result<Value<'static>, Fault> {
        let (event, span) = self.next()?;
        self.value_from(event, span)
    }

    fn value_from(&mut self, event: Event<'t>, span: Span) -> Result<Value<'static>, Fault> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.plain(anchor, tag.as_ref(), span)?;
                if !self.strict
                    && style == ScalarStyle::Plain
                    && let Some(problem) = readings::differ(&text, &scalar(&text, style))
                {
                    self.odd(Kind::TwoReadings, span, &problem)?;
                }
                Ok(scalar(&text, style))
            }
            Event::SequenceStart(anchor, tag) => {
                self.plain(anchor, tag.as_ref(), span)?;
                self.inside(span, Self::list)
            }
            Event::MappingStart(anchor, tag) => {
                self.plain(anchor, tag.as_ref(), span)?;
                self.inside(span, Self::map)
            }
            Event::Alias(_) => {
                self.odd(Kind::Indirect, span, "an alias; write the value out")?;
                Ok(Value::Skipped)
            }
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
        let mut members: Vec<(Cow<'static, str>, Value<'static>)> = Vec::new();
        let mut seen = HashSet::new();
        loop {
            let (name, span) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(Value::Map(members)),
                (event, span) => (self.key(event, span)?, span),
            };
            let path = step_up_core::join(&self.path, &name);
            let outer = std::mem::replace(&mut self.path, path);
            if name == "<<" {
                self.odd(Kind::Merge, span, "a merge key; write the fields out")?;
            }
            if !seen.insert(name.clone()) {
                self.odd(Kind::Twice, span, &format!("`{name}` is written twice"))?;
                members.retain(|(other, _)| *other != name);
            }
            let (event, value) = self.next()?;
            let path = self.path.clone();
            self.note(&path, span, value);
            members.push((Cow::Owned(name), self.value_from(event, value)?));
            self.path = outer;
        }
    }

    fn key(&mut self, event: Event<'t>, span: Span) -> Result<String, Fault> {
        const NO_TEXT: &str = "a key that is not a text; put it in quotes";
        let Event::Scalar(text, style, anchor, tag) = event else { return Err(fault(span, NO_TEXT)) };
        self.plain(anchor, tag.as_ref(), span)?;
        if !matches!(scalar(&text, style), Value::Text(_)) {
            self.odd(Kind::Key, span, NO_TEXT)?;
        }
        Ok(text.into_owned())
    }
}

impl Reader<'_> {
    /// A scalar stands from its key to its end; of a map or a list the key alone is shown.
    fn note(&mut self, path: &str, key: Span, value: Span) {
        let end = if value.start.line() == key.start.line() { value.end } else { key.end };
        let range = self.offset(key.start.index())..self.offset(end.index());
        self.places.0.insert(path.to_owned(), range);
    }

    fn offset(&self, character: usize) -> usize {
        self.offsets.get(character).or(self.offsets.last()).copied().unwrap_or_default()
    }

    /// P18: neither anchors nor tags.
    fn plain(&mut self, anchor: usize, tag: Option<&Cow<'_, Tag>>, span: Span) -> Result<(), Fault> {
        if anchor != 0 {
            self.odd(Kind::Indirect, span, "an anchor; write the value out where it is needed")?;
        }
        if tag.is_some() {
            self.odd(Kind::Indirect, span, "a tag; write the value without it")?;
        }
        Ok(())
    }

    /// An error, or something to remember.
    fn odd(&mut self, kind: Kind, span: Span, problem: &str) -> Result<(), Fault> {
        if self.strict {
            return Err(fault(span, problem));
        }
        let range = self.offset(span.start.index())..self.offset(span.end.index());
        self.oddities.push(Oddity { kind, path: self.path.clone(), range, problem: problem.to_owned() });
        Ok(())
    }
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
    if matches!(digits, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Some(Value::Number(None));
    }
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let integer = match (text.strip_prefix("0x"), text.strip_prefix("0o")) {
        (Some(hex), _) => i64::from_str_radix(hex, 16).ok(),
        (_, Some(octal)) => i64::from_str_radix(octal, 8).ok(),
        _ => text.parse().ok(),
    };
    let is_float = || text.parse::<f64>().is_ok();
    let float = || is_float().then(|| Value::Number(Decimal::parse(text.trim_start_matches('+'))));
    integer.map(Value::Integer).or_else(float)
}

fn fault(span: Span, problem: &str) -> Fault {
    Fault { line: span.start.line(), column: span.start.col() + 1, problem: problem.to_owned() }
}

#[cfg(test)]
mod tests;
