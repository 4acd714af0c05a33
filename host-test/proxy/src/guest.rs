//! One VM, and calls into it.

use std::cell::RefCell;
use std::rc::Rc;

use anyhow::{Context as _, Result};
use wasmtime::{
    AsContextMut as _, Instance, Linker, Memory, Store, StoreContextMut, StoreLimits, StoreLimitsBuilder, TypedFunc,
    WasmParams, WasmResults,
};

use crate::ids::Place;
use crate::machine::Machine;
use crate::module::{Module, engine};

/// What a VM carries beside its memory.
pub(crate) struct VmState {
    pub machine: Rc<RefCell<Machine>>,
    pub vm: usize,
    pub vm_id: String,
    /// Host functions act on this context.
    pub effective: u32,
    pub environment: Vec<(String, String)>,
    /// The state of the generator behind `random_get`.
    pub random: u64,
    /// A local reply or a reset was asked for in this callback, on whichever stream: whatever the callback returns, its own
    /// stream is stopped (`stopNextIteration` in proxy-wasm-cpp-host).
    pub stops_iteration: bool,
    /// It trapped; nothing calls it any more.
    pub has_failed: bool,
    exports: Exports,
    memory: Option<Memory>,
    limits: StoreLimits,
    contexts: u32,
}

/// A VM of one thread.
pub(crate) struct Vm {
    store: Store<VmState>,
    fuel_limit: u64,
    fuel_used: u64,
}

/// The VM ended in the middle of a callback; the log says why.
#[derive(Debug)]
pub(crate) struct Trapped;

/// What may be called. A module exports what it is interested in.
#[derive(Clone, Default)]
pub(crate) struct Exports {
    pub allocate: Option<TypedFunc<i32, i32>>,
    context_create: Option<TypedFunc<(i32, i32), ()>>,
    vm_start: Option<TypedFunc<(i32, i32), i32>>,
    configure: Option<TypedFunc<(i32, i32), i32>>,
    tick: Option<TypedFunc<i32, ()>>,
    queue_ready: Option<TypedFunc<(i32, i32), ()>>,
    request_headers: Option<TypedFunc<(i32, i32, i32), i32>>,
    request_body: Option<TypedFunc<(i32, i32, i32), i32>>,
    request_trailers: Option<TypedFunc<(i32, i32), i32>>,
    response_headers: Option<TypedFunc<(i32, i32, i32), i32>>,
    response_body: Option<TypedFunc<(i32, i32, i32), i32>>,
    response_trailers: Option<TypedFunc<(i32, i32), i32>>,
    call_answered: Option<TypedFunc<CallAnswered, ()>>,
    log: Option<TypedFunc<i32, ()>>,
    done: Option<TypedFunc<i32, i32>>,
    delete: Option<TypedFunc<i32, ()>>,
}

/// Context, call, and the sizes of headers, body and trailers.
type CallAnswered = (i32, i32, i32, i32, i32);

impl Exports {
    fn of(store: &mut Store<VmState>, instance: &Instance) -> Result<Exports> {
        fn find<P: WasmParams, R: WasmResults>(
            store: &mut Store<VmState>,
            instance: &Instance,
            name: &str,
        ) -> Result<Option<TypedFunc<P, R>>> {
            let Some(function) = instance.get_func(&mut *store, name) else { return Ok(None) };
            let typed = function.typed(&*store).map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
            Ok(Some(typed))
        }
        let allocate = match find(store, instance, "proxy_on_memory_allocate")? {
            Some(function) => Some(function),
            None => find(store, instance, "malloc")?,
        };
        Ok(Exports {
            allocate,
            context_create: find(store, instance, "proxy_on_context_create")?,
            vm_start: find(store, instance, "proxy_on_vm_start")?,
            configure: find(store, instance, "proxy_on_configure")?,
            tick: find(store, instance, "proxy_on_tick")?,
            queue_ready: find(store, instance, "proxy_on_queue_ready")?,
            request_headers: find(store, instance, "proxy_on_request_headers")?,
            request_body: find(store, instance, "proxy_on_request_body")?,
            request_trailers: find(store, instance, "proxy_on_request_trailers")?,
            response_headers: find(store, instance, "proxy_on_response_headers")?,
            response_body: find(store, instance, "proxy_on_response_body")?,
            response_trailers: find(store, instance, "proxy_on_response_trailers")?,
            call_answered: find(store, instance, "proxy_on_http_call_response")?,
            log: find(store, instance, "proxy_on_log")?,
            done: find(store, instance, "proxy_on_done")?,
            delete: find(store, instance, "proxy_on_delete")?,
        })
    }
}

impl Vm {
    pub fn start(
        module: &Module,
        machine: Rc<RefCell<Machine>>,
        vm: usize,
        vm_id: &str,
        environment: &[(String, String)],
        linker: &Linker<VmState>,
    ) -> Result<Vm> {
        let limits = machine.borrow().limits;
        let state = VmState {
            machine,
            vm,
            vm_id: vm_id.to_owned(),
            effective: 0,
            environment: environment.to_vec(),
            random: 0x9E37_79B9_7F4A_7C15 ^ (vm as u64 + 1),
            stops_iteration: false,
            has_failed: false,
            exports: Exports::default(),
            memory: None,
            limits: StoreLimitsBuilder::new().memory_size(limits.memory).build(),
            contexts: 0,
        };
        let engine = engine()?;
        let mut store = Store::new(engine, state);
        store.limiter(|state| &mut state.limits);
        store.set_fuel(limits.fuel)?;
        let instance = linker.instantiate(&mut store, &module.compiled)?;
        let exports = Exports::of(&mut store, &instance)?;
        let memory = instance.get_memory(&mut store, "memory").context("the module exports no memory")?;
        store.data_mut().exports = exports;
        store.data_mut().memory = Some(memory);
        for name in ["_initialize", "_start"] {
            if let Some(start) = instance.get_func(&mut store, name) {
                start.typed::<(), ()>(&store)?.call(&mut store, ())?;
                break;
            }
        }
        Ok(Vm { store, fuel_limit: limits.fuel, fuel_used: 0 })
    }

