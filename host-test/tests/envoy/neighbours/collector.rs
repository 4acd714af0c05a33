//! An OpenTelemetry collector that keeps what it is sent (OTLP over HTTP, protobuf).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};
use host_test::process::free_port;
use prost::Message;
use tiny_http::{Response, Server};

/// A running collector, on loopback. It ends with the process.
pub struct Collector {
    pub port: u16,
    spans: Arc<Mutex<Vec<Span>>>,
}

/// A span, as trials ask for it. Ids are in hexadecimal; without a parent, that one is empty.
#[derive(Clone, Debug)]
pub struct Span {
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub name: String,
    pub is_client: bool,
    pub tags: BTreeMap<String, String>,
}

impl Collector {
    pub fn start() -> Result<Collector> {
        let port = free_port()?;
        let server = Server::http(("127.0.0.1", port)).map_err(|error| anyhow::anyhow!("no listener: {error}"))?;
        let spans: Arc<Mutex<Vec<Span>>> = Arc::default();
        let kept = Arc::clone(&spans);
        thread::spawn(move || {
            for mut request in server.incoming_requests() {
                let mut body = Vec::new();
                let read = request.as_reader().read_to_end(&mut body);
                let status = match read.ok().and_then(|_| wire::Export::decode(body.as_slice()).ok()) {
                    Some(export) => {
                        kept.lock().unwrap_or_else(PoisonError::into_inner).extend(export.spans().map(Span::of));
                        200
                    }
                    None => 400,
                };
                let _ = request.respond(Response::empty(status));
            }
        });
        Ok(Collector { port, spans })
    }

    /// The spans so far that are like this. Envoy sends them every five seconds.
    pub fn spans(&self, wanted: impl Fn(&Span) -> bool) -> Vec<Span> {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.iter().filter(|span| wanted(span)).cloned().collect()
    }

    /// The one that is like this, which must come.
    pub fn span(&self, what: &str, wanted: impl Fn(&Span) -> bool) -> Result<Span> {
        crate::support::wait_for(what, || Ok(!self.spans(&wanted).is_empty()))
            .with_context(|| format!("{:#?}", self.spans(|_| true)))?;
        let mut found = self.spans(wanted);
        anyhow::ensure!(found.len() == 1, "{what}: {found:#?}");
        found.pop().context("none")
    }
}

impl Span {
    fn of(sent: &wire::Span) -> Span {
        let tags = sent.attributes.iter().filter_map(|tag| Some((tag.key.clone(), tag.value.clone()?.text)));
        Span {
            trace: hex(&sent.trace_id),
            id: hex(&sent.span_id),
            parent: hex(&sent.parent_span_id),
            name: sent.name.clone(),
            is_client: sent.kind == 3,
            tags: tags.collect(),
        }
    }

    pub fn tag(&self, name: &str) -> &str {
        self.tags.get(name).map_or("", String::as_str)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What is read of `ExportTraceServiceRequest` (opentelemetry-proto 1.x); everything else is passed over.
mod wire {
    use prost::Message;

    #[derive(Message)]
    pub struct Export {
        #[prost(message, repeated, tag = "1")]
        resources: Vec<ResourceSpans>,
    }

    #[derive(Message)]
    struct ResourceSpans {
        #[prost(message, repeated, tag = "2")]
        scopes: Vec<ScopeSpans>,
    }

    #[derive(Message)]
    struct ScopeSpans {
        #[prost(message, repeated, tag = "2")]
        spans: Vec<Span>,
    }

    #[derive(Message)]
    pub struct Span {
        #[prost(bytes = "vec", tag = "1")]
        pub trace_id: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub span_id: Vec<u8>,
        #[prost(bytes = "vec", tag = "4")]
        pub parent_span_id: Vec<u8>,
        #[prost(string, tag = "5")]
        pub name: String,
        #[prost(int32, tag = "6")]
        pub kind: i32,
        #[prost(message, repeated, tag = "9")]
        pub attributes: Vec<Attribute>,
    }

    #[derive(Message)]
    pub struct Attribute {
        #[prost(string, tag = "1")]
        pub key: String,
        #[prost(message, optional, tag = "2")]
        pub value: Option<Value>,
    }

    #[derive(Clone, Message)]
    pub struct Value {
        #[prost(string, tag = "1")]
        pub text: String,
    }

    impl Export {
        pub fn spans(&self) -> impl Iterator<Item = &Span> {
            self.resources.iter().flat_map(|resource| &resource.scopes).flat_map(|scope| &scope.spans)
        }
    }
}
