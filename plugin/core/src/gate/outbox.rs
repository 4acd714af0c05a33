//! What the host is to do next, and how a request is settled: recorded, counted, then released or answered.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use crate::audit::{Audit, Facts, Limiter};
use crate::decide::{Suspended, Would};
use crate::effect::{Effect, Level};
use crate::ends::Ending;
use crate::http::StreamId;
use crate::metrics::{FAULTS, Metric};
use crate::policy::Policy;
use crate::reason::Reason;
use crate::time::Millis;

/// How a request is settled.
pub(super) struct Settled<'r> {
    pub id: &'r str,
    pub ending: Ending,
    pub reason: Reason,
    pub status: Option<u16>,
    pub missing: &'r [String],
    pub would: Option<&'r Would>,
}

impl<'r> Settled<'r> {
    pub(super) fn new(id: &'r str, ending: Ending, reason: Reason) -> Settled<'r> {
        Settled { id, ending, reason, status: None, missing: &[], would: None }
    }

    /// With what enforcement would have done.
    pub(super) fn suspend(&mut self, suspended: &'r Suspended) {
        self.missing = &suspended.missing;
        self.would = Some(&suspended.would);
    }
}

pub(super) struct Outbox {
    policy: Rc<Policy>,
    effects: VecDeque<Effect>,
    limiter: Limiter,
    /// Decisions since the last tick. A host call for each request would cost more than all of them together.
    decisions: BTreeMap<Counted, u32>,
    /// The server's name, where there is none.
    nowhere: Rc<str>,
}

/// A series of decisions. In this order most comparisons end at the first field.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Counted {
    reason: Reason,
    ending: Ending,
    mode: &'static str,
    server: Rc<str>,
}

impl Outbox {
    pub(super) fn new(policy: &Rc<Policy>) -> Outbox {
        Outbox {
            policy: Rc::clone(policy),
            effects: VecDeque::new(),
            limiter: Limiter::default(),
            decisions: BTreeMap::new(),
            nowhere: Rc::from("-"),
        }
    }

    pub(super) fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    pub(super) fn put(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    pub(super) fn log(&mut self, level: Level, line: String) {
        self.put(Effect::Log { level, line });
    }

    pub(super) fn warn(&mut self, line: String) {
        self.log(Level::Warning, line);
    }

    pub(super) fn debug(&mut self, line: String) {
        self.log(Level::Debug, line);
    }

    pub(super) fn count(&mut self, metric: Metric) {
        self.put(Effect::Count(metric));
    }

    /// Records and counts, and then acts: whoever sees the act can see the record.
    pub(super) fn settle(&mut self, stream: StreamId, facts: &Facts, settled: &Settled<'_>, now: Millis, act: Effect) {
        self.decided(facts, settled.ending, settled.reason, now);
        self.say_again(stream, facts, settled, now);
        self.put(act);
    }

    /// The record, which takes the place of the one before.
    pub(super) fn say_again(&mut self, stream: StreamId, facts: &Facts, settled: &Settled<'_>, now: Millis) {
        if let Some(suppressed) = self.limiter.admit(settled.reason, facts.caller.is_stranger(), now) {
            let audit = Audit {
                id: settled.id,
                ending: settled.ending,
                reason: settled.reason,
                status: settled.status,
                mode: self.mode(facts, now),
                would: settled.would,
                missing: settled.missing,
                policy: self.policy.digest(),
                facts,
                suppressed,
            };
            let record = audit.to_json();
            self.put(Effect::Record { stream, record });
        }
    }

    /// Counts a decision, which is told at the next tick.
    pub(super) fn decided(&mut self, facts: &Facts, ending: Ending, reason: Reason, now: Millis) {
        if FAULTS.contains(&reason.name()) {
            self.count(Metric::Fault { kind: reason.name(), count: 1 });
        }
        let server = Rc::clone(facts.server.as_ref().unwrap_or(&self.nowhere));
        let counted = Counted { reason, ending, mode: self.mode(facts, now), server };
        *self.decisions.entry(counted).or_default() += 1;
    }

    /// Tells what was counted.
    pub(super) fn tell_decisions(&mut self) {
        for (Counted { reason, ending, mode, server }, count) in std::mem::take(&mut self.decisions) {
            self.count(Metric::Decision { server, verdict: ending, reason, mode, count });
        }
    }

    fn mode(&self, facts: &Facts, now: Millis) -> &'static str {
        if facts.is_shadow.unwrap_or_else(|| self.policy.mode.is_shadow(now)) { "shadow" } else { "enforce" }
    }
}
