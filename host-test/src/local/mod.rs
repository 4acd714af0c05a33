//! What a person needs around the filter to try it, in this process: an authorization server, MCP servers, and the filter served
//! before them. No Envoy, no Node, no Python.

mod authorization;
mod key;
mod mcp;
mod stack;

pub use authorization::{AuthorizationServer, Books, Resource};
pub use mcp::McpServer;
pub use stack::LocalStack;

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result};
use axum::Router;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// An HTTP server on loopback, on a thread of its own. Dropping it ends it, with everything that is under way.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) port: u16,
    runtime: Option<Runtime>,
}

impl Server {
    /// Listens at that port, or at any (0), and serves what is made for it.
    pub(crate) fn start(port: u16, router: impl FnOnce(u16) -> Router) -> Result<Server> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = runtime.block_on(TcpListener::bind(address));
        let listener = listener.with_context(|| format!("{address} cannot be listened at"))?;
        let port = listener.local_addr()?.port();
        // Inside of the runtime: what is made may need it.
        let router = runtime.block_on(async { router(port) });
        runtime.spawn(async move { axum::serve(listener, router).await });
        Ok(Server { port, runtime: Some(runtime) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