    /// Does something with the VM, with fresh fuel.
    pub fn enter<R>(&mut self, act: impl FnOnce(&mut Guest<'_>) -> R) -> R {
        let _ = self.store.set_fuel(self.fuel_limit);
        let result = act(&mut Guest { store: self.store.as_context_mut() });
        self.fuel_used += self.fuel_limit.saturating_sub(self.store.get_fuel().unwrap_or(0));
        result
    }

    pub fn has_failed(&self) -> bool {
        self.store.data().has_failed
    }

    pub fn fuel_used(&self) -> u64 {
        self.fuel_used
    }
}

/// A VM that may be called now: from outside, or by a host function that leads back into it.
pub(crate) struct Guest<'a> {
    pub store: StoreContextMut<'a, VmState>,
}

type Called<R> = Result<Option<R>, Trapped>;

impl Guest<'_> {
    pub fn machine(&self) -> Rc<RefCell<Machine>> {
        Rc::clone(&self.store.data().machine)
    }

    pub fn memory(&self) -> Option<Memory> {
        self.store.data().memory
    }

    pub fn has_failed(&self) -> bool {
        self.store.data().has_failed
    }

    /// A context that was never used.
    pub fn new_place(&mut self) -> Place {
        let state = self.store.data_mut();
        state.contexts += 1;
        Place { vm: state.vm, context: state.contexts }
    }

    /// Memory of the guest's own for the host to write to.
    pub fn allocate(&mut self, size: i32) -> Option<i32> {
        let allocate = self.store.data().exports.allocate.clone()?;
        let allocated = allocate.call(&mut self.store, size);
        self.store.data_mut().has_failed |= allocated.is_err();
        allocated.ok().filter(|at| *at != 0)
    }

    fn call<P: WasmParams, R: WasmResults>(
        &mut self,
        export: fn(&Exports) -> &Option<TypedFunc<P, R>>,
        context: u32,
        parameters: P,
    ) -> Called<R> {
        if self.has_failed() {
            return Err(Trapped);
        }
        let Some(function) = export(&self.store.data().exports).clone() else { return Ok(None) };
        let outer = std::mem::replace(&mut self.store.data_mut().effective, context);
        let result = function.call(&mut self.store, parameters);
        let state = self.store.data_mut();
        state.effective = outer;
        result.map(Some).map_err(|error| {
            state.has_failed = true;
            state.machine.borrow_mut().log.push((CRITICAL, format!("a VM trapped: {error:#}")));
            Trapped
        })
    }

    pub fn on_context_create(&mut self, context: u32, parent: u32) -> Called<()> {
        self.call(|exports| &exports.context_create, context, (number(context), number(parent)))
    }

    pub fn on_vm_start(&mut self, root: u32, size: usize) -> Called<i32> {
        self.call(|exports| &exports.vm_start, root, (number(root), length(size)))
    }

    pub fn on_configure(&mut self, root: u32, size: usize) -> Called<i32> {
        self.call(|exports| &exports.configure, root, (number(root), length(size)))
    }

    pub fn on_tick(&mut self, root: u32) -> Called<()> {
        self.call(|exports| &exports.tick, root, number(root))
    }

    pub fn on_queue_ready(&mut self, root: u32, queue: u32) -> Called<()> {
        self.call(|exports| &exports.queue_ready, root, (number(root), number(queue)))
    }

    pub fn on_request_headers(&mut self, context: u32, count: usize, end: bool) -> Called<i32> {
        self.call(|exports| &exports.request_headers, context, (number(context), length(count), i32::from(end)))
    }

    pub fn on_request_body(&mut self, context: u32, size: usize, end: bool) -> Called<i32> {
        self.call(|exports| &exports.request_body, context, (number(context), length(size), i32::from(end)))
    }

    pub fn on_request_trailers(&mut self, context: u32, count: usize) -> Called<i32> {
        self.call(|exports| &exports.request_trailers, context, (number(context), length(count)))
    }

    pub fn on_response_headers(&mut self, context: u32, count: usize, end: bool) -> Called<i32> {
        self.call(|exports| &exports.response_headers, context, (number(context), length(count), i32::from(end)))
    }

    pub fn on_response_body(&mut self, context: u32, size: usize, end: bool) -> Called<i32> {
        self.call(|exports| &exports.response_body, context, (number(context), length(size), i32::from(end)))
    }

    pub fn on_response_trailers(&mut self, context: u32, count: usize) -> Called<i32> {
        self.call(|exports| &exports.response_trailers, context, (number(context), length(count)))
    }

    pub fn on_call_answered(&mut self, context: u32, token: u32, headers: usize, body: usize) -> Called<()> {
        let parameters = (number(context), number(token), length(headers), length(body), 0);
        self.call(|exports| &exports.call_answered, context, parameters)
    }

    pub fn on_log(&mut self, context: u32) -> Called<()> {
        self.call(|exports| &exports.log, context, number(context))
    }

    pub fn on_done(&mut self, context: u32) -> Called<i32> {
        self.call(|exports| &exports.done, context, number(context))
    }

    pub fn on_delete(&mut self, context: u32) -> Called<()> {
        self.call(|exports| &exports.delete, context, number(context))
    }
}

/// The ABI's highest log level.
pub(crate) const CRITICAL: u32 = 5;

fn number(value: u32) -> i32 {
    value.cast_signed()
}

fn length(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
