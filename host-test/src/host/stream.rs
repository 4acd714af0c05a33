//! One HTTP stream with one filter on it, and what Envoy's filter manager does with what the filter says.

use std::collections::BTreeMap;

use super::events::Event;
use super::guest::{Guest, Trapped};
use super::headers::Headers;
use super::network::{Client, Protocol, UpstreamRequest};
use super::world::{Context, MILLI, Place, World};

/// The proxy's name for a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Request,
    Response,
}

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
}

/// A local reply.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub status: u16,
    pub headers: Headers,
    pub body: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub place: Place,
    /// The filter's configuration, in the same VM.
    root: u32,
    /// False: the filter is skipped.
    filtered: bool,
    header_stop: bool,
    fails_open: bool,
    properties: BTreeMap<String, Vec<u8>>,
    pub filter_state: BTreeMap<String, Vec<u8>>,
    request: Half,
    response: Half,
    upstream: Option<UpstreamRequest>,
    client: Option<ClientResponse>,
    origin: Origin,
    is_reset: bool,
    has_ended: bool,
    reply: Option<Reply>,
    closed: bool,
    in_callback: bool,
    logging: bool,
    active: u64,
}

/// One direction of a stream.
#[derive(Debug, Default)]
struct Half {
    headers: Headers,
    trailers: Option<Headers>,
    /// The filter may see and change the headers.
    open: bool,
    released: bool,
    trailers_open: bool,
    /// Held back, and in a callback also the piece it is about.
    buffer: Vec<u8>,
    buffering: bool,
    stop: Stop,
    /// All of it has arrived.
    arrived: bool,
    finished: bool,
    /// The filter wants it to go on.
    resumed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stop {
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
            is_reset: false,
            has_ended: false,
            reply: None,
            closed: false,
            in_callback: false,
            logging: false,
            active: 0,
        }
    }

    pub fn transcript(&self) -> Transcript {
        Transcript {
            upstream: self.upstream.clone(),
            response: self.client.clone(),
            is_reset: self.is_reset,
            has_ended: self.has_ended,
            filter_state: self.filter_state.clone(),
        }
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
        (half.open || half.buffering || !half.buffer.is_empty()).then_some(&mut half.buffer)
    }

    pub fn property(&self, path: &str) -> Option<Vec<u8>> {
        let header = |name: &str| self.request.headers.get(name.as_bytes());
        match path {
            "request.path" => header(":path"),
            "request.method" => header(":method"),
            "request.host" => header(":authority"),
            "response.code" => Some(u64::from(self.client.as_ref()?.headers.status()).to_le_bytes().to_vec()),
            _ => match path.strip_prefix("request.headers.") {
                Some(name) => header(name),
                None => self.properties.get(path).or_else(|| self.filter_state.get(path)).cloned(),
            },
        }
    }

    fn half(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }

    fn has_responded(&self) -> bool {
        self.client.is_some()
    }
}

const CONTINUE: i32 = 0;

