//! `stepup serve`: the filter in front of a server, over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use host_test::local::{AuthorizationServer, McpServer, Resource};
use host_test::serve::{Options, Served, Serving, Told, Upstream};
use host_test::signing::Key;
use host_test::stack::{FILTER_CREDENTIAL, Request, granted, send};
use serde_json::{Map, Value, json};

const ISSUER: &str = "https://as.example.com";
const SERVER: &str = "https://mcp.example.com/mcp";

/// A policy whose keys stand in it.
fn policy(tools: &Value) -> Value {
    json!({
        "version": 1, "resource": SERVER, "baseline": [], "tools": tools,
        "issuers": { ISSUER: { "keys": { "keys": [Key::for_tests("ES256").unwrap().public()] }, "algorithms": ["ES256"] } },
    })
}

fn token() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({
        "iss": ISSUER, "aud": SERVER, "sub": "alice", "client_id": "agent", "jti": "t", "scope": "",
        "iat": now - 1, "exp": now + 600,
    });
    Key::for_tests("ES256").unwrap().token(&Map::new(), &claims).unwrap()
}

fn serve(policy: &Value, upstream: &str, change: impl FnOnce(&mut Options)) -> (Serving, Receiver<Told>) {
    let (told, heard) = channel();
    let upstreams = vec![Upstream { server: None, url: upstream.parse().unwrap() }];
    let mut options = Options::new(0, upstreams, move |what| drop(told.send(what)));
    change(&mut options);
    (Serving::start(Served::of(policy).unwrap(), options).unwrap(), heard)
}

fn call(serving: &Serving, tool: &str) -> Request {
    let body =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool, "arguments": {} } });
    Request::post(format!("http://{}/mcp", serving.address()), body).bearer(&token())
}

/// An upstream that a test writes byte by byte: each connection is handed over once its request has come.
fn by_hand(answer: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    spawn(move || {
        for socket in listener.incoming() {
            let (mut socket, answer) = (socket.unwrap(), Arc::clone(&answer));
            spawn(move || {
                let (mut request, mut buffer) = (Vec::new(), [0; 64 << 10]);
                loop {
                    let Ok(size @ 1..) = socket.read(&mut buffer) else { return };
                    request.extend(&buffer[..size]);
                    let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                    if body.len() >= length.unwrap_or(0) {
                        break;
                    }
                }
                answer(socket);
            });
        }
    });
    url
}

const EVENTS: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

fn chunk(socket: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    socket.write_all(format!("{:x}\r\n", bytes.len()).as_bytes())?;
    socket.write_all(bytes)?;
    socket.write_all(b"\r\n")
}

/// A client that reads by hand.
fn open(serving: &Serving) -> TcpStream {
    let mut socket = TcpStream::connect(serving.address()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let body =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "echo", "arguments": {} } });
    let body = body.to_string();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\ncontent-length: {}\r\n\r\n{body}",
        token(),
        body.len()
    );
    socket.write_all(head.as_bytes()).unwrap();
    socket
}

fn read_until(socket: &mut TcpStream, wanted: &str) -> String {
    let (mut got, mut buffer) = (String::new(), [0; 4096]);
    while !got.contains(wanted) {
        let size = socket.read(&mut buffer).unwrap();
        assert!(size > 0, "it ended after {got}");
        got.push_str(&String::from_utf8_lossy(&buffer[..size]));
    }
    got
}

