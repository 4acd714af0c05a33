//! Which route takes a path, as Envoy's router finds it, as far as the configuration says.

use regex::Regex;
use step_up_core::json::Value;

use super::node::Node;

/// The part of a route's `match` that is about more than the path may be there or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    Yes,
    /// If more is so: a header, a query.
    Perhaps,
    No,
    /// It asks in a way that is not read here.
    Unclear,
}

pub(super) fn takes(route: &Node<'_>, path: &str) -> Takes {
    let Some(matcher) = route.get("match") else { return Takes::No };
    match takes_path(&matcher, path) {
        None => Takes::Unclear,
        Some(false) => Takes::No,
        Some(true) if has_conditions(&matcher) => Takes::Perhaps,
        Some(true) => Takes::Yes,
    }
}

fn takes_path(matcher: &Node<'_>, path: &str) -> Option<bool> {
    let is_folded = matcher.get("case_sensitive").is_some_and(|node| *node.value == Value::Bool(false));
    let fold = |text: &str| if is_folded { text.to_ascii_lowercase() } else { text.to_owned() };
    let (folded, said) = (fold(path), |name: &str| matcher.text(name).map(fold));
    if let Some(exact) = said("path") {
        return Some(folded == exact);
    }
    if let Some(prefix) = said("prefix") {
        return Some(folded.starts_with(&prefix));
    }
    if let Some(prefix) = said("path_separated_prefix") {
        return Some(folded.strip_prefix(&prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    }
    if matcher.has("connect_matcher") {
        return Some(false);
    }
    // RE2 takes the whole path; what both know means the same.
    let whole = format!("^(?:{})$", matcher.get("safe_regex")?.text("regex")?);
    Regex::new(&whole).ok().map(|regex| regex.is_match(path))
}

fn has_conditions(matcher: &Node<'_>) -> bool {
    // `tls_context` is about streams that only Envoy knows.
    const PATHS: [&str; 6] = ["path", "prefix", "path_separated_prefix", "safe_regex", "case_sensitive", "tls_context"];
    matcher.members().iter().any(|(name, _)| !PATHS.iter().any(|path| super::node::is_called(name, path)))
}

/// The routes that may take a path, up to the first that surely does.
pub(super) fn candidates<'v>(host: &Node<'v>, path: &str) -> Vec<(Node<'v>, Takes)> {
    let mut found = Vec::new();
    for route in host.list("routes") {
        match takes(&route, path) {
            Takes::No => {}
            Takes::Yes => {
                found.push((route, Takes::Yes));
                break;
            }
            perhaps => found.push((route, perhaps)),
        }
    }
    found
}

/// The virtual hosts that Envoy could mean by this authority: those whose domains fit it best.
pub(super) fn hosts_for<'v>(routes: &Node<'v>, authority: &str) -> Vec<Node<'v>> {
    let hosts: Vec<_> = routes.list("virtual_hosts").into_iter().map(|host| (fit(&host, authority), host)).collect();
    let best = hosts.iter().map(|(fit, _)| *fit).max().unwrap_or_default();
    hosts.into_iter().filter(|(fit, _)| *fit == best && best > 0).map(|(_, host)| host).collect()
}

/// 0: not at all. Exact names come before patterns, longer patterns before shorter ones.
fn fit(host: &Node<'_>, authority: &str) -> usize {
    let authority = authority.to_ascii_lowercase();
    let bare = authority.rsplit_once(':').map_or(authority.as_str(), |(host, _)| host);
    let fit = |domain: &str| {
        let domain = domain.to_ascii_lowercase();
        let meets = |authority: &str| match (domain.strip_prefix('*'), domain.strip_suffix('*')) {
            (Some(end), _) => authority.ends_with(end),
            (None, Some(start)) => authority.starts_with(start),
            (None, None) => authority == domain,
        };
        let is_pattern = domain.contains('*');
        let rank = if is_pattern { domain.len() } else { usize::MAX };
        if meets(&authority) || meets(bare) { rank } else { 0 }
    };
    host.list("domains").iter().filter_map(|domain| domain.value.text()).map(fit).max().unwrap_or(0)
}

/// Of a URL.
pub(super) fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or_default()
}

/// Every cluster that a route can send to, as far as it names them.
pub(super) fn clusters<'v>(route: &Node<'v>) -> Vec<&'v str> {
    let Some(action) = route.get("route") else { return Vec::new() };
    let weighted = action.at(&["weighted_clusters", "clusters"]).map(|list| list.items()).unwrap_or_default();
    action.text("cluster").into_iter().chain(weighted.iter().filter_map(|one| one.text("name"))).collect()
}
