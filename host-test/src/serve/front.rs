//! The listener: HTTP/1.1 and HTTP/2, in the clear or under TLS, and the bodies of what is answered.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Turn, Poll, ready};

use anyhow::{Context as _, Result};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use simulated_proxy::{Client, Headers, StreamId};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::{oneshot, watch};
use tokio_rustls::TlsAcceptor;

use super::engine::{Message, Piece, ToClient, ToEngine};
use super::hosts::{self, Hosts, Name};
use super::outside::{Room, copy, is_for_one_hop};
use super::policy::Served;

/// What every connection shares.
pub(super) struct Front {
    pub engine: ToEngine,
    /// The policy in force: it says which server a path belongs to.
    pub policy: watch::Receiver<Arc<Served>>,
    pub hosts: Hosts,
    pub tls: Option<TlsAcceptor>,
}

type Answer = Response<Either<Full<Bytes>, Streamed>>;

impl Front {
    /// Takes connections until it is told to stop; then those that are there may finish what they are at.
    pub async fn run(self: Arc<Self>, listener: TcpListener, mut stop: oneshot::Receiver<()>) {
        let connections = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = &mut stop => break,
            };
            match accepted {
                Ok((socket, _)) => self.accept(socket, &connections),
                // Too many files are open, or the client has gone already: both pass.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            }
        }
        drop(listener);
        let patience = tokio::time::sleep(std::time::Duration::from_secs(1));
        tokio::select! {
            () = connections.shutdown() => {}
            () = patience => {}
        }
    }

    fn accept(self: &Arc<Self>, socket: TcpStream, connections: &GracefulShutdown) {
        let _ = socket.set_nodelay(true);
        let (front, watcher) = (Arc::clone(self), connections.watcher());
        tokio::spawn(async move {
            let scheme = if front.tls.is_some() { "https" } else { "http" };
            let service = {
                let front = Arc::clone(&front);
                service_fn(move |request| {
                    let front = Arc::clone(&front);
                    async move { Ok::<_, Infallible>(front.answer(request, scheme).await) }
                })
            };
            // With timers, heads that do not come are not waited for for ever.
            let mut builder = Builder::new(TokioExecutor::new());
            builder.http1().timer(TokioTimer::new());
            builder.http2().timer(TokioTimer::new());
            // A connection that breaks is the client's affair.
            match &front.tls {
                None => drop(watcher.watch(builder.serve_connection(TokioIo::new(socket), service).into_owned()).await),
                Some(tls) => {
                    if let Ok(socket) = tls.accept(socket).await {
                        drop(watcher.watch(builder.serve_connection(TokioIo::new(socket), service).into_owned()).await);
                    }
                }
            }
        });
    }

    async fn answer(&self, request: Request<Incoming>, scheme: &str) -> Answer {
        let (head, body) = request.into_parts();
        let authority = authority(&head.uri, &head.headers);
        let policy = Arc::clone(&self.policy.borrow());
        let name = match self.hosts.check(authority.as_deref(), &policy) {
            Ok(name) => name,
            Err(why) => return own(StatusCode::MISDIRECTED_REQUEST, why),
        };
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut headers = Headers::of([(":method", head.method.as_str()), (":path", path), (":scheme", scheme)]);
        headers.add(b":authority", authority.as_deref().unwrap_or_default().as_bytes());
        for (name, value) in &head.headers {
            // The last is for the proxy to say, which has seen no certificate.
            if !matches!(name.as_str(), "host" | "x-forwarded-client-cert") {
                headers.add(name.as_str().as_bytes(), value.as_bytes());
            }
        }
        // What the routes of a proxy would say.
        let server = match name {
            Name::Ours => policy.server_at(None, path),
            Name::Servers if policy.needs_named_routes => {
                let host = authority.as_deref().and_then(hosts::host);
                policy.server_at(host.as_deref(), path)
            }
            // The filter finds out, by host and path.
            Name::Servers | Name::Any => None,
        };
        let way = server.map(|server| server.name.clone());
        let mut client = Client { headers, is_open: !body.is_end_stream(), ..Client::default() };
        if let Some(way) = &way {
            client.properties.insert(crate::backend::ROUTE_SERVER.to_owned(), way.as_bytes().to_vec());
        }
        self.ask(client, way, body).await.unwrap_or_else(|_| own(StatusCode::BAD_GATEWAY, ENDED))
    }

    async fn ask(&self, client: Client, way: Option<String>, body: Incoming) -> Result<Answer> {
        let (pieces, mut given) = unbounded_channel();
        let room = Arc::new(Room::default());
        let (told, stream) = oneshot::channel();
        let (is_open, to) = (client.is_open, ToClient { pieces, room: Arc::clone(&room) });
        self.engine.send(Message::Open { client, way, to, stream: told }).ok().context(ENDED)?;
        let stream = stream.await?;
        // From here on, a client that goes takes this future, or the body, with it.
        let mut stay = Stay { stream, engine: self.engine.clone(), is_over: false };
        if is_open {
            tokio::spawn(hand_over(body, stream, self.engine.clone()));
        }
        let head = match given.recv().await {
            Some(Piece::Head(head)) => head,
            _ => {
                stay.is_over = true;
                // The proxy has nothing to say, as one whose connection to the server broke in the middle of a head.
                return Ok(own(StatusCode::BAD_GATEWAY, "the request ended without an answer"));
            }
        };
        let mut answer = Response::builder().status(head.status());
        for (name, value) in &head.0 {
            if !name.starts_with(b":") && !is_for_one_hop(name) {
                answer = answer.header(HeaderName::from_bytes(name)?, HeaderValue::from_bytes(value)?);
            }
        }
        Ok(answer.body(Either::Right(Streamed { given, room, stay }))?)
    }
}

