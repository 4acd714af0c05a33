//! The lock behind the filter: RBAC that lets nothing pass without the filter's own record.

use super::model::Filter;
use super::node::Node;

/// Where something may be said of a call through a route, nearest first: of each share of it that has something of its own, and of the
/// rest.
pub(super) fn levels<'v>(of_route: &[Node<'v>; 3]) -> Vec<Vec<Node<'v>>> {
    let [route, ..] = of_route;
    let shares = route.at(&["route", "weighted_clusters"]).map(|all| all.list("clusters")).unwrap_or_default();
    let own = shares.into_iter().filter(|share| share.has("typed_per_filter_config"));
    let mut all: Vec<_> = own.map(|share| [&[share], &of_route[..]].concat()).collect();
    all.push(of_route.to_vec());
    all
}

/// What one of them says of the filter of that name.
pub(super) fn own_config<'v>(level: &Node<'v>, name: &str) -> Option<Node<'v>> {
    let configs = level.get("typed_per_filter_config")?.members();
    configs.into_iter().find(|(key, _)| *key == name).map(|(_, config)| config)
}

/// What they say of it: the nearest counts.
pub(super) fn said<'v>(filter: &Filter<'_>, levels: &[Node<'v>]) -> Option<Node<'v>> {
    levels.iter().find_map(|level| own_config(level, filter.name))
}

pub(super) fn is_on(filter: &Filter<'_>, levels: &[Node<'_>]) -> bool {
    match said(filter, levels) {
        Some(own) => {
            !own.message().is_some_and(|(kind, message)| kind.ends_with(".FilterConfig") && message.flag("disabled"))
        }
        None => !filter.entry.flag("disabled"),
    }
}

/// It is on, asks for the filter's own record, and has no other way to let anything pass.
pub(super) fn is_lock(filter: &Filter<'_>, levels: &[Node<'_>]) -> bool {
    if !filter.is("rbac") || filter.is_ours || !is_on(filter, levels) {
        return false;
    }
    match said(filter, levels) {
        Some(own) => asks_for_record(&own),
        None => filter.message.as_ref().is_some_and(asks_for_record),
    }
}

/// RBAC, or what a route has in its place.
fn asks_for_record(message: &Node<'_>) -> bool {
    const RECORD: &str = "wasm.stepup.audit";
    if let Some(inner) = ["config", "rbac"].into_iter().find_map(|name| message.get(name)) {
        return asks_for_record(&inner);
    }
    match message.get("rules") {
        Some(rules) => {
            let policies = rules.get("policies").map(|policies| policies.members()).unwrap_or_default();
            matches!(rules.text("action"), None | Some("ALLOW"))
                && !policies.is_empty()
                && policies.iter().all(|(_, policy)| policy.mentions(RECORD))
        }
        None => message.get("matcher").is_some_and(|matcher| matcher.mentions(RECORD)),
    }
}
