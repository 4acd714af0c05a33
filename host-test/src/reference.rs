//! What a policy may say, for people and for editors: `policies/reference.md` and JSON Schema, both from the vocabulary that the
//! filter reads policies with. And by the same command what else is generated.

use std::collections::BTreeMap;
use std::io::{Write as _, stdout};
use std::process::ExitCode;

use anyhow::Result;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde_json::{Value, json};
use step_up_core::{MAPS, Map, Shape, Word};

use crate::{scenario, telemetry, wire};

/// What the user asked for.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Arguments {
    /// Of what.
    #[arg(value_enum, default_value_t = What::Policy)]
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// A policy.
    Policy,
    /// A file of scenarios.
    Scenarios,
    /// The reference, as Markdown.
    Reference,
    /// Answers, audit record and metrics, as Markdown.
    Wire,
    /// An audit record.
    Audit,
    /// The dashboard of Grafana.
    Dashboard,
    /// What takes the labels of metrics out of their names, for Prometheus.
    Relabel,
}

/// Prints it.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    match arguments.what {
        What::Policy => writeln!(stdout(), "{}", pretty(&policy_schema())?)?,
        What::Scenarios => writeln!(stdout(), "{}", pretty(&scenario_schema())?)?,
        What::Reference => write!(stdout(), "{}", reference())?,
        What::Wire => write!(stdout(), "{}", wire::wire())?,
        What::Audit => writeln!(stdout(), "{}", pretty(&wire::schema())?)?,
        What::Dashboard => writeln!(stdout(), "{}", pretty(&telemetry::dashboard())?)?,
        What::Relabel => write!(stdout(), "{}", telemetry::relabel())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// JSON Schema of a policy.
pub fn policy_schema() -> Value {
    let mut definitions: BTreeMap<&str, Value> = shown().map(|map| (map.name, described(map))).collect();
    let mut root = definitions.remove("Policy").unwrap_or_default();
    definitions
        .insert("Rule", json!({ "anyOf": [{ "const": "deny", "description": "Nobody may." }, at("ToolTerms")] }));
    definitions.insert(
        "Duration",
        json!({ "description": "A duration: `30s`, `15m`, `1h` or `7d`.", "type": "string", "pattern": "^[0-9]+[smhd]$" }),
    );
    definitions.insert("Scopes", json!({ "description": "One or a list.", "anyOf": [{ "type": "string" }, texts()] }));
    let need = || json!({ "anyOf": [{ "type": "string" }, at("Group")] });
    definitions.insert(
        "Needs",
        json!({ "description": "One or a list.", "anyOf": [need(), { "type": "array", "items": need() }] }),
    );
    set(&mut root, "$schema", json!("https://json-schema.org/draft/2020-12/schema"));
    set(&mut root, "title", json!("Policy"));
    set(&mut root, "$defs", json!(definitions));
    root
}

fn set(schema: &mut Value, name: &str, value: Value) {
    if let Some(members) = schema.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

/// The maps that stand together: the words of the second may stand beside those of the first.
const TOGETHER: [(&str, &str); 8] = [
    ("Policy", "Server"),
    ("Server", "ListedServer"),
    ("Terms", "ServiceTerms"),
    ("ToolTerms", "Terms"),
    ("ToolTerms", "ServiceTerms"),
    ("Raise", "Terms"),
    ("Condition", "Test"),
    ("Items", "Test"),
];

/// Those that are described by themselves.
fn shown() -> impl Iterator<Item = &'static Map> {
    MAPS.iter().filter(|map| !["ListedServer", "ServiceTerms", "Test"].contains(&map.name))
}

/// The words that may stand in such a map, and whether they must.
fn words(map: &'static Map) -> impl Iterator<Item = (&'static Word, bool)> {
    let is_beside = |other: &str| TOGETHER.contains(&(map.name, other));
    let beside = MAPS.iter().filter(move |other| is_beside(other.name)).flat_map(|map| map.words);
    map.words.iter().map(|word| (word, word.required)).chain(beside.map(|word| (word, false)))
}

fn described(map: &'static Map) -> Value {
    let properties: BTreeMap<&str, Value> = words(map)
        .map(|(word, _)| {
            let mut schema = shape(word.shape);
            set(&mut schema, "description", json!(word.doc));
            (word.name, schema)
        })
        .collect();
    let mut schema = json!({
        "description": map.doc, "type": "object", "properties": properties, "additionalProperties": false,
    });
    let required: Vec<&str> = words(map).filter(|(_, required)| *required).map(|(word, _)| word.name).collect();
    if !required.is_empty() {
        set(&mut schema, "required", json!(required));
    }
    schema
}

fn shape(shape: Shape) -> Value {
    let list = |items: Value| json!({ "type": "array", "items": items });
    match shape {
        Shape::Any => json!({}),
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::Choice(words) => json!({ "enum": words }),
        Shape::Choices(words) => list(json!({ "enum": words })),
        Shape::Count => json!({ "type": "integer", "minimum": 1, "maximum": 100_000 }),
        Shape::Date | Shape::Size | Shape::Text => json!({ "type": "string" }),
        Shape::Duration => at("Duration"),
        // `deny: "true"` is read, too; an editor need not propose it.
        Shape::Flag => json!({ "const": true }),
        Shape::List => json!({ "type": "array" }),
        Shape::Map(name) => at(name),
        Shape::Maps(name) => list(at(name)),
        Shape::Named(name) => json!({ "type": "object", "additionalProperties": at(name) }),
        Shape::Needs => at("Needs"),
        Shape::Number => json!({ "type": "number" }),
        Shape::Scopes => at("Scopes"),
        Shape::Texts => texts(),
        Shape::Version => json!({ "const": 1 }),
    }
}

fn at(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn texts() -> Value {
    json!({ "type": "array", "items": { "type": "string" } })
}

/// JSON Schema of a file of scenarios.
pub fn scenario_schema() -> schemars::Schema {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<scenario::File>()
}

/// As it is kept in `policies/schema/`.
pub fn pretty(schema: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string_pretty(schema)?)
}

const HEAD: &str = "\
# Reference

Generated by `stepup schema reference`; do not edit. The same as JSON Schema: [policy](schema/policy.json),
[scenarios](schema/scenarios.json). What each word means, exactly: [the policy language](../docs/policy-language.md). Answers, audit
record and metrics: [on the wire](../docs/wire.md).
";

/// `policies/reference.md`
pub fn reference() -> String {
    shown().fold(HEAD.to_owned(), |text, map| text + &section(map))
}

fn section(map: &'static Map) -> String {
    let mut rows: Vec<String> = words(map)
        .map(|(word, required)| {
            format!("| `{}`{} | {} |\n", word.name, if required { " (required)" } else { "" }, word.doc)
        })
        .collect();
    rows.sort();
    format!("\n## {}\n\n{}\n\n| field | meaning |\n| --- | --- |\n{}", map.name, map.doc, rows.concat())
}
