//! What all VMs of a process share: the clock, what is due, the network, shared data, queues, metrics, the log.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::rc::Rc;

use ring::rand::SystemRandom;

use crate::events::{Due, Event, Events};
use crate::ids::{MILLI, Place, Status, StreamId};
use crate::limits::Limits;
use crate::network::{CallAnswer, CallPlan, Network, OutboundCall, Refused};
use crate::stream::{Stream, Transcript};

/// Until a queue's consumer is told, as measured between two threads.
const QUEUE_DELAY: u64 = MILLI / 10;

/// What a context is.
#[derive(Debug)]
pub(crate) enum Context {
    Root(Root),
    Stream(StreamId),
}

/// A filter's configuration in one VM.
#[derive(Debug, Default)]
pub(crate) struct Root {
    pub configuration: Vec<u8>,
    pub root_id: String,
    /// Nanoseconds; 0: no ticks.
    pub period: u64,
    /// Ticks of an earlier period are void.
    pub ticks: u64,
    /// It was told to end and asked for time.
    pub ending: bool,
}

/// Functions that Envoy offers beyond the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignFunctions {
    /// `verify_signature`, as Envoy has it.
    Envoy,
    /// None at all.
    Absent,
}

/// A call that a filter made.
#[derive(Clone, Debug)]
pub struct CallRecord {
    /// When, in milliseconds since the epoch.
    pub at: u64,
    /// What was sent.
    pub call: OutboundCall,
    /// What the network had planned.
    pub plan: CallPlan,
}

pub(crate) struct Machine {
    /// Nanoseconds since the epoch.
    pub now: u64,
    pub events: Events,
    pub network: Rc<RefCell<dyn Network>>,
    pub limits: Limits,
    pub foreign: ForeignFunctions,
    pub contexts: HashMap<Place, Context>,
    /// Those that have not ended.
    pub streams: BTreeMap<StreamId, Stream>,
    pub ended: BTreeMap<StreamId, Transcript>,
    pub next_stream: u32,
    pub next_call: u32,
    pub calls: Vec<CallRecord>,
    /// The answer that is being delivered.
    pub answer: Option<CallAnswer>,
    shared: HashMap<(String, Vec<u8>), (Vec<u8>, u32)>,
    cas: u32,
    queues: Vec<Queue>,
    metrics: Vec<(String, u64)>,
    pub log: Vec<(u32, String)>,
    /// Roots that said `proxy_done`.
    pub done: Vec<Place>,
    /// VMs that only load configurations: they neither tick nor get answers.
    pub base_vms: Vec<usize>,
    /// Calls that are answered from outside, by their numbers there.
    pub outside: HashMap<u64, (Place, u32)>,
    /// The world is real: nothing is kept for a look at it later, and randomness is the system's.
    pub live: Option<Live>,
    /// Resumed streams go on inside of the call that resumes them.
    pub reentrant: bool,
}

/// What a process with a real world has beside the rest.
#[derive(Debug)]
pub(crate) struct Live {
    pub random: SystemRandom,
    /// Streams whose clients have something to get.
    pub touched: BTreeSet<StreamId>,
}

struct Queue {
    vm_id: String,
    name: Vec<u8>,
    consumer: Place,
    items: VecDeque<Vec<u8>>,
}

impl Machine {
    pub fn new(now: u64, network: Rc<RefCell<dyn Network>>, limits: Limits, foreign: ForeignFunctions) -> Machine {
        Machine {
            now,
            events: Events::default(),
            network,
            limits,
            foreign,
            contexts: HashMap::new(),
            streams: BTreeMap::new(),
            ended: BTreeMap::new(),
            next_stream: 0,
            next_call: 0,
            calls: Vec::new(),
            answer: None,
            shared: HashMap::new(),
            cas: 0,
            queues: Vec::new(),
            metrics: Vec::new(),
            log: Vec::new(),
            done: Vec::new(),
            base_vms: Vec::new(),
            outside: HashMap::new(),
            live: None,
            reentrant: false,
        }
    }

    pub fn later(&mut self, millis: u64, event: Event) -> Due {
        self.events.add(self.now.saturating_add(millis.saturating_mul(MILLI)), event)
    }

