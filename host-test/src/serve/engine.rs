//! The filter at work: one thread has the VM, the clock and the streams, and hears of everything else by message.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow};
use simulated_proxy::{
    CallAnswer, CallPlan, Client, Configuration, Delivery, FailurePolicy, Headers, Limits, Module, Network, Origin,
    OutboundCall, Proxy, StreamId, UpstreamPlan, UpstreamRequest,
};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::outside::{Outside, Room};
use super::policy::Served;
use super::told::{Called, Told, Way};
use crate::backend::AUDIT;

/// What the engine is told.
pub(super) enum Message {
    /// A client's head has come.
    Open {
        client: Client,
        way: Option<String>,
        to: ToClient,
        stream: oneshot::Sender<StreamId>,
    },
    /// A piece of its body; `done` says that the filter has seen it.
    RequestData {
        stream: StreamId,
        bytes: Vec<u8>,
        end: bool,
        done: oneshot::Sender<()>,
    },
    RequestTrailers {
        stream: StreamId,
        trailers: Headers,
    },
    /// The client has gone.
    Gone {
        stream: StreamId,
    },
    /// The upstream's answer, likewise.
    Head {
        stream: StreamId,
        headers: Headers,
        end: bool,
    },
    Data {
        stream: StreamId,
        bytes: Vec<u8>,
        end: bool,
        done: oneshot::Sender<()>,
    },
    Trailers {
        stream: StreamId,
        trailers: Headers,
    },
    Broken {
        stream: StreamId,
    },
    /// The answer to a call of the filter's.
    Called {
        number: u64,
        answer: CallAnswer,
    },
    /// Another policy takes the place of this one, or it stays and the answer says why.
    Replace {
        policy: Box<Served>,
        done: oneshot::Sender<Result<(), String>>,
    },
    /// How much there is of everything.
    Count {
        counts: oneshot::Sender<Counts>,
    },
    /// Take back what was minted, and end.
    End,
}

/// What there is, for those who look for leaks.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Streams that have not ended.
    pub streams: usize,
    /// Calls of the filter's under way.
    pub calls: usize,
    /// The filter's metrics.
    pub metrics: Vec<(String, u64)>,
}

/// A piece of a response.
pub(super) enum Piece {
    Head(Headers),
    Data(Vec<u8>),
    Trailers(Headers),
    /// It ended as it should.
    End,
    /// It did not.
    Broken,
}

/// The way to a client.
pub(super) struct ToClient {
    pub pieces: tokio::sync::mpsc::UnboundedSender<Piece>,
    /// What is on that way: who sends more than the client takes has to wait.
    pub room: Arc<Room>,
}

/// For the time after the last client has gone: revocations.
const LAST_CALLS: Duration = Duration::from_secs(5);

/// A VM that is alone has an id of its own.
const VM: &str = "step-up";

/// The engine's half of a stream.
struct Stream {
    to: ToClient,
    way: Option<String>,
    has_head: bool,
    begun: Instant,
    upstream: Option<AbortHandle>,
}

pub(super) struct Engine {
    proxy: Proxy,
    filter: usize,
    module: Module,
    world: Rc<RefCell<World>>,
    streams: HashMap<StreamId, Stream>,
    told: Box<dyn Fn(Told) + Send>,
}

/// What the filter asks of the world, until this thread has time for it.
struct World {
    outside: Outside,
    next_call: u64,
    /// Those under way.
    calls: HashMap<u64, OutboundCall>,
    forwarded: Vec<(StreamId, UpstreamRequest)>,
}

impl Network for World {
    fn call(&mut self, _: u64, call: &OutboundCall) -> CallPlan {
        self.next_call += 1;
        if !self.outside.call(self.next_call, call) {
            return CallPlan::UnknownCluster;
        }
        self.calls.insert(self.next_call, call.clone());
        CallPlan::Outside(self.next_call)
    }

    fn upstream(&mut self, _: &UpstreamRequest) -> UpstreamPlan {
        UpstreamPlan { headers: Headers::of([(":status", "503")]), ..UpstreamPlan::default() }
    }

