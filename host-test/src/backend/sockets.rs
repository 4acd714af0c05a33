//! A real proxy around the module: the token service, the keys and the upstream are the script's own, behind real sockets. Time is
//! real: a script's clock and delays are not for such a host.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::spawn;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, bail};
use simulated_proxy::{
    CallPlan, CallRecord, ClientResponse, Headers, Network, Origin, OutboundCall, Transcript, UpstreamRequest,
};

use super::wire::{Response, exchange};
use super::{AUDIT, REQUEST_ID, Run, Script};
use crate::policy::loaded;

/// A proxy that runs.
pub(super) trait Front {
    /// Where it listens, on loopback.
    fn port(&self) -> u16;
    /// How many requests it has told of.
    fn told(&self) -> usize;
    /// What it tells of the request with that id, which was made after it had told of so many.
    fn ending(&self, id: &str, told: usize) -> Result<Ending>;
}

/// What a proxy tells of a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Ending {
    /// Response code details.
    pub details: String,
    /// The audit record, if there is one.
    pub record: Option<String>,
}

/// The servers around a proxy.
pub(super) struct Around {
    /// The policy's clusters, and their ports.
    pub clusters: Vec<(String, u16)>,
    /// The port of the upstream.
    pub upstream: u16,
    arrivals: Receiver<Arrival>,
}

/// A request at one of them.
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

/// How long a request may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// How long a revocation may take on a machine that has much else to do. By itself it is on its way within milliseconds.
const LONGEST_REVOCATION: Duration = Duration::from_secs(5);
/// A call too many would follow the one before it as fast, and so would a request's own entry in the log another's.
pub(super) const QUIET: Duration = Duration::from_millis(100);

impl Around {
    /// Those that a policy needs. They end with the process.
    pub fn of(policy: &str) -> Result<Around> {
        let (arrivals, received) = channel();
        let mut clusters = Vec::new();
        for name in loaded(&serde_json::from_str(policy)?)?.view().clusters() {
            clusters.push((name.to_owned(), serve(Place::Cluster(name.to_owned()), &arrivals)?));
        }
        Ok(Around { clusters, upstream: serve(Place::Upstream, &arrivals)?, arrivals: received })
    }

    /// Makes the script's requests at that proxy.
    pub fn run(&self, front: &dyn Front, script: &Script, network: &Rc<RefCell<dyn Network>>) -> Result<Run> {
        let mut run = Run::default();
        let mut upstream: HashMap<String, UpstreamRequest> = HashMap::new();
        for request in &script.requests {
            let (client, port, logged) = (request.client.clone(), front.port(), front.told());
            let begin = Instant::now();
            let answering = spawn(move || exchange(port, &client));
            while !answering.is_finished() {
                self.handle(network, &mut run, &mut upstream, Duration::from_millis(1))?;
                if begin.elapsed() > PATIENCE {
                    bail!("no answer after {PATIENCE:?}");
                }
            }
            let response = answering.join().map_err(|_| anyhow!("the client panicked"))??;
            run.is_late |= clock() != script.now;
            let id = request.client.headers.text(REQUEST_ID).unwrap_or_default();
            run.transcripts.push(transcript(front.ending(&id, logged)?, response));
        }
        // What was given out comes back, and then there is silence.
        let begin = Instant::now();
        let mut is_quiet = run.calls.is_empty();
        while !is_quiet || network.borrow().is_owed() && begin.elapsed() < LONGEST_REVOCATION {
            is_quiet = !self.handle(network, &mut run, &mut upstream, QUIET)?;
        }
        for (request, transcript) in script.requests.iter().zip(&mut run.transcripts) {
            let sent = &request.client.headers;
            let arrived = upstream.remove(&sent.text(REQUEST_ID).unwrap_or_default());
            transcript.upstream = arrived.map(|mut arrived| {
                arrived.headers.0.retain(|(name, _)| sent.get(name).is_some() || !is_of_envoy(name));
                arrived
            });
        }
        Ok(run)
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
}

fn transcript(ending: Ending, response: Option<Response>) -> Transcript {
    let origin = match ending.details.as_str() {
        "via_upstream" => Origin::Upstream,
        // A proxy's own answers say why it gave them, and so do the filter's.
        details if details.starts_with("stepup:") => Origin::Filter,
        _ => Origin::Proxy,
    };
    let mut transcript =
        Transcript { has_ended: true, is_reset: response.is_none(), details: ending.details, ..Transcript::default() };
    transcript.filter_state.extend(ending.record.map(|record| (AUDIT.to_owned(), record.into_bytes())));
    transcript.response = response.map(|Response { headers, body }| ClientResponse {
        origin,
        headers,
        body,
        trailers: None,
        is_complete: true,
    });
    transcript
}

/// Whole seconds, in milliseconds: tokens know no others.
pub(super) fn clock() -> u64 {
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
