//! A policy to serve: as the filter gets it, with what else is needed to serve it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use http::Uri;
use serde_json::Value;
use step_up_core::{Environment, Millis, Policy};

use crate::check::{check, renderer};
use crate::yaml;

/// A policy that loads.
#[derive(Clone, Debug)]
pub struct Served {
    /// As the filter gets it.
    pub text: String,
    /// The variables that it names, and their values.
    pub environment: Vec<(String, String)>,
    /// What `check` says of it, if anything.
    pub remarks: String,
    /// In the order of the document.
    pub servers: Vec<ServedServer>,
    /// P34: nothing but the route says which of them is meant.
    pub needs_named_routes: bool,
    /// For each cluster, the origin (scheme and authority) of its URLs.
    pub clusters: BTreeMap<String, String>,
}

/// One of its servers.
#[derive(Clone, Debug)]
pub struct ServedServer {
    /// Its name in the policy.
    pub name: String,
    /// The identifier that clients use.
    pub resource: String,
    /// The host of it, without a port.
    pub host: String,
    /// The path of it.
    pub path: String,
}

impl Served {
    /// Reads a policy and checks it.
    pub fn read(path: &Path) -> Result<Served> {
        let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let findings = check(path, &text, &renderer());
        if findings.errors > 0 || findings.policies != 1 {
            bail!("{}{} has no policy that could be served", findings.text, path.display());
        }
        Ok(Served { remarks: findings.text, ..Served::of(&yaml::load(path)?)? })
    }

    /// The same for a tree.
    pub fn of(document: &Value) -> Result<Served> {
        Served::in_environment(document, Asked::default())
    }

    /// In an environment of these variables.
    pub fn with(document: &Value, environment: Vec<(String, String)>) -> Result<Served> {
        Served::in_environment(document, Asked { own: Some(environment), ..Asked::default() })
    }

    fn in_environment(document: &Value, asked: Asked) -> Result<Served> {
        let text = document.to_string();
        let loaded = Policy::load(text.as_bytes(), &asked);
        let policy = loaded.map_err(|faults| {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            anyhow::anyhow!("{}", faults.join("\n"))
        })?;
        let mut clusters: BTreeMap<String, String> = BTreeMap::new();
        for endpoint in policy.view().endpoints() {
            let origin = origin(endpoint.url())?;
            let known = clusters.entry(endpoint.cluster().to_owned()).or_insert_with(|| origin.clone());
            if *known != origin {
                bail!(
                    "the cluster {} has URLs at {known} and at {origin}: here, where no proxy says what a cluster is, it is one place",
                    endpoint.cluster()
                );
            }
        }
        let servers = policy.view().servers().map(|server| {
            let uri: Uri = server.resource().parse().with_context(|| format!("{} is no URL", server.resource()))?;
            Ok(ServedServer {
                name: server.name().to_owned(),
                resource: server.resource().to_owned(),
                host: uri.host().unwrap_or_default().to_owned(),
                path: uri.path().to_owned(),
            })
        });
        let servers = servers.collect::<Result<Vec<_>>>()?;
        let needs_named_routes = policy.view().needs_named_routes();
        let environment = asked.found();
        Ok(Served { text, environment, remarks: String::new(), servers, needs_named_routes, clusters })
    }

    /// The server that a path belongs to, if it can be no other's: of that host, where one is named. The document about it (RFC 9728)
    /// belongs to it, too.
    pub fn server_at(&self, host: Option<&str>, path: &str) -> Option<&ServedServer> {
        const METADATA: &str = "/.well-known/oauth-protected-resource";
        let path = path.split('?').next().unwrap_or(path);
        let path = path.strip_prefix(METADATA).unwrap_or(path);
        let bare = |path: &str| path.trim_end_matches('/').to_owned();
        let is_of = |server: &&ServedServer| host.is_none_or(|host| server.host.eq_ignore_ascii_case(host));
        let mut there = self.servers.iter().filter(is_of).filter(|server| bare(&server.path) == bare(path));
        let first = there.next()?;
        there.next().is_none().then_some(first)
    }
}

fn origin(url: &str) -> Result<String> {
    let uri: Uri = url.parse().with_context(|| format!("{url} is no URL"))?;
    let (scheme, authority) = uri.scheme_str().zip(uri.authority()).with_context(|| format!("{url} has no host"))?;
    Ok(format!("{scheme}://{authority}"))
}

/// The environment of this process, and what was asked of it.
#[derive(Default)]
struct Asked {
    /// In place of the process's.
    own: Option<Vec<(String, String)>>,
    names: RefCell<BTreeSet<String>>,
}

impl Asked {
    fn ask(&self, name: &str) -> Option<String> {
        self.names.borrow_mut().insert(name.to_owned());
        match &self.own {
            None => std::env::var(name).ok(),
            Some(own) => own.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone()),
        }
    }

    fn found(self) -> Vec<(String, String)> {
        let names = self.names.borrow().clone();
        names.into_iter().filter_map(|name| self.ask(&name).map(|value| (name, value))).collect()
    }
}

impl Environment for Asked {
    fn variable(&self, name: &str) -> Option<String> {
        self.ask(name)
    }

    fn session_key(&self, name: &str) -> Option<String> {
        self.ask(name)
    }

    fn now(&self) -> Option<Millis> {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?;
        u64::try_from(since.as_millis()).ok().map(Millis)
    }
}
