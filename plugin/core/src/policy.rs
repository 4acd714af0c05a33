//! The compiled policy: immutable, total, cheap to share. Whatever can be wrong with it was found when it was loaded.

mod compile;
mod document;
mod rules;
mod select;
mod structs;
mod words;

pub use document::Fault;
pub use words::is_scope_token;

pub(crate) use rules::{Requirement, Rule, Rules, Unmatched};
pub(crate) use words::Url;

use std::rc::Rc;

use crate::effect::{Call, Millis};
use crate::json::Value;
use crate::keys::KeySet;
use crate::token::Algorithm;

/// A policy in force.
#[derive(Debug)]
pub struct Policy {
    pub(crate) issuers: Vec<Issuer>,
    pub(crate) servers: Vec<Server>,
    pub(crate) mode: Mode,
    pub(crate) limits: Limits,
    pub(crate) digest: String,
    pub(crate) warnings: Vec<Fault>,
}

impl Policy {
    /// Reads a configuration as Envoy delivers it: JSON text (`StringValue`, `BytesValue`) or a serialized `Struct`.
    ///
    /// All faults are reported at once, each with path, problem and help (P18).
    pub fn load(configuration: &[u8]) -> Result<Policy, Vec<Fault>> {
        compile::configuration(configuration)
    }

    /// The same, from a tree that a reader of another notation made. `text` is what was read; it names the policy.
    pub fn from_value(document: &Value<'_>, text: &[u8]) -> Result<Policy, Vec<Fault>> {
        compile::document(document, text)
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
    pub(crate) fn get(&self, timeout: u64) -> Call {
        Call {
            cluster: self.cluster.clone(),
            method: "GET",
            authority: self.authority.clone(),
            path: self.target.clone(),
            timeout,
        }
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
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { request_body: 1024 * 1024, body_wait: 10, keys_wait: 2, verified_cache: 300 }
    }
}
