//! What the host sends for us, and what comes back.

use crate::secret::Secret;

/// The host's name for one HTTP stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u32);

/// Our name for one call that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u32);

/// An HTTP request to a cluster of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The host's name for the peer.
    pub cluster: String,
    /// `GET` or `POST`.
    pub method: &'static str,
    /// `host[:port]` of the URL.
    pub authority: String,
    /// Path and query of the URL.
    pub path: String,
    /// Further headers.
    pub headers: Vec<(&'static str, Secret)>,
    /// The body; empty for none.
    pub body: Secret,
    /// Milliseconds until the host gives up.
    pub timeout: u64,
}

/// The answer to a [`Call`].
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// HTTP status.
    pub status: u16,
    /// Body bytes.
    pub body: &'a [u8],
}

/// Why a call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFault {
    /// The host refused to make the call: unknown cluster, circuit breaker.
    Refused,
    /// The host gave up: no status, reset.
    Unanswered,
}
