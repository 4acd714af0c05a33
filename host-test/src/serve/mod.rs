//! `stepup serve`: the filter in front of MCP servers, without Envoy. The same bytecode in wasmtime, with real sockets around it.
//!
//! `front` takes requests, `outside` makes them; between them `engine` has the VM, on a thread of its own. Bodies go through in
//! pieces, as fast as the slower side takes them.

mod elevations;
mod engine;
mod front;
mod hosts;
mod outside;
mod policy;
mod told;

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, stdout};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use http::Uri;
use simulated_proxy::Module;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::artifact;
use crate::once::once;
use engine::{Engine, Message, ToEngine};
use front::Front;
use hosts::Hosts;
use outside::{Outside, Ways};
use told::Writer;

pub(crate) use elevations::end_of_token;
pub use engine::Counts;
pub use outside::Upstream;
pub use policy::{Served, ServedServer};
pub use told::{Called, Told, Way};

/// What the user asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The policy. When the file changes, or on SIGHUP, it is read again; a faulty one changes nothing.
    policy: PathBuf,
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The MCP server behind: its URL. With several servers in the policy, one for each: NAME=URL.
    #[arg(long, value_name = "[NAME=]URL", required = true, value_parser = upstream)]
    upstream: Vec<Upstream>,
    /// Another name that this is called by. Names of loopback, and of the resources in the policy, are known.
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// Where a cluster of the policy is, if not where the policy's URLs say: scheme, host and port.
    #[arg(long, value_name = "CLUSTER=ORIGIN", value_parser = pair)]
    cluster: Vec<(String, String)>,
    /// Requests to the MCP server keep the host that the client named.
    #[arg(long)]
    keep_host: bool,
    /// What authenticates the filter at a cluster with `auth: cluster`: the environment variable with the whole value of
    /// `authorization`, such as `Basic ...`.
    #[arg(long, value_name = "CLUSTER=VARIABLE", value_parser = pair)]
    credential: Vec<(String, String)>,
    /// TLS: the certificate chain, as PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// TLS: the private key, as PEM.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// For machines: a JSON object a line.
    #[arg(long)]
    json: bool,
}

fn upstream(text: &str) -> Result<Upstream> {
    let (server, url) = match text.split_once('=') {
        Some((server, url)) if !server.contains("://") => (Some(server.to_owned()), url),
        _ => (None, text),
    };
    let url: Uri = url.parse().with_context(|| format!("{url} is no URL"))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) || url.query().is_some() {
        bail!("it must begin with http:// or https://, and have no query");
    }
    Ok(Upstream { server, url })
}

