//! What these files do not show. Nothing of it is taken to be good.

use step_up_core::json::Value;

use super::super::finding::Out;
use super::super::model::Manager;
use super::super::node::Node;
use super::super::world::World;
use super::shown;

pub(super) fn no_routes(world: &World<'_>, roots: &[Node<'_>], out: &mut Out<'_>) {
    if let Some(first) = roots.first()
        && world.model.managers.is_empty()
        && world.model.loose.is_empty()
    {
        out.fault(
            first,
            "no connection manager and no `virtual_hosts`",
            "nothing was looked at",
            "name the file that has the listener: a bootstrap, what a control plane serves, or the answer of `/config_dump?include_eds`",
        );
    }
}

pub(super) fn refused(world: &World<'_>, _: &[Node<'_>], out: &mut Out<'_>) {
    for error in &world.model.refused {
        let details = error.text("details").unwrap_or_default();
        out.warn(
            error,
            format!("Envoy refused an update: {}", shown(details.lines().next().unwrap_or_default())),
            "what runs, and was looked at, is the one before",
            "mend the update",
        );
    }
}

pub(super) fn unseen(world: &World<'_>, roots: &[Node<'_>], out: &mut Out<'_>) {
    const MORE: &str =
        "name the file that has it with `--envoy`, too; `/config_dump?include_eds` of a running Envoy has all";
    let mut say = |at: &Node<'_>, what: String, follows: &str| out.note(at, what, follows, MORE);
    let Some(first) = roots.first() else { return };
    if world.policies.is_empty() {
        say(
            first,
            "no policy is given".to_owned(),
            "hosts, paths, limits, clusters and certificates were not compared with one",
        );
    }
    for manager in world.model.managers.iter().filter(|manager| manager.routes.is_empty()) {
        let name = manager.node.get("rds").and_then(|rds| rds.text("route_config_name")).unwrap_or("without a name");
        say(&manager.node, format!("the routes {} are not in these files", shown(name)), "they were not looked at");
    }
    for filter in world.ours().filter(|filter| filter.message.is_none()) {
        let follows = "its policy, and what its plugin is set to, were not looked at";
        say(
            &filter.entry,
            format!("the configuration of {} comes by discovery, and is not in these files", shown(filter.name)),
            follows,
        );
    }
    for filter in world.ours().filter(|filter| filter.kind.contains(".rbac.")) {
        say(
            &filter.entry,
            "in place of the filter RBAC is in force".to_owned(),
            "if it is the closed kill switch, everything is refused",
        );
    }
    for config in world.route_configs() {
        if config.has("vhds") {
            say(
                config,
                "virtual hosts come by discovery".to_owned(),
                "those that are not in these files were not looked at",
            );
        }
        for host in config.list("virtual_hosts").iter().filter(|host| host.has("matcher")) {
            say(host, "a virtual host with a `matcher`".to_owned(), "which routes it leads to is not looked at");
        }
    }
    parts(world, first, &mut say);
    for root in roots {
        if let Some(alias) = alias(root) {
            say(&alias, "an alias".to_owned(), "what it stands for was not looked at here");
        }
    }
}

fn parts(world: &World<'_>, first: &Node<'_>, say: &mut impl FnMut(&Node<'_>, String, &str)) {
    let model = &world.model;
    let is_dump = model.bootstraps.iter().any(|bootstrap| bootstrap.path.starts_with("configs["));
    if model.managers.is_empty() && !model.loose.is_empty() {
        say(first, "no listener is in these files".to_owned(), "the filter, and what is around it, were not looked at");
    }
    for bootstrap in model.bootstraps.iter().filter(|_| !is_dump) {
        for (name, what) in [("lds_config", "listeners"), ("cds_config", "clusters")] {
            if let Some(source) = bootstrap.at(&["dynamic_resources", name]) {
                say(
                    &source,
                    format!("{what} come by discovery"),
                    "those that are not in these files were not looked at",
                );
            }
        }
    }
    if model.bootstraps.is_empty() {
        say(
            first,
            "no bootstrap is in these files".to_owned(),
            "whether it has the `stats_tags` of the metrics was not looked at",
        );
    }
    if model.clusters.is_empty() {
        say(first, "no clusters are in these files".to_owned(), "those of keys and tokens were not looked at");
    }
    let is_scoped = |manager: &&Manager<'_>| manager.node.has("scoped_routes");
    for manager in world.guarded().filter(is_scoped) {
        say(&manager.node, "`scoped_routes`".to_owned(), "which routes they lead to is not looked at");
    }
}

/// The first one outside of policies.
fn alias<'v>(node: &Node<'v>) -> Option<Node<'v>> {
    if *node.value == Value::Skipped {
        return Some(node.clone());
    }
    let members = node.members().into_iter().filter(|(name, _)| *name != "configuration").map(|(_, member)| member);
    members.chain(node.items()).find_map(|member| alias(&member))
}
