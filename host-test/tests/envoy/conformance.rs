//! The MCP conformance suite, straight at a server and through Envoy and the filter: every scenario comes out alike.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use host_test::fixtures;
use host_test::process::free_port;
use host_test::signing::Key;
use host_test::stack::{EnvoyStack, Options, Server, Setup};
use libtest_mimic::Trial;
use serde_json::{Map, json};

use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("conformance::is_the_same_through_the_filter_2025_11_25", || same(Revision::Legacy)),
        trial("conformance::is_the_same_through_the_filter_2026_07_28", || same(Revision::Modern)),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Revision {
    Legacy,
    Modern,
}

impl Revision {
    fn name(self) -> &'static str {
        match self {
            Revision::Legacy => "2025-11-25",
            Revision::Modern => "2026-07-28",
        }
    }

    /// How many scenarios pass without the filter, at least. Of the newer revision all but those of the extension for tasks.
    fn floor(self) -> usize {
        match self {
            Revision::Legacy => 33,
            Revision::Modern => 40,
        }
    }

    /// How many of them need a tool to be called, at least.
    fn lost(self) -> usize {
        match self {
            Revision::Legacy => 13,
            Revision::Modern => 21,
        }
    }
}

/// What comes out otherwise through the filter, and is meant to: the scenario, its line there, and why.
const EXCEPTIONS: [(Revision, &str, &str, &str); 0] = [];

/// What the suite says of each scenario: the line without its name, e.g. `✓ 2 passed, 0 failed`.
type Lines = BTreeMap<String, String>;

/// Tokens with these scopes: one opens everything, the other everything but calls of tools.
const ALL: &str = "mcp:connect tools:call";
const BASE: &str = "mcp:connect";

fn same(revision: Revision) -> Result<()> {
    let door = Door::new()?;
    let stack = door.open()?;
    // Without the door: what that spoils is a difference, too.
    let direct = run(&stack, revision, &stack.direct_url(Server::Notes), "direct")?;
    // One that checked nothing has a tick, too.
    let passed = direct.values().filter(|line| line.starts_with('✓') && !line.contains(" 0 passed")).count();
    ensure!(passed >= revision.floor(), "{passed} scenarios pass without the filter: {direct:#?}");

    door.bring(ALL)?;
    let through = run(&stack, revision, &door.url(), "through")?;
    let meant: Lines = EXCEPTIONS
        .iter()
        .filter(|(of, ..)| *of == revision)
        .map(|(_, name, line, _)| ((*name).to_owned(), (*line).to_owned()))
        .collect();
    let found = differing(&direct, &through);
    let folder = stack.folder().display();
    ensure!(
        found == meant,
        "through the filter {found:#?}, and meant is {meant:#?}; without it {direct:#?}\nin {folder}"
    );

    // Whoever may call no tool loses the scenarios that call one, and no other.
    let before = stack.access_log()?.len();
    door.bring(BASE)?;
    let base = run(&stack, revision, &door.url(), "base")?;
    let lost = differing(&through, &base);
    ensure!(lost.keys().all(|name| calls_tools(name)), "with too little: {lost:#?}\nin {folder}");
    ensure!(lost.len() >= revision.lost(), "with too little {} scenarios differ: {lost:#?}", lost.len());
    for entry in stack.access_log()?.iter().skip(before).filter(|entry| entry["stepup"]["verdict"] == "challenge") {
        let record = &entry["stepup"];
        ensure!(record["method"] == "tools/call" && record["reason"] == "scope_missing", "{entry:#}");
    }
    Ok(())
}

/// Is it a scenario that calls a tool?
fn calls_tools(scenario: &str) -> bool {
    let prefixes = ["tools-call-", "elicitation-", "input-required-result-", "server-sse-", "tasks-", "http-"];
    let others = ["server-stateless", "json-schema-2020-12"];
    let asks_a_prompt = scenario == "input-required-result-non-tool-request";
    (prefixes.iter().any(|prefix| scenario.starts_with(prefix)) || others.contains(&scenario)) && !asks_a_prompt
}

/// The lines of `through` that are not those of `direct`, and those that are missing.
fn differing(direct: &Lines, through: &Lines) -> Lines {
    let names = direct.keys().chain(through.keys());
    let line = |lines: &Lines, name: &String| lines.get(name).cloned().unwrap_or_default();
    names
        .filter(|name| line(direct, name) != line(through, name))
        .map(|name| (name.clone(), line(through, name)))
        .collect()
}

