//! The filter beside others in real Envoy: CPU of Envoy for each request, side by side.
//!
//! `cargo run --release -p step-up-benches --bin side-by-side [-- ROUNDS]`, on an idle Linux machine with two cores or more.
//!
//! Envoy has one worker, on core 0; a second Envoy that answers and the clients are on core 1. Eight connections, kept alive,
//! a second to warm up and three that count, a fresh Envoy each time, the order reversed in every round. CPU is utime and stime
//! of the process; compare it, not requests a second, which core 1 bounds. In the first tables all variants do the same: this
//! token may call this tool. The last one takes an exchange apart; the token service is on core 1 too.

mod token_service;

use std::fmt;
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
use token_service::Answer;

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
    /// A tool that nobody may call.
    Denied,
    /// A tool that is for exchange, and what the token service says to that.
    Exchange(Answer),
}

/// What allows a call of a token seen before.
const ALLOWED: [Variant; 4] = [Variant::Nothing, Variant::Native, Variant::BareWasm, Variant::StepUp];
/// Each does what the one before it does, and more; but the last two, which are to be compared.
const EXCHANGES: [Variant; 6] = [
    Variant::Denied,
    Variant::Exchange(Answer::Refusal),
    Variant::Exchange(Answer::OtherType),
    Variant::Exchange(Answer::OtherAudience),
    Variant::StepUp,
    Variant::Exchange(Answer::Token),
];

impl Variant {
    fn name(self) -> &'static str {
        match self {
            Variant::Nothing => "no filter",
            Variant::Native => "jwt_authn (cached) + mcp + rbac",
            Variant::BareWasm => "wasm that does nothing",
            Variant::StepUp => "step-up, token seen before",
            Variant::Denied => "denied by its rule",
            Variant::Exchange(Answer::Refusal) => "the token service refuses",
            Variant::Exchange(Answer::OtherType) => "a token of another type, taken back",
            Variant::Exchange(Answer::OtherAudience) => "a token for another server, taken back",
            Variant::Exchange(Answer::Token) => "exchanged for, forwarded, taken back",
        }
    }

    fn status(self) -> u16 {
        match self {
            Variant::Denied | Variant::Exchange(Answer::Refusal) => 403,
            Variant::Exchange(Answer::OtherType | Answer::OtherAudience) => 503,
            _ => 200,
        }
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let rounds = match arguments.as_slice() {
        ["load", port, file, status] => return load(port.parse()?, Path::new(file), status),
        ["token-service", port, answer] => {
            return token_service::serve(port.parse()?, Answer::from_name(answer).context("no such answer")?);
        }
        [] => 3,
        [rounds, ..] => rounds.parse()?,
    };
    let bench = Bench::new()?;
    for size in SIZES {
        println!(
            "\nallowed, body {size} B\n| what | CPU us/request (range) | added | of native |\n| --- | --- | --- | --- |"
        );
        let rows = bench.measure_all(&ALLOWED, size, rounds)?;
        let [bare, native, ..] = &rows;
        for row in &rows {
            let added = row.middle - bare.middle;
            println!("| {row} | {added:.1} | {:.2} |", added / (native.middle - bare.middle));
        }
    }
    println!("\nexchange, body {} B\n| what | CPU us/request (range) |\n| --- | --- |", SIZES[0]);
    let rows = bench.measure_all(&EXCHANGES, SIZES[0], rounds)?;
    rows.iter().for_each(|row| println!("| {row} |"));
    let [denied, refused, unread, verified, allowed, exchanged] = rows.map(|row| row.middle);
    println!("\nbeyond an allowed call: {:.1}, of which", exchanged - allowed);
    println!("- call {:.1}", refused - denied);
    println!("- revocation {:.1}", unread - refused);
    println!("- verification {:.1}", verified - unread);
    println!("- swap, watching the response {:.1}", exchanged - allowed - (verified - denied));
    Ok(())
}

/// What was found for one variant.
struct Row {
    name: &'static str,
    first: f64,
    middle: f64,
    last: f64,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { name, first, middle, last } = self;
        write!(f, "{name} | {middle:.1} ({first:.1} to {last:.1})")
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

