//! The module in real Envoy, with the settings of `envoy/envoy.yaml`, one process for each policy.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::rc::Rc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use simulated_proxy::Network;

use super::sockets::{Around, Ending, Front, PATIENCE, QUIET, clock};
use super::{Backend, Run, Script, record};
use crate::fixtures::{self, Fixtures};
use crate::process::{Process, free_port};
use crate::stack::{discover, discovery, new_folder, start_envoy, stat, wait_until_live};
use crate::{artifact, paths, yaml};

/// Runs scripts in Envoy, one process for each policy.
pub struct Envoy {
    fixtures: Fixtures,
    module: PathBuf,
    running: RefCell<HashMap<String, Rc<Running>>>,
}

struct Running {
    folder: PathBuf,
    port: u16,
    admin: u16,
    around: Around,
    _envoy: Process,
}

const UPSTREAM: &str = "the-upstream";

impl Envoy {
    /// Installs Envoy and builds the module, if need be.
    pub fn new() -> Result<Envoy> {
        Ok(Envoy { fixtures: fixtures::install()?, module: artifact::module()?, running: RefCell::default() })
    }

    /// An Envoy for that policy, with a filter that has seen nothing yet.
    fn fresh(&self, policy: &str) -> Result<Rc<Running>> {
        if let Some(running) = self.running.borrow().get(policy) {
            self.renew(running, policy)?;
            return Ok(Rc::clone(running));
        }
        let running = Rc::new(self.start(policy)?);
        self.running.borrow_mut().insert(policy.to_owned(), Rc::clone(&running));
        Ok(running)
    }

    fn start(&self, policy: &str) -> Result<Running> {
        let folder = new_folder()?;
        let around = Around::of(policy)?;
        let mut clusters = around.clusters.clone();
        clusters.push((UPSTREAM.to_owned(), around.upstream));
        let (port, admin) = (free_port()?, free_port()?);
        discover(&folder, &discovery(policy, &self.module)?)?;
        fs::write(folder.join("envoy.yaml"), bootstrap(port, admin, &clusters)?.to_string())?;
        let mut envoy = start_envoy(&self.fixtures, &folder, 1, &[])?;
        wait_until_live(&mut envoy, admin)?;
        Ok(Running { folder, port, admin, around, _envoy: envoy })
    }

    /// Another filter in the same Envoy: its configuration differs in white space.
    fn renew(&self, running: &Running, policy: &str) -> Result<()> {
        let before = running.reloads()?;
        let space = " ".repeat(usize::try_from(before % 1_000)?);
        discover(&running.folder, &discovery(&format!("{policy}{space}"), &self.module)?)?;
        let begin = Instant::now();
        while running.reloads()? == before {
            if begin.elapsed() > PATIENCE {
                bail!("the filter was not replaced after {PATIENCE:?}");
            }
            sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Backend for Envoy {
    fn name(&self) -> &'static str {
        "envoy"
    }

    fn clock(&self) -> Option<u64> {
        Some(clock())
    }

    fn run(&self, script: &Script, network: Rc<RefCell<dyn Network>>) -> Result<Run> {
        let running = self.fresh(&script.policy)?;
        let run = running.around.run(running.as_ref(), script, &network)?;
        // A process remembers such tools (P31) for as long as the policy says the same: the next filter in it has seen something.
        if run.transcripts.iter().any(|transcript| record(transcript).get("tool_changed").is_some()) {
            self.running.borrow_mut().remove(&script.policy);
        }
        Ok(run)
    }
}

impl Front for Running {
    fn port(&self) -> u16 {
        self.port
    }

    fn told(&self) -> usize {
        self.log().lines().count()
    }

    fn ending(&self, id: &str, told: usize) -> Result<Ending> {
        let entry = self.entry(id, told)?;
        let text = |name: &str| entry.get(name).and_then(Value::as_str).map(str::to_owned);
        Ok(Ending { details: text("details").unwrap_or_default(), record: text("stepup") })
    }
}

impl Running {
    /// How often the filter was replaced.
    fn reloads(&self) -> Result<u64> {
        stat(self.admin, "extension_config_discovery.http_filter.step-up.config_reload")
    }

    /// The access log's entry of a request that was made after so many entries; it is written a moment after the answer.
    /// What Envoy's codec refuses is not logged under its id.
    fn entry(&self, id: &str, logged: usize) -> Result<Value> {
        let begin = Instant::now();
        let mut first = None;
        while begin.elapsed() < PATIENCE {
            let log = self.log();
            let entries = log.lines().skip(logged).filter_map(|line| serde_json::from_str(line).ok());
            let entries: Vec<Value> = entries.collect();
            if let Some(own) = entries.iter().find(|entry| entry.get("id").is_some_and(|own| own == id)) {
                return Ok(own.clone());
            }
            if let Some(entry) = entries.first()
                && first.get_or_insert_with(Instant::now).elapsed() > QUIET
            {
                return Ok(entry.clone());
            }
            sleep(Duration::from_millis(5));
        }
        bail!("the access log has no entry for {id}")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("access.log")).unwrap_or_default()
    }
}

/// The shipped bootstrap, with one route for everything and these clusters.
fn bootstrap(port: u16, admin: u16, clusters: &[(String, u16)]) -> Result<Value> {
    const ADMIN: &str = "/admin/address/socket_address/port_value";
    const LISTENER: &str = "/static_resources/listeners/0";
    const MANAGER: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    let mut document = yaml::load(&paths::envoy().join("envoy.yaml"))?;
    let endpoint = |port: u16| json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } });
    let clusters: Vec<Value> = clusters
        .iter()
        .map(|(name, port)| {
            let endpoints = json!([{ "lb_endpoints": [{ "endpoint": { "address": endpoint(*port) } }] }]);
            json!({ "name": name, "type": "STATIC", "load_assignment": { "cluster_name": name, "endpoints": endpoints } })
        })
        .collect();
    let route = json!({ "cluster": UPSTREAM, "timeout": "0s", "idle_timeout": "3600s" });
    for (place, value) in [
        (ADMIN.to_owned(), json!(admin)),
        (format!("{LISTENER}/address"), endpoint(port)),
        (
            format!("{MANAGER}/route_config/virtual_hosts/0/routes"),
            json!([{ "match": { "prefix": "/" }, "route": route }]),
        ),
        ("/static_resources/clusters".to_owned(), json!(clusters)),
    ] {
        *document.pointer_mut(&place).with_context(|| format!("envoy.yaml has no {place}"))? = value;
    }
    // Requests are told apart by their ids.
    for (place, name, value) in [
        (MANAGER.to_owned(), "preserve_external_request_id", json!(true)),
        (format!("{MANAGER}/access_log/0/typed_config/log_format/json_format"), "id", json!("%REQ(X-REQUEST-ID)%")),
    ] {
        let members = document.pointer_mut(&place).and_then(Value::as_object_mut);
        members.with_context(|| format!("envoy.yaml has no {place}"))?.insert(name.to_owned(), value);
    }
    Ok(document)
}
