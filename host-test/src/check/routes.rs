//! P29: a path and the one that differs from it by a final slash are one path to the filter, so Envoy's routes must send both alike.

use serde_json::Value;
use step_up_core::{Policy, ServerView};

use super::Findings;

/// What is read of an Envoy document: a bootstrap, a listener, a route configuration, a dump of them.
pub(super) fn check(name: &str, document: &Value, policies: &[Policy], found: &mut Findings) {
    let mut hosts = Vec::new();
    virtual_hosts(document, &mut hosts);
    if hosts.is_empty() {
        found.errors += 1;
        found.text += &format!("error: {name}: no `virtual_hosts` in it, so no route was looked at\n");
        return;
    }
    for server in policies.iter().flat_map(|policy| policy.view().servers()) {
        let authority = authority(server.resource());
        let own: Vec<_> = hosts.iter().filter(|host| serves(host, authority)).collect();
        if own.is_empty() {
            found.warnings += 1;
            found.text += &format!("warning: {name}: no virtual host for {authority}, server {}\n", server.name());
        }
        own.into_iter().for_each(|host| pair(name, host, server, found));
    }
}

fn pair(name: &str, host: &Value, server: ServerView<'_>, found: &mut Findings) {
    for (path, other) in server.spellings() {
        let routes = field(host, &["routes"]).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let place = format!("{name}: virtual host {}, server {}", text(host, "name"), server.name());
        match (taken(routes, &path), taken(routes, &other)) {
            (Err(route), _) | (_, Err(route)) => {
                found.warnings += 1;
                found.text += &format!(
                    "warning: {place}: whether route {} takes `{path}` and `{other}` alike cannot be told here\n",
                    text(route, "name")
                );
            }
            (Ok(one), Ok(two)) if alike(one, two) => {}
            (Ok(one), Ok(two)) => {
                found.errors += 1;
                let named = |route: Option<&Value>| route.map_or("none", |route| text(route, "name")).to_owned();
                found.text += &format!(
                    "error: {place}: `{path}` takes route {}, `{other}` takes {}\n  help: to the filter they are one path: \
                     `path_separated_prefix: {}` takes both\n",
                    named(one),
                    named(two),
                    path.trim_end_matches('/')
                );
            }
        }
    }
}

/// The route that takes a path. `Err`: one that is no longer text.
fn taken<'r>(routes: &'r [Value], path: &str) -> Result<Option<&'r Value>, &'r Value> {
    for route in routes {
        let Some(matcher) = field(route, &["match"]) else { continue };
        match takes(matcher, path) {
            // What else it asks for may be there or not.
            Some(true) if has_conditions(matcher) => return Err(route),
            Some(true) => return Ok(Some(route)),
            Some(false) => {}
            None => return Err(route),
        }
    }
    Ok(None)
}

fn takes(matcher: &Value, path: &str) -> Option<bool> {
    let is_folded = field(matcher, &["case_sensitive", "caseSensitive"]) == Some(&Value::Bool(false));
    let fold = |text: &str| if is_folded { text.to_ascii_lowercase() } else { text.to_owned() };
    let (path, said) = (fold(path), |names: &[&str]| field(matcher, names).and_then(Value::as_str).map(fold));
    if let Some(exact) = said(&["path"]) {
        return Some(path == exact);
    }
    if let Some(prefix) = said(&["prefix"]) {
        return Some(path.starts_with(&prefix));
    }
    let prefix = said(&["path_separated_prefix", "pathSeparatedPrefix"])?;
    Some(path.strip_prefix(&prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

fn has_conditions(matcher: &Value) -> bool {
    const PATHS: [&str; 7] = [
        "path",
        "prefix",
        "path_separated_prefix",
        "pathSeparatedPrefix",
        "case_sensitive",
        "caseSensitive",
        // Of streams that only Envoy knows.
        "tls_context",
    ];
    matcher.as_object().is_some_and(|members| members.keys().any(|name| !PATHS.contains(&name.as_str())))
}

/// One route, or two that do the same.
fn alike(one: Option<&Value>, two: Option<&Value>) -> bool {
    let rest = |route: &Value| {
        let mut route = route.clone();
        if let Some(members) = route.as_object_mut() {
            members.retain(|name, _| !matches!(name.as_str(), "name" | "match"));
        }
        route
    };
    one.map(rest) == two.map(rest)
}

/// Of a URL.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or_default()
}

fn serves(host: &Value, authority: &str) -> bool {
    let authority = authority.to_ascii_lowercase();
    let bare = authority.rsplit_once(':').map_or(authority.as_str(), |(host, _)| host);
    let domains = field(host, &["domains"]).and_then(Value::as_array);
    domains.into_iter().flatten().filter_map(Value::as_str).any(|domain| {
        let domain = domain.to_ascii_lowercase();
        let meets = |authority: &str| match (domain.strip_prefix('*'), domain.strip_suffix('*')) {
            (Some(end), _) => authority.ends_with(end),
            (None, Some(start)) => authority.starts_with(start),
            (None, None) => authority == domain,
        };
        meets(&authority) || meets(bare)
    })
}

fn virtual_hosts<'d>(document: &'d Value, found: &mut Vec<&'d Value>) {
    match document {
        Value::Array(items) => items.iter().for_each(|item| virtual_hosts(item, found)),
        Value::Object(members) => {
            for (name, value) in members {
                match (name.as_str(), value) {
                    ("virtual_hosts" | "virtualHosts", Value::Array(hosts)) => found.extend(hosts),
                    _ => virtual_hosts(value, found),
                }
            }
        }
        _ => {}
    }
}

fn field<'v>(value: &'v Value, names: &[&str]) -> Option<&'v Value> {
    names.iter().find_map(|name| value.get(name))
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    field(value, &[name]).and_then(Value::as_str).unwrap_or("without a name")
}
