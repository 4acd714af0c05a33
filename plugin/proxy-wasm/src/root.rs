//! The root context: one for each configuration in each VM. It owns the gate and makes the calls.

use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{ContextType, LogLevel};
use step_up_core::Gate;
use step_up_core::Input;
use step_up_core::Policy;

use crate::drive::Driver;
use crate::stream::Stream;
use crate::{host, native};

pub struct Root {
    id: u32,
    driver: Option<Rc<Driver>>,
}

impl Root {
    pub fn new(id: u32) -> Root {
        Root { id, driver: None }
    }

    fn configure(&self) -> Result<Driver, ()> {
        let policy = Policy::load(&host::configuration(), &host::VmEnvironment).map_err(|faults| {
            host::log(LogLevel::Critical, &format!("step-up: the policy has {} faults and is refused", faults.len()));
            for fault in faults {
                host::log(LogLevel::Critical, &format!("step-up: {fault}"));
            }
        })?;
        let Some(seed) = host::seed() else {
            host::log(LogLevel::Critical, "step-up: the host gives no randomness (wasi random_get)");
            return Err(());
        };
        let gate = Gate::new(Rc::new(policy), native::signatures(), Box::new(host::SharedData), seed, host::now());
        Ok(Driver::new(gate, self.id, host::own_queue(&seed)))
    }
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, headers: usize, body_size: usize, _: usize) {
        if let Some(driver) = &self.driver {
            driver.on_reply(token, headers, body_size);
        }
    }

    // False: there is something that must not be lost yet. `done` follows when it is settled.
    fn on_done(&mut self) -> bool {
        self.driver.as_ref().is_none_or(|driver| driver.retire())
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, _: usize) -> bool {
        let Ok(driver) = self.configure() else { return false };
        driver.perform(self.id);
        self.driver = Some(Rc::new(driver));
        true
    }

    fn on_queue_ready(&mut self, _: u32) {
        if let Some(driver) = &self.driver {
            driver.make_calls();
        }
    }

    fn on_tick(&mut self) {
        if let Some(driver) = &self.driver {
            driver.on_root(Input::Tick);
        }
    }

    // `None` only before `on_configure` accepted a policy: the host then has no stream for us.
    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        self.driver.as_ref().map(|driver| Box::new(Stream::new(id, Rc::clone(driver))) as Box<dyn HttpContext>)
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}
