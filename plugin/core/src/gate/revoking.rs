//! Tokens whose operation is over: revoked, again until it is confirmed, and forgotten when they are dead.

use std::rc::Rc;

use super::Gate;
use super::calls::Purpose;
use crate::ends::{ExchangeEnd, RevocationEnd};
use crate::http::{CallFault, Reply, StreamId};
use crate::metrics::Metric;
use crate::obtain::{Revocation, Serial};
use crate::time::Millis;
use crate::watch::OperationEnd;

impl Gate {
    /// Makes the revocation calls that are due.
    pub(super) fn revoke(&mut self, now: Millis) {
        // Asked after every input: most of the time there is nothing.
        if self.ledger.next_due().is_none_or(|due| due > now) {
            return;
        }
        let policy = Rc::clone(&self.policy);
        for (at, service) in policy.services.iter().enumerate() {
            let Some(endpoint) = &service.revoke else { continue };
            let Some(revocations) = self.ledger.revocations.get_mut(at) else { continue };
            if revocations.next_due().is_none_or(|due| due > now) {
                continue;
            }
            let ids = &mut self.ids;
            for (serial, call) in revocations.calls_due(service, endpoint, now, || ids.decision()) {
                self.call(Purpose::Revocation(at, serial), call, service.timeout.saturating_mul(1000), now);
            }
        }
    }

    /// A token is no longer used: it is revoked, or left to its `exp` where its service knows no other end (P28).
    pub(super) fn take_back(&mut self, revocation: Revocation, now: Millis) {
        if self.ledger.is_waiting(&revocation.token) {
            return;
        }
        let service = self.policy.service_at(revocation.service);
        if service.is_none_or(|service| service.revoke.is_none()) {
            return self.revocation_ended(&revocation, RevocationEnd::Kept);
        }
        if let Some(revocations) = self.ledger.revocations.get_mut(revocation.service) {
            revocations.add(revocation, now);
        }
    }

    pub(super) fn revocation_replied(
        &mut self,
        service: usize,
        serial: Serial,
        reply: &Result<Reply<'_>, CallFault>,
        now: Millis,
    ) {
        let revocations = self.ledger.revocations.get_mut(service);
        if let Some((revocation, end)) = revocations.and_then(|revocations| revocations.reply(serial, reply, now)) {
            self.revocation_ended(&revocation, end);
        }
    }

    pub(super) fn revocation_ended(&mut self, revocation: &Revocation, end: RevocationEnd) {
        let line = format!("{}: {}", revocation.decision, end.name());
        match end {
            RevocationEnd::Revoked | RevocationEnd::Kept => self.out.debug(line),
            _ => self.out.warn(line),
        }
        self.out.count(Metric::Revocation { outcome: end });
    }

    /// Time has passed: operations are over, tokens have died, and calls that nobody answers are given up.
    pub(super) fn age(&mut self, now: Millis) {
        let over = self.tails.iter().filter(|(_, tail)| tail.until <= now && !tail.is_over);
        let over: Vec<StreamId> = over.map(|(stream, _)| *stream).collect();
        for stream in over {
            self.end_early(stream, OperationEnd::Incomplete, now);
        }
        self.age_resting(now);
        self.ledger.forget(now);
        for forgotten in self.calls.forgotten(now) {
            match forgotten {
                // Its lease is over as well: the next VM that looks fetches.
                Purpose::Keys { .. } => {}
                Purpose::Introspection { issuer, token } => {
                    self.asked(issuer, &token, &Err(CallFault::Unanswered), now);
                }
                Purpose::Revocation(service, serial) => {
                    if let Some(revocations) = self.ledger.revocations.get_mut(service) {
                        revocations.retry(serial, now);
                    }
                }
                Purpose::Exchange(pending) => {
                    self.out.count(Metric::Exchange { server: pending.server, outcome: ExchangeEnd::Lost });
                }
            }
        }
        let over: Vec<_> = self.ledger.revocations.iter_mut().flat_map(|revocations| revocations.over(now)).collect();
        for (revocation, end) in over {
            self.revocation_ended(&revocation, end);
        }
    }
}
