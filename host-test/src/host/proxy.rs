//! One proxy process: its threads' VMs, the filters they run, and the clock.

use std::cell::RefCell;
use std::rc::Rc;

use anyhow::{Context as _, Result, bail};

use super::Module;
use super::events::Event;
use super::guest::{Guest, Vm};
use super::network::{CallAnswer, Chunk, Client, Network, UpstreamPlan, UpstreamRequest};
use super::stream::{Direction, Stream, StreamId, Transcript};
use super::world::{CallRecord, Context, ForeignFunctions, MILLI, Place, Root, World};

/// What the host does when a VM traps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailurePolicy {
    /// 503 for ever.
    #[default]
    FailClosed,
    /// The filter is skipped from then on.
    FailOpen,
    /// 503 until the pause is over, then a new VM.
    FailReload,
}

/// A filter of the chain, as the proxy's configuration has it.
#[derive(Clone)]
pub struct Configuration {
    /// The bytecode.
    pub module: Module,
    /// VMs with the same id (and module and environment) are one.
    pub vm_id: String,
    /// The filter's own id in the VM.
    pub root_id: String,
    /// What the filter is given.
    pub configuration: Vec<u8>,
    /// The VM's environment variables.
    pub environment: Vec<(String, String)>,
    /// Without it, a filter that pauses at the head never sees the body.
    pub allow_on_headers_stop_iteration: bool,
    /// What a trap does.
    pub failure_policy: FailurePolicy,
}

/// What is bounded.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a request body that are held back.
    pub request_body: usize,
    /// Bytes of a response body that are held back.
    pub response_body: usize,
    /// Milliseconds without anything happening on a stream.
    pub idle_timeout: u64,
    /// Milliseconds until a VM that trapped is replaced.
    pub reload_pause: u64,
    /// Instructions of one event, roughly.
    pub fuel: u64,
    /// Bytes of a VM's memory.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            request_body: 1 << 20,
            response_body: 1 << 20,
            idle_timeout: 300_000,
            reload_pause: 1_000,
            fuel: 20_000_000_000,
            memory: 1 << 30,
        }
    }
}

/// A simulated process. As Envoy, it runs N + 2 VMs for N workers: one that only loads the configuration, one for the main
/// thread, which ticks but sees no request, and one for each worker.
pub struct Proxy {
    world: Rc<RefCell<World>>,
    vms: Vec<Vm>,
    threads: Vec<Thread>,
    filters: Vec<Configuration>,
    /// Roots of configurations that are no longer in force, and streams may still need.
    replaced: Vec<Place>,
}

/// The VMs of a thread, by what makes them one, and the filters' roots.
#[derive(Default)]
struct Thread {
    vms: Vec<(VmKey, usize)>,
    roots: Vec<Option<Place>>,
    /// Nanoseconds: the VM of that filter is replaced not before.
    reload_at: Vec<Option<u64>>,
}

type VmKey = (String, Vec<(String, String)>);

const BASE: usize = 0;
const MAIN: usize = 1;

impl Proxy {
    /// A process with so many workers, at this time (milliseconds since the epoch).
    pub fn new(
        now: u64,
        workers: usize,
        network: Rc<RefCell<dyn Network>>,
        limits: Limits,
        foreign: ForeignFunctions,
    ) -> Proxy {
        let world = World::new(now.saturating_mul(MILLI), network, limits, foreign);
        let threads = (0..workers + 2).map(|_| Thread::default()).collect();
        Proxy {
            world: Rc::new(RefCell::new(world)),
            vms: Vec::new(),
            threads,
            filters: Vec::new(),
            replaced: Vec::new(),
        }
    }

    /// Streams that are resumed go on inside of the host call, as on hosts that do not defer it.
    pub fn resume_inside_of_calls(&mut self) {
        self.world.borrow_mut().reentrant = true;
    }

    /// Adds a filter; its number. The error holds what the filter wrote to the log.
    pub fn load(&mut self, configuration: Configuration) -> Result<usize> {
        let number = self.filters.len();
        for thread in &mut self.threads {
            thread.roots.push(None);
            thread.reload_at.push(None);
        }
        self.filters.push(configuration.clone());
        let configured = self.configure(&configuration)?;
        self.install(number, configured);
        Ok(number)
    }