/// The life of a stream. Every step ends with what the filter asked for meanwhile.
impl Guest<'_> {
    /// The head has arrived.
    pub fn begin(&mut self, id: StreamId, client: Client) {
        let Some((place, root, filtered)) = self.read(id, |stream| (stream.place, stream.root, stream.filtered)) else {
            return;
        };
        let end = client.body.is_empty() && client.trailers.is_none();
        let world = self.world();
        {
            let mut world = world.borrow_mut();
            let now = world.now;
            let idle = world.limits.idle_timeout;
            if let Some(stream) = world.streams.get_mut(&id) {
                stream.request.headers = client.headers.as_delivered();
                stream.active = now;
            }
            world.later(idle, Event::Idle { stream: id });
            schedule_client(&mut world, id, client);
        }
        if filtered && self.on_context_create(place.context, root).is_err() {
            return self.fail(id);
        }
        self.headers(id, Direction::Request, end);
    }

    fn headers(&mut self, id: StreamId, direction: Direction, end: bool) {
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
            half.buffer.extend(bytes);
            (half.stop != Stop::All).then_some((place.context, half.buffer.len()))
        });
        self.touch(id);
        let Some(Some((context, size))) = step else { return };
        let said = self.ask(id, |guest| match direction {
            Direction::Request => guest.on_request_body(context, size, end),
            Direction::Response => guest.on_response_body(context, size, end),
        });
        let Some((action, stopped)) = said else { return };
        let passes = action == CONTINUE && !stopped;
        let limits = self.world().borrow().limits;
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

    /// Frees a stream on which nothing has happened for too long.
    pub fn idle(&mut self, id: StreamId) {
        let world = self.world();
        let (now, most) = (world.borrow().now, world.borrow().limits.idle_timeout * MILLI);
        let Some(active) = self.read(id, |stream| stream.active) else { return };
        if now < active + most {
            return world.borrow_mut().events.add(active + most, Event::Idle { stream: id });
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
        let world = self.world();
        let id = match world.borrow().contexts.get(&place) {
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
            let world = self.world();
            let world = world.borrow();
            let asked = |stream: &&Stream| {
                stream.place.vm == vm
                    && !stream.in_callback
                    && (stream.reply.is_some() || stream.closed || stream.request.resumed || stream.response.resumed)
            };
            world.streams.values().filter(asked).map(|stream| stream.place).collect()
        };
        for place in places {
            self.act(place);
        }
    }

    // ---- steps

    /// A callback of the stream, with what it answered and whether the host stops the iteration in any case. `None`:
    /// there is nothing more to do.
    fn ask(
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
    fn settle(&mut self, id: StreamId) -> bool {
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
        let reentrant = self.world().borrow().reentrant;
        if !reentrant {
            self.act_on_all();
        }
        is_over
    }

    /// Goes on with a direction that was resumed; harmless when it was not stopped.
    fn go_on(&mut self, id: StreamId, direction: Direction) {
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
    fn flush(&mut self, id: StreamId, direction: Direction) {
        let world = self.world();
        let finished = {
            let mut world = world.borrow_mut();
            let Some(stream) = world.streams.get_mut(&id) else { return };
            let origin = stream.origin;
            let half = stream.half(direction);
            (half.stop, half.open, half.trailers_open, half.buffering) = (Stop::No, false, false, false);
            let first = !std::mem::replace(&mut half.released, true);
            let bytes = std::mem::take(&mut half.buffer);
            let headers = if first { half.headers.clone() } else { Headers::default() };
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
                        world.later(0, Event::Upstream { stream: id, request });
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
        if finished {
            self.end(id);
        }
    }

    /// A local reply. It passes the filter like any response, unless a response is already on its way through it.
    fn answer(&mut self, id: StreamId, reply: Reply, origin: Origin) {
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
    fn fail(&mut self, id: StreamId) {
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
    fn end(&mut self, id: StreamId) {
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
            let world = self.world();
            let mut world = world.borrow_mut();
            world.contexts.remove(&place);
            if let Some(stream) = world.streams.remove(&id) {
                world.ended.insert(id, stream.transcript());
            }
        }
        // Its own end was not a callback in which anything could be asked for on it, but on others.
        self.act_on_all();
    }

    // ---- access

    fn read<R>(&self, id: StreamId, act: impl FnOnce(&mut Stream) -> R) -> Option<R> {
        let world = self.world();
        let mut world = world.borrow_mut();
        world.streams.get_mut(&id).filter(|stream| !stream.has_ended).map(act)
    }

    fn change(&self, id: StreamId, act: impl FnOnce(&mut Stream)) {
        let _ = self.read(id, act);
    }

    fn touch(&self, id: StreamId) {
        let now = self.world().borrow().now;
        self.change(id, |stream| stream.active = now);
    }
}

fn own(status: u16, text: &str) -> Reply {
    Reply { status, headers: Headers::of([("content-type", "text/plain")]), body: text.into() }
}

/// When the rest of a request arrives.
fn schedule_client(world: &mut World, id: StreamId, client: Client) {
    let mut at = world.now;
    let last = client.body.len();
    let has_trailers = client.trailers.is_some();
    for (index, chunk) in client.body.into_iter().enumerate() {
        at += chunk.after * MILLI;
        let ends = index + 1 == last && !has_trailers;
        let together = client.protocol == Protocol::Http2;
        world.events.add(at, Event::RequestData { stream: id, bytes: chunk.bytes, end: ends && together });
        if ends && !together {
            world.events.add(at, Event::RequestData { stream: id, bytes: Vec::new(), end: true });
        }
    }
    if let Some(trailers) = client.trailers {
        world.events.add(at, Event::RequestTrailers { stream: id, trailers });
    }
    if let Some(leaves) = client.leaves {
        world.later(leaves, Event::Disconnect { stream: id });
    }
}
