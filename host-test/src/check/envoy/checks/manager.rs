//! The connection manager around the filter.

use step_up_core::json::Value;

use super::super::finding::Out;
use super::super::model::Manager;
use super::super::node::Node;
use super::super::world::World;
use super::shown;

/// The field, where it is written; else the connection manager.
fn place<'w>(manager: &Manager<'w>, name: &str) -> Node<'w> {
    manager.node.get(name).unwrap_or_else(|| manager.node.clone())
}

pub(super) fn stream_idle_timeout(world: &World<'_>, out: &mut Out<'_>) {
    for manager in world.guarded() {
        // Envoy's default is 300s.
        let Some(seconds) = manager.node.seconds("stream_idle_timeout") else { continue };
        let follows = match seconds {
            0.0 => "a stream that a trapped VM left behind hangs",
            _ if seconds < 300.0 => "MCP streams, which are silent by nature, are cut",
            _ => continue,
        };
        let at = place(manager, "stream_idle_timeout");
        out.warn(&at, format!("`stream_idle_timeout: {seconds}s`"), follows, "write `stream_idle_timeout: 300s`");
    }
}

pub(super) fn normalize_path(world: &World<'_>, out: &mut Out<'_>) {
    for manager in world.guarded().filter(|manager| !manager.node.flag("normalize_path")) {
        let follows =
            "the filter compares paths byte for byte, and answers 404 to spellings that the server understands";
        out.warn(
            &place(manager, "normalize_path"),
            "no `normalize_path: true`",
            follows,
            "write `normalize_path: true`",
        );
    }
}

pub(super) fn merge_slashes(world: &World<'_>, out: &mut Out<'_>) {
    for manager in world.guarded().filter(|manager| !manager.node.flag("merge_slashes")) {
        let follows = "`//mcp` is another path to the filter, and is answered 404";
        out.warn(&place(manager, "merge_slashes"), "no `merge_slashes: true`", follows, "write `merge_slashes: true`");
    }
}

pub(super) fn escaped_slashes(world: &World<'_>, out: &mut Out<'_>) {
    let is_escaped =
        |path: &str| path.to_ascii_lowercase().contains("%2f") || path.to_ascii_lowercase().contains("%5c");
    let escaped = world.servers().find(|server| server.paths().any(|(path, _)| is_escaped(path)));
    let Some(server) = escaped else { return };
    for manager in world.guarded() {
        let action = manager.node.text("path_with_escaped_slashes_action");
        if action.is_some_and(|action| !matches!(action, "KEEP_UNCHANGED" | "IMPLEMENTATION_SPECIFIC_DEFAULT")) {
            out.fault(
                &place(manager, "path_with_escaped_slashes_action"),
                format!("escaped slashes are not kept, and the path of server {} has one", shown(server.name())),
                "it never arrives as it is written: 404",
                "write `path_with_escaped_slashes_action: KEEP_UNCHANGED`",
            );
        }
    }
}

pub(super) fn ignored_upgrades(world: &World<'_>, out: &mut Out<'_>) {
    for manager in world.guarded() {
        let options = manager.node.get("http_protocol_options");
        let ignored = options.and_then(|options| options.get("ignore_http_11_upgrade"));
        let is_ignored = |name: &str| ignored.iter().flat_map(Node::items).any(|item| ignores(&item, name));
        if !is_ignored("TLS/1.2") || !is_ignored("h2c") {
            out.warn(
                ignored.as_ref().unwrap_or(&manager.node),
                "offers of TLS/1.2 and h2c are not ignored",
                "Java, Spring and others offer an upgrade with each request, and get Envoy's bare 403",
                "write `http_protocol_options: { ignore_http_11_upgrade: [ { exact: \"TLS/1.2\" }, { exact: h2c } ] }`",
            );
        }
    }
}

fn ignores(matcher: &Node<'_>, name: &str) -> bool {
    let is = |way: &str, fits: &dyn Fn(&str) -> bool| matcher.text(way).is_some_and(fits);
    is("exact", &|text| text.eq_ignore_ascii_case(name))
        || is("prefix", &|text| name.starts_with(text))
        || is("contains", &|text| name.contains(text))
        || matcher.has("safe_regex")
}

/// An upgrade may have filters of its own.
pub(super) fn upgrades(world: &World<'_>, out: &mut Out<'_>) {
    for manager in world.guarded() {
        let ours: Vec<_> = manager.ours().map(|(_, filter)| filter.name).collect();
        for upgrade in manager.node.list("upgrade_configs") {
            let filters = upgrade.list("filters");
            let kind = shown(upgrade.text("upgrade_type").unwrap_or_default());
            if !filters.is_empty()
                && !filters.iter().any(|filter| filter.text("name").is_some_and(|name| ours.contains(&name)))
            {
                out.fault(
                    &upgrade,
                    format!("requests to upgrade to {kind} pass other filters, without the step-up filter"),
                    "whoever writes this header reaches the server unjudged",
                    "take the upgrade away",
                );
            } else {
                useless(&upgrade, &kind, out);
            }
        }
    }
    for served in &world.served {
        for upgrade in served.route.get("route").iter().flat_map(|action| action.list("upgrade_configs")) {
            useless(&upgrade, &shown(upgrade.text("upgrade_type").unwrap_or_default()), out);
        }
    }
}

