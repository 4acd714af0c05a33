//! The steps that every part of a stream's life is made of.

use super::CONTINUE;
use crate::events::Event;
use crate::guest::{Guest, Trapped};
use crate::headers::Headers;
use crate::ids::{Direction, MILLI, StreamId};
use crate::network::UpstreamRequest;
use crate::stream::{ClientResponse, Half, Origin, Reply, Stop, Stream};

impl Guest<'_> {
    /// A callback of the stream, with what it answered and whether the host stops the iteration in any case. `None`:
    /// there is nothing more to do.
    pub(super) fn ask(
        &mut self,
        id: StreamId,
        callback: impl FnOnce(&mut Guest<'_>) -> Result<Option<i32>, Trapped>,
    ) -> Option<(i32, bool)> {
        if !self.read(id, |stream| stream.filtered)? {
            return Some((CONTINUE, false));
        }
        if self.has_failed() {
            if self.read(id, |stream| stream.fails_open)? {
                return Some((CONTINUE, false));
            }
            self.fail(id);
            return None;
        }
        self.change(id, |stream| stream.in_callback = true);
        self.store.data_mut().stops_iteration = false;
        let said = callback(self);
        self.change(id, |stream| stream.in_callback = false);
        let stopped = std::mem::take(&mut self.store.data_mut().stops_iteration);
        match said {
            Ok(action) => Some((action.unwrap_or(CONTINUE), stopped)),
            Err(Trapped) => {
                self.fail(id);
                None
            }
        }
    }

    /// Performs what the callback asked for on its own stream and on others. True when the stream is done with.
    pub(super) fn settle(&mut self, id: StreamId) -> bool {
        let asked = self.read(id, |stream| (stream.reply.take(), std::mem::take(&mut stream.closed)));
        let is_over = match asked {
            None => true,
            Some((_, true)) => {
                self.disconnect(id);
                true
            }
            Some((Some(reply), _)) => {
                self.answer(id, reply, Origin::Filter);
                true
            }
            Some((None, false)) => false,
        };
        let reentrant = self.machine().borrow().reentrant;
        if !reentrant {
            self.act_on_all();
        }
        is_over
    }

    /// Goes on with a direction that was resumed; harmless when it was not stopped.
    pub(super) fn go_on(&mut self, id: StreamId, direction: Direction) {
        match self.read(id, |stream| stream.half(direction).stop) {
            None | Some(Stop::No) => {}
            Some(Stop::Iteration) => self.flush(id, direction),
            Some(Stop::All) => {
                // What was not shown yet is shown now.
                let held = self.read(id, |stream| {
                    let half = stream.half(direction);
                    half.stop = Stop::No;
                    half.buffering = false;
                    let held = (std::mem::take(&mut half.buffer), half.trailers.take(), half.arrived);
                    // The end comes with what is shown last.
                    half.arrived &= held.0.is_empty() && held.1.is_none();
                    held
                });
                self.flush(id, direction);
                let Some((bytes, trailers, arrived)) = held else { return };
                if !bytes.is_empty() {
                    self.data(id, direction, &bytes, arrived && trailers.is_none());
                }
                if let Some(trailers) = trailers {
                    self.trailers(id, direction, trailers);
                }
            }
        }
    }

    /// Lets everything go on that is held back.
    pub(super) fn flush(&mut self, id: StreamId, direction: Direction) {
        let machine = self.machine();
        let finished = {
            let mut machine = machine.borrow_mut();
            let Some(stream) = machine.streams.get_mut(&id) else { return };
            let origin = stream.origin;
            let half = stream.half(direction);
            (half.stop, half.open, half.trailers_open, half.buffering) = (Stop::No, false, false, false);
            let first = !std::mem::replace(&mut half.released, true);
            let bytes = std::mem::take(&mut half.buffer);
            let mut headers = if first { half.headers.clone() } else { Headers::default() };
            let is_request = direction == Direction::Request;
            let duration = if is_request { headers.take_stream_duration() } else { None };
            let trailers = half.trailers.clone();
            let finished = half.arrived && !std::mem::replace(&mut half.finished, half.arrived);
            match direction {
                Direction::Request => {
                    if first {
                        stream.upstream = Some(UpstreamRequest { headers, ..UpstreamRequest::default() });
                    }
                    if let Some(upstream) = &mut stream.upstream {
                        upstream.body.extend(bytes);
                        upstream.trailers = trailers;
                        upstream.is_complete |= finished;
                    }
                    if finished && let Some(request) = stream.upstream.clone() {
                        machine.later(0, Event::Upstream { stream: id, request });
                    }
                    if let Some(millis) = duration {
                        let at = machine.now.saturating_add(millis.saturating_mul(MILLI));
                        machine.limit(id, at, Event::Expired { stream: id });
                    }
                    false
                }
                Direction::Response => {
                    if first {
                        let response =
                            ClientResponse { origin, headers, body: Vec::new(), trailers: None, is_complete: false };
                        stream.client = Some(response);
                    }
                    // The codec sends no body to a HEAD (RFC 9110 9.3.2).
                    let is_head = stream.request.headers.get(b":method").is_some_and(|method| method == b"HEAD");
                    if let Some(client) = &mut stream.client {
                        client.body.extend(if is_head { Vec::new() } else { bytes });
                        client.trailers = trailers;
                        client.is_complete |= finished;
                    }
                    finished
                }
            }
        };
        if direction == Direction::Response {
            self.machine().borrow_mut().touched(id);
        }
        if finished {
            self.end(id);
        }
    }

    /// A local reply. It passes the filter like any response, unless a response is already on its way through it.
    pub(super) fn answer(&mut self, id: StreamId, reply: Reply, origin: Origin) {
        let state = self.read(id, |stream| (stream.has_responded(), stream.response.open || stream.response.released));
        match state {
            None => {}
            Some((true, _)) => self.disconnect(id),
            Some((false, under_way)) => {
                let mut headers = Headers::of([(":status", reply.status.to_string().as_str())]);
                headers.0.extend(reply.headers.0);
                if reply.body.is_empty() {
                    headers.remove(b"content-type");
                } else {
                    headers.replace(b"content-length", reply.body.len().to_string().as_bytes());
                    if headers.get(b"content-type").is_none() {
                        headers.add(b"content-type", b"text/plain");
                    }
                }
                self.change(id, |stream| {
                    stream.origin = origin;
                    stream.details = reply.details;
                    stream.request.stop = Stop::All;
                    stream.request.open = false;
                    stream.response = Half { headers, ..Half::default() };
                });
                // Nor one that has failed: measured, the client gets the 504 of the idle timeout.
                if under_way || self.has_failed() {
                    self.change(id, |stream| {
                        stream.response.buffer = reply.body;
                        stream.response.arrived = true;
                    });
                    return self.flush(id, Direction::Response);
                }
                self.headers(id, Direction::Response, reply.body.is_empty());
                if !reply.body.is_empty() {
                    self.data(id, Direction::Response, &reply.body, true);
                }
            }
        }
    }

    /// The VM died in a callback of this stream.
    pub(super) fn fail(&mut self, id: StreamId) {
        let in_response = self.read(id, |stream| stream.has_responded() || stream.response.open);
        if in_response == Some(true) {
            // Measured: the client sees the status, and a reset.
            self.change(id, |stream| {
                stream.is_reset = true;
                let (headers, origin) = (stream.response.headers.clone(), stream.origin);
                let (body, trailers) = (Vec::new(), None);
                let begun = ClientResponse { origin, headers, body, trailers, is_complete: false };
                stream.client.get_or_insert(begun);
            });
        } else {
            self.change(id, |stream| {
                let headers = Headers::of([(":status", "503")]);
                let (body, trailers) = (Vec::new(), None);
                stream.client =
                    Some(ClientResponse { origin: Origin::Proxy, headers, body, trailers, is_complete: true });
            });
        }
        self.end(id);
    }

    /// The stream is over: log, done, delete, in this order.
    pub(super) fn end(&mut self, id: StreamId) {
        let over = self.read(id, |stream| {
            let over = std::mem::replace(&mut stream.has_ended, true);
            stream.logging = true;
            (over, stream.filtered, stream.place)
        });
        let Some((false, filtered, place)) = over else { return };
        if filtered && !self.has_failed() {
            let _ = self.on_log(place.context).and_then(|_| self.on_done(place.context));
            let _ = self.on_delete(place.context);
        }
        {
            let machine = self.machine();
            let mut machine = machine.borrow_mut();
            machine.contexts.remove(&place);
            if let Some(stream) = machine.streams.remove(&id) {
                for due in &stream.limits {
                    machine.events.cancel(*due);
                }
                machine.ended.insert(id, stream.transcript());
                machine.touched(id);
            }
        }
        // Its own end was not a callback in which anything could be asked for on it, but on others.
        self.act_on_all();
    }

    pub(super) fn read<R>(&self, id: StreamId, act: impl FnOnce(&mut Stream) -> R) -> Option<R> {
        let machine = self.machine();
        let mut machine = machine.borrow_mut();
        machine.streams.get_mut(&id).filter(|stream| !stream.has_ended).map(act)
    }

    pub(super) fn change(&self, id: StreamId, act: impl FnOnce(&mut Stream)) {
        let _ = self.read(id, act);
    }

    pub(super) fn touch(&self, id: StreamId) {
        let now = self.machine().borrow().now;
        self.change(id, |stream| stream.active = now);
    }
}
