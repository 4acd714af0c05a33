//! MCP clients in pages of another origin, in a real browser: preflight, metadata, challenge, login, the call once more.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use host_test::process::{Process, free_port};
use host_test::stack::{EnvoyStack, Options, Request, Server, Stack as _, encode, send};
use host_test::{fixtures, paths};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("browser::a_page_steps_up", plain),
        trial("browser::a_page_with_the_sdk_steps_up_2026_07_28", || sdk(Server::Notes, "auto", "2026-07-28")),
        trial("browser::a_page_with_the_sdk_steps_up_2025_11_25", || sdk(Server::Everything, "legacy", "2025-11-25")),
        trial("browser::a_page_of_another_origin_gets_nothing", foreign),
    ]
}

/// The first token that a page gets, and the one that the tool needs.
const SCOPES: [&str; 2] = ["mcp:connect", "mcp:connect tools:admin"];

fn plain() -> Result<()> {
    let site = Site::open(free_port()?)?;
    let stack = EnvoyStack::start(&Options { page: Some(site.port), ..Options::default() })?;
    let (mcp, client) = (stack.url(Server::Notes), register(&stack, &site)?);
    let reports = site.visit(&[("script", "plain.mjs"), ("mcp", &mcp), ("tool", "get-env"), ("client", &client)])?;

    // Nobody's call; a login; a call with too little; another login; the call.
    let expected = ["call", "metadata", "login", "token", "call", "metadata", "login", "token", "call", "done"];
    ensure!(steps(&reports) == expected, "{reports:#?}");
    let metadata = metadata(&stack);
    for (call, status, error, reason) in
        [(0, 401, json!(null), "token_missing"), (4, 403, json!("insufficient_scope"), "scope_missing")]
    {
        let (report, scope) = (&reports[call], SCOPES[call / 4]);
        ensure!(report["status"] == status && report["challenge"]["error"] == error, "{report:#}");
        ensure!(report["challenge"]["scope"] == scope, "{report:#}");
        ensure!(report["challenge"]["resource_metadata"] == *metadata, "{report:#}");
        ensure!(report["body"].as_str().is_some_and(|body| body.contains(reason)), "{report:#}");
        let document = &reports[call + 1]["metadata"];
        ensure!(document["resource"] == *mcp, "{document:#}");
        ensure!(document["authorization_servers"] == json!([stack.issuer()]), "{document:#}");
        ensure!(reports[call + 2]["scope"] == scope && reports[call + 3]["scope"] == scope, "{reports:#?}");
    }
    let call = &reports[8];
    let body: Value = serde_json::from_str(call["body"].as_str().unwrap_or_default())?;
    ensure!(call["status"] == 200 && body["result"]["isError"] == false, "{call:#}");
    // It could read the id of a session, send it back, and end the session.
    let end = &reports[9];
    ensure!(end["opened"] == 200 && end["session"] == true && end["closed"] == 200, "{end:#}");

    // The browser asked first, and Envoy's filter answered.
    for path in ["/notes/mcp", "/.well-known/oauth-protected-resource/notes/mcp"] {
        stack.entry(|entry| entry["method"] == "OPTIONS" && entry["path"] == path)?;
    }
    let log = stack.access_log()?;
    let mut asked = log.iter().filter(|entry| entry["method"] == "OPTIONS");
    ensure!(asked.all(|entry| entry["details"] == "cors_response" && entry["status"] == 200), "{log:#?}");
    Ok(())
}

fn sdk(server: Server, mode: &str, revision: &str) -> Result<()> {
    let site = Site::open(free_port()?)?;
    let stack = EnvoyStack::start(&Options { page: Some(site.port), ..Options::default() })?;
    let (mcp, client) = (stack.url(server), register(&stack, &site)?);
    let task = [("script", "sdk.mjs"), ("mcp", &*mcp), ("tool", "get-env"), ("client", &client), ("mode", mode)];
    let reports = site.visit(&task)?;
    let expected = ["login", "token", "connected", "login", "token", "connected", "result", "done"];
    ensure!(steps(&reports) == expected, "{reports:#?}");
    for (at, scope) in [0, 3].into_iter().zip(SCOPES) {
        ensure!(reports[at]["scope"] == scope && reports[at + 1]["scope"] == scope, "{reports:#?}");
        ensure!(reports[at + 2]["protocol"] == revision, "{reports:#?}");
    }
    ensure!(reports[6]["isError"] == false, "{reports:#?}");
    for verdict in ["challenge", "permit"] {
        stack.entry(|entry| entry["stepup"]["name"] == "get-env" && entry["stepup"]["verdict"] == verdict)?;
    }
    Ok(())
}

