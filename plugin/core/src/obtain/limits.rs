//! How many exchanges, for whom, in which minute.

use std::collections::HashMap;

use crate::obtain::{Party, Pending};
use crate::policy::Limits;
use crate::time::Millis;

/// Exchanges that the client no longer waits for may be so many times those that one waits for.
const LATE_FACTOR: usize = 16;

/// Exchanges begun in this minute, for each subject, whichever of its tokens and clients it uses.
#[derive(Default)]
pub(crate) struct Rates {
    minute: u64,
    /// `None` counts all that have no place of their own.
    begun: HashMap<Option<Party>, usize>,
}

impl Rates {
    /// More callers than this in a minute are counted together.
    const MOST: usize = 10_000;

    /// May another exchange begin, beside those under way? Those count until the client is told that it takes too long, whether it
    /// waits or has left; what comes later only has to be taken back.
    pub(crate) fn have_room<'p>(
        &mut self,
        caller: &Party,
        under_way: impl Iterator<Item = &'p Pending>,
        limits: &Limits,
        now: Millis,
    ) -> bool {
        let (mut all, mut waiting, mut of_caller) = (0_usize, 0, 0);
        for pending in under_way {
            let waits = pending.deadline > now;
            all += 1;
            waiting += usize::from(waits);
            of_caller += usize::from(waits && pending.elevation.party == *caller);
        }
        waiting < limits.exchanges
            && of_caller < limits.exchanges_per_caller
            && all < limits.exchanges.saturating_mul(LATE_FACTOR)
            && self.begun(caller, now) < limits.exchange_rate
    }

    /// In this minute.
    fn begun(&mut self, caller: &Party, now: Millis) -> usize {
        let minute = now.0 / 60_000;
        if self.minute != minute {
            *self = Rates { minute, begun: HashMap::new() };
        }
        self.begun.get(&self.place(caller)).copied().unwrap_or_default()
    }

    /// It does begin.
    pub(crate) fn count(&mut self, caller: &Party) {
        *self.begun.entry(self.place(caller)).or_default() += 1;
    }

    fn place(&self, (issuer, subject, client): &Party) -> Option<Party> {
        let client = if subject.is_some() { &None } else { client };
        let own = Some((issuer.clone(), subject.clone(), client.clone()));
        let has_own = self.begun.len() < Self::MOST || self.begun.contains_key(&own);
        if has_own { own } else { None }
    }
}
