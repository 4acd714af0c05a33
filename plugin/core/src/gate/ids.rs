//! Names for decisions, from one seed.

use std::hash::Hasher as _;

use crate::text::hex;

/// A generator: what it gave tells nobody what it will give.
pub(super) struct Ids {
    keys: [u64; 2],
    decisions: u64,
}

impl Ids {
    /// `seed` is 16 random bytes.
    pub(super) fn new(seed: [u8; 16]) -> Ids {
        let (first, second) = seed.split_at(8);
        let key = |half: &[u8]| half.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Ids { keys: [key(first), key(second)], decisions: 0 }
    }

    /// Random for other uses than names.
    pub(super) fn spread(&self) -> u64 {
        self.half(0, 2)
    }

    /// 128 bits that nobody outside can predict: SipHash-2-4 of a counter, keyed by the seed, once for each half.
    pub(super) fn decision(&mut self) -> String {
        self.decisions += 1;
        let halves = [0, 1].map(|half| self.half(self.decisions, half).to_be_bytes());
        hex(halves.as_flattened(), 16)
    }

    #[allow(deprecated, reason = "the standard library's keyed SipHash-2-4: another crate would be the same code")]
    fn half(&self, number: u64, half: u64) -> u64 {
        let [first, second] = self.keys;
        let mut hasher = std::hash::SipHasher::new_with_keys(first, second);
        hasher.write_u64(number);
        hasher.write_u64(half);
        hasher.finish()
    }
}
