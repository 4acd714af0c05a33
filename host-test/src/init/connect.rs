//! A live server, asked by the official Rust SDK. What it lists is kept as it was sent: digests are taken over that (P31), and
//! the SDK's types leave out what they do not know.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use futures_util::{StreamExt as _, stream::BoxStream};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use rmcp::model::{ClientJsonRpcMessage, ProtocolVersion, ServerJsonRpcMessage};
use rmcp::service::{ClientLifecycleMode, ClientServiceExt as _, RoleClient, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::{
    AuthRequiredError, StreamableHttpClient, StreamableHttpClientTransportConfig, StreamableHttpError,
    StreamableHttpPostResponse,
};
use sse_stream::{Error as SseError, Sse, SseStream};

use super::listed::Listed;
use crate::https::HttpsClient;
use crate::text::{ascii, shown};

/// Of an answer, and of one event.
const MOST: usize = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

/// What came of asking.
pub(super) enum Asked {
    Listed(Listed),
    /// It wants a token, or another one. With its challenge (RFC 6750 3), if there is one.
    Refused(StatusCode, String),
}

impl Asked {
    /// The lists, or what the user can do.
    pub(super) fn or_say(self) -> Result<Listed> {
        let (status, challenge) = match self {
            Asked::Listed(listed) => return Ok(listed),
            Asked::Refused(status, challenge) => (status, challenge),
        };
        let challenge = if challenge.is_empty() { String::new() } else { format!(" and says {}", shown(&challenge)) };
        bail!(
            "it answers {status}{challenge}: give a token that it takes, with --token-env or --token, or log in with --login"
        )
    }
}

/// What that server lists for whom the token belongs to.
pub(super) async fn ask(client: &HttpsClient, url: &str, token: Option<String>) -> Result<Asked> {
    let asked = tokio::time::timeout(PATIENCE, asked(client, url, token)).await;
    asked
        .map_err(|_| anyhow!("nothing in {PATIENCE:?}"))
        .and_then(|asked| asked)
        .with_context(|| format!("{url} could not be asked"))
}

async fn asked(client: &HttpsClient, url: &str, token: Option<String>) -> Result<Asked> {
    // Revisions up to 2025-11-25 begin with `initialize`; a server that has none of them says so.
    let newest = ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] };
    let mut first = None;
    for lifecycle in [ClientLifecycleMode::Initialize, newest] {
        let (http, heard) = Http::new(client);
        let mut config = StreamableHttpClientTransportConfig::with_uri(url);
        config.auth_header.clone_from(&token);
        let transport = StreamableHttpClientTransport::with_client(http, config);
        let listed = match ().serve_with_lifecycle(transport, lifecycle).await {
            Ok(service) => all(service, &heard).await,
            Err(error) => Err(said(&error)),
        };
        let refused = heard.lock().ok().and_then(|mut heard| heard.refused.take());
        match (listed, refused) {
            (Ok(listed), _) => return Ok(Asked::Listed(listed)),
            (Err(_), Some((status, challenge))) => return Ok(Asked::Refused(status, challenge)),
            (Err(error), None) => first = first.or(Some(error)),
        }
    }
    Err(first.context("no revision to begin with")?)
}

/// Asks for every list that it says it has, page by page.
async fn all(service: RunningService<RoleClient, ()>, heard: &Heard) -> Result<Listed> {
    let info = service.peer_info().context("it does not say what it has")?;
    let capabilities = info.capabilities.clone();
    if capabilities.tools.is_some() {
        service.list_all_tools().await.map_err(|error| said(&error)).context("tools/list")?;
    }
    if capabilities.prompts.is_some() {
        service.list_all_prompts().await.map_err(|error| said(&error)).context("prompts/list")?;
    }
    if capabilities.resources.is_some() {
        service.list_all_resources().await.map_err(|error| said(&error)).context("resources/list")?;
        // Servers without templates may not know the method.
        let _ = service.list_all_resource_templates().await;
    }
    // What is asked for from here on is nobody's list.
    let answers = heard.lock().map(|heard| heard.answers.clone()).unwrap_or_default();
    let mut listed = Listed { server: info.server_info.as_ref().map(|info| info.name.clone()), ..Listed::default() };
    for answer in &answers {
        listed.add_answer(answer)?;
    }
    // Its session ends; whether it hears of that is no matter here.
    let _ = service.cancel().await;
    Ok(listed)
}

