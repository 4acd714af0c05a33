//! A host: VMs that share memory, each with its gate, driven by the wakes they ask for.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde_json::Value as Json;
use step_up_core::Gate;
use step_up_core::Jwk;
use step_up_core::Level;
use step_up_core::Metric;
use step_up_core::Policy;
use step_up_core::Unverified;
use step_up_core::{BadSignature, PureRust, Signatures};
use step_up_core::{BodyFault, Call, CallFault, CallId, Effect, Input, Millis, Reply, StreamId};
use step_up_core::{ResponseAct, ResponseHead};

use super::settled::{Answer, Outcome, Settled};
use super::{Memory, NOW, Request};

/// Checks signatures, and counts.
struct Counting(Rc<Cell<u32>>);

impl Signatures for Counting {
    fn check(&self, token: &Unverified<'_>, key: &Jwk) -> Result<(), BadSignature> {
        self.0.set(self.0.get() + 1);
        PureRust.check(token, key)
    }
}

/// What a client gets in place of a response's body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    pub bytes: Vec<u8>,
    /// Its head has gone.
    pub is_released: bool,
}

impl Given {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).expect("text")
    }
}

/// One VM: a gate, and a host that notes what the gate wants and checks that it keeps to the rules.
pub struct Vm {
    gate: Gate,
    pub now: Millis,
    streams: u32,
    outcomes: BTreeMap<StreamId, Outcome>,
    records: BTreeMap<StreamId, Json>,
    bodies_wanted: BTreeSet<StreamId>,
    calls: Vec<(CallId, Call)>,
    elevated: BTreeMap<StreamId, String>,
    connections: BTreeMap<StreamId, Option<String>>,
    replaced: BTreeMap<StreamId, Answer>,
    held: BTreeSet<StreamId>,
    passed: BTreeSet<StreamId>,
    continued: BTreeSet<StreamId>,
    challenged: BTreeMap<StreamId, String>,
    sessions: BTreeMap<StreamId, String>,
    durations: BTreeMap<StreamId, u64>,
    sealed: BTreeMap<StreamId, String>,
    given: BTreeMap<StreamId, Given>,
    states: BTreeMap<StreamId, Vec<(&'static str, String)>>,
    /// Does the host show bodies? `None`: it does not say.
    pub shows_bodies: Option<bool>,
    pub metrics: Vec<Metric>,
    pub logs: Vec<String>,
    /// Of those, what an operator always sees.
    pub warnings: Vec<String>,
    wake: Option<Millis>,
}

impl Vm {
    /// A VM alone in its process.
    pub fn new(policy: &Rc<Policy>) -> Vm {
        Vm::in_process(policy, &Memory::default(), NOW, 1)
    }

    pub fn in_process(policy: &Rc<Policy>, memory: &Memory, now: Millis, seed: u8) -> Vm {
        Vm::with_signatures(policy, memory, now, seed, Box::new(PureRust))
    }

    /// A VM that says how many signatures it checked.
    pub fn counting(policy: &Rc<Policy>) -> (Vm, Rc<Cell<u32>>) {
        let count = Rc::new(Cell::new(0));
        let signatures = Box::new(Counting(Rc::clone(&count)));
        (Vm::with_signatures(policy, &Memory::default(), NOW, 1, signatures), count)
    }

    fn with_signatures(
        policy: &Rc<Policy>,
        memory: &Memory,
        now: Millis,
        seed: u8,
        signatures: Box<dyn Signatures>,
    ) -> Vm {
        let gate = Gate::new(Rc::clone(policy), signatures, Box::new(memory.clone()), [seed; 16], now);
        let mut vm = Vm {
            gate,
            now,
            streams: 0,
            outcomes: BTreeMap::new(),
            records: BTreeMap::new(),
            bodies_wanted: BTreeSet::new(),
            calls: Vec::new(),
            elevated: BTreeMap::new(),
            connections: BTreeMap::new(),
            replaced: BTreeMap::new(),
            held: BTreeSet::new(),
            passed: BTreeSet::new(),
            continued: BTreeSet::new(),
            challenged: BTreeMap::new(),
            sessions: BTreeMap::new(),
            durations: BTreeMap::new(),
            sealed: BTreeMap::new(),
            given: BTreeMap::new(),
            states: BTreeMap::new(),
            shows_bodies: Some(true),
            metrics: Vec::new(),
            logs: Vec::new(),
            warnings: Vec::new(),
            wake: None,
        };
        vm.perform();
        vm
    }