pub(crate) fn pair(text: &str) -> Result<(String, String)> {
    let (name, value) = text.split_once('=').context("write CLUSTER=VARIABLE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// How to serve.
pub struct Options {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The servers behind.
    pub upstreams: Vec<Upstream>,
    /// Requests to the servers behind keep the host that the client named; otherwise it is theirs.
    pub keep_host: bool,
    /// Where clusters are that are not where their URLs say: scheme and authority.
    pub clusters: BTreeMap<String, String>,
    /// For each cluster with one, the value of `authorization`.
    pub credentials: BTreeMap<String, String>,
    /// Names beside loopback and the policy's own.
    pub hosts: Vec<String>,
    /// Certificate chain and private key, as PEM files.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Gets what happens, on the filter's thread.
    pub told: Box<dyn Fn(Told) + Send>,
}

impl Options {
    /// On loopback at that port (0: any), with nothing said beyond what must be.
    pub fn new(port: u16, upstreams: Vec<Upstream>, told: impl Fn(Told) + Send + 'static) -> Options {
        Options {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            upstreams,
            keep_host: false,
            clusters: BTreeMap::new(),
            credentials: BTreeMap::new(),
            hosts: Vec::new(),
            tls: None,
            told: Box::new(told),
        }
    }
}

/// A filter that serves. Dropping it takes back what it has minted and ends it.
pub struct Serving {
    address: SocketAddr,
    engine: ToEngine,
    policy: watch::Sender<Arc<Served>>,
    runtime: Option<Runtime>,
    stop: Option<oneshot::Sender<()>>,
    front: Option<tokio::task::JoinHandle<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Serving {
    /// Begins to serve that policy.
    pub fn start(policy: Served, options: Options) -> Result<Serving> {
        let module = module()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind(options.listen));
        let listener = listener.with_context(|| format!("{} cannot be listened at", options.listen))?;
        let address = listener.local_addr()?;
        let tls = options.tls.map(|(chain, key)| acceptor(&chain, &key)).transpose()?;
        let (to_engine, messages) = channel::<Message>();
        let policy = Arc::new(policy);
        let thread = {
            let (handle, to_engine, policy) = (runtime.handle().clone(), to_engine.clone(), Arc::clone(&policy));
            let make = move || {
                let ways = Ways {
                    upstreams: options.upstreams,
                    keep_host: options.keep_host,
                    moved: options.clusters,
                    credentials: options.credentials,
                };
                let outside = Outside::new(handle, to_engine, ways, &policy)?;
                Engine::new(module, &policy, outside, options.told)
            };
            engine::start(make, messages)?
        };
        let (replaced, current) = watch::channel(policy);
        let front = Front { engine: to_engine.clone(), policy: current, hosts: Hosts(options.hosts), tls };
        let (stop, stopped) = oneshot::channel();
        let front = runtime.spawn(Arc::new(front).run(listener, stopped));
        Ok(Serving {
            address,
            engine: to_engine,
            policy: replaced,
            runtime: Some(runtime),
            stop: Some(stop),
            front: Some(front),
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Puts another policy in place of this one. A faulty one changes nothing.
    pub fn replace(&self, policy: Served) -> Result<()> {
        let (done, replaced) = oneshot::channel();
        let sent = Message::Replace { policy: Box::new(policy.clone()), done };
        self.engine.send(sent).map_err(|_| anyhow!("the filter has ended"))?;
        replaced.blocking_recv()?.map_err(|why| anyhow!(why))?;
        self.policy.send_replace(Arc::new(policy));
        Ok(())
    }

    /// How much there is of everything.
    pub fn counts(&self) -> Result<Counts> {
        let (counts, counted) = oneshot::channel();
        self.engine.send(Message::Count { counts }).map_err(|_| anyhow!("the filter has ended"))?;
        Ok(counted.blocking_recv()?)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let (Some(runtime), Some(front)) = (&self.runtime, self.front.take()) {
            let _ = runtime.block_on(front);
        }
        let _ = self.engine.send(Message::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_millis(100));
        }
    }
}

/// Loaded once in a process.
fn module() -> Result<Module> {
    static MODULE: OnceLock<Result<Module, String>> = OnceLock::new();
    once(&MODULE, || artifact::load(&artifact::module()?)).cloned()
}

fn acceptor(chain: &Path, key: &Path) -> Result<TlsAcceptor> {
    let certificates = CertificateDer::pem_file_iter(chain).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = certificates.with_context(|| format!("{} has no certificates", chain.display()))?;
    let key = PrivateKeyDer::from_pem_file(key).with_context(|| format!("{} has no private key", key.display()))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
    let mut config = builder.with_single_cert(certificates, key).context("the certificate and the key do not fit")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves until it is interrupted.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let policy = Served::read(&arguments.policy)?;
    eprint!("{}", policy.remarks);
    let mut credentials = BTreeMap::new();
    for (cluster, variable) in arguments.credential {
        let value = std::env::var(&variable).with_context(|| format!("the environment has no {variable}"))?;
        credentials.insert(cluster, value);
    }
    let writer = Writer::new(arguments.json, stdout().is_terminal());
    let is_tls = arguments.tls_certificate.is_some();
    let options = Options {
        listen: arguments.listen,
        upstreams: arguments.upstream,
        keep_host: arguments.keep_host,
        clusters: arguments.cluster.into_iter().collect(),
        credentials,
        hosts: arguments.host,
        tls: arguments.tls_certificate.zip(arguments.tls_key),
        told: Box::new(move |told| writer.write(&told)),
    };
    let servers = policy.servers.clone();
    let serving = Serving::start(policy, options)?;
    let scheme = if is_tls { "https" } else { "http" };
    for server in &servers {
        eprintln!("{scheme}://{}{} serves {}", serving.address(), server.path, server.resource);
    }
    until_interrupted(&arguments.policy, &serving)?;
    eprintln!("taking back what was minted");
    Ok(ExitCode::SUCCESS)
}

/// Reads the policy again whenever its file has changed, or on SIGHUP.
fn until_interrupted(path: &Path, serving: &Serving) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = runtime.block_on(async { Signals::new() })?;
    let mut last = std::fs::read(path).unwrap_or_default();
    loop {
        let Some(is_asked) = runtime.block_on(signals.next())? else { return Ok(()) };
        // Files are replaced in steps, and not at all times there.
        let Ok(text) = std::fs::read(path) else { continue };
        if !is_asked && text == last {
            continue;
        }
        last = text;
        let read = Served::read(path).and_then(|policy| {
            let remarks = policy.remarks.clone();
            serving.replace(policy).map(|()| remarks)
        });
        match read {
            Ok(remarks) => eprintln!("{remarks}the policy was read again and is in force"),
            Err(error) => eprintln!("{error:#}\nthe policy before stays in force"),
        }
    }
}

/// What wakes this process. A signal that comes between two looks is not lost.
struct Signals {
    #[cfg(unix)]
    hangup: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(500);

#[cfg(unix)]
impl Signals {
    fn new() -> Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        let of = |kind: SignalKind| signal(kind);
        Ok(Signals {
            hangup: of(SignalKind::hangup())?,
            terminate: of(SignalKind::terminate())?,
            interrupt: of(SignalKind::interrupt())?,
        })
    }

    /// `None`: it is time to end. Otherwise: does somebody ask for the policy to be read again?
    async fn next(&mut self) -> Result<Option<bool>> {
        Ok(tokio::select! {
            _ = self.terminate.recv() => None,
            _ = self.interrupt.recv() => None,
            _ = self.hangup.recv() => Some(true),
            () = tokio::time::sleep(LOOK) => Some(false),
        })
    }
}

#[cfg(not(unix))]
impl Signals {
    fn new() -> Result<Signals> {
        Ok(Signals {})
    }

    async fn next(&mut self) -> Result<Option<bool>> {
        Ok(tokio::select! {
            interrupted = tokio::signal::ctrl_c() => { interrupted?; None }
            () = tokio::time::sleep(LOOK) => Some(false),
        })
    }
}
