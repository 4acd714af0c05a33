//! The module in real Envoy, with the settings of `envoy/envoy.yaml`; the token service, the keys and the upstream are the
//! script's own, behind real sockets. Time is real: a script's clock and delays are not for this host.

mod wire;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};
use simulated_proxy::{
    CallPlan, CallRecord, ClientResponse, Headers, Network, Origin, OutboundCall, Transcript, UpstreamRequest,
};

use super::{AUDIT, Backend, REQUEST_ID, Run, Script, record};
use crate::fixtures::{self, Fixtures};
use crate::policy::loaded;
use crate::process::{Process, free_port};
use crate::stack::{discover, discovery, new_folder, start_envoy, stat, wait_until_live};
use crate::{artifact, paths, yaml};
use wire::{Response, exchange};

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
    arrivals: Receiver<Arrival>,
    _envoy: Process,
}

/// A request at one of the servers around Envoy.
struct Arrival {
    at: Place,
    request: tiny_http::Request,
    headers: Headers,
    body: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Place {
    Cluster(String),
    Upstream,
}

const UPSTREAM: &str = "the-upstream";
/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a revocation may take on a machine that has much else to do. By itself it is on its way within milliseconds.
const LONGEST_REVOCATION: Duration = Duration::from_secs(5);
/// A call too many would follow the one before it as fast, and so would a request's own entry in the log another's.
const QUIET: Duration = Duration::from_millis(100);

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
        let (arrivals, received) = channel();
        let mut clusters = Vec::new();
        for name in loaded(&serde_json::from_str(policy)?)?.view().clusters() {
            clusters.push((name.to_owned(), serve(Place::Cluster(name.to_owned()), &arrivals)?));
        }
        clusters.push((UPSTREAM.to_owned(), serve(Place::Upstream, &arrivals)?));
        let (port, admin) = (free_port()?, free_port()?);
        discover(&folder, &discovery(policy, &self.module)?)?;
        fs::write(folder.join("envoy.yaml"), bootstrap(port, admin, &clusters)?.to_string())?;
        let mut envoy = start_envoy(&self.fixtures, &folder, 1)?;
        wait_until_live(&mut envoy, admin)?;
        Ok(Running { folder, port, admin, arrivals: received, _envoy: envoy })
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
        let mut run = Run::default();
        let mut upstream: HashMap<String, UpstreamRequest> = HashMap::new();
        for request in &script.requests {
            let (client, port, logged) = (request.client.clone(), running.port, running.log().lines().count());
            let begin = Instant::now();
            let answering = spawn(move || exchange(port, &client));
            while !answering.is_finished() {
                running.handle(&network, &mut run, &mut upstream, Duration::from_millis(1))?;
                if begin.elapsed() > PATIENCE {
                    bail!("no answer after {PATIENCE:?}");
                }
            }
            let response = answering.join().map_err(|_| anyhow!("the client panicked"))??;
            run.is_late |= clock() != script.now;
            let id = request.client.headers.text(REQUEST_ID).unwrap_or_default();
            run.transcripts.push(running.transcript(&id, logged, response)?);
        }
        // What was given out comes back, and then there is silence.
        let begin = Instant::now();
        let mut is_quiet = run.calls.is_empty();
        while !is_quiet || network.borrow().is_owed() && begin.elapsed() < LONGEST_REVOCATION {
            is_quiet = !running.handle(&network, &mut run, &mut upstream, QUIET)?;
        }
        for (request, transcript) in script.requests.iter().zip(&mut run.transcripts) {
            let sent = &request.client.headers;
            let arrived = upstream.remove(&sent.text(REQUEST_ID).unwrap_or_default());
            transcript.upstream = arrived.map(|mut arrived| {
                arrived.headers.0.retain(|(name, _)| sent.get(name).is_some() || !is_of_envoy(name));
                arrived
            });
        }
        // A process remembers such tools (P31) for as long as the policy says the same: the next filter in it has seen something.
        if run.transcripts.iter().any(|transcript| record(transcript).get("tool_changed").is_some()) {
            self.running.borrow_mut().remove(&script.policy);
        }
        Ok(run)
    }
}

impl Running {
    /// How often the filter was replaced.
    fn reloads(&self) -> Result<u64> {
        stat(self.admin, "extension_config_discovery.http_filter.step-up.config_reload")
    }

