//! An MCP server for demonstrations, by the official Rust SDK: sessions up to 2025-11-25, none from 2026-07-28 on. It judges no
//! token: the filter in front does.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer};
use serde_json::{Map, Value, json};

use super::Server;

/// A running MCP server. Dropping it ends it.
#[derive(Debug)]
pub struct McpServer {
    server: Server,
    requests: Arc<AtomicU64>,
}

impl McpServer {
    /// Starts one of that name on loopback, at any port.
    pub fn start(name: &'static str) -> Result<McpServer> {
        let requests = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&requests);
        let server = Server::start(0, move |_| {
            let sessions = Arc::new(LocalSessionManager::default());
            let make = move || Ok(Tools { name });
            let service = StreamableHttpService::new(make, sessions, StreamableHttpServerConfig::default());
            let count = move |request: Request, next: Next| {
                counted.fetch_add(1, Ordering::Relaxed);
                next.run(request)
            };
            Router::new().nest_service("/mcp", service).layer(from_fn(count))
        })?;
        Ok(McpServer { server, requests })
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.server.port)
    }

    /// How many requests it has got.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

struct Tools {
    name: &'static str,
}

/// Name, description, and the JSON Schema types of its arguments.
type Described = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const TOOLS: [Described; 6] = [
    ("echo", "Says what it is told", &[("message", "string")]),
    ("get-sum", "Adds two numbers", &[("a", "number"), ("b", "number")]),
    ("get-env", "Shows the environment of the server; here, one that was made up", &[]),
    ("show-token", "Shows the token that it was called with", &[]),
    ("wait", "Takes its time", &[("seconds", "number")]),
    ("delete_record", "Deletes a record; here, none", &[]),
];

impl Tools {
    async fn run(&self, name: &str, arguments: &Map<String, Value>, token: &str) -> Option<String> {
        let number = |name: &str| arguments.get(name).and_then(Value::as_f64).unwrap_or_default();
        Some(match name {
            "echo" => format!("Echo: {}", arguments.get("message").and_then(Value::as_str).unwrap_or_default()),
            "get-sum" => (number("a") + number("b")).to_string(),
            "get-env" => r#"{"STAGE":"demo"}"#.to_owned(),
            "show-token" => token.to_owned(),
            "wait" => {
                tokio::time::sleep(Duration::from_secs_f64(number("seconds").clamp(0.0, 60.0))).await;
                "waited".to_owned()
            }
            "delete_record" => "deleted".to_owned(),
            _ => return None,
        })
    }
}

impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().build();
        ServerConfig::new(capabilities).with_server_info(Implementation::new(self.name, env!("CARGO_PKG_VERSION")))
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tool = |(name, description, arguments): Described| {
            let properties: Map<String, Value> =
                arguments.iter().map(|(name, kind)| ((*name).to_owned(), json!({ "type": kind }))).collect();
            let schema = json!({ "type": "object", "properties": properties });
            Tool::new(name, description, schema.as_object().cloned().unwrap_or_default())
        };
        Ok(ListToolsResult::with_all_items(TOOLS.into_iter().map(tool).collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let parts = context.extensions.get::<axum::http::request::Parts>();
        let authorization = parts.and_then(|parts| parts.headers.get("authorization")?.to_str().ok());
        let token = authorization.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        let text = self.run(&request.name, &request.arguments.unwrap_or_default(), token).await;
        let unknown = || ErrorData::invalid_params(Cow::Owned(format!("there is no tool {}", request.name)), None);
        let text = text.ok_or_else(unknown)?;
        Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
    }
}
