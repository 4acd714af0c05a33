//! The filter itself: that it is there, last, on, and set up.

use std::collections::HashSet;

use step_up_core::json::Value;

use super::super::finding::Out;
use super::super::lock::{own_config, said};
use super::super::model::Filter;
use super::super::node::Node;
use super::super::routing::clusters as clusters_of;
use super::super::world::{WELL_KNOWN, World};
use super::{name_of, shown};

/// A way to a server past the filter.
pub(super) fn missing(world: &World<'_>, out: &mut Out<'_>) {
    const HELP: &str =
        "put the filter's entry into its `http_filters`, last before the router, as envoy/envoy.yaml has it";
    let guarded: Vec<_> =
        world.served.iter().filter(|served| served.manager.is_some()).flat_map(|served| served.clusters()).collect();
    for stray in &world.stray {
        let Some(manager) = stray.manager.and_then(|at| world.model.managers.get(at)) else { continue };
        let is_shared = stray.clusters().iter().any(|cluster| guarded.contains(cluster));
        let problem =
            format!("{} leads to a server, and its connection manager has no step-up filter", name_of(&stray.route));
        if is_shared || stray.named.is_some() || guarded.is_empty() {
            let follows = "whoever reaches this listener calls every tool, without a token";
            out.fault(&manager.node, problem, follows, HELP);
        } else if !stray.is_catch_all {
            let follows = "if it is the same server, whoever reaches this listener calls every tool, without a token";
            out.warn(&manager.node, problem, follows, HELP);
        }
    }
    for tunnel in &world.model.tunnels {
        let cluster = tunnel.text("cluster").unwrap_or_default();
        if guarded.contains(&cluster) {
            let problem = format!("a tcp_proxy to {}, the cluster of a server", shown(cluster));
            out.fault(
                tunnel,
                problem,
                "whoever reaches this listener calls every tool, without a token",
                "take it away",
            );
        }
    }
    if let Some(first) = world.model.managers.first()
        && world.guarded().next().is_none()
        && world.stray.is_empty()
    {
        out.fault(&first.node, "no connection manager has the step-up filter", "nothing is judged", HELP);
    }
}

pub(super) fn twice(world: &World<'_>, out: &mut Out<'_>) {
    for manager in world.guarded() {
        for (_, filter) in manager.ours().skip(1) {
            out.fault(
                &filter.entry,
                "the step-up filter a second time",
                "the second one refuses the elevated tokens of the first: 401",
                "keep one of them",
            );
        }
    }
}

/// After ours: these look on.
const ONLOOKERS: [&str; 6] =
    ["grpc_stats", "alpn", "stats", "metadata_exchange", "peer_metadata", "grpc_http1_reverse_bridge_stats"];
/// These refuse, and change nothing.
const LIMITS: [&str; 4] = ["local_ratelimit", "ratelimit", "fault", "bandwidth_limit"];
/// `rbac` is the lock of a route that lost the filter.
const RIGHT: [&str; 4] = ["router", "mcp_router", "rbac", "cors"];

