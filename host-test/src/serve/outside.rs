//! Requests to the servers behind, and the filter's own to token services and keys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use http::{HeaderName, HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use simulated_proxy::{CallAnswer, Headers, OutboundCall, StreamId, UpstreamRequest};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;

use super::engine::{Message, ToEngine};
use super::policy::Served;
use crate::https::{self, HttpsClient};

/// Of an answer to a call; Envoy buffers about as much.
const MOST_OF_A_CALL: usize = 1 << 20;

/// Bytes on their way to a client beyond which the server behind has to wait.
const WINDOW: usize = 256 << 10;

/// The way out.
pub(super) struct Outside {
    runtime: Handle,
    engine: ToEngine,
    client: HttpsClient,
    ways: Ways,
    clusters: BTreeMap<String, String>,
}

/// Where everything is.
pub(super) struct Ways {
    /// The servers: by the name in the policy, or, alone, for whichever.
    pub upstreams: Vec<Upstream>,
    /// They get the host that the client named.
    pub keep_host: bool,
    /// Clusters that are not where their URLs say.
    pub moved: BTreeMap<String, String>,
    /// The `authorization` that goes with calls to a cluster (what Envoy's `credential_injector` does).
    pub credentials: BTreeMap<String, String>,
}

/// A server behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Which one of the policy's; `None`: the only one.
    pub server: Option<String>,
    /// Where it is.
    pub url: Uri,
}

/// What is on its way to a client that has not been taken.
#[derive(Debug, Default)]
pub(super) struct Room {
    queued: AtomicUsize,
    taken: Notify,
}

impl Room {
    /// So many bytes more are on their way.
    pub fn take(&self, bytes: usize) {
        self.queued.fetch_add(bytes, Ordering::AcqRel);
    }

    /// They have arrived.
    pub fn give(&self, bytes: usize) {
        self.queued.fetch_sub(bytes, Ordering::AcqRel);
        self.taken.notify_one();
    }

    /// Waits until there is room for more.
    pub async fn wait(&self) {
        while self.queued.load(Ordering::Acquire) > WINDOW {
            self.taken.notified().await;
        }
    }
}

impl Outside {
    pub fn new(runtime: Handle, engine: ToEngine, ways: Ways, policy: &Served) -> Result<Outside> {
        let client = https::client()?;
        let mut outside = Outside { runtime, engine, client, ways, clusters: BTreeMap::new() };
        outside.route_by(policy)?;
        Ok(outside)
    }

    /// Where the clusters of this policy are. Every server of it must have its place.
    pub fn route_by(&mut self, policy: &Served) -> Result<()> {
        for server in &policy.servers {
            if self.upstream(Some(&server.name)).is_none() {
                bail!("nobody says where the server {0} is: add --upstream {0}=URL", server.name);
            }
        }
        for cluster in self.ways.credentials.keys().chain(self.ways.moved.keys()) {
            if !policy.clusters.contains_key(cluster) {
                bail!("something is said of the cluster {cluster}, which the policy does not have");
            }
        }
        self.clusters.clone_from(&policy.clusters);
        self.clusters.extend(self.ways.moved.clone());
        Ok(())
    }

    fn upstream(&self, server: Option<&str>) -> Option<&Upstream> {
        let of =
            |wanted: Option<&str>| self.ways.upstreams.iter().find(|upstream| upstream.server.as_deref() == wanted);
        server.and_then(|server| of(Some(server))).or_else(|| of(None))
    }

    /// Sends a call of the filter's; the answer is a message under that number. False: there is no such cluster.
    pub fn call(&self, number: u64, call: &OutboundCall) -> bool {
        let Some(origin) = self.clusters.get(&call.cluster) else { return false };
        let request = self.request(origin, call);
        let (client, engine, timeout) = (self.client.clone(), self.engine.clone(), call.timeout);
        self.runtime.spawn(async move {
            let answered = async {
                let response = client.request(request?).await?;
                collected(response).await
            };
            let answer = match timeout {
                0 => answered.await,
                _ => match tokio::time::timeout(Duration::from_millis(timeout), answered).await {
                    Ok(answer) => answer,
                    Err(_) => Ok(own("504", "upstream request timeout")),
                },
            };
            let answer = answer.unwrap_or_else(|_| own("503", "upstream connect error"));
            let _ = engine.send(Message::Called { number, answer });
        });
        true
    }

    fn request(&self, origin: &str, call: &OutboundCall) -> Result<Request<Full<Bytes>>> {
        let mut headers = call.headers.clone();
        if let Some(credential) = self.ways.credentials.get(&call.cluster) {
            headers.replace(b"authorization", credential.as_bytes());
        }
        let path = headers.text(":path").unwrap_or_default();
        request(&format!("{origin}{path}"), &headers, call.body.clone(), true)
    }