#[test]
fn an_allowed_call_passes_and_others_are_refused_and_told() {
    let server = McpServer::start("test").unwrap();
    let (serving, told) = serve(&policy(&json!({ "echo": { "scope": [] } })), &server.url(), |_| {});
    let initialize = json!({
        "jsonrpc": "2.0", "id": 0, "method": "initialize",
        "params": { "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "0" } },
    });
    let url = format!("http://{}/mcp", serving.address());
    let opened = send(&Request::post(&url, initialize).bearer(&token())).unwrap();
    let session = opened.header("mcp-session-id").expect("a session").to_owned();
    let in_session =
        |request: Request| request.with("mcp-session-id", &session).with("mcp-protocol-version", "2025-11-25");
    let echoed = send(&in_session(call(&serving, "echo"))).unwrap();
    assert_eq!(
        (echoed.status, echoed.message().unwrap()["result"]["content"][0]["text"].as_str()),
        (200, Some("Echo: "))
    );
    let before = server.requests();
    assert_eq!(send(&in_session(call(&serving, "show-token"))).unwrap().status, 403);
    assert_eq!(send(&Request::post(&url, "{}")).unwrap().status, 401);
    assert_eq!(server.requests(), before);
    // The client may have its answer a moment earlier.
    let mut reasons = Vec::new();
    while reasons.len() < 4 {
        if let Told::Ended(way) = told.recv_timeout(Duration::from_secs(5)).unwrap() {
            let record: Value = serde_json::from_slice(&way.record).unwrap();
            reasons.push(record["reason"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(reasons, ["permitted", "permitted", "no_rule", "token_missing"]);
    let about =
        send(&Request::get(format!("http://{}/.well-known/oauth-protected-resource/mcp", serving.address()))).unwrap();
    assert_eq!(about.message().unwrap()["resource"], SERVER);
}

/// The head at once, each event when it comes, the client's going at once.
#[test]
fn events_pass_as_they_come_and_a_client_that_goes_is_noticed() {
    let gone = Arc::new(AtomicUsize::new(0));
    let noticed = Arc::clone(&gone);
    let (has_head, head_is_there) = channel();
    let head_is_there = Mutex::new(head_is_there);
    let upstream = by_hand(move |mut socket| {
        socket.write_all(EVENTS).unwrap();
        // Nothing follows before the client has the head.
        head_is_there.lock().unwrap().recv().unwrap();
        chunk(&mut socket, b"data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\n").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        if matches!(socket.read(&mut [0; 16]), Ok(0) | Err(_)) {
            noticed.fetch_add(1, Ordering::Relaxed);
        }
    });
    let (serving, _told) = serve(&policy(&json!({ "echo": { "scope": [] } })), &upstream, |_| {});
    let mut client = open(&serving);
    let head = read_until(&mut client, "\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200") && !head.contains("notifications/message"), "{head}");
    has_head.send(()).unwrap();
    read_until(&mut client, "notifications/message");
    assert_eq!(gone.load(Ordering::Relaxed), 0);
    drop(client);
    let begin = Instant::now();
    while gone.load(Ordering::Relaxed) == 0 || serving.counts().unwrap().streams > 0 {
        assert!(begin.elapsed() < Duration::from_secs(5), "nobody noticed");
        sleep(Duration::from_millis(10));
    }
}

/// A client that does not read stops the server that sends, and nothing piles up in between.
#[test]
fn a_slow_client_slows_the_server_down() {
    const MOST: usize = 64 << 20;
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let upstream = by_hand(move |mut socket| {
        let event = format!("data: {}\n\n", "x".repeat(60_000));
        let _ = socket.write_all(EVENTS);
        socket.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
        while counter.load(Ordering::Relaxed) < MOST && chunk(&mut socket, event.as_bytes()).is_ok() {
            counter.fetch_add(event.len(), Ordering::Relaxed);
        }
    });
    let (serving, _told) = serve(&policy(&json!({ "echo": { "scope": [] } })), &upstream, |_| {});
    let mut client = open(&serving);
    read_until(&mut client, "\r\n\r\n");
    // Until it has stopped: the window, and what the sockets of both sides hold.
    let mut last = 0;
    loop {
        sleep(Duration::from_millis(500));
        let now = sent.load(Ordering::Relaxed);
        if now == last {
            break;
        }
        last = now;
    }
    assert!(last < MOST / 2, "{last} bytes were taken from the server, and the client has read none");
    // It goes on as the client does.
    let mut buffer = vec![0; 1 << 20];
    let mut read = 0;
    while read < last + (4 << 20) {
        read += client.read(&mut buffer).unwrap();
    }
    assert!(sent.load(Ordering::Relaxed) > last);
}

#[test]
fn a_policy_is_replaced_at_once_and_a_faulty_one_changes_nothing() {
    let server = McpServer::start("test").unwrap();
    let (serving, _told) = serve(&policy(&json!({ "echo": { "scope": [] } })), &server.url(), |_| {});
    let reason = |tool: &str| send(&call(&serving, tool)).unwrap().reason().map(|reason| reason.to_string());
    let modern = |tool: &str| {
        let request = host_test::story::modern_request(&format!("http://{}/mcp", serving.address()), tool);
        send(&request.bearer(&token())).unwrap().status
    };
    assert_eq!((modern("echo"), modern("show-token")), (200, 403));
    let mut other = Served::of(&policy(&json!({ "show-token": { "scope": [] } }))).unwrap();
    serving.replace(other.clone()).unwrap();
    assert_eq!((modern("echo"), modern("show-token")), (403, 200));
    assert_eq!(reason("echo").as_deref(), Some("not_allowed"));
    other.text = other.text.replace("\"version\":1", "\"version\":7");
    let refused = serving.replace(other).unwrap_err();
    assert!(format!("{refused:#}").contains("version"), "{refused:#}");
    assert_eq!((modern("echo"), modern("show-token")), (403, 200));
}

#[test]
fn names_of_others_are_not_served() {
    let server = McpServer::start("test").unwrap();
    let (serving, _told) = serve(&policy(&json!({ "*": { "scope": [] } })), &server.url(), |options| {
        options.hosts.push("my-laptop".to_owned());
    });
    for (host, status) in [("my-laptop:80", 401), ("mcp.example.com", 401), ("evil.example", 421)] {
        let request = Request::post(format!("http://{}/mcp", serving.address()), "{}").with("host", host);
        assert_eq!(send(&request).unwrap().status, status, "{host}");
    }
    // A page of elsewhere is the filter's affair: the policy names no origin.
    let request = call(&serving, "echo").with("origin", "https://evil.example");
    assert_eq!(send(&request).unwrap().reason().as_deref(), Some("origin_not_allowed"));
}

/// Several servers, of which nothing but routes says which is meant (P34): they are what `serve` makes of hosts and paths.
#[test]
fn several_servers_are_told_apart() {
    let (one, two) = (McpServer::start("one").unwrap(), McpServer::start("two").unwrap());
    let mut policy = policy(&json!({}));
    let members = policy.as_object_mut().unwrap();
    members.retain(|name, _| !["resource", "baseline", "tools"].contains(&name.as_str()));
    let server = |resource: &str, tool: &str| json!({ "resource": resource, "baseline": [], "tools": { tool: { "scope": [] } } });
    let servers = json!({
        "one": server(SERVER, "echo"), "two": server("https://two.example.com/mcp", "echo"),
        "three": server("https://mcp.example.com/three", "show-token"),
    });
    members.insert("servers".to_owned(), servers);
    let (serving, _told) = serve(&policy, "http://127.0.0.1:1", |options| {
        let upstream = |name: &str, server: &McpServer| Upstream {
            server: Some(name.to_owned()),
            url: server.url().parse().unwrap(),
        };
        options.upstreams = vec![upstream("one", &one), upstream("two", &two), upstream("three", &two)];
    });
    let status = |host: &str, path: &str, tool: &str| {
        let request = host_test::story::modern_request(&format!("http://{}{path}", serving.address()), tool);
        send(&request.bearer(&token()).with("host", host)).unwrap().status
    };
    // The token is for the first; the path alone says which is meant where it can be no other.
    assert_eq!(status("mcp.example.com", "/mcp", "echo"), 200);
    assert_eq!(status("two.example.com", "/mcp", "echo"), 401);
    assert_eq!(status("localhost", "/three", "echo"), 401);
    assert_eq!(status("localhost", "/mcp", "echo"), 404);
    assert_eq!(status("mcp.example.com", "/none", "echo"), 404);
    assert_eq!((one.requests(), two.requests()), (1, 0));
}

#[test]
fn tls_and_http2_are_spoken() {
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let folder = host_test::paths::target().join("stacks").join(format!("tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (chain, key) = (folder.join("chain.pem"), folder.join("key.pem"));
    std::fs::write(&chain, signed.cert.pem()).unwrap();
    std::fs::write(&key, signed.signing_key.serialize_pem()).unwrap();
    let server = McpServer::start("test").unwrap();
    let (serving, _told) = serve(&policy(&json!({ "echo": { "scope": [] } })), &server.url(), |options| {
        options.tls = Some((chain.clone(), key));
    });
    let status = |arguments: &[&str]| {
        let url = format!("https://localhost:{}/mcp", serving.address().port());
        let mut curl = std::process::Command::new("curl");
        curl.args(["-sS", "-o", "/dev/null", "-w", "%{http_code} %{http_version}", "--cacert"]).arg(&chain);
        let output =
            curl.args(["--max-time", "20", "-X", "POST"]).args(arguments).arg(url).output().expect("curl is needed");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    assert_eq!(status(&["--http1.1"]), "401 1.1");
    assert_eq!(status(&["--http2"]), "401 2");
}

/// Half of the clients leave, at any moment: nothing of them stays, and what was minted is taken back.
#[test]
fn nothing_stays_of_clients_that_leave() {
    const CONNECTIONS: usize = 100;
    const EACH: usize = 100;
    let server = McpServer::start("test").unwrap();
    let resource = Resource::new(&["use", "admin"], &["admin"]);
    let issuer = AuthorizationServer::start(0, BTreeMap::from([(SERVER.to_owned(), resource)]), 60).unwrap();
    let at = |path: &str| format!("{}{path}", issuer.issuer());
    let policy = json!({
        "version": 1, "resource": SERVER, "baseline": [],
        "issuers": {
            issuer.issuer(): { "jwks": { "cluster": "keys", "url": at("/jwks") }, "algorithms": ["ES256"] },
            ISSUER: { "keys": { "keys": [Key::for_tests("ES256").unwrap().public()] }, "algorithms": ["ES256"] },
        },
        "token_service": {
            "issuer": issuer.issuer(), "cluster": "tokens", "token": at("/token"), "revoke": at("/token/revocation"),
            "client": { "id": "step-up-filter", "auth": "cluster" },
        },
        "limits": { "exchanges": 100, "exchanges_per_caller": 100, "exchange_rate": 100_000 },
        "tools": {
            "echo": { "scope": [] },
            "show-token": { "step_up": "exchange", "scope": "admin", "ttl": "60s", "may_elevate": { "client": ["mcp-client"] } },
        },
    });
    let (serving, _told) = serve(&policy, &server.url(), |options| {
        let credential = FILTER_CREDENTIAL.to_owned();
        options.credentials = BTreeMap::from([("tokens".to_owned(), credential)]);
    });
    let caller = Arc::new(granted(&issuer.issuer(), SERVER, "use").unwrap());
    let address = serving.address();
    let before = resident();
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|client| {
            let caller = Arc::clone(&caller);
            spawn(move || {
                let mut socket = None;
                let mut answered = 0;
                for at in 0..EACH {
                    let tool = if at % 5 == 0 { "show-token" } else { "echo" };
                    let connection = socket.get_or_insert_with(|| TcpStream::connect(address).unwrap());
                    connection.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                    connection.write_all(&modern(tool, &caller)).unwrap();
                    if (client + at) % 2 == 0 {
                        sleep(Duration::from_millis((client * 7 + at * 13) as u64 % 12));
                        socket = None;
                    } else {
                        assert!(read_until(connection, "\r\n\r\n").starts_with("HTTP/1.1 200"), "{tool}");
                        // The rest of it belongs to this answer; a new connection is simpler than to read it.
                        socket = None;
                        answered += 1;
                    }
                }
                answered
            })
        })
        .collect();
    let answered: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    let begin = Instant::now();
    loop {
        let (counts, books) = (serving.counts().unwrap(), issuer.books());
        if counts.streams == 0 && counts.calls == 0 && books.minted == books.revoked.len() {
            break;
        }
        let (minted, revoked) = (books.minted, books.revoked.len());
        let left = format!("{} streams, {} calls; {minted} minted, {revoked} revoked", counts.streams, counts.calls);
        assert!(begin.elapsed() < Duration::from_secs(30), "{left}");
        sleep(Duration::from_millis(50));
    }
    let (minted, grown) = (issuer.books().minted, resident().saturating_sub(before));
    eprintln!("{answered} answered, {minted} minted and revoked, {grown} KiB more");
    assert_eq!(answered, CONNECTIONS * EACH / 2);
    assert!(minted >= CONNECTIONS * EACH / 10, "{minted}");
    // Shared with the other tests of this process; a leak of a KiB for each request would be ten thousand.
    assert!(grown < 48 << 10, "{grown} KiB more");
}

/// A call of revision 2026-07-28, as bytes.
fn modern(tool: &str, token: &str) -> Vec<u8> {
    let body = host_test::story::modern_call(tool).to_string();
    format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\nmcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\n\
         mcp-name: {tool}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// KiB of this process in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The command: what it says, a change of its file, SIGHUP, its end.
#[test]
fn the_command_reads_its_policy_again_and_ends_when_told() {
    let server = McpServer::start("test").unwrap();
    let folder = host_test::paths::target().join("stacks").join(format!("serve-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("policy.yaml");
    std::fs::write(&file, policy(&json!({ "echo": { "scope": [] } })).to_string()).unwrap();
    let port = host_test::process::free_port().unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_stepup"));
    command.arg("serve").arg(&file).args(["--upstream", &server.url(), "--listen", &format!("127.0.0.1:{port}")]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (said, shown) = (lines(child.stderr.take().unwrap()), lines(child.stdout.take().unwrap()));
    let wait = |lines: &Receiver<String>, wanted: &str| loop {
        let line = lines.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("never said: {wanted}"));
        if line.contains(wanted) {
            return line;
        }
    };
    wait(&said, &format!("http://127.0.0.1:{port}/mcp serves {SERVER}"));
    let status = |tool: &str| {
        let request = host_test::story::modern_request(&format!("http://127.0.0.1:{port}/mcp"), tool);
        send(&request.bearer(&token())).unwrap().status
    };
    assert_eq!((status("echo"), status("get-env")), (200, 403));
    let line = wait(&shown, "permit");
    assert!(line.contains("tools/call echo by alice via agent (permitted)"), "{line}");
    assert!(wait(&shown, "deny").contains("tools/call get-env by alice via agent (no_rule 403)"));
    // A file that changes.
    std::fs::write(&file, policy(&json!({ "get-env": { "scope": [] } })).to_string()).unwrap();
    wait(&said, "is in force");
    assert_eq!((status("echo"), status("get-env")), (403, 200));
    // A faulty one.
    std::fs::write(&file, "version: 7\n").unwrap();
    wait(&said, "the policy before stays in force");
    assert_eq!((status("echo"), status("get-env")), (403, 200));
    let signal = |name: &str| {
        let done = std::process::Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
        assert!(done.success());
    };
    signal("-HUP");
    wait(&said, "the policy before stays in force");
    signal("-TERM");
    assert!(child.wait().unwrap().success());
}

/// What a process writes, line by line.
fn lines(from: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (line, lines) = channel();
    spawn(move || {
        use std::io::BufRead as _;
        for text in std::io::BufReader::new(from).lines().map_while(Result::ok) {
            if line.send(text).is_err() {
                return;
            }
        }
    });
    lines
}
