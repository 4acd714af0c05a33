//! Conditions over a caller (P8, P17): a small closed language with three values, where what cannot be known is neither
//! true nor false.

use crate::decimal::Decimal;
use crate::json::Value;
use crate::policy::client::{self, Origin};
use crate::policy::document::{Entry, Fields, Report, kind, vocabulary};

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
    Claim {
        path: Vec<String>,
        test: Test,
    },
}

/// What is asked of a claim.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Test {
    Equals(Value<'static>),
    In(Vec<Value<'static>>),
    Prefix(String),
    Above(Decimal),
    Below(Decimal),
    Present(bool),
}

/// P17: two readers may see two numbers.
const TOO_MANY_DIGITS: &str = "a number of more than 15 digits";

/// Kleene's three values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Truth {
    True,
    False,
    Unknown,
}

/// Who is asked about.
pub(crate) struct Subject<'s> {
    pub client: Option<&'s str>,
    /// Identity in the peer's verified certificate.
    pub source: Option<&'s str>,
    /// The payload of the verified token.
    pub claims: &'s Value<'s>,
}

impl Condition {
    pub(crate) fn holds(&self, subject: &Subject<'_>) -> Truth {
        match self {
            Condition::All(list) => list.iter().fold(Truth::True, |truth, next| truth.and(next.holds(subject))),
            Condition::Any(list) => list.iter().fold(Truth::True.not(), |truth, next| truth.or(next.holds(subject))),
            Condition::Not(inner) => inner.holds(subject).not(),
            Condition::Client(list) => subject.client.map_or(Truth::Unknown, |client| client::among(list, client)),
            Condition::ClientOrigin(list) => {
                subject.client.and_then(Origin::of).map_or(Truth::Unknown, |origin| list.contains(&origin).into())
            }
            Condition::Source(list) => {
                subject.source.map_or(Truth::Unknown, |source| list.iter().any(|entry| entry == source).into())
            }
            Condition::Claim { path, test } => match find(subject.claims, path) {
                Ok(value) => test.holds(value),
                Err(Ambiguous) => Truth::Unknown,
            },
        }
    }

    /// Does anything in it ask for the peer's certificate?
    pub(crate) fn asks_source(&self) -> bool {
        match self {
            Condition::All(list) | Condition::Any(list) => list.iter().any(Condition::asks_source),
            Condition::Not(inner) => inner.asks_source(),
            Condition::Source(_) => true,
            Condition::Client(_) | Condition::ClientOrigin(_) | Condition::Claim { .. } => false,
        }
    }

    pub(crate) fn read(entry: &Entry<'_>, report: &mut Report) -> Option<Condition> {
        // A test beside anything but a claim would not be asked.
        let tests = if entry.value.get("claim").is_some() { vocabulary::TEST } else { &[] };
        let fields = entry.fields(&[vocabulary::CONDITION, tests], report)?;
        let mut found = Vec::new();
        for (name, join) in [("all", Condition::All as fn(Vec<Condition>) -> Condition), ("any", Condition::Any)] {
            if let Some(list) = fields.take(name) {
                let items = list.list(report).unwrap_or_default();
                nothing_in_it(&list, &items, report);
                found.push(join(items.iter().filter_map(|item| Condition::read(item, report)).collect()));
            }
        }
        if let Some(inner) = fields.take("not") {
            found.extend(Condition::read(&inner, report).map(|inner| Condition::Not(Box::new(inner))));
        }
        if let Some(list) = fields.take("client") {
            let clients = texts(&list, report);
            clients.iter().for_each(|client| client::check(client, &list, report));
            found.push(Condition::Client(clients));
        }
        if let Some(entry) = fields.take("client_origin") {
            let items =
                if matches!(entry.value, Value::List(_)) { entry.list(report) } else { Some(vec![entry.clone()]) };
            let items = items.unwrap_or_default();
            nothing_in_it(&entry, &items, report);
            found.push(Condition::ClientOrigin(items.iter().filter_map(|item| Origin::read(item, report)).collect()));
        }
        if let Some(list) = fields.take("source") {
            found.push(Condition::Source(texts(&list, report)));
        }
        if let Some(path) = fields.take("claim") {
            found.extend(claim(&path, &fields, report));
        }
        let path = fields.path.clone();
        fields.finish(report);
        if found.len() == 1 {
            return found.pop();
        }
        if found.len() > 1 {
            report.fault(&path, "several conditions in one", "put them into a list: `all: [ ... ]` or `any: [ ... ]`");
        } else if report.faults.iter().all(|fault| !fault.path.starts_with(&path)) {
            report.fault(
                &path,
                "no condition",
                "write one of `client`, `client_origin`, `claim`, `source`, `all`, `any`, `not`",
            );
        }
        None
    }
}

