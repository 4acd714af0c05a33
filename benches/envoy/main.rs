//! The filter beside others in real Envoy: CPU of Envoy for each request, side by side.
//!
//! `cargo run --release -p step-up-benches --bin side-by-side [-- ROUNDS]`, on an idle Linux machine with two cores or more.
//!
//! Envoy has one worker, on core 0; a second Envoy that answers and the clients are on core 1. Eight connections, kept alive,
//! a second to warm up and three that count, a fresh Envoy each time, the order reversed in every round. CPU is utime and stime
//! of the process; compare it, not requests a second, which core 1 bounds. All compared variants do the same: this token
//! may call this tool.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use host_test::process::{Process, free_port};
use host_test::signing::Key;
use host_test::{artifact, fixtures, paths};
use serde_json::{Map, Value, json};

const SIZES: [usize; 2] = [300, 20_000];
const CONNECTIONS: usize = 8;
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(3);

/// What stands in front of the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    Nothing,
    Native,
    BareWasm,
    StepUp,
}

impl Variant {
    const ALL: [Variant; 4] = [Variant::Nothing, Variant::Native, Variant::BareWasm, Variant::StepUp];

    fn name(self) -> &'static str {
        match self {
            Variant::Nothing => "no filter",
            Variant::Native => "jwt_authn (cached) + mcp + rbac",
            Variant::BareWasm => "wasm that does nothing",
            Variant::StepUp => "step-up, token seen before",
        }
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    if let Some(first) = arguments.next().filter(|first| first == "load") {
        let port = arguments.next().with_context(|| format!("{first}: no port"))?.parse()?;
        return load(port, &PathBuf::from(arguments.next().context("no file")?));
    }
    let rounds: usize = std::env::args().nth(1).map_or(Ok(3), |rounds| rounds.parse())?;
    let bench = Bench::new()?;
    for size in SIZES {
        let mut found: Vec<Vec<f64>> = vec![Vec::new(); Variant::ALL.len()];
        for round in 0..rounds {
            let mut order: Vec<usize> = (0..Variant::ALL.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for at in order {
                let (Some(variant), Some(list)) = (Variant::ALL.get(at), found.get_mut(at)) else { continue };
                list.push(bench.measure(*variant, size)?);
            }
        }
        print(size, &mut found);
    }
    Ok(())
}

fn print(size: usize, found: &mut [Vec<f64>]) {
    println!("\nbody {size} B\n| what | CPU us/request (range) | added | of native |\n| --- | --- | --- | --- |");
    let middle = |list: &[f64]| list.get(list.len() / 2).copied().unwrap_or_default();
    for list in found.iter_mut() {
        list.sort_by(f64::total_cmp);
    }
    let of = |at: usize| found.get(at).map(|list| middle(list)).unwrap_or_default();
    let (bare, native) = (of(0), of(1) - of(0));
    for (variant, list) in Variant::ALL.iter().zip(&*found) {
        let (first, last) = (list.first().copied().unwrap_or_default(), list.last().copied().unwrap_or_default());
        let added = middle(list) - bare;
        let ratio = if native > 0.0 { added / native } else { 0.0 };
        println!("| {} | {:.1} ({first:.1} to {last:.1}) | {added:.1} | {ratio:.2} |", variant.name(), middle(list));
    }
}

struct Bench {
    envoy: PathBuf,
    folder: PathBuf,
    module: PathBuf,
    bare: PathBuf,
    upstream: u16,
    _upstream: Process,
}

const RESOURCE: &str = "http://127.0.0.1/mcp";
const ISSUER: &str = "https://as.example.com";

impl Bench {
    fn new() -> Result<Bench> {
        let envoy = fixtures::install()?.envoy();
        let folder = paths::target().join("side-by-side");
        fs::create_dir_all(&folder)?;
        let bare = folder.join("bare.wasm");
        fs::write(&bare, wat::parse_str(BARE)?)?;
        let upstream = free_port()?;
        let answer = json!({ "match": { "prefix": "/" }, "direct_response": { "status": 200, "body": { "inline_string": "{}" } } });
        // It answers when it has the whole request: answered earlier, it would close the connection each time.
        let whole = json!({
            "name": "envoy.filters.http.buffer",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer", "max_request_bytes": 65536,
            },
        });
        let process = start(&envoy, &folder, "upstream", 1, &config(upstream, &answer, &[whole], &[]))?;
        Ok(Bench { envoy, module: artifact::module()?, bare, upstream, folder, _upstream: process })
    }

