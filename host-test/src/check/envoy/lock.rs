//! The lock behind the filter: RBAC that lets nothing pass without the filter's own record.

use super::model::Filter;
use super::node::Node;

/// What a route, its host or its configuration says of a filter: the nearest counts.
pub(super) fn of_level<'v>(filter: &Filter<'_>, levels: [&Node<'v>; 3]) -> Option<Node<'v>> {
    levels.into_iter().find_map(|level| {
        let all = level.get("typed_per_filter_config")?;
        all.members().into_iter().find(|(name, _)| *name == filter.name).map(|(_, node)| node)
    })
}

/// It asks for the filter's own record, and has no other way to let anything pass.
pub(super) fn is_lock(filter: &Filter<'_>, levels: [&Node<'_>; 3]) -> bool {
    const RECORD: &str = "wasm.stepup.audit";
    if !filter.is("rbac") || filter.is_ours {
        return false;
    }
    match of_level(filter, levels) {
        Some(own) => own.mentions(RECORD),
        None => filter.message.as_ref().is_some_and(|message| message.mentions(RECORD)),
    }
}
