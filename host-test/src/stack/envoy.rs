//! The stack of `envoy/`, on free ports: real Envoy, a real authorization server, two real MCP servers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::{Request, Server, Stack, send};
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

/// How to start a stack.
#[derive(Clone, Debug)]
pub struct Options {
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
    /// Start the authorization server too; otherwise [`EnvoyStack::replace_authorization_server`] does.
    pub authorization_server: bool,
    /// What the authorization server signs with.
    pub algorithm: &'static str,
    /// Seconds that a token lives which the authorization server gives in exchange.
    pub elevated_ttl: u32,
    /// Put a [`FaultProxy`] between the filter and the token service. The keys are fetched without it.
    pub fault_proxy: bool,
    /// Run the module of `host-test/guests/trap`: a request with the header `x-trap` ends the VM of its worker.
    pub trap: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            workers: 2,
            setup: Setup::Sample,
            without_discovery: false,
            servers: true,
            audience_checked: false,
            authorization_server: true,
            algorithm: "ES256",
            elevated_ttl: 60,
            fault_proxy: false,
            trap: false,
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
    algorithm: &'static str,
    elevated_ttl: u32,
    fault_proxy: Option<FaultProxy>,
    envoy: Process,
    /// Entries of the access log that were looked at.
    seen: AtomicUsize,
    authorization_server: Option<Process>,
    /// Kept for their end.
    _servers: Vec<Process>,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    mcp: u16,
    admin: u16,
    authorization_server: u16,
    everything: u16,
    notes: u16,
}

/// The filter's own credential (see `envoy/token-service.sds.yaml`).
const FILTER_CREDENTIAL: &str = "Basic c3RlcC11cC1maWx0ZXI6ZmlsdGVyLXNlY3JldA==";

/// The client whose tokens the stack hands out (see `envoy/fixtures/README.md`).
const CLIENT: [(&str, &str); 2] = [("client_id", "mcp-client"), ("client_secret", "mcp-secret")];

impl EnvoyStack {
    /// Installs, builds and starts everything, and waits until it answers.
    pub fn start(options: &Options) -> Result<EnvoyStack> {
        let mut stack = EnvoyStack::prepare(options)?;
        stack.wait_until_ready()?;
        Ok(stack)
    }

