//! What Envoy's filter manager does with a stream, and with what its filter says.

mod steps;

use crate::events::Event;
use crate::guest::Guest;
use crate::headers::Headers;
use crate::ids::{Direction, MILLI, Place, StreamId};
use crate::machine::{Context, Machine};
use crate::network::{Client, Protocol};
use crate::stream::{Origin, Reply, Stop, Stream};

/// What a filter says when it is done.
const CONTINUE: i32 = 0;

/// The life of a stream. Every step ends with what the filter asked for meanwhile.
impl Guest<'_> {
    /// The head has arrived.
    pub fn begin(&mut self, id: StreamId, client: Client) {
        let Some((place, root, filtered)) = self.read(id, |stream| (stream.place, stream.root, stream.filtered)) else {
            return;
        };
        let end = !client.is_open && client.body.is_empty() && client.trailers.is_none();
        let machine = self.machine();
        {
            let mut machine = machine.borrow_mut();
            let now = machine.now;
            let idle = now.saturating_add(machine.limits.idle_timeout.saturating_mul(MILLI));
            if let Some(stream) = machine.streams.get_mut(&id) {
                stream.request.headers = client.headers.as_delivered();
                stream.active = now;
            }
            machine.limit(id, idle, Event::Idle { stream: id });
            schedule_client(&mut machine, id, client);
        }
        if filtered && self.on_context_create(place.context, root).is_err() {
            return self.fail(id);
        }
        self.headers(id, Direction::Request, end);
    }

    pub(super) fn headers(&mut self, id: StreamId, direction: Direction, end: bool) {
        let Some((context, count)) = self.read(id, |stream| {
            let half = stream.half(direction);
            half.open = true;
            half.arrived = end;
            let count = half.headers.0.len();
            (stream.place.context, count)
        }) else {
            return;
        };
        let said = self.ask(id, |guest| match direction {
            Direction::Request => guest.on_request_headers(context, count, end),
            Direction::Response => guest.on_response_headers(context, count, end),
        });
        let Some((action, stopped)) = said else { return };
        self.change(id, |stream| {
            let header_stop = stream.header_stop;
            let half = stream.half(direction);
            match (action, stopped) {
                (_, true) => half.stop = Stop::All,
                (CONTINUE, _) => half.open = false,
                _ => half.stop = if header_stop { Stop::Iteration } else { Stop::All },
            }
        });
        if self.settle(id) {
            return;
        }
        if action == CONTINUE && !stopped {
            self.flush(id, direction);
        }
    }

    /// A piece of a body has arrived.
    pub fn data(&mut self, id: StreamId, direction: Direction, bytes: &[u8], end: bool) {
        let step = self.read(id, |stream| {
            let place = stream.place;
            let half = stream.half(direction);
            half.arrived |= end;
            half.received += bytes.len() as u64;
            half.buffer.extend(bytes);
            half.in_body = half.stop != Stop::All;
            (half.stop != Stop::All).then_some((place.context, half.buffer.len()))
        });
        self.touch(id);
        let Some(Some((context, size))) = step else { return };
        let said = self.ask(id, |guest| match direction {
            Direction::Request => guest.on_request_body(context, size, end),
            Direction::Response => guest.on_response_body(context, size, end),
        });
        self.change(id, |stream| stream.half(direction).in_body = false);
        let Some((action, stopped)) = said else { return };
        let passes = action == CONTINUE && !stopped;
        let limits = self.machine().borrow().limits;
        let too_large = self.read(id, |stream| {
            let half = stream.half(direction);
            half.buffering = !passes;
            if stopped {
                half.stop = Stop::All;
            } else if !passes && half.stop == Stop::No {
                half.stop = Stop::Iteration;
            }
            let most = match direction {
                Direction::Request => limits.request_body,
                Direction::Response => limits.response_body,
            };
            !passes && half.buffer.len() > most
        });
        if self.settle(id) {
            return;
        }
        if passes {
            self.flush(id, direction);
        } else if too_large == Some(true) {
            match direction {
                Direction::Request => self.answer(id, own(413, "Payload Too Large"), Origin::Proxy),
                Direction::Response => self.answer(id, own(500, "Internal Server Error"), Origin::Proxy),
            }
        }
    }

    /// Trailers have arrived: the end of the message.
    pub fn trailers(&mut self, id: StreamId, direction: Direction, trailers: Headers) {
        let step = self.read(id, |stream| {
            let place = stream.place;
            let half = stream.half(direction);
            half.arrived = true;
            let count = trailers.0.len();
            half.trailers = Some(trailers);
            half.trailers_open = half.stop != Stop::All;
            half.trailers_open.then_some((place.context, count))
        });
        self.touch(id);
        let Some(Some((context, count))) = step else { return };
        let said = self.ask(id, |guest| match direction {
            Direction::Request => guest.on_request_trailers(context, count),
            Direction::Response => guest.on_response_trailers(context, count),
        });
        let Some((action, stopped)) = said else { return };
        if self.settle(id) {
            return;
        }
        if action == CONTINUE && !stopped {
            self.flush(id, direction);
        } else {
            self.change(id, |stream| stream.half(direction).stop = Stop::Iteration);
        }
    }

    /// The client has gone away.
    pub fn disconnect(&mut self, id: StreamId) {
        self.change(id, |stream| stream.is_reset = true);
        self.end(id);
    }

    /// The upstream's connection broke.
    pub fn upstream_reset(&mut self, id: StreamId) {
        if self.read(id, |stream| stream.has_responded()) == Some(true) {
            self.disconnect(id);
        } else {
            self.answer(id, own(503, "upstream connect error or disconnect/reset before headers"), Origin::Proxy);
        }
    }

    /// The time is over that the request asked the router for. Measured: the client's connection breaks, and no reason is said.
    pub fn expired(&mut self, id: StreamId) {
        if self.read(id, |stream| stream.has_responded()) == Some(true) {
            self.disconnect(id);
        } else {
            self.answer(id, own(504, "upstream max stream duration reached"), Origin::Proxy);
        }
    }

    /// Frees a stream on which nothing has happened for too long.
    pub fn idle(&mut self, id: StreamId) {
        let machine = self.machine();
        let (now, most) = (machine.borrow().now, machine.borrow().limits.idle_timeout * MILLI);
        let Some(active) = self.read(id, |stream| stream.active) else { return };
        if now < active + most {
            return machine.borrow_mut().limit(id, active + most, Event::Idle { stream: id });
        }
        if self.read(id, |stream| stream.has_responded()) == Some(true) {
            return self.disconnect(id);
        }
        self.answer(id, own(504, "stream timeout"), Origin::Proxy);
    }

    /// The upstream answers.
    pub fn response(&mut self, id: StreamId, headers: Headers, end: bool) {
        self.change(id, |stream| {
            stream.origin = Origin::Upstream;
            stream.response.headers = headers;
        });
        self.touch(id);
        self.headers(id, Direction::Response, end);
    }

    /// Performs what was asked for on a stream outside of its own callbacks.
    pub fn act(&mut self, place: Place) {
        let machine = self.machine();
        let id = match machine.borrow().contexts.get(&place) {
            Some(Context::Stream(id)) => *id,
            _ => return,
        };
        let mut directions = vec![Direction::Request, Direction::Response];
        self.change(id, |stream| {
            directions.retain(|direction| std::mem::take(&mut stream.half(*direction).resumed));
        });
        if !self.settle(id) {
            for direction in directions {
                self.go_on(id, direction);
            }
        }
    }

    /// The same for all streams of this VM: callbacks of a root may have asked for something on any of them.
    pub fn act_on_all(&mut self) {
        let vm = self.store.data().vm;
        let places: Vec<Place> = {
            let machine = self.machine();
            let machine = machine.borrow();
            let asked = |stream: &&Stream| {
                stream.place.vm == vm
                    && !stream.in_callback
                    && (stream.reply.is_some() || stream.closed || stream.request.resumed || stream.response.resumed)
            };
            machine.streams.values().filter(asked).map(|stream| stream.place).collect()
        };
        for place in places {
            self.act(place);
        }
    }
}

fn own(status: u16, text: &str) -> Reply {
    let headers = Headers::of([("content-type", "text/plain")]);
    Reply { status, headers, body: text.into(), details: String::new() }
}

/// When the rest of a request arrives.
fn schedule_client(machine: &mut Machine, id: StreamId, client: Client) {
    let mut at = machine.now;
    let last = client.body.len();
    let has_trailers = client.trailers.is_some();
    for (index, chunk) in client.body.into_iter().enumerate() {
        at += chunk.after * MILLI;
        let ends = index + 1 == last && !has_trailers;
        let together = client.protocol == Protocol::Http2;
        machine.events.add(at, Event::RequestData { stream: id, bytes: chunk.bytes, end: ends && together });
        if ends && !together {
            machine.events.add(at, Event::RequestData { stream: id, bytes: Vec::new(), end: true });
        }
    }
    if let Some(trailers) = client.trailers {
        machine.events.add(at, Event::RequestTrailers { stream: id, trailers });
    }
    if let Some(leaves) = client.leaves {
        machine.later(leaves, Event::Disconnect { stream: id });
    }
}