const ENDED: &str = "the filter has ended";

/// HTTP/1.1 says it in a header, HTTP/2 and absolute forms in the URL.
fn authority(uri: &Uri, headers: &http::HeaderMap) -> Option<String> {
    let own = uri.authority().map(ToString::to_string);
    own.or_else(|| headers.get("host").and_then(|host| host.to_str().ok()).map(str::to_owned))
}

fn own(status: StatusCode, text: &str) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(Bytes::from(format!("{text}\n")))));
    *answer.status_mut() = status;
    answer.headers_mut().insert("content-type", HeaderValue::from_static("text/plain"));
    answer
}

/// Hands a request's body over, no faster than the filter reads it.
async fn hand_over(mut body: Incoming, stream: StreamId, engine: ToEngine) {
    while let Some(frame) = body.frame().await {
        // What breaks off is told by whoever waits for the answer.
        let Ok(frame) = frame else { return };
        let message = match frame.into_data() {
            Ok(bytes) => {
                let (done, seen) = oneshot::channel();
                let sent = engine.send(Message::RequestData { stream, bytes: bytes.into(), end: false, done });
                if sent.is_err() || seen.await.is_err() {
                    return;
                }
                continue;
            }
            Err(frame) => {
                let mut trailers = Headers::default();
                copy(&frame.into_trailers().unwrap_or_default(), &mut trailers);
                Message::RequestTrailers { stream, trailers }
            }
        };
        let _ = engine.send(message);
        return;
    }
    let (done, _) = oneshot::channel();
    let _ = engine.send(Message::RequestData { stream, bytes: Vec::new(), end: true, done });
}

/// As long as this is there, so is the client.
struct Stay {
    stream: StreamId,
    engine: ToEngine,
    is_over: bool,
}

impl Drop for Stay {
    fn drop(&mut self) {
        if !self.is_over {
            let _ = self.engine.send(Message::Gone { stream: self.stream });
        }
    }
}

/// A response's body as the engine sends it.
pub(super) struct Streamed {
    given: UnboundedReceiver<Piece>,
    room: Arc<Room>,
    stay: Stay,
}

/// The stream broke off: the client is told by a reset, or by a connection that ends too early.
#[derive(Debug)]
pub(super) struct BrokenOff;

impl std::fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the response broke off")
    }
}

impl std::error::Error for BrokenOff {}

impl Body for Streamed {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(mut self: Pin<&mut Self>, turn: &mut Turn<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let piece = ready!(self.given.poll_recv(turn));
        Poll::Ready(match piece {
            Some(Piece::Data(bytes)) => {
                self.room.give(bytes.len());
                Some(Ok(Frame::data(bytes.into())))
            }
            Some(Piece::Trailers(trailers)) => {
                let pairs = trailers.0.iter().filter_map(|(name, value)| {
                    Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?))
                });
                Some(Ok(Frame::trailers(pairs.collect())))
            }
            Some(Piece::End) => {
                self.stay.is_over = true;
                None
            }
            None if self.stay.is_over => None,
            Some(Piece::Broken | Piece::Head(_)) | None => {
                self.stay.is_over = true;
                Some(Err(BrokenOff))
            }
        })
    }
}
