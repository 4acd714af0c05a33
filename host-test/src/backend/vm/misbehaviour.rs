//! What a gate must not do.

/// A gate that broke its contract with the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misbehaviour {
    /// Minutes passed, and a request still waited.
    Undecided,
    /// One request, two decisions.
    DecidedTwice,
}

impl std::error::Error for Misbehaviour {}

impl std::fmt::Display for Misbehaviour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Misbehaviour::Undecided => "the gate did not decide within minutes",
            Misbehaviour::DecidedTwice => "the gate decided one request twice",
        })
    }
}
