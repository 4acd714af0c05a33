//! The same process in a real world: requests, answers and time come from outside, as they come, and what clients get is
//! fetched piece by piece. Nothing of it waits for anything: whoever owns the process has the sockets and the clock.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ring::rand::SystemRandom;

use crate::events::Event;
use crate::headers::Headers;
use crate::ids::{MILLI, StreamId};
use crate::limits::Limits;
use crate::machine::{ForeignFunctions, Live};
use crate::network::{CallAnswer, Client, Network};
use crate::proxy::Proxy;
use crate::stream::{ClientResponse, Origin, Stream};

/// What has become of a response since it was last asked for.
#[derive(Debug, Default)]
pub struct Delivery {
    /// The head, once it has come; again each time.
    pub headers: Option<Headers>,
    /// What is new of the body.
    pub body: Vec<u8>,
    /// The trailers, once they have come.
    pub trailers: Option<Headers>,
    /// The stream is over. It is then forgotten.
    pub end: Option<End>,
}

/// How a stream ended.
#[derive(Debug)]
pub struct End {
    /// The response arrived to its end; if not, the client is to be told by a reset.
    pub is_complete: bool,
    /// Who made the response.
    pub origin: Origin,
    /// Its response code details.
    pub details: String,
    /// What the filter has set, by name.
    pub filter_state: BTreeMap<String, Vec<u8>>,
}

impl Proxy {
    /// A process with one worker in a real world. Its clock begins at `now` (milliseconds since the epoch) and moves with
    /// [`Proxy::advance`]; randomness is the system's; calls, streams and lines of the log are forgotten once they were fetched.
    pub fn live(now: u64, network: Rc<RefCell<dyn Network>>, limits: Limits) -> Proxy {
        let proxy = Proxy::new(now, 1, network, limits, ForeignFunctions::Envoy);
        proxy.machine().borrow_mut().live = Some(Live { random: SystemRandom::new(), touched: BTreeSet::new() });
        proxy
    }

    /// The head of a request has come. With [`Client::is_open`], the rest follows.
    pub fn open(&mut self, filter: usize, client: Client) -> StreamId {
        let stream = self.send(filter, client);
        self.pass(0);
        stream
    }

    /// A piece of its body has come.
    pub fn request_data(&mut self, stream: StreamId, bytes: Vec<u8>, end: bool) {
        self.at_once(Event::RequestData { stream, bytes, end });
    }

    /// Its trailers have come, and with them its end.
    pub fn request_trailers(&mut self, stream: StreamId, trailers: Headers) {
        self.at_once(Event::RequestTrailers { stream, trailers });
    }

    /// The client has gone away.
    pub fn disconnect(&mut self, stream: StreamId) {
        self.at_once(Event::Disconnect { stream });
    }

    /// The head of the upstream's answer has come.
    pub fn respond(&mut self, stream: StreamId, headers: Headers, end: bool) {
        self.at_once(Event::Response { stream, headers, end });
    }

    /// A piece of its body has come.
    pub fn response_data(&mut self, stream: StreamId, bytes: Vec<u8>, end: bool) {
        self.at_once(Event::ResponseData { stream, bytes, end });
    }

    /// Its trailers have come, and with them its end.
    pub fn response_trailers(&mut self, stream: StreamId, trailers: Headers) {
        self.at_once(Event::ResponseTrailers { stream, trailers });
    }

    /// The upstream's connection broke, or there was none.
    pub fn upstream_reset(&mut self, stream: StreamId) {
        self.at_once(Event::UpstreamReset { stream });
    }

    /// The answer to a call ([`crate::CallPlan::Outside`]), or what the proxy says in its place. What comes twice, or for a call
    /// that nobody made, is dropped.
    pub fn answer_call(&mut self, number: u64, answer: CallAnswer) {
        let call = self.machine().borrow_mut().outside.remove(&number);
        if let Some((place, token)) = call {
            self.at_once(Event::CallAnswered { place, token, answer });
        }
    }

    /// It is now so many milliseconds since the epoch: what is due happens. Time does not go back.
    pub fn advance(&mut self, now: u64) {
        self.pass(now.saturating_sub(self.now()));
    }

    /// The next time that something is due by itself, in milliseconds since the epoch.
    pub fn due(&self) -> Option<u64> {
        self.machine().borrow().events.first().map(|at| at.div_ceil(MILLI))
    }

    /// Streams whose clients have something to get since this was last asked.
    pub fn touched(&mut self) -> Vec<StreamId> {
        let machine = self.machine();
        let mut machine = machine.borrow_mut();
        machine.live.as_mut().map(|live| std::mem::take(&mut live.touched)).into_iter().flatten().collect()
    }

    /// What the client of that stream gets now.
    pub fn deliver(&mut self, stream: StreamId) -> Delivery {
        let machine = self.machine();
        let mut machine = machine.borrow_mut();
        if let Some(over) = machine.ended.remove(&stream) {
            let response = over.response.as_ref();
            let end = End {
                is_complete: response.is_some_and(|response| response.is_complete) && !over.is_reset,
                origin: response.map_or(Origin::Proxy, |response| response.origin),
                details: over.details,
                filter_state: over.filter_state,
            };
            return Delivery { end: Some(end), ..over.response.map(Delivery::of).unwrap_or_default() };
        }
        let response = machine.streams.get_mut(&stream).and_then(Stream::response_so_far);
        response.map(|response| Delivery::of(response.part())).unwrap_or_default()
    }

    /// What the filter has set on a stream that is under way, under that name.
    pub fn filter_state(&self, stream: StreamId, name: &str) -> Option<Vec<u8>> {
        self.machine().borrow().streams.get(&stream)?.filter_state.get(name).cloned()
    }

    /// The lines of the log since this was last asked: level (0 trace to 5 critical) and line.
    pub fn take_log(&mut self) -> Vec<(u32, String)> {
        std::mem::take(&mut self.machine().borrow_mut().log)
    }

    /// Metrics by name.
    pub fn metrics(&self) -> Vec<(String, u64)> {
        self.machine().borrow().metrics().to_vec()
    }

    /// Streams that have not ended.
    pub fn streams(&self) -> usize {
        self.machine().borrow().streams.len()
    }

    fn at_once(&mut self, event: Event) {
        self.machine().borrow_mut().later(0, event);
        self.pass(0);
    }
}

impl Delivery {
    fn of(response: ClientResponse) -> Delivery {
        Delivery { headers: Some(response.headers), body: response.body, trailers: response.trailers, end: None }
    }
}
