//! The format of a scenario file. Unknown fields are errors.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};

/// A file of scenarios.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// For all scenarios of the file.
    #[serde(default)]
    pub given: Given,
    /// The scenarios.
    pub scenarios: Vec<Scenario>,
}

/// What is the case before anything happens.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Given {
    /// The policy, relative to the file. Otherwise `../policy.yaml`.
    pub policy: Option<String>,
    /// Members to set in the policy, by JSON Pointer; null removes.
    pub with: BTreeMap<String, Value>,
    /// The time at the start, RFC 3339. Otherwise 2026-11-21T12:00:00Z.
    pub clock: Option<String>,
    /// Environment variables of the filter.
    pub environment: BTreeMap<String, String>,
    /// Tokens by name.
    pub tokens: BTreeMap<String, Token>,
    /// How key documents are answered: one answer, or one after the other, the last again and again.
    pub keys: Option<OneOrMany<Answer>>,
    /// How exchanges are answered.
    pub exchange: Option<OneOrMany<Answer>>,
    /// What an issuer says of a token that it is asked about (RFC 7662). Otherwise that it is active, with the claims of the token, or
    /// good ones where it has none that can be read.
    pub introspection: Option<OneOrMany<Answer>>,
    /// How revocations are answered.
    pub revocation: Option<OneOrMany<Answer>>,
    /// What the upstream answers.
    pub upstream: Option<Upstream>,
    /// How much time passes after the last answer. Otherwise 1 s.
    pub linger: Option<Millis>,
}

impl Given {
    /// What a scenario says itself comes before what its file says.
    pub fn overridden(&self, by: &Given) -> Given {
        fn both<V: Clone>(one: &BTreeMap<String, V>, other: &BTreeMap<String, V>) -> BTreeMap<String, V> {
            let members = one.iter().chain(other);
            members.map(|(name, value)| (name.clone(), value.clone())).collect()
        }
        Given {
            policy: by.policy.clone().or_else(|| self.policy.clone()),
            with: both(&self.with, &by.with),
            clock: by.clock.clone().or_else(|| self.clock.clone()),
            environment: both(&self.environment, &by.environment),
            tokens: both(&self.tokens, &by.tokens),
            keys: by.keys.clone().or_else(|| self.keys.clone()),
            exchange: by.exchange.clone().or_else(|| self.exchange.clone()),
            introspection: by.introspection.clone().or_else(|| self.introspection.clone()),
            revocation: by.revocation.clone().or_else(|| self.revocation.clone()),
            upstream: by.upstream.clone().or_else(|| self.upstream.clone()),
            linger: by.linger.or(self.linger),
        }
    }
}

/// A token, by its claims; a good one of the first issuer unless it says otherwise. `{ now: -60 }` is a time.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Token {
    /// Members of the header to set; null removes.
    pub header: Map<String, Value>,
    /// Signed by a key that the issuer does not have.
    pub forged: bool,
    /// Claims to set; null removes.
    #[serde(flatten)]
    pub claims: Map<String, Value>,
}

/// An answer to one of the filter's calls.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Answer {
    /// How long it takes.
    pub after: Millis,
    /// Another status than 200.
    pub status: Option<u16>,
    /// `{"error": ...}`, with status 400 unless another is given.
    pub error: Option<String>,
    /// The whole body.
    pub body: Option<String>,
    /// Members of the answer to set; null removes.
    pub answer: Map<String, Value>,
    /// Claims of the token in it to set; null removes.
    pub token: Map<String, Value>,
    /// Seconds that the token lives. Otherwise 60.
    pub lifetime: Option<u64>,
    /// The token in it is signed by somebody else.
    pub forged: bool,
    /// The caller's own token comes back.
    pub echoes: bool,
    /// Instead of an answer.
    pub fails: Option<Failure>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// Nobody listens.
    Refused,
    /// Nothing comes until the call times out.
    Silence,
    /// The proxy's circuit breaker is open.
    Overflow,
    /// The proxy does not know the cluster.
    UnknownCluster,
}

