//! What is known of a deployment.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};
use http::Uri;
use serde_json::Value;
use step_up_core::ServerView;

use crate::policy;

/// A host, its port, and the path there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// A name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Begins with a slash; empty where none was said.
    pub path: String,
}

impl FromStr for Place {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Place> {
        let uri: Uri = format!("http://{text}").parse().with_context(|| format!("{text} is no HOST:PORT"))?;
        let host = uri.host().filter(|host| !host.is_empty()).with_context(|| format!("{text} has no host"))?;
        let port = uri.port_u16().with_context(|| format!("{text} has no port"))?;
        let is_said = text.contains('/');
        if uri.query().is_some() {
            bail!("{text} has a query");
        }
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Place { host, port, path: if is_said { uri.path().to_owned() } else { String::new() } })
    }
}

impl Place {
    /// `NAME=HOST:PORT/PATH`.
    pub fn pair(text: &str) -> Result<(String, Place)> {
        let (name, place) = text.split_once('=').context("write NAME=HOST:PORT")?;
        Ok((name.to_owned(), place.parse()?))
    }

    /// Is it an address, and no name that somebody has to be asked about?
    pub(super) fn is_address(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok()
    }
}

/// A version of Envoy: major and minor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl FromStr for Version {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Version> {
        let mut parts = text.split('.').map(str::parse::<u32>);
        match (parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor))) if Version(major, minor) >= Version(1, 37) => Ok(Version(major, minor)),
            (Some(Ok(_)), Some(Ok(_))) => bail!("the filter was not run on Envoy {text}: 1.37 is the oldest"),
            _ => bail!("write 1.40"),
        }
    }
}

/// A server of the policy, and what is behind it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub name: String,
    /// Of its resource, without the port.
    pub host: String,
    pub path: String,
    pub upstream: Place,
    /// Of pages that may call.
    pub origins: Vec<String>,
}

impl Target {
    /// The path that the upstream has, where that is another one.
    pub fn rewrite(&self) -> Option<&str> {
        Some(self.upstream.path.as_str()).filter(|path| !path.is_empty() && *path != self.path)
    }
}

/// A cluster of the policy.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    pub name: String,
    pub place: Place,
    /// The name of a peer that is verified: of an https URL.
    pub tls: Option<String>,
    /// The proxy authenticates the filter there (`auth: cluster`).
    pub injects: bool,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) policy: Value,
    pub(super) targets: Vec<Target>,
    pub(super) clusters: Vec<Cluster>,
    /// Of request bodies, what Envoy may hold.
    pub(super) body_limit: usize,
    /// Nothing but the route says which server is meant (P34).
    pub(super) needs_named_routes: bool,
    /// Environment variables that the policy names.
    pub(super) variables: Vec<String>,
    /// Issuers, with where their keys are.
    pub(super) issuers: Vec<(String, Option<String>)>,
    pub(super) proxy: Proxy,
}

/// What is known of the proxy itself.
#[derive(Clone, Debug)]
pub(super) struct Proxy {
    pub listen: SocketAddr,
    pub folder: String,
    pub module: String,
    pub ca: String,
    pub version: Version,
}

/// Beyond `limits.request_body`, so that the filter's own answer comes first.
const MORE: usize = 64 << 10;

impl Plan {
    /// Of a policy, with the servers behind it, and the clusters that are not where its URLs say.
    pub(super) fn of(
        document: &Value,
        upstreams: &[(String, Place)],
        moved: &[(String, Place)],
        proxy: Proxy,
    ) -> Result<Plan> {
        let policy = policy::loaded(document)?;
        let view = policy.view();
        let find = |list: &[(String, Place)], name: &str| {
            list.iter().find(|(other, _)| other == name).map(|(_, place)| place.clone())
        };
        let targets = view.servers().map(|server| {
            let upstream = find(upstreams, server.name());
            let upstream = upstream
                .with_context(|| format!("say with --upstream {0}=HOST:PORT what is behind {0}", server.name()))?;
            target(server, upstream)
        });
        let targets = targets.collect::<Result<Vec<_>>>()?;
        let mut clusters: BTreeMap<String, Cluster> = BTreeMap::new();
        for endpoint in view.endpoints() {
            let uri: Uri = endpoint.url().parse().with_context(|| format!("{} is no URL", endpoint.url()))?;
            let host = uri.host().unwrap_or_default().to_owned();
            let is_tls = uri.scheme_str() == Some("https");
            let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
            let place =
                find(moved, endpoint.cluster()).unwrap_or(Place { host: host.clone(), port, path: String::new() });
            let tls = is_tls.then_some(host);
            let cluster = Cluster { name: endpoint.cluster().to_owned(), place, tls, injects: false };
            match clusters.get(endpoint.cluster()) {
                Some(known) if known.place != cluster.place || known.tls != cluster.tls => bail!(
                    "the cluster {} has URLs at two hosts, {} and {}: it can verify one peer only",
                    cluster.name,
                    known.place.host,
                    cluster.place.host
                ),
                _ => drop(clusters.insert(cluster.name.clone(), cluster)),
            }
        }
        for name in injecting(document) {
            if let Some(cluster) = clusters.get_mut(name) {
                cluster.injects = true;
            }
        }
        for (what, given, known) in [
            ("server", upstreams, targets.iter().map(|target| &target.name).collect::<Vec<_>>()),
            ("cluster", moved, clusters.keys().collect()),
        ] {
            if let Some((name, _)) = given.iter().find(|(name, _)| !known.contains(&name)) {
                bail!("the policy has no {what} {name}");
            }
        }
        let mut variables = Vec::new();
        named(document, &mut variables);
        variables.sort();
        variables.dedup();
        Ok(Plan {
            policy: document.clone(),
            targets,
            clusters: clusters.into_values().collect(),
            body_limit: policy.limits().request_body + MORE,
            needs_named_routes: view.needs_named_routes(),
            variables,
            issuers: view
                .issuers()
                .map(|issuer| (issuer.name().to_owned(), issuer.keys().map(|keys| keys.url().to_owned())))
                .collect(),
            proxy,
        })
    }
}

fn target(server: ServerView<'_>, upstream: Place) -> Result<Target> {
    let uri: Uri = server.resource().parse().with_context(|| format!("{} is no URL", server.resource()))?;
    let host = uri.host().unwrap_or_default().to_owned();
    Ok(Target {
        name: server.name().to_owned(),
        host,
        path: uri.path().to_owned(),
        upstream,
        origins: server.origins().to_vec(),
    })
}

/// The clusters that authenticate the filter.
fn injecting(document: &Value) -> Vec<&str> {
    let is_ours = |service: &&Value| service.pointer("/client/auth").is_some_and(|auth| auth == "cluster");
    let all = |name: &str| document.get(name).and_then(Value::as_object).into_iter().flat_map(|map| map.values());
    let services = document.get("token_service").into_iter().chain(all("token_services"));
    let services = services.chain(all("issuers").filter_map(|issuer| issuer.get("introspection")));
    services.filter(is_ours).filter_map(|service| service.get("cluster")?.as_str()).collect()
}

/// Environment variables, wherever they are named.
fn named(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match (name.as_str(), value) {
                    ("secret_env" | "private_key_env", Value::String(variable)) => found.push(variable.clone()),
                    ("keys_env", Value::Array(variables)) => {
                        found.extend(variables.iter().filter_map(Value::as_str).map(str::to_owned));
                    }
                    _ => named(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| named(item, found)),
        _ => {}
    }
}
