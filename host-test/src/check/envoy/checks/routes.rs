//! The routes that lead to servers.

use super::super::finding::Out;
use super::super::model::Manager;
use super::super::node::Node;
use super::super::routing::{Takes, authority, candidates, hosts_for};
use super::super::world::{Served, World, named};
use super::clusters::{injectors, options, token_services};
use super::neighbours::is_authorization;
use super::{name_of, shown};

/// The action's field, where it is written; else the action.
fn place<'w>(served: &Served<'w>, name: &str) -> Node<'w> {
    let action = served.route.get("route").unwrap_or_else(|| served.route.clone());
    action.get(name).unwrap_or(action)
}

pub(super) fn server_name(world: &World<'_>, out: &mut Out<'_>) {
    let needs = world.policies.iter().any(|known| known.policy.view().needs_named_routes());
    for served in &world.served {
        let route = name_of(&served.route);
        match served.named {
            None if needs => out.fault(
                &served.route,
                format!("{route} does not name its server, and the policy has several"),
                "every request is 404 `unknown_server`",
                "write `metadata: { filter_metadata: { stepup: { server: NAME } } }`, or `select: host` into the policy",
            ),
            Some(name) if !world.policies.is_empty() && world.servers().all(|server| server.name() != name) => out.fault(
                &served.route,
                format!("{route} names the server {}, which the policy does not have", shown(name)),
                "every request is 404 `unknown_server`",
                "write the name as the policy has it",
            ),
            Some(name) if !served.meant.is_empty() && !served.meant.contains(&name) => out.fault(
                &served.route,
                format!("{route} names the server {}, and its path is that of {}", shown(name), shown(served.meant.first().unwrap_or(&""))),
                "every request is 404 `unknown_path`",
                "let the route name the server whose path it takes",
            ),
            _ => {}
        }
    }
}

/// P29: to the filter, a final slash more or less is one path.
pub(super) fn slash(world: &World<'_>, out: &mut Out<'_>) {
    for config in world.route_configs() {
        for server in world.servers() {
            for host in hosts_for(config, authority(server.resource())) {
                for (path, other) in server.spellings() {
                    pair(&host, &path, &other, out);
                }
            }
        }
    }
}

