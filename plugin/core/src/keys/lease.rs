//! Who may fetch an issuer's keys: one VM of the process at a time, by a slot of shared memory.

use super::Shared;
use crate::time::Millis;

/// The pause between attempts, once there are keys: unknown `kid`s and failures cannot cause more. Milliseconds.
pub(super) const RETRY: u64 = 30_000;
/// P28: a `kid` never seen before is worth another fetch this long after the last one: a stranger may have caused that, and a good
/// client must not wait for half a minute.
const NEW_KID_RETRY: u64 = 3_000;
/// So many of those in [`RETRY`], in the whole process.
const NEW_KIDS: u64 = 3;

/// What is written in the lease slot: when the last attempt began, and until when nobody else should.
#[derive(Clone, Copy, Default)]
pub(super) struct Lease {
    pub(super) attempted_at: u64,
    pub(super) until: u64,
    /// The half minute in which early attempts are counted, and how many there were.
    pub(super) half_minute: u64,
    pub(super) early: u64,
}

impl Lease {
    pub(super) fn read(shared: &dyn Shared, slot: &str, now: Millis) -> Option<(Lease, u32)> {
        let (bytes, version) = shared.get(slot)?;
        let (attempted_at, rest) = bytes.split_first_chunk::<8>()?;
        let (until, rest) = rest.split_first_chunk::<8>()?;
        let (half_minute, rest) = rest.split_first_chunk::<8>()?;
        let (early, _) = rest.split_first_chunk::<8>()?;
        let number = |bytes: &[u8; 8]| u64::from_be_bytes(*bytes);
        let lease = Lease {
            attempted_at: number(attempted_at),
            until: number(until),
            half_minute: number(half_minute),
            early: number(early),
        };
        // A clock that was set back must not stop fetching until it has caught up.
        let written_later = lease.attempted_at > now.plus(1_000).0;
        Some((if written_later { Lease::default() } else { lease }, version))
    }

    pub(super) fn is_held(self, now: Millis) -> bool {
        now.0 < self.until
    }

    /// May another attempt begin, `pause` after the last one?
    pub(super) fn allows(self, pause: u64, now: Millis) -> bool {
        now.0 >= self.attempted_at.saturating_add(pause)
    }

    /// The same for a `kid` never seen before, which has a budget of its own.
    pub(super) fn allows_early(self, now: Millis) -> bool {
        let early = if self.half_minute == now.0 / RETRY { self.early } else { 0 };
        self.allows(NEW_KID_RETRY, now) && early < NEW_KIDS
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        [self.attempted_at, self.until, self.half_minute, self.early].map(u64::to_be_bytes).concat()
    }
}
