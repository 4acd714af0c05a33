//! The module as `stepup serve` runs it: in wasmtime, with real sockets around it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use anyhow::{Result, bail};
use serde_json::Value;
use simulated_proxy::Network;

use super::sockets::{Around, Ending, Front, PATIENCE, QUIET, clock};
use super::{Backend, Run, Script};
use crate::serve::{Options, Served as Policy, Serving, Told, Upstream, Way};

/// Runs scripts over HTTP, a filter of its own for each.
#[derive(Default)]
pub struct Served {
    around: RefCell<HashMap<String, Rc<Around>>>,
}

struct Running {
    serving: Serving,
    ended: Receiver<Way>,
    ways: RefCell<Vec<Way>>,
}

impl Backend for Served {
    fn name(&self) -> &'static str {
        "serve"
    }

    fn clock(&self) -> Option<u64> {
        Some(clock())
    }

    fn run(&self, script: &Script, network: Rc<RefCell<dyn Network>>) -> Result<Run> {
        let known = self.around.borrow().get(&script.policy).map(Rc::clone);
        let around = match known {
            Some(around) => around,
            None => Rc::new(Around::of(&script.policy)?),
        };
        self.around.borrow_mut().insert(script.policy.clone(), Rc::clone(&around));
        around.run(&Running::start(script, &around)?, script, &network)
    }
}

impl Running {
    fn start(script: &Script, around: &Around) -> Result<Running> {
        let policy = Policy::with(&serde_json::from_str(&script.policy)?, script.environment.clone())?;
        let (heard, ended) = channel();
        let at = |port: &u16| format!("http://127.0.0.1:{port}");
        let upstreams = vec![Upstream { server: None, url: at(&around.upstream).parse()? }];
        let told = move |what| {
            if let Told::Ended(way) = what {
                // The script may be over.
                let _ = heard.send(way);
            }
        };
        let serving = Serving::start(
            policy,
            Options {
                keep_host: true,
                clusters: around.clusters.iter().map(|(name, port)| (name.clone(), at(port))).collect(),
                hosts: vec!["*".to_owned()],
                ..Options::new(0, upstreams, told)
            },
        )?;
        Ok(Running { serving, ended, ways: RefCell::default() })
    }

    fn hear(&self) {
        self.ways.borrow_mut().extend(self.ended.try_iter());
    }
}

impl Front for Running {
    fn port(&self) -> u16 {
        self.serving.address().port()
    }

    fn told(&self) -> usize {
        self.hear();
        self.ways.borrow().len()
    }

    fn ending(&self, id: &str, told: usize) -> Result<Ending> {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            self.hear();
            let ways = self.ways.borrow();
            let record = |way: &Way| serde_json::from_slice::<Value>(&way.record).unwrap_or_default();
            let own =
                ways.iter().skip(told).find(|way| record(way).get("claimed_request_id").is_some_and(|own| own == id));
            // What has no record, or none with an id, is the first; what never came to the filter is told by nobody.
            let own = own.or_else(|| ways.get(told).filter(|_| begin.elapsed() > QUIET));
            if let Some(way) = own {
                let record = (!way.record.is_empty()).then(|| String::from_utf8_lossy(&way.record).into_owned());
                return Ok(Ending { details: way.details.clone(), record });
            }
            if begin.elapsed() > 5 * QUIET {
                return Ok(Ending::default());
            }
            drop(ways);
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        bail!("nothing was told of {id}")
    }
}