fn pair(host: &Node<'_>, path: &str, other: &str, out: &mut Out<'_>) {
    let (one, two) = (candidates(host, path), candidates(host, other));
    let unsure = |list: &[(Node<'_>, Takes)]| {
        list.iter().find(|(_, takes)| *takes != Takes::Yes).map(|(route, _)| route.path.clone())
    };
    let alone = |list: &[(Node<'_>, Takes)]| list.first().map(|(route, _)| rest(route));
    if let Some(unsure) = unsure(&one).or(unsure(&two)) {
        if let Some((route, _)) = one.iter().chain(&two).find(|(route, _)| route.path == unsure) {
            out.warn(
                route,
                format!("whether {} takes `{path}` and `{other}` alike cannot be told", name_of(route)),
                "to the filter they are one path; the server of the one may get what was judged for the other",
                "see to it, or write `path_separated_prefix` without more conditions",
            );
        }
    } else if alone(&one) != alone(&two) {
        let called = |list: &[(Node<'_>, Takes)]| list.first().map_or("none".to_owned(), |(route, _)| name_of(route));
        let at = one.iter().chain(&two).map(|(route, _)| route).next().unwrap_or(host);
        out.fault(
            at,
            format!("`{path}` takes {}, `{other}` takes {}", called(&one), called(&two)),
            "to the filter they are one path: a call is judged for a server and sent elsewhere, or is Envoy's 404",
            format!("`path_separated_prefix: {}` takes both", path.trim_end_matches('/')),
        );
    }
}

/// What a route does: all but its name and what it takes.
fn rest(route: &Node<'_>) -> String {
    let members = route.members().into_iter().filter(|(name, _)| !matches!(*name, "name" | "match"));
    let mut members: Vec<_> =
        members.map(|(name, node)| format!("{name}: {}", crate::yaml::to_json(node.value))).collect();
    members.sort();
    members.join(", ")
}

pub(super) fn no_virtual_host(world: &World<'_>, out: &mut Out<'_>) {
    let configs: Vec<_> = world.route_configs().collect();
    let Some(first) = configs.first() else { return };
    for server in world.servers() {
        let host = authority(server.resource());
        if configs.iter().all(|config| hosts_for(config, host).is_empty()) {
            out.warn(
                first,
                format!("no virtual host for {}, server {}", shown(host), shown(server.name())),
                "its clients get Envoy's 404, and what of its routes is right was not looked at",
                format!("write a virtual host for {}, or name the file that has it", shown(host)),
            );
        }
    }
}

/// RFC 9728: where a client learns who gives it a token.
pub(super) fn metadata_document(world: &World<'_>, out: &mut Out<'_>) {
    const FOLLOWS: &str = "no client finds the authorization server";
    for config in world.route_configs() {
        for server in world.servers() {
            let hosts = hosts_for(config, authority(server.resource()));
            // Where its calls do not arrive, its document need not be.
            for host in hosts.iter().filter(|host| world.served.iter().any(|served| served.host.path == host.path)) {
                for (_, document) in server.paths() {
                    let needs = world.policies.iter().any(|known| known.policy.view().needs_named_routes());
                    let help =
                        format!("write a route for `path_separated_prefix: {document}` with the server's metadata");
                    match candidates(host, document).first() {
                        None if needs => {
                            let problem = format!("no route takes `{document}`, so none names its server: 404");
                            out.fault(host, problem, FOLLOWS, help);
                        }
                        Some((route, Takes::Yes)) if needs && named(route).is_none() => {
                            let problem =
                                format!("`{document}` takes {}, which does not name its server: 404", name_of(route));
                            out.fault(route, problem, FOLLOWS, help);
                        }
                        _ => {}
                    }
                }
            }
        }
    }
}

pub(super) fn timeout(world: &World<'_>, out: &mut Out<'_>) {
    for served in &world.served {
        let seconds = served.route.get("route").and_then(|action| action.seconds("timeout"));
        if seconds != Some(0.0) {
            let said = seconds.map_or("Envoy's 15 s".to_owned(), |seconds| format!("{seconds} s"));
            out.warn(
                &place(served, "timeout"),
                format!("{} has no `timeout: 0s`", name_of(&served.route)),
                format!("tool calls and event streams are cut after {said}"),
                "write `timeout: 0s`",
            );
        }
    }
}

pub(super) fn idle_timeout(world: &World<'_>, out: &mut Out<'_>) {
    for served in &world.served {
        let seconds = served.route.get("route").and_then(|action| action.seconds("idle_timeout"));
        let follows = match seconds {
            None => "the connection manager's `stream_idle_timeout` cuts silent tools and streams",
            Some(0.0) => "a stream that a trapped VM left behind hangs",
            Some(seconds) if seconds < 3600.0 => "silent tools and streams are cut",
            Some(_) => continue,
        };
        let problem = format!("{} has no `idle_timeout: 3600s`", name_of(&served.route));
        out.warn(&place(served, "idle_timeout"), problem, follows, "write `idle_timeout: 3600s`");
    }
}

/// Between the filter's limit and the proxy's.
const MORE: u64 = 64 * 1024;
/// Envoy's own, of a listener that says nothing.
const DEFAULT: u64 = 1024 * 1024;

pub(super) fn body_limit(world: &World<'_>, out: &mut Out<'_>) {
    let Some(wanted) = world.policies.iter().map(|known| known.policy.limits().request_body as u64).max() else {
        return;
    };
    for served in &world.served {
        let manager = served.manager.and_then(|at| world.model.managers.get(at));
        let Some((limit, at)) = limit(served, manager) else { continue };
        if limit >= wanted + MORE {
            continue;
        }
        let problem =
            format!("{} takes bodies of {limit} bytes, and `limits.request_body` is {wanted}", name_of(&served.route));
        let help = format!("write `request_body_buffer_limit: {}` at the virtual host", wanted + MORE);
        if limit < wanted {
            out.fault(&at, problem, "calls that the policy lets pass get Envoy's 413, in plain text", help);
        } else {
            out.warn(&at, problem, "Envoy's own 413, in plain text, comes before the filter's", help);
        }
    }
    for manager in world.guarded() {
        for filter in manager.before().iter().filter(|filter| filter.is("buffer")) {
            let limit = filter.message.as_ref().and_then(|message| message.number("max_request_bytes"));
            if let Some(limit) = limit.filter(|limit| *limit < wanted + MORE) {
                out.warn(
                    &filter.entry,
                    format!("the buffer filter takes bodies of {limit} bytes, and `limits.request_body` is {wanted}"),
                    "Envoy's own 413, in plain text, comes before the filter's",
                    "take it away: the filter waits for the body itself",
                );
            }
        }
    }
}

/// What is said nearest to the route counts; the listener's, where nothing is.
fn limit<'w>(served: &Served<'w>, manager: Option<&Manager<'w>>) -> Option<(u64, Node<'w>)> {
    let own = served
        .levels()
        .into_iter()
        .find_map(|level| Some((level.number("request_body_buffer_limit")?, level.get("request_body_buffer_limit")?)));
    if own.is_some() {
        return own;
    }
    let listener = manager?.listener.clone()?;
    let of_listener = listener.number("per_connection_buffer_limit_bytes").unwrap_or(DEFAULT);
    // The older word can only make it less.
    let less = served.levels().into_iter().find_map(|level| level.number("per_request_buffer_limit_bytes"));
    let at = listener.get("per_connection_buffer_limit_bytes").unwrap_or_else(|| served.host.clone());
    Some((less.map_or(of_listener, |less| less.min(of_listener)), at))
}

pub(super) fn retries(world: &World<'_>, out: &mut Out<'_>) {
    for served in &world.served {
        let action = served.route.get("route");
        let said = |name: &str| action.as_ref().and_then(|action| action.get(name)).or_else(|| served.host.get(name));
        let name = name_of(&served.route);
        if let Some(policy) = said("retry_policy") {
            retry(&policy, &name, out);
        }
        for policy in own_clusters(world, served).filter_map(|options| options.get("retry_policy")) {
            retry(&policy, &format!("the cluster of {name}"), out);
        }
        if let Some(hedge) = said("hedge_policy").filter(|hedge| hedge.flag("hedge_on_per_try_timeout")) {
            let problem = format!("{name} sends a second request beside a slow one");
            out.fault(&hedge, problem, "a call is executed twice, an elevated one with the same token", "take it away");
        }
    }
    for policy in token_services(world).filter_map(|cluster| options(cluster)?.get("retry_policy")) {
        let follows = "an exchange is made twice, and the token of the first answer is lost: it lives until its `exp`";
        out.warn(
            &policy,
            "the token service's cluster repeats requests",
            follows,
            "take it away: the filter repeats what may be",
        );
    }
}

/// What the clusters of a route say of HTTP.
fn own_clusters<'w>(world: &World<'w>, served: &Served<'w>) -> impl Iterator<Item = Node<'w>> {
    served.clusters().into_iter().filter_map(|name| options(world.cluster(name)?))
}

/// Where nothing has reached the server yet.
const HARMLESS: [&str; 2] = ["connect-failure", "refused-stream"];

fn retry(policy: &Node<'_>, name: &str, out: &mut Out<'_>) {
    let on = policy.text("retry_on").unwrap_or_default();
    let has_codes = !policy.list("retriable_status_codes").is_empty();
    if policy.number("num_retries") == Some(0) || (on.is_empty() && !has_codes) {
        return;
    }
    let help = "take the `retry_policy` away, or write `num_retries: 0`";
    if on.split(',').all(|case| HARMLESS.contains(&case.trim())) {
        let problem = format!("{name} repeats requests that did not arrive");
        out.warn(policy, problem, "a stream's time begins anew, beyond the `exp` of its token", help);
    } else {
        let problem = format!("{name} repeats requests ({})", shown(on));
        out.fault(policy, problem, "a call is executed twice or more, an elevated one with the same token", help);
    }
}

pub(super) fn mirrors(world: &World<'_>, out: &mut Out<'_>) {
    for served in &world.served {
        let action = served.route.get("route");
        let levels = action.into_iter().chain([served.host.clone(), served.config.clone()]);
        let lists = levels.chain(own_clusters(world, served)).filter_map(|level| level.get("request_mirror_policies"));
        for mirror in lists.filter(|list| !list.items().is_empty()) {
            let problem = format!("{} is mirrored", name_of(&served.route));
            out.fault(
                &mirror,
                problem,
                "a call is executed twice, and tokens go elsewhere, elevated ones too",
                "take it away",
            );
        }
    }
}

pub(super) fn internal_redirects(world: &World<'_>, out: &mut Out<'_>) {
    for served in &world.served {
        if let Some(policy) = served.route.get("route").and_then(|action| action.get("internal_redirect_policy")) {
            let problem = format!("{} follows redirects of the server", name_of(&served.route));
            out.fault(&policy, problem, "a call is executed twice, or its token goes elsewhere", "take it away");
        }
    }
}

pub(super) fn upstream_challenge(world: &World<'_>, out: &mut Out<'_>) {
    for served in &world.served {
        let is_removed = |level: &&Node<'_>| has_text(level, "response_headers_to_remove", "www-authenticate");
        let is_meant = |name: &str| served.named == Some(name) || served.meant.contains(&name);
        let is_ours = world.servers().any(|server| is_meant(server.name()) && server.challenges_itself());
        if is_ours && let Some(level) = served.levels().into_iter().find(|level| is_removed(level)) {
            out.warn(
                &level.get("response_headers_to_remove").unwrap_or_else(|| level.clone()),
                format!("challenges of the server behind {} are taken away", name_of(&served.route)),
                "the router does so before the filter sees them: `upstream_challenge: ours` has nothing to repeat",
                "leave `www-authenticate` where the policy says `upstream_challenge: ours`",
            );
        } else if !is_ours && !served.levels().iter().any(is_removed) {
            out.warn(
                &served.host,
                format!("challenges of the server behind {} pass", name_of(&served.route)),
                "they send clients to the server's own authorization server",
                "write `response_headers_to_remove: [www-authenticate]` at the virtual host, or `upstream_challenge: ours` into the policy",
            );
        }
    }
}

/// Between the filter and the server.
pub(super) fn token_changed(world: &World<'_>, out: &mut Out<'_>) {
    const FOLLOWS: &str = "the server does not get the token that was judged, nor the elevated one";
    const HELP: &str = "take it away";
    for served in &world.served {
        for level in served.levels() {
            let name = name_of(&served.route);
            if has_text(level, "request_headers_to_remove", "authorization") {
                let at = level.get("request_headers_to_remove").unwrap_or_else(|| level.clone());
                out.fault(&at, format!("{name} takes `authorization` away"), FOLLOWS, HELP);
            }
            for added in level.list("request_headers_to_add") {
                if is_authorization(added.get("header").and_then(|header| header.text("key"))) {
                    out.fault(&added, format!("{name} writes `authorization`"), FOLLOWS, HELP);
                }
            }
        }
        for cluster in served.clusters().into_iter().filter_map(|name| world.cluster(name)) {
            for injector in injectors(cluster) {
                out.fault(
                    &injector,
                    format!("the cluster of {} writes `authorization`", name_of(&served.route)),
                    FOLLOWS,
                    HELP,
                );
            }
        }
    }
}

fn has_text(level: &Node<'_>, list: &str, wanted: &str) -> bool {
    level.list(list).iter().filter_map(|item| item.value.text()).any(|text| text.eq_ignore_ascii_case(wanted))
}