    /// A limit to how long a stream may be there; it goes with the stream.
    pub fn limit(&mut self, stream: StreamId, at: u64, event: Event) {
        let due = self.events.add(at, event);
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.limits.push(due);
        }
    }

    pub fn root(&mut self, place: Place) -> Option<&mut Root> {
        match self.contexts.get_mut(&place) {
            Some(Context::Root(root)) => Some(root),
            _ => None,
        }
    }

    pub fn stream_at(&mut self, place: Place) -> Option<&mut Stream> {
        match self.contexts.get(&place) {
            Some(Context::Stream(id)) => self.streams.get_mut(id),
            _ => None,
        }
    }

    /// Is any stream still on that root?
    pub fn is_in_use(&self, root: Place) -> bool {
        self.streams.values().any(|stream| stream.root() == root)
    }

    /// Its client has something to get.
    pub fn touched(&mut self, stream: StreamId) {
        if let Some(live) = &mut self.live {
            live.touched.insert(stream);
        }
    }

    // ---- ticks

    pub fn set_period(&mut self, place: Place, millis: u64) -> Status {
        let now = self.now;
        let Some(root) = self.root(place) else { return Status::BadArgument };
        root.period = millis.saturating_mul(MILLI);
        root.ticks += 1;
        let (period, generation) = (root.period, root.ticks);
        if period > 0 && !self.base_vms.contains(&place.vm) {
            self.events.add(now.saturating_add(period), Event::Tick { place, generation });
        }
        Status::Ok
    }

    // ---- shared data: a version for each write, no creation that is atomic, no deletion

    pub fn shared(&self, vm_id: &str, key: &[u8]) -> Option<&(Vec<u8>, u32)> {
        self.shared.get(&(vm_id.to_owned(), key.to_vec()))
    }

    /// `version` 0 writes in any case; so does a write to an absent key.
    pub fn set_shared(&mut self, vm_id: &str, key: &[u8], value: &[u8], version: u32) -> Status {
        let key = (vm_id.to_owned(), key.to_vec());
        if self.shared.get(&key).is_some_and(|(_, current)| version != 0 && version != *current) {
            return Status::CasMismatch;
        }
        self.cas += 1;
        self.shared.insert(key, (value.to_vec(), self.cas));
        Status::Ok
    }

    // ---- queues: whoever registered a name last gets its wake-ups

    pub fn register_queue(&mut self, vm_id: &str, name: &[u8], consumer: Place) -> u32 {
        match self.queue(vm_id, name) {
            Some(token) => {
                if let Some(queue) = self.queue_at(token) {
                    queue.consumer = consumer;
                }
                token
            }
            None => {
                let (vm_id, name) = (vm_id.to_owned(), name.to_vec());
                self.queues.push(Queue { vm_id, name, consumer, items: VecDeque::new() });
                u32::try_from(self.queues.len()).unwrap_or(u32::MAX)
            }
        }
    }

    pub fn queue(&self, vm_id: &str, name: &[u8]) -> Option<u32> {
        let at = self.queues.iter().position(|queue| queue.vm_id == vm_id && queue.name == name)?;
        u32::try_from(at + 1).ok()
    }

    fn queue_at(&mut self, token: u32) -> Option<&mut Queue> {
        self.queues.get_mut(usize::try_from(token).ok()?.checked_sub(1)?)
    }

    pub fn enqueue(&mut self, token: u32, item: &[u8]) -> Status {
        let at = self.now + QUEUE_DELAY;
        let Some(queue) = self.queue_at(token) else { return Status::NotFound };
        queue.items.push_back(item.to_vec());
        let place = queue.consumer;
        self.events.add(at, Event::QueueReady { place, queue: token });
        Status::Ok
    }

    pub fn dequeue(&mut self, token: u32) -> Result<Vec<u8>, Status> {
        self.queue_at(token).ok_or(Status::NotFound)?.items.pop_front().ok_or(Status::Empty)
    }

    // ---- metrics: one for each name in the process, never freed

    pub fn define_metric(&mut self, name: &str) -> u32 {
        let known = self.metrics.iter().position(|(other, _)| other == name);
        let at = known.unwrap_or_else(|| {
            self.metrics.push((name.to_owned(), 0));
            self.metrics.len() - 1
        });
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    pub fn metric(&mut self, id: u32) -> Option<&mut u64> {
        self.metrics.get_mut(usize::try_from(id).ok()?).map(|(_, value)| value)
    }

    pub fn metrics(&self) -> &[(String, u64)] {
        &self.metrics
    }

    pub fn metric_named(&self, name: &str) -> Option<u64> {
        self.metrics.iter().find(|(other, _)| other == name).map(|(_, value)| *value)
    }

    // ---- calls

    /// A call for a context: the token of its answer, or why there will be none.
    pub fn make_call(&mut self, place: Place, call: OutboundCall) -> Result<u32, Status> {
        if [":method", ":path"].iter().any(|name| call.headers.get(name.as_bytes()).is_none())
            || (call.headers.get(b":authority").is_none() && call.headers.get(b"host").is_none())
        {
            return Err(Status::BadArgument);
        }
        let plan = self.network.borrow_mut().call(self.now / MILLI, &call);
        let timeout = call.timeout;
        let outside = if let CallPlan::Outside(number) = plan { Some(number) } else { None };
        if self.live.is_none() {
            self.calls.push(CallRecord { at: self.now / MILLI, call, plan: plan.clone() });
        }
        let answer = plan.outcome(timeout).map_err(|refused| match refused {
            Refused::UnknownCluster => Status::BadArgument,
            Refused::Overflow => Status::InternalFailure,
        })?;
        self.next_call += 1;
        let token = self.next_call;
        self.outside.extend(outside.map(|number| (number, (place, token))));
        if let Some((after, answer)) = answer.filter(|_| !self.base_vms.contains(&place.vm)) {
            // Never at once: the answer comes from another turn of the worker's loop.
            let at = self.now.saturating_add(after.saturating_mul(MILLI)).max(self.now + 1);
            self.events.add(at, Event::CallAnswered { place, token, answer });
        }
        Ok(token)
    }
}
