//! What is known of a stream, and what happens on it.

use simulated_proxy::{CallAnswer, Headers, Transcript};
use step_up_core::CallId;

/// A request, and how far it has come.
pub(super) struct Stream {
    pub client: simulated_proxy::Client,
    pub body: Vec<u8>,
    pub arrived: bool,
    pub decision: Option<Settled>,
    /// Its response is kept, and looked at if it has no more bytes than this.
    pub held: Option<usize>,
    /// What the client gets of its body is what the gate gives.
    pub is_taken: bool,
    pub transcript: Transcript,
}

/// What the gate has decided.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    Forwarded,
    /// And its response is shown to the gate.
    Watched,
    Answered,
}

/// What is due.
pub(super) enum Event {
    /// Something on a stream.
    On(usize, Happening),
    Answered(CallId, CallAnswer),
}

/// Something on a stream.
pub(super) enum Happening {
    Head,
    Data(Vec<u8>, bool),
    Trailers,
    Leaves,
    Response(Headers, bool),
    ResponseData(Vec<u8>, bool),
    ResponseTrailers(Headers),
    Breaks,
    /// The time is over that the request asked the proxy for.
    Expires,
}
