//! `KEYCLOAK_RECORD=FILE`: what Keycloak was asked, and what it answered, as lines of JSON, raw material for fixtures.
//!
//! A line is `{"trial", "by", "at", "path", "client", "form", "status", "type", "body"}`; `by` is `filter`, `server` (the MCP server) or
//! `trial`. A trial has twenty lines at most: what follows repeats itself. Tokens stand in it as `@1`, `@2`, ...; before the
//! first line that has one stands what it says: `{"token": 1, "header": {..}, "claims": {..}}`, so that a replay can sign it anew.
//! `at` is the time of the answer, in seconds, for the dates in the claims. Addresses are those of [`Names`]; no secret is in it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use regex::{Captures, Regex};
use serde_json::{Map, Value, json};

/// A proxy in front of Keycloak that passes everything, and writes.
#[derive(Debug)]
pub struct Recorder {
    port: u16,
    book: Arc<Mutex<Book>>,
}

/// What is called otherwise in every run: written, and what is written in its place.
pub type Names = Vec<(String, String)>;

#[derive(Debug)]
struct Book {
    file: File,
    trial: String,
    names: Names,
    tokens: BTreeMap<String, usize>,
    /// Of this trial.
    lines: usize,
}

/// A request on its way.
struct Asked {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
}

/// What came back.
struct Answered {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// Lines of a trial.
const MOST: usize = 20;

const RECORDED: [&str; 4] = ["/token", "/revoke", "/token/introspect", "/certs"];

impl Recorder {
    /// One in front of `origin`, if it is wanted.
    pub fn wanted(origin: &str) -> Result<Option<Recorder>> {
        let Some(path) = std::env::var_os("KEYCLOAK_RECORD") else { return Ok(None) };
        // Cargo runs tests elsewhere than it was called.
        let path = host_test::paths::workspace().join(path);
        let file = File::create(&path).with_context(|| format!("KEYCLOAK_RECORD: {}", path.display()))?;
        let (trial, names, tokens, lines) = Default::default();
        let book = Arc::new(Mutex::new(Book { file, trial, names, tokens, lines }));
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let (shared, origin) = (Arc::clone(&book), origin.to_owned());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (book, origin) = (Arc::clone(&shared), origin.clone());
                thread::spawn(move || {
                    if let Err(error) = serve(&stream, &origin, &book) {
                        eprintln!("the recorder: {error:#}");
                    }
                });
            }
        });
        Ok(Some(Recorder { port, book }))
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on it is about this trial.
    pub fn begin(&self, trial: &str, names: Names) {
        let mut book = locked(&self.book);
        trial.clone_into(&mut book.trial);
        book.lines = 0;
        book.names = names;
    }
}

/// One connection, request after request.
fn serve(mut stream: &TcpStream, origin: &str, book: &Mutex<Book>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(asked) = read(&mut reader)? {
        let answered = forward(&asked, origin)?;
        locked(book).write(&asked, &answered)?;
        let mut head = format!("HTTP/1.1 {} -\r\ncontent-length: {}\r\n", answered.status, answered.body.len());
        for (name, value) in &answered.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(&[format!("{head}\r\n").as_bytes(), &answered.body].concat())?;
    }
    Ok(())
}

/// `None` at the end of the connection. Nobody here sends a body without its length.
fn read(reader: &mut BufReader<&TcpStream>) -> Result<Option<Asked>> {
    let mut line = String::new();
    // Whoever leaves may do so in any way.
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            None => break,
        }
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").map(|(_, value)| value.parse::<usize>());
    let mut body = vec![0; length.transpose()?.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    Ok(Some(Asked { method, path, headers, body: String::from_utf8(body)? }))
}

