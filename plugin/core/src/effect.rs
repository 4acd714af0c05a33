//! The whole vocabulary between the core and a host: what happened ([`Input`]) and what to do ([`Effect`]).

use crate::decide::Permit;
use crate::http::RequestHead;
use crate::metrics::Metric;
use crate::policy::Secret;
use crate::response::Response;

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// The whole seconds, as tokens count them.
    pub fn seconds(self) -> i64 {
        i64::try_from(self.0 / 1000).unwrap_or(i64::MAX)
    }

    /// This moment and `seconds` more.
    pub fn plus_seconds(self, seconds: u64) -> Millis {
        self.plus(seconds.saturating_mul(1000))
    }

    /// This moment and `millis` more.
    pub fn plus(self, millis: u64) -> Millis {
        Millis(self.0.saturating_add(millis))
    }
}

/// The host's name for one HTTP stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u32);

/// Our name for one call that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u32);

/// What happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// Request headers are complete.
    Head {
        /// The stream they belong to.
        stream: StreamId,
        /// The headers and what the host knows beside them.
        head: RequestHead<'a>,
    },
    /// A part of a request body arrived. Said once: this host delivers bodies.
    BodyBegins,
    /// The request body is complete, never a part of it; or it will not be.
    Body {
        /// The stream it belongs to.
        stream: StreamId,
        /// The bytes that would be forwarded.
        body: Result<&'a [u8], BodyFault>,
    },
    /// Request trailers arrived.
    Trailers {
        /// The stream they belong to.
        stream: StreamId,
    },
    /// Response headers of a stream whose permit is watched.
    ResponseHead {
        /// The stream.
        stream: StreamId,
        /// HTTP status.
        status: u16,
        /// `Content-Type`, if it is text.
        content_type: Option<&'a str>,
        /// True when no body follows.
        end_of_stream: bool,
    },
    /// A piece of the body of such a response.
    ResponseChunk {
        /// The stream.
        stream: StreamId,
        /// The bytes.
        bytes: &'a [u8],
        /// True when it is the last piece.
        end_of_stream: bool,
    },
    /// The stream is gone; nothing can be done on it any more.
    Gone {
        /// The stream that ended.
        stream: StreamId,
    },
    /// A call ended.
    Reply {
        /// The call.
        call: CallId,
        /// What came back.
        reply: Result<Reply<'a>, CallFault>,
    },
    /// Time passed. The host ticks at the moments asked for by [`Effect::Wake`].
    Tick,
}

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// More bytes than [`crate::policy::Limits::request_body`] arrived.
    TooLarge,
    /// The host did not hand it over.
    Unreadable,
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

/// What to do. A host performs effects in the order polled, and holds no borrow of the gate while it does.
#[derive(Debug)]
pub enum Effect {
    /// Release the request with exactly these header edits. There is no other way upstream.
    Continue {
        /// The stream to release.
        stream: StreamId,
        /// The proof that it may go, and the edits.
        permit: Permit,
    },
    /// Answer the request here.
    Reply {
        /// The stream to answer.
        stream: StreamId,
        /// The answer.
        response: Response,
    },
    /// Hand over the complete body again, as [`Input::Body`]: it arrived while the request waited for keys.
    ReadBody {
        /// The stream whose body is wanted.
        stream: StreamId,
    },
    /// Make an HTTP call from a place that outlives every stream. A refusal comes back as [`Input::Reply`].
    Call {
        /// Comes back with the reply.
        id: CallId,
        /// What to send.
        call: Call,
    },
    /// Attach the audit record (one line of JSON, visible ASCII) to the stream's access log entry.
    Record {
        /// The stream it belongs to.
        stream: StreamId,
        /// The record.
        record: String,
    },
    /// Write a line to the host's log, for what belongs to no request.
    Log(String),
    /// Count, or set, a metric.
    Count(Metric),
    /// Send [`Input::Tick`] at this moment. Replaces the moment asked for before.
    Wake {
        /// When.
        at: Millis,
    },
}

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
