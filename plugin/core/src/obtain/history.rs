//! What came of the exchanges of each rule in this worker (P28): it tells a dead subject from a wrong target, and keeps a service whose
//! settings are wrong from minting what is only revoked.

use crate::obtain::Party;
use crate::reason::Reason;
use crate::time::Millis;

/// By the place of the rule in the policy: those under which something was exchanged.
#[derive(Debug, Default)]
pub(crate) struct History(Vec<(String, Past)>);

#[derive(Debug, Default)]
struct Past {
    has_succeeded: bool,
    /// Whom the service called dead, and when: perhaps it did not mean them.
    blamed: Vec<(Party, Millis)>,
    /// Answers in a row that were about the target.
    wrong_targets: u32,
    /// Faults without a success between.
    faults: u32,
    last: Option<Reason>,
    /// Nothing is asked before.
    paused: Millis,
}

/// Faults in a row after which the service is asked once in [`PAUSE`].
const MOST_FAULTS: u32 = 3;
/// Seconds.
const PAUSE: u64 = 30;
/// Seconds in which a subject is called dead once.
const ONCE: u64 = 60;
/// Subjects remembered, of a rule. Where more die in a minute, it is not the subjects.
const MOST_BLAMED: usize = 256;

impl History {
    fn known(&mut self, rule: &str) -> Option<&mut Past> {
        self.0.iter_mut().find(|(known, _)| known == rule).map(|(_, past)| past)
    }

    /// With what is known of the rule, from now on.
    fn with<R: Default>(&mut self, rule: &str, act: impl FnOnce(&mut Past) -> R) -> R {
        if self.known(rule).is_none() {
            self.0.push((rule.to_owned(), Past::default()));
        }
        self.known(rule).map(act).unwrap_or_default()
    }

    /// It would end as the last ones did: the reason of those. Otherwise one is tried.
    pub(crate) fn in_vain(&mut self, rule: &str, now: Millis) -> Option<Reason> {
        let past = self.known(rule).filter(|past| past.faults >= MOST_FAULTS)?;
        if now < past.paused {
            return past.last;
        }
        past.paused = now.plus_seconds(PAUSE);
        None
    }

    pub(crate) fn succeeded(&mut self, rule: &str) {
        self.with(rule, |past| (past.has_succeeded, past.wrong_targets, past.faults) = (true, 0, 0));
    }

    /// An exchange ended by a fault that waiting does not heal. Refusals and outages say nothing of the settings.
    pub(crate) fn failed(&mut self, rule: &str, reason: Reason, now: Millis) {
        self.with(rule, |past| {
            past.faults = past.faults.saturating_add(1);
            past.last = Some(reason);
            if past.faults >= MOST_FAULTS {
                past.paused = now.plus_seconds(PAUSE);
            }
        });
    }

    /// `invalid_request` is RFC 8693's word for a dead subject token, and Keycloak's for a target that its scopes do not bring. Where
    /// the target has worked before it is the subject; but the same one is not sent to log in twice.
    pub(crate) fn is_dead(&mut self, rule: &str, subject: &Party, now: Millis) -> bool {
        let Some(past) = self.known(rule).filter(|past| past.has_succeeded) else { return false };
        past.blamed.retain(|(_, at)| now < at.plus_seconds(ONCE));
        if past.blamed.len() >= MOST_BLAMED || past.blamed.iter().any(|(known, _)| known == subject) {
            return false;
        }
        past.blamed.push((subject.clone(), now));
        true
    }

    /// The target was refused: is it time to tell somebody?
    pub(crate) fn is_third_wrong_target(&mut self, rule: &str) -> bool {
        self.with(rule, |past| {
            past.wrong_targets = past.wrong_targets.saturating_add(1);
            past.wrong_targets >= 3
        })
    }

    /// An answer that was not about the target.
    pub(crate) fn other_answer(&mut self, rule: &str) {
        if let Some(past) = self.known(rule) {
            past.wrong_targets = 0;
        }
    }
}