pub(super) fn not_last(world: &World<'_>, out: &mut Out<'_>) {
    for manager in world.guarded() {
        for filter in manager.after().iter().filter(|filter| !filter.is_ours) {
            let is_one_of =
                |words: &[&str]| words.iter().any(|word| filter.is(word)) || words.contains(&last_part(filter.name));
            let problem = format!("{} stands after the step-up filter", shown(filter.name));
            let help = "put it before, or `step-up` last before the router; a rate limit may count by filter state there (`limits.filter_state`)";
            if is_one_of(&RIGHT) {
            } else if is_one_of(&ONLOOKERS) {
                out.note(&filter.entry, problem, "it looks on; it sees elevated tokens", help);
            } else if is_one_of(&LIMITS) {
                let counts = world.policies.iter().any(|known| known.policy.limits().filter_state);
                if counts && is_one_of(&["local_ratelimit", "ratelimit"]) {
                    continue;
                }
                let follows = "it counts only what is permitted; an elevated call that it refuses has cost a token";
                out.warn(&filter.entry, problem, follows, help);
            } else {
                out.fault(&filter.entry, problem, consequence(filter), help);
            }
        }
    }
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

fn consequence(filter: &Filter<'_>) -> &'static str {
    match filter {
        _ if filter.is("ext_authz") || filter.is("ext_proc") => {
            "it is sent elevated tokens, and refuses calls for which one was minted"
        }
        _ if filter.is("jwt_authn") => {
            "it refuses elevated tokens that its provider does not know, or takes the token away"
        }
        _ if filter.is("compressor") => {
            "what it packed cannot be read: lists are 502 `list_unreadable`, and ends are not seen"
        }
        _ => "it may forward another body or another token than the one that was judged",
    }
}

/// `disabled: true` for one route.
pub(super) fn disabled(world: &World<'_>, out: &mut Out<'_>) {
    let served: HashSet<_> = world.served.iter().map(|served| (served.route.file, &served.route.path)).collect();
    let clusters: HashSet<_> = world.served.iter().flat_map(|served| served.clusters()).collect();
    let led = |route: &Node<'_>| Led {
        to_server: served.contains(&(route.file, &route.path)),
        to_its_cluster: clusters_of(route).iter().any(|cluster| clusters.contains(cluster)),
    };
    for manager in world.guarded() {
        for (_, filter) in manager.ours() {
            if filter.kind.ends_with(".ExtensionWithMatcher") {
                out.fault(
                    &filter.entry,
                    "the step-up filter is applied only where a matcher says so",
                    "the gate is open for every other request",
                    "write it as a filter of its own",
                );
            }
            let is_off = filter.entry.flag("disabled");
            for of in manager.each_route() {
                let [route, ..] = &of;
                one_route(&led(route), filter, is_off, route, said(filter, &of).as_ref(), out);
            }
        }
    }
}

/// Where a route leads.
struct Led {
    to_server: bool,
    to_its_cluster: bool,
}

fn one_route(
    led: &Led,
    filter: &Filter<'_>,
    is_off: bool,
    route: &Node<'_>,
    said: Option<&Node<'_>>,
    out: &mut Out<'_>,
) {
    let way = |way: &str| route.get("match").and_then(|matcher| matcher.text(way)).unwrap_or_default();
    let is_document = ["path", "prefix", "path_separated_prefix"].iter().any(|one| way(one).starts_with(WELL_KNOWN));
    let at = match said {
        Some(said) if said.flag("disabled") => said,
        None if is_off => &filter.entry,
        _ => return weighted(filter, route, led.to_server, out),
    };
    let problem = format!("the step-up filter is off on {}", name_of(route));
    let help = "`disabled: true` only on a route that answers by itself";
    if led.to_server || led.to_its_cluster {
        out.fault(at, problem, "the gate is open: every request reaches the server unjudged", help);
    } else if is_document {
        out.fault(at, problem, "the metadata document is not served: no client finds its authorization server", help);
    } else if route.has("route") {
        out.warn(at, problem, "what it leads to is not judged; if that is a server, the gate is open", help);
    }
}

/// A share of a route's calls.
fn weighted(filter: &Filter<'_>, route: &Node<'_>, is_served: bool, out: &mut Out<'_>) {
    let shares =
        route.at(&["route", "weighted_clusters"]).map(|clusters| clusters.list("clusters")).unwrap_or_default();
    for said in shares
        .iter()
        .filter_map(|share| own_config(share, filter.name))
        .filter(|said| is_served && said.flag("disabled"))
    {
        out.fault(
            &said,
            format!("the step-up filter is off for a share of {}", name_of(route)),
            "the gate is open: these requests reach the server unjudged",
            "take it away",
        );
    }
}

pub(super) fn header_stop(world: &World<'_>, out: &mut Out<'_>) {
    for plugin in world.model.plugins.iter().filter(|plugin| plugin.is_ours) {
        if !plugin.config.flag("allow_on_headers_stop_iteration") {
            out.fault(
                &plugin.config,
                "no `allow_on_headers_stop_iteration: true`",
                "every POST hangs until the filter answers 503 `host_without_header_stop` after `limits.body_wait`",
                "write `allow_on_headers_stop_iteration: true`",
            );
        }
    }
}

pub(super) fn failure_policy(world: &World<'_>, out: &mut Out<'_>) {
    const HELP: &str = "write `failure_policy: FAIL_RELOAD`";
    for plugin in world.model.plugins.iter().filter(|plugin| plugin.is_ours) {
        let config = &plugin.config;
        let policy = config.text("failure_policy");
        if policy == Some("FAIL_OPEN") || config.flag("fail_open") {
            let at = config.get("failure_policy").or(config.get("fail_open")).unwrap_or(config.clone());
            out.fault(&at, "the filter fails open", "after one trap every request of the worker passes unjudged", HELP);
        } else if policy != Some("FAIL_RELOAD") {
            let at = config.get("failure_policy").unwrap_or(config.clone());
            out.fault(&at, "no `failure_policy: FAIL_RELOAD`", "after one trap the worker answers 503 for ever", HELP);
        }
    }
}

pub(super) fn discovery(world: &World<'_>, out: &mut Out<'_>) {
    for filter in world.ours().filter(|filter| !filter.entry.has("config_discovery")) {
        out.warn(
            &filter.entry,
            "the filter's configuration stands in the listener",
            "a faulty policy stops Envoy at its start, and each change of the policy drains the listener and cuts streams",
            "write `config_discovery`, as envoy/envoy.yaml has it",
        );
    }
}

pub(super) fn discovery_default(world: &World<'_>, out: &mut Out<'_>) {
    const HELP: &str = "write RBAC with `rules: { action: ALLOW }` and without policies: it allows nothing";
    for filter in world.ours() {
        let Some(discovery) = filter.entry.get("config_discovery") else { continue };
        match discovery.get("default_config") {
            None => out.warn(
                &discovery,
                "no `default_config`",
                "until a good policy is there, what comes of requests is not said here: 500, or no listener at all",
                HELP,
            ),
            Some(default) if denies_all(&default) => {}
            Some(default) => out.fault(
                &default,
                "the `default_config` does not refuse everything",
                "until a good policy is there, requests pass unjudged",
                HELP,
            ),
        }
    }
}

/// RBAC that allows, and has nothing that it allows; or denies anything of anybody. Without `rules` it lets everything pass.
fn denies_all(default: &Node<'_>) -> bool {
    let Some((kind, message)) = default.message() else { return false };
    let Some(rules) = message.get("rules") else { return false };
    let policies = rules.get("policies").map(|policies| policies.members()).unwrap_or_default();
    let is_any = |list: &str, policy: &Node<'_>| policy.list(list).iter().any(|one| one.flag("any"));
    let is_about_all = |(_, policy): &(&str, Node<'_>)| is_any("permissions", policy) && is_any("principals", policy);
    let denies = match rules.text("action") {
        None | Some("ALLOW") => policies.is_empty(),
        Some("DENY") => policies.iter().any(is_about_all),
        Some(_) => false,
    };
    kind.ends_with(".http.rbac.v3.RBAC") && denies
}

pub(super) fn vm_id(world: &World<'_>, out: &mut Out<'_>) {
    let id = |config: &Node<'_>| {
        config.at(&["vm_config"]).and_then(|vm| vm.text("vm_id").map(str::to_owned)).unwrap_or_default()
    };
    for plugin in world.model.plugins.iter().filter(|plugin| plugin.is_ours) {
        let own = id(&plugin.config);
        let other = world.model.plugins.iter().find(|other| !other.is_ours && id(&other.config) == own);
        let at = plugin.config.get("vm_config").unwrap_or(plugin.config.clone());
        let at = at.get("vm_id").unwrap_or(at);
        let help = "write a `vm_id` of its own";
        if let Some(other) = other {
            let name = other.config.text("name").unwrap_or("without a name");
            let problem = format!("the plugin {} has the same `vm_id`", shown(name));
            out.fault(
                &at,
                problem,
                "it shares the memory, and can write the key documents that tokens are verified with",
                help,
            );
        } else if own.is_empty() {
            out.warn(
                &at,
                "no `vm_id`",
                "the next plugin without one shares its memory, and can write key documents",
                help,
            );
        }
    }
}

pub(super) fn runtime(world: &World<'_>, out: &mut Out<'_>) {
    for plugin in world.model.plugins.iter().filter(|plugin| plugin.is_ours) {
        let runtime = plugin.config.at(&["vm_config", "runtime"]);
        let text = runtime.as_ref().and_then(|node| match node.value {
            Value::Text(text) => Some(text.as_ref()),
            _ => None,
        });
        if text != Some("envoy.wasm.runtime.v8") {
            out.warn(
                &runtime.unwrap_or(plugin.config.clone()),
                "another runtime than V8",
                "the filter was not run on it, and Envoy's releases have V8 only",
                "write `runtime: envoy.wasm.runtime.v8`",
            );
        }
    }
}
