//! The stack of `envoy/`, on free ports: real Envoy, a real authorization server, two real MCP servers.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::bootstrap::{Changes, bootstrap};
use super::config::{CONFIGURATION, ECDS, Ports, SECRET, discover, filter, sample, trap_filter, write};
use super::running::{new_folder, start_envoy, stat, wait_until_live};
use super::tokens::{self, FILTER_CREDENTIAL};
use super::{Request, Server, Stack};
use crate::fault_proxy::FaultProxy;
use crate::fixtures::{self, Fixtures};
use crate::process::{Process, free_port};
use crate::{artifact, paths, yaml};

/// What Envoy runs.
#[derive(Clone, Debug)]
pub enum Setup {
    /// The filter with the policy of `envoy/step-up.ecds.yaml`.
    Sample,
    /// The filter with this configuration, as a JSON text.
    Configuration(String),
    /// No filter at all: every request passes.
    Open,
}

/// An authorization server that runs already.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Where it listens, on loopback: for keys, exchanges and revocations.
    pub port: u16,
    /// Its introspection endpoint, which the server `notes` asks about the tokens that it gets. It does so as the client whose
    /// id is its own URL.
    pub introspection: String,
    /// The secret of that client.
    pub secret: String,
}

/// What Envoy is given in place of the sample.
#[derive(Clone, Debug)]
pub struct Given {
    /// Names and contents; `envoy.yaml` and `step-up.ecds.yaml` are among them. `@DIR@` stands for their folder, which has the module,
    /// and the ports are those of the sample.
    pub files: Vec<(String, Value)>,
    /// What the clusters of the servers everything and notes are called.
    pub clusters: [String; 2],
    /// Further arguments of Envoy's.
    pub arguments: Vec<String>,
}

/// How to start a stack.
#[derive(Clone, Debug)]
pub struct Options {
    /// One of [`fixtures::OLDER_ENVOYS`], in place of the newest.
    pub envoy: Option<&'static str>,
    /// Envoy's worker threads.
    pub workers: u32,
    /// What the filter is given.
    pub setup: Setup,
    /// The filter stands in the bootstrap itself and not behind discovery.
    pub without_discovery: bool,
    /// Start the MCP servers too.
    pub servers: bool,
    /// The server `notes` refuses tokens with another audience than its own.
    pub audience_checked: bool,
    /// The server `notes` shows another tool in every second list.
    pub turncoat: bool,
    /// The server `notes` is the one of the conformance suite, and there is no other.
    pub conformance: bool,
    /// Start the authorization server too; otherwise [`EnvoyStack::replace_authorization_server`] does.
    pub authorization_server: bool,
    /// In place of that server.
    pub issuer: Option<Issuer>,
    /// What the authorization server signs with.
    pub algorithm: &'static str,
    /// Seconds that a token lives which the authorization server gives in exchange.
    pub elevated_ttl: u32,
    /// Put a [`FaultProxy`] between the filter and the token service. The keys are fetched without it.
    pub fault_proxy: bool,
    /// Run the module of `host-test/guests/trap`: a request with the header `x-trap` ends the VM of its worker.
    pub trap: bool,
    /// Other filters around it, and what they need: a document of `envoy/neighbours/`.
    pub neighbours: Option<Value>,
    /// Pages of `http://127.0.0.1:PORT` may call, in place of the origin that the sample names.
    pub page: Option<u16>,
    /// Other files than the sample's.
    pub given: Option<Given>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            envoy: None,
            workers: 2,
            setup: Setup::Sample,
            without_discovery: false,
            servers: true,
            audience_checked: false,
            turncoat: false,
            conformance: false,
            authorization_server: true,
            issuer: None,
            algorithm: "ES256",
            elevated_ttl: 60,
            fault_proxy: false,
            trap: false,
            neighbours: None,
            page: None,
            given: None,
        }
    }
}

