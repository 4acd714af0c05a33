//! The policies and the Envoy side by side: which routes lead to servers.

use std::collections::HashMap;

use step_up_core::json::Value;
use step_up_core::{Policy, ServerView};

use super::model::{Manager, Model};
use super::node::Node;
use super::routing::{Takes, authority, candidates, clusters, hosts_for};

/// A policy, and what its text says that the engine does not tell.
#[derive(Debug)]
pub(crate) struct Known {
    pub policy: Policy,
    /// P33: some token must be bound to the caller's certificate.
    pub binds: bool,
    /// Some condition is about the peer's identity (P14).
    pub looks_at_source: bool,
}

impl Known {
    pub(crate) fn new(policy: Policy, tree: &Value<'_>) -> Known {
        Known { policy, binds: binds(tree), looks_at_source: looks_at_source(tree, false) }
    }
}

fn binds(value: &Value<'_>) -> bool {
    match value {
        Value::Map(members) => members
            .iter()
            .any(|(name, value)| (name == "binding" && value.text() == Some("certificate")) || binds(value)),
        Value::List(items) => items.iter().any(binds),
        _ => false,
    }
}

fn looks_at_source(value: &Value<'_>, in_condition: bool) -> bool {
    match value {
        Value::Map(members) => members.iter().any(|(name, value)| {
            (in_condition && name == "source")
                || looks_at_source(value, in_condition || matches!(name.as_ref(), "callers" | "may_elevate"))
        }),
        Value::List(items) => items.iter().any(|item| looks_at_source(item, in_condition)),
        _ => false,
    }
}

#[derive(Debug)]
pub(super) struct World<'w> {
    pub model: Model<'w>,
    pub policies: &'w [Known],
    /// Routes that lead to servers, of connection managers with the filter, or of files of routes alone.
    pub served: Vec<Served<'w>>,
    /// Routes that lead to servers past connection managers with the filter.
    pub stray: Vec<Served<'w>>,
}

/// A route that leads to a server.
#[derive(Clone, Debug)]
pub(super) struct Served<'w> {
    pub route: Node<'w>,
    pub host: Node<'w>,
    pub config: Node<'w>,
    /// By its position in the model. None: a file of routes alone.
    pub manager: Option<usize>,
    /// By its metadata.
    pub named: Option<&'w str>,
    /// By host and path: the names of the policy.
    pub meant: Vec<&'w str>,
    /// Only a catch-all takes the path.
    pub is_catch_all: bool,
}

impl<'w> Served<'w> {
    /// The route, its virtual host and its route configuration: what is said at one holds for the route.
    pub(super) fn levels(&self) -> [&Node<'w>; 3] {
        [&self.route, &self.host, &self.config]
    }

    pub(super) fn clusters(&self) -> Vec<&'w str> {
        clusters(&self.route)
    }
}

/// Where metadata documents are (RFC 9728 3.1).
pub(super) const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

impl<'w> World<'w> {
    pub(super) fn new(model: Model<'w>, policies: &'w [Known]) -> World<'w> {
        let mut world = World { model, policies, served: Vec::new(), stray: Vec::new() };
        let guarded = |manager: &&(usize, &Manager<'w>)| manager.1.is_guarded();
        let managers: Vec<_> = world.model.managers.iter().enumerate().collect();
        let mut served: Vec<_> =
            managers.iter().filter(guarded).flat_map(|(at, manager)| world.of(Some(*at), &manager.routes)).collect();
        served.extend(world.of(None, &world.model.loose));
        let stray = managers.iter().filter(|manager| !guarded(manager));
        let stray: Vec<_> = stray.flat_map(|(at, manager)| world.of(Some(*at), &manager.routes)).collect();
        (world.served, world.stray) = (served, stray);
        world
    }