/// The server's own words may be in it.
fn said(error: &impl std::fmt::Display) -> anyhow::Error {
    anyhow!("{}", ascii(&error.to_string()))
}

/// What came, as it was sent.
#[derive(Debug, Default)]
struct Said {
    answers: Vec<String>,
    refused: Option<(StatusCode, String)>,
}

type Heard = Arc<Mutex<Said>>;

/// The SDK's way to the server.
#[derive(Clone)]
struct Http {
    client: HttpsClient,
    heard: Heard,
}

type Failed = StreamableHttpError<Broken>;

#[derive(Debug)]
struct Broken(String);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

fn broken(error: impl std::fmt::Display) -> Failed {
    StreamableHttpError::Client(Broken(error.to_string()))
}

impl Http {
    fn new(client: &HttpsClient) -> (Http, Heard) {
        let heard = Heard::default();
        (Http { client: client.clone(), heard: Arc::clone(&heard) }, heard)
    }

    async fn send(
        &self,
        method: Method,
        uri: &str,
        body: Vec<u8>,
        session: Option<Arc<str>>,
        token: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<Response<Incoming>, Failed> {
        let mut request = Request::builder().method(method).uri(uri);
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        request = request.header("accept", "application/json, text/event-stream");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(session) = session {
            request = request.header("mcp-session-id", &*session);
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(broken)?;
        // The cause says what is wrong: hyper itself only that it could not connect.
        self.client.request(request).await.map_err(|error| broken(format!("{:#}", anyhow!(error))))
    }

    fn hear(&self, answer: &str) {
        // An event without data only says from where to go on.
        if let Ok(mut heard) = self.heard.lock()
            && !answer.trim().is_empty()
        {
            heard.answers.push(answer.to_owned());
        }
    }

    fn refused(&self, response: &Response<Incoming>) -> String {
        let challenge = response.headers().get("www-authenticate").and_then(|value| value.to_str().ok());
        let challenge = challenge.unwrap_or_default().to_owned();
        if let Ok(mut heard) = self.heard.lock() {
            heard.refused = Some((response.status(), challenge.clone()));
        }
        challenge
    }
}

impl StreamableHttpClient for Http {
    type Error = Broken;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        let had_session = session_id.is_some();
        let body = serde_json::to_vec(&message)?;
        let response = self.send(Method::POST, &uri, body, session_id, auth_header, custom_headers).await?;
        let status = response.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(StreamableHttpError::AuthRequired(AuthRequiredError::new(self.refused(&response))));
        }
        if matches!(status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        if status == StatusCode::NOT_FOUND && had_session {
            return Err(StreamableHttpError::SessionExpired);
        }
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (kind, session) = (header("content-type").unwrap_or_default(), header("mcp-session-id"));
        if status.is_success() && kind.starts_with("text/event-stream") {
            return Ok(StreamableHttpPostResponse::Sse(self.clone().events(response), session));
        }
        let body = Limited::new(response.into_body(), MOST).collect().await.map_err(broken)?.to_bytes();
        if !matches!(message, ClientJsonRpcMessage::Request(_)) && status.is_success() {
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        let text = String::from_utf8_lossy(&body);
        let Ok(answer) = serde_json::from_str::<ServerJsonRpcMessage>(&text) else {
            return Err(StreamableHttpError::UnexpectedServerResponse(format!("{status} {}", shown(&text)).into()));
        };
        self.hear(&text);
        Ok(StreamableHttpPostResponse::Json(answer, session))
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Failed> {
        self.send(Method::DELETE, &uri, Vec::new(), Some(session_id), auth_header, custom_headers).await.map(drop)
    }

    /// Nothing is waited for that was not asked for.
    async fn get_stream(
        &self,
        _: Arc<str>,
        _: Option<Arc<str>>,
        _: Option<String>,
        _: Option<String>,
        _: HashMap<HeaderName, HeaderValue>,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, Failed> {
        Err(StreamableHttpError::ServerDoesNotSupportSse)
    }
}

impl Http {
    fn events(self, response: Response<Incoming>) -> BoxStream<'static, Result<Sse, SseError>> {
        let body = Limited::new(response.into_body(), MOST).map_err(std::io::Error::other);
        let events = SseStream::new(body).inspect(move |event| {
            if let Ok(Sse { data: Some(data), .. }) = event {
                self.hear(data);
            }
        });
        events.boxed()
    }
}