    /// The same without waiting: for configurations that Envoy is meant to refuse.
    pub fn prepare(options: &Options) -> Result<EnvoyStack> {
        let fixtures = fixtures::install()?;
        let module = if options.trap { artifact::trap_guest()? } else { artifact::module()? };
        let ports = Ports {
            mcp: free_port()?,
            admin: free_port()?,
            authorization_server: free_port()?,
            everything: free_port()?,
            notes: free_port()?,
        };
        let folder = new_folder()?;
        let (mut authorization_server, mut servers) = (None, Vec::new());
        if options.servers {
            let mut notes = fixtures.python("mcp-server.py");
            notes.env_clear();
            if options.audience_checked {
                notes.env("RESOURCE", ports.resource(Server::Notes));
            }
            let mut everything = fixtures.server_everything();
            let mut started = [("notes", &mut notes, ports.notes), ("everything", &mut everything, ports.everything)]
                .into_iter()
                .map(|(name, command, port)| {
                    Process::start(name, command.env("PORT", port.to_string()), &folder).map(|process| (process, port))
                })
                .collect::<Result<Vec<_>>>()?;
            for (server, port) in &mut started {
                server.wait_for_port(*port)?;
            }
            servers = started.into_iter().map(|(server, _)| server).collect();
        }
        if options.authorization_server {
            let (algorithm, ttl) = (options.algorithm, options.elevated_ttl);
            authorization_server = Some(ports.start_authorization_server(&fixtures, &folder, algorithm, ttl)?);
        }
        let (mut token_service, mut fault_proxy) = (None, None);
        if options.fault_proxy {
            let port = free_port()?;
            let origin = format!("http://127.0.0.1:{}", ports.authorization_server);
            (token_service, fault_proxy) = (Some(port), Some(FaultProxy::start(port, origin)?));
        }
        let filter = filter(&options.setup, &ports, &module)?;
        let trap = if options.trap { Some(trap_filter(&filter)?) } else { None };
        discover(&folder, &filter)?;
        let filter = options.without_discovery.then_some(&filter);
        fs::write(folder.join("envoy.yaml"), bootstrap(&ports, token_service, filter, trap.as_ref())?)?;
        fs::copy(paths::envoy().join(SECRET), folder.join(SECRET))?;
        let envoy = start_envoy(&fixtures, &folder, options.workers)?;
        Ok(EnvoyStack {
            folder,
            fixtures,
            module,
            ports,
            algorithm: options.algorithm,
            elevated_ttl: options.elevated_ttl,
            fault_proxy,
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

    /// What is installed.
    pub fn fixtures(&self) -> &Fixtures {
        &self.fixtures
    }

    /// The port of the listener.
    pub fn port(&self) -> u16 {
        self.ports.mcp
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
        discover(&self.folder, &filter(setup, &self.ports, &self.module)?)
    }

    /// The same, with changes to the discovery document beyond the policy.
    pub fn update_document(&self, setup: &Setup, change: impl FnOnce(&mut Value)) -> Result<()> {
        let mut document = filter(setup, &self.ports, &self.module)?;
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
        let resource = self.ports.resource(server);
        let [id, secret] = CLIENT;
        let form = [("grant_type", "client_credentials"), id, secret, ("scope", scope), ("resource", &resource)];
        let request = Request::post(format!("{}/token", self.issuer()), encode(&form))
            .with("content-type", "application/x-www-form-urlencoded");
        let answer = send(&request)?;
        let token = answer.message().and_then(|json| Some(json.get("access_token")?.as_str()?.to_owned()));
        token.with_context(|| format!("no token from the authorization server: {} {}", answer.status, answer.body))
    }

    fn is_active(&self, token: &str) -> Result<bool> {
        let request = Request::post(format!("{}/token/introspection", self.issuer()), encode(&[("token", token)]))
            .with("content-type", "application/x-www-form-urlencoded")
            .with("authorization", FILTER_CREDENTIAL);
        let answer = send(&request)?;
        let active = answer.message().and_then(|json| json.get("active")?.as_bool());
        active.with_context(|| format!("no introspection: {} {}", answer.status, answer.body))
    }

    fn stop_token_service(&mut self) -> Result<()> {
        self.authorization_server = None;
        Ok(())
    }

    fn upstream_requests(&self, server: Server) -> Result<u64> {
        self.stat(&format!("cluster.{}.upstream_rq_total", server.name()))
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

impl Ports {
    fn resource(&self, server: Server) -> String {
        format!("http://127.0.0.1:{}{}", self.mcp, server.path())
    }

    fn start_authorization_server(
        &self,
        fixtures: &Fixtures,
        folder: &Path,
        algorithm: &str,
        elevated_ttl: u32,
    ) -> Result<Process> {
        let scopes = json!({ "scopes": "mcp:connect tools:write tools:admin", "elevate": "tools:write tools:admin" });
        let resources: serde_json::Map<String, Value> = [Server::Everything, Server::Notes]
            .map(|server| (self.resource(server), scopes.clone()))
            .into_iter()
            .collect();
        let mut command = fixtures.node("authorization-server.mjs");
        command
            .env("PORT", self.authorization_server.to_string())
            .env("RESOURCES", Value::from(resources).to_string())
            .env("SIGNING_ALG", algorithm)
            .env("ELEVATED_TTL", elevated_ttl.to_string())
            .env("LOG", "1");
        let mut server = Process::start("authorization-server", &mut command, folder)?;
        server.wait_until(|log| log.contains("\"ready\":true"))?;
        Ok(server)
    }

    /// The files of `envoy/` name fixed ports.
    fn replace(&self, text: &str) -> String {
        let ports = [
            (10000, self.mcp),
            (9901, self.admin),
            (8700, self.authorization_server),
            (8810, self.everything),
            (8811, self.notes),
        ];
        ports.iter().fold(text.to_owned(), |text, (fixed, free)| {
            text.replace(&format!("port_value: {fixed}"), &format!("port_value: {free}"))
                .replace(&format!("127.0.0.1:{fixed}"), &format!("127.0.0.1:{free}"))
        })
    }
}

const ECDS: &str = "step-up.ecds.yaml";
const SECRET: &str = "token-service.sds.yaml";
const FILTER: &str = "/resources/0/typed_config";
const CONFIGURATION: &str = "/resources/0/typed_config/config/configuration";

/// The shipped discovery file, with these ports.
fn sample(ports: &Ports) -> Result<Value> {
    let text = fs::read_to_string(paths::envoy().join(ECDS))?;
    Ok(yaml::to_json(&yaml::read(&ports.replace(&text))?))
}

/// The shipped discovery file with this policy (JSON) and this module.
pub(crate) fn discovery(policy: &str, module: &Path) -> Result<Value> {
    let mut document = yaml::load(&paths::envoy().join(ECDS))?;
    set_module(&mut document, module)?;
    set_policy(&mut document, policy)?;
    Ok(document)
}

fn set_module(document: &mut Value, module: &Path) -> Result<()> {
    place(document, &format!("{FILTER}/config/vm_config/code/local/filename"), json!(module.display().to_string()))
}

fn set_policy(document: &mut Value, policy: &str) -> Result<()> {
    let configuration = json!({ "@type": "type.googleapis.com/google.protobuf.StringValue", "value": policy });
    place(document, CONFIGURATION, configuration)
}

fn place(document: &mut Value, pointer: &str, value: Value) -> Result<()> {
    *document.pointer_mut(pointer).with_context(|| format!("{ECDS} has no {pointer}"))? = value;
    Ok(())
}

/// The discovery file for a setup, as JSON (which is YAML too).
fn filter(setup: &Setup, ports: &Ports, module: &Path) -> Result<Value> {
    let mut document = sample(ports)?;
    set_module(&mut document, module)?;
    match setup {
        Setup::Sample => {}
        Setup::Configuration(text) => set_policy(&mut document, text)?,
        Setup::Open => {
            let anybody = json!({ "any": { "permissions": [{ "any": true }], "principals": [{ "any": true }] } });
            let rbac = json!({
                "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
                "rules": { "action": "ALLOW", "policies": anybody },
            });
            place(&mut document, FILTER, rbac)?;
        }
    }
    Ok(document)
}

/// The shipped bootstrap, with these ports; with `token_service`, that is the port of the token service; with `filter`,
/// that stands in it directly.
fn bootstrap(
    ports: &Ports,
    token_service: Option<u16>,
    filter: Option<&Value>,
    trap: Option<&Value>,
) -> Result<String> {
    let text = ports.replace(&fs::read_to_string(paths::envoy().join("envoy.yaml"))?);
    if token_service.is_none() && filter.is_none() && trap.is_none() {
        return Ok(text);
    }
    let mut document = yaml::to_json(&yaml::read(&text)?);
    if let Some(port) = token_service {
        let clusters = document.pointer_mut("/static_resources/clusters").and_then(Value::as_array_mut);
        let cluster = clusters.into_iter().flatten().find(|cluster| cluster.get("name") == Some(&json!("as-token")));
        let place = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/port_value";
        let place = cluster.and_then(|cluster| cluster.pointer_mut(place));
        *place.context("no cluster as-token in envoy.yaml")? = json!(port);
    }
    if let Some(filter) = filter {
        let entry = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters/0";
        let config = filter.pointer(FILTER).context("no filter")?;
        *document.pointer_mut(entry).context("no filter entry in envoy.yaml")? =
            json!({ "name": "step-up", "typed_config": config });
    }
    if let Some(trap) = trap {
        let filters = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters";
        let filters = document.pointer_mut(filters).and_then(Value::as_array_mut);
        filters.context("no filters in envoy.yaml")?.insert(0, trap.clone());
    }
    Ok(document.to_string())
}

/// The entry of the filter that traps: the same module and `vm_id`, and so the same VM.
fn trap_filter(filter: &Value) -> Result<Value> {
    let mut config = filter.pointer(FILTER).context("no filter")?.clone();
    for (place, value) in [("/config/name", json!("trap")), ("/config/root_id", json!("trap"))] {
        *config.pointer_mut(place).context("no name in the filter")? = value;
    }
    Ok(json!({ "name": "trap", "typed_config": config }))
}

/// By rename: Envoy watches for the move.
fn write(path: &Path, document: &Value) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, document.to_string())?;
    fs::rename(&new, path).map_err(Into::into)
}

/// Envoy with `envoy.yaml` of that folder. Its access log is written out at once, as tests want it.
pub(crate) fn start_envoy(fixtures: &Fixtures, folder: &Path, workers: u32) -> Result<Process> {
    let mut command = Command::new(fixtures.envoy());
    command.current_dir(folder).args(["-c", "envoy.yaml", "--use-dynamic-base-id", "--disable-hot-restart"]).args([
        "--concurrency",
        &workers.to_string(),
        "--file-flush-interval-msec",
        "20",
    ]);
    Process::start("envoy", &mut command, folder)
}

/// Waits until Envoy says that it is live, on that port of its admin interface.
pub(crate) fn wait_until_live(envoy: &mut Process, admin: u16) -> Result<()> {
    let ready = Request::get(format!("http://127.0.0.1:{admin}/ready"));
    envoy.wait_until(|_| send(&ready).is_ok_and(|answer| answer.body.trim() == "LIVE"))
}

/// The value of one of the statistics of the Envoy with that admin interface; 0 when there is none of that name.
pub(crate) fn stat(admin: u16, name: &str) -> Result<u64> {
    let answer = send(&Request::get(format!("http://127.0.0.1:{admin}/stats?filter=^{name}$")))?;
    Ok(answer.body.rsplit(": ").next().and_then(|value| value.trim().parse().ok()).unwrap_or(0))
}

/// Gives the Envoy of that folder its filter, or another one.
pub(crate) fn discover(folder: &Path, filter: &Value) -> Result<()> {
    write(&folder.join(ECDS), filter)
}

/// A folder for one Envoy and what belongs to it.
pub(crate) fn new_folder() -> Result<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let folder = paths::target().join("stacks").join(name);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// `application/x-www-form-urlencoded`
pub fn encode(form: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish()
}
