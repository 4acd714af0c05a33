//! Tokens whose operation is over: revoked, again until it is confirmed, and forgotten when they are dead.

use std::rc::Rc;

use super::Gate;
use super::calls::Purpose;
use crate::ends::{ExchangeEnd, RevocationEnd};
use crate::http::StreamId;
use crate::metrics::Metric;
use crate::obtain::Revocation;
use crate::time::Millis;
use crate::watch::OperationEnd;

impl Gate {
    /// Makes the revocation calls that are due.
    pub(super) fn revoke(&mut self, now: Millis) {
        // Asked after every input: most of the time there is nothing.
        if self.ledger.revocations.next_due().is_none_or(|due| due > now) {
            return;
        }
        let policy = Rc::clone(&self.policy);
        let Some(service) = &policy.token_service else { return };
        let ids = &mut self.ids;
        let due = self.ledger.revocations.calls_due(service, now, || ids.decision());
        for (serial, call) in due {
            self.call(Purpose::Revocation(serial), call, service.timeout.saturating_mul(1000), now);
        }
    }

    pub(super) fn revocation_ended(&mut self, revocation: &Revocation, end: RevocationEnd) {
        let line = format!("{}: {}", revocation.decision, end.name());
        match end {
            RevocationEnd::Revoked => self.out.debug(line),
            _ => self.out.warn(line),
        }
        self.out.count(Metric::Revocation { outcome: end });
    }

    /// Time has passed: operations are over, tokens have died, and calls that nobody answers are given up.
    pub(super) fn age(&mut self, now: Millis) {
        let over = self.tails.iter().filter(|(_, tail)| tail.until <= now);
        let over: Vec<StreamId> = over.map(|(stream, _)| *stream).collect();
        for stream in over {
            self.finish(stream, OperationEnd::Incomplete, now);
        }
        self.ledger.forget(now);
        for forgotten in self.calls.forgotten(now) {
            match forgotten {
                // Its lease is over as well: the next VM that looks fetches.
                Purpose::Keys { .. } => {}
                Purpose::Revocation(serial) => self.ledger.revocations.retry(serial, now),
                Purpose::Exchange(pending) => {
                    self.out.count(Metric::Exchange { server: pending.server, outcome: ExchangeEnd::Lost });
                }
            }
        }
        for (revocation, end) in self.ledger.revocations.over(now) {
            self.revocation_ended(&revocation, end);
        }
    }
}