    fn measure(&self, variant: Variant, size: usize) -> Result<f64> {
        let port = free_port()?;
        let route = json!({ "match": { "prefix": "/" }, "route": { "cluster": "up", "timeout": "0s" } });
        let address = json!({ "socket_address": { "address": "127.0.0.1", "port_value": self.upstream } });
        let endpoints = json!([{ "lb_endpoints": [{ "endpoint": { "address": address } }] }]);
        let cluster = json!({ "name": "up", "type": "STATIC", "load_assignment": { "cluster_name": "up", "endpoints": endpoints } });
        let config = config(port, &route, &self.filters(variant)?, &[cluster]);
        let mut envoy = start(&self.envoy, &self.folder, "measured", 0, &config)?;
        envoy.wait_for_port(port)?;
        // Keys, caches, compiled code.
        sleep(Duration::from_millis(1500));
        let request = self.folder.join("request");
        fs::write(&request, request_bytes(size)?)?;
        let load = Command::new("taskset")
            .args(["-c", "1"])
            .arg(std::env::current_exe()?)
            .args(["load", &port.to_string()])
            .arg(&request)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .context("taskset (util-linux) could not be started")?;
        sleep(WARM_UP);
        let before = cpu(envoy.id())?;
        sleep(MEASURED);
        let after = cpu(envoy.id())?;
        let output = load.wait_with_output()?;
        ensure!(output.status.success(), "{}: the load failed", variant.name());
        let requests: f64 = String::from_utf8_lossy(&output.stdout).trim().parse()?;
        Ok((after - before) / requests)
    }

    fn filters(&self, variant: Variant) -> Result<Vec<Value>> {
        let wasm = |module: &Path, configuration: Value| {
            json!({
                "name": "wasm",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                    "config": {
                        "name": "wasm", "root_id": "wasm", "allow_on_headers_stop_iteration": true,
                        "configuration": {
                            "@type": "type.googleapis.com/google.protobuf.StringValue", "value": configuration.to_string(),
                        },
                        "vm_config": { "vm_id": "wasm", "runtime": "envoy.wasm.runtime.v8", "code": { "local": { "filename": module } } },
                    },
                },
            })
        };
        let jwks = json!({ "keys": [Key::for_tests("ES256")?.public()] });
        Ok(match variant {
            Variant::Nothing => Vec::new(),
            Variant::BareWasm => vec![wasm(&self.bare, json!({}))],
            Variant::StepUp => vec![wasm(
                &self.module,
                json!({
                    "version": 1, "issuers": { ISSUER: { "keys": jwks, "algorithms": ["ES256"] } },
                    "resource": RESOURCE, "baseline": ["mcp:connect"],
                    "tools": { "get_file": { "scope": "repo:read" } },
                }),
            )],
            Variant::Native => native(&jwks),
        })
    }
}

/// The token, the body's method and tool, and one rule for both.
fn native(jwks: &Value) -> Vec<Value> {
    let any = json!([{ "any": true }]);
    let is = |path: [&str; 2], value: &str| {
        let path: Vec<Value> = path.iter().filter(|key| !key.is_empty()).map(|key| json!({ "key": key })).collect();
        let value = json!({ "string_match": { "exact": value } });
        json!({ "metadata": { "filter": "envoy.filters.http.mcp", "path": path, "value": value } })
    };
    let rules =
        json!({ "and_rules": { "rules": [is(["method", ""], "tools/call"), is(["params", "name"], "get_file")] } });
    vec![
        json!({
            "name": "envoy.filters.http.jwt_authn",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
                "providers": { "as": {
                    "issuer": ISSUER, "audiences": [RESOURCE], "local_jwks": { "inline_string": jwks.to_string() },
                    "payload_in_metadata": "payload", "jwt_cache_config": { "jwt_cache_size": 100 }, "forward": true,
                } },
                "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "as" } }],
            },
        }),
        json!({
            "name": "envoy.filters.http.mcp",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.mcp.v3.Mcp",
                "traffic_mode": "REJECT_NO_MCP", "max_request_body_size": 65536,
            },
        }),
        json!({
            "name": "envoy.filters.http.rbac",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
                "rules": { "action": "ALLOW", "policies": { "reader": { "permissions": [rules], "principals": any } } },
            },
        }),
    ]
}

