//! The lock: what answers where the filter is lost or switched off.

use super::super::finding::Out;
use super::super::lock::{is_lock, levels};
use super::super::node::Node;
use super::super::world::World;
use super::name_of;

pub(super) fn lock(world: &World<'_>, out: &mut Out<'_>) {
    const FOLLOWS: &str = "where the filter is lost, or switched off on a route, everybody calls every tool";
    const HELP: &str = "put `step-up-lock` of envoy/envoy.yaml between the filter and the router, and leave it on";
    for manager in world.guarded() {
        let is_locked = |levels: &[Node<'_>]| manager.after().iter().any(|filter| is_lock(filter, levels));
        let all = manager.each_route();
        let led = all.iter().filter(|[route, ..]| route.has("route"));
        let routes: Vec<_> = led.map(|of| (levels(of).iter().all(|levels| is_locked(levels)), &of[0])).collect();
        // Where routes are not to be seen, what stands in the listener counts.
        let is_anywhere =
            if routes.is_empty() { is_locked(&[]) } else { routes.iter().any(|(is_locked, _)| *is_locked) };
        if !is_anywhere {
            out.warn(&manager.node, "no lock stands behind the step-up filter", FOLLOWS, HELP);
            continue;
        }
        for (_, route) in routes.iter().filter(|(is_locked, _)| !is_locked) {
            out.warn(route, format!("the lock is off on {}", name_of(route)), FOLLOWS, HELP);
        }
    }
}
