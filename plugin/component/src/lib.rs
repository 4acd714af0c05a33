//! The step-up decision as a WebAssembly component: translates the inputs of `plugin/wit` into those of the core's gate, and its
//! effects back. No rule of the policy is decided here.
#![cfg(target_family = "wasm")]

mod audit;
mod effect;
mod input;
mod memory;
mod metric;

#[allow(unsafe_code, missing_docs, reason = "generated: the canonical ABI")]
mod bindings {
    wit_bindgen::generate!({ path: "../wit", world: "decision" });
}

use std::cell::RefCell;
use std::rc::Rc;

use step_up_core::{Environment, Millis, Policy, PureRust, StreamId};

use bindings::exports::step_up::decision::gates::{Effect, Fault, Gate, Guest, GuestGate, Input, Variable};

struct Component;

impl Guest for Component {
    type Gate = Decision;
}

/// The gate behind a resource.
struct Decision(RefCell<step_up_core::Gate>);

impl GuestGate for Decision {
    fn load(policy: String, environment: Vec<Variable>, seed: (u64, u64), now: u64) -> Result<Gate, Vec<Fault>> {
        let now = Millis(now);
        let policy = Policy::load(policy.as_bytes(), &Variables(&environment, now)).map_err(told)?;
        let seed = ((u128::from(seed.0) << 64) | u128::from(seed.1)).to_be_bytes();
        let gate =
            step_up_core::Gate::new(Rc::new(policy), Box::new(PureRust), Box::new(memory::of_instance()), seed, now);
        Ok(Gate::new(Decision(RefCell::new(gate))))
    }

    fn handle(&self, input: Input, now: u64) {
        input::hand_over(&input, |input| self.0.borrow_mut().handle(input, Millis(now)));
    }

    fn poll(&self) -> Vec<Effect> {
        let mut gate = self.0.borrow_mut();
        std::iter::from_fn(|| gate.poll()).map(effect::told).collect()
    }

    fn knows(&self, stream: u32) -> bool {
        self.0.borrow().knows(StreamId(stream))
    }

    fn body_limit(&self, stream: u32) -> u64 {
        effect::length(self.0.borrow().body_limit(StreamId(stream)))
    }

    fn asks_source(&self) -> bool {
        self.0.borrow().policy().asks_source()
    }

    fn policy(&self) -> String {
        self.0.borrow().policy().digest().to_owned()
    }

    fn retire(&self, now: u64) {
        self.0.borrow_mut().retire(Millis(now));
    }

    fn is_idle(&self) -> bool {
        self.0.borrow().is_idle()
    }
}

/// What a policy reads when it is loaded.
struct Variables<'v>(&'v [Variable], Millis);

impl Environment for Variables<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        self.0.iter().find(|variable| variable.name == name).map(|variable| variable.value.clone())
    }

    fn now(&self) -> Option<Millis> {
        Some(self.1)
    }
}

fn told(faults: Vec<step_up_core::Fault>) -> Vec<Fault> {
    let fault = |fault: step_up_core::Fault| Fault { path: fault.path, problem: fault.problem, help: fault.help };
    faults.into_iter().map(fault).collect()
}

#[allow(unsafe_code, reason = "generated: exports have names of the canonical ABI")]
mod exports {
    use super::{Component, bindings};

    bindings::export!(Component with_types_in bindings);
}
