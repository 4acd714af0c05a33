//! What a gate says of itself: which policy is in force, and what there is one of for the whole process.

use std::rc::Rc;

use super::{Gate, VERSION};
use crate::metrics::Metric;
use crate::time::Millis;

/// The shared slot with the digest of the policy that came into force last.
const ANNOUNCED: &str = "stepup/1/policy";
impl Gate {
    /// One line for each policy that comes into force, whichever of the VMs is the first to load it.
    pub(super) fn announce(&mut self) {
        if self.is_announced() {
            return;
        }
        let digest = self.policy.digest();
        self.shared.set(ANNOUNCED, digest.as_bytes(), None);
        let servers = self.policy.servers.iter().map(|server| &*server.name).collect::<Vec<_>>().join(", ");
        let line = format!("policy {digest} in force, module {VERSION}, servers: {servers}");
        self.out.warn(line);
        let policy = Rc::clone(&self.policy);
        policy.warnings().iter().for_each(|warning| self.out.warn(format!("policy warning: {warning}")));
    }

    pub(super) fn is_announced(&self) -> bool {
        self.shared.get(ANNOUNCED).is_some_and(|(last, _)| last == self.policy.digest().as_bytes())
    }

    pub(super) fn info(&mut self, value: u64) {
        let policy = self.policy.digest.clone();
        self.out.count(Metric::Info { module: VERSION, policy, value });
    }

    /// Values that there is one of for the whole process.
    pub(super) fn report(&mut self, now: Millis) {
        for (issuer, seconds) in self.keys.ages(now) {
            let issuer = self.policy.issuer_at(issuer).map(|issuer| issuer.name.clone()).unwrap_or_default();
            self.out.count(Metric::KeysAge { issuer, seconds });
        }
        let shadow = Metric::Shadow { value: u64::from(self.policy.has_shadow(now)) };
        self.out.count(shadow);
    }
}
