//! The clock, as an input: milliseconds since the epoch, saturating, never mixed with seconds by accident.

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// The whole seconds, as tokens count them.
    pub fn seconds(self) -> i64 {
        i64::try_from(self.0 / 1000).unwrap_or(i64::MAX)
    }

    /// This moment and `seconds` more.
    pub fn plus_seconds(self, seconds: u64) -> Millis {
        self.plus(seconds.saturating_mul(1000))
    }

    /// Less than so many seconds after that one. A clock that was set back since then is not.
    pub(crate) fn is_within(self, seconds: u64, last: Millis) -> bool {
        last <= self && self < last.plus_seconds(seconds)
    }

    /// This moment and `millis` more.
    pub fn plus(self, millis: u64) -> Millis {
        Millis(self.0.saturating_add(millis))
    }
}
