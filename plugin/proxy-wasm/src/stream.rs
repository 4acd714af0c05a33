//! One HTTP stream: its id and the way to the gate, nothing else.

use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, Bytes};
use step_up_core::{BodyFault, Input, StreamId};
use step_up_core::{RequestHead, ResponseHead};

use crate::drive::Driver;
use crate::headers::Headers;
use crate::host;

pub struct Stream {
    id: u32,
    driver: Rc<Driver>,
}

impl Stream {
    pub fn new(id: u32, driver: Rc<Driver>) -> Stream {
        Stream { id, driver }
    }

    fn stream(&self) -> StreamId {
        StreamId(self.id)
    }

    /// A part of a response that is held; `size` is that of all that is buffered.
    fn held(&self, size: usize, most: usize, is_complete: bool) -> Action {
        if size > most && size != usize::MAX {
            let body = Err(BodyFault::TooLarge);
            return self.driver.on_response(self.id, Input::ResponseBody { stream: self.stream(), body });
        }
        if !is_complete {
            return Action::Pause;
        }
        let bytes = host::response_chunk(size);
        let body = if bytes.len() > most { Err(BodyFault::TooLarge) } else { Ok(bytes.as_slice()) };
        self.driver.on_response(self.id, Input::ResponseBody { stream: self.stream(), body })
    }

    /// The body is complete; at most `most` bytes of it are looked at.
    fn body(&self, bytes: Result<Bytes, ()>, most: usize) -> Action {
        let body = match &bytes {
            Ok(bytes) if bytes.len() > most => Err(BodyFault::TooLarge),
            Ok(bytes) => Ok(bytes.as_slice()),
            Err(()) => Err(BodyFault::Unreadable),
        };
        self.tell(Input::Body { stream: self.stream(), body })
    }

    fn tell(&self, input: Input<'_>) -> Action {
        self.driver.on_stream(self.id, input)
    }
}

impl Context for Stream {}

// A response that nobody watches passes without a host call.
impl HttpContext for Stream {
    // Pausing here must stop the headers only (`allow_on_headers_stop_iteration`), or the body never comes.
    fn on_http_request_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        let (headers, server) = (Headers::of_request(), host::route_server());
        let source = if self.driver.asks_source() { host::peer_identity() } else { None };
        let (server, source, pairs) = (server.as_deref(), source.as_deref(), headers.pairs());
        // Most requests have a token, and are not worth a further question.
        let has_token = pairs.iter().any(|(name, _)| *name == b"authorization");
        let token_removed = !has_token && host::has_verified_token();
        let head = RequestHead { headers: &pairs, server, source, peer: &host::Peer, token_removed, end_of_stream };
        self.tell(Input::Head { stream: self.stream(), head })
    }

    // While pausing, `size` is that of everything buffered so far.
    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        let most = self.driver.body_limit(self.id);
        if size > most {
            return self.tell(Input::Body { stream: self.stream(), body: Err(BodyFault::TooLarge) });
        }
        if !end_of_stream {
            self.driver.on_part_of_body(self.id);
            return Action::Pause;
        }
        self.body(host::request_body(size), most)
    }

    // With trailers, no part of the body is the last. They go no further; what was held back of the body does.
    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        if !host::drop_request_trailers() {
            return self.tell(Input::Body { stream: self.stream(), body: Err(BodyFault::Unreadable) });
        }
        self.body(host::request_body(usize::MAX), self.driver.body_limit(self.id))
    }

    fn on_http_response_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        if !self.driver.is_watched(self.id) {
            return Action::Continue;
        }
        let text = host::response_header;
        let status = text(":status").and_then(|status| status.parse().ok()).unwrap_or(0);
        let content_type = text("content-type");
        let challenge = if matches!(status, 401 | 403) { text("www-authenticate") } else { None };
        let (content_encoding, session) = (text("content-encoding"), text("mcp-session-id"));
        let head = ResponseHead {
            status,
            content_type: content_type.as_deref(),
            challenge: challenge.as_deref(),
            content_encoding: content_encoding.as_deref(),
            session: session.as_deref(),
            end_of_stream,
        };
        self.driver.on_response(self.id, Input::ResponseHead { stream: self.stream(), head })
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        if !self.driver.is_watched(self.id) {
            return Action::Continue;
        }
        if let Some(most) = self.driver.held(self.id) {
            return self.held(size, most, end_of_stream);
        }
        let bytes = host::response_chunk(size);
        self.driver.on_response(self.id, Input::ResponseChunk { stream: self.stream(), bytes: &bytes, end_of_stream })
    }

    // With trailers, no piece of the body is the last.
    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        if !self.driver.is_watched(self.id) {
            return Action::Continue;
        }
        if let Some(most) = self.driver.held(self.id) {
            return self.held(usize::MAX, most, true);
        }
        self.driver
            .on_response(self.id, Input::ResponseChunk { stream: self.stream(), bytes: &[], end_of_stream: true })
    }

    fn on_log(&mut self) {
        self.driver.on_gone(self.id);
    }
}
