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

/// The issuer that is asked, a position in the policy's issuers, and the digest of the token. What one issuer says of a token is
/// nothing to the server of another.
pub(crate) type Asked = (usize, [u8; 32]);

#[derive(Default)]
pub(crate) struct Opinions {
    active: Recent,
    /// Strangers send those, and must not push out what callers need.
    inactive: Recent,
    /// Tokens that were active once: asking about one again is no stranger's question.
    seen: Recent,
}

/// Seconds in which "inactive" is not asked about again.
const INACTIVE: u64 = 5;
/// Seconds in which a token that does not say when it ends is known.
const KNOWN: u64 = 3600;
/// Entries of a generation, and bytes of what they hold.
const MOST: usize = 4096;
const MOST_BYTES: usize = 8 * 1024 * 1024;

impl Opinions {
    /// `Some(None)`: it is not active.
    pub(crate) fn of(&self, asked: &Asked, now: Millis) -> Option<Option<Inspected>> {
        self.active.get(asked, now).or_else(|| self.inactive.get(asked, now)).cloned()
    }

    pub(crate) fn was_active(&self, asked: &Asked, now: Millis) -> bool {
        self.seen.get(asked, now).is_some()
    }

    /// `cache`: seconds.
    pub(crate) fn remember(&mut self, asked: Asked, opinion: Option<Inspected>, cache: u64, now: Millis) {
        let Some(inspected) = opinion else {
            self.active.remove(&asked);
            return self.inactive.put(asked, None, now.plus_seconds(INACTIVE));
        };
        let expires = Millis(0).plus_seconds(u64::try_from(inspected.claims.expires_at).unwrap_or(0));
        let known = if inspected.claims.says_end { expires } else { now.plus_seconds(KNOWN) };
        self.seen.put(asked, None, known);
        self.inactive.remove(&asked);
        self.active.put(asked, Some(inspected), expires.min(now.plus_seconds(cache)));
    }
}

/// Two generations: where the young one is full, by number or by bytes, it becomes the old one, and what was not asked about meanwhile is forgotten.
#[derive(Default)]
struct Recent {
    young: HashMap<Asked, (Option<Inspected>, Millis)>,
    bytes: usize,
    old: HashMap<Asked, (Option<Inspected>, Millis)>,
}

impl Recent {
    fn get(&self, asked: &Asked, now: Millis) -> Option<&Option<Inspected>> {
        let (value, until) = self.young.get(asked).or_else(|| self.old.get(asked))?;
        (now < *until).then_some(value)
    }

    fn put(&mut self, asked: Asked, value: Option<Inspected>, until: Millis) {
        let bytes = value.as_ref().map_or(0, |inspected| inspected.claims.footprint());
        if self.young.len() >= MOST || self.bytes.saturating_add(bytes) > MOST_BYTES {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.young.insert(asked, (value, until));
    }

    fn remove(&mut self, asked: &Asked) {
        self.young.remove(asked);
        self.old.remove(asked);
    }
}