impl Test {
    /// Missing, null and another type are unknown, to everything but `present`.
    fn holds(&self, value: Option<&Value<'_>>) -> Truth {
        let value = value.filter(|value| **value != Value::Null);
        if let Test::Present(wanted) = self {
            return (value.is_some() == *wanted).into();
        }
        let Some(value) = value else { return Truth::Unknown };
        // A list holds when one of its items does: roles and groups are lists.
        if let Value::List(items) = value {
            return items.iter().fold(Truth::False, |truth, item| {
                // A list in a list is another type: unknown, unless another item decides.
                let item = if matches!(item, Value::List(_)) { Truth::Unknown } else { self.holds(Some(item)) };
                truth.or(item)
            });
        }
        match self {
            Test::Equals(wanted) => same(wanted, value),
            Test::In(list) => list.iter().fold(Truth::False, |truth, wanted| truth.or(same(wanted, value))),
            Test::Prefix(prefix) => {
                value.text().map_or(Truth::Unknown, |text| text.starts_with(prefix.as_str()).into())
            }
            Test::Above(bound) => number(value).map_or(Truth::Unknown, |number| (number > *bound).into()),
            Test::Below(bound) => number(value).map_or(Truth::Unknown, |number| (number < *bound).into()),
            Test::Present(_) => Truth::Unknown,
        }
    }
}

impl Truth {
    fn and(self, other: Truth) -> Truth {
        match (self, other) {
            (Truth::False, _) | (_, Truth::False) => Truth::False,
            (Truth::True, Truth::True) => Truth::True,
            _ => Truth::Unknown,
        }
    }

    fn or(self, other: Truth) -> Truth {
        self.not().and(other.not()).not()
    }

