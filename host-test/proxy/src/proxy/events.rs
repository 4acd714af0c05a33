//! What happens in a process, one event after the other.

use std::rc::Rc;

use super::{MAIN, Proxy, delete_root};
use crate::configuration::FailurePolicy;
use crate::events::Event;
use crate::guest::{Guest, Vm};
use crate::ids::{Direction, MILLI, Place, StreamId};
use crate::machine::{Context, Machine};
use crate::network::{CallAnswer, Chunk, Client, UpstreamPlan, UpstreamRequest};
use crate::stream::Stream;

impl Proxy {
    pub(super) fn step(&mut self, until: u64) -> bool {
        let due = self.machine.borrow_mut().events.next(until);
        let Some((at, event)) = due else { return false };
        {
            let mut machine = self.machine.borrow_mut();
            machine.now = machine.now.max(at);
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
            Event::Expired { stream } => self.on(stream, |guest| guest.expired(stream)),
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
            let machine = guest.machine();
            machine.borrow_mut().streams.insert(id, stream);
            machine.borrow_mut().contexts.insert(at, Context::Stream(id));
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
        let (now, pause) = (self.machine.borrow().now, self.machine.borrow().limits.reload_pause * MILLI);
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
        let network = Rc::clone(&self.machine.borrow().network);
        // The machine is not borrowed meanwhile: the network may look at it.
        let plan = network.borrow_mut().forward(id, request);
        if let Some(plan) = plan {
            schedule_response(&mut self.machine.borrow_mut(), id, plan);
        }
    }

    fn call_answered(&mut self, place: Place, token: u32, answer: CallAnswer) {
        let (headers, body) = (answer.headers.0.len(), answer.body.len());
        self.machine.borrow_mut().answer = Some(answer);
        self.at(place, |guest| drop(guest.on_call_answered(place.context, token, headers, body)));
        self.machine.borrow_mut().answer = None;
    }

    fn tick(&mut self, place: Place, generation: u64) {
        {
            let mut machine = self.machine.borrow_mut();
            let now = machine.now;
            let Some(period) = machine.root(place).filter(|root| root.ticks == generation).map(|root| root.period)
            else {
                return;
            };
            machine.events.add(now + period, Event::Tick { place, generation });
        }
        self.at(place, |guest| drop(guest.on_tick(place.context)));
    }

    /// A callback in a context, if it is still there: what comes too late is dropped.
    fn at(&mut self, place: Place, act: impl FnOnce(&mut Guest<'_>)) {
        if !self.machine.borrow().contexts.contains_key(&place) {
            return;
        }
        let Some(vm) = self.vms.get_mut(place.vm).filter(|vm| !vm.has_failed()) else { return };
        vm.enter(|guest| {
            act(guest);
            guest.act_on_all();
        });
    }

    fn on(&mut self, stream: StreamId, act: impl FnOnce(&mut Guest<'_>)) {
        let place = self.machine.borrow().streams.get(&stream).map(|stream| stream.place);
        if let Some(vm) = place.and_then(|place| self.vms.get_mut(place.vm)) {
            vm.enter(act);
        }
    }

    /// Ends roots that nobody needs any more, and those that were told to end and have now said that they may.
    pub(super) fn reap(&mut self) {
        let replaced = std::mem::take(&mut self.replaced);
        let (in_use, unused) = replaced.into_iter().partition(|place| self.machine.borrow().is_in_use(*place));
        self.replaced = in_use;
        for place in unused {
            self.end_root(place);
        }
        loop {
            let done = self.machine.borrow_mut().done.pop();
            let Some(place) = done else { return };
            let ending = self.machine.borrow_mut().root(place).is_some_and(|root| root.ending);
            if let Some(vm) = self.vms.get_mut(place.vm).filter(|_| ending) {
                vm.enter(|guest| delete_root(guest, place));
            }
        }
    }
}

fn schedule_response(machine: &mut Machine, id: StreamId, plan: UpstreamPlan) {
    let mut at = machine.now + plan.after * MILLI;
    let last = plan.body.len();
    let has_end = plan.trailers.is_none() && !plan.breaks;
    machine.events.add(at, Event::Response { stream: id, headers: plan.headers, end: last == 0 && has_end });
    for Chunk { after, bytes } in plan.body {
        at += after * MILLI;
        machine.events.add(at, Event::ResponseData { stream: id, bytes, end: false });
    }
    if last > 0 && has_end {
        machine.events.add(at, Event::ResponseData { stream: id, bytes: Vec::new(), end: true });
    }
    if plan.breaks {
        machine.events.add(at, Event::UpstreamReset { stream: id });
    } else if let Some(trailers) = plan.trailers {
        machine.events.add(at, Event::ResponseTrailers { stream: id, trailers });
    }
}
