//! One HTTP stream with one filter on it: what is known of it, held back, and asked for.

use std::collections::BTreeMap;

use crate::events::Due;
use crate::headers::Headers;
use crate::ids::{Direction, Place};
use crate::network::{Client, UpstreamRequest};

/// Who made a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The upstream.
    Upstream,
    /// The filter.
    Filter,
    /// The proxy itself.
    Proxy,
}

/// A response as the client gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientResponse {
    /// Who made it.
    pub origin: Origin,
    /// The head.
    pub headers: Headers,
    /// What has arrived of the body.
    pub body: Vec<u8>,
    /// The trailers.
    pub trailers: Option<Headers>,
    /// It arrived to its end.
    pub is_complete: bool,
}

/// What has become of a stream.
#[derive(Clone, Debug, Default)]
pub struct Transcript {
    /// What the upstream got, if anything.
    pub upstream: Option<UpstreamRequest>,
    /// What the client got, if anything.
    pub response: Option<ClientResponse>,
    /// The connection broke before the end.
    pub is_reset: bool,
    /// The stream has ended, whichever way.
    pub has_ended: bool,
    /// What the filter has set, by name.
    pub filter_state: BTreeMap<String, Vec<u8>>,
    /// What the log says of a local reply of the filter: its response code details.
    pub details: String,
}

/// A local reply.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub status: u16,
    pub headers: Headers,
    pub body: Vec<u8>,
    pub details: String,
}

impl ClientResponse {
    /// What has come of it since this was last asked, with the head.
    pub(crate) fn part(&mut self) -> ClientResponse {
        let body = std::mem::take(&mut self.body);
        let mut part = self.clone();
        part.body = body;
        part
    }
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub place: Place,
    /// The filter's configuration, in the same VM.
    pub(crate) root: u32,
    /// False: the filter is skipped.
    pub(crate) filtered: bool,
    pub(crate) header_stop: bool,
    pub(crate) fails_open: bool,
    properties: BTreeMap<String, Vec<u8>>,
    pub filter_state: BTreeMap<String, Vec<u8>>,
    pub(crate) request: Half,
    pub(crate) response: Half,
    pub(crate) upstream: Option<UpstreamRequest>,
    pub(crate) client: Option<ClientResponse>,
    pub(crate) origin: Origin,
    pub(crate) details: String,
    pub(crate) is_reset: bool,
    pub(crate) has_ended: bool,
    pub(crate) reply: Option<Reply>,
    pub(crate) closed: bool,
    pub(crate) in_callback: bool,
    pub(crate) logging: bool,
    pub(crate) active: u64,
    /// What is due if it is there for too long.
    pub(crate) limits: Vec<Due>,
}

/// One direction of a stream.
#[derive(Debug, Default)]
pub(crate) struct Half {
    pub(crate) headers: Headers,
    pub(crate) trailers: Option<Headers>,
    /// The filter may see and change the headers.
    pub(crate) open: bool,
    pub(crate) released: bool,
    pub(crate) trailers_open: bool,
    /// Held back, and in a callback also the piece it is about.
    pub(crate) buffer: Vec<u8>,
    pub(crate) buffering: bool,
    /// A callback about a piece of it is running. The piece may be empty.
    pub(crate) in_body: bool,
    pub(crate) stop: Stop,
    /// Bytes of the body that have arrived, shown or not.
    pub(crate) received: u64,
    /// All of it has arrived.
    pub(crate) arrived: bool,
    pub(crate) finished: bool,
    /// The filter wants it to go on.
    pub(crate) resumed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stop {
    #[default]
    No,
    /// The rest of the message is still shown to the filter.
    Iteration,
    /// Nothing more is, until it resumes.
    All,
}

impl Stream {
    pub fn new(
        place: Place,
        root: u32,
        client: &Client,
        header_stop: bool,
        fails_open: bool,
        filtered: bool,
    ) -> Stream {
        Stream {
            place,
            root,
            filtered,
            header_stop,
            fails_open,
            properties: client.properties.clone(),
            filter_state: BTreeMap::new(),
            request: Half::default(),
            response: Half::default(),
            upstream: None,
            client: None,
            origin: Origin::Upstream,
            details: String::new(),
            is_reset: false,
            has_ended: false,
            reply: None,
            closed: false,
            in_callback: false,
            logging: false,
            active: 0,
            limits: Vec::new(),
        }
    }

    pub fn transcript(&self) -> Transcript {
        Transcript {
            upstream: self.upstream.clone(),
            response: self.client.clone(),
            is_reset: self.is_reset,
            has_ended: self.has_ended,
            filter_state: self.filter_state.clone(),
            details: self.details.clone(),
        }
    }

    pub fn response_so_far(&mut self) -> Option<&mut ClientResponse> {
        self.client.as_mut()
    }

    // ---- for host functions

    pub fn root(&self) -> Place {
        Place { vm: self.place.vm, context: self.root }
    }

    pub fn is_in_callback(&self) -> bool {
        self.in_callback
    }

    pub fn resume(&mut self, direction: Direction) {
        self.half(direction).resumed = true;
    }

    pub fn reply(&mut self, reply: Reply) {
        self.reply = Some(reply);
    }

    pub fn close(&mut self) {
        self.closed = true;
    }

    /// A map to read. Headers that are on their way can only be seen in the log phase.
    pub fn map(&mut self, kind: i32) -> Option<&mut Headers> {
        match (kind, self.logging) {
            (0, true) => Some(&mut self.request.headers),
            (2, true) => Some(&mut self.response.headers),
            _ => self.writable_map(kind),
        }
    }

    pub fn writable_map(&mut self, kind: i32) -> Option<&mut Headers> {
        match kind {
            0 if self.request.open => Some(&mut self.request.headers),
            1 if self.request.trailers_open => self.request.trailers.as_mut(),
            2 if self.response.open => Some(&mut self.response.headers),
            3 if self.response.trailers_open => self.response.trailers.as_mut(),
            _ => None,
        }
    }

    /// What is held back of a body, and the piece that a callback is about.
    pub fn buffer(&mut self, direction: Direction) -> Option<&mut Vec<u8>> {
        let half = self.half(direction);
        (half.open || half.buffering || half.in_body || !half.buffer.is_empty()).then_some(&mut half.buffer)
    }

    pub fn property(&self, path: &str) -> Option<Vec<u8>> {
        let header = |name: &str| self.request.headers.get(name.as_bytes());
        match path {
            "request.path" => header(":path"),
            "request.method" => header(":method"),
            "request.host" => header(":authority"),
            "request.total_size" => {
                let pair = |(name, value): &(Vec<u8>, Vec<u8>)| (name.len() + value.len()) as u64;
                let headers: u64 = self.request.headers.0.iter().map(pair).sum();
                Some((headers + self.request.received).to_le_bytes().to_vec())
            }
            "response.code" => Some(u64::from(self.client.as_ref()?.headers.status()).to_le_bytes().to_vec()),
            _ => match path.strip_prefix("request.headers.") {
                Some(name) => header(name),
                None => self.properties.get(path).or_else(|| self.filter_state.get(path)).cloned(),
            },
        }
    }

    pub(crate) fn half(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }

    pub(crate) fn has_responded(&self) -> bool {
        self.client.is_some()
    }
}
