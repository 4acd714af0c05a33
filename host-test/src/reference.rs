//! What a policy may say, once: the JSON Schema that editors complete from, and `policies/reference.md`, both come from the
//! types below. They are never read with; a test holds them to what the filter's own reader knows.
#![expect(dead_code, reason = "these types are only described")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Write as _, stdout};
use std::process::ExitCode;

use anyhow::Result;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use crate::{scenario, wire};

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
}

/// Prints it.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    match arguments.what {
        What::Policy => writeln!(stdout(), "{}", pretty(&policy_schema())?)?,
        What::Scenarios => writeln!(stdout(), "{}", pretty(&scenario_schema())?)?,
        What::Reference => write!(stdout(), "{}", reference()?)?,
        What::Wire => write!(stdout(), "{}", wire::wire())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// JSON Schema of a policy.
pub fn policy_schema() -> Schema {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Policy>()
}

/// JSON Schema of a file of scenarios.
pub fn scenario_schema() -> Schema {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<scenario::File>()
}

/// As it is kept in `policies/schema/`.
pub fn pretty(schema: &Schema) -> Result<String> {
    Ok(serde_json::to_string_pretty(schema)?)
}

/// A policy. One server may stand at the top, with its fields, in place of `servers`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Policy {
    /// The version of this language: 1.
    #[schemars(range(min = 1, max = 1))]
    version: u8,
    /// Whose tokens are accepted, by the `iss` of their tokens.
    issuers: BTreeMap<String, Issuer>,
    /// Who exchanges tokens (RFC 8693) and takes them back (RFC 7009).
    token_service: Option<TokenService>,
    /// Which scope implies which. It applies to what callers hold, never to what is asked of them.
    scopes: Option<BTreeMap<String, Hierarchy>>,
    /// Terms that rules share, by name.
    tiers: Option<BTreeMap<String, Terms>>,
    /// How a request finds its server where the route names none. Otherwise `host` with one server, `metadata` with several.
    select: Option<Select>,
    /// The servers, by name.
    servers: Option<BTreeMap<String, Server>>,
    /// `enforce`, or `shadow`: the policy's verdicts are recorded and not enforced.
    mode: Option<Mode>,
    /// The date at which `shadow` ends, RFC 3339. Required with it.
    until: Option<String>,
    /// What is bounded.
    limits: Option<Limits>,
    #[schemars(flatten)]
    server: Option<OneServer>,
}

/// How a request finds its server where the route names none (`filter_metadata["stepup"].server`).
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum Select {
    /// Not at all: 404.
    Metadata,
    /// By host and path of `resource`. Routes must split by the same host.
    Host,
    /// By the path alone.
    Path,
}

/// An issuer of access tokens.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Issuer {
    /// Where its keys are fetched. Or `keys`.
    jwks: Option<Jwks>,
    /// Its keys, written out: a JWKS (RFC 7517). Or `jwks`.
    keys: Option<Value>,
    /// What it signs with; asymmetric only.
    algorithms: Vec<Algorithm>,
    /// `at+jwt` (RFC 9068), or `jwt` for issuers that type their access tokens so, or not at all. Otherwise `at+jwt`.
    token_type: Option<TokenType>,
    /// Tokens whose `exp - iat` is longer are refused.
    max_lifetime: Option<Duration>,
    /// By how much clocks may differ. Otherwise 30s.
    leeway: Option<Duration>,
}

/// A key document over HTTP.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Jwks {
    /// The proxy's cluster for it. Another one than the token endpoint's: keys need no credential.
    cluster: String,
    /// The issuer's `jwks_uri`.
    url: String,
    /// How often it is fetched. Otherwise 5m.
    refresh: Option<Duration>,
    /// How long keys are used that cannot be fetched again. Otherwise 1h.
    stale: Option<Duration>,
}

