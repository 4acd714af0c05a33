//! The policy language, point by point (P1 to P20), by what a gate does with it.

mod document;
mod freshness;
mod matching;
mod methods;
mod properties;
mod requests;
mod required;
mod scopes;
mod step_up;
mod tiers;

use proptest::prelude::*;
use prost::Message as _;
use serde_json::{Value as Json, json};
use step_up_core::{Environment, Millis, Policy};

use crate::support;
use crate::support::*;

/// The pattern of the rule that decides about this name, `None` if it is refused without one.
fn rule_for(document: &Json, tool: &str) -> Option<String> {
    judge(document, &token(BASELINE), tool).rule().map(str::to_owned)
}

fn open() -> Json {
    json!({ "scope": [] })
}

fn needs(scope: &str) -> Json {
    json!({ "scope": scope })
}

fn tiered(tier: Json, rule: Json) -> Json {
    with(document(json!({ "get": rule })), "/tiers", json!({ "t": tier }))
}

fn proto(value: &Json) -> prost_types::Value {
    use prost_types::value::Kind;
    let kind = match value {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(*value),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap()),
        Json::String(text) => Kind::StringValue(text.clone()),
        Json::Array(items) => Kind::ListValue(prost_types::ListValue { values: items.iter().map(proto).collect() }),
        Json::Object(_) => Kind::StructValue(proto_struct(value)),
    };
    prost_types::Value { kind: Some(kind) }
}

fn proto_struct(value: &Json) -> prost_types::Struct {
    let members = value.as_object().unwrap();
    prost_types::Struct { fields: members.iter().map(|(name, value)| (name.clone(), proto(value))).collect() }
}