    fn not(self) -> Truth {
        match self {
            Truth::True => Truth::False,
            Truth::False => Truth::True,
            Truth::Unknown => Truth::Unknown,
        }
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Truth {
        if value { Truth::True } else { Truth::False }
    }
}

/// Strings byte for byte, numbers by value; different types cannot be compared.
fn same(wanted: &Value<'_>, value: &Value<'_>) -> Truth {
    match (wanted, value) {
        (Value::Text(a), Value::Text(b)) => (a == b).into(),
        (Value::Bool(a), Value::Bool(b)) => (a == b).into(),
        (a, b) => match (number(a), number(b)) {
            (Some(a), Some(b)) => (a == b).into(),
            _ => Truth::Unknown,
        },
    }
}

/// P17: as the decimal it is; unknown with more digits than readers agree on.
fn number(value: &Value<'_>) -> Option<Decimal> {
    match value {
        Value::Integer(number) => Decimal::parse(&number.to_string()),
        Value::Number(number) => *number,
        _ => None,
    }
}

/// Why a path leads to nothing that can be judged.
struct Ambiguous;

/// P17: paths go through objects. A list on the way, and a member that differs from the path by case only, alone or beside the right
/// one, make it unknown; below anything else there is nothing.
fn find<'v>(root: &'v Value<'v>, path: &[String]) -> Result<Option<&'v Value<'v>>, Ambiguous> {
    let mut value = root;
    for name in path {
        let members = match value {
            Value::Map(members) => members,
            Value::List(_) => return Err(Ambiguous),
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

fn claim(path: &Entry<'_>, fields: &Fields<'_>, report: &mut Report) -> Option<Condition> {
    let path = claim_path(path.text(report)?);
    let mut tests = Vec::new();
    if let Some(entry) = fields.take("equals") {
        // P17: a template, which would be read as a text.
        if entry.value.text().is_some_and(|text| text.contains(['{', '}'])) {
            entry.fault(report, "a brace in `equals`", "`{name}` is not part of this version; for a brace write `in`");
        }
        tests.extend(scalar(&entry, report).map(Test::Equals));
    }
    if let Some(entry) = fields.take("in") {
        let items = entry.list(report).unwrap_or_default();
        nothing_in_it(&entry, &items, report);
        tests.push(Test::In(items.iter().filter_map(|item| scalar(item, report)).collect()));
    }
    if let Some(entry) = fields.take("prefix") {
        tests.extend(entry.text(report).map(|text| Test::Prefix(text.to_owned())));
    }
    for (name, test) in [("above", Test::Above as fn(Decimal) -> Test), ("below", Test::Below)] {
        if let Some(entry) = fields.take(name) {
            match number(entry.value) {
                Some(number) => tests.push(test(number)),
                None if matches!(entry.value, Value::Integer(_) | Value::Number(_)) => {
                    entry.fault(report, TOO_MANY_DIGITS, "write at most 15 digits");
                }
                None => {
                    entry.fault(report, format!("{} where a number is expected", kind(entry.value)), "write a number")
                }
            }
        }
    }
    if let Some(entry) = fields.take("present") {
        match entry.value {
            Value::Bool(wanted) => tests.push(Test::Present(*wanted)),
            _ => entry.fault(report, "neither true nor false", "write `true` or `false`"),
        }
    }
    let (Some(test), true) = (tests.pop(), tests.is_empty()) else {
        // A test that is there and wrong has its own fault.
        if report.faults.iter().all(|fault| !fault.path.starts_with(&fields.path)) {
            let help = "write exactly one of `equals`, `in`, `prefix`, `above`, `below`, `present` beside `claim`";
            report.fault(&fields.path, "a claim without one test", help);
        }
        return None;
    };
    Some(Condition::Claim { path, test })
}

/// `a.b` or `/a/b` (RFC 6901).
fn claim_path(text: &str) -> Vec<String> {
    match text.strip_prefix('/') {
        Some(pointer) => pointer.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect(),
        None => text.split('.').map(str::to_owned).collect(),
    }
}

fn scalar(entry: &Entry<'_>, report: &mut Report) -> Option<Value<'static>> {
    match entry.value {
        Value::Text(text) => Some(Value::Text(text.to_string().into())),
        Value::Bool(value) => Some(Value::Bool(*value)),
        Value::Integer(_) | Value::Number(_) if number(entry.value).is_none() => {
            entry.fault(
                report,
                TOO_MANY_DIGITS,
                "claims of that length are compared as texts: let the issuer write one",
            );
            None
        }
        Value::Integer(value) => Some(Value::Integer(*value)),
        Value::Number(value) => Some(Value::Number(*value)),
        other => {
            entry.fault(
                report,
                format!("{} where a single value is expected", kind(other)),
                "write a text or a number",
            );
            None
        }
    }
}

/// An empty list holds for nobody, and under `not` for everybody.
fn nothing_in_it(entry: &Entry<'_>, items: &[Entry<'_>], report: &mut Report) {
    if items.is_empty() && matches!(entry.value, Value::List(_)) {
        entry.fault(report, "nothing in it", "list at least one; a condition that nobody meets is better a `deny`");
    }
}

fn texts(entry: &Entry<'_>, report: &mut Report) -> Vec<String> {
    let items = match entry.value {
        Value::List(_) => entry.list(report).unwrap_or_default(),
        _ => vec![entry.clone()],
    };
    nothing_in_it(entry, &items, report);
    let mut texts = Vec::new();
    for item in items {
        let Some(text) = item.text(report) else { continue };
        texts.push(text.to_owned());
    }
    texts
}