    pub(super) fn servers(&self) -> impl Iterator<Item = ServerView<'w>> {
        self.policies.iter().flat_map(|known| known.policy.view().servers())
    }

    /// Connection managers with the filter.
    pub(super) fn guarded(&self) -> impl Iterator<Item = &Manager<'w>> {
        self.model.managers.iter().filter(|manager| manager.is_guarded())
    }

    /// Every entry of ours.
    pub(super) fn ours(&self) -> impl Iterator<Item = &super::model::Filter<'w>> {
        self.guarded().flat_map(|manager| manager.ours().map(|(_, filter)| filter))
    }

    pub(super) fn cluster(&self, name: &str) -> Option<&Node<'w>> {
        self.model.clusters.iter().find(|cluster| cluster.text("name") == Some(name))
    }

    /// The clusters by which calls to this one leave: itself, or those behind the internal listener that it leads to.
    pub(super) fn ways_out(&self, name: &str) -> Vec<&Node<'w>> {
        let Some(cluster) = self.cluster(name) else { return Vec::new() };
        let Some(listener) = internal_listener(cluster) else { return vec![cluster] };
        let is_behind =
            |manager: &&Manager<'w>| manager.listener.as_ref().and_then(|own| own.text("name")) == Some(listener);
        let configs = self.model.managers.iter().filter(is_behind).flat_map(|manager| &manager.routes);
        let routes = configs.flat_map(|config| config.list("virtual_hosts")).flat_map(|host| host.list("routes"));
        let behind: Vec<_> = routes.flat_map(|route| clusters(&route)).filter_map(|name| self.cluster(name)).collect();
        if behind.is_empty() { vec![cluster] } else { behind }
    }

    /// The route configurations that stand before the filter, each with its connection manager.
    pub(super) fn route_configs(&self) -> impl Iterator<Item = &Node<'w>> {
        self.guarded().flat_map(|manager| &manager.routes).chain(&self.model.loose)
    }

    fn of(&self, manager: Option<usize>, configs: &[Node<'w>]) -> Vec<Served<'w>> {
        let is_guarded = manager.is_none_or(|at| self.model.managers.get(at).is_some_and(Manager::is_guarded));
        let mut found = Vec::new();
        for config in configs {
            let meant = self.meant(config);
            let is_all = self.policies.is_empty() && is_guarded && !self.names_servers(config);
            for host in config.list("virtual_hosts") {
                for route in host.list("routes") {
                    let meant = meant.get(&route.path).cloned().unwrap_or_default();
                    let named = named(&route);
                    let is_served = named.is_some() || !meant.is_empty() || is_all;
                    // Redirects and answers of the route itself lead nowhere.
                    if !is_served || !route.has("route") || leads_to_documents(&route) {
                        continue;
                    }
                    let is_catch_all = route.get("match").and_then(|matcher| matcher.text("prefix")) == Some("/");
                    let (host, config) = (host.clone(), config.clone());
                    found.push(Served { route, host, config, manager, named, meant, is_catch_all });
                }
            }
        }
        found
    }

    /// The routes that take paths of servers, by where they stand: the names of those.
    fn meant(&self, config: &Node<'w>) -> HashMap<String, Vec<&'w str>> {
        let mut meant: HashMap<String, Vec<&'w str>> = HashMap::new();
        for server in self.servers() {
            for host in hosts_for(config, authority(server.resource())) {
                for (path, _) in server.paths() {
                    for (route, _) in candidates(&host, path).into_iter().filter(|(_, takes)| *takes != Takes::Unclear)
                    {
                        let names = meant.entry(route.path).or_default();
                        if !names.contains(&server.name()) {
                            names.push(server.name());
                        }
                    }
                }
            }
        }
        meant
    }

    /// Without a policy: does some route name its server?
    fn names_servers(&self, config: &Node<'w>) -> bool {
        config.list("virtual_hosts").iter().flat_map(|host| host.list("routes")).any(|route| named(&route).is_some())
    }
}

/// The listener inside of this Envoy that all endpoints of the cluster are.
pub(super) fn internal_listener<'w>(cluster: &Node<'w>) -> Option<&'w str> {
    const NAME: [&str; 4] = ["endpoint", "address", "envoy_internal_address", "server_listener_name"];
    let groups = cluster.at(&["load_assignment", "endpoints"])?.items();
    let endpoints = groups.iter().flat_map(|group| group.list("lb_endpoints"));
    let names: Option<Vec<_>> = endpoints.map(|endpoint| endpoint.at(&NAME)?.value.text()).collect();
    let names = names?;
    let first = names.first()?;
    names.iter().all(|name| name == first).then_some(*first)
}

pub(super) fn named<'w>(route: &Node<'w>) -> Option<&'w str> {
    route.at(&["metadata", "filter_metadata", "stepup"])?.text("server")
}

fn leads_to_documents(route: &Node<'_>) -> bool {
    let Some(matcher) = route.get("match") else { return false };
    ["path", "prefix", "path_separated_prefix"]
        .iter()
        .any(|way| matcher.text(way).is_some_and(|path| path.starts_with("/.well-known/")))
}
