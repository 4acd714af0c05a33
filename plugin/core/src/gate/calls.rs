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
    under_way: BTreeMap<CallId, Box<UnderWay>>,
    last: u32,
    /// When the log was last told of a cluster that the host does not call.
    refused: BTreeMap<String, Millis>,
}

#[derive(Debug)]
struct UnderWay {
    purpose: Purpose,
    cluster: String,
    /// After that nobody will answer it.
    until: Millis,
}

/// A call that nobody answers is forgotten this long after the host should have given it up. Milliseconds.
const GRACE: u64 = 5_000;

impl Calls {
    /// A call begins; the host gives it up after `patience` milliseconds.
    fn begin(&mut self, purpose: Purpose, cluster: String, patience: u64, now: Millis) -> CallId {
        // Unique among those under way.
        self.last = self.last.wrapping_add(1);
        let id = CallId(self.last);
        let until = now.plus(patience.saturating_add(GRACE));
        self.under_way.insert(id, Box::new(UnderWay { purpose, cluster, until }));
        id
    }

    /// A call ended. `None`: it was not one of ours, or is forgotten.
    fn end(&mut self, call: CallId) -> Option<UnderWay> {
        self.under_way.remove(&call).map(|call| *call)
    }

    /// What nobody will answer any more.
    pub(super) fn forgotten(&mut self, now: Millis) -> Vec<Purpose> {
        self.under_way.extract_if(.., |_, call| call.until <= now).map(|(_, call)| call.purpose).collect()
    }

    /// The exchanges under way.
    pub(super) fn exchanges(&self) -> impl Iterator<Item = &Pending> {
        self.under_way.values().filter_map(|call| match &call.purpose {
            Purpose::Exchange(pending) => Some(&**pending),
            Purpose::Keys { .. } | Purpose::Introspection { .. } | Purpose::Revocation(..) => None,
        })
    }
}

impl Gate {
    /// A call goes out; the host gives it up after `patience` milliseconds.
    pub(super) fn call(&mut self, purpose: Purpose, call: Call, patience: u64, now: Millis) -> CallId {
        let id = self.calls.begin(purpose, call.cluster.clone(), patience, now);
        self.out.put(Effect::Call { id, call });
        id
    }

    pub(super) fn reply(&mut self, call: CallId, reply: &Result<Reply<'_>, CallFault>, now: Millis) {
        let Some(UnderWay { purpose, cluster, .. }) = self.calls.end(call) else { return self.unexpected_reply() };
        if matches!(reply, Err(CallFault::Refused)) {
            self.tell_refused(cluster, now);
        }
        match purpose {
            Purpose::Exchange(pending) => self.exchange_ended(call, *pending, reply, now),
            Purpose::Revocation(service, serial) => self.revocation_replied(service, serial, reply, now),
            Purpose::Keys { issuer, lease } => {
                let outcome = self.keys.fetched(issuer, lease, reply, self.shared.as_ref(), now);
                match outcome {
                    Some(outcome) => self.fetched(issuer, outcome, reply),
                    None => self.unexpected_reply(),
                }
            }
            Purpose::Introspection { issuer, token } => self.asked(issuer, &token, reply, now),
        }
    }

    /// One line a minute for each cluster, however many calls it takes.
    fn tell_refused(&mut self, cluster: String, now: Millis) {
        if self.calls.refused.get(&cluster).is_some_and(|last| now.is_within(60, *last)) {
            return;
        }
        let line = format!(
            "the proxy does not call the cluster {cluster}: it has none of this name, or its circuit breaker is open"
        );
        self.out.warn(line);
        self.calls.refused.insert(cluster, now);
    }

    fn unexpected_reply(&mut self) {
        self.out.count(Metric::Fault { kind: "unexpected_reply", count: 1 });
    }
}
