//! A running system around the filter, as the demo and the tests see it.

mod bootstrap;
mod config;
mod envoy;
mod http;
mod running;
pub(crate) mod tokens;

pub use bootstrap::shipped_beside;
pub(crate) use config::{discover, discovery, sample_policy};
pub use envoy::{EnvoyStack, Given, Issuer, Options, Replica, Setup};
pub use http::{Answer, Request, encode, send};
pub(crate) use running::{new_folder, start_envoy, stat, wait_until_live};
pub use tokens::{FILTER_CREDENTIAL, granted};

use anyhow::Result;
use serde_json::Value;

/// The MCP servers of every stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// `@modelcontextprotocol/server-everything`: sessions and SSE, up to revision 2025-11-25.
    Everything,
    /// The Python SDK: both eras, up to 2026-07-28.
    Notes,
}

impl Server {
    /// Its name in the policy.
    pub fn name(self) -> &'static str {
        match self {
            Server::Everything => "everything",
            Server::Notes => "notes",
        }
    }

    /// Its path.
    pub fn path(self) -> &'static str {
        match self {
            Server::Everything => "/mcp",
            Server::Notes => "/notes/mcp",
        }
    }
}

/// What the story needs of a system. Envoy is one; another host of the module may be another.
pub trait Stack {
    /// The URL of an MCP server, through the filter. It is also the server's resource identifier.
    fn url(&self, server: Server) -> String;
    /// A token for that server with these scopes, from the authorization server (client credentials).
    fn token(&self, server: Server, scope: &str) -> Result<String>;
    /// Is that token alive, as its issuer says (RFC 7662)?
    fn is_active(&self, token: &str) -> Result<bool>;
    /// Ends the token service.
    fn stop_token_service(&mut self) -> Result<()>;
    /// How many requests an MCP server has got from the proxy.
    fn upstream_requests(&self, server: Server) -> Result<u64>;
    /// The audit record of the request that was answered last. Each request is asked about once.
    fn last_record(&self) -> Result<Value>;
    /// What somebody who keeps the stack running may want to know: name and value.
    fn sights(&self) -> Vec<(&'static str, String)>;
}
