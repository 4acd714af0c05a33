//! What a policy says, as data: servers, issuers, the token service, limits.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::http::{Call, last_uri};
use crate::mcp::Reads;
use crate::policy::audience::Audiences;
use crate::policy::book::RuleBook;
use crate::policy::document::Url;
use crate::policy::place::Place;
use crate::policy::requirement::Requirement;
use crate::secret::Secret;
use crate::time::Millis;

/// An HTTP endpoint behind a cluster of the host.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
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

/// One MCP server: a protected resource (RFC 9728) and the rules of what it has.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: Rc<str>,
    /// The identifier clients use.
    pub(crate) resource: String,
    /// What `aud` of their tokens may say: that, and what else means it.
    pub(crate) audiences: Audiences,
    pub(crate) url: Url,
    /// That of `resource` first, then its aliases.
    pub(crate) places: Vec<Place>,
    pub(crate) origins: Vec<String>,
    /// P41: request headers that it must not see, in lower case.
    pub(crate) remove_headers: Vec<String>,
    pub(crate) rules: RuleBook,
    /// P34: whose tokens count here, by position in the policy's issuers, in the order in which they are advertised.
    pub(crate) issuers: Vec<usize>,
    /// What every request needs.
    pub(crate) baseline: Requirement,
    /// P40: the peers whose `x-forwarded-client-cert` says who their client is. Empty: the peer's own certificate counts.
    pub(crate) source_from: Vec<String>,
    /// Scopes that some rule wants of the caller's own token (P24), sorted; true: only of callers that step up.
    pub(crate) held_somewhere: Vec<(Rc<str>, bool)>,
    /// P23: the issuer that is asked about tokens that are no JWS: a position in the policy's issuers.
    pub(crate) introspects: Option<usize>,
    /// P26: some rule is for callers without a token.
    pub(crate) has_anonymous: bool,
    /// P27: a challenge of the upstream's is replaced by one of ours.
    pub(crate) challenges_itself: bool,
    /// P25: a denial without a challenge leaves as a JSON-RPC error under 200.
    pub(crate) denies_by_jsonrpc: bool,
    /// Its scopes, as they are asked of nobody in particular (P21).
    pub(crate) asked: String,
    /// What of requests its conditions look at.
    pub(crate) reads: Reads,
    /// P16: lists show what the caller can reach.
    pub(crate) filters_lists: bool,
    /// P16: each tool of a list says how it is authorized.
    pub(crate) annotates: bool,
    /// P31.
    pub(crate) pins: Pins,
    /// P36.
    pub(crate) environment: Option<String>,
    pub(crate) data_class: Option<String>,
    /// P36: a member of `_meta`.
    pub(crate) declared_task: Option<String>,
}

/// P31: what tools looked like when they were reviewed.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    /// The digest of each, by name.
    pub(crate) digests: BTreeMap<String, Digest>,
    /// Tools that have none are hidden, and their calls denied.
    pub(crate) hides_others: bool,
}

/// SHA-256.
pub(crate) type Digest = [u8; 32];

impl Server {
    /// P40: who calls. A peer that is named for it is believed about its own client.
    pub(crate) fn source(&self, peer: Option<&str>, forwarded: Option<&str>) -> Option<String> {
        let is_gateway = peer.is_some_and(|peer| self.source_from.iter().any(|named| named == peer));
        if is_gateway { forwarded.and_then(last_uri) } else { peer.map(str::to_owned) }
    }
}

/// P34: how a request finds its server where the route names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Select {
    /// Not at all.
    Metadata,
    /// By host and path of `resource`.
    Host,
    /// By the path alone.
    Path,
}

/// Does the policy decide, or only say what it would decide?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Enforce,
    Shadow { until: Millis },
}

impl Mode {
    pub(crate) fn until(self) -> Option<Millis> {
        match self {
            Mode::Enforce => None,
            Mode::Shadow { until } => Some(until),
        }
    }

    /// P15: a shadow ends at its date.
    pub(crate) fn is_shadow(self, now: Millis) -> bool {
        matches!(self, Mode::Shadow { until } if now < until)
    }
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
    /// Bytes of the response to a list.
    pub list: usize,
    /// P35: a stream that is not the answer to a request ends with the token it was opened with.
    pub ends_streams: bool,
    /// Bytes of a token.
    pub token: usize,
    /// Introspections under way at the same time, in one VM.
    pub introspections: usize,
    /// Bytes of the body of a request without a token.
    pub anonymous_body: usize,
    /// Requests without a token whose body is awaited, in one VM.
    pub anonymous_waiting: usize,
    /// Filters behind this one are told what is permitted.
    pub filter_state: bool,
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
            list: 1024 * 1024,
            ends_streams: true,
            token: 16 * 1024,
            introspections: 64,
            anonymous_body: 64 * 1024,
            anonymous_waiting: 256,
            filter_state: false,
        }
    }
}