    fn forward(&mut self, stream: StreamId, request: &UpstreamRequest) -> Option<UpstreamPlan> {
        self.forwarded.push((stream, request.clone()));
        None
    }
}

impl Engine {
    /// A filter with that policy, ready.
    pub fn new(module: Module, policy: &Served, outside: Outside, told: Box<dyn Fn(Told) + Send>) -> Result<Engine> {
        let world = World { outside, next_call: 0, calls: HashMap::new(), forwarded: Vec::new() };
        let world = Rc::new(RefCell::new(world));
        // The filter has limits of its own, below these.
        let limits =
            Limits { request_body: 64 << 20, response_body: 64 << 20, idle_timeout: 3_600_000, ..Limits::default() };
        let network: Rc<RefCell<dyn Network>> = Rc::clone(&world) as Rc<RefCell<dyn Network>>;
        let mut proxy = Proxy::live(now(), network, limits);
        let filter = proxy.load(configuration(&module, policy))?;
        Ok(Engine { proxy, filter, module, world, streams: HashMap::new(), told })
    }

    /// Works until it is told to end, or nobody is left who could tell it anything.
    pub fn run(mut self, messages: &Receiver<Message>) {
        let mut ending: Option<Instant> = None;
        loop {
            self.proxy.advance(now());
            self.settle(Vec::new());
            if ending.is_some_and(|until| Instant::now() > until || self.is_idle()) {
                return;
            }
            let first = match messages.recv_timeout(self.pause(ending.is_some())) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            self.proxy.advance(now());
            let mut done = Vec::new();
            for message in std::iter::once(first).chain(messages.try_iter().take(64)) {
                if matches!(message, Message::End) {
                    ending.get_or_insert_with(|| Instant::now() + LAST_CALLS);
                }
                done.extend(self.hear(message));
            }
            self.settle(done);
        }
    }

    /// Until something is due.
    fn pause(&self, is_ending: bool) -> Duration {
        let due = self.proxy.due().map_or(1_000, |due| due.saturating_sub(now()).clamp(1, 1_000));
        Duration::from_millis(if is_ending { due.min(10) } else { due })
    }

    fn is_idle(&self) -> bool {
        self.streams.is_empty() && self.world.borrow().calls.is_empty()
    }

    /// Takes one message; what is to be said when its consequences are on their way.
    fn hear(&mut self, message: Message) -> Option<oneshot::Sender<()>> {
        match message {
            Message::Open { client, way, to, stream } => {
                let id = self.proxy.open(self.filter, client);
                self.streams.insert(id, Stream { to, way, has_head: false, begun: Instant::now(), upstream: None });
                if stream.send(id).is_err() {
                    self.proxy.disconnect(id);
                }
            }
            Message::RequestData { stream, bytes, end, done } => {
                self.proxy.request_data(stream, bytes, end);
                return Some(done);
            }
            Message::RequestTrailers { stream, trailers } => self.proxy.request_trailers(stream, trailers),
            Message::Gone { stream } => self.proxy.disconnect(stream),
            Message::Head { stream, headers, end } => self.proxy.respond(stream, headers, end),
            Message::Data { stream, bytes, end, done } => {
                self.proxy.response_data(stream, bytes, end);
                return Some(done);
            }
            Message::Trailers { stream, trailers } => self.proxy.response_trailers(stream, trailers),
            Message::Broken { stream } => self.proxy.upstream_reset(stream),
            Message::Called { number, answer } => {
                let call = self.world.borrow_mut().calls.remove(&number);
                if let Some(OutboundCall { cluster, body: request, .. }) = call {
                    let (status, body) = (answer.headers.status(), answer.body.clone());
                    (self.told)(Told::Called(Called { cluster, request, status, body }));
                }
                self.proxy.answer_call(number, answer);
            }
            Message::Replace { policy, done } => {
                let replaced = self.replace(&policy);
                let _ = done.send(replaced.map_err(|error| format!("{error:#}")));
            }
            Message::Count { counts } => {
                let calls = self.world.borrow().calls.len();
                let _ = counts.send(Counts { streams: self.streams.len(), calls, metrics: self.proxy.metrics() });
            }
            Message::End => {}
        }
        None
    }

