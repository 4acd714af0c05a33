//! The same script on different hosts of the same decision: what must come out alike everywhere.

mod component;
mod envoy;
mod native;
mod served;
mod sockets;
mod vm;
mod wasm;
mod wire;

pub use component::Component;
pub use envoy::Envoy;
pub use native::Native;
pub use served::Served;
pub use vm::Misbehaviour;
pub use wasm::Wasm;

use std::cell::RefCell;
use std::rc::Rc;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde_json::Value;
use simulated_proxy::{CallRecord, Client, Network, Transcript};

/// What happens, spelled out to the byte.
#[derive(Clone, Debug)]
pub struct Script {
    /// When it begins: milliseconds since the epoch.
    pub now: u64,
    /// The policy as the filter gets it: JSON.
    pub policy: String,
    /// Environment variables of the VM.
    pub environment: Vec<(String, String)>,
    /// The requests.
    pub requests: Vec<Request>,
    /// Milliseconds that pass after the last request has an answer: revocations take their time.
    pub linger: u64,
}

/// A request, and when it is made.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// When it is made.
    pub at: Start,
    /// The request.
    pub client: Client,
}

/// When a request is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// When those before it have their answers.
    #[default]
    Then,
    /// So many milliseconds after the request before it was made, whatever has become of that.
    After(u64),
}

/// What became of a script.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// For each request.
    pub transcripts: Vec<Transcript>,
    /// Every call the filter made, in order.
    pub calls: Vec<CallRecord>,
    /// Lines of the log.
    pub log: Vec<String>,
    /// What the decision said that no transcript shows, in order: metrics, levels, waits. Of hosts of the bare decision.
    pub beside: Vec<String>,
    /// Fuel used after the policy was loaded, where it is counted.
    pub fuel: Option<u64>,
    /// Time is real, and the second had passed that the script was made for: tokens are judged to the second.
    pub is_late: bool,
}

/// A host of the filter.
pub trait Backend {
    /// Its name, for test names.
    fn name(&self) -> &'static str;
    /// Where time is real: the second it is now, in milliseconds since the epoch.
    fn clock(&self) -> Option<u64> {
        None
    }
    /// Runs a script in a fresh filter. An error says that the filter refused its policy, or broke its contract.
    fn run(&self, script: &Script, network: Rc<RefCell<dyn Network>>) -> Result<Run>;
}

/// Makes a script for the host's clock and runs it; again, when it came too late to be judged. The last attempt stands: most
/// scripts do not mind a second.
pub fn in_time<T>(backend: &dyn Backend, attempt: impl Fn(Option<u64>) -> Result<(Run, T)>) -> Result<(Run, T)> {
    for _ in 1..ATTEMPTS {
        let (run, rest) = attempt(backend.clock())?;
        if !run.is_late {
            return Ok((run, rest));
        }
        // At the start of the next second, with all of it ahead.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        sleep(Duration::from_secs(1) - Duration::from_nanos(since_epoch.subsec_nanos().into()));
    }
    attempt(backend.clock())
}

/// On an idle machine, one script in a hundred meets the end of a second.
const ATTEMPTS: usize = 5;

/// The header by which calls are known to belong to a request: the filter copies it.
pub const REQUEST_ID: &str = "x-request-id";

/// What the filter calls its record.
pub(crate) const AUDIT: &str = "stepup.audit";

/// The property with the server that the route's metadata names.
pub const ROUTE_SERVER: &str = "xds.route_metadata.filter_metadata.stepup.server";

/// The property with what Envoy's `jwt_authn` says of a token that it has verified. A filter gets it as a map.
pub const VERIFIED_TOKEN: &str = "metadata.filter_metadata.envoy.filters.http.jwt_authn";

/// Something that it says.
pub const PAYLOAD: &[u8] = b"\x01\0\0\0\x07\0\0\0\x04\0\0\0payload\0\0\0\0\0\0";

/// The property with the identity in the peer's certificate.
pub const PEER_IDENTITY: &str = "connection.uri_san_peer_certificate";

/// The property with the SHA-256 of the peer's certificate, in hexadecimal digits.
pub const PEER_CERTIFICATE: &str = "connection.sha256_peer_certificate_digest";

/// The audit record of a request; `Null` when there is none.
pub fn record(transcript: &Transcript) -> Value {
    let text = transcript.filter_state.get(AUDIT);
    text.and_then(|text| serde_json::from_slice(text).ok()).unwrap_or_default()
}

/// Longer than anything a filter waits for.
const PATIENCE: u64 = 400_000;