/// What the upstream answers. Otherwise 200 with a JSON-RPC result for the request's id.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// Until the head.
    pub after: Millis,
    /// The status.
    pub status: Option<u16>,
    /// Headers to set.
    pub headers: BTreeMap<String, String>,
    /// The body as a text. `{id}` stands for the id of the request.
    pub body: Option<String>,
    /// The body as server-sent events, each with the pause before it.
    pub events: Vec<SseEvent>,
    /// The connection breaks instead of the end.
    pub breaks: bool,
}

/// A server-sent event.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SseEvent {
    /// After the one before it.
    pub after: Millis,
    /// Its data; `{id}` stands for the id of the request. Without it: the result of the request.
    pub data: Option<String>,
}

/// What happens, and what must come of it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it shows, in a few words.
    pub name: String,
    /// In place of what is given for the file.
    #[serde(default)]
    pub given: Given,
    /// The requests.
    pub when: OneOrMany<When>,
    /// What becomes of each.
    pub then: OneOrMany<Then>,
    /// Why real Envoy cannot be asked to repeat it. Scripted faults, times and `with` need no reason.
    #[serde(default)]
    pub not_on_envoy: Option<String>,
}

impl Scenario {
    /// What of it only a simulated proxy can do.
    pub fn needs_simulation(&self, given: &Given) -> Option<String> {
        let answers = [&given.keys, &given.exchange, &given.introspection, &given.revocation]
            .into_iter()
            .flatten()
            .flat_map(OneOrMany::all);
        let is_slow = |answer: &Answer| answer.after != Millis::default() || answer.fails.is_some();
        let is_timed = |upstream: &Upstream| {
            upstream.after != Millis::default()
                || upstream.breaks
                || upstream.events.iter().any(|event| event.after != Millis::default())
        };
        let when = |found: fn(&When) -> bool| self.when.all().iter().any(found);
        let reasons = [
            (given.clock.is_some(), "a clock of its own"),
            (!given.with.is_empty(), "a policy of its own"),
            (!given.environment.is_empty(), "an environment of its own"),
            (given.keys.is_some(), "scripted keys"),
            (answers.into_iter().any(is_slow), "a scripted delay or fault"),
            (given.introspection.is_some(), "scripted introspection"),
            (given.revocation.is_some(), "scripted revocations"),
            (given.upstream.as_ref().is_some_and(is_timed), "an upstream with delays or faults"),
            (when(|when| when.leaves.is_some()), "a client that leaves"),
            (when(|when| when.after.is_some()), "requests at the same time"),
            (when(|when| when.source.is_some() || when.certificate.is_some()), "a client certificate"),
            (when(|when| when.route.is_some()), "route metadata"),
            (when(|when| when.token_removed), "a filter before this one"),
            (when(|when| when.http2), "HTTP/2"),
            (when(|when| when.trailers), "trailers"),
        ];
        let reason = reasons.iter().find(|(needed, _)| *needed).map(|(_, reason)| (*reason).to_owned());
        self.not_on_envoy.clone().or(reason)
    }
}

/// A request.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct When {
    /// `tools/call` of this tool.
    pub tool: Option<String>,
    /// Its arguments.
    pub arguments: Option<Value>,
    /// Another method.
    pub method: Option<String>,
    /// Its parameters.
    pub params: Option<Value>,
    /// The id; 1 unless given, none for notifications.
    pub id: Option<Value>,
    /// The whole body.
    pub body: Option<String>,
    /// The protocol revision: 2026-07-28 (stateless, with its headers) or an earlier one. Otherwise 2025-11-25.
    pub revision: Option<String>,
    /// The token by name; none if absent.
    pub token: Option<String>,
    /// The server by name, if there are several: its host and path.
    pub server: Option<String>,
    /// The HTTP method; POST unless given. Others have no body.
    pub http: Option<String>,
    /// Another path than the server's.
    pub path: Option<String>,
    /// Headers to set; null removes; a list sends several.
    pub headers: BTreeMap<String, Value>,
    /// The server that the route's metadata names.
    pub route: Option<String>,
    /// The identity in the peer's certificate.
    pub source: Option<String>,
    /// The SHA-256 of that certificate, in hexadecimal digits.
    pub certificate: Option<String>,
    /// Begins so long after the request before it, whatever has become of that. Otherwise when that is answered.
    pub after: Option<Millis>,
    /// The body comes in so many pieces.
    pub pieces: Option<usize>,
    /// With so long between them.
    pub pause: Millis,
    /// The client goes away so long after the head.
    pub leaves: Option<Millis>,
    /// The end of the body comes together with its last bytes.
    pub http2: bool,
    /// Trailers follow.
    pub trailers: bool,
    /// A filter before this one has verified a token and left its payload in dynamic metadata (Envoy's `jwt_authn`).
    pub token_removed: bool,
    /// No body is announced, and the end of the request does not come with its head: chunked, with nothing in it.
    pub ends_late: bool,
}

