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
    /// Those whose operation is over.
    pub revocations: Revocations,
    /// All of them, by digest: a token is for one operation (P12), also where the token service gives the same one twice.
    known: HashMap<[u8; 32], Millis>,
}

impl Ledger {
    /// `spread` is random.
    pub(crate) fn new(spread: u64) -> Ledger {
        Ledger { revocations: Revocations::new(spread), known: HashMap::new() }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.known.len().max(self.revocations.len()) >= MOST_KNOWN
    }

    /// Remembers a token until it is dead. False when it is known already.
    pub(crate) fn meet(&mut self, token: &ElevatedToken) -> bool {
        self.known.insert(*token.digest(), expiry(token.expires_at())).is_none()
    }

    /// Forgets those that are dead.
    pub(crate) fn forget(&mut self, now: Millis) {
        self.known.retain(|_, expires| *expires > now);
    }

    /// What came of an exchange and is not used is revoked at once, unless its operation is under way: it is for that to do.
    /// `longest`: seconds of life that any rule asks for.
    pub(crate) fn take_back_all(
        &mut self,
        pending: &Pending,
        minted: Vec<(Secret, &'static str)>,
        longest: u64,
        is_in_use: impl Fn(&Secret) -> bool,
        now: Millis,
    ) {
        let remembered = now.plus_seconds(longest.max(300));
        for (token, hint) in minted {
            let compact = Compact::new(token.reveal());
            self.known.insert(*compact.digest(), remembered);
            // Not believed, its `exp` neither: it can only make the attempts go on for longer.
            let expires = compact.read().ok();
            let expires = expires.as_ref().and_then(|token| token.claims().ok());
            let expires = expires.map(|claims| expiry(claims.expires_at).max(remembered));
            if !is_in_use(&token) {
                self.take_back(pending, token, hint, expires, now);
            }
        }
    }

    /// The same, of a token whose `exp` can be believed.
    pub(crate) fn take_back_elevated(
        &mut self,
        pending: &Pending,
        token: &ElevatedToken,
        is_in_use: impl Fn(&Secret) -> bool,
        now: Millis,
    ) {
        if !is_in_use(token.text()) {
            self.take_back(pending, token.text().clone(), "access_token", Some(expiry(token.expires_at())), now);
        }
    }

    fn take_back(
        &mut self,
        pending: &Pending,
        token: Secret,
        hint: &'static str,
        expires: Option<Millis>,
        now: Millis,
    ) {
        if self.revocations.contains(&token) {
            return;
        }
        let (decision, trace) = (pending.decision.clone(), pending.elevation.trace.clone());
        self.revocations.add(Revocation { token, hint, expires, due: now, decision, trace }, now);
    }
}

/// A NumericDate (RFC 7519 2).
pub(crate) fn expiry(seconds: i64) -> Millis {
    Millis(0).plus_seconds(u64::try_from(seconds).unwrap_or(0))
}