    /// Answers what arrives at the servers next; false when nothing does for so long.
    fn handle(
        &self,
        network: &Rc<RefCell<dyn Network>>,
        run: &mut Run,
        upstream: &mut HashMap<String, UpstreamRequest>,
        patience: Duration,
    ) -> Result<bool> {
        let arrival = match self.arrivals.recv_timeout(patience) {
            Ok(arrival) => arrival,
            Err(RecvTimeoutError::Timeout) => return Ok(false),
            Err(RecvTimeoutError::Disconnected) => bail!("the servers have ended"),
        };
        let Arrival { at, request, headers, body } = arrival;
        let (headers, body) = match at {
            Place::Cluster(cluster) => {
                let call = OutboundCall { cluster, headers, body, timeout: 0 };
                let plan = network.borrow_mut().call(clock(), &call);
                run.calls.push(CallRecord { at: 0, call, plan: plan.clone() });
                let CallPlan::Answer { headers, body, .. } = plan else {
                    bail!("the script has a fault that Envoy does not produce on demand")
                };
                (headers, body)
            }
            Place::Upstream => {
                let trailers = None;
                let arrived = UpstreamRequest { headers, body, trailers, is_complete: true };
                let plan = network.borrow_mut().upstream(&arrived);
                upstream.insert(arrived.headers.text(REQUEST_ID).unwrap_or_default(), arrived);
                let body = plan.body.into_iter().flat_map(|chunk| chunk.bytes).collect();
                (plan.headers, body)
            }
        };
        let mut response = tiny_http::Response::from_data(body).with_status_code(headers.status());
        for (name, value) in headers.0.iter().filter(|(name, _)| !name.starts_with(b":")) {
            let header = tiny_http::Header::from_bytes(name.as_slice(), value.as_slice());
            response.add_header(header.map_err(|()| anyhow!("a header that is none"))?);
        }
        // Who asked may be gone.
        let _ = request.respond(response);
        Ok(true)
    }

    fn transcript(&self, id: &str, logged: usize, response: Option<Response>) -> Result<Transcript> {
        let entry = self.entry(id, logged)?;
        let record = entry.get("stepup").and_then(Value::as_str);
        let origin = match entry.get("details").and_then(Value::as_str) {
            Some("via_upstream") => Origin::Upstream,
            // Envoy's own answers say why it gave them, and so do the filter's.
            Some(details) if details.starts_with("stepup:") => Origin::Filter,
            _ => Origin::Proxy,
        };
        let details = entry.get("details").and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut transcript =
            Transcript { has_ended: true, is_reset: response.is_none(), details, ..Transcript::default() };
        transcript.filter_state.extend(record.map(|record| (AUDIT.to_owned(), record.as_bytes().to_vec())));
        transcript.response = response.map(|Response { headers, body }| ClientResponse {
            origin,
            headers,
            body,
            trailers: None,
            is_complete: true,
        });
        Ok(transcript)
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

/// Whole seconds, in milliseconds: tokens know no others.
fn clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() * 1000
}

/// Headers that Envoy and HTTP/1.1 add on the way.
fn is_of_envoy(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 6] =
        [b"x-forwarded-for", b"x-forwarded-proto", b"content-length", b"transfer-encoding", b"host", b"te"];
    NAMES.contains(&name) || name.starts_with(b"x-envoy-")
}

/// A server on loopback; its port. It ends with the process.
fn serve(at: Place, arrivals: &Sender<Arrival>) -> Result<u16> {
    let server = tiny_http::Server::http("127.0.0.1:0").map_err(|error| anyhow!("no server: {error}"))?;
    let port = server.server_addr().to_ip().context("no address")?.port();
    let arrivals = arrivals.clone();
    spawn(move || {
        for mut request in server.incoming_requests() {
            let mut headers = Headers::of([(":method", request.method().as_str()), (":path", request.url())]);
            for header in request.headers() {
                let name = header.field.as_str().as_str().to_ascii_lowercase();
                let name = if name == "host" { ":authority" } else { name.as_str() };
                headers.add(name.as_bytes(), header.value.as_bytes());
            }
            let mut body = Vec::new();
            if request.as_reader().read_to_end(&mut body).is_err()
                || arrivals.send(Arrival { at: at.clone(), request, headers, body }).is_err()
            {
                return;
            }
        }
    });
    Ok(port)
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
