//! A host of the bare decision, without proxy or wasm, and a simple one: what it shares with the simulated proxy is only the
//! script.

mod decision;
mod events;
mod misbehaviour;
mod responses;
mod upstream;
mod variables;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use anyhow::Result;
use simulated_proxy::{
    self, CallRecord, ClientResponse, Headers, Network, Origin, OutboundCall, Transcript, UpstreamRequest,
};
use step_up_core::{BodyFault, CallFault, CallId, Input, Millis, Reply, RequestHead, ResponseHead, StreamId};

use super::{AUDIT, PATIENCE, PEER_CERTIFICATE, PEER_IDENTITY, ROUTE_SERVER, Run, Script, Start, VERIFIED_TOKEN};
pub(super) use decision::{Answer, Decision, Effect, Release};
pub use misbehaviour::Misbehaviour;
pub(super) use variables::Variables;

use events::{Event, Happening, Settled, Stream};

/// The seed of every gate: a run repeats itself.
pub(super) const SEED: [u8; 16] = [7; 16];

/// Runs a script on a decision that has just been made.
pub(super) fn run(decision: Box<dyn Decision>, script: &Script, network: Rc<RefCell<dyn Network>>) -> Result<Run> {
    let mut vm = Vm::new(decision, Millis(script.now), network);
    vm.perform()?;
    let mut last = vm.now;
    for request in &script.requests {
        match request.at {
            Start::Then => vm.pass_until(vm.now.plus(PATIENCE), Vm::is_settled)?,
            Start::After(millis) => vm.pass_until(last.plus(millis), |_| false)?,
        }
        last = vm.now;
        vm.send(request.client.clone());
    }
    vm.pass_until(vm.now.plus(PATIENCE), Vm::is_settled)?;
    vm.pass_until(vm.now.plus(script.linger), |_| false)?;
    if !vm.is_settled() {
        return Err(Misbehaviour::Undecided.into());
    }
    let transcripts = vm.streams.into_iter().map(|stream| stream.transcript).collect();
    Ok(Run { transcripts, calls: vm.calls, log: vm.log, beside: vm.beside, ..Run::default() })
}

/// One gate, and a clock that moves only when told.
struct Vm {
    gate: Box<dyn Decision>,
    now: Millis,
    wake: Option<Millis>,
    streams: Vec<Stream>,
    due: BTreeMap<(Millis, u64), Event>,
    added: u64,
    network: Rc<RefCell<dyn Network>>,
    calls: Vec<CallRecord>,
    /// Calls that were refused at once: told when the gate has said all it has to say.
    refused: VecDeque<CallId>,
    log: Vec<String>,
    beside: Vec<String>,
}

impl Vm {
    fn new(gate: Box<dyn Decision>, now: Millis, network: Rc<RefCell<dyn Network>>) -> Vm {
        Vm {
            gate,
            now,
            wake: None,
            streams: Vec::new(),
            due: BTreeMap::new(),
            added: 0,
            network,
            calls: Vec::new(),
            refused: VecDeque::new(),
            log: Vec::new(),
            beside: Vec::new(),
        }
    }

    // ---- time

    fn is_settled(&self) -> bool {
        self.streams.iter().all(|stream| stream.transcript.has_ended)
    }

    fn later(&mut self, millis: u64, event: Event) {
        self.added += 1;
        self.due.insert((self.now.plus(millis), self.added), event);
    }

    fn pass_until(&mut self, end: Millis, done: fn(&Vm) -> bool) -> Result<()> {
        while !done(self) {
            let event = self.due.first_key_value().map(|((at, _), _)| *at).filter(|at| *at <= end);
            match (event, self.wake.filter(|at| *at <= end)) {
                (None, None) => {
                    self.now = self.now.max(end);
                    break;
                }
                (Some(at), wake) if wake.is_none_or(|wake| at <= wake) => {
                    self.now = self.now.max(at);
                    if let Some((_, event)) = self.due.pop_first() {
                        self.happen(event)?;
                    }
                }
                (_, wake) => {
                    self.now = self.now.max(wake.unwrap_or(end));
                    self.wake = None;
                    self.handle(Input::Tick)?;
                }
            }
        }
        Ok(())
    }

    // ---- what happens

    fn send(&mut self, mut client: simulated_proxy::Client) {
        let at = self.streams.len();
        client.headers = client.headers.as_delivered();
        self.later(0, Event::On(at, Happening::Head));
        let mut when = 0;
        for (index, chunk) in client.body.iter().enumerate() {
            when += chunk.after;
            let end = index + 1 == client.body.len() && client.trailers.is_none();
            self.later(when, Event::On(at, Happening::Data(chunk.bytes.clone(), end)));
        }
        if client.trailers.is_some() {
            self.later(when, Event::On(at, Happening::Trailers));
        }
        if let Some(leaves) = client.leaves {
            self.later(leaves, Event::On(at, Happening::Leaves));
        }
        let arrived = client.body.is_empty() && client.trailers.is_none();
        let transcript = Transcript::default();
        self.streams.push(Stream {
            client,
            body: Vec::new(),
            arrived,
            decision: None,
            held: None,
            is_taken: false,
            transcript,
        });
    }

