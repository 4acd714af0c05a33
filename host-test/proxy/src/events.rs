//! What is due, in the order of time; at the same moment, in the order it was asked for.

use std::collections::BTreeMap;

use crate::headers::Headers;
use crate::ids::{Place, StreamId};
use crate::network::{CallAnswer, Client, UpstreamRequest};

#[derive(Debug)]
pub(crate) enum Event {
    /// A client's head arrives.
    Request {
        stream: StreamId,
        filter: usize,
        client: Client,
    },
    /// A piece of its body.
    RequestData {
        stream: StreamId,
        bytes: Vec<u8>,
        end: bool,
    },
    RequestTrailers {
        stream: StreamId,
        trailers: Headers,
    },
    /// The client goes away.
    Disconnect {
        stream: StreamId,
    },
    /// The upstream has the whole request, and answers.
    Upstream {
        stream: StreamId,
        request: UpstreamRequest,
    },
    Response {
        stream: StreamId,
        headers: Headers,
        end: bool,
    },
    ResponseData {
        stream: StreamId,
        bytes: Vec<u8>,
        end: bool,
    },
    ResponseTrailers {
        stream: StreamId,
        trailers: Headers,
    },
    /// The upstream's connection breaks.
    UpstreamReset {
        stream: StreamId,
    },
    /// The time is over that the request asked the router for.
    Expired {
        stream: StreamId,
    },
    /// Has nothing happened on it for too long?
    Idle {
        stream: StreamId,
    },
    CallAnswered {
        place: Place,
        token: u32,
        answer: CallAnswer,
    },
    Tick {
        place: Place,
        generation: u64,
    },
    QueueReady {
        place: Place,
        queue: u32,
    },
}

/// When something is due, and by which it is found.
pub(crate) type Due = (u64, u64);

#[derive(Debug, Default)]
pub(crate) struct Events {
    due: BTreeMap<Due, Event>,
    added: u64,
}

impl Events {
    pub fn add(&mut self, at: u64, event: Event) -> Due {
        self.added += 1;
        self.due.insert((at, self.added), event);
        (at, self.added)
    }

    /// It is no longer to happen.
    pub fn cancel(&mut self, due: Due) {
        self.due.remove(&due);
    }

    /// When the first one is due.
    pub fn first(&self) -> Option<u64> {
        self.due.keys().next().map(|(at, _)| *at)
    }

    /// The first one that is due until then.
    pub fn next(&mut self, until: u64) -> Option<(u64, Event)> {
        let entry = self.due.first_entry().filter(|entry| entry.key().0 <= until)?;
        let ((at, _), event) = entry.remove_entry();
        Some((at, event))
    }
}