/// What becomes of a request. Only what is said is looked at.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Then {
    /// True: it went upstream.
    pub forwarded: Option<bool>,
    /// What the client got; null: nothing.
    #[serde(deserialize_with = "said")]
    pub status: Option<Value>,
    /// The reason in the audit record.
    pub reason: Option<String>,
    /// Other members of the audit record, e.g. `verdict`, `rule`, `missing`, `would`; null: not there.
    pub record: Map<String, Value>,
    /// Parameters of the challenge, null: not there; or null for no challenge.
    #[serde(deserialize_with = "said")]
    pub challenge: Option<Value>,
    /// The code of the JSON-RPC error; null: none.
    #[serde(deserialize_with = "said")]
    pub error: Option<Value>,
    /// The token that went upstream: `caller` or `elevated`.
    pub token: Option<String>,
    /// Claims of the elevated token that went upstream.
    pub elevated: Map<String, Value>,
    /// Headers that were set on the way upstream, beside the token.
    pub set: Option<BTreeMap<String, String>>,
    /// Headers that were taken out.
    pub removed: Option<Vec<String>>,
    /// All calls for it, in order: `exchange` or `revocation`, or what was sent with it.
    pub calls: Option<Vec<Value>>,
    /// Members of the answer's JSON body.
    #[serde(deserialize_with = "said")]
    pub body: Option<Value>,
    /// Headers of an answer that is not the upstream's, null: not there. Of `retry-after`, `allow`, `cache-control` and
    /// `content-type`.
    pub headers: Map<String, Value>,
    /// Whose answer it is: `filter`, `upstream` or `proxy`.
    pub by: Option<String>,
    /// The response code details of the filter's answer: `stepup:REASON`, with the name that the client sees.
    pub details: Option<String>,
    /// The connection broke.
    pub reset: Option<bool>,
}

/// One, or a list.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(untagged)]
pub enum OneOrMany<T> {
    /// A list.
    Many(Vec<T>),
    /// One.
    One(Box<T>),
}

impl<T> OneOrMany<T> {
    /// All of them.
    pub fn all(&self) -> &[T] {
        match self {
            OneOrMany::Many(list) => list,
            OneOrMany::One(one) => std::slice::from_ref(one),
        }
    }
}

// By hand: what is wrong inside is said, and not only that neither fits.
impl<'de, T: DeserializeOwned> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OneOrMany<T>, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let read = if value.is_array() {
            serde_json::from_value(value).map(OneOrMany::Many)
        } else {
            serde_json::from_value(value).map(|one| OneOrMany::One(Box::new(one)))
        };
        read.map_err(de::Error::custom)
    }
}

/// A duration: `200ms`, `2s` or `5m`.
#[derive(Clone, Copy, Debug, Default, JsonSchema, PartialEq, Eq)]
#[schemars(transparent)]
pub struct Millis(#[schemars(with = "String")] pub u64);

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Millis, D::Error> {
        let text = String::deserialize(deserializer)?;
        let unit = text.trim_start_matches(|digit: char| digit.is_ascii_digit());
        let factor = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            _ => return Err(de::Error::custom(format!("`{text}` is no duration; write 200ms, 2s or 5m"))),
        };
        let number = text.strip_suffix(unit).and_then(|number| number.parse::<u64>().ok());
        let millis = number.and_then(|number| number.checked_mul(factor));
        millis.map(Millis).ok_or_else(|| de::Error::custom(format!("`{text}` is no duration; write 200ms, 2s or 5m")))
    }
}

/// Null is something said.
fn said<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}