/// Runs what the revision requires of a server. Its findings are in the folder of the stack.
fn run(stack: &EnvoyStack, revision: Revision, url: &str, name: &str) -> Result<Lines> {
    let mut command = fixtures::conformance()?;
    command.args(["server", "--url", url, "--requirements", revision.name(), "--output-dir", name]);
    // It ends with 1 where a scenario fails.
    let output = command.current_dir(stack.folder()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    fs::write(stack.folder().join(format!("{name}.log")), [&*output.stdout, &output.stderr].concat())?;
    let summary = text.split_once("=== SUMMARY ===").map(|(_, summary)| summary);
    let summary = summary.with_context(|| format!("{text}\n{}", String::from_utf8_lossy(&output.stderr)))?;
    let line = |line: &str| {
        let (mark, rest) = line.split_at_checked('✓'.len_utf8())?;
        let (name, counts) = rest.trim_start().split_once(": ")?;
        ["✓", "✗"].contains(&mark).then(|| (name.to_owned(), format!("{mark} {counts}")))
    };
    Ok(summary.lines().filter_map(line).collect())
}

const ISSUER: &str = "https://as.example.com";

/// Where the suite knocks: it cannot send a token, so here every request gets one. Nothing else is changed: header names,
/// spaces, `Host` and `Origin` arrive as the suite wrote them.
struct Door {
    listener: TcpListener,
    port: u16,
    /// The header that every request gets.
    line: Arc<Mutex<String>>,
}

impl Door {
    fn new() -> Result<Door> {
        let listener = TcpListener::bind(("127.0.0.1", free_port()?))?;
        Ok(Door { port: listener.local_addr()?.port(), listener, line: Arc::default() })
    }

    /// What the suite is told, and therefore the resource of the policy: clients know no other address.
    fn url(&self) -> String {
        format!("http://127.0.0.1:{}{}", self.port, Server::Notes.path())
    }

    /// A stack behind it. Its policy opens everything to who has all scopes.
    fn open(&self) -> Result<EnvoyStack> {
        let key = Key::for_tests("ES256")?.public();
        let policy = json!({
            "version": 1,
            "issuers": { ISSUER: { "keys": { "keys": [key] }, "algorithms": ["ES256"], "max_lifetime": "1h" } },
            "servers": {
                "notes": {
                    "resource": self.url(),
                    "baseline": ["mcp:connect"],
                    "tools": { "*": { "scope": ["tools:call"] } },
                    "resources": { "*": { "scope": [] } },
                    "prompts": { "*": { "scope": [] } },
                },
            },
        });
        let stack = EnvoyStack::start(&Options {
            conformance: true,
            authorization_server: false,
            setup: Setup::Configuration(policy.to_string()),
            ..Options::default()
        })?;
        let (listener, port, line) = (self.listener.try_clone()?, stack.port(), Arc::clone(&self.line));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let line = Arc::clone(&line);
                // The suite leaves when it likes.
                thread::spawn(move || pass(client, port, &line));
            }
        });
        Ok(stack)
    }

    /// From now on, requests have a token with these scopes.
    fn bring(&self, scope: &str) -> Result<()> {
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
        let claims = json!({
            "iss": ISSUER, "aud": self.url(), "sub": "alice", "client_id": "suite", "jti": scope, "scope": scope,
            "iat": now - 1, "exp": now + 600,
        });
        let token = Key::for_tests("ES256")?.token(&Map::new(), &claims)?;
        *locked(&self.line) = format!("authorization: Bearer {token}\r\n");
        Ok(())
    }
}

fn locked(line: &Mutex<String>) -> MutexGuard<'_, String> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Both ways until one side ends.
fn pass(client: TcpStream, port: u16, line: &Mutex<String>) -> Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    server.set_nodelay(true)?;
    let (mut answers, mut to_client) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut answers, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let sent = requests(&mut BufReader::new(client), &mut server, line);
    // A client that has gone is gone for Envoy, too.
    server.shutdown(Shutdown::Both)?;
    sent
}

/// Hands on request after request, each with one line more behind its first.
fn requests(client: &mut BufReader<TcpStream>, server: &mut TcpStream, line: &Mutex<String>) -> Result<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if client.read_until(b'\n', &mut head)? == 0 {
                return Ok(());
            }
        }
        let first = head.iter().position(|byte| *byte == b'\n').context("no line")? + 1;
        head.splice(first..first, locked(line).bytes());
        let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
        ensure!(!text.contains("\r\ntransfer-encoding:"), "the suite sends bodies with their length");
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        server.write_all(&head)?;
        std::io::copy(&mut Read::take(&mut *client, length.unwrap_or(0)), server)?;
    }
}