/// A running stack. Dropping it ends its processes.
#[derive(Debug)]
pub struct EnvoyStack {
    folder: PathBuf,
    fixtures: Fixtures,
    module: PathBuf,
    ports: Ports,
    /// Of an Envoy before 1.40.
    is_older: bool,
    algorithm: &'static str,
    elevated_ttl: u32,
    fault_proxy: Option<FaultProxy>,
    /// Names of clusters, by the servers.
    clusters: [String; 2],
    envoy: Process,
    /// Entries of the access log that were looked at.
    seen: AtomicUsize,
    authorization_server: Option<Process>,
    /// Kept for their end.
    _servers: Vec<Process>,
}

/// Another Envoy with the same configuration. Dropping it ends it.
#[derive(Debug)]
pub struct Replica {
    port: u16,
    _envoy: Process,
}

impl Replica {
    /// The same request, to this Envoy. The filter there is asked for the host that the policy names.
    #[must_use]
    pub fn instead(&self, request: Request) -> Request {
        let authority = request.url.split('/').nth(2).unwrap_or_default().to_owned();
        let url = request.url.replacen(&authority, &format!("127.0.0.1:{}", self.port), 1);
        Request { url, ..request }.with("host", &authority)
    }
}

impl EnvoyStack {
    /// Installs, builds and starts everything, and waits until it answers.
    pub fn start(options: &Options) -> Result<EnvoyStack> {
        let mut stack = EnvoyStack::prepare(options)?;
        stack.wait_until_ready()?;
        Ok(stack)
    }

    /// The same without waiting: for configurations that Envoy is meant to refuse.
    pub fn prepare(options: &Options) -> Result<EnvoyStack> {
        let fixtures = match options.envoy {
            None => fixtures::install()?,
            Some(version) => fixtures::install()?.with_older_envoy(version)?,
        };
        let module = if options.trap { artifact::trap_guest()? } else { artifact::module()? };
        let ports = Ports {
            mcp: free_port()?,
            admin: free_port()?,
            authorization_server: options.issuer.as_ref().map_or_else(free_port, |issuer| Ok(issuer.port))?,
            everything: free_port()?,
            notes: free_port()?,
            page: options.page,
        };
        let folder = new_folder()?;
        let (mut authorization_server, mut servers) = (None, Vec::new());
        if options.servers {
            let mut notes =
                fixtures.python(if options.conformance { "conformance-server.py" } else { "mcp-server.py" });
            notes.env_clear();
            if options.audience_checked {
                notes.env("RESOURCE", ports.resource(Server::Notes));
            }
            if options.turncoat {
                notes.env("TURNCOAT", "1");
            }
            if let Some(issuer) = &options.issuer {
                notes.env("INTROSPECTION", &issuer.introspection);
                notes
                    .env("INTROSPECTION_CLIENT", ports.resource(Server::Notes))
                    .env("INTROSPECTION_SECRET", &issuer.secret);
            }
            let mut everything = fixtures.server_everything();
            let mut started = [("notes", &mut notes, ports.notes), ("everything", &mut everything, ports.everything)]
                .into_iter()
                .take(if options.conformance { 1 } else { 2 })
                .map(|(name, command, port)| {
                    Process::start(name, command.env("PORT", port.to_string()), &folder).map(|process| (process, port))
                })
                .collect::<Result<Vec<_>>>()?;
            for (server, port) in &mut started {
                server.wait_for_port(*port)?;
            }
            servers = started.into_iter().map(|(server, _)| server).collect();
        }
        if options.authorization_server && options.issuer.is_none() {
            let (algorithm, ttl) = (options.algorithm, options.elevated_ttl);
            authorization_server = Some(ports.start_authorization_server(&fixtures, &folder, algorithm, ttl)?);
        }
        let (mut token_service, mut fault_proxy) = (None, None);
        if options.fault_proxy {
            let port = free_port()?;
            let origin = format!("http://127.0.0.1:{}", ports.authorization_server);
            (token_service, fault_proxy) = (Some(port), Some(FaultProxy::start(port, origin)?));
        }
        let is_older = options.envoy.is_some();
        let filter = filter(&options.setup, &ports, &module, is_older)?;
        let trap = if options.trap { Some(trap_filter(&filter)?) } else { None };
        discover(&folder, &filter)?;
        let filter = options.without_discovery.then_some(&filter);
        let changes = Changes {
            token_service,
            filter,
            trap: trap.as_ref(),
            neighbours: options.neighbours.as_ref(),
            is_open: matches!(options.setup, Setup::Open),
        };
        fs::write(folder.join("envoy.yaml"), bootstrap(&ports, &changes)?)?;
        fs::copy(paths::envoy().join(SECRET), folder.join(SECRET))?;
        let mut clusters = [Server::Everything, Server::Notes].map(|server| server.name().to_owned());
        let mut arguments: &[String] = &[];
        if let Some(given) = &options.given {
            fs::copy(&module, folder.join("step_up_filter.wasm"))?;
            for (name, content) in &given.files {
                write(&folder.join(name), &ports.placed(content, &folder.canonicalize()?))?;
            }
            (clusters, arguments) = (given.clusters.clone(), &given.arguments);
        }
        let envoy = start_envoy(&fixtures, &folder, options.workers, arguments)?;
        Ok(EnvoyStack {
            folder,
            fixtures,
            module,
            ports,
            is_older,
            algorithm: options.algorithm,
            elevated_ttl: options.elevated_ttl,
            fault_proxy,
            clusters,
            envoy,
            seen: AtomicUsize::new(0),
            authorization_server,
            _servers: servers,
        })
    }

