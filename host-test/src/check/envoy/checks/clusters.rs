//! The clusters that the filter itself calls.

use step_up_core::EndpointView;

use super::super::finding::Out;
use super::super::node::Node;
use super::super::world::World;
use super::certificates::{Validation, validation};
use super::neighbours::injects_token;
use super::shown;

/// Every endpoint of the policies, with what it is.
fn endpoints<'w>(world: &World<'w>) -> Vec<(&'static str, EndpointView<'w>)> {
    let views = world.policies.iter().map(|known| known.policy.view());
    views
        .flat_map(|view| {
            let keys = view.issuers().filter_map(|issuer| Some(("keys", issuer.keys()?)));
            let asked = view.issuers().filter_map(|issuer| Some(("introspection", issuer.introspection()?)));
            let services =
                view.token_services().flat_map(|service| [Some(service.token()), service.revoke()]).flatten();
            keys.chain(asked).chain(services.map(|endpoint| ("tokens", endpoint))).collect::<Vec<_>>()
        })
        .collect()
}

/// The clusters of the token services, and those by which calls to them leave.
pub(super) fn token_services<'m, 'w>(world: &'m World<'w>) -> impl Iterator<Item = &'m Node<'w>> {
    let tokens = endpoints(world).into_iter().filter(|(what, _)| *what == "tokens");
    let clusters = tokens.map(|(_, endpoint)| endpoint.cluster());
    clusters.flat_map(|name| world.cluster(name).into_iter().chain(world.ways_out(name)))
}

pub(super) fn missing(world: &World<'_>, out: &mut Out<'_>) {
    let Some(place) = world.model.clusters.first() else { return };
    // Where they come by discovery and these files are no dump, they are elsewhere: `unseen` says so.
    let elsewhere =
        world.model.bootstraps.iter().any(|bootstrap| bootstrap.at(&["dynamic_resources", "cds_config"]).is_some());
    let is_dump = world.model.clusters.iter().any(|cluster| cluster.path.ends_with(".cluster"));
    if elsewhere && !is_dump {
        return;
    }
    for (what, endpoint) in endpoints(world) {
        if world.cluster(endpoint.cluster()).is_none() {
            let follows = match what {
                "keys" => "no token can be verified: 503 `keys_unavailable`",
                "introspection" => "no opaque token can be asked about: 503",
                _ => "nothing can be exchanged or revoked: 503",
            };
            let problem = format!("no cluster {}, which the policy sends to for {what}", shown(endpoint.cluster()));
            out.fault(place, problem, follows, format!("write a cluster {}, with TLS", shown(endpoint.cluster())));
        }
    }
}

pub(super) fn tls(world: &World<'_>, out: &mut Out<'_>) {
    let https = endpoints(world).into_iter().filter(|(_, endpoint)| endpoint.url().starts_with("https://"));
    let ways =
        https.flat_map(|(what, endpoint)| world.ways_out(endpoint.cluster()).into_iter().map(move |way| (what, way)));
    for (what, cluster) in ways {
        // Istio's way: which of them is taken, the endpoint says.
        if cluster.has("transport_socket_matches") {
            continue;
        }
        let follows = match what {
            "keys" => "whoever is in between gives the filter keys of its own, and makes every token",
            _ => "tokens of callers are read by whoever is in between, elevated ones too",
        };
        let name = shown(cluster.text("name").unwrap_or_default());
        let Some(context) = cluster.get("transport_socket").and_then(|socket| socket.get("typed_config")) else {
            let problem = format!("the cluster {name} has no TLS, and its URL is https");
            out.fault(
                cluster,
                problem,
                follows,
                "write a `transport_socket` with UpstreamTlsContext, which verifies the peer",
            );
            continue;
        };
        let help = "write a `validation_context` with `trusted_ca` and `match_typed_subject_alt_names`";
        match validation(&context) {
            Validation::Elsewhere => {}
            Validation::Good => {
                if !names_peer(cluster, &context) {
                    let problem = format!("the cluster {name} takes any certificate of its authority");
                    out.warn(&context, problem, "whoever has one can be the peer", help);
                }
            }
            Validation::Untrusted(at) | Validation::None(at) => {
                out.fault(&at, format!("the cluster {name} does not verify its peer"), follows, help);
            }
        }
    }
}

fn names_peer(cluster: &Node<'_>, context: &Node<'_>) -> bool {
    const WORDS: [&str; 4] = [
        "match_typed_subject_alt_names",
        "match_subject_alt_names",
        "verify_certificate_hash",
        "verify_certificate_spki",
    ];
    let common = context.get("common_tls_context");
    let combined =
        common.as_ref().and_then(|common| common.at(&["combined_validation_context", "default_validation_context"]));
    let own = common.as_ref().and_then(|common| common.get("validation_context")).or(combined);
    let options = options(cluster).and_then(|options| options.get("upstream_http_protocol_options"));
    own.is_some_and(|own| WORDS.iter().any(|word| own.has(word)))
        || context.flag("auto_sni_san_validation")
        || options.is_some_and(|options| options.flag("auto_san_validation"))
}

/// HttpProtocolOptions.
pub(super) fn options<'v>(cluster: &Node<'v>) -> Option<Node<'v>> {
    let options = cluster.get("typed_extension_protocol_options")?.members();
    options.into_iter().find(|(name, _)| name.ends_with(".HttpProtocolOptions")).map(|(_, options)| options)
}

/// Filters of a cluster that write `authorization` into what is sent there.
pub(super) fn injectors<'v>(cluster: &Node<'v>) -> Vec<Node<'v>> {
    let filters = options(cluster).map(|options| options.list("http_filters")).unwrap_or_default();
    let injects = |filter: &Node<'v>| {
        let message = filter.get("typed_config").and_then(|typed| typed.message());
        message.is_some_and(|(kind, message)| kind.contains(".credential_injector.") && injects_token(Some(&message)))
    };
    filters.into_iter().filter(injects).collect()
}

pub(super) fn keys_credential(world: &World<'_>, out: &mut Out<'_>) {
    for (_, endpoint) in endpoints(world).into_iter().filter(|(what, _)| *what == "keys") {
        for injector in world.cluster(endpoint.cluster()).into_iter().flat_map(injectors) {
            out.fault(
                &injector,
                format!("the cluster {}, of keys, injects a credential", shown(endpoint.cluster())),
                "it is sent with every fetch of keys",
                "give the keys a cluster of their own",
            );
        }
    }
}

pub(super) fn token_service_limit(world: &World<'_>, out: &mut Out<'_>) {
    for known in world.policies {
        let exchanges = known.policy.limits().exchanges as u64;
        for service in known.policy.view().token_services() {
            let Some(cluster) = world.cluster(service.token().cluster()) else { continue };
            let thresholds =
                cluster.get("circuit_breakers").map(|breakers| breakers.list("thresholds")).unwrap_or_default();
            for threshold in thresholds {
                if let Some(most) = threshold.number("max_requests").filter(|most| *most < exchanges) {
                    out.warn(
                        &threshold,
                        format!("`max_requests: {most}`, and `limits.exchanges` is {exchanges}"),
                        "exchanges are refused: 503",
                        "write `max_requests` above `limits.exchanges` of every worker, and as many revocations",
                    );
                }
            }
        }
    }
}
