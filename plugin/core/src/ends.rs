//! How things end, as records and metrics name it.

/// How a request was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// Released.
    Permit,
    /// Refused, with what would help.
    Challenge,
    /// Refused.
    Deny,
    /// Served by the filter itself.
    Answer,
    /// The client left before.
    Abandoned,
    /// Never so itself: what would have been done, where shadow mode says it.
    Elevate,
}

impl Ending {
    /// Its name in records and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Ending::Permit => "permit",
            Ending::Challenge => "challenge",
            Ending::Deny => "deny",
            Ending::Answer => "answer",
            Ending::Abandoned => "abandoned",
            Ending::Elevate => "elevate",
        }
    }
}
