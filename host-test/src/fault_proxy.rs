//! A proxy in front of the authorization server that misbehaves as it is told and keeps the books: what was minted,
//! what the filter was given of it, and what it took back.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use crate::stack::{Answer, Request, encode, send};

/// Requests of a filter are small.
const MAX_BODY: usize = 1024 * 1024;

/// A running proxy, on loopback. Dropping it ends it.
#[derive(Debug)]
pub struct FaultProxy {
    port: u16,
    shared: Arc<Shared>,
    listener: Mutex<Option<JoinHandle<()>>>,
}

/// What can be scripted. Requests to any other path pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// `/token`
    Token,
    /// `/token/revocation`
    Revocation,
}

/// What the proxy does with a request: the answer to give, or `None` to close the connection without one.
#[derive(Clone)]
pub struct Behaviour(Arc<Act>);

type Act = dyn Fn(&Asked<'_>) -> Option<Answer> + Send + Sync;

/// A request under way.
#[derive(Debug)]
pub struct Asked<'p> {
    path: String,
    headers: Vec<(String, String)>,
    body: String,
    minted: RefCell<Vec<String>>,
    shared: &'p Shared,
}

/// What has happened so far.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// `access_token` of every answer of the real server.
    pub minted: Vec<String>,
    /// `access_token` and `refresh_token` of every answer that went back through the proxy, as it left the proxy.
    pub given: Vec<String>,
    /// What was minted and never left the proxy.
    pub swallowed: Vec<String>,
    /// Every request for revocation.
    pub revocations: Vec<Revocation>,
}

/// A request for revocation.
#[derive(Clone, Debug)]
pub struct Revocation {
    /// The token.
    pub token: String,
    /// `token_type_hint`
    pub hint: Option<String>,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
}

#[derive(Debug)]
struct Shared {
    /// The real server.
    origin: String,
    script: Mutex<BTreeMap<Endpoint, Behaviour>>,
    books: Mutex<Books>,
    connections: Mutex<Vec<TcpStream>>,
    ended: AtomicBool,
}

