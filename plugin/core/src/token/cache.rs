//! Tokens verified before: claims, never verdicts.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use crate::jose::{Claims, Compact, Jwk};
use crate::keys::KeyRing;
use crate::reason::Reason;
use crate::time::Millis;
use crate::token::opinions::Opinions;

/// More tokens than this at a time are verified again.
const CAPACITY: usize = 4096;
/// The same in bytes of their claims, roughly.
const CAPACITY_BYTES: usize = 16 * 1024 * 1024;
/// Refused tokens remembered at a time: strangers send them, so none of them is worth much.
const MOST_REFUSED: usize = 1024;
/// Tokens that their issuer has called dead. More than a worker exchanges in a token's life.
const MOST_DEAD: usize = 10_000;
/// Slow signatures that may fail in a second: each costs up to two milliseconds of the worker.
const MOST_SLOW_FAILURES: u32 = 50;
/// Seconds; no issuer may have more.
const LONGEST_LEEWAY: i64 = 60;

/// A bounded map in two halves: what is used moves to the young half, and when that is full the old half goes.
///
/// It belongs to one policy (a new policy brings a new gate, and so a new cache).
pub(crate) struct Cache {
    young: Half,
    old: Half,
    /// Of this VM: nobody outside can make two texts meet.
    key: u64,
    lifetime: u64,
    /// Bytes in the young half.
    bytes: usize,
    /// By digest: the generation of the keys, and what was wrong.
    refused: HashMap<[u8; 32], (u64, Reason)>,
    /// By digest: when it says that it dies.
    dead: HashMap<[u8; 32], Millis>,
    /// What issuers say of others.
    pub opinions: Opinions,
    second: u64,
    failures: u32,
}

/// One verified token.
#[derive(Clone)]
pub(crate) struct Entry {
    pub issuer: usize,
    pub claims: Rc<Claims>,
    /// How records name the caller.
    pub record: Rc<str>,
    key: [u8; 32],
    generation: u64,
    until: Millis,
}

impl Entry {
    pub(crate) fn new(issuer: usize, key: &Jwk, generation: u64, claims: Rc<Claims>, record: Rc<str>) -> Entry {
        Entry { issuer, claims, record, key: *key.fingerprint(), generation, until: Millis(0) }
    }
}

impl Cache {
    /// `key` is random. `lifetime`: seconds after which a token is verified again, whatever else holds.
    pub(crate) fn new(key: u64, lifetime: u64) -> Cache {
        Cache {
            young: Half::default(),
            old: Half::default(),
            key,
            lifetime,
            bytes: 0,
            refused: HashMap::new(),
            dead: HashMap::new(),
            opinions: Opinions::default(),
            second: 0,
            failures: 0,
        }
    }

    /// The token of this text, if it was verified before. Its digest is known already.
    pub(crate) fn known(&self, text: &str) -> Option<Compact> {
        let hash = self.hash(text);
        let (token, _) = self.young.get(&hash).or_else(|| self.old.get(&hash))?;
        token.reads(text).then(|| token.clone())
    }

    /// The entry, if it is young enough and its key is still the issuer's.
    pub(crate) fn get(&mut self, token: &Compact, keys: &KeyRing, now: Millis) -> Option<Entry> {
        let hash = self.hash(token.text());
        if let Some((token, entry)) = self.old.remove(&hash) {
            self.keep(hash, token, entry);
        }
        let (_, entry) = self.young.get_mut(&hash).filter(|(known, _)| known == token)?;
        let alive = now < entry.until
            && keys.current(entry.issuer, now).is_ok_and(|set| {
                let known = set.generation() == entry.generation || set.contains(&entry.key);
                entry.generation = set.generation();
                known
            });
        if !alive {
            self.young.remove(&hash);
            return None;
        }
        Some(entry.clone())
    }

    /// The issuer has said that this token is dead: it is refused until it says so itself.
    pub(crate) fn condemn(&mut self, token: &Compact, claims: &Claims) {
        let hash = self.hash(token.text());
        self.young.remove(&hash);
        self.old.remove(&hash);
        if self.dead.len() >= MOST_DEAD {
            self.dead.clear();
        }
        let end = claims.expires_at.saturating_add(LONGEST_LEEWAY);
        self.dead.insert(*token.digest(), Millis(0).plus_seconds(u64::try_from(end).unwrap_or(0)));
    }

    /// Has the issuer said that this token is dead?
    pub(crate) fn is_dead(&mut self, digest: &[u8; 32], now: Millis) -> bool {
        // Its own `exp` refuses it soon after, whatever the leeway is.
        if self.dead.get(digest).is_some_and(|end| now > *end) {
            self.dead.remove(digest);
        }
        self.dead.contains_key(digest)
    }

    /// This token was refused under these keys of its issuer, and will be again.
    pub(crate) fn refuse(&mut self, digest: &[u8; 32], generation: u64, reason: Reason) {
        if self.refused.len() >= MOST_REFUSED {
            self.refused.clear();
        }
        self.refused.insert(*digest, (generation, reason));
    }

    /// Why it was refused under these keys, if it was.
    pub(crate) fn refusal(&self, digest: &[u8; 32], generation: u64) -> Option<Reason> {
        self.refused.get(digest).filter(|(known, _)| *known == generation).map(|(_, reason)| *reason)
    }

    /// May another slow signature be checked, seen how many did not verify in this second?
    pub(crate) fn may_check_slowly(&mut self, now: Millis) -> bool {
        if self.second != now.0 / 1000 {
            (self.second, self.failures) = (now.0 / 1000, 0);
        }
        self.failures < MOST_SLOW_FAILURES
    }

    /// A slow signature did not verify.
    pub(crate) fn failed_slowly(&mut self) {
        self.failures += 1;
    }

    pub(crate) fn insert(&mut self, token: Compact, mut entry: Entry, now: Millis) {
        entry.until = now.plus_seconds(self.lifetime);
        self.keep(self.hash(token.text()), token, entry);
    }

    fn keep(&mut self, hash: u64, token: Compact, entry: Entry) {
        let bytes = entry.claims.footprint() + token.text().len();
        if self.young.len() >= CAPACITY / 2 || self.bytes.saturating_add(bytes) > CAPACITY_BYTES / 2 {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.young.insert(hash, (token, entry));
    }

    /// In words, as a token is long. Whoever is found under a hash is compared whole; and only tokens that were verified are
    /// there to be found.
    fn hash(&self, text: &str) -> u64 {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let mix = |hash: u64, word: u64| (hash.rotate_left(23) ^ word).wrapping_mul(ODD);
        let (words, rest) = text.as_bytes().as_chunks::<8>();
        let hash = words.iter().fold(self.key, |hash, word| mix(hash, u64::from_le_bytes(*word)));
        let hash = rest.iter().fold(hash, |hash, byte| mix(hash, u64::from(*byte)));
        hash ^ (hash >> 29)
    }
}

/// By the hash of the text. Two tokens that meet push each other out, and are verified again.
type Half = HashMap<u64, (Compact, Entry), BuildHasherDefault<Hashed>>;

/// The hasher of a map whose keys are hashes already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
