//! Reading a document by its fields, collecting every fault on the way (P18).

mod later;
mod notation;
mod structs;
mod url;
pub(crate) mod vocabulary;

pub(crate) use later::no_pattern;
pub(crate) use notation::{NAME, boolean, date, duration, duration_or_none, label, needs, scopes, size, word};
pub(crate) use structs::read as read_struct;
pub(crate) use url::Url;

use std::fmt;

use crate::json::Value;

/// Something wrong with a policy: where, what, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The place, as `servers.git.tools.x.scope`.
    pub path: String,
    /// What is wrong: lower case, no final period.
    pub problem: String,
    /// What to do.
    pub help: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "(policy)" } else { &self.path };
        write!(f, "{path}: {}; help: {}", self.problem, self.help)
    }
}

/// What the readers found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub faults: Vec<Fault>,
    pub warnings: Vec<Fault>,
    pub notes: Vec<Fault>,
}

impl Report {
    pub(crate) fn fault(&mut self, path: &str, problem: impl Into<String>, help: impl Into<String>) {
        note_down(&mut self.faults, path, problem.into(), help.into());
    }

    pub(crate) fn warn(&mut self, path: &str, problem: impl Into<String>, help: impl Into<String>) {
        note_down(&mut self.warnings, path, problem.into(), help.into());
    }

    /// Nothing is wrong; it means something else than before, or than one might think. Only `check` says it: the module does not carry it.
    #[cfg_attr(target_family = "wasm", inline(always))]
    pub(crate) fn note(&mut self, path: &str, problem: impl Into<String>, help: impl Into<String>) {
        if cfg!(not(target_family = "wasm")) {
            note_down(&mut self.notes, path, problem.into(), help.into());
        }
    }
}

// What a reader calls at a hundred places is there once.
#[inline(never)]
fn note_down(list: &mut Vec<Fault>, path: &str, problem: String, help: String) {
    list.push(Fault { path: path.to_owned(), problem, help });
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Entry<'v> {
    pub path: String,
    pub value: &'v Value<'v>,
}

impl<'v> Entry<'v> {
    pub(crate) fn fault(&self, report: &mut Report, problem: impl Into<String>, help: impl Into<String>) {
        report.fault(&self.path, problem, help);
    }

    #[inline(never)]
    pub(crate) fn text(&self, report: &mut Report) -> Option<&'v str> {
        match self.value {
            Value::Text(text) if !text.is_empty() => Some(text),
            _ => {
                self.fault(report, format!("{} where a text is expected", kind(self.value)), "write a text");
                None
            }
        }
    }

    /// `true` as a word, so that a flag that can only be set reads like any other choice.
    #[inline(never)]
    pub(crate) fn as_word(&self) -> Entry<'v> {
        const TRUE: &Value<'static> = &Value::Text(std::borrow::Cow::Borrowed("true"));
        let value = if self.value == &Value::Bool(true) { TRUE } else { self.value };
        Entry { path: self.path.clone(), value }
    }

    #[inline(never)]
    pub(crate) fn list(&self, report: &mut Report) -> Option<Vec<Entry<'v>>> {
        match self.value {
            Value::List(items) => {
                let entry = |(at, value)| Entry { path: format!("{}[{at}]", self.path), value };
                Some(items.iter().enumerate().map(entry).collect())
            }
            _ => {
                self.fault(report, format!("{} where a list is expected", kind(self.value)), "write a list: [a, b]");
                None
            }
        }
    }

    /// A list with something in it: an empty one means something else to each reader.
    #[inline(never)]
    pub(crate) fn some_list(&self, report: &mut Report) -> Option<Vec<Entry<'v>>> {
        let items = self.list(report)?;
        if items.is_empty() {
            self.fault(report, "an empty list", "list at least one, or leave the field out");
        }
        Some(items)
    }

    /// The members of a map whose names are the user's own (servers, tools, scopes).
    #[inline(never)]
    pub(crate) fn named(&self, report: &mut Report) -> Option<Vec<(&'v str, Entry<'v>)>> {
        match self.value {
            Value::Map(members) => Some(
                members
                    .iter()
                    .map(|(name, value)| (name.as_ref(), Entry { path: join(&self.path, name), value }))
                    .collect(),
            ),
            _ => {
                self.fault(
                    report,
                    format!("{} where a map is expected", kind(self.value)),
                    "write a map: { name: ... }",
                );
                None
            }
        }
    }

    /// The members of a map whose names are ours: those of these lists of the vocabulary.
    #[inline(never)]
    pub(crate) fn fields(&self, known: &[&[&'static str]], report: &mut Report) -> Option<Fields<'v>> {
        let members = self.named(report)?;
        Some(Fields {
            path: self.path.clone(),
            members,
            known: known.concat(),
            #[cfg(debug_assertions)]
            taken: Default::default(),
        })
    }
}

/// The fields of one map: what the vocabulary does not know is a fault at the end.
#[derive(Debug)]
pub(crate) struct Fields<'v> {
    pub path: String,
    members: Vec<(&'v str, Entry<'v>)>,
    known: Vec<&'static str>,
    /// In tests: what was asked for. A word that is known and never read would be ignored in silence.
    #[cfg(debug_assertions)]
    taken: std::cell::RefCell<std::collections::BTreeSet<&'static str>>,
}

impl<'v> Fields<'v> {
    /// The field of that name, if it is there.
    #[inline(never)]
    pub(crate) fn take(&self, name: &'static str) -> Option<Entry<'v>> {
        debug_assert!(self.known.contains(&name), "`{name}` is not in the vocabulary of {}", self.path);
        #[cfg(debug_assertions)]
        self.taken.borrow_mut().insert(name);
        self.members.iter().find(|(field, _)| *field == name).map(|(_, entry)| entry.clone())
    }

    /// The field of that name; its absence is a fault.
    #[inline(never)]
    pub(crate) fn require(&self, name: &'static str, help: &str, report: &mut Report) -> Option<Entry<'v>> {
        let entry = self.take(name);
        if entry.is_none() {
            report.fault(&self.path, format!("`{name}` is missing"), help);
        }
        entry
    }

    /// Reports every field that is not known.
    #[inline(never)]
    pub(crate) fn finish(self, report: &mut Report) {
        #[cfg(debug_assertions)]
        for word in &self.known {
            assert!(self.taken.borrow().contains(word), "`{word}` of {} is declared and not read", self.path);
        }
        for (field, entry) in self.members.iter().filter(|(field, _)| !self.known.contains(field)) {
            if later::word(field, entry, report) {
                continue;
            }
            if *field == "clients" {
                entry.fault(report, "`clients` stands at the top only (P24)", "who may call is `callers`");
                continue;
            }
            let close = |known: &&&str| strsim::damerau_levenshtein(known, field) <= 2;
            let help = match self.known.iter().find(close) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            entry.fault(report, format!("unknown field `{field}`"), help);
        }
    }
}

/// The path of a member, as faults write it.
pub fn join(path: &str, name: &str) -> String {
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-*/".contains(&b));
    let name = if plain { name.to_owned() } else { format!("{name:?}") };
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

pub(crate) fn kind(value: &Value<'_>) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Integer(_) | Value::Number(_) => "a number",
        Value::Text(text) if text.is_empty() => "an empty text",
        Value::Text(_) => "a text",
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
        Value::Skipped => "an unread value",
    }
}
