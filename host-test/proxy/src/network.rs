//! What a test says about the machine outside: clients, the upstream, and what the filter calls.

use std::collections::BTreeMap;

use crate::headers::Headers;
use crate::ids::StreamId;

/// Answers for everything that is not the proxy. Times are milliseconds.
pub trait Network {
    /// A filter makes a call, now (milliseconds since the epoch).
    fn call(&mut self, now: u64, call: &OutboundCall) -> CallPlan;
    /// A request has reached the upstream, completely.
    fn upstream(&mut self, request: &UpstreamRequest) -> UpstreamPlan;
    /// The same, where the answer may come from outside, piece by piece: `None` says that it will ([`Proxy::respond`]).
    ///
    /// [`Proxy::respond`]: crate::Proxy::respond
    fn forward(&mut self, _stream: StreamId, request: &UpstreamRequest) -> Option<UpstreamPlan> {
        Some(self.upstream(request))
    }
    /// It gave something out that is not back yet. Where time is real, this says how long to wait.
    fn is_owed(&self) -> bool {
        false
    }
}

/// A request that a client makes.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// The head, pseudo headers included.
    pub headers: Headers,
    /// The body, piece by piece; empty when the head ends the stream.
    pub body: Vec<Chunk>,
    /// What follows the body.
    pub trailers: Option<Headers>,
    /// The client goes away so long after the head was sent.
    pub leaves: Option<u64>,
    /// What the proxy knows of it: the path of the property, its segments joined by dots, and the value.
    pub properties: BTreeMap<String, Vec<u8>>,
    /// Which worker accepts it.
    pub worker: usize,
    /// How its end arrives.
    pub protocol: Protocol,
    /// What follows the head comes from outside, piece by piece ([`Proxy::request_data`]); there is something.
    ///
    /// [`Proxy::request_data`]: crate::Proxy::request_data
    pub is_open: bool,
}

/// A piece of a body.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    /// After the piece before it, or the head.
    pub after: u64,
    /// The piece.
    pub bytes: Vec<u8>,
}

impl Chunk {
    /// A piece that comes at once.
    pub fn now(bytes: impl Into<Vec<u8>>) -> Chunk {
        Chunk { after: 0, bytes: bytes.into() }
    }
}

/// The codecs differ in how they tell a filter of the end of a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Once more, with no new bytes.
    #[default]
    Http1,
    /// Together with the last bytes.
    Http2,
}

/// A request as it arrives upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamRequest {
    /// The head.
    pub headers: Headers,
    /// The whole body.
    pub body: Vec<u8>,
    /// The trailers.
    pub trailers: Option<Headers>,
    /// False while the body is still on its way.
    pub is_complete: bool,
}

impl UpstreamRequest {
    /// Does `content-length`, if there is one, say how long the body is? If not, the rest would be read as another
    /// request, or waited for.
    pub fn is_framed_well(&self) -> bool {
        let length = self.headers.text("content-length");
        length.is_none_or(|length| length.parse() == Ok(self.body.len()))
    }
}

/// What the upstream answers.
#[derive(Clone, Debug, Default)]
pub struct UpstreamPlan {
    /// Until the head.
    pub after: u64,
    /// The head.
    pub headers: Headers,
    /// The body, piece by piece; empty when the head ends the response.
    pub body: Vec<Chunk>,
    /// What follows the body.
    pub trailers: Option<Headers>,
    /// The connection breaks instead of the end.
    pub breaks: bool,
}

/// A call of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundCall {
    /// The cluster.
    pub cluster: String,
    /// The head.
    pub headers: Headers,
    /// The body.
    pub body: Vec<u8>,
    /// Until the proxy gives up; 0: never.
    pub timeout: u64,
}

/// What becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallPlan {
    /// There is no such cluster: refused at once (`BadArgument`).
    UnknownCluster,
    /// The circuit breaker is open: refused at once (`InternalFailure`), without a callback.
    Overflow,
    /// Nobody listens: 503.
    ConnectionRefused,
    /// No answer: 504 when the time is over.
    Silence,
    /// The failure without headers that the ABI knows and Envoy 1.40 was not seen to use.
    NoHeaders,
    /// It comes from outside, under this number ([`Proxy::answer_call`]), and in time.
    ///
    /// [`Proxy::answer_call`]: crate::Proxy::answer_call
    Outside(u64),
    /// An answer, or 504 if it takes longer than the call may.
    Answer {
        /// How long it takes.
        after: u64,
        /// The head.
        headers: Headers,
        /// The body.
        body: Vec<u8>,
    },
}

/// Why there will be no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No such cluster.
    UnknownCluster,
    /// The circuit breaker is open.
    Overflow,
}

/// A call's answer on its way to the filter.
#[derive(Clone, Debug, Default)]
pub struct CallAnswer {
    /// The head; empty when there is none.
    pub headers: Headers,
    /// The body.
    pub body: Vec<u8>,
}

impl CallPlan {
    /// What the filter is told of a call with this timeout: after how many milliseconds, and what; `None`: never anything.
    pub fn outcome(self, timeout: u64) -> Result<Option<(u64, CallAnswer)>, Refused> {
        let own = |status: &str, text: &str| CallAnswer {
            headers: Headers::of([(":status", status), ("content-type", "text/plain")]),
            body: text.into(),
        };
        let late = || Some((timeout, own("504", "upstream request timeout")));
        Ok(match self {
            CallPlan::UnknownCluster => return Err(Refused::UnknownCluster),
            CallPlan::Overflow => return Err(Refused::Overflow),
            CallPlan::ConnectionRefused => Some((0, own("503", "upstream connect error"))),
            CallPlan::NoHeaders => Some((0, CallAnswer::default())),
            CallPlan::Outside(_) => None,
            CallPlan::Silence if timeout == 0 => None,
            CallPlan::Silence => late(),
            CallPlan::Answer { after, .. } if timeout != 0 && after >= timeout => late(),
            CallPlan::Answer { after, headers, body } => Some((after, CallAnswer { headers, body })),
        })
    }
}