fn foreign() -> Result<()> {
    let (named, other) = (free_port()?, Site::open(free_port()?)?);
    let stack = EnvoyStack::start(&Options { page: Some(named), ..Options::default() })?;
    let (mcp, metadata) = (stack.url(Server::Notes), metadata(&stack));
    let token = stack.token(Server::Notes, SCOPES[1])?;
    let reports =
        other.visit(&[("script", "foreign.mjs"), ("mcp", &mcp), ("metadata", &metadata), ("token", &token)])?;
    let tried: Vec<(&str, &str)> =
        reports.iter().filter_map(|report| Some((report["what"].as_str()?, report["outcome"].as_str()?))).collect();
    // The last one is what any form can send: it arrives, and nobody reads what comes back.
    let expected =
        [("metadata", "TypeError"), ("preflighted", "TypeError"), ("simple", "TypeError"), ("blind", "opaque 0")];
    ensure!(tried == expected, "{reports:#?}");
    stack.entry(|entry| entry["method"] == "OPTIONS" && entry["stepup"]["reason"] == "method_not_allowed")?;
    ensure!(stack.upstream_requests(Server::Notes)? == 0, "a page that nobody named reached a server");
    Ok(())
}

fn steps(reports: &[Value]) -> Vec<&str> {
    reports.iter().filter_map(|report| report["step"].as_str()).collect()
}

fn metadata(stack: &EnvoyStack) -> String {
    format!("http://127.0.0.1:{}/.well-known/oauth-protected-resource/notes/mcp", stack.port())
}

/// A public client whose pages are those of the site.
fn register(stack: &EnvoyStack, site: &Site) -> Result<String> {
    let metadata = json!({
        "redirect_uris": [format!("{}/callback", site.origin())],
        "grant_types": ["authorization_code"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    });
    let answer = send(&Request::post(format!("{}/reg", stack.issuer()), metadata))?;
    let id = answer.message().and_then(|json| Some(json["client_id"].as_str()?.to_owned()));
    id.with_context(|| format!("not registered: {answer:?}"))
}

/// Where the pages come from: the files of `envoy/fixtures/browser`, and the modules that they import.
struct Site {
    port: u16,
    reports: Receiver<Value>,
}

impl Site {
    fn open(port: u16) -> Result<Site> {
        let modules = fixtures::install()?.node_modules();
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let (tell, reports) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (modules, tell) = (modules.clone(), tell.clone());
                // A browser opens connections that it does not use, and leaves when it likes.
                thread::spawn(move || serve(&stream, &modules, &tell));
            }
        });
        Ok(Site { port, reports })
    }

    fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Opens the page in a browser and gives what it reports, up to its end.
    fn visit(&self, task: &[(&str, &str)]) -> Result<Vec<Value>> {
        let folder = paths::target().join("stacks").join(format!("browser-{}-{}", std::process::id(), self.port));
        fs::create_dir_all(&folder)?;
        let mut command = fixtures::browser(&folder.join("profile"))?;
        command.arg(format!("{}/?{}", self.origin(), encode(task)));
        let browser = Process::start("chromium", &mut command, &folder)?;
        let (begin, mut reports) = (Instant::now(), Vec::new());
        loop {
            let left = Duration::from_secs(60).saturating_sub(begin.elapsed());
            let Ok(report) = self.reports.recv_timeout(left) else {
                bail!("the page did not come to its end: {reports:#?}\n{}", browser.log());
            };
            let step = report["step"].clone();
            reports.push(report);
            ensure!(step != "failed", "the page failed: {reports:#?}");
            if step == "done" {
                return Ok(reports);
            }
        }
    }
}

/// One request on each connection.
fn serve(stream: &TcpStream, modules: &Path, tell: &Sender<Value>) -> Result<()> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let target = lines.first().and_then(|line| line.split(' ').nth(1)).context("no request")?;
    let length = lines.iter().filter_map(|line| line.split_once(": ")).find_map(|(name, value)| {
        let length = name.eq_ignore_ascii_case("content-length").then_some(value);
        length.and_then(|length| length.parse().ok())
    });
    let length = length.unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let path = target.split('?').next().unwrap_or_default();
    let own = |name: &str| paths::envoy().join("fixtures/browser").join(name);
    let (file, kind) = match path.strip_prefix("/modules/") {
        Some(module) => (modules.join(module), "text/javascript"),
        None if ["/", "/callback"].contains(&path) => (own("page.html"), "text/html"),
        None => (own(path.trim_start_matches('/')), "text/javascript"),
    };
    let (status, content) = match fs::read(file) {
        _ if path == "/report" => {
            tell.send(serde_json::from_slice(&body)?)?;
            (200, Vec::new())
        }
        Ok(content) => (200, content),
        Err(_) => (404, Vec::new()),
    };
    let mut stream = stream;
    let head = format!("HTTP/1.1 {status} -\r\ncontent-type: {kind}\r\nconnection: close\r\n");
    stream.write_all(format!("{head}content-length: {}\r\n\r\n", content.len()).as_bytes())?;
    Ok(stream.write_all(&content)?)
}