    fn replace(&mut self, policy: &Served) -> Result<()> {
        self.world.borrow_mut().outside.route_by(policy)?;
        self.proxy.update(self.filter, configuration(&self.module, policy))
    }

    /// Sends on what has come of everything so far.
    fn settle(&mut self, done: Vec<oneshot::Sender<()>>) {
        loop {
            let forwarded = std::mem::take(&mut self.world.borrow_mut().forwarded);
            let touched = self.proxy.touched();
            if forwarded.is_empty() && touched.is_empty() {
                break;
            }
            for (stream, request) in forwarded {
                self.forward(stream, request);
            }
            for stream in touched {
                self.deliver(stream);
            }
        }
        for (level, line) in self.proxy.take_log() {
            (self.told)(Told::Line { level, line });
        }
        for done in done {
            // Who waits may have gone.
            let _ = done.send(());
        }
    }

    fn forward(&mut self, id: StreamId, request: UpstreamRequest) {
        let record = self.proxy.filter_state(id, AUDIT).unwrap_or_default();
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap_or_default();
        let server = record.get("server").and_then(|server| server.as_str()).or(stream.way.as_deref());
        let room = Arc::clone(&stream.to.room);
        match self.world.borrow().outside.forward(id, server, request, room) {
            Ok(task) => stream.upstream = Some(task),
            Err(error) => {
                (self.told)(Told::Line { level: ERROR, line: format!("{error:#}") });
                self.proxy.upstream_reset(id);
            }
        }
    }

    fn deliver(&mut self, id: StreamId) {
        let Delivery { headers, body, trailers, end } = self.proxy.deliver(id);
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let send = |piece: Piece| drop(stream.to.pieces.send(piece));
        if let Some(headers) = headers.filter(|_| !stream.has_head) {
            stream.has_head = true;
            send(Piece::Head(headers));
        }
        if !body.is_empty() {
            stream.to.room.take(body.len());
            send(Piece::Data(body));
        }
        let Some(end) = end else { return };
        if let Some(trailers) = trailers.filter(|_| end.is_complete) {
            send(Piece::Trailers(trailers));
        }
        send(if end.is_complete { Piece::End } else { Piece::Broken });
        if let Some(stream) = self.streams.remove(&id) {
            if let Some(task) = stream.upstream {
                task.abort();
            }
            let record = end.filter_state.get(AUDIT).cloned().unwrap_or_default();
            let details = match end.origin {
                Origin::Upstream => VIA_UPSTREAM.to_owned(),
                Origin::Filter | Origin::Proxy => end.details,
            };
            (self.told)(Told::Ended(Way { record, details, took: stream.begun.elapsed() }));
        }
    }
}

/// Response code details of what the server behind has answered, as Envoy says it.
const VIA_UPSTREAM: &str = "via_upstream";

/// As the levels of the log count them.
const ERROR: u32 = 4;

fn configuration(module: &Module, policy: &Served) -> Configuration {
    Configuration {
        module: module.clone(),
        vm_id: VM.to_owned(),
        root_id: VM.to_owned(),
        configuration: policy.text.clone().into_bytes(),
        environment: policy.environment.clone(),
        allow_on_headers_stop_iteration: true,
        failure_policy: FailurePolicy::FailReload,
    }
}

/// Milliseconds since the epoch.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The engine's thread, and the way to it.
pub(super) fn start(
    make: impl FnOnce() -> Result<Engine> + Send + 'static,
    messages: Receiver<Message>,
) -> Result<std::thread::JoinHandle<()>> {
    let (ready, made) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new().name("filter".to_owned()).spawn(move || match make() {
        Ok(engine) => {
            let _ = ready.send(Ok(()));
            engine.run(&messages);
        }
        Err(error) => drop(ready.send(Err(error))),
    })?;
    made.recv().map_err(|_| anyhow!("the filter ended before it began"))??;
    Ok(thread)
}

/// Who talks to it.
pub(super) type ToEngine = Sender<Message>;
