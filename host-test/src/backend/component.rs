//! The component, in wasmtime. Between it and the core there is nothing but the translation of `plugin/component`, and back.

mod audit;
mod inputs;
mod metrics;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow};
use simulated_proxy::{Network, OutboundCall};
use step_up_core::{CallId, Input, Level, Millis, ResponseAct, StreamId};
use wasmtime::component::{InstancePre, Linker, ResourceAny};
use wasmtime::{Cache, CacheConfig, Config, Engine, Store};

use super::native::call_headers;
use super::vm::{self, Answer, Decision, Effect, Release};
use super::{Backend, Run, Script};
use crate::artifact;
use crate::once::once;
use bindings::exports::step_up::decision::gates as wit;

#[allow(missing_docs, unsafe_code, reason = "generated")]
mod bindings {
    wasmtime::component::bindgen!({ path: "../plugin/wit", world: "decision" });
}

/// Runs `step_up_component.wasm`.
#[derive(Clone)]
pub struct Component {
    compiled: wasmtime::component::Component,
    ready: InstancePre<()>,
}

impl Component {
    /// The component, built if need be. Loaded once in a process.
    pub fn new() -> Result<Component> {
        static SHIPPED: OnceLock<Result<Component, String>> = OnceLock::new();
        once(&SHIPPED, || Component::of(&artifact::component()?)).cloned()
    }

    /// Another component of that world.
    pub fn of(path: &Path) -> Result<Component> {
        let compiled = wasmtime::component::Component::from_file(&engine()?, path)
            .map_err(anyhow::Error::from)
            .with_context(|| format!("{} is no component", path.display()))?;
        let mut linker = Linker::new(compiled.engine());
        // The standard library seeds its maps. Always alike, so that a run repeats itself.
        let seed = |_: wasmtime::StoreContextMut<'_, ()>, (): ()| Ok(((0x5eed_u64, 0x5eed_u64),));
        linker.instance("wasi:random/insecure-seed@0.2.6")?.func_wrap("insecure-seed", seed)?;
        // The rest of what it imports is there for panics, and nothing of it is ever called.
        linker.define_unknown_imports_as_traps(&compiled)?;
        Ok(Component { ready: linker.instantiate_pre(&compiled)?, compiled })
    }

    /// The names of the interfaces that it wants from its host.
    pub fn imports(&self) -> Vec<String> {
        let component = self.compiled.component_type();
        component.imports(self.compiled.engine()).map(|(name, _)| name.to_owned()).collect()
    }

    /// An instance of its own.
    fn instance(&self) -> Result<(Store<()>, wit::Guest)> {
        let mut store = Store::new(self.compiled.engine(), ());
        let instance = bindings::DecisionPre::new(self.ready.clone())?.instantiate(&mut store)?;
        let gates = instance.step_up_decision_gates().clone();
        Ok((store, gates))
    }
}

impl Backend for Component {
    fn name(&self) -> &'static str {
        "component"
    }

    fn run(&self, script: &Script, network: Rc<RefCell<dyn Network>>) -> Result<Run> {
        let (mut store, gates) = self.instance()?;
        let variable = |(name, value): &(String, String)| wit::Variable { name: name.clone(), value: value.clone() };
        let environment: Vec<wit::Variable> = script.environment.iter().map(variable).collect();
        let loaded = gates.gate().call_load(&mut store, &script.policy, &environment, seed(), script.now)?;
        let gate = loaded.map_err(|faults| {
            let line = |fault: &wit::Fault| format!("{}: {}; {}", fault.path, fault.problem, fault.help);
            let lines: Vec<String> = faults.iter().map(line).collect();
            anyhow!("the component refuses its policy:\n{}", lines.join("\n"))
        })?;
        let gate = Gate { store, gates, gate, left: VecDeque::new() };
        vm::run(Box::new(gate), script, network)
    }
}

/// As the native backend has it.
fn seed() -> (u64, u64) {
    let seed = u128::from_be_bytes(vm::SEED);
    ((seed >> 64) as u64, seed as u64)
}

fn engine() -> Result<Engine> {
    let mut config = Config::new();
    if let Some(folder) = artifact::compiled() {
        let mut cache = CacheConfig::new();
        cache.with_directory(folder);
        config.cache(Some(Cache::new(cache)?));
    }
    Ok(Engine::new(&config)?)
}