impl FaultProxy {
    /// Starts on `port`, in front of the server at `origin`, and lets everything pass.
    pub fn start(port: u16, origin: String) -> Result<FaultProxy> {
        let shared = Arc::new(Shared {
            origin,
            script: Mutex::default(),
            books: Mutex::default(),
            connections: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let proxy = FaultProxy { port, shared, listener: Mutex::default() };
        proxy.listen()?;
        Ok(proxy)
    }

    /// From now on, requests to this endpoint meet this.
    pub fn set(&self, endpoint: Endpoint, behaviour: Behaviour) {
        locked(&self.shared.script).insert(endpoint, behaviour);
    }

    /// Everything passes again.
    pub fn pass(&self) {
        locked(&self.shared.script).clear();
    }

    /// Refuses connections, and cuts those there are, until [`FaultProxy::listen`].
    pub fn refuse_connections(&self) {
        let Some(listener) = locked(&self.listener).take() else { return };
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the listener, which then sees that it has ended.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let _ = listener.join();
        for connection in locked(&self.shared.connections).drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// Accepts connections (again).
    pub fn listen(&self) -> Result<()> {
        let mut place = locked(&self.listener);
        if place.is_none() {
            let listener = TcpListener::bind(("127.0.0.1", self.port))?;
            self.shared.ended.store(false, Ordering::SeqCst);
            let shared = Arc::clone(&self.shared);
            *place = Some(thread::spawn(move || accept(&listener, &shared)));
        }
        Ok(())
    }

    /// What has happened so far.
    pub fn books(&self) -> Books {
        locked(&self.shared.books).clone()
    }

    /// Begins new books.
    pub fn clear_books(&self) {
        *locked(&self.shared.books) = Books::default();
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.refuse_connections();
    }
}

impl Books {
    /// The tokens that were asked to be revoked, whatever the answer was.
    pub fn asked_back(&self) -> BTreeSet<&str> {
        self.revocations.iter().map(|revocation| revocation.token.as_str()).collect()
    }

    /// The tokens whose revocation was confirmed.
    pub fn revoked(&self) -> BTreeSet<&str> {
        let confirmed = self.revocations.iter().filter(|revocation| revocation.status == Some(200));
        confirmed.map(|revocation| revocation.token.as_str()).collect()
    }
}

impl Endpoint {
    fn of(path: &str) -> Option<Endpoint> {
        match path {
            "/token" => Some(Endpoint::Token),
            "/token/revocation" => Some(Endpoint::Revocation),
            _ => None,
        }
    }
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Behaviour")
    }
}

impl Behaviour {
    /// Anything else than the ones below.
    pub fn new(act: impl Fn(&Asked<'_>) -> Option<Answer> + Send + Sync + 'static) -> Behaviour {
        Behaviour(Arc::new(act))
    }

    /// As if there were no proxy.
    pub fn pass() -> Behaviour {
        Behaviour::new(|asked| asked.forward())
    }

    /// Closes the connection; the server never hears of the request.
    pub fn close() -> Behaviour {
        Behaviour::new(|_| None)
    }

    /// The server hears of the request, and nobody of its answer.
    pub fn swallow() -> Behaviour {
        Behaviour::new(|asked| asked.forward().and(None))
    }

    /// The request waits before it is forwarded.
    pub fn late_request(delay: Duration) -> Behaviour {
        Behaviour::new(move |asked| {
            sleep(delay);
            asked.forward()
        })
    }

    /// The answer waits: what it brings exists by then.
    pub fn late_answer(delay: Duration) -> Behaviour {
        Behaviour::new(move |asked| {
            let answer = asked.forward();
            sleep(delay);
            answer
        })
    }

    /// This instead of asking the server.
    pub fn answer(status: u16, body: impl ToString) -> Behaviour {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let answer = Answer { status, headers, body: body.to_string() };
        Behaviour::new(move |_| Some(answer.clone()))
    }

    /// The server is asked for something else.
    pub fn ask(field: &'static str, value: impl Into<String>) -> Behaviour {
        let value = value.into();
        Behaviour::new(move |asked| asked.forward_with(field, &value))
    }

    /// The JSON of the answer is changed on its way back.
    pub fn rewrite(change: impl Fn(&mut Value) + Send + Sync + 'static) -> Behaviour {
        Behaviour::new(move |asked| {
            let mut answer = asked.forward()?;
            let mut json = answer.message()?;
            change(&mut json);
            answer.body = json.to_string();
            Some(answer)
        })
    }
}

impl Asked<'_> {
    /// A field of the form.
    pub fn field(&self, name: &str) -> Option<String> {
        self.form().into_iter().find(|(field, _)| field == name).map(|(_, value)| value)
    }

    /// A header of the request.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Asks the real server.
    pub fn forward(&self) -> Option<Answer> {
        self.forward_body(&self.body)
    }

    /// Asks the real server with one field replaced.
    pub fn forward_with(&self, field: &str, value: &str) -> Option<Answer> {
        let mut form = self.form();
        form.iter_mut().filter(|(name, _)| name == field).for_each(|(_, old)| value.clone_into(old));
        let pairs: Vec<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.forward_body(&encode(&pairs))
    }

    fn forward_body(&self, body: &str) -> Option<Answer> {
        let headers = self.headers.iter().filter(|(name, _)| !is_ours(name)).cloned().collect();
        let body = Some(body.to_owned());
        let answer =
            send(&Request { url: format!("{}{}", self.shared.origin, self.path), method: "POST", body, headers })
                .ok()?;
        if answer.status == 200 && Endpoint::of(&self.path) == Some(Endpoint::Token) {
            self.minted.borrow_mut().extend(tokens(&answer, &["access_token"]));
        }
        Some(answer)
    }

    fn form(&self) -> Vec<(String, String)> {
        form_urlencoded::parse(self.body.as_bytes()).into_owned().collect()
    }

    fn answer(&self) -> Option<Answer> {
        let endpoint = Endpoint::of(&self.path);
        let scripted = endpoint.and_then(|endpoint| locked(&self.shared.script).get(&endpoint).cloned());
        let answer = scripted.unwrap_or_else(Behaviour::pass).0(self);
        let mut books = locked(&self.shared.books);
        match endpoint {
            Some(Endpoint::Token) => {
                let given = answer.as_ref().map(|answer| tokens(answer, &["access_token", "refresh_token"]));
                let (given, minted) = (given.unwrap_or_default(), self.minted.take());
                books.swallowed.extend(minted.iter().filter(|token| !given.contains(token)).cloned());
                books.minted.extend(minted);
                books.given.extend(given);
            }
            Some(Endpoint::Revocation) => books.revocations.push(Revocation {
                token: self.field("token").unwrap_or_default(),
                hint: self.field("token_type_hint"),
                status: answer.as_ref().map(|answer| answer.status),
            }),
            None => {}
        }
        drop(books);
        answer
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.ended.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        if let Ok(connection) = stream.try_clone() {
            let mut connections = locked(&shared.connections);
            connections.retain(|other| other.peer_addr().is_ok());
            connections.push(connection);
        }
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            // A connection that breaks is what this proxy is for.
            let _ = serve(&stream, &shared);
            let _ = stream.shutdown(Shutdown::Both);
        });
    }
}

/// One connection, request after request.
fn serve(mut stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(asked) = read(&mut reader, shared)? {
        let Some(answer) = asked.answer() else { return Ok(()) };
        let mut head = format!("HTTP/1.1 {} -\r\ncontent-length: {}\r\n", answer.status, answer.body.len());
        for (name, value) in answer.headers.iter().filter(|(name, _)| !is_ours(name)) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{head}\r\n{}", answer.body).as_bytes())?;
    }
    Ok(())
}

/// A request with `content-length`, as Envoy sends them for a filter. `None` at the end of the connection.
fn read<'p>(reader: &mut BufReader<&TcpStream>, shared: &'p Shared) -> io::Result<Option<Asked<'p>>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
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
    let length = length.and_then(Result::ok).filter(|length| *length <= MAX_BODY).ok_or(io::ErrorKind::InvalidData)?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8(body).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(Some(Asked { path, headers, body, minted: RefCell::default(), shared }))
}

/// Headers that belong to a connection, or that are written anew.
fn is_ours(name: &str) -> bool {
    ["host", "connection", "keep-alive", "content-length", "transfer-encoding"].contains(&name)
}

fn tokens(answer: &Answer, fields: &[&str]) -> Vec<String> {
    let json = answer.message().unwrap_or_default();
    let texts = fields.iter().filter_map(|field| json.get(field)?.as_str());
    texts.filter(|text| !text.is_empty()).map(str::to_owned).collect()
}

/// A panic elsewhere does not spoil the books.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
