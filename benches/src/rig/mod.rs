//! A real Envoy with one worker, on core 0, and what it needs, on core 1: an upstream that answers `{}`, a token service.

mod config;
mod guests;
pub mod serve;
pub mod token_service;
mod variant;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use host_test::process::{Process, free_port};
use host_test::signing::Key;
use host_test::{artifact, fixtures, paths};
use serde_json::{Map, Value, json};

pub use token_service::Answer;
pub use variant::Variant;

const RESOURCE: &str = "http://127.0.0.1/mcp";
const ISSUER: &str = "https://as.example.com";

/// Where the worker that is measured runs.
pub const CORE: usize = 0;

/// What all measurements share.
pub struct Rig {
    envoy: PathBuf,
    folder: PathBuf,
    module: PathBuf,
    bare: PathBuf,
    floor: PathBuf,
    upstream: u16,
    _upstream: Process,
}

/// A proxy that is measured. It ends when this is dropped.
pub struct Measured {
    /// Where it listens.
    pub port: u16,
    proxy: Process,
    _token_service: Option<Process>,
}

impl Measured {
    /// The process.
    pub fn id(&self) -> u32 {
        self.proxy.id()
    }
}

impl Rig {
    /// Installs and builds what is missing, and starts the upstream. Files go to `target/NAME`. Another build of the filter
    /// can be given.
    pub fn new(name: &str, module: Option<PathBuf>) -> Result<Rig> {
        let module = module.map_or_else(artifact::module, Ok)?;
        let envoy = fixtures::install()?.envoy().to_owned();
        let folder = paths::target().join(name);
        fs::create_dir_all(&folder)?;
        let guest = |name: &str, text: &str| -> Result<PathBuf> {
            let file = folder.join(name);
            fs::write(&file, wat::parse_str(text)?)?;
            Ok(file)
        };
        let (bare, floor) = (guest("bare.wasm", guests::BARE)?, guest("floor.wasm", guests::FLOOR)?);
        let upstream = free_port()?;
        let answer = json!({ "match": { "prefix": "/" }, "direct_response": { "status": 200, "body": { "inline_string": "{}" } } });
        // It answers when it has the whole request: answered earlier, it would close the connection each time.
        let whole = json!({
            "name": "envoy.filters.http.buffer",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer", "max_request_bytes": 65536,
            },
        });
        let mut process = start(&envoy, &folder, "upstream", 1, &config::config(upstream, &answer, &[whole], &[]))?;
        process.wait_for_port(upstream)?;
        Ok(Rig { envoy, module, bare, floor, upstream, folder, _upstream: process })
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts a proxy with this filter. It accepts connections when this returns.
    pub fn start(&self, variant: Variant) -> Result<Measured> {
        if variant == Variant::Served {
            return self.serve();
        }
        let (port, service) = (free_port()?, free_port()?);
        let token_service = match variant {
            Variant::Exchange(answer) => {
                let mut command = on_core(1, &std::env::current_exe()?);
                command.args(["token-service", &service.to_string(), answer.name()]);
                let mut process = Process::start("token-service", &mut command, &self.folder)?;
                process.wait_for_port(service)?;
                Some(process)
            }
            _ => None,
        };
        let route = json!({ "match": { "prefix": "/" }, "route": { "cluster": "up", "timeout": "0s" } });
        let clusters = [config::cluster("up", self.upstream), config::cluster("token-service", service)];
        let config = config::config(port, &route, &self.filters(variant)?, &clusters);
        let mut envoy = start(&self.envoy, &self.folder, "measured", CORE, &config)?;
        envoy.wait_for_port(port)?;
        Ok(Measured { port, proxy: envoy, _token_service: token_service })
    }

    /// `stepup serve` in a process of its own.
    fn serve(&self) -> Result<Measured> {
        let (port, file) = (free_port()?, self.folder.join("served.json"));
        fs::write(&file, policy(&json!({ "scope": "repo:read" }))?.to_string())?;
        let mut command = on_core(CORE, &std::env::current_exe()?);
        command.args(["serve", &port.to_string(), &self.upstream.to_string()]).arg(&file);
        let mut proxy = Process::start("served", &mut command, &self.folder)?;
        proxy.wait_for_port(port)?;
        Ok(Measured { port, proxy, _token_service: None })
    }

    fn filters(&self, variant: Variant) -> Result<Vec<Value>> {
        let step_up = |rule: Value| Ok::<_, anyhow::Error>(vec![config::wasm(&self.module, &policy(&rule)?)]);
        Ok(match variant {
            Variant::Nothing | Variant::Served => Vec::new(),
            Variant::BareWasm => vec![config::wasm(&self.bare, &json!({}))],
            Variant::Floor => vec![config::wasm(&self.floor, &json!({}))],
            Variant::StepUp => step_up(json!({ "scope": "repo:read" }))?,
            Variant::Denied => step_up(json!("deny"))?,
            Variant::Challenged => step_up(json!({ "scope": "repo:write" }))?,
            Variant::Exchange(_) => step_up(token_service::policy().1)?,
            Variant::Native => config::native(&jwks()?),
        })
    }
}

fn jwks() -> Result<Value> {
    Ok(json!({ "keys": [Key::for_tests("ES256")?.public()] }))
}

/// With this rule for the tool that is called.
fn policy(rule: &Value) -> Result<Value> {
    Ok(json!({
        "version": 1, "issuers": { ISSUER: { "keys": jwks()?, "algorithms": ["ES256"] } },
        "token_service": token_service::policy().0,
        "limits": { "exchanges": 100, "exchanges_per_caller": 100, "exchange_rate": 100_000 },
        "resource": RESOURCE, "baseline": ["mcp:connect"], "tools": { "get_file": rule },
    }))
}

fn start(envoy: &Path, folder: &Path, name: &str, core: usize, config: &Value) -> Result<Process> {
    let file = folder.join(format!("{name}.json"));
    fs::write(&file, config.to_string())?;
    let mut command = on_core(core, envoy);
    command.arg("-c").arg(&file).args(["--concurrency", "1", "--use-dynamic-base-id", "--disable-hot-restart"]);
    Process::start(name, &mut command, folder)
}

/// A program that stays on this core.
pub fn on_core(core: usize, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]).arg(program);
    command
}

/// A call with a body of about so many bytes. Each has a token of its own: no two signatures are the same.
pub fn request(size: usize) -> Result<Vec<u8>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let claims = json!({
        "iss": ISSUER, "aud": RESOURCE, "sub": "alice", "client_id": "agent", "jti": "bench", "iat": now - 60,
        "exp": now + 3000, "scope": "mcp:connect repo:read",
    });
    let token = Key::for_tests("ES256")?.token(&Map::new(), &claims)?;
    let body = crate::body(size);
    Ok(format!(
        "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\nmcp-protocol-version: 2025-11-25\r\n\
         authorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes())
}

/// A whole response: a head with a `content-length`, and so many bytes.
pub fn is_complete(got: &[u8]) -> bool {
    let text = String::from_utf8_lossy(got);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.and_then(|length| length.parse().ok()) == Some(body.len())
}