    /// The whole request at once.
    #[track_caller]
    pub fn send(&mut self, request: &Request) -> Settled {
        let stream = self.head(request);
        if !self.is_settled(stream) {
            self.body(stream, request.body());
        }
        self.settled(stream)
    }

    pub fn head(&mut self, request: &Request) -> StreamId {
        self.streams += 1;
        let stream = StreamId(self.streams);
        self.head_again(stream, request);
        stream
    }

    /// Another head on a stream.
    pub fn head_again(&mut self, stream: StreamId, request: &Request) {
        let pairs = request.pairs();
        self.handle(Input::Head { stream, head: request.head(&pairs) });
    }

    pub fn body(&mut self, stream: StreamId, body: &[u8]) {
        self.bodies_wanted.remove(&stream);
        self.handle(Input::Body { stream, body: Ok(body) });
    }

    pub fn body_fault(&mut self, stream: StreamId, fault: BodyFault) {
        self.handle(Input::Body { stream, body: Err(fault) });
    }

    /// More arrived than this host may show.
    pub fn body_limit(&self, stream: StreamId) -> usize {
        self.gate.body_limit(stream)
    }

    /// What filters behind this one were told of a request that went on.
    pub fn state(&self, stream: StreamId) -> &[(&'static str, String)] {
        self.states.get(&stream).map_or(&[], Vec::as_slice)
    }

    /// `Connection` as the permit set it.
    pub fn connection(&self, stream: StreamId) -> Option<&str> {
        self.connections.get(&stream)?.as_deref()
    }

    pub fn response_head(&mut self, stream: StreamId, status: u16, content_type: Option<&str>, end_of_stream: bool) {
        self.response(stream, ResponseHead { status, content_type, end_of_stream, ..ResponseHead::default() });
    }

    pub fn response(&mut self, stream: StreamId, head: ResponseHead<'_>) {
        self.handle(Input::ResponseHead { stream, head });
    }

    /// The whole body of a response that is held.
    #[track_caller]
    pub fn response_body(&mut self, stream: StreamId, body: Result<&[u8], BodyFault>) {
        assert!(self.held.remove(&stream), "not held");
        self.handle(Input::ResponseBody { stream, body });
        let goes =
            self.passed.contains(&stream) || self.replaced.contains_key(&stream) || self.given.contains_key(&stream);
        assert!(goes, "a response that was held is answered or goes on");
    }

    /// Was it released with the caller's own token, and its response is looked at all the same?
    pub fn continues(&self, stream: StreamId) -> bool {
        self.continued.contains(&stream)
    }

    /// The challenge in place of the upstream's.
    pub fn challenged(&self, stream: StreamId) -> Option<&str> {
        self.challenged.get(&stream).map(String::as_str)
    }

    /// The session that the upstream is shown.
    pub fn session(&self, stream: StreamId) -> Option<&str> {
        self.sessions.get(&stream).map(String::as_str)
    }

    /// The milliseconds after which the host is asked to end it. `None`: it is not.
    pub fn duration(&self, stream: StreamId) -> Option<u64> {
        self.durations.get(&stream).copied()
    }

    /// The session that the client is shown.
    pub fn sealed(&self, stream: StreamId) -> Option<&str> {
        self.sealed.get(&stream).map(String::as_str)
    }

    /// What has gone in place of the response's body. `None`: it goes as it comes.
    pub fn given(&self, stream: StreamId) -> Option<&Given> {
        self.given.get(&stream)
    }

    /// Is the response kept until it is complete?
    pub fn is_held(&self, stream: StreamId) -> bool {
        self.held.contains(&stream)
    }

    pub fn response_chunk(&mut self, stream: StreamId, bytes: &[u8], end_of_stream: bool) {
        self.handle(Input::ResponseChunk { stream, bytes, end_of_stream });
    }

    /// The host forgot to say that the stream is gone, and will use its id again.
    pub fn forget(&mut self, stream: StreamId) {
        self.outcomes.remove(&stream);
        self.records.remove(&stream);
        self.elevated.remove(&stream);
    }

    /// `Authorization` as the permit set it, of a stream that was released with another token than the caller's.
    pub fn elevated(&self, stream: StreamId) -> Option<&str> {
        self.elevated.get(&stream).map(String::as_str)
    }

    /// What the client got in place of the upstream's response.
    pub fn replaced(&self, stream: StreamId) -> Option<&Answer> {
        self.replaced.get(&stream)
    }

    pub fn is_idle(&self) -> bool {
        self.gate.is_idle()
    }

    pub fn gone(&mut self, stream: StreamId) {
        self.handle(Input::Gone { stream });
    }

    pub fn tick(&mut self) {
        self.wake = None;
        self.handle(Input::Tick);
    }

    /// Lets time pass, ticking when the gate asked for it.
    pub fn pass(&mut self, millis: u64) {
        let end = self.now.plus(millis);
        while let Some(wake) = self.wake.filter(|wake| *wake <= end) {
            self.wake_up(wake);
        }
        self.now = end;
    }

    fn wake_up(&mut self, at: Millis) {
        self.now = at.max(self.now);
        self.tick();
        assert!(self.wake > Some(self.now), "a gate always looks ahead: {:?}", self.wake);
    }

    pub fn reply(&mut self, call: CallId, reply: Result<(u16, &[u8]), CallFault>) {
        let reply = reply.map(|(status, body)| Reply { status, body });
        self.handle(Input::Reply { call, reply });
    }

    /// The calls made since the last look.
    pub fn take_calls(&mut self) -> Vec<(CallId, Call)> {
        std::mem::take(&mut self.calls)
    }

    pub fn is_settled(&self, stream: StreamId) -> bool {
        self.outcomes.contains_key(&stream)
    }

    pub fn wants_body(&self, stream: StreamId) -> bool {
        self.bodies_wanted.contains(&stream)
    }

    #[track_caller]
    pub fn settled(&self, stream: StreamId) -> Settled {
        let outcome = self.outcomes.get(&stream).expect("the stream is settled").clone();
        Settled { outcome, record: self.records.get(&stream).cloned().unwrap_or_default() }
    }

    /// How many records were written.
    pub fn records(&self) -> usize {
        self.records.len()
    }

    /// How many decisions were counted under this reason.
    pub fn counted(&mut self, wanted: &str) -> u32 {
        self.decisions().iter().filter(|(reason, _)| *reason == wanted).map(|(_, count)| count).sum()
    }

    /// Reasons and how often each was counted. They are told with the next tick.
    pub fn decisions(&mut self) -> Vec<(&'static str, u32)> {
        self.tick();
        self.told()
    }

    /// Those that have been told.
    pub fn told(&self) -> Vec<(&'static str, u32)> {
        let told = |metric: &Metric| match metric {
            Metric::Decision { reason, count, .. } => Some((reason.name(), *count)),
            _ => None,
        };
        self.metrics.iter().filter_map(told).collect()
    }

    /// The policy of this VM was replaced.
    pub fn retire(&mut self) {
        self.gate.retire(self.now);
        self.perform();
    }

    fn handle(&mut self, input: Input<'_>) {
        self.gate.handle(input, self.now);
        self.perform();
    }

    fn perform(&mut self) {
        while let Some(effect) = self.gate.poll() {
            match effect {
                Effect::Continue { stream, permit } => {
                    let (mut is_elevated, mut connection) = (false, None);
                    for (name, value) in permit.set() {
                        match *name {
                            "authorization" => {
                                is_elevated = true;
                                self.elevated.insert(stream, value.reveal().to_owned());
                            }
                            "connection" => connection = Some(value.reveal().to_owned()),
                            "mcp-session-id" => drop(self.sessions.insert(stream, value.reveal().to_owned())),
                            "x-envoy-upstream-stream-duration-ms" => {
                                let millis = value.reveal().parse().expect("milliseconds");
                                self.durations.insert(stream, millis);
                            }
                            other => panic!("sets {other}"),
                        }
                    }
                    assert!(permit.is_watched() || !is_elevated, "elevated, and not watched");
                    if permit.is_watched() && !is_elevated {
                        self.continued.insert(stream);
                    }
                    self.connections.insert(stream, connection);
                    self.states.insert(stream, permit.state().to_vec());
                    self.settle(stream, Outcome::Forwarded(permit.remove().to_vec()));
                }
                Effect::Response { stream, act: ResponseAct::Hold { .. } } => {
                    assert!(self.held.insert(stream), "held twice");
                }
                Effect::Response { stream, act: ResponseAct::Pass } => {
                    assert!(self.passed.insert(stream), "let go twice");
                }
                Effect::Response { stream, act: ResponseAct::Challenge(challenge) } => {
                    assert!(self.challenged.insert(stream, challenge).is_none(), "challenged twice");
                }
                Effect::Response { stream, act: ResponseAct::Session(id) } => {
                    assert!(self.sealed.insert(stream, id).is_none(), "sealed twice");
                }
                Effect::Response { stream, act: ResponseAct::Rewrite(body) } => {
                    let given = Given { bytes: body, is_released: true };
                    assert!(self.given.insert(stream, given).is_none(), "rewritten twice");
                }
                Effect::Response { stream, act: ResponseAct::Take { hold } } => {
                    let given = Given { bytes: Vec::new(), is_released: !hold };
                    assert!(self.given.insert(stream, given).is_none(), "taken twice");
                }
                Effect::Response { stream, act: ResponseAct::Give { bytes, release } } => {
                    let given = self.given.get_mut(&stream).expect("a response that was taken");
                    assert!(release || bytes.is_empty(), "bytes before the head");
                    given.bytes.extend(bytes);
                    given.is_released |= release;
                }
                Effect::Response { act: ResponseAct::Leave, .. } => {}
                Effect::Reply { stream, response } if self.is_settled(stream) => {
                    assert!(self.given.get(&stream).is_none_or(|given| !given.is_released), "its head has gone");
                    assert!(self.replaced.insert(stream, Answer::new(&response)).is_none(), "replaced twice");
                }
                Effect::Reply { stream, response } => self.settle(stream, Outcome::Answered(Answer::new(&response))),
                Effect::WhyNoBody { stream } => {
                    let shows = self.shows_bodies;
                    if let Some(shows) = shows {
                        self.body_fault(stream, if shows { BodyFault::Withheld } else { BodyFault::Undelivered });
                    }
                }
                Effect::ReadBody { stream } => assert!(self.bodies_wanted.insert(stream), "asked for twice"),
                Effect::Call { id, call } => self.calls.push((id, call)),
                Effect::Record { stream, record } => {
                    assert!(record.bytes().all(|b| (b' '..=b'~').contains(&b)), "not one line of ASCII: {record}");
                    let record: Json = serde_json::from_str(&record).expect("a record is JSON");
                    let before = self.records.insert(stream, record.clone());
                    // What passes later may add to it.
                    let is_same = before.as_ref().is_none_or(|before| before["id"] == record["id"]);
                    assert!(
                        is_same && (before.is_some() == self.is_settled(stream)),
                        "the record comes after the decision"
                    );
                }
                Effect::Log { level, line } => {
                    if matches!(level, Level::Warning | Level::Error) {
                        self.warnings.push(line.clone());
                    }
                    self.logs.push(line);
                }
                Effect::Count(metric) => self.metrics.push(metric),
                Effect::Wake { at } => self.wake = Some(at),
            }
        }
    }

    fn settle(&mut self, stream: StreamId, outcome: Outcome) {
        assert!(self.outcomes.insert(stream, outcome).is_none(), "{stream:?} is settled twice");
    }
}

/// Several VMs of one process.
pub struct Process {
    pub memory: Memory,
    pub vms: Vec<Vm>,
}

impl Process {
    pub fn new(policy: &Rc<Policy>, vms: u8) -> Process {
        let memory = Memory::default();
        let vms = (1..=vms).map(|seed| Vm::in_process(policy, &memory, NOW, seed)).collect();
        Process { memory, vms }
    }

