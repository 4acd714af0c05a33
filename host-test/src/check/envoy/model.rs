//! What matters of an Envoy: connection managers with their filters and routes, clusters, wasm plugins. Found wherever it stands: in a
//! bootstrap, in the answers of a control plane, in a dump of what runs.

use step_up_core::json::Value;

use super::node::{Node, is_called};
use crate::check::deployed::{self, Content};

/// All files together are one Envoy.
#[derive(Debug, Default)]
pub(super) struct Model<'v> {
    pub managers: Vec<Manager<'v>>,
    /// Route configurations that no connection manager of these files uses.
    pub loose: Vec<Node<'v>>,
    pub clusters: Vec<Node<'v>>,
    /// Bootstraps.
    pub bootstraps: Vec<Node<'v>>,
    /// The `config` of everything that runs wasm (PluginConfig).
    pub plugins: Vec<Plugin<'v>>,
    /// Listeners that pass bytes on, by `tcp_proxy`.
    pub tunnels: Vec<Node<'v>>,
    /// What a dump says Envoy refused.
    pub refused: Vec<Node<'v>>,
}

#[derive(Debug)]
pub(super) struct Plugin<'v> {
    pub config: Node<'v>,
    /// It has a policy of ours.
    pub is_ours: bool,
}

/// An HTTP connection manager.
#[derive(Debug)]
pub(super) struct Manager<'v> {
    pub node: Node<'v>,
    pub listener: Option<Node<'v>>,
    /// The filter chain around it.
    pub chain: Option<Node<'v>>,
    pub filters: Vec<Filter<'v>>,
    /// Its route configurations, as far as these files have them.
    pub routes: Vec<Node<'v>>,
}

/// An entry of `http_filters`.
#[derive(Debug)]
pub(super) struct Filter<'v> {
    pub entry: Node<'v>,
    pub name: &'v str,
    /// The type of its message: `envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication`; empty, where it is not known.
    pub kind: &'v str,
    /// Its message, also where that is discovered.
    pub message: Option<Node<'v>>,
    pub is_ours: bool,
}

impl Filter<'_> {
    /// `jwt_authn`.
    pub(super) fn is(&self, word: &str) -> bool {
        let of_name = || self.name.rsplit('.').next() == Some(word);
        self.kind.contains(&format!(".http.{word}.")) || (self.kind.is_empty() && of_name())
    }
}

impl<'v> Manager<'v> {
    /// Each of its routes, with its host and its configuration: where something may be said of it, nearest first.
    pub(super) fn each_route(&self) -> Vec<[Node<'v>; 3]> {
        let of_config = |config: &Node<'v>| {
            config.list("virtual_hosts").into_iter().map(|host| (host, config.clone())).collect::<Vec<_>>()
        };
        let hosts = self.routes.iter().flat_map(of_config);
        let of_host = |(host, config): (Node<'v>, Node<'v>)| {
            let routes = host.list("routes").into_iter();
            routes.map(|route| [route, host.clone(), config.clone()]).collect::<Vec<_>>()
        };
        hosts.flat_map(of_host).collect()
    }

    pub(super) fn ours(&self) -> impl Iterator<Item = (usize, &Filter<'v>)> {
        self.filters.iter().enumerate().filter(|(_, filter)| filter.is_ours)
    }

    pub(super) fn is_guarded(&self) -> bool {
        self.ours().next().is_some()
    }

    /// The filters before the first of ours. None, where ours is not there.
    pub(super) fn before(&self) -> &[Filter<'v>] {
        let ours = self.ours().next().map_or(0, |(at, _)| at);
        self.filters.get(..ours).unwrap_or_default()
    }

    /// Those after it.
    pub(super) fn after(&self) -> &[Filter<'v>] {
        let after = self.ours().next().map(|(at, _)| at + 1);
        after.and_then(|after| self.filters.get(after..)).unwrap_or_default()
    }
}

const MANAGER: &str = ".http_connection_manager.v3.HttpConnectionManager";
const WASM: &str = ".http.wasm.v3.Wasm";

/// Reads all files.
pub(super) fn read<'v>(documents: impl Iterator<Item = &'v Value<'static>>) -> Model<'v> {
    let (mut found, mut model) = (Found::default(), Model::default());
    for (file, value) in documents.enumerate() {
        let root = Node { file, path: String::new(), value };
        found.is_dump = is_dump(&root);
        found.search(&root, &Around::default(), &mut model);
    }
    for manager in &mut model.managers {
        if let Some(name) = discovered_routes(&manager.node) {
            manager.routes.extend(found.routes.iter().filter(|routes| routes.text("name") == Some(name)).cloned());
        }
        manager.filters =
            manager.node.list("http_filters").into_iter().map(|entry| filter(entry, &found.extensions)).collect();
    }
    if model.managers.is_empty() {
        // Files of routes alone.
        model.loose = found.routes;
    }
    model
}

/// The name of the route configuration that it discovers.
fn discovered_routes<'v>(manager: &Node<'v>) -> Option<&'v str> {
    manager.get("rds")?.text("route_config_name")
}

/// The answer of `/config_dump`: what the bootstrap says stands in it a second time, as it runs.
fn is_dump(root: &Node<'_>) -> bool {
    root.list("configs")
        .iter()
        .any(|config| config.text("@type").is_some_and(|kind| kind.contains("ListenersConfigDump")))
}