/// A gate in an instance of its own.
struct Gate {
    store: Store<()>,
    gates: wit::Guest,
    gate: ResourceAny,
    /// What it said that is not done yet.
    left: VecDeque<wit::Effect>,
}

impl Decision for Gate {
    fn handle(&mut self, input: Input<'_>, now: Millis) -> Result<()> {
        // What it has said before comes first.
        self.left.extend(self.gates.gate().call_poll(&mut self.store, self.gate)?);
        let input = inputs::told(&input);
        Ok(self.gates.gate().call_handle(&mut self.store, self.gate, &input, now.0)?)
    }

    fn poll(&mut self) -> Result<Option<Effect>> {
        if self.left.is_empty() {
            self.left.extend(self.gates.gate().call_poll(&mut self.store, self.gate)?);
        }
        self.left.pop_front().map(understood).transpose()
    }

    fn body_limit(&mut self, stream: StreamId) -> Result<usize> {
        Ok(usize::try_from(self.gates.gate().call_body_limit(&mut self.store, self.gate, stream.0)?)?)
    }

    fn asks_source(&mut self) -> Result<bool> {
        Ok(self.gates.gate().call_asks_source(&mut self.store, self.gate)?)
    }
}

fn understood(effect: wit::Effect) -> Result<Effect> {
    Ok(match effect {
        wit::Effect::Continue(permit) => {
            let set = permit.set.into_iter().map(pair).collect();
            let state = permit.state.into_iter().map(pair).collect();
            let release = Release { set, remove: permit.remove, state, is_watched: permit.watched };
            Effect::Continue { stream: StreamId(permit.stream), release }
        }
        wit::Effect::Reply(response) => {
            let headers = response.headers.into_iter().map(pair).collect();
            let details = format!("stepup:{}", response.told);
            let answer = Answer { status: response.status, headers, body: response.body, details };
            Effect::Reply { stream: StreamId(response.stream), answer }
        }
        wit::Effect::Response(effect) => Effect::Response { stream: StreamId(effect.stream), act: acted(effect.act)? },
        wit::Effect::ReadBody(stream) => Effect::ReadBody { stream: StreamId(stream) },
        wit::Effect::WhyNoBody(stream) => Effect::WhyNoBody { stream: StreamId(stream) },
        wit::Effect::Call(call) => Effect::Call { id: CallId(call.id), call: called(call) },
        wit::Effect::Audit(audit) => {
            audit::complete(&audit)?;
            Effect::Record { stream: StreamId(audit.stream), record: audit.line }
        }
        wit::Effect::Log(log) => Effect::Log { level: severity(log.level), line: log.line },
        wit::Effect::Count(metric) => Effect::Count { metric: metrics::counted(metric)? },
        wit::Effect::Wake(at) => Effect::Wake { at: Millis(at) },
    })
}

fn acted(act: wit::ResponseAct) -> Result<ResponseAct> {
    Ok(match act {
        wit::ResponseAct::Hold(most) => ResponseAct::Hold { most: usize::try_from(most)? },
        wit::ResponseAct::Challenge(challenge) => ResponseAct::Challenge(challenge),
        wit::ResponseAct::Session(id) => ResponseAct::Session(id),
        wit::ResponseAct::Take(hold) => ResponseAct::Take { hold },
        wit::ResponseAct::Give(piece) => ResponseAct::Give { bytes: piece.bytes, release: piece.release },
        wit::ResponseAct::Leave => ResponseAct::Leave,
        wit::ResponseAct::Pass => ResponseAct::Pass,
        wit::ResponseAct::Rewrite(body) => ResponseAct::Rewrite(body),
    })
}

fn called(call: wit::Call) -> OutboundCall {
    let fields = call.headers.iter().map(|field| (field.name.as_str(), field.value.as_str()));
    let headers = call_headers(&call.method, &call.path, &call.authority, fields);
    OutboundCall { cluster: call.cluster, headers, body: call.body.into_bytes(), timeout: call.timeout }
}

fn severity(level: wit::Level) -> Level {
    match level {
        wit::Level::Error => Level::Error,
        wit::Level::Warning => Level::Warning,
        wit::Level::Info => Level::Info,
        wit::Level::Debug => Level::Debug,
    }
}

fn pair(field: wit::Field) -> (String, String) {
    (field.name, field.value)
}

#[cfg(test)]
mod tests;
