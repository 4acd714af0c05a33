//! One proxy process: its threads' VMs, the filters they run, and the clock.

mod events;

use std::cell::RefCell;
use std::rc::Rc;

use anyhow::{Context as _, Result, bail};

use crate::configuration::Configuration;
use crate::events::Event;
use crate::guest::{Guest, Vm};
use crate::ids::{MILLI, Place, StreamId};
use crate::limits::Limits;
use crate::linker::linker;
use crate::machine::{CallRecord, Context, ForeignFunctions, Machine, Root};
use crate::network::{Client, Network};
use crate::stream::{Stream, Transcript};

/// A simulated process. As Envoy, it runs N + 2 VMs for N workers: one that only loads the configuration, one for the main
/// thread, which ticks but sees no request, and one for each worker.
pub struct Proxy {
    machine: Rc<RefCell<Machine>>,
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
        let machine = Machine::new(now.saturating_mul(MILLI), network, limits, foreign);
        let threads = (0..workers + 2).map(|_| Thread::default()).collect();
        Proxy {
            machine: Rc::new(RefCell::new(machine)),
            vms: Vec::new(),
            threads,
            filters: Vec::new(),
            replaced: Vec::new(),
        }
    }

    pub(crate) fn machine(&self) -> Rc<RefCell<Machine>> {
        Rc::clone(&self.machine)
    }

    /// Streams that are resumed go on inside of the host call, as on hosts that do not defer it.
    pub fn resume_inside_of_calls(&mut self) {
        self.machine.borrow_mut().reentrant = true;
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
            old.flatten().partition(|place| self.machine.borrow().base_vms.contains(&place.vm));
        self.machine.borrow_mut().contexts.retain(|place, _| !trial.contains(place));
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
        let lines = self.machine.borrow().log.len();
        let mut configured = Vec::new();
        for thread in 0..self.threads.len() {
            match self.configure_in(thread, configuration)? {
                Some(place) => configured.push(place),
                None => {
                    for place in configured {
                        self.end_root(place);
                    }
                    let machine = self.machine.borrow();
                    let said: Vec<&str> = machine.log.iter().skip(lines).map(|(_, line)| line.as_str()).collect();
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
                let machine = Rc::clone(&self.machine);
                let module = &configuration.module;
                self.vms.push(Vm::start(
                    module,
                    machine,
                    number,
                    &configuration.vm_id,
                    &configuration.environment,
                    linker()?,
                )?);
                if let Some(thread) = self.threads.get_mut(thread) {
                    thread.vms.retain(|(other, _)| *other != key);
                    thread.vms.push((key, number));
                }
                if thread == BASE {
                    self.machine.borrow_mut().base_vms.push(number);
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
            guest.machine().borrow_mut().contexts.insert(place, Context::Root(root));
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
            } else if let Some(root) = guest.machine().borrow_mut().root(place) {
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
        let mut machine = self.machine.borrow_mut();
        machine.next_stream += 1;
        let stream = StreamId(machine.next_stream);
        machine.later(after, Event::Request { stream, filter, client });
        stream
    }

    /// Lets so many milliseconds pass.
    pub fn pass(&mut self, millis: u64) {
        let until = self.machine.borrow().now.saturating_add(millis.saturating_mul(MILLI));
        while self.step(until) {}
        self.machine.borrow_mut().now = until;
    }

    /// Lets time pass until the condition holds; false when it did not within so many milliseconds.
    pub fn pass_until(&mut self, most: u64, mut done: impl FnMut(&Proxy) -> bool) -> bool {
        let until = self.machine.borrow().now.saturating_add(most.saturating_mul(MILLI));
        loop {
            if done(self) {
                return true;
            }
            if !self.step(until) {
                self.machine.borrow_mut().now = until;
                return done(self);
            }
        }
    }

    /// The time, in milliseconds since the epoch.
    pub fn now(&self) -> u64 {
        self.machine.borrow().now / MILLI
    }

    /// What has become of a stream so far.
    pub fn transcript(&self, stream: StreamId) -> Transcript {
        let machine = self.machine.borrow();
        let ended = machine.ended.get(&stream).cloned();
        ended.or_else(|| machine.streams.get(&stream).map(Stream::transcript)).unwrap_or_default()
    }

    /// Is it over?
    pub fn has_ended(&self, stream: StreamId) -> bool {
        self.machine.borrow().ended.contains_key(&stream)
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<CallRecord> {
        self.machine.borrow().calls.clone()
    }

    /// The log so far: level (0 trace to 5 critical) and line.
    pub fn log(&self) -> Vec<(u32, String)> {
        self.machine.borrow().log.clone()
    }

    /// The value of a metric.
    pub fn metric(&self, name: &str) -> Option<u64> {
        self.machine.borrow().metric_named(name)
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
        let machine = self.machine.borrow();
        machine.contexts.values().filter(|context| matches!(context, Context::Root(_))).count()
    }

    /// Fuel that all VMs have used: the same for the same run on every machine.
    pub fn fuel_used(&self) -> u64 {
        self.vms.iter().map(Vm::fuel_used).sum()
    }
}

fn delete_root(guest: &mut Guest<'_>, place: Place) {
    let _ = guest.on_delete(place.context);
    guest.machine().borrow_mut().contexts.remove(&place);
}