fn useless(upgrade: &Node<'_>, kind: &str, out: &mut Out<'_>) {
    if upgrade.get("enabled").is_none_or(|enabled| *enabled.value != Value::Bool(false)) {
        let follows = "no MCP transport needs it, and the filter refuses it: 400 `upgrade_not_allowed`, or 405";
        out.note(upgrade, format!("upgrades to {kind} are offered"), follows, "take it away");
    }
}

pub(super) fn proxy_100_continue(world: &World<'_>, out: &mut Out<'_>) {
    for manager in world.guarded().filter(|manager| manager.node.flag("proxy_100_continue")) {
        out.warn(
            &place(manager, "proxy_100_continue"),
            "`proxy_100_continue: true`",
            "`Expect: 100-continue` is answered by nobody, since the filter waits for the body: clients that wait for it get 503 or 408",
            "take it away: Envoy then answers it",
        );
    }
}

pub(super) fn underscores(world: &World<'_>, out: &mut Out<'_>) {
    for manager in world.guarded() {
        let options = manager.node.get("common_http_protocol_options");
        let action = options.as_ref().and_then(|options| options.get("headers_with_underscores_action"));
        let text = action.as_ref().and_then(|action| action.value.text());
        if !matches!(text, Some("REJECT_REQUEST" | "DROP_HEADER")) {
            out.warn(
                &action.or(options).unwrap_or_else(|| manager.node.clone()),
                "headers with underscores pass",
                "`txn_token` reaches an upstream that reads it as `txn-token`, which the filter removes",
                "write `common_http_protocol_options: { headers_with_underscores_action: REJECT_REQUEST }`",
            );
        }
    }
}

pub(super) fn remote_address(world: &World<'_>, out: &mut Out<'_>) {
    for manager in world.guarded().filter(|manager| !manager.node.flag("use_remote_address")) {
        let at = place(manager, "use_remote_address");
        out.warn(
            &at,
            "no `use_remote_address: true`",
            "callers' `x-envoy-*` headers are believed",
            "write `use_remote_address: true`",
        );
    }
}

pub(super) fn error_pages(world: &World<'_>, out: &mut Out<'_>) {
    const HELP: &str =
        "leave out what has response code details that begin with `stepup:`, as envoy/neighbours/error-pages.yaml does";
    const FOLLOWS: &str =
        "challenges, JSON-RPC errors and the metadata document become error pages: no client can read them";
    for config in world.guarded().filter_map(|manager| manager.node.get("local_reply_config")) {
        if let Some(format) = config.get("body_format") {
            out.fault(&format, "error pages for every answer of the proxy, ours too", FOLLOWS, HELP);
        }
        for mapper in config.list("mappers") {
            let changes = ["status_code", "body", "body_format_override"].iter().any(|change| mapper.has(change));
            if changes && !mapper.get("filter").is_some_and(|filter| spares_ours(&filter)) {
                out.fault(&mapper, "error pages that do not leave our answers out", FOLLOWS, HELP);
            }
        }
    }
}

/// Ours have no response flags.
fn spares_ours(filter: &Node<'_>) -> bool {
    let any = |name: &str| filter.at(&[name, "filters"]).map(|parts| parts.items()).unwrap_or_default();
    let (both, either) = (any("and_filter"), any("or_filter"));
    filter.get("extension_filter").is_some_and(|extension| extension.mentions("stepup:"))
        || filter.get("response_flag_filter").is_some_and(|flags| !flags.list("flags").is_empty())
        || both.iter().any(spares_ours)
        || (!either.is_empty() && either.iter().all(spares_ours))
}

pub(super) fn audit_log(world: &World<'_>, out: &mut Out<'_>) {
    for manager in world.guarded() {
        let has_record = manager.node.list("access_log").iter().any(|log| log.mentions("wasm.stepup.audit"));
        if !has_record {
            out.warn(
                &place(manager, "access_log"),
                "no access log prints the audit record",
                "nobody sees what was decided",
                "write `stepup: \"%FILTER_STATE(wasm.stepup.audit:PLAIN)%\"` into its format",
            );
        }
    }
}

const TAGS: [&str; 9] = ["server", "verdict", "reason", "mode", "issuer", "outcome", "kind", "module", "policy"];

pub(super) fn stats_tags(world: &World<'_>, out: &mut Out<'_>) {
    for bootstrap in &world.model.bootstraps {
        let config = bootstrap.get("stats_config");
        let tags = config.as_ref().map(|config| config.list("stats_tags")).unwrap_or_default();
        let has = |tag: &str| tags.iter().any(|one| one.text("tag_name") == Some(tag) && one.mentions("stepup"));
        let missing: Vec<_> = TAGS.into_iter().filter(|tag| !has(tag)).collect();
        if !missing.is_empty() {
            out.warn(
                config.as_ref().unwrap_or(bootstrap),
                format!("no `stats_tags` for {}", missing.join(", ")),
                "these labels stay in the names of the metrics, and alerts that ask for them see nothing",
                "copy `stats_config` from envoy/envoy.yaml",
            );
        }
    }
}
