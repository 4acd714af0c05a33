//! One strict JSON reader for everything that arrives from outside: frames, tokens, key sets, policies.
//!
//! Stricter than RFC 8259 where the RFC leaves room for two readers to disagree: duplicate member names (compared
//! after unescaping) are refused at every depth, as are byte order marks, trailing bytes, `NaN`, unpaired surrogates,
//! numbers outside an IEEE double, member names with control characters, and nesting beyond [`MAX_DEPTH`].

mod canonical;
mod parts;

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;

use crate::decimal::{Decimal, numbers};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

pub(crate) use canonical::canonical;
pub(crate) use parts::object;
pub use parts::{items, members};

/// A JSON value that borrows from the text it was read from where no escape forced a copy.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number written without fraction or exponent that fits 64 bits.
    Integer(i64),
    /// Any other number. `None` when it has more than 15 digits, or was read without asking for them ([`read_exact`]).
    Number(Option<Decimal>),
    /// A string.
    Text(Cow<'a, str>),
    /// An array.
    List(Vec<Value<'a>>),
    /// An object, in the order written.
    Map(Vec<(Cow<'a, str>, Value<'a>)>),
    /// A value that was checked like any other and then not kept, because the caller did not ask for it.
    Skipped,
}

impl<'a> Value<'a> {
    /// The member of that name, if this is an object that has it.
    pub fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.members()?.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The members, if this is an object.
    pub fn members(&self) -> Option<&[(Cow<'a, str>, Value<'a>)]> {
        match self {
            Value::Map(members) => Some(members),
            _ => None,
        }
    }

    /// The string, if this is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Why a text was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An object names a member twice.
    DuplicateKey,
    /// A member name has a control character in it. A reader in C ends the name at a NUL, and sees another member.
    ControlInName,
    /// The bytes are not UTF-8.
    NotUtf8,
    /// Not one JSON value: syntax, byte order mark, trailing bytes, number out of range.
    Syntax,
    /// Nested deeper than [`MAX_DEPTH`].
    TooDeep,
    /// More members than [`MAX_MEMBERS`] in all objects together.
    TooManyMembers,
}

/// Deeper nesting is refused. No MCP message comes near it.
pub const MAX_DEPTH: usize = 64;

/// More members, in all objects of a text together, are refused: each costs far more than its bytes. No MCP message, token or key
/// document comes near it.
pub const MAX_MEMBERS: usize = 10_000;

/// Reads `bytes`, from whomever, and keeps everything.
pub fn read(bytes: &[u8]) -> Result<Value<'_>, Fault> {
    read_some(bytes, &|_, _| true)
}

/// The same, with any number of members: who asks bounds the length.
pub fn read_long(bytes: &[u8]) -> Result<Value<'_>, Fault> {
    read_within(bytes, &|_, _| true, usize::MAX, None)
}

/// Checks a text of any number of members, and keeps nothing of it.
pub(crate) fn check(bytes: &[u8]) -> Result<(), Fault> {
    read_within(bytes, &|_, _| false, usize::MAX, None).map(drop)
}

/// The same as [`read`], with every number as it is written.
pub fn read_exact(bytes: &[u8]) -> Result<Value<'_>, Fault> {
    let numbers = std::str::from_utf8(bytes).map(numbers).unwrap_or_default();
    read_within(bytes, &|_, _| true, MAX_MEMBERS, Some(numbers))
}

/// Reads a document of the operator's own, which may have any number of members, and keeps everything as it is written.
pub fn read_document(bytes: &[u8]) -> Result<Value<'_>, Fault> {
    let numbers = std::str::from_utf8(bytes).map(numbers).unwrap_or_default();
    read_within(bytes, &|_, _| true, usize::MAX, Some(numbers))
}

/// Reads `bytes` and keeps only what `keep` wants; the rest is checked all the same and becomes [`Value::Skipped`], but for `null`
/// and truth values, which cost nothing.
///
/// `keep` is asked for every member of an object, with the object's depth (the outermost is 0) and the member's name.
pub fn read_some<'a>(bytes: &'a [u8], keep: &dyn Fn(usize, &str) -> bool) -> Result<Value<'a>, Fault> {
    read_within(bytes, keep, MAX_MEMBERS, None)
}

/// The same, with every number as it is written.
pub fn read_some_exact<'a>(bytes: &'a [u8], keep: &dyn Fn(usize, &str) -> bool) -> Result<Value<'a>, Fault> {
    let numbers = std::str::from_utf8(bytes).map(numbers).unwrap_or_default();
    read_within(bytes, keep, MAX_MEMBERS, Some(numbers))
}

/// Keeps what `keep` wants of what somebody else will read: only syntax is checked, and of a name that comes twice the first is found.
/// Nothing may be permitted by what it says.
pub fn skim<'a>(bytes: &'a [u8], keep: &dyn Fn(usize, &str) -> bool) -> Result<Value<'a>, Fault> {
    read_as(bytes, keep, usize::MAX, None, true)
}

fn read_within<'a>(
    bytes: &'a [u8],
    keep: &dyn Fn(usize, &str) -> bool,
    members: usize,
    numbers: Option<Vec<Option<Decimal>>>,
) -> Result<Value<'a>, Fault> {
    read_as(bytes, keep, members, numbers, false)
}