#[derive(JsonSchema)]
enum Algorithm {
    #[schemars(rename = "ES256")]
    Es256,
    #[schemars(rename = "ES384")]
    Es384,
    #[schemars(rename = "RS256")]
    Rs256,
    #[schemars(rename = "PS256")]
    Ps256,
    #[schemars(rename = "EdDSA")]
    EdDsa,
}

#[derive(JsonSchema)]
enum TokenType {
    #[schemars(rename = "at+jwt")]
    AtJwt,
    #[schemars(rename = "jwt")]
    Jwt,
}

/// The token service.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct TokenService {
    /// The issuer of the tokens it gives, one of `issuers`.
    issuer: String,
    /// Further issuers whose tokens may be sent to it. Otherwise only `issuer`.
    subject_issuers: Option<Vec<String>>,
    /// The proxy's cluster for it.
    cluster: String,
    /// The URL of its token endpoint.
    token: String,
    /// The URL of its revocation endpoint.
    revoke: String,
    /// Who we are to it.
    client: Client,
    /// `true`: it is told what the token is for (RFC 9396: method, tool, client, SHA-256 of the arguments).
    context: Option<bool>,
    /// How long a caller waits for it. Otherwise 2s.
    timeout: Option<Duration>,
    /// How long its answer is awaited after that, to take back what it mints. Otherwise 30s.
    late: Option<Duration>,
    /// How long a token stays alive after a stream of an older revision broke off without a result. Otherwise 0s.
    linger: Option<Duration>,
}

/// The filter as a client of the token service: one of `auth`, `secret_env` and `private_key_env`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Client {
    /// `client_id`.
    id: String,
    /// `cluster`: the proxy authenticates, by mTLS or by credentials that it injects.
    auth: Option<Auth>,
    /// The environment variable with the client's secret.
    secret_env: Option<String>,
    /// The environment variable with a private JWK (ES256), for `private_key_jwt`.
    private_key_env: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum Auth {
    Cluster,
}

/// What a scope stands for beside itself.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Hierarchy {
    /// The scopes that who has it has too.
    implies: Option<Scopes>,
}

/// An MCP server.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Server {
    /// Whose tokens count here, in the order advertised. With several issuers and servers it must be said.
    issuers: Option<Vec<String>>,
    #[schemars(flatten)]
    one: OneServer,
}

/// An MCP server.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct OneServer {
    /// The URL that clients use: audience of their tokens, and the path that is forwarded.
    resource: String,
    /// Scopes that every request needs.
    baseline: Vec<String>,
    /// Exact name, `prefix*` or `*`: the most specific rule applies, alone. No match is refused.
    tools: BTreeMap<String, Rule>,
    /// Further paths that are forwarded.
    paths: Option<Vec<String>>,
    /// Origins of browser clients.
    origins: Option<Vec<String>>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum Rule {
    /// Nobody may.
    Denied(Deny),
    Terms(Box<ToolTerms>),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum Deny {
    Deny,
}

/// A tool's rule: terms of its own, and those of a tier.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct ToolTerms {
    /// The tier whose terms are added.
    tier: Option<String>,
    /// `true`: the rule may ask less than a less specific one.
    allow_weaker: Option<bool>,
    #[schemars(flatten)]
    terms: Terms,
}

