//! Every check, by its name. `envoy/README.md` has a row for each.

mod certificates;
mod clusters;
mod filter;
mod lock;
mod manager;
mod neighbours;
mod routes;
mod unseen;

use super::finding::{Finding, Out};
use super::node::Node;
use super::world::World;
use crate::shown::plain;

/// A check, and where it looks.
#[derive(Clone, Copy)]
enum Look {
    World(fn(&World<'_>, &mut Out<'_>)),
    /// At the files as such, too.
    Files(fn(&World<'_>, &[Node<'_>], &mut Out<'_>)),
}

const CHECKS: [(&str, Look); 52] = [
    ("filter-missing", Look::World(filter::missing)),
    ("filter-twice", Look::World(filter::twice)),
    ("filter-not-last", Look::World(filter::not_last)),
    ("filter-disabled", Look::World(filter::disabled)),
    ("lock", Look::World(lock::lock)),
    ("header-stop", Look::World(filter::header_stop)),
    ("failure-policy", Look::World(filter::failure_policy)),
    ("discovery", Look::World(filter::discovery)),
    ("discovery-default", Look::World(filter::discovery_default)),
    ("vm-id", Look::World(filter::vm_id)),
    ("runtime", Look::World(filter::runtime)),
    ("jwt-authn-forward", Look::World(neighbours::jwt_forward)),
    ("jwt-authn-answers", Look::World(neighbours::jwt_answers)),
    ("answers-before", Look::World(neighbours::answers)),
    ("foreign-code", Look::World(neighbours::foreign_code)),
    ("token-replaced", Look::World(neighbours::token_replaced)),
    ("compressed-streams", Look::World(neighbours::compressed_streams)),
    ("cors", Look::World(neighbours::cors)),
    ("mcp-router", Look::World(neighbours::mcp_router)),
    ("stream-idle-timeout", Look::World(manager::stream_idle_timeout)),
    ("normalize-path", Look::World(manager::normalize_path)),
    ("merge-slashes", Look::World(manager::merge_slashes)),
    ("escaped-slashes", Look::World(manager::escaped_slashes)),
    ("ignored-upgrades", Look::World(manager::ignored_upgrades)),
    ("upgrades", Look::World(manager::upgrades)),
    ("proxy-100-continue", Look::World(manager::proxy_100_continue)),
    ("underscores", Look::World(manager::underscores)),
    ("remote-address", Look::World(manager::remote_address)),
    ("error-pages", Look::World(manager::error_pages)),
    ("audit-log", Look::World(manager::audit_log)),
    ("stats-tags", Look::World(manager::stats_tags)),
    ("client-certificate", Look::World(certificates::client)),
    ("forwarded-certificate", Look::World(certificates::forwarded)),
    ("server-name", Look::World(routes::server_name)),
    ("final-slash", Look::World(routes::slash)),
    ("virtual-host", Look::World(routes::no_virtual_host)),
    ("metadata-document", Look::World(routes::metadata_document)),
    ("route-timeout", Look::World(routes::timeout)),
    ("route-idle-timeout", Look::World(routes::idle_timeout)),
    ("body-limit", Look::World(routes::body_limit)),
    ("retries", Look::World(routes::retries)),
    ("mirrors", Look::World(routes::mirrors)),
    ("internal-redirects", Look::World(routes::internal_redirects)),
    ("upstream-challenge", Look::World(routes::upstream_challenge)),
    ("token-changed", Look::World(routes::token_changed)),
    ("cluster-missing", Look::World(clusters::missing)),
    ("cluster-tls", Look::World(clusters::tls)),
    ("keys-credential", Look::World(clusters::keys_credential)),
    ("token-service-limit", Look::World(clusters::token_service_limit)),
    ("update-refused", Look::Files(unseen::refused)),
    ("no-routes", Look::Files(unseen::no_routes)),
    ("unseen", Look::Files(unseen::unseen)),
];

/// Their names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|(name, _)| *name)
}

/// What all of them find, in the order of the list.
pub(super) fn look(world: &World<'_>, roots: &[Node<'_>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, look) in CHECKS {
        let mut out = Out { name, findings: &mut findings };
        match look {
            Look::World(look) => look(world, &mut out),
            Look::Files(look) => look(world, roots, &mut out),
        }
    }
    findings
}

/// A name of the file's, for a terminal.
fn shown(text: &str) -> String {
    plain(&text.chars().take(200).collect::<String>())
}

/// A route, as people call it.
fn name_of(route: &Node<'_>) -> String {
    let matcher = route.get("match");
    let taken = ["path", "path_separated_prefix", "prefix"].into_iter().find_map(|way| matcher.as_ref()?.text(way));
    match (route.text("name"), taken) {
        (Some(name), _) => format!("route {}", shown(name)),
        (None, Some(path)) => format!("the route of `{}`", shown(path)),
        (None, None) => "a route without a name".to_owned(),
    }
}
