//! The whole vocabulary between the core and a host: what happened ([`Input`]) and what to do ([`Effect`]).

use crate::decide::Permit;
use crate::http::{Call, CallFault, CallId, Reply, RequestHead, Response, ResponseHead, StreamId};
use crate::metrics::Metric;
use crate::time::Millis;

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
    /// The request body is complete, never a part of it; or it will not be. Its end may be that of the stream, or the trailers, which
    /// the host has taken out.
    Body {
        /// The stream it belongs to.
        stream: StreamId,
        /// The bytes that would be forwarded.
        body: Result<&'a [u8], BodyFault>,
    },
    /// Response headers of a stream whose permit is watched.
    ResponseHead {
        /// The stream.
        stream: StreamId,
        /// What is looked at of it.
        head: ResponseHead<'a>,
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
    /// The body of a response that is held is complete, never a part of it; or it will not be.
    ResponseBody {
        /// The stream.
        stream: StreamId,
        /// The whole body.
        body: Result<&'a [u8], BodyFault>,
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
    /// More bytes arrived than are looked at: [`crate::Gate::body_limit`], [`ResponseAct::Hold`].
    TooLarge,
    /// The host did not hand it over.
    Unreadable,
    /// No byte of it has reached the host.
    Withheld,
    /// The host has some of it, and shows nothing.
    Undelivered,
}

/// Who should see a line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// An operator, now: it works for nobody.
    Error,
    /// An operator, always.
    Warning,
    /// Who looks for what became of a call.
    Info,
    /// Somebody who follows single calls: several lines for each exchange.
    Debug,
}

/// What to do with a response that is watched. Without a word it goes on as it comes.
#[derive(Debug, PartialEq, Eq)]
pub enum ResponseAct {
    /// Keep all of it, the head too, until its body is complete: then [`Input::ResponseBody`] hands it over, or says that
    /// it is longer than this. No chunk is shown meanwhile.
    Hold {
        /// Bytes of the body that are looked at.
        most: usize,
    },
    /// Let it go with this challenge (`WWW-Authenticate`) in place of all that it has. Said to its head only.
    Challenge(String),
    /// Let it go with this session id (`Mcp-Session-Id`) in place of its own. Said to its head only.
    Session(String),
    /// Hand over its body piece by piece, and let go what is said with [`ResponseAct::Give`] in place of each. Said to its head only.
    Take {
        /// Its head waits until the first piece goes.
        hold: bool,
    },
    /// Let these bytes go in place of the piece that was handed over.
    Give {
        /// Possibly none.
        bytes: Vec<u8>,
        /// The head may go, too.
        release: bool,
    },
    /// Its body is of no interest. Said to its head only.
    Leave,
    /// Let what was held go as it came.
    Pass,
    /// Let it go with this body in place of its own, and the `Content-Length` of this one.
    Rewrite(Vec<u8>),
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
    /// What becomes of a response that is watched. Said only while its head or its body is handled.
    Response {
        /// The stream.
        stream: StreamId,
        /// What to do with it.
        act: ResponseAct,
    },
    /// Hand over the complete body again, as [`Input::Body`]: it arrived while the request waited for keys.
    ReadBody {
        /// The stream whose body is wanted.
        stream: StreamId,
    },
    /// No part of any body was ever shown here: say as [`Input::Body`] who keeps this one back, [`BodyFault::Withheld`] or
    /// [`BodyFault::Undelivered`].
    WhyNoBody {
        /// The stream whose body did not come in time.
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
    Log {
        /// Who should see it.
        level: Level,
        /// The line.
        line: String,
    },
    /// Count, or set, a metric.
    Count(Metric),
    /// Send [`Input::Tick`] at this moment. Replaces the moment asked for before.
    Wake {
        /// When.
        at: Millis,
    },
}
