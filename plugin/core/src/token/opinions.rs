//! What issuers say of tokens that nobody can read here (P23), for a while.

use std::collections::HashMap;
use std::rc::Rc;

use crate::jose::Claims;
use crate::time::Millis;

/// A token that its issuer calls active.
#[derive(Clone, Debug)]
pub(crate) struct Inspected {
    /// A position in the policy's issuers.
    pub issuer: usize,
    pub claims: Rc<Claims>,
    /// How records name the caller.
    pub record: Rc<str>,
}

/// By digest.
#[derive(Default)]
pub(crate) struct Opinions {
    active: HashMap<[u8; 32], (Option<Inspected>, Millis)>,
    /// Strangers send those, and must not push out what callers need.
    inactive: HashMap<[u8; 32], (Option<Inspected>, Millis)>,
    /// Until when a token says that it lives that was active once: asking about it again is no stranger's question.
    seen: HashMap<[u8; 32], (Option<Inspected>, Millis)>,
}

/// Seconds in which "inactive" is not asked about again.
const INACTIVE: u64 = 5;
/// Opinions of a kind.
const MOST: usize = 4096;

impl Opinions {
    /// `Some(None)`: it is not active.
    pub(crate) fn of(&self, digest: &[u8; 32], now: Millis) -> Option<Option<Inspected>> {
        let fresh = |(opinion, until): &(Option<Inspected>, Millis)| (now < *until).then(|| opinion.clone());
        let found = self.active.get(digest).and_then(fresh);
        found.or_else(|| self.inactive.get(digest).and_then(fresh))
    }

    pub(crate) fn was_active(&self, digest: &[u8; 32], now: Millis) -> bool {
        self.seen.get(digest).is_some_and(|(_, until)| now < *until)
    }

    /// `cache`: seconds.
    pub(crate) fn remember(&mut self, digest: [u8; 32], opinion: Option<Inspected>, cache: u64, now: Millis) {
        let Some(inspected) = opinion else {
            self.active.remove(&digest);
            return keep(&mut self.inactive, digest, None, now.plus_seconds(INACTIVE), now);
        };
        let expires = Millis(0).plus_seconds(u64::try_from(inspected.claims.expires_at).unwrap_or(0));
        keep(&mut self.seen, digest, None, expires, now);
        self.inactive.remove(&digest);
        keep(&mut self.active, digest, Some(inspected), expires.min(now.plus_seconds(cache)), now);
    }
}

/// Where it is full, what is over goes, and if that is nothing all of it: it is asked again.
fn keep(
    map: &mut HashMap<[u8; 32], (Option<Inspected>, Millis)>,
    digest: [u8; 32],
    opinion: Option<Inspected>,
    until: Millis,
    now: Millis,
) {
    if map.len() >= MOST {
        map.retain(|_, (_, until)| now < *until);
        if map.len() >= MOST {
            map.clear();
        }
    }
    map.insert(digest, (opinion, until));
}