#[derive(Default)]
struct Found<'v> {
    routes: Vec<Node<'v>>,
    /// TypedExtensionConfig: filters by discovery.
    extensions: Vec<Node<'v>>,
    is_dump: bool,
}

#[derive(Clone, Default)]
struct Around<'v> {
    listener: Option<Node<'v>>,
    chain: Option<Node<'v>>,
    is_manager: bool,
}

impl<'v> Found<'v> {
    fn search(&mut self, node: &Node<'v>, around: &Around<'v>, model: &mut Model<'v>) {
        let mut around = around.clone();
        match node.value {
            Value::List(_) => return node.items().iter().for_each(|item| self.search(item, &around, model)),
            Value::Map(_) => {}
            _ => return,
        }
        let kind = node.message().map_or("", |(kind, _)| kind);
        if node.has("filter_chains") || node.has("default_filter_chain") {
            around.listener = Some(node.clone());
        }
        if node.has("filters") && around.listener.is_some() {
            around.chain = Some(node.clone());
        }
        if kind.ends_with(MANAGER) {
            self.manager(node, &around, model);
            around.is_manager = true;
        } else if kind.ends_with(".tcp_proxy.v3.TcpProxy") {
            model.tunnels.push(node.clone());
        } else if kind.ends_with(".TypedExtensionConfig") {
            self.extensions.push(node.clone());
        } else if node.has("virtual_hosts") && !around.is_manager {
            self.routes.push(node.clone());
        }
        if node.has("static_resources") || node.has("dynamic_resources") || node.has("stats_config") {
            model.bootstraps.push(node.clone());
        }
        if let Some(plugin) = plugin(node, kind) {
            model.plugins.push(plugin);
        }
        for (name, member) in node.members() {
            self.member(name, &member, &around, model);
        }
    }

    fn member(&mut self, name: &str, member: &Node<'v>, around: &Around<'v>, model: &mut Model<'v>) {
        let is = |other: &str| is_called(name, other);
        // What is on its way out, and what is there twice.
        if is("draining_state")
            || (self.is_dump && is("static_resources"))
            || (self.is_dump && is("static_route_configs"))
        {
            return;
        }
        if is("error_state") {
            model.refused.push(member.clone());
            return;
        }
        if is("clusters") {
            // Not those among which a route divides its calls.
            let is_whole = member.path == name || member.path.contains("static_resources");
            model.clusters.extend(member.items().into_iter().filter(|item| is_whole && item.has("name")));
        } else if is("cluster") && member.has("name") {
            model.clusters.push(member.clone());
        } else if is("resources") {
            let is_cluster =
                |item: &Node<'_>| item.message().is_some_and(|(kind, _)| kind.ends_with("cluster.v3.Cluster"));
            model.clusters.extend(member.items().into_iter().filter(is_cluster));
        }
        // A policy may have words of Envoy's as names.
        if !is("configuration") {
            self.search(member, around, model);
        }
    }

    fn manager(&self, node: &Node<'v>, around: &Around<'v>, model: &mut Model<'v>) {
        let node = node.message().map_or_else(|| node.clone(), |(_, message)| message);
        model.managers.push(Manager {
            listener: around.listener.clone(),
            chain: around.chain.clone(),
            filters: Vec::new(),
            routes: node.get("route_config").into_iter().collect(),
            node,
        });
    }
}

fn plugin<'v>(node: &Node<'v>, kind: &str) -> Option<Plugin<'v>> {
    // Network filters, loggers and services are plugins as well.
    if !kind.contains(".wasm.v3.Wasm") {
        return None;
    }
    let (_, message) = node.message()?;
    Some(Plugin { config: message.get("config")?, is_ours: has_policy(node.value) })
}

/// Does some plugin in there get a policy?
fn has_policy(value: &Value<'static>) -> bool {
    deployed::deliveries(value).iter().any(|delivery| !matches!(delivery.content, Content::Foreign))
}

fn filter<'v>(entry: Node<'v>, extensions: &[Node<'v>]) -> Filter<'v> {
    let name = entry.text("name").unwrap_or_default();
    let discovery = entry.get("config_discovery");
    let found = discovery.as_ref().and_then(|_| extensions.iter().find(|one| one.text("name") == Some(name)));
    let typed = found.unwrap_or(&entry).get("typed_config");
    let message = typed.as_ref().and_then(Node::message);
    let is_ours = match &discovery {
        // What comes is not known, or it is the switch that closes all: the name and the types say what is meant.
        Some(discovery) if !typed.as_ref().is_some_and(|typed| has_policy(typed.value)) => {
            let is_wasm = discovery
                .list("type_urls")
                .iter()
                .any(|kind| kind.value.text().is_some_and(|kind| kind.ends_with(WASM)));
            is_wasm && is_our_name(name)
        }
        _ => typed.as_ref().is_some_and(|typed| has_policy(typed.value)),
    };
    let (kind, message) = message.map_or(("", None), |(kind, message)| (kind, Some(message)));
    Filter { entry, name, kind, message, is_ours }
}

fn is_our_name(name: &str) -> bool {
    name.to_ascii_lowercase().replace(['-', '_'], "").contains("stepup")
}