fn forward(asked: &Asked, origin: &str) -> Result<Answered> {
    let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0);
    let agent: ureq::Agent = config.allow_non_standard_methods(true).build().into();
    let mut builder =
        ureq::http::Request::builder().method(asked.method.as_str()).uri(format!("{origin}{}", asked.path));
    for (name, value) in asked.headers.iter().filter(|(name, _)| !is_ours(name)) {
        builder = builder.header(name, value);
    }
    let mut response = match asked.method.as_str() {
        "GET" => agent.run(builder.body(())?)?,
        _ => agent.run(builder.body(asked.body.as_str())?)?,
    };
    let headers = response.headers().iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let headers = headers.filter(|(name, _)| !is_ours(name)).collect();
    Ok(Answered { status: response.status().as_u16(), headers, body: response.body_mut().read_to_vec()? })
}

/// Headers that belong to a connection, or that are written anew.
fn is_ours(name: &str) -> bool {
    ["connection", "keep-alive", "content-length", "transfer-encoding", "content-encoding", "accept-encoding"]
        .contains(&name)
}

impl Book {
    fn write(&mut self, asked: &Asked, answered: &Answered) -> Result<()> {
        let Some((_, endpoint)) = asked.path.split_once("/protocol/openid-connect") else { return Ok(()) };
        if !RECORDED.contains(&endpoint) || asked.path.starts_with("/realms/master/") {
            return Ok(());
        }
        self.lines += 1;
        if self.lines > MOST {
            return Ok(());
        }
        let mut form = Map::new();
        for (name, value) in form_urlencoded::parse(asked.body.as_bytes()) {
            if !["client_secret", "password", "code", "code_verifier"].contains(&&*name) {
                form.insert(name.into_owned(), json!(value));
            }
        }
        let header = |headers: &[(String, String)], wanted: &str| {
            headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone())
        };
        let client = header(&asked.headers, "authorization").and_then(|value| client_of(&value));
        let client = client.or_else(|| form.get("client_id")?.as_str().map(str::to_owned));
        let by = match header(&asked.headers, "user-agent").unwrap_or_default() {
            agent if agent.starts_with("ureq") => "trial",
            agent if agent.starts_with("Python") => "server",
            _ => "filter",
        };
        let text = String::from_utf8_lossy(&answered.body);
        let body = serde_json::from_str(&text).unwrap_or_else(|_| json!(text));
        let line = json!({
            "trial": self.trial, "by": by, "at": SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(), "path": asked.path,
            "client": client, "form": form, "status": answered.status, "type": header(&answered.headers, "content-type"),
            "body": body,
        });
        let line = self.numbered(&line.to_string())?;
        let line = self.named(&line);
        writeln!(self.file, "{line}")?;
        Ok(self.file.flush()?)
    }

    /// With numbers in place of tokens; what is new among those is written first.
    fn numbered(&mut self, line: &str) -> Result<String> {
        let jws = Regex::new(r"eyJ[\w-]+\.eyJ[\w-]+\.[\w-]+")?;
        let mut fresh = Vec::new();
        let line = jws.replace_all(line, |found: &Captures<'_>| {
            let (token, count) = (found[0].to_owned(), self.tokens.len());
            let number = *self.tokens.entry(token.clone()).or_insert_with(|| {
                fresh.push((count + 1, token));
                count + 1
            });
            format!("@{number}")
        });
        for (number, token) in fresh {
            let mut parts = token
                .split('.')
                .map(|part| -> Result<Value> { Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part)?)?) });
            let mut part = || parts.next().context("no part")?;
            let says = json!({ "token": number, "header": part().ok(), "claims": part().ok() }).to_string();
            let says = self.named(&says);
            writeln!(self.file, "{says}")?;
        }
        Ok(line.into_owned())
    }

    fn named(&self, line: &str) -> String {
        self.names.iter().fold(line.to_owned(), |line, (ours, everybodys)| line.replace(ours, everybodys))
    }
}

/// RFC 6749 2.3.1
fn client_of(authorization: &str) -> Option<String> {
    let pair = STANDARD.decode(authorization.strip_prefix("Basic ")?).ok()?;
    let pair = String::from_utf8(pair).ok()?;
    let id = format!("id={}", pair.split(':').next()?);
    form_urlencoded::parse(id.as_bytes()).next().map(|(_, id)| id.into_owned())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
