//! What stands before the filter.

use step_up_core::ServerView;

use super::super::finding::Out;
use super::super::model::{Filter, Manager};
use super::super::node::Node;
use super::super::routing::{authority, candidates, hosts_for};
use super::super::world::World;
use super::shown;

/// Each filter before ours that is one of these.
fn before<'m, 'w>(world: &'m World<'w>, word: &'m str) -> impl Iterator<Item = &'m Filter<'w>> {
    world.guarded().flat_map(Manager::before).filter(move |filter| filter.is(word))
}

pub(super) fn jwt_forward(world: &World<'_>, out: &mut Out<'_>) {
    for message in before(world, "jwt_authn").filter_map(|filter| filter.message.as_ref()) {
        for (name, provider) in message.get("providers").iter().flat_map(Node::members) {
            let is_elsewhere = !provider.list("from_headers").iter().any(|from| is_authorization(from.text("name")))
                && ["from_headers", "from_params", "from_cookies"].iter().any(|from| provider.has(from));
            if !provider.flag("forward") && !is_elsewhere {
                out.fault(
                    &provider,
                    format!("jwt_authn takes the tokens of {} away", shown(name)),
                    "each call is 500 `token_removed`",
                    "write `forward: true`",
                );
            }
        }
    }
}

pub(super) fn jwt_answers(world: &World<'_>, out: &mut Out<'_>) {
    for message in before(world, "jwt_authn").filter_map(|filter| filter.message.as_ref()) {
        for rule in message.list("rules") {
            let named = rule.text("requirement_name").and_then(|name| message.get("requirement_map")?.get(name));
            let Some(asked) = rule.get("requires").or(named) else { continue };
            if !is_lenient(&asked) {
                out.fault(
                    &asked,
                    "jwt_authn refuses by itself",
                    "its 401 has no `resource_metadata`, on the metadata document too: no client learns where to log in",
                    "add `allow_missing_or_failed: {}` by `requires_any`, as envoy/neighbours/jwt-authn.yaml has it",
                );
            }
        }
    }
}

fn is_lenient(asked: &Node<'_>) -> bool {
    let part = |name: &str| asked.get(name).map(|part| part.list("requirements"));
    asked.has("allow_missing_or_failed")
        || part("requires_any").is_some_and(|parts| parts.iter().any(is_lenient))
        || part("requires_all").is_some_and(|parts| parts.iter().all(is_lenient))
}

pub(super) fn answers(world: &World<'_>, out: &mut Out<'_>) {
    for word in ["basic_auth", "oauth2"] {
        for filter in before(world, word) {
            out.fault(
                &filter.entry,
                format!("{word} stands before the step-up filter"),
                "it asks for credentials that no MCP client has, and gets there before the challenge",
                "take it away from this listener",
            );
        }
    }
    let rules = |filter: &&Filter<'_>| {
        filter.message.as_ref().is_some_and(|message| message.has("rules") || message.has("matcher"))
    };
    for filter in before(world, "api_key_auth").chain(before(world, "rbac").filter(rules)) {
        out.warn(
            &filter.entry,
            format!("{} stands before the step-up filter", shown(filter.name)),
            "what it refuses gets no challenge and leaves no record, the metadata document too",
            "let it decide nothing about callers, or put it after the filter",
        );
    }
}

pub(super) fn foreign_code(world: &World<'_>, out: &mut Out<'_>) {
    let code =
        ["lua", "wasm", "ext_proc", "golang", "dynamic_modules"].into_iter().flat_map(|word| before(world, word));
    let unknown = world.guarded().flat_map(Manager::before).filter(|filter| is_unknown(filter));
    for filter in code.chain(unknown) {
        out.note(
            &filter.entry,
            format!("{} stands before the step-up filter", shown(filter.name)),
            "what it does is not seen here. A token or a body that it writes is the one that is judged; what it answers leaves no record",
            "see that it neither takes nor writes `authorization`",
        );
    }
}

/// A filter by discovery that these files do not have.
fn is_unknown(filter: &Filter<'_>) -> bool {
    filter.kind.is_empty() && filter.entry.has("config_discovery")
}

