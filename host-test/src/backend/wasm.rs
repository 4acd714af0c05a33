//! The bytecode of production, in the simulated proxy.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::OnceLock;

use anyhow::{Result, ensure};
use simulated_proxy::{Configuration, FailurePolicy, ForeignFunctions, Limits, Module, Network, Proxy, StreamId};

use super::{Backend, PATIENCE, Run, Script, Start};
use crate::artifact;
use crate::once::once;

/// Runs `step_up_filter.wasm`.
#[derive(Clone)]
pub struct Wasm {
    module: Module,
    foreign: ForeignFunctions,
}

impl Wasm {
    /// The module, built if need be, on a host like Envoy. Loaded once in a process.
    pub fn new() -> Result<Wasm> {
        static SHIPPED: OnceLock<Result<Wasm, String>> = OnceLock::new();
        once(&SHIPPED, || Wasm::of(&artifact::module()?)).cloned()
    }

    /// Another module.
    pub fn of(module: &Path) -> Result<Wasm> {
        Ok(Wasm { module: artifact::load(module)?, foreign: ForeignFunctions::Envoy })
    }

    /// The same on a host without foreign functions: signatures are then checked by the module itself.
    #[must_use]
    pub fn without_foreign_functions(self) -> Wasm {
        Wasm { foreign: ForeignFunctions::Absent, ..self }
    }
}

impl Backend for Wasm {
    fn name(&self) -> &'static str {
        "wasm"
    }

    fn run(&self, script: &Script, network: Rc<RefCell<dyn Network>>) -> Result<Run> {
        // As the stack sets it: above the filter's own limit, so that the filter answers.
        let limits = Limits { request_body: (1 << 20) + (64 << 10), ..Limits::default() };
        let mut proxy = Proxy::new(script.now, 1, network, limits, self.foreign);
        let filter = proxy.load(Configuration {
            module: self.module.clone(),
            vm_id: "step-up".to_owned(),
            root_id: "step-up".to_owned(),
            configuration: script.policy.clone().into_bytes(),
            environment: script.environment.clone(),
            allow_on_headers_stop_iteration: true,
            failure_policy: FailurePolicy::FailReload,
        })?;
        let loaded = proxy.fuel_used();
        let mut streams: Vec<StreamId> = Vec::new();
        let mut ended = 0;
        let mut last = proxy.now();
        for request in &script.requests {
            match request.at {
                Start::Then => ended = wait(&mut proxy, &streams, ended),
                Start::After(millis) => proxy.pass((last + millis).saturating_sub(proxy.now())),
            }
            last = proxy.now();
            streams.push(proxy.send(filter, request.client.clone()));
        }
        wait(&mut proxy, &streams, ended);
        proxy.pass(script.linger);
        let log: Vec<String> = proxy.log().into_iter().map(|(_, line)| line).collect();
        // Whatever the client saw: the module is built never to trap.
        ensure!(proxy.traps() == 0, "a VM trapped:\n{}", log.join("\n"));
        Ok(Run {
            transcripts: streams.iter().map(|stream| proxy.transcript(*stream)).collect(),
            calls: proxy.calls(),
            log,
            beside: Vec::new(),
            fuel: Some(proxy.fuel_used() - loaded),
            is_late: false,
        })
    }
}

/// Lets the streams end, of which the first so many have; how many there are.
fn wait(proxy: &mut Proxy, streams: &[StreamId], ended: usize) -> usize {
    proxy.pass_until(PATIENCE, |proxy| streams.iter().skip(ended).all(|stream| proxy.has_ended(*stream)));
    streams.len()
}