/// Exports what a filter must, and does nothing.
const BARE: &str = r#"(module
  (memory (export "memory") 1)
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0))
  (func (export "proxy_on_done") (param i32) (result i32) (i32.const 1))
  (func (export "proxy_on_delete") (param i32)))"#;

fn config(port: u16, route: &Value, filters: &[Value], clusters: &[Value]) -> Value {
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
    });
    let filters: Vec<&Value> = filters.iter().chain([&router]).collect();
    // As operators run it: with the audit record, and nowhere to keep it.
    let log = json!({
        "name": "log",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": "/dev/null",
            "log_format": { "text_format_source": { "inline_string": "%RESPONSE_CODE% %FILTER_STATE(wasm.stepup.audit:PLAIN)%\n" } },
        },
    });
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench", "access_log": [log], "http_filters": filters,
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [route] }] },
    });
    let listener = json!({
        "name": "listener",
        "address": { "socket_address": { "address": "127.0.0.1", "port_value": port } },
        "filter_chains": [{ "filters": [{ "name": "http", "typed_config": manager }] }],
    });
    json!({ "static_resources": { "listeners": [listener], "clusters": clusters } })
}

fn start(envoy: &Path, folder: &Path, name: &str, core: usize, config: &Value) -> Result<Process> {
    let file = folder.join(format!("{name}.json"));
    fs::write(&file, config.to_string())?;
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]).arg(envoy).arg("-c").arg(&file);
    command.args(["--concurrency", "1", "--use-dynamic-base-id", "--disable-hot-restart"]);
    Process::start(name, &mut command, folder)
}

/// utime and stime in microseconds (`man 5 proc`; a tick is 10 ms).
fn cpu(process: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let tick = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).context("no such field");
    Ok((tick(11)? + tick(12)?) * 10_000.0)
}

fn request_bytes(size: usize) -> Result<Vec<u8>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let claims = json!({
        "iss": ISSUER, "aud": RESOURCE, "sub": "alice", "client_id": "agent", "jti": "bench", "iat": now - 60,
        "exp": now + 3000, "scope": "mcp:connect repo:read",
    });
    let token = Key::for_tests("ES256")?.token(&Map::new(), &claims)?;
    let body = step_up_benches::body(size);
    Ok(format!(
        "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\nmcp-protocol-version: 2025-11-25\r\n\
         authorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes())
}

/// The clients: prints how many answers came in the time that counts. Any answer but 200 is a failure.
fn load(port: u16, file: &Path) -> Result<()> {
    let request = fs::read(file)?;
    let (count, counting, over) = (AtomicU64::new(0), AtomicBool::new(false), AtomicBool::new(false));
    let one = || -> Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        let mut buffer = [0; 4096];
        while !over.load(Ordering::Relaxed) {
            stream.write_all(&request)?;
            let mut got = Vec::new();
            // The answer's body is `{}`.
            while !got.ends_with(b"\r\n\r\n{}") {
                let read = stream.read(&mut buffer)?;
                ensure!(read > 0, "the connection was closed: {}", String::from_utf8_lossy(&got));
                got.extend(buffer.iter().take(read));
            }
            if !got.starts_with(b"HTTP/1.1 200") {
                bail!("{}", String::from_utf8_lossy(&got));
            }
            if counting.load(Ordering::Relaxed) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    };
    scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(one)).collect();
        sleep(WARM_UP);
        counting.store(true, Ordering::Relaxed);
        sleep(MEASURED);
        counting.store(false, Ordering::Relaxed);
        over.store(true, Ordering::Relaxed);
        clients.into_iter().try_for_each(|client| client.join().unwrap_or_else(|_| bail!("a client panicked")))
    })?;
    println!("{}", count.load(Ordering::Relaxed));
    Ok(())
}
