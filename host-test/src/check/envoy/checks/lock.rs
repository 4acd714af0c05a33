//! The lock: what answers where the filter is lost or switched off.

use super::super::finding::Out;
use super::super::lock::is_lock;
use super::super::node::Node;
use super::super::world::World;
use super::name_of;

pub(super) fn lock(world: &World<'_>, out: &mut Out<'_>) {
    const FOLLOWS: &str = "where the filter is lost, or switched off on a route, everybody calls every tool";
    const HELP: &str = "put `step-up-lock` of envoy/envoy.yaml between the filter and the router, and leave it on";
    for manager in world.guarded() {
        let is_locked = |levels: [&Node<'_>; 3]| manager.after().iter().any(|filter| is_lock(filter, levels));
        let mut routes = Vec::new();
        for config in &manager.routes {
            for host in config.list("virtual_hosts") {
                for route in host.list("routes").into_iter().filter(|route| route.has("route")) {
                    routes.push((is_locked([&route, &host, config]), route));
                }
            }
        }
        if routes.iter().all(|(is_locked, _)| !is_locked) {
            if !routes.is_empty() {
                out.warn(&manager.node, "no lock stands behind the step-up filter", FOLLOWS, HELP);
            }
            continue;
        }
        for (_, route) in routes.iter().filter(|(is_locked, _)| !is_locked) {
            out.warn(route, format!("the lock is off on {}", name_of(route)), FOLLOWS, HELP);
        }
    }
}