/// The caller's token is not the one that is judged.
pub(super) fn token_replaced(world: &World<'_>, out: &mut Out<'_>) {
    const HELP: &str = "take it away: the caller's own token must arrive";
    for filter in before(world, "credential_injector") {
        if injects_token(filter.message.as_ref()) {
            let follows = "every caller is judged by the proxy's credential, and not by its own";
            out.fault(
                &filter.entry,
                "credential_injector writes `authorization` before the step-up filter",
                follows,
                HELP,
            );
        }
    }
    for filter in before(world, "header_mutation") {
        let changes = filter.message.as_ref().and_then(|message| message.at(&["mutations", "request_mutations"]));
        for change in changes.iter().flat_map(Node::items) {
            let key = change.at(&["append", "header"]).and_then(|header| header.text("key"));
            if is_authorization(change.text("remove")) || is_authorization(key) {
                let follows = "not the caller's token is judged, but what this leaves of it";
                out.fault(&change, "header_mutation changes `authorization` before the step-up filter", follows, HELP);
            }
        }
    }
    for filter in before(world, "ext_authz") {
        let allowed = ["http_service", "authorization_response", "allowed_upstream_headers"];
        let Some(allowed) = filter.message.as_ref().and_then(|message| message.at(&allowed)) else { continue };
        if allowed.mentions("authorization") {
            let follows = "the token that the service sets is the one that is judged";
            out.warn(
                &allowed,
                "ext_authz may write `authorization`",
                follows,
                "leave `authorization` out, unless that is meant",
            );
        }
    }
}

pub(super) fn injects_token(message: Option<&Node<'_>>) -> bool {
    let header = message.and_then(|message| message.at(&["credential", "typed_config"]));
    header.and_then(|header| header.text("header")).is_none_or(|header| is_authorization(Some(header)))
}

pub(super) fn is_authorization(name: Option<&str>) -> bool {
    name.is_some_and(|name| name.eq_ignore_ascii_case("authorization"))
}

pub(super) fn compressed_streams(world: &World<'_>, out: &mut Out<'_>) {
    for message in before(world, "compressor").filter_map(|filter| filter.message.as_ref()) {
        let types =
            message.at(&["response_direction_config", "common_config", "content_type"]).or(message.get("content_type"));
        if let Some(types) = types.filter(|types| types.mentions("text/event-stream")) {
            out.warn(
                &types,
                "event streams are compressed",
                "events wait in the compressor's window",
                "leave `text/event-stream` out",
            );
        }
    }
}

pub(super) fn cors(world: &World<'_>, out: &mut Out<'_>) {
    for filter in world.guarded().flat_map(Manager::after).filter(|filter| filter.is("cors")) {
        out.warn(
            &filter.entry,
            "cors stands after the step-up filter",
            "preflight requests carry no token, and are refused: 405. Pages read none of our answers",
            "put it first",
        );
    }
    let Some(server) = world.servers().find(|server| has_pages(*server)) else { return };
    for manager in world.guarded().filter(|manager| !manager.filters.iter().any(|filter| filter.is("cors"))) {
        out.warn(
            &manager.node,
            format!("no cors filter, and server {} has `origins`", shown(server.name())),
            "no browser client gets further than its preflight",
            "put a cors filter first, with these origins, as envoy/envoy.yaml has it",
        );
    }
    for manager in world.guarded().filter(|manager| manager.before().iter().any(|filter| filter.is("cors"))) {
        for config in &manager.routes {
            for server in world.servers().filter(|server| has_pages(*server)) {
                let hosts = hosts_for(config, authority(server.resource()));
                let documents = server.paths().map(|(_, document)| document);
                let routes = documents.flat_map(|path| hosts.iter().flat_map(move |host| candidates(host, path)));
                for (route, _) in routes.filter(|(route, _)| route.has("direct_response")) {
                    out.warn(
                        &route,
                        "a metadata document is on a route with `direct_response`",
                        "Envoy's cors filter leaves such routes out: pages cannot read the document",
                        "lead it to a cluster; one without endpoints will do",
                    );
                }
            }
        }
    }
}

/// Of another origin than its own.
fn has_pages(server: ServerView<'_>) -> bool {
    server.origins().iter().any(|origin| !server.resource().starts_with(origin.as_str()))
}

pub(super) fn mcp_router(world: &World<'_>, out: &mut Out<'_>) {
    for filter in world.guarded().flat_map(Manager::after).filter(|filter| filter.is("mcp_router")) {
        for server in filter.message.iter().flat_map(|message| message.list("servers")) {
            if !server.get("header_forwarding").is_some_and(|forwarding| forwarding.mentions("authorization")) {
                out.fault(
                    &server,
                    "mcp_router does not forward `authorization`",
                    "the server gets no token",
                    "write `header_forwarding: { allowed_headers: { patterns: [ { exact: authorization } ] } }`",
                );
            }
        }
    }
}
