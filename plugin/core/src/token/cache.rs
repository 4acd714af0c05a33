//! Tokens verified before: claims, never verdicts.

use std::collections::HashMap;
use std::rc::Rc;

use crate::jose::{Claims, Jwk};
use crate::keys::KeyRing;
use crate::time::Millis;

/// More tokens than this at a time are verified again. An entry is about 1 KiB.
const CAPACITY: usize = 4096;

/// A bounded map in two halves: what is used moves to the young half, and when that is full the old half goes.
///
/// It belongs to one policy (a new policy brings a new gate, and so a new cache).
pub(crate) struct Cache {
    young: HashMap<[u8; 32], Entry>,
    old: HashMap<[u8; 32], Entry>,
    lifetime: u64,
}

/// One verified token.
#[derive(Clone)]
pub(crate) struct Entry {
    pub issuer: usize,
    pub claims: Rc<Claims>,
    key: [u8; 32],
    generation: u64,
    until: Millis,
}

impl Entry {
    pub(crate) fn new(issuer: usize, key: &Jwk, generation: u64, claims: Rc<Claims>) -> Entry {
        Entry { issuer, claims, key: *key.fingerprint(), generation, until: Millis(0) }
    }
}

impl Cache {
    /// `lifetime`: seconds after which a token is verified again, whatever else holds.
    pub(crate) fn new(lifetime: u64) -> Cache {
        Cache { young: HashMap::new(), old: HashMap::new(), lifetime }
    }

    /// The entry, if it is young enough and its key is still the issuer's.
    pub(crate) fn get(&mut self, digest: &[u8; 32], keys: &KeyRing, now: Millis) -> Option<Entry> {
        if !self.young.contains_key(digest) {
            let entry = self.old.remove(digest)?;
            self.make_room();
            self.young.insert(*digest, entry);
        }
        let entry = self.young.get_mut(digest)?;
        let alive = now < entry.until
            && keys.current(entry.issuer, now).is_ok_and(|set| {
                let known = set.generation() == entry.generation || set.contains(&entry.key);
                entry.generation = set.generation();
                known
            });
        if !alive {
            self.young.remove(digest);
            return None;
        }
        self.young.get(digest).cloned()
    }

    /// The issuer has said that this token is dead.
    pub(crate) fn forget(&mut self, digest: &[u8; 32]) {
        self.young.remove(digest);
        self.old.remove(digest);
    }

    pub(crate) fn insert(&mut self, digest: [u8; 32], mut entry: Entry, now: Millis) {
        entry.until = now.plus_seconds(self.lifetime);
        self.make_room();
        self.young.insert(digest, entry);
    }

    fn make_room(&mut self) {
        if self.young.len() >= CAPACITY / 2 {
            self.old = std::mem::take(&mut self.young);
        }
    }
}