    /// Replaces a filter's configuration, as discovery does: at once in all threads, or, if it is refused, in none. Streams
    /// that have begun keep the old one, whose root ends with the last of them.
    pub fn update(&mut self, filter: usize, configuration: Configuration) -> Result<()> {
        let configured = self.configure(&configuration)?;
        *self.filters.get_mut(filter).context("no such filter")? = configuration;
        let old = self.threads.iter().map(|thread| thread.roots.get(filter).copied().flatten());
        // The base VM's root was for a trial: it goes without a word.
        let (trial, old): (Vec<Place>, Vec<Place>) =
            old.flatten().partition(|place| self.world.borrow().base_vms.contains(&place.vm));
        self.world.borrow_mut().contexts.retain(|place, _| !trial.contains(place));
        self.replaced.extend(old);
        self.install(filter, configured);
        self.reap();
        Ok(())
    }

    fn install(&mut self, filter: usize, configured: Vec<Place>) {
        for (thread, place) in self.threads.iter_mut().zip(configured) {
            if let Some(root) = thread.roots.get_mut(filter) {
                *root = Some(place);
            }
        }
    }

    /// New roots in all threads, or none.
    fn configure(&mut self, configuration: &Configuration) -> Result<Vec<Place>> {
        let lines = self.world.borrow().log.len();
        let mut configured = Vec::new();
        for thread in 0..self.threads.len() {
            match self.configure_in(thread, configuration)? {
                Some(place) => configured.push(place),
                None => {
                    for place in configured {
                        self.end_root(place);
                    }
                    let world = self.world.borrow();
                    let said: Vec<&str> = world.log.iter().skip(lines).map(|(_, line)| line.as_str()).collect();
                    bail!("the filter refuses its configuration:\n{}", said.join("\n"));
                }
            }
        }
        Ok(configured)
    }

    fn configure_in(&mut self, thread: usize, configuration: &Configuration) -> Result<Option<Place>> {
        let key = (configuration.vm_id.clone(), configuration.environment.clone());
        let known = self.threads.get(thread).and_then(|thread| thread.vms.iter().find(|(other, _)| *other == key));
        let known = known.map(|(_, vm)| *vm).filter(|vm| self.vms.get(*vm).is_some_and(|vm| !vm.has_failed()));
        let (vm, is_new) = match known {
            Some(vm) => (vm, false),
            None => {
                let number = self.vms.len();
                let world = Rc::clone(&self.world);
                let module = &configuration.module;
                self.vms.push(Vm::start(module, world, number, &configuration.vm_id, &configuration.environment)?);
                if let Some(thread) = self.threads.get_mut(thread) {
                    thread.vms.retain(|(other, _)| *other != key);
                    thread.vms.push((key, number));
                }
                if thread == BASE {
                    self.world.borrow_mut().base_vms.push(number);
                }
                (number, true)
            }
        };
        let Some(vm) = self.vms.get_mut(vm) else { bail!("no VM") };
        let place = vm.enter(|guest| {
            let place = guest.new_place();
            let root = Root {
                configuration: configuration.configuration.clone(),
                root_id: configuration.root_id.clone(),
                ..Root::default()
            };
            guest.world().borrow_mut().contexts.insert(place, Context::Root(root));
            let accepted = guest.on_context_create(place.context, 0).and_then(|_| {
                let started = if is_new { guest.on_vm_start(place.context, 0)? } else { None };
                let configured = guest.on_configure(place.context, configuration.configuration.len())?;
                Ok(started != Some(0) && configured != Some(0))
            });
            guest.act_on_all();
            if accepted.is_ok_and(|accepted| accepted) {
                return Some(place);
            }
            delete_root(guest, place);
            None
        });
        Ok(place)
    }

    /// Tells a root that it is no longer wanted; it may ask for time.
    fn end_root(&mut self, place: Place) {
        let Some(vm) = self.vms.get_mut(place.vm) else { return };
        vm.enter(|guest| {
            let may_go = guest.on_done(place.context).map_or(true, |answer| answer != Some(0));
            if may_go {
                delete_root(guest, place);
            } else if let Some(root) = guest.world().borrow_mut().root(place) {
                root.ending = true;
            }
        });
    }

    /// A client connects to a filter's listener.
    pub fn send(&mut self, filter: usize, client: Client) -> StreamId {
        self.send_later(filter, 0, client)
    }

    /// The same, after so many milliseconds.
    pub fn send_later(&mut self, filter: usize, after: u64, client: Client) -> StreamId {
        let mut world = self.world.borrow_mut();
        world.next_stream += 1;
        let stream = StreamId(world.next_stream);
        world.later(after, Event::Request { stream, filter, client });
        stream
    }

    /// Lets so many milliseconds pass.
    pub fn pass(&mut self, millis: u64) {
        let until = self.world.borrow().now.saturating_add(millis.saturating_mul(MILLI));
        while self.step(until) {}
        self.world.borrow_mut().now = until;
    }

