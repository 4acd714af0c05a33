//! Every token that the token service has given, until it is dead: minted is revoked, or lost, and never used twice.

use std::collections::HashMap;

use crate::jose::Compact;
use crate::obtain::{Pending, Revocation, Revocations};
use crate::secret::Secret;
use crate::time::Millis;
use crate::token::ElevatedToken;

/// Tokens that are not dead yet, at most: beyond it nothing is exchanged. More than a worker can exchange in a minute, so only a
/// long `ttl` can let it come to that.
const MOST_KNOWN: usize = 100_000;

pub(crate) struct Ledger {
    /// Those whose operation is over, of each token service.
    pub revocations: Vec<Revocations>,
    /// All of them, by digest: a token is for one operation (P12), also where the token service gives the same one twice.
    known: HashMap<[u8; 32], Millis>,
}

impl Ledger {
    /// `spread` is random.
    pub(crate) fn new(services: usize, spread: u64) -> Ledger {
        Ledger { revocations: (0..services).map(|_| Revocations::new(spread)).collect(), known: HashMap::new() }
    }

    pub(crate) fn is_full(&self) -> bool {
        let waiting: usize = self.revocations.iter().map(Revocations::len).sum();
        self.known.len().max(waiting) >= MOST_KNOWN
    }

    /// Nothing waits to be revoked.
    pub(crate) fn is_idle(&self) -> bool {
        self.revocations.iter().all(Revocations::is_empty)
    }

    /// When the next revocation is due.
    pub(crate) fn next_due(&self) -> Option<Millis> {
        self.revocations.iter().filter_map(Revocations::next_due).min()
    }

    /// Remembers a token until it is dead. False when it is known already.
    pub(crate) fn meet(&mut self, token: &ElevatedToken) -> bool {
        self.known.insert(*token.digest(), expiry(token.expires_at())).is_none()
    }

    /// Forgets those that are dead.
    pub(crate) fn forget(&mut self, now: Millis) {
        self.known.retain(|_, expires| *expires > now);
    }

    /// What came of an exchange and is not used is to be revoked at once, unless it is in use: its operation is for that to do.
    /// `longest`: seconds of life that any rule asks for.
    pub(crate) fn unwanted(
        &mut self,
        pending: &Pending,
        minted: Vec<(bool, Secret, &'static str)>,
        longest: u64,
        now: Millis,
    ) -> Vec<Revocation> {
        let remembered = now.plus_seconds(longest.max(300));
        let revocation = |(is_in_use, token, hint): (bool, Secret, &'static str)| {
            let compact = Compact::new(token.reveal());
            self.known.insert(*compact.digest(), remembered);
            // Not believed, its `exp` neither: it can only make the attempts go on for longer.
            let read = compact.read().ok();
            let claims = read.as_ref().and_then(|token| token.claims().ok());
            let expires = claims.map(|claims| expiry(claims.expires_at).max(remembered));
            (!is_in_use).then(|| of(pending, token, hint, expires, now))
        };
        minted.into_iter().filter_map(revocation).collect()
    }

    /// Is that token waiting to be revoked?
    pub(crate) fn is_waiting(&self, token: &Secret) -> bool {
        self.revocations.iter().any(|revocations| revocations.contains(token))
    }
}

/// The end of a token that an exchange brought.
pub(crate) fn of(
    pending: &Pending,
    token: Secret,
    hint: &'static str,
    expires: Option<Millis>,
    now: Millis,
) -> Revocation {
    let (decision, trace) = (pending.decision.clone(), pending.elevation.trace.clone());
    Revocation { service: pending.elevation.exchange.service, token, hint, expires, due: now, decision, trace }
}

/// A NumericDate (RFC 7519 2).
pub(crate) fn expiry(seconds: i64) -> Millis {
    Millis(0).plus_seconds(u64::try_from(seconds).unwrap_or(0))
}