    /// Waits until Envoy says that it is live.
    pub fn wait_until_ready(&mut self) -> Result<()> {
        wait_until_live(&mut self.envoy, self.ports.admin)
    }

    /// The process of Envoy.
    pub fn envoy(&mut self) -> &mut Process {
        &mut self.envoy
    }

    /// A second Envoy before the same servers, which shares with this one its configuration and nothing else.
    pub fn replica(&self) -> Result<Replica> {
        let folder = new_folder()?;
        let ports = Ports { mcp: free_port()?, admin: free_port()?, ..self.ports };
        fs::write(folder.join("envoy.yaml"), bootstrap(&ports, &Changes::default())?)?;
        for file in [ECDS, SECRET] {
            fs::copy(self.folder.join(file), folder.join(file))?;
        }
        let mut envoy = start_envoy(&self.fixtures, &folder, 1, &[])?;
        wait_until_live(&mut envoy, ports.admin)?;
        Ok(Replica { port: ports.mcp, _envoy: envoy })
    }

    /// What is installed.
    pub fn fixtures(&self) -> &Fixtures {
        &self.fixtures
    }

    /// Where its files are: `envoy.log`, `access.log`, and what Envoy was given.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The port of the listener.
    pub fn port(&self) -> u16 {
        self.ports.mcp
    }

    /// The URL of a server itself, without Envoy.
    pub fn direct_url(&self, server: Server) -> String {
        let port = match server {
            Server::Everything => self.ports.everything,
            Server::Notes => self.ports.notes,
        };
        format!("http://127.0.0.1:{port}/mcp")
    }