    /// Lets time pass until the condition holds; false when it did not within so many milliseconds.
    pub fn pass_until(&mut self, most: u64, mut done: impl FnMut(&Proxy) -> bool) -> bool {
        let until = self.world.borrow().now.saturating_add(most.saturating_mul(MILLI));
        loop {
            if done(self) {
                return true;
            }
            if !self.step(until) {
                self.world.borrow_mut().now = until;
                return done(self);
            }
        }
    }

    /// The time, in milliseconds since the epoch.
    pub fn now(&self) -> u64 {
        self.world.borrow().now / MILLI
    }

    /// What has become of a stream so far.
    pub fn transcript(&self, stream: StreamId) -> Transcript {
        let world = self.world.borrow();
        let ended = world.ended.get(&stream).cloned();
        ended.or_else(|| world.streams.get(&stream).map(Stream::transcript)).unwrap_or_default()
    }

    /// Is it over?
    pub fn has_ended(&self, stream: StreamId) -> bool {
        self.world.borrow().ended.contains_key(&stream)
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<CallRecord> {
        self.world.borrow().calls.clone()
    }

    /// The log so far: level (0 trace to 5 critical) and line.
    pub fn log(&self) -> Vec<(u32, String)> {
        self.world.borrow().log.clone()
    }

    /// The value of a metric.
    pub fn metric(&self, name: &str) -> Option<u64> {
        self.world.borrow().metric_named(name)
    }

    /// How many VMs were made.
    pub fn vms(&self) -> usize {
        self.vms.len()
    }

    /// How many VMs have trapped.
    pub fn traps(&self) -> usize {
        self.vms.iter().filter(|vm| vm.has_failed()).count()
    }

    /// Root contexts that have not ended.
    pub fn roots(&self) -> usize {
        let world = self.world.borrow();
        world.contexts.values().filter(|context| matches!(context, Context::Root(_))).count()
    }

    /// Fuel that all VMs have used: the same for the same run on every machine.
    pub fn fuel_used(&self) -> u64 {
        self.vms.iter().map(Vm::fuel_used).sum()
    }

    // ---- events

    fn step(&mut self, until: u64) -> bool {
        let due = self.world.borrow_mut().events.next(until);
        let Some((at, event)) = due else { return false };
        {
            let mut world = self.world.borrow_mut();
            world.now = world.now.max(at);
        }
        self.happen(event);
        self.reap();
        true
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Request { stream, filter, client } => self.request(stream, filter, client),
            Event::RequestData { stream, bytes, end } => {
                self.on(stream, |guest| guest.data(stream, Direction::Request, &bytes, end));
            }
            Event::RequestTrailers { stream, trailers } => {
                self.on(stream, |guest| guest.trailers(stream, Direction::Request, trailers));
            }
            Event::Disconnect { stream } => self.on(stream, |guest| guest.disconnect(stream)),
            Event::Upstream { stream, request } => self.upstream(stream, &request),
            Event::Response { stream, headers, end } => self.on(stream, |guest| guest.response(stream, headers, end)),
            Event::ResponseData { stream, bytes, end } => {
                self.on(stream, |guest| guest.data(stream, Direction::Response, &bytes, end));
            }
            Event::ResponseTrailers { stream, trailers } => {
                self.on(stream, |guest| guest.trailers(stream, Direction::Response, trailers));
            }
            Event::UpstreamReset { stream } => self.on(stream, |guest| guest.upstream_reset(stream)),
            Event::Idle { stream } => self.on(stream, |guest| guest.idle(stream)),
            Event::CallAnswered { place, token, answer } => self.call_answered(place, token, answer),
            Event::Tick { place, generation } => self.tick(place, generation),
            Event::QueueReady { place, queue } => {
                self.at(place, |guest| drop(guest.on_queue_ready(place.context, queue)));
            }
        }
    }

    fn request(&mut self, id: StreamId, filter: usize, client: Client) {
        let worker = MAIN + 1 + client.worker;
        self.reload(worker, filter);
        let (Some(configuration), Some(place)) = (
            self.filters.get(filter).cloned(),
            self.threads.get(worker).and_then(|thread| thread.roots.get(filter).copied().flatten()),
        ) else {
            return;
        };
        let fails_open = configuration.failure_policy == FailurePolicy::FailOpen;
        let Some(vm) = self.vms.get_mut(place.vm) else { return };
        let filtered = !(vm.has_failed() && fails_open);
        vm.enter(|guest| {
            let at = guest.new_place();
            let header_stop = configuration.allow_on_headers_stop_iteration;
            let stream = Stream::new(at, place.context, &client, header_stop, fails_open, filtered);
            let world = guest.world();
            world.borrow_mut().streams.insert(id, stream);
            world.borrow_mut().contexts.insert(at, Context::Stream(id));
            guest.begin(id, client);
        });
    }

