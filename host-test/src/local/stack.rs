//! The whole stack in one process, for the demo.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{AuthorizationServer, McpServer, Resource};
use crate::process::free_port;
use crate::serve::{Options, Served, Serving, Told, Upstream};
use crate::stack::tokens::{self, FILTER_CREDENTIAL};
use crate::stack::{Server, Stack, sample_policy};

/// A running stack. Dropping it ends everything.
pub struct LocalStack {
    // In this order: what was minted is taken back while there is somebody to take it.
    serving: Serving,
    authorization: Option<AuthorizationServer>,
    everything: McpServer,
    notes: McpServer,
    issuer: String,
    port: u16,
    records: Mutex<Receiver<Value>>,
}

impl LocalStack {
    /// Starts everything.
    pub fn start() -> Result<LocalStack> {
        let port = free_port()?;
        let url = |server: Server| format!("http://127.0.0.1:{port}{}", server.path());
        let resource =
            || Resource::new(&["mcp:connect", "tools:write", "tools:admin"], &["tools:write", "tools:admin"]);
        let resources = [Server::Everything, Server::Notes].map(|server| (url(server), resource()));
        let authorization = AuthorizationServer::start(0, BTreeMap::from(resources), 60)?;
        let issuer = authorization.issuer();
        let (everything, notes) = (McpServer::start("everything")?, McpServer::start("notes")?);
        let policy = Served::of(&sample_policy(&issuer, port)?)?;
        let upstream = |server: Server, at: &McpServer| {
            Ok::<_, anyhow::Error>(Upstream { server: Some(server.name().to_owned()), url: at.url().parse()? })
        };
        let (records, recorded) = channel();
        let upstreams = vec![upstream(Server::Everything, &everything)?, upstream(Server::Notes, &notes)?];
        let told = move |told| {
            if let Told::Ended(way) = told {
                // The story may have ended before its last request.
                let _ = records.send(serde_json::from_slice(&way.record).unwrap_or_default());
            }
        };
        let credentials = BTreeMap::from([("as-token".to_owned(), FILTER_CREDENTIAL.to_owned())]);
        let options = Options { credentials, ..Options::new(port, upstreams, told) };
        let serving = Serving::start(policy, options)?;
        let records = Mutex::new(recorded);
        Ok(LocalStack { serving, authorization: Some(authorization), everything, notes, issuer, port, records })
    }

    /// The filter as it is served.
    pub fn serving(&self) -> &Serving {
        &self.serving
    }
}

impl Stack for LocalStack {
    fn url(&self, server: Server) -> String {
        format!("http://127.0.0.1:{}{}", self.port, server.path())
    }

    fn token(&self, server: Server, scope: &str) -> Result<String> {
        tokens::granted(&self.issuer, &self.url(server), scope)
    }

    fn is_active(&self, token: &str) -> Result<bool> {
        tokens::is_active(&self.issuer, token)
    }

    fn stop_token_service(&mut self) -> Result<()> {
        self.authorization = None;
        Ok(())
    }

    fn upstream_requests(&self, server: Server) -> Result<u64> {
        Ok(match server {
            Server::Everything => self.everything.requests(),
            Server::Notes => self.notes.requests(),
        })
    }

    fn last_record(&self) -> Result<Value> {
        let Ok(records) = self.records.lock() else { bail!("a record was not read to its end") };
        let first = records.recv_timeout(Duration::from_secs(5)).context("the request left no audit record")?;
        Ok(records.try_iter().last().unwrap_or(first))
    }

    fn sights(&self) -> Vec<(&'static str, String)> {
        vec![
            ("MCP server, sessions", self.url(Server::Everything)),
            ("MCP server, both eras", self.url(Server::Notes)),
            ("authorization server", self.issuer.clone()),
        ]
    }
}
