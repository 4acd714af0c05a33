//! What is asked of one value (P17).

use crate::decimal::Decimal;
use crate::json::Value;
use crate::policy::condition::Truth;
use crate::policy::condition::host::Host;
use crate::policy::condition::within;

/// What is asked of a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Test {
    Equals(Value<'static>),
    /// A text with the name that is called in it, wherever it is `None`.
    EqualsName(Vec<Option<String>>),
    In(Vec<Value<'static>>),
    Prefix(String),
    Suffix(String),
    Above(Decimal),
    Below(Decimal),
    Present(bool),
    /// A path at or below this folder, which ends in a slash.
    Within(String),
    /// A URL at one of these hosts.
    Host(Vec<Host>),
}

impl Test {
    /// Of what stands at the end of a path. A list of a claim holds when one of its items does: roles and groups are lists. One of the
    /// caller's own choice says nothing.
    pub(super) fn of_member(&self, value: Option<&Value<'_>>, is_claim: bool, name: Option<&str>) -> Truth {
        match value {
            Some(Value::List(items)) if !matches!(self, Test::Present(_)) => match is_claim {
                true => items.iter().fold(Truth::FALSE, |truth, item| truth.or(self.of_item(Some(item), name))),
                false => Truth::UNKNOWN,
            },
            other => self.of_item(other, name),
        }
    }

    /// Missing, null and another type are unknown, to everything but `present`.
    pub(super) fn of_item(&self, value: Option<&Value<'_>>, name: Option<&str>) -> Truth {
        let value = value.filter(|value| **value != Value::Null);
        if let Test::Present(wanted) = self {
            return (value.is_some() == *wanted).into();
        }
        let Some(value) = value else { return Truth::UNKNOWN };
        let of_text = |judge: &dyn Fn(&str) -> Truth| value.text().map_or(Truth::UNKNOWN, judge);
        match self {
            Test::Equals(wanted) => same(wanted, value),
            Test::EqualsName(pieces) => name.map_or(Truth::UNKNOWN, |name| {
                let wanted: String = pieces.iter().map(|piece| piece.as_deref().unwrap_or(name)).collect();
                of_text(&|text| (text == wanted).into())
            }),
            Test::In(list) => list.iter().fold(Truth::FALSE, |truth, wanted| truth.or(same(wanted, value))),
            Test::Prefix(prefix) => of_text(&|text| text.starts_with(prefix.as_str()).into()),
            Test::Suffix(suffix) => of_text(&|text| text.ends_with(suffix.as_str()).into()),
            Test::Above(bound) => number(value).map_or(Truth::UNKNOWN, |number| (number > *bound).into()),
            Test::Below(bound) => number(value).map_or(Truth::UNKNOWN, |number| (number < *bound).into()),
            Test::Within(folder) => of_text(&|text| within::is_within(folder, text)),
            Test::Host(hosts) => of_text(&|text| Host::among(hosts, text)),
            Test::Present(_) => Truth::UNKNOWN,
        }
    }

    /// Does it look at numbers, which then have to be read as they are written?
    pub(super) fn is_numeric(&self) -> bool {
        let is_number = |value: &Value<'_>| matches!(value, Value::Integer(_) | Value::Number(_));
        match self {
            Test::Above(_) | Test::Below(_) => true,
            Test::Equals(wanted) => is_number(wanted),
            Test::In(list) => list.iter().any(is_number),
            _ => false,
        }
    }
}

/// Strings byte for byte, numbers by value; different types cannot be compared.
fn same(wanted: &Value<'_>, value: &Value<'_>) -> Truth {
    match (wanted, value) {
        (Value::Text(a), Value::Text(b)) => (a == b).into(),
        (Value::Bool(a), Value::Bool(b)) => (a == b).into(),
        (a, b) => match (number(a), number(b)) {
            (Some(a), Some(b)) => (a == b).into(),
            _ => Truth::UNKNOWN,
        },
    }
}

/// As the decimal it is; unknown with more digits than readers agree on.
pub(super) fn number(value: &Value<'_>) -> Option<Decimal> {
    match value {
        Value::Integer(number) => Decimal::parse(&number.to_string()),
        Value::Number(number) => *number,
        _ => None,
    }
}