    fn happen(&mut self, event: Event) -> Result<()> {
        match event {
            Event::On(at, happening) => self.happen_on(at, happening),
            Event::Answered(call, answer) => {
                let (status, body) = (answer.headers.status(), answer.body.as_slice());
                let reply = if status == 0 { Err(CallFault::Unanswered) } else { Ok(Reply { status, body }) };
                self.handle(Input::Reply { call, reply })
            }
        }
    }

    fn happen_on(&mut self, at: usize, happening: Happening) -> Result<()> {
        let Some(stream) = self.streams.get_mut(at).filter(|stream| !stream.transcript.has_ended) else {
            return Ok(());
        };
        let is_watched = stream.decision == Some(Settled::Watched);
        match happening {
            Happening::Head => self.head(at),
            Happening::Data(bytes, end) => {
                stream.body.extend(bytes);
                stream.arrived = end;
                let (size, is_decided) = (stream.body.len(), stream.decision.is_some());
                if is_decided {
                    self.go_upstream(at);
                    Ok(())
                } else if end || size > self.gate.body_limit(id(at))? {
                    self.deliver_body(at)
                } else {
                    self.handle(Input::BodyBegins)
                }
            }
            Happening::Trailers => {
                stream.arrived = true;
                if stream.decision.is_none() {
                    // They are the end of the body, and go no further.
                    stream.client.trailers = None;
                    return self.deliver_body(at);
                }
                self.go_upstream(at);
                Ok(())
            }
            Happening::Response(headers, end) => {
                let (status, content_type) = (headers.status(), headers.text("content-type"));
                let challenge = headers.text("www-authenticate");
                let (content_encoding, session) = (headers.text("content-encoding"), headers.text("mcp-session-id"));
                let (origin, body, trailers) = (Origin::Upstream, Vec::new(), None);
                stream.transcript.response = Some(ClientResponse { origin, headers, body, trailers, is_complete: end });
                if is_watched {
                    let head = ResponseHead {
                        status,
                        content_type: content_type.as_deref(),
                        challenge: challenge.as_deref(),
                        content_encoding: content_encoding.as_deref(),
                        session: session.as_deref(),
                        end_of_stream: end,
                    };
                    self.handle(Input::ResponseHead { stream: id(at), head })?;
                }
                if end { self.end(at) } else { Ok(()) }
            }
            Happening::ResponseData(bytes, end) if stream.is_taken => {
                stream.transcript.response.iter_mut().for_each(|response| response.is_complete = end);
                self.handle(Input::ResponseChunk { stream: id(at), bytes: &bytes, end_of_stream: end })?;
                if end { self.end(at) } else { Ok(()) }
            }
            Happening::ResponseData(bytes, end) => {
                if let Some(response) = &mut stream.transcript.response {
                    response.body.extend(&bytes);
                    response.is_complete = end;
                }
                if is_watched && stream.held.is_some() {
                    self.held(at, end)?;
                } else if is_watched {
                    self.handle(Input::ResponseChunk { stream: id(at), bytes: &bytes, end_of_stream: end })?;
                }
                if end { self.end(at) } else { Ok(()) }
            }
            Happening::ResponseTrailers(trailers) => {
                if let Some(response) = &mut stream.transcript.response {
                    (response.trailers, response.is_complete) = (Some(trailers), true);
                }
                if stream.held.is_some() {
                    self.held(at, true)?;
                } else if is_watched {
                    self.handle(Input::ResponseChunk { stream: id(at), bytes: &[], end_of_stream: true })?;
                }
                self.end(at)
            }
            Happening::Expires if stream.transcript.response.is_none() => {
                let headers = Headers::of([(":status", "504"), ("content-type", "text/plain")]);
                let (origin, body, trailers) = (Origin::Proxy, Vec::new(), None);
                stream.transcript.response =
                    Some(ClientResponse { origin, headers, body, trailers, is_complete: true });
                self.end(at)
            }
            Happening::Leaves | Happening::Breaks | Happening::Expires => {
                stream.transcript.is_reset = true;
                self.end(at)
            }
        }
    }

    fn head(&mut self, at: usize) -> Result<()> {
        let Some(stream) = self.streams.get(at) else { return Ok(()) };
        let (client, end_of_stream) = (stream.client.clone(), stream.arrived);
        let property = |name: &str| client.properties.get(name).map(|value| String::from_utf8_lossy(value));
        let server = property(ROUTE_SERVER);
        let asks_source = self.gate.asks_source()?;
        let source = property(PEER_IDENTITY).filter(|_| asks_source);
        let headers: Vec<(&[u8], &[u8])> =
            client.headers.0.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
        let peer = property(PEER_CERTIFICATE).map(|digest| digest.into_owned());
        let (server, source) = (server.as_deref(), source.as_deref());
        let has_token = client.headers.get(b"authorization").is_some();
        let token_removed = !has_token && client.properties.contains_key(VERIFIED_TOKEN);
        let head = RequestHead { headers: &headers, server, source, peer: &peer, token_removed, end_of_stream };
        self.handle(Input::Head { stream: id(at), head })
    }

