//! The calls under way, and what each is for.

use std::collections::BTreeMap;

use super::Gate;
use crate::effect::Effect;
use crate::http::{Call, CallFault, CallId, Reply};
use crate::jose::Compact;
use crate::metrics::Metric;
use crate::obtain::{Pending, Serial};
use crate::time::Millis;

/// What a call is for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// The keys of the issuer at this position, under the lease that ends then.
    Keys { issuer: usize, lease: Millis },
    /// What the issuer at this position thinks of a token.
    Introspection { issuer: usize, token: Compact },
    /// A token for one operation.
    Exchange(Box<Pending>),
    /// The end of a token, at the token service of this position.
    Revocation(usize, Serial),
}

/// Every call that the host has not answered yet.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// Each with the moment after which nobody will answer it.
    under_way: BTreeMap<CallId, Box<(Purpose, Millis)>>,
    last: u32,
}

/// A call that nobody answers is forgotten this long after the host should have given it up. Milliseconds.
const GRACE: u64 = 5_000;

impl Calls {
    /// A call begins; the host gives it up after `patience` milliseconds.
    pub(super) fn begin(&mut self, purpose: Purpose, patience: u64, now: Millis) -> CallId {
        // Unique among those under way.
        self.last = self.last.wrapping_add(1);
        let id = CallId(self.last);
        self.under_way.insert(id, Box::new((purpose, now.plus(patience.saturating_add(GRACE)))));
        id
    }

    /// A call ended. `None`: it was not one of ours, or is forgotten.
    pub(super) fn end(&mut self, call: CallId) -> Option<Purpose> {
        self.under_way.remove(&call).map(|call| call.0)
    }

    /// What nobody will answer any more.
    pub(super) fn forgotten(&mut self, now: Millis) -> Vec<Purpose> {
        self.under_way.extract_if(.., |_, call| call.1 <= now).map(|(_, call)| call.0).collect()
    }

    /// The exchanges under way.
    pub(super) fn exchanges(&self) -> impl Iterator<Item = &Pending> {
        self.under_way.values().filter_map(|call| match &call.0 {
            Purpose::Exchange(pending) => Some(&**pending),
            Purpose::Keys { .. } | Purpose::Introspection { .. } | Purpose::Revocation(..) => None,
        })
    }
}

impl Gate {
    /// A call goes out; the host gives it up after `patience` milliseconds.
    pub(super) fn call(&mut self, purpose: Purpose, call: Call, patience: u64, now: Millis) -> CallId {
        let id = self.calls.begin(purpose, patience, now);
        self.out.put(Effect::Call { id, call });
        id
    }

    pub(super) fn reply(&mut self, call: CallId, reply: &Result<Reply<'_>, CallFault>, now: Millis) {
        match self.calls.end(call) {
            Some(Purpose::Exchange(pending)) => self.exchange_ended(call, *pending, reply, now),
            Some(Purpose::Revocation(service, serial)) => self.revocation_replied(service, serial, reply, now),
            Some(Purpose::Keys { issuer, lease }) => {
                let outcome = self.keys.fetched(issuer, lease, reply, self.shared.as_ref(), now);
                match outcome {
                    Some(outcome) => self.fetched(issuer, outcome, reply),
                    None => self.unexpected_reply(),
                }
            }
            Some(Purpose::Introspection { issuer, token }) => self.asked(issuer, &token, reply, now),
            None => self.unexpected_reply(),
        }
    }

    fn unexpected_reply(&mut self) {
        self.out.count(Metric::Fault { kind: "unexpected_reply", count: 1 });
    }
}
