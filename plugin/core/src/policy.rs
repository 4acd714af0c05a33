//! The compiled policy: immutable, total, cheap to share. Whatever can be wrong with it was found when it was loaded.

mod compile;
mod conditions;
mod document;
mod rules;
mod select;
mod structs;
mod words;

pub use document::{Fault, join};
pub use words::is_scope_token;

pub(crate) use conditions::Subject;
pub(crate) use rules::{Exchange, Requirement, Rule, Rules, Unmatched};
pub(crate) use words::Url;

use std::rc::Rc;

use crate::assertion::Es256Key;
use crate::effect::{Call, Millis};
use crate::json::Value;
use crate::keys::KeySet;
use crate::token::Algorithm;

/// A policy in force.
#[derive(Debug)]
pub struct Policy {
    pub(crate) issuers: Vec<Issuer>,
    pub(crate) servers: Vec<Server>,
    pub(crate) token_service: Option<TokenService>,
    pub(crate) mode: Mode,
    pub(crate) limits: Limits,
    pub(crate) digest: String,
    pub(crate) warnings: Vec<Fault>,
}

impl Policy {
    /// Reads a configuration as Envoy delivers it: JSON text (`StringValue`, `BytesValue`) or a serialized `Struct`.
    ///
    /// All faults are reported at once, each with path, problem and help (P18).
    pub fn load(configuration: &[u8], environment: &dyn Environment) -> Result<Policy, Vec<Fault>> {
        compile::configuration(configuration, environment)
    }

    /// The same, from a tree that a reader of another notation made. `text` is what was read; it names the policy.
    pub fn from_value(document: &Value<'_>, text: &[u8], environment: &dyn Environment) -> Result<Policy, Vec<Fault>> {
        compile::document(document, text, environment)
    }

    /// Does any rule ask who the peer's certificate names? The host need not look it up otherwise.
    pub fn asks_source(&self) -> bool {
        let rules = self.servers.iter().flat_map(|server| server.rules.iter());
        rules.filter_map(|rule| rule.requirement.exchange.as_ref()).any(Exchange::asks_source)
    }

    /// What `check` would warn of.
    pub fn warnings(&self) -> &[Fault] {
        &self.warnings
    }

    /// Twelve hexadecimal digits that name this policy in audit records and metrics.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The limits a host has to know.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The names of the servers, in the policy's order.
    pub fn servers(&self) -> impl Iterator<Item = &str> {
        self.servers.iter().map(|server| &*server.name)
    }

    /// The identifiers of the issuers, in the policy's order.
    pub fn issuers(&self) -> impl Iterator<Item = &str> {
        self.issuers.iter().map(|issuer| issuer.name.as_str())
    }

    pub(crate) fn issuer(&self, name: &str) -> Option<(usize, &Issuer)> {
        // RFC 9068 4: compared exactly.
        self.issuers.iter().enumerate().find(|(_, issuer)| issuer.name == name)
    }

    pub(crate) fn issuer_at(&self, position: usize) -> Option<&Issuer> {
        self.issuers.get(position)
    }

    pub(crate) fn server_at(&self, position: usize) -> Option<&Server> {
        self.servers.get(position)
    }

    /// P15: shadow ends at its date.
    pub(crate) fn is_shadow(&self, now: Millis) -> bool {
        matches!(self.mode, Mode::Shadow { until } if now < until)
    }
}

/// Where secrets come from: a policy only names them (P18).
pub trait Environment {
    /// The value of an environment variable.
    fn variable(&self, name: &str) -> Option<String>;
}

/// No variables at all: for policies without secrets.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoEnvironment;

