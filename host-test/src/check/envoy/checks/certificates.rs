//! Client certificates: what the policy says of them holds only where the listener validates them (P33, P40).

use super::super::finding::Out;
use super::super::model::Manager;
use super::super::node::Node;
use super::super::world::World;

/// What makes a certificate a valid one.
const ANCHORS: [&str; 6] = [
    "trusted_ca",
    "ca_certificate_provider_instance",
    "system_root_certs",
    "verify_certificate_hash",
    "verify_certificate_spki",
    "custom_validator_config",
];

pub(super) fn client(world: &World<'_>, out: &mut Out<'_>) {
    let views = || world.policies.iter().flat_map(|known| known.policy.view().servers());
    let needs = world.policies.iter().any(|known| known.binds || known.looks_at_source)
        || views().any(|server| !server.gateways().is_empty());
    if needs {
        world.guarded().for_each(|manager| listener(manager, out));
    }
}

fn listener(manager: &Manager<'_>, out: &mut Out<'_>) {
    const HELP: &str = "write a `validation_context` with the `trusted_ca` of the callers, and no `ACCEPT_UNTRUSTED`";
    let Some(chain) = &manager.chain else { return };
    let Some(socket) = chain.get("transport_socket").and_then(|socket| socket.get("typed_config")) else {
        let follows = "callers have no certificate here: what `binding` and `source` ask for is never there, and these calls are refused";
        return out.fault(chain, "no TLS, and the policy looks at client certificates", follows, HELP);
    };
    let context = socket.get("downstream_tls_context").unwrap_or(socket);
    match validation(&context) {
        Validation::Elsewhere | Validation::Good => {}
        Validation::Untrusted(at) => {
            let follows = "a self-signed certificate says what it likes, and `binding` and `source` believe it";
            out.fault(&at, "certificates that nobody validated are accepted", follows, HELP);
        }
        Validation::None(at) => {
            let follows = "no certificate is validated, and the policy's `binding` and `source` look at it";
            out.fault(&at, "client certificates are not validated", follows, HELP);
        }
    }
}

pub(super) enum Validation<'v> {
    Good,
    /// By SDS: not in these files.
    Elsewhere,
    Untrusted(Node<'v>),
    None(Node<'v>),
}

/// Of a TLS context of either side.
pub(super) fn validation<'v>(context: &Node<'v>) -> Validation<'v> {
    let Some(common) = context.get("common_tls_context") else { return Validation::None(context.clone()) };
    let combined = common.get("combined_validation_context");
    let own =
        common.get("validation_context").or(combined.as_ref().and_then(|both| both.get("default_validation_context")));
    if let Some(trust) = own.as_ref().and_then(|own| own.get("trust_chain_verification"))
        && trust.value.text() == Some("ACCEPT_UNTRUSTED")
    {
        return Validation::Untrusted(trust);
    }
    let is_elsewhere = common.has("validation_context_sds_secret_config")
        || combined.is_some_and(|both| both.has("validation_context_sds_secret_config"));
    match own {
        _ if is_elsewhere => Validation::Elsewhere,
        Some(own) if ANCHORS.iter().any(|anchor| own.has(anchor)) => Validation::Good,
        Some(own) => Validation::None(own),
        None => Validation::None(common),
    }
}

/// P40: what the gateway wrote must arrive as it was written.
pub(super) fn forwarded(world: &World<'_>, out: &mut Out<'_>) {
    if world.servers().all(|server| server.gateways().is_empty()) {
        return;
    }
    for manager in world.guarded() {
        let details = manager.node.get("forward_client_cert_details");
        let follows = match details.as_ref().and_then(|details| details.value.text()) {
            Some("FORWARD_ONLY" | "ALWAYS_FORWARD_ONLY") => continue,
            Some("APPEND_FORWARD" | "SANITIZE_SET") => {
                "the last element is about the gateway itself: `source` is the gateway, and not its client"
            }
            _ => "Envoy takes `x-forwarded-client-cert` away: `source` is unknown for every caller behind the gateway",
        };
        let at = details.unwrap_or_else(|| manager.node.clone());
        out.fault(
            &at,
            "`x-forwarded-client-cert` does not arrive as the gateway wrote it, and `source_from` reads it",
            follows,
            "write `forward_client_cert_details: FORWARD_ONLY`",
        );
    }
}
