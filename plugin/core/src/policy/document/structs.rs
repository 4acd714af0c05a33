//! A `google.protobuf.Struct`, which Envoy hands over serialized, as the same tree that JSON gives.

use std::borrow::Cow;

use prost::Message as _;
use prost_types::{Struct, value::Kind};

use crate::decimal::Decimal;
use crate::json::Value;

/// `None` when the bytes are no `Struct`, or hold a number that is none (P18: whole numbers stay whole).
pub(crate) fn read(bytes: &[u8]) -> Option<Value<'static>> {
    from_struct(Struct::decode(bytes).ok()?)
}

fn from_struct(tree: Struct) -> Option<Value<'static>> {
    let members = tree.fields.into_iter().map(|(name, value)| Some((Cow::Owned(name), from_value(value)?)));
    members.collect::<Option<_>>().map(Value::Map)
}

fn from_value(value: prost_types::Value) -> Option<Value<'static>> {
    Some(match value.kind? {
        Kind::NullValue(_) => Value::Null,
        Kind::BoolValue(value) => Value::Bool(value),
        Kind::NumberValue(number) if number.fract() == 0.0 && number.abs() < 1e15 => Value::Integer(number as i64),
        // What was written is gone; the shortest text of the double is all there is.
        Kind::NumberValue(number) if number.is_finite() => {
            Value::Number(Decimal::parse(&serde_json::to_string(&number).ok()?))
        }
        Kind::NumberValue(_) => return None,
        Kind::StringValue(text) => Value::Text(Cow::Owned(text)),
        Kind::ListValue(list) => Value::List(list.values.into_iter().map(from_value).collect::<Option<_>>()?),
        Kind::StructValue(tree) => from_struct(tree)?,
    })
}