    /// Lets time pass in all VMs at once, in the order of their wakes.
    pub fn pass(&mut self, millis: u64) {
        let Some(end) = self.vms.iter().map(|vm| vm.now.plus(millis)).max() else { return };
        let due = |vm: &&mut Vm| vm.wake.is_some_and(|wake| wake <= end);
        while let Some(vm) = self.vms.iter_mut().filter(due).min_by_key(|vm| vm.wake) {
            vm.wake_up(vm.wake.unwrap_or(end));
        }
        for vm in &mut self.vms {
            vm.now = end;
        }
    }

    /// The calls of all VMs since the last look, with the VM that made them.
    pub fn take_calls(&mut self) -> Vec<(usize, CallId, Call)> {
        let calls = self.vms.iter_mut().map(Vm::take_calls).enumerate();
        calls.flat_map(|(vm, calls)| calls.into_iter().map(move |(id, call)| (vm, id, call))).collect()
    }

    /// The only call since the last look.
    #[track_caller]
    pub fn only_call(&mut self) -> (usize, CallId, Call) {
        let calls = self.take_calls();
        assert_eq!(calls.len(), 1, "{calls:?}");
        calls.into_iter().next().expect("there is one")
    }

    /// Answers the only call since the last look.
    #[track_caller]
    pub fn answer(&mut self, reply: Result<(u16, &[u8]), CallFault>) {
        let (vm, id, _) = self.only_call();
        self.vms[vm].reply(id, reply);
    }

    /// Answers it with this document.
    #[track_caller]
    pub fn publish(&mut self, document: &[u8]) {
        self.answer(Ok((200, document)));
    }
}