fn read_as<'a>(
    bytes: &'a [u8],
    keep: &dyn Fn(usize, &str) -> bool,
    members: usize,
    numbers: Option<Vec<Option<Decimal>>>,
    skims: bool,
) -> Result<Value<'a>, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|_| Fault::NotUtf8)?;
    let (fault, control, left) = (Cell::new(Fault::Syntax), Cell::new(false), Cell::new(members));
    let numbers = numbers.map(|numbers| RefCell::new(numbers.into_iter()));
    let reading = Reading { keep, fault, control, left, numbers, skims };
    let mut source = serde_json::Deserializer::from_str(text);
    let seed = Seed { depth: 0, kept: true, reading: &reading };
    let value = seed.deserialize(&mut source).map_err(|_| reading.fault.get())?;
    source.end().map_err(|_| Fault::Syntax)?;
    if reading.control.get() { Err(Fault::ControlInName) } else { Ok(value) }
}

/// What is the same for all of a text.
struct Reading<'s> {
    keep: &'s dyn Fn(usize, &str) -> bool,
    fault: Cell<Fault>,
    /// Has a name had a control character? Said at the end: a name that comes twice is the plainer fault.
    control: Cell<bool>,
    /// How many members may still come.
    left: Cell<usize>,
    /// Every number of the text in the order written, where they are asked for.
    numbers: Option<RefCell<std::vec::IntoIter<Option<Decimal>>>>,
    /// See [`skim`].
    skims: bool,
}

#[derive(Clone, Copy)]
struct Seed<'s> {
    depth: usize,
    kept: bool,
    reading: &'s Reading<'s>,
}

impl Seed<'_> {
    fn inside<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(self.refuse(Fault::TooDeep));
        }
        Ok(Seed { depth: self.depth + 1, ..self })
    }

    // serde's error cannot carry our cause, so it travels beside it.
    fn refuse<E: serde::de::Error>(&self, fault: Fault) -> E {
        self.reading.fault.set(fault);
        E::custom("refused")
    }

    /// The number that is being visited, as it is written.
    fn written(&self) -> Option<Decimal> {
        self.reading.numbers.as_ref().and_then(|numbers| numbers.borrow_mut().next()).flatten()
    }

    fn integer<'a>(self, value: Result<i64, impl Sized>) -> Value<'a> {
        let written = self.written();
        match value {
            // Where exactness is asked for, an integer of many digits is none that readers agree on.
            Ok(value) if self.reading.numbers.is_none() || written.is_some() => self.keep(|| Value::Integer(value)),
            _ => self.keep(|| Value::Number(written)),
        }
    }

    fn keep<'a>(&self, value: impl FnOnce() -> Value<'a>) -> Value<'a> {
        if self.kept { value() } else { Value::Skipped }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Value<'de>, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value<'de>, E> {
        Ok(self.integer(Ok::<_, ()>(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value<'de>, E> {
        Ok(self.integer(i64::try_from(value)))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value<'de>, E> {
        let written = self.written();
        Ok(self.keep(|| Value::Number(written)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value<'de>, E> {
        Ok(self.keep(|| Value::Text(Cow::Owned(value.to_owned()))))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Value<'de>, E> {
        Ok(self.keep(|| Value::Text(Cow::Borrowed(value))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value<'de>, A::Error> {
        let inside = self.inside()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inside)? {
            if self.kept {
                list.push(item);
            }
        }
        Ok(self.keep(|| Value::List(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value<'de>, A::Error> {
        let inside = self.inside()?;
        let mut names = Names::default();
        let mut map = Vec::new();
        while let Some(name) = members.next_key_seed(NameSeed)? {
            match self.reading.left.get().checked_sub(1) {
                Some(left) => self.reading.left.set(left),
                None => return Err(self.refuse(Fault::TooManyMembers)),
            }
            let kept = self.kept && (self.reading.keep)(self.depth, &name);
            if !self.reading.skims && !names.insert(name.clone()) {
                return Err(self.refuse(Fault::DuplicateKey));
            }
            if !self.reading.skims && has_control(&name) {
                self.reading.control.set(true);
            }
            let value = members.next_value_seed(Seed { kept, ..inside })?;
            if self.kept {
                map.push((name, value));
            }
        }
        Ok(self.keep(|| Value::Map(map)))
    }
}

/// Most names are ASCII, and need no decoding.
fn has_control(name: &str) -> bool {
    name.bytes().any(|byte| !(b' '..=b'~').contains(&byte)) && name.chars().any(char::is_control)
}

struct NameSeed;

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Cow<'de, str>, D::Error> {
        source.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for NameSeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_str<E>(self, value: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(value.to_owned()))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(value))
    }
}

/// The member names seen in one object. Most objects are small, where a scan beats a set.
#[derive(Default)]
struct Names<'a> {
    few: Vec<Cow<'a, str>>,
    many: BTreeSet<Cow<'a, str>>,
}

impl<'a> Names<'a> {
    /// False when the name was there already.
    fn insert(&mut self, name: Cow<'a, str>) -> bool {
        if self.few.len() < 16 {
            let new = !self.few.contains(&name);
            self.few.push(name);
            return new;
        }
        if self.many.is_empty() {
            self.many.extend(self.few.iter().cloned());
        }
        self.many.insert(name)
    }
}

#[cfg(test)]
mod tests;
