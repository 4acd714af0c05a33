//! The server behind: it hands over the token that it got, and answers when it is told to.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Json;
use axum::routing::any;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::PATIENCE;
use crate::local::Server;
use crate::stack::Answer;

pub(super) struct Held {
    server: Server,
    tokens: Receiver<String>,
    shared: Arc<Shared>,
}

struct Shared {
    tokens: Sender<String>,
    release: Notify,
}

impl Held {
    pub fn start() -> Result<Held> {
        let (tokens, given) = channel();
        let shared = Arc::new(Shared { tokens, release: Notify::new() });
        let state = Arc::clone(&shared);
        let server = Server::start(0, |_| Router::new().fallback(any(hold)).with_state(state))?;
        Ok(Held { server, tokens: given, shared })
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.server.port)
    }

    /// The token that arrived here, or none when the call was answered without it.
    pub fn token(&mut self, answered: &Receiver<Result<Answer>>) -> Result<Option<String>> {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE * 2 {
            match self.tokens.recv_timeout(Duration::from_millis(20)) {
                Ok(token) => return Ok(Some(token)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("the server behind has ended"),
            }
            match answered.try_recv() {
                Ok(answer) => return answer.map(|_| None),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Ok(None),
            }
        }
        bail!("the call was neither answered nor forwarded")
    }

    pub fn release(&self) {
        self.shared.release.notify_one();
    }
}

async fn hold(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Json<Value> {
    let authorization = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let token = authorization.strip_prefix("Bearer ").unwrap_or_default();
    // Whoever asked may have given up.
    if shared.tokens.send(token.to_owned()).is_ok() {
        let _ = tokio::time::timeout(PATIENCE, shared.release.notified()).await;
    }
    Json(json!({ "jsonrpc": "2.0", "id": 1, "result": { "content": [] } }))
}