    /// Every variant so many times, in turn and back.
    fn measure_all<const N: usize>(&self, variants: &[Variant; N], size: usize, rounds: usize) -> Result<[Row; N]> {
        let mut found = variants.map(|variant| (variant, Vec::new()));
        for _ in 0..rounds {
            for (variant, list) in &mut found {
                list.push(self.measure(*variant, size)?);
            }
            found.reverse();
        }
        if rounds % 2 == 1 {
            found.reverse();
        }
        Ok(found.map(|(variant, mut list)| {
            list.sort_by(f64::total_cmp);
            let at = |place: usize| list.get(place).copied().unwrap_or_default();
            let last = list.len().saturating_sub(1);
            Row { name: variant.name(), first: at(0), middle: at(last / 2), last: at(last) }
        }))
    }

    fn measure(&self, variant: Variant, size: usize) -> Result<f64> {
        let (port, token_service) = (free_port()?, free_port()?);
        let _token_service = match variant {
            Variant::Exchange(answer) => {
                let mut command = on_core(1, &std::env::current_exe()?);
                command.args(["token-service", &token_service.to_string(), answer.name()]);
                Some(Process::start("token-service", &mut command, &self.folder)?)
            }
            _ => None,
        };
        let route = json!({ "match": { "prefix": "/" }, "route": { "cluster": "up", "timeout": "0s" } });
        let clusters = [cluster("up", self.upstream), cluster("token-service", token_service)];
        let config = config(port, &route, &self.filters(variant)?, &clusters);
        let mut envoy = start(&self.envoy, &self.folder, "measured", 0, &config)?;
        envoy.wait_for_port(port)?;
        // Keys, caches, compiled code.
        sleep(Duration::from_millis(1500));
        let request = self.folder.join("request");
        fs::write(&request, request_bytes(size)?)?;
        let load = on_core(1, &std::env::current_exe()?)
            .args(["load", &port.to_string()])
            .arg(&request)
            .arg(variant.status().to_string())
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
        let (service, exchange) = token_service::policy();
        let step_up = |rule: Value| {
            let policy = json!({
                "version": 1, "issuers": { ISSUER: { "keys": jwks, "algorithms": ["ES256"] } },
                "token_service": service, "limits": { "exchanges": 100, "exchanges_per_caller": 100, "exchange_rate": 100_000 },
                "resource": RESOURCE, "baseline": ["mcp:connect"], "tools": { "get_file": rule },
            });
            vec![wasm(&self.module, policy)]
        };
        Ok(match variant {
            Variant::Nothing => Vec::new(),
            Variant::BareWasm => vec![wasm(&self.bare, json!({}))],
            Variant::StepUp => step_up(json!({ "scope": "repo:read" })),
            Variant::Denied => step_up(json!("deny")),
            Variant::Exchange(_) => step_up(exchange),
            Variant::Native => native(&jwks),
        })
    }
}

fn cluster(name: &str, port: u16) -> Value {
    let address = json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } });
    let endpoints = json!([{ "lb_endpoints": [{ "endpoint": { "address": address } }] }]);
    json!({ "name": name, "type": "STATIC", "load_assignment": { "cluster_name": name, "endpoints": endpoints } })
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
    let mut command = on_core(core, envoy);
    command.arg("-c").arg(&file).args(["--concurrency", "1", "--use-dynamic-base-id", "--disable-hot-restart"]);
    Process::start(name, &mut command, folder)
}

fn on_core(core: usize, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]).arg(program);
    command
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

/// The clients: prints how many answers came in the time that counts. Any answer with another status is a failure.
fn load(port: u16, file: &Path, status: &str) -> Result<()> {
    let request = fs::read(file)?;
    let start = format!("HTTP/1.1 {status}");
    let (count, counting, over) = (AtomicU64::new(0), AtomicBool::new(false), AtomicBool::new(false));
    let one = || -> Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        let mut buffer = [0; 4096];
        while !over.load(Ordering::Relaxed) {
            stream.write_all(&request)?;
            let mut got = Vec::new();
            while !is_complete(&got) {
                let read = stream.read(&mut buffer)?;
                ensure!(read > 0, "the connection was closed: {}", String::from_utf8_lossy(&got));
                got.extend(buffer.iter().take(read));
            }
            if !got.starts_with(start.as_bytes()) {
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

/// A whole response: a head with a `content-length`, and so many bytes.
fn is_complete(got: &[u8]) -> bool {
    let text = String::from_utf8_lossy(got);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.and_then(|length| length.parse().ok()) == Some(body.len())
}