    /// Sends a request to the server behind; its answer comes as messages about that stream.
    pub fn forward(
        &self,
        stream: StreamId,
        server: Option<&str>,
        request: UpstreamRequest,
        room: Arc<Room>,
    ) -> Result<AbortHandle> {
        let upstream = self.upstream(server).with_context(|| format!("nobody says where {server:?} is"))?;
        let sent = request.headers.text(":path").unwrap_or_default();
        // Its own path, if it is said; the query is the client's.
        let path = match (upstream.url.path(), sent.split_once('?')) {
            ("" | "/", _) => sent,
            (own, None) => own.to_owned(),
            (own, Some((_, query))) => format!("{own}?{query}"),
        };
        let (scheme, authority) =
            upstream.url.scheme_str().zip(upstream.url.authority()).context("an upstream without host")?;
        let request = self::request(
            &format!("{scheme}://{authority}{path}"),
            &request.headers,
            request.body,
            self.ways.keep_host,
        )?;
        let (client, engine) = (self.client.clone(), self.engine.clone());
        let task = self.runtime.spawn(async move {
            if relay(client.request(request).await, stream, &engine, &room).await.is_err() {
                let _ = engine.send(Message::Broken { stream });
            }
        });
        Ok(task.abort_handle())
    }
}

/// Hands on an answer piece by piece, never faster than the client takes it.
async fn relay(
    response: Result<Response<Incoming>, hyper_util::client::legacy::Error>,
    stream: StreamId,
    engine: &ToEngine,
    room: &Room,
) -> Result<()> {
    let over = |_| anyhow!("the engine has ended");
    let (head, mut body) = response?.into_parts();
    let mut headers = Headers::of([(":status", head.status.as_str())]);
    copy(&head.headers, &mut headers);
    let end = body.is_end_stream();
    engine.send(Message::Head { stream, headers, end }).map_err(over)?;
    if end {
        return Ok(());
    }
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(bytes) => {
                let (done, seen) = oneshot::channel();
                engine.send(Message::Data { stream, bytes: bytes.into(), end: false, done }).map_err(over)?;
                seen.await?;
                room.wait().await;
            }
            Err(frame) => {
                let mut trailers = Headers::default();
                copy(&frame.into_trailers().map_err(|_| anyhow!("a frame of another kind"))?, &mut trailers);
                return engine.send(Message::Trailers { stream, trailers }).map_err(over);
            }
        }
    }
    let (done, _) = oneshot::channel();
    engine.send(Message::Data { stream, bytes: Vec::new(), end: true, done }).map_err(over)
}

async fn collected(response: Response<Incoming>) -> Result<CallAnswer> {
    let (head, body) = response.into_parts();
    let mut headers = Headers::of([(":status", head.status.as_str())]);
    copy(&head.headers, &mut headers);
    let body = Limited::new(body, MOST_OF_A_CALL).collect().await.map_err(|error| anyhow!("{error}"))?;
    Ok(CallAnswer { headers, body: body.to_bytes().into() })
}

/// What a proxy says of its own.
fn own(status: &str, text: &str) -> CallAnswer {
    CallAnswer { headers: Headers::of([(":status", status), ("content-type", "text/plain")]), body: text.into() }
}

/// A request to that URL. Its host is the URL's, or the one it has.
fn request(url: &str, headers: &Headers, body: Vec<u8>, keep_host: bool) -> Result<Request<Full<Bytes>>> {
    let method = headers.text(":method").context("a request without a method")?;
    let mut request = Request::builder().method(method.as_str()).uri(url).body(Full::new(Bytes::from(body)))?;
    if let Some(host) = headers.get(b":authority").filter(|_| keep_host) {
        request.headers_mut().insert("host", HeaderValue::from_bytes(&host)?);
    }
    for (name, value) in &headers.0 {
        if is_for_one_hop(name) || name.starts_with(b":") || matches!(name.as_slice(), b"host" | b"content-length") {
            continue;
        }
        request.headers_mut().append(HeaderName::from_bytes(name)?, HeaderValue::from_bytes(value)?);
    }
    Ok(request)
}

/// Copies what goes on to the next hop (RFC 9110 7.6.1).
pub(super) fn copy(from: &http::HeaderMap, to: &mut Headers) {
    for (name, value) in from {
        if !is_for_one_hop(name.as_str().as_bytes()) {
            to.add(name.as_str().as_bytes(), value.as_bytes());
        }
    }
}

pub(super) fn is_for_one_hop(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 7] =
        [b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"];
    NAMES.contains(&name)
}