    /// A VM that trapped is replaced by the first request after the pause.
    fn reload(&mut self, thread: usize, filter: usize) {
        let Some(configuration) = self.filters.get(filter).cloned() else { return };
        let place = self.threads.get(thread).and_then(|thread| thread.roots.get(filter).copied().flatten());
        let failed = place.and_then(|place| self.vms.get(place.vm)).is_some_and(Vm::has_failed);
        if !failed || configuration.failure_policy != FailurePolicy::FailReload {
            return;
        }
        let (now, pause) = (self.world.borrow().now, self.world.borrow().limits.reload_pause * MILLI);
        let Some(slot) = self.threads.get_mut(thread).and_then(|thread| thread.reload_at.get_mut(filter)) else {
            return;
        };
        if slot.get_or_insert(now + pause) > &mut { now } {
            return;
        }
        *slot = None;
        if let Ok(Some(place)) = self.configure_in(thread, &configuration)
            && let Some(root) = self.threads.get_mut(thread).and_then(|thread| thread.roots.get_mut(filter))
        {
            *root = Some(place);
        }
    }

    fn upstream(&mut self, id: StreamId, request: &UpstreamRequest) {
        let network = Rc::clone(&self.world.borrow().network);
        let plan = network.borrow_mut().upstream(request);
        let mut world = self.world.borrow_mut();
        schedule_response(&mut world, id, plan);
    }

    fn call_answered(&mut self, place: Place, token: u32, answer: CallAnswer) {
        let (headers, body) = (answer.headers.0.len(), answer.body.len());
        self.world.borrow_mut().answer = Some(answer);
        self.at(place, |guest| drop(guest.on_call_answered(place.context, token, headers, body)));
        self.world.borrow_mut().answer = None;
    }

    fn tick(&mut self, place: Place, generation: u64) {
        {
            let mut world = self.world.borrow_mut();
            let now = world.now;
            let Some(period) = world.root(place).filter(|root| root.ticks == generation).map(|root| root.period) else {
                return;
            };
            world.events.add(now + period, Event::Tick { place, generation });
        }
        self.at(place, |guest| drop(guest.on_tick(place.context)));
    }

    /// A callback in a context, if it is still there: what comes too late is dropped.
    fn at(&mut self, place: Place, act: impl FnOnce(&mut Guest<'_>)) {
        if !self.world.borrow().contexts.contains_key(&place) {
            return;
        }
        let Some(vm) = self.vms.get_mut(place.vm).filter(|vm| !vm.has_failed()) else { return };
        vm.enter(|guest| {
            act(guest);
            guest.act_on_all();
        });
    }

    fn on(&mut self, stream: StreamId, act: impl FnOnce(&mut Guest<'_>)) {
        let place = self.world.borrow().streams.get(&stream).map(|stream| stream.place);
        if let Some(vm) = place.and_then(|place| self.vms.get_mut(place.vm)) {
            vm.enter(act);
        }
    }

    /// Ends roots that nobody needs any more, and those that were told to end and have now said that they may.
    fn reap(&mut self) {
        let replaced = std::mem::take(&mut self.replaced);
        let (in_use, unused) = replaced.into_iter().partition(|place| self.world.borrow().is_in_use(*place));
        self.replaced = in_use;
        for place in unused {
            self.end_root(place);
        }
        loop {
            let done = self.world.borrow_mut().done.pop();
            let Some(place) = done else { return };
            let ending = self.world.borrow_mut().root(place).is_some_and(|root| root.ending);
            if let Some(vm) = self.vms.get_mut(place.vm).filter(|_| ending) {
                vm.enter(|guest| delete_root(guest, place));
            }
        }
    }
}

fn delete_root(guest: &mut Guest<'_>, place: Place) {
    let _ = guest.on_delete(place.context);
    guest.world().borrow_mut().contexts.remove(&place);
}

fn schedule_response(world: &mut World, id: StreamId, plan: UpstreamPlan) {
    let mut at = world.now + plan.after * MILLI;
    let last = plan.body.len();
    let has_end = plan.trailers.is_none() && !plan.breaks;
    world.events.add(at, Event::Response { stream: id, headers: plan.headers, end: last == 0 && has_end });
    for Chunk { after, bytes } in plan.body {
        at += after * MILLI;
        world.events.add(at, Event::ResponseData { stream: id, bytes, end: false });
    }
    if last > 0 && has_end {
        world.events.add(at, Event::ResponseData { stream: id, bytes: Vec::new(), end: true });
    }
    if plan.breaks {
        world.events.add(at, Event::UpstreamReset { stream: id });
    } else if let Some(trailers) = plan.trailers {
        world.events.add(at, Event::ResponseTrailers { stream: id, trailers });
    }
}
