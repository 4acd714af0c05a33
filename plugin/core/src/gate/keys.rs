//! Keys: what came of a fetch, and who waited for it.

use super::Gate;
use crate::effect::Level;
use crate::ends::KeysEnd;
use crate::flow::Flow;
use crate::http::{CallFault, Reply};
use crate::keys::FetchOutcome;
use crate::metrics::Metric;
use crate::time::Millis;

impl Gate {
    pub(super) fn fetched(&mut self, issuer: usize, outcome: FetchOutcome, reply: &Result<Reply<'_>, CallFault>) {
        let issuer = self.policy.issuer_at(issuer).map(|issuer| issuer.name.clone()).unwrap_or_default();
        let (end, line) = match outcome {
            FetchOutcome::Fetched { skipped } => {
                if let Some((skipped, is_wrong)) = skipped {
                    let line = format!("keys of {issuer} that are not used: {skipped}");
                    self.out.log(if is_wrong { Level::Warning } else { Level::Info }, line);
                }
                (KeysEnd::Fetched, None)
            }
            FetchOutcome::Withdrawn { skipped } => {
                let skipped = skipped.map(|skipped| format!("; not used: {skipped}")).unwrap_or_default();
                let line = format!("{issuer} has withdrawn all its keys: none of its tokens is accepted{skipped}");
                (KeysEnd::Withdrawn, Some(line))
            }
            FetchOutcome::Unreachable => {
                let status = match reply {
                    Ok(reply) => format!("status {}", reply.status),
                    Err(CallFault::Refused) => "the proxy did not ask".to_owned(),
                    Err(CallFault::Unanswered) => "no answer".to_owned(),
                };
                (KeysEnd::Unreachable, Some(format!("keys of {issuer} could not be fetched: {status}")))
            }
            FetchOutcome::Unusable(fault) => {
                (KeysEnd::Unusable, Some(format!("keys of {issuer} cannot be used: {fault:?}")))
            }
        };
        line.into_iter().for_each(|line| self.out.warn(line));
        self.out.count(Metric::JwksFetch { issuer, outcome: end });
    }

    /// Whoever found new keys, all that wait for them are told.
    pub(super) fn tell_keys(&mut self, now: Millis) {
        if std::mem::replace(&mut self.keys_told, self.keys.changes()) == self.keys.changes() {
            return;
        }
        self.prove(now);
        for stream in self.streams.that_wait() {
            self.advance(stream, now, Flow::keys_changed);
        }
    }
}