/// What a call needs.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Terms {
    /// Scopes beyond the baseline, one or a list; `[]` for none. With `step_up: exchange`, those to be obtained.
    scope: Option<Scopes>,
    /// How missing strength is obtained. Otherwise `challenge`.
    step_up: Option<StepUp>,
    /// The most that the caller's token may live as a whole (`exp - iat`).
    max_lifetime: Option<Duration>,
    /// The most that may have passed since the user logged in (`auth_time`).
    max_age: Option<Duration>,
    /// `true`: nobody may.
    deny: Option<bool>,
    /// Exchange: the audience of the token. Otherwise `resource`.
    audience: Option<String>,
    /// Exchange: the most that the token may live. Otherwise 60s.
    ttl: Option<Duration>,
    /// Exchange: `refuse` turns callers away whose own token has one of the scopes. Otherwise `ignore`.
    standing: Option<Standing>,
    /// Exchange: `challenge` answers a token service that wants the user.
    fallback: Option<Fallback>,
    /// Exchange: who may be elevated at all. What cannot be known is no.
    may_elevate: Option<Condition>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum StepUp {
    None,
    Challenge,
    Exchange,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum Standing {
    Ignore,
    Refuse,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum Fallback {
    Challenge,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum Mode {
    Enforce,
    Shadow,
}

/// A condition over the caller: one of `client`, `source`, `claim` (with one test beside it), `all`, `any` and `not`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Condition {
    /// Client ids.
    client: Option<Scopes>,
    /// Identities in the caller's certificate.
    source: Option<Scopes>,
    /// The path of a claim.
    claim: Option<String>,
    /// The claim is this.
    equals: Option<Value>,
    /// The claim is one of these.
    r#in: Option<Vec<Value>>,
    /// The claim begins so.
    prefix: Option<String>,
    /// The claim is a number above this.
    above: Option<f64>,
    /// The claim is a number below this.
    below: Option<f64>,
    /// The claim is there, or is not.
    present: Option<bool>,
    /// All of them.
    all: Option<Vec<Condition>>,
    /// One of them at least.
    any: Option<Vec<Condition>>,
    /// Not this one.
    not: Option<Box<Condition>>,
}

/// What is bounded.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Limits {
    /// Bytes of a request body that are looked at. Otherwise 1MiB.
    request_body: Option<String>,
    /// How long a body may take. Otherwise 10s.
    body_wait: Option<Duration>,
    /// How long a request waits for keys. Otherwise 2s.
    keys_wait: Option<Duration>,
    /// How long a verified token is not verified again. Otherwise 5m.
    verified_cache: Option<Duration>,
    /// How long a request waits for an exchange. Otherwise 5s.
    elevation_wait: Option<Duration>,
    /// The longest `ttl` of this policy. Otherwise 5m.
    max_ttl: Option<Duration>,
    /// Exchanges under way in a VM. Otherwise 64.
    exchanges: Option<u32>,
    /// Of one caller's token. Otherwise 4.
    exchanges_per_caller: Option<u32>,
    /// Exchanges of one caller's token in a minute. Otherwise 60.
    exchange_rate: Option<u32>,
}

/// One or a list.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Scopes {
    One(String),
    List(Vec<String>),
}

/// A duration: `30s`, `15m`, `1h` or `7d`.
#[derive(JsonSchema)]
#[schemars(transparent)]
struct Duration(#[schemars(regex(pattern = "^[0-9]+[smhd]$"))] String);

const HEAD: &str = "\
# Reference

Generated by `stepup schema reference`; do not edit. The same as JSON Schema: [policy](schema/policy.json),
[scenarios](schema/scenarios.json). What each word means, exactly: [the policy language](../docs/policy-language.md). Answers, audit
record and metrics: [on the wire](../docs/wire.md).
";

/// `policies/reference.md`
pub fn reference() -> Result<String> {
    let schema = serde_json::to_value(policy_schema())?;
    let mut text = HEAD.to_owned();
    section(&mut text, "Policy", &schema)?;
    let definitions = schema.get("$defs").and_then(Value::as_object);
    for (name, definition) in definitions.into_iter().flatten() {
        if definition.get("properties").is_some() {
            section(&mut text, name, definition)?;
        }
    }
    Ok(text)
}

fn section(text: &mut String, name: &str, definition: &Value) -> Result<()> {
    let words = |value: &Value| {
        let text = value.get("description").and_then(Value::as_str).unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    writeln!(text, "\n## {name}\n\n{}\n\n| field | meaning |\n| --- | --- |", words(definition))?;
    let required: Vec<&str> =
        definition.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    for (field, value) in definition.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let mark = if required.contains(&field.as_str()) { " (required)" } else { "" };
        writeln!(text, "| `{field}`{mark} | {} |", words(value))?;
    }
    Ok(())
}