    /// The URL of Envoy's admin interface.
    pub fn admin_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports.admin)
    }

    /// The value of one of Envoy's statistics; 0 when there is none of that name.
    pub fn stat(&self, name: &str) -> Result<u64> {
        stat(self.ports.admin, name)
    }

    /// How often the authorization server was asked for its keys, as its own log says.
    pub fn key_fetches(&self) -> usize {
        let log = self.authorization_server.as_ref().map(Process::log).unwrap_or_default();
        log.lines().filter(|line| line.contains("\"/jwks\"")).count()
    }

    /// The identifier of the authorization server.
    pub fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.authorization_server)
    }

    /// The sample policy as a tree, with this stack's ports: to be changed and given back.
    pub fn sample_policy(&self) -> Result<Value> {
        let sample = sample(&self.ports)?;
        sample.pointer(CONFIGURATION).and_then(|any| any.get("value")).cloned().context("no policy in the sample")
    }

    /// Replaces the filter's configuration, as an operator's control plane would, and returns at once.
    pub fn update(&self, setup: &Setup) -> Result<()> {
        self.update_document(setup, |_| {})
    }

    /// The same, with changes to the discovery document beyond the policy.
    pub fn update_document(&self, setup: &Setup, change: impl FnOnce(&mut Value)) -> Result<()> {
        let mut document = filter(setup, &self.ports, &self.module, self.is_older)?;
        change(&mut document);
        discover(&self.folder, &document)
    }

    /// Ends the authorization server, if there is one, and starts another one in its place, with new keys.
    pub fn replace_authorization_server(&mut self) -> Result<()> {
        self.authorization_server = None;
        let (fixtures, folder) = (&self.fixtures, &self.folder);
        let server = self.ports.start_authorization_server(fixtures, folder, self.algorithm, self.elevated_ttl)?;
        self.authorization_server = Some(server);
        Ok(())
    }

    /// What stands between the filter and the token service.
    pub fn fault_proxy(&self) -> Result<&FaultProxy> {
        self.fault_proxy.as_ref().context("the stack was started without a fault proxy")
    }

    /// Replaces the credential that Envoy presents to the token service, as an operator would; `None`: the right one.
    pub fn replace_credential(&self, authorization: Option<&str>) -> Result<()> {
        let mut document = yaml::load(&paths::envoy().join(SECRET))?;
        let place = "/resources/0/generic_secret/secret/inline_string";
        *document.pointer_mut(place).with_context(|| format!("{SECRET} has no {place}"))? =
            json!(authorization.unwrap_or(FILTER_CREDENTIAL));
        write(&self.folder.join(SECRET), &document)
    }

    /// The access log so far, a JSON object for each request; `stepup` holds the audit record, parsed.
    pub fn access_log(&self) -> Result<Vec<Value>> {
        let text = fs::read_to_string(self.folder.join("access.log")).unwrap_or_default();
        text.lines()
            .map(|line| {
                let mut entry: Value = serde_json::from_str(line).with_context(|| format!("access log: {line}"))?;
                if let Some(record) = entry.get_mut("stepup")
                    && let Some(text) = record.as_str()
                {
                    *record = serde_json::from_str(text).with_context(|| format!("audit record: {text}"))?;
                }
                Ok(entry)
            })
            .collect()
    }

    /// The access log entry of the request that got this `request_id` in its answer, or of the last one.
    pub fn entry(&self, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(5) {
            if let Some(entry) = self.access_log()?.into_iter().rev().find(&wanted) {
                return Ok(entry);
            }
            sleep(Duration::from_millis(20));
        }
        bail!("no such entry in the access log")
    }
}

impl Stack for EnvoyStack {
    fn url(&self, server: Server) -> String {
        self.ports.resource(server)
    }

    fn token(&self, server: Server, scope: &str) -> Result<String> {
        tokens::granted(&self.issuer(), &self.ports.resource(server), scope)
    }

    fn is_active(&self, token: &str) -> Result<bool> {
        tokens::is_active(&self.issuer(), token)
    }

    fn stop_token_service(&mut self) -> Result<()> {
        self.authorization_server = None;
        Ok(())
    }

    fn upstream_requests(&self, server: Server) -> Result<u64> {
        let [everything, notes] = &self.clusters;
        let name = match server {
            Server::Everything => everything,
            Server::Notes => notes,
        };
        // The name is an expression there.
        let name = name.replace('|', "\\|");
        self.stat(&format!("cluster.{name}.upstream_rq_total"))
    }

    fn last_record(&self) -> Result<Value> {
        // Entries are written when a stream ends, a moment after the client has its answer.
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(5) {
            let mut log = self.access_log()?;
            if log.len() > self.seen.load(Ordering::Relaxed) {
                self.seen.store(log.len(), Ordering::Relaxed);
                let entry = log.pop().context("the access log is empty")?;
                return entry.get("stepup").cloned().context("the last entry has no audit record");
            }
            sleep(Duration::from_millis(5));
        }
        bail!("the request left no entry in the access log")
    }

    fn sights(&self) -> Vec<(&'static str, String)> {
        vec![
            ("MCP server, 2025-11-25", self.url(Server::Everything)),
            ("MCP server, both eras", self.url(Server::Notes)),
            ("authorization server", self.issuer()),
            ("Envoy admin", self.admin_url("/")),
            ("access log", self.folder.join("access.log").display().to_string()),
            ("policy", self.folder.join(ECDS).display().to_string()),
        ]
    }
}
