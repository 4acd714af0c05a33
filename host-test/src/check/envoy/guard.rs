//! Are the routes of an Envoy guarded? What `stepup guard` says of files and dumps.

use std::path::Path;

use anyhow::{Result, ensure};

use super::File;
use super::lock::{is_lock, is_on, levels};
use super::model::{self, Filter, Manager};
use super::node::Node;
use super::world::internal_listener;

/// What becomes of a call through a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is judged.
    Guarded,
    /// It is refused, whatever it is: nobody gets through.
    DoesNotWork,
    /// It passes without being judged.
    Open,
}

impl State {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            State::Guarded => "guarded",
            State::DoesNotWork => "does not work",
            State::Open => "OPEN",
        }
    }
}

/// Of one route.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Judged {
    /// The listener, and the route in it.
    pub place: String,
    /// What becomes of calls.
    pub state: State,
    /// Why.
    pub why: String,
}

/// Judges every route of these files, which together are one Envoy. An error if there is none.
pub fn judged(files: Vec<(&Path, String)>) -> Result<Vec<Judged>> {
    let files = files.into_iter().map(|(path, text)| File::read(path, text, false)).collect::<Result<Vec<_>>>()?;
    let model = model::read(files.iter().map(|file| &file.scan.value));
    let mut judged = Vec::new();
    // Nobody reaches an internal listener but by a cluster that leads to it, and a route to that is judged by itself. Bytes that are
    // passed on are not.
    let tunnels = model.tunnels.iter().filter_map(|tunnel| tunnel.text("cluster"));
    let clusters = tunnels.filter_map(|name| model.clusters.iter().find(|cluster| cluster.text("name") == Some(name)));
    let reached: Vec<&str> = clusters.filter_map(internal_listener).collect();
    for manager in &model.managers {
        let listener = manager.listener.as_ref();
        let is_internal = listener.is_some_and(|listener| listener.has("internal_listener"));
        if is_internal
            && !listener.and_then(|listener| listener.text("name")).is_some_and(|name| reached.contains(&name))
        {
            continue;
        }
        of_manager(manager, &mut judged);
    }
    ensure!(!judged.is_empty(), "there is no route that leads anywhere: nothing was looked at");
    Ok(judged)
}

fn of_manager(manager: &Manager<'_>, judged: &mut Vec<Judged>) {
    let listener = manager.listener.as_ref().and_then(|listener| listener.text("name")).unwrap_or("a listener");
    if manager.routes.is_empty() {
        let why = "its routes are in none of these files".to_owned();
        judged.push(Judged { place: listener.to_owned(), state: State::DoesNotWork, why });
    }
    for of in manager.each_route() {
        let [route, ..] = &of;
        // Redirects and answers of the route itself lead nowhere.
        if !route.has("route") {
            continue;
        }
        let name = route.text("name").filter(|name| !name.is_empty()).map(str::to_owned);
        let place = format!("{listener}: {}", name.unwrap_or_else(|| matched(route)));
        let of_shares = levels(&of).into_iter().map(|levels| of_route(manager, &levels));
        let Some((state, why)) = of_shares.max_by_key(|(state, _)| *state) else { continue };
        judged.push(Judged { place, state, why });
    }
}

/// What a route without a name takes.
fn matched(route: &Node<'_>) -> String {
    let matcher = route.get("match");
    let path = ["path", "prefix", "path_separated_prefix"].into_iter().find_map(|way| matcher.as_ref()?.text(way));
    path.map_or_else(|| route.path.clone(), str::to_owned)
}

/// What may stand behind: it changes no body, and takes no other token than the one that was judged.
const BEHIND: [&str; 9] =
    ["router", "rbac", "jwt_authn", "fault", "cors", "grpc_stats", "local_ratelimit", "ratelimit", "mcp_router"];

fn of_route(manager: &Manager<'_>, levels: &[Node<'_>]) -> (State, String) {
    let on: Vec<&Filter<'_>> = manager.filters.iter().filter(|filter| is_on(filter, levels)).collect();
    let is_locked = on.iter().any(|filter| is_lock(filter, levels));
    let Some(at) = on.iter().position(|filter| filter.is_ours) else {
        let is_there = manager.filters.iter().any(|filter| filter.is_ours);
        let what = if is_there { "the filter is switched off here" } else { "the filter is not there" };
        return if is_locked {
            (State::DoesNotWork, format!("{what}, and a lock answers 403"))
        } else {
            (State::Open, format!("{what}, and no lock is"))
        };
    };
    let (ours, behind) = (on.get(at), on.get(at + 1..).unwrap_or_default());
    if let Some(fault) = ours.and_then(|filter| incomplete(filter)) {
        return fault;
    }
    if let Some(other) = behind.iter().find(|filter| !BEHIND.iter().any(|word| filter.is(word)) && !filter.is_ours) {
        return (
            State::DoesNotWork,
            format!("{} stands behind the filter, and may forward another request", other.name),
        );
    }
    let lock = if is_locked { "with a lock" } else { "without a lock: lost or switched off, it is open" };
    let known = if ours.is_some_and(|filter| filter.message.is_some()) {
        ""
    } else {
        "; its configuration is in none of these files"
    };
    (State::Guarded, format!("{lock}{known}"))
}

/// What the filter itself lacks.
fn incomplete(filter: &Filter<'_>) -> Option<(State, String)> {
    let message = filter.message.as_ref()?;
    if filter.kind.contains("ExtensionWithMatcher") {
        return Some((State::Open, "a matcher decides whether the filter is asked".to_owned()));
    }
    if !filter.kind.ends_with(".Wasm") {
        return Some((State::DoesNotWork, format!("in the place of the filter is {}", filter.kind)));
    }
    let config = message.get("config")?;
    if config.flag("fail_open") || config.text("failure_policy") == Some("FAIL_OPEN") {
        return Some((State::Open, "`failure_policy: FAIL_OPEN`: a trapped VM lets everything pass".to_owned()));
    }
    if !config.flag("allow_on_headers_stop_iteration") {
        let why = "without `allow_on_headers_stop_iteration` every call is 503 `host_without_header_stop`";
        return Some((State::DoesNotWork, why.to_owned()));
    }
    if config.text("failure_policy") != Some("FAIL_RELOAD") {
        let why = "without `failure_policy: FAIL_RELOAD` a VM that has trapped answers 503 for ever";
        return Some((State::DoesNotWork, why.to_owned()));
    }
    None
}
