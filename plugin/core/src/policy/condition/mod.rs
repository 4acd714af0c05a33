//! Conditions (P17): a small closed language with three values, where what cannot be known is neither true nor false.

mod host;
mod read;
mod test;
mod truth;
mod within;

use crate::json::Value;
use crate::policy::client::{self, Origin};
use crate::policy::requirement::is_scopable;

pub(crate) use host::Host;
pub(crate) use read::Allowed;
pub(crate) use test::Test;
pub(crate) use truth::Truth;

/// A condition as written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    /// The verified `client_id` is one of these.
    Client(Vec<String>),
    /// It is a metadata URL of one of these (P14).
    ClientOrigin(Vec<Origin>),
    /// The peer's certificate names one of these.
    Source(Vec<String>),
    /// What stands at the path passes the test.
    Member(Root, Vec<String>, Test),
    /// The argument at the path is a list of which each item passes it.
    Every(Vec<String>, Test),
    /// At least one does.
    Some(Vec<String>, Test),
}

/// Where a path begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    Claim,
    /// What the operation is called with.
    Argument,
    /// `_meta` of its params, which the caller writes as it likes.
    Meta,
}

/// What of a request conditions look at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Given<'s> {
    Nothing,
    Known(&'s Value<'s>),
    /// P16: whatever there could be.
    Any,
}

/// Who is asked about, and what with.
pub(crate) struct Subject<'s> {
    pub client: Option<&'s str>,
    /// Identity in the peer's verified certificate.
    pub source: Option<&'s str>,
    /// The payload of the verified token.
    pub claims: &'s Value<'s>,
    /// The tool or prompt that is called.
    pub name: Option<&'s str>,
    pub arguments: Given<'s>,
    pub meta: Given<'s>,
}

impl Condition {
    /// What it is of this subject, of all that is possible.
    pub(crate) fn truth(&self, subject: &Subject<'_>) -> Truth {
        match self {
            Condition::All(list) => list.iter().fold(Truth::TRUE, |truth, next| truth.and(next.truth(subject))),
            Condition::Any(list) => list.iter().fold(Truth::FALSE, |truth, next| truth.or(next.truth(subject))),
            Condition::Not(inner) => inner.truth(subject).not(),
            Condition::Client(list) => subject.client.map_or(Truth::UNKNOWN, |client| client::among(list, client)),
            Condition::ClientOrigin(list) => {
                subject.client.and_then(Origin::of).map_or(Truth::UNKNOWN, |origin| list.contains(&origin).into())
            }
            Condition::Source(list) => {
                subject.source.map_or(Truth::UNKNOWN, |source| list.iter().any(|entry| entry == source).into())
            }
            Condition::Member(root, path, test) => {
                subject.at(*root, path, |value| test.of_member(value, *root == Root::Claim, subject.called()))
            }
            Condition::Every(path, test) => subject.items(path, test, |items| items.fold(Truth::TRUE, Truth::and)),
            Condition::Some(path, test) => subject.items(path, test, |items| items.fold(Truth::FALSE, Truth::or)),
        }
    }

    /// Does anything in it ask for the peer's certificate?
    pub(crate) fn asks_source(&self) -> bool {
        match self {
            Condition::All(list) | Condition::Any(list) => list.iter().any(Condition::asks_source),
            Condition::Not(inner) => inner.asks_source(),
            Condition::Source(_) => true,
            _ => false,
        }
    }

    /// Every path into the request that it asks about, and whether as a number.
    pub(crate) fn paths<'c>(&'c self, found: &mut Vec<(Root, &'c [String], bool)>) {
        match self {
            Condition::All(list) | Condition::Any(list) => list.iter().for_each(|inner| inner.paths(found)),
            Condition::Not(inner) => inner.paths(found),
            Condition::Member(Root::Claim, ..)
            | Condition::Client(_)
            | Condition::ClientOrigin(_)
            | Condition::Source(_) => {}
            Condition::Member(root, path, test) => found.push((*root, path, test.is_numeric())),
            Condition::Every(path, test) | Condition::Some(path, test) => {
                found.push((Root::Argument, path, test.is_numeric()));
            }
        }
    }
}

impl<'s> Subject<'s> {
    /// The name that stands for `{name}`.
    fn called(&self) -> Option<&'s str> {
        self.name.filter(|name| is_scopable(name))
    }

    fn at(&self, root: Root, path: &[String], judge: impl Fn(Option<&Value<'_>>) -> Truth) -> Truth {
        let given = match root {
            Root::Claim => Given::Known(self.claims),
            Root::Argument => self.arguments,
            Root::Meta => self.meta,
        };
        match given {
            Given::Any => Truth::ANY,
            Given::Nothing => judge(None),
            Given::Known(value) => find(value, path).map_or(Truth::UNKNOWN, judge),
        }
    }

    fn items(&self, path: &[String], test: &Test, join: fn(&mut dyn Iterator<Item = Truth>) -> Truth) -> Truth {
        self.at(Root::Argument, path, |value| match value {
            Some(Value::List(items)) => join(&mut items.iter().map(|item| test.of_item(Some(item), self.called()))),
            _ => Truth::UNKNOWN,
        })
    }
}

/// Why a path leads to nothing that can be judged.
#[derive(Debug)]
struct Ambiguous;

/// P17: paths go through objects. A list on the way, and a member that differs from the path by case only, alone or beside the right
/// one, make it unknown; below anything else there is nothing.
fn find<'v>(root: &'v Value<'v>, path: &[String]) -> Result<Option<&'v Value<'v>>, Ambiguous> {
    let mut value = root;
    for (depth, name) in path.iter().enumerate() {
        let members = match value {
            Value::Map(members) => members,
            Value::List(_) | Value::Skipped => return Err(Ambiguous),
            // Arguments that are a text: a server may read one in it.
            _ if depth == 0 => return Err(Ambiguous),
            _ => return Ok(None),
        };
        if members.iter().any(|(member, _)| member != name && member.eq_ignore_ascii_case(name)) {
            return Err(Ambiguous);
        }
        match value.get(name) {
            Some(inner) => value = inner,
            None => return Ok(None),
        }
    }
    Ok(Some(value))
}