    fn deliver_body(&mut self, at: usize) -> Result<()> {
        let Some(stream) = self.streams.get(at) else { return Ok(()) };
        let body = stream.body.clone();
        let fits = body.len() <= self.gate.body_limit(id(at))?;
        let body = if fits { Ok(body.as_slice()) } else { Err(BodyFault::TooLarge) };
        self.handle(Input::Body { stream: id(at), body })
    }

    fn end(&mut self, at: usize) -> Result<()> {
        if let Some(stream) = self.streams.get_mut(at) {
            stream.transcript.has_ended = true;
        }
        self.handle(Input::Gone { stream: id(at) })
    }

    fn handle(&mut self, input: Input<'_>) -> Result<()> {
        self.gate.handle(input, self.now)?;
        self.perform()
    }

    // ---- what the gate wants

    fn perform(&mut self) -> Result<()> {
        loop {
            while let Some(effect) = self.gate.poll()? {
                self.beside.extend(effect.beside());
                match effect {
                    Effect::Continue { stream, release } => self.release(place(stream), &release)?,
                    Effect::Reply { stream, answer } => self.answer(place(stream), answer)?,
                    Effect::Response { stream, act } => self.respond_with(place(stream), act),
                    Effect::Record { stream, record } => {
                        if let Some(stream) = self.streams.get_mut(place(stream)) {
                            stream.transcript.filter_state.insert(AUDIT.to_owned(), record.into_bytes());
                        }
                    }
                    Effect::ReadBody { stream } => self.deliver_body(place(stream))?,
                    // This host keeps nothing back.
                    Effect::WhyNoBody { stream } => {
                        self.gate.handle(Input::Body { stream, body: Err(BodyFault::Withheld) }, self.now)?;
                    }
                    Effect::Call { id, call } => self.call(id, call),
                    Effect::Wake { at } => self.wake = Some(at),
                    Effect::Log { line, .. } => self.log.push(format!("step-up: {line}")),
                    Effect::Count { .. } => {}
                }
            }
            let Some(call) = self.refused.pop_front() else { return Ok(()) };
            self.gate.handle(Input::Reply { call, reply: Err(CallFault::Refused) }, self.now)?;
        }
    }

    fn release(&mut self, at: usize, release: &Release) -> Result<()> {
        let Some(stream) = self.streams.get_mut(at) else { return Ok(()) };
        if stream.decision.is_some() {
            return Err(Misbehaviour::DecidedTwice.into());
        }
        stream.decision = Some(if release.is_watched { Settled::Watched } else { Settled::Forwarded });
        for (name, value) in &release.state {
            stream.transcript.filter_state.insert(name.clone(), value.clone().into_bytes());
        }
        let mut headers = stream.client.headers.clone();
        for (name, value) in &release.set {
            headers.replace(name.as_bytes(), value.as_bytes());
        }
        for name in &release.remove {
            headers.remove(name.as_bytes());
        }
        let duration = headers.take_stream_duration();
        stream.transcript.upstream = Some(UpstreamRequest { headers, ..UpstreamRequest::default() });
        if let Some(millis) = duration {
            self.later(millis, Event::On(at, Happening::Expires));
        }
        self.go_upstream(at);
        Ok(())
    }

    fn answer(&mut self, at: usize, answer: Answer) -> Result<()> {
        let Some(stream) = self.streams.get_mut(at) else { return Ok(()) };
        // A response that is watched may be replaced.
        if !matches!(stream.decision, None | Some(Settled::Watched)) {
            return Err(Misbehaviour::DecidedTwice.into());
        }
        stream.decision = Some(Settled::Answered);
        stream.transcript.details = answer.details;
        let mut headers = Headers::of([(":status", answer.status.to_string().as_str())]);
        for (name, value) in &answer.headers {
            headers.add(name.as_bytes(), value.as_bytes());
        }
        // As proxies do with local replies.
        if answer.body.is_empty() {
            headers.remove(b"content-type");
        }
        let is_head = stream.client.headers.get(b":method").is_some_and(|method| method == b"HEAD");
        let body = if is_head { Vec::new() } else { answer.body };
        let (origin, trailers) = (Origin::Filter, None);
        stream.transcript.response = Some(ClientResponse { origin, headers, body, trailers, is_complete: true });
        stream.transcript.has_ended = true;
        self.gate.handle(Input::Gone { stream: id(at) }, self.now)
    }

    fn call(&mut self, id: CallId, call: OutboundCall) {
        let plan = self.network.borrow_mut().call(self.now.0, &call);
        let outcome = plan.clone().outcome(call.timeout);
        self.calls.push(CallRecord { at: self.now.0, call, plan });
        match outcome {
            Err(_) => self.refused.push_back(id),
            Ok(None) => {}
            Ok(Some((after, answer))) => self.later(after, Event::Answered(id, answer)),
        }
    }
}

fn id(at: usize) -> StreamId {
    StreamId(u32::try_from(at).unwrap_or(u32::MAX))
}

fn place(stream: StreamId) -> usize {
    usize::try_from(stream.0).unwrap_or(usize::MAX)
}