impl Environment for NoEnvironment {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub(crate) fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself: for the wire, and nothing else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The service that exchanges tokens (RFC 8693) and revokes them (RFC 7009).
#[derive(Debug)]
pub struct TokenService {
    /// Whose keys verify what it returns: a position in `issuers`.
    pub(crate) issuer: usize,
    /// Whose tokens may be sent to it.
    pub(crate) subject_issuers: Vec<usize>,
    pub(crate) token: Endpoint,
    pub(crate) revoke: Endpoint,
    pub(crate) client: Client,
    /// Seconds until the client is told that it did not answer.
    pub(crate) timeout: u64,
    /// Seconds its answer is still waited for after that, so that a late token is revoked.
    pub(crate) late: u64,
    /// Seconds a token lives on when a legacy stream ended without a result.
    pub(crate) linger: u64,
    /// Is it told which operation the token is for?
    pub(crate) context: bool,
}

/// Who we are to the token service.
#[derive(Debug)]
pub(crate) struct Client {
    pub id: String,
    pub authentication: ClientAuthentication,
}

/// How we prove it.
#[derive(Debug)]
pub(crate) enum ClientAuthentication {
    /// The cluster does: by mTLS, or by credentials the proxy injects.
    Cluster,
    /// HTTP Basic (RFC 6749 2.3.1).
    Secret(Secret),
    /// `private_key_jwt`, ES256 (RFC 7523 2.2), with the issuer as audience.
    Key(Box<Es256Key>, String),
}

/// An issuer of callers' tokens.
#[derive(Debug)]
pub struct Issuer {
    pub(crate) name: String,
    pub(crate) keys: KeySource,
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) token_type: TokenType,
    /// Seconds.
    pub(crate) max_lifetime: Option<u64>,
    /// Seconds.
    pub(crate) leeway: u64,
}

/// Where an issuer's keys come from.
#[derive(Debug)]
pub(crate) enum KeySource {
    Inline(Rc<KeySet>),
    /// Times in seconds.
    Fetch {
        endpoint: Endpoint,
        refresh: u64,
        stale: u64,
    },
}

/// An HTTP endpoint behind a cluster of the host.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub(crate) cluster: String,
    pub(crate) url: String,
    pub(crate) authority: String,
    pub(crate) target: String,
}

impl Endpoint {
    /// A GET, given up after `timeout` milliseconds.
    pub(crate) fn get(&self, timeout: u64) -> Call {
        self.call("GET", Vec::new(), Secret::new(""), timeout)
    }

    /// A POST of a form.
    pub(crate) fn post(&self, headers: Vec<(&'static str, Secret)>, form: Secret, timeout: u64) -> Call {
        self.call("POST", headers, form, timeout)
    }

    fn call(&self, method: &'static str, headers: Vec<(&'static str, Secret)>, body: Secret, timeout: u64) -> Call {
        let (cluster, authority, path) = (self.cluster.clone(), self.authority.clone(), self.target.clone());
        Call { cluster, method, authority, path, headers, body, timeout }
    }
}

/// How an issuer types its access tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenType {
    /// RFC 9068: `typ` is `at+jwt`.
    AccessToken,
    /// `JWT` or none is accepted too.
    Jwt,
}

/// One MCP server: a protected resource (RFC 9728) and the rules of its tools.
#[derive(Debug)]
pub struct Server {
    pub(crate) name: Rc<str>,
    /// The identifier clients use, and the audience of their tokens.
    pub(crate) resource: String,
    pub(crate) url: Url,
    pub(crate) paths: Vec<String>,
    pub(crate) origins: Vec<String>,
    pub(crate) rules: Rules,
    /// What every request needs.
    pub(crate) baseline: Requirement,
    pub(crate) metadata: Metadata,
}

/// The protected resource metadata of a server (RFC 9728), made once.
#[derive(Debug)]
pub(crate) struct Metadata {
    pub path: String,
    pub url: String,
    pub document: Rc<[u8]>,
}

/// Does the policy decide, or only say what it would decide?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Enforce,
    Shadow { until: Millis },
}

/// Bounds on what a request may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request body. The host's own limit must be higher, or it answers first.
    pub request_body: usize,
    /// Seconds a body may take to arrive.
    pub body_wait: u64,
    /// Seconds a request waits for keys.
    pub keys_wait: u64,
    /// Seconds after which a token seen before is verified again.
    pub verified_cache: u64,
    /// Seconds a request waits for its elevation.
    pub elevation_wait: u64,
    /// Exchanges under way at the same time, in one VM.
    pub exchanges: usize,
    /// The same, for one caller's token.
    pub exchanges_per_caller: usize,
    /// Exchanges begun in a minute for one caller's token, in one VM.
    pub exchange_rate: usize,
    /// Seconds of life that a rule may ask for at most.
    pub max_ttl: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            request_body: 1024 * 1024,
            body_wait: 10,
            keys_wait: 2,
            verified_cache: 300,
            elevation_wait: 5,
            exchanges: 64,
            exchanges_per_caller: 4,
            exchange_rate: 60,
            max_ttl: 300,
        }
    }
}
