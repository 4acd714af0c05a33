//! What is told of an elevation comes from two sides: the request's record when the request is over, and a line of the filter's log when
//! its token is. Either may come first.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use step_up_core::RevocationEnd;

/// Elevations of which one side has been heard.
#[derive(Default)]
pub(super) struct Elevations(HashMap<String, Side>);

struct Side {
    heard: Heard,
    at: Instant,
    forgotten: Instant,
}

enum Heard {
    /// The request is over: what it was.
    Request(String),
    /// The token is over: how it ended.
    Token(String),
}

/// Both sides of it.
pub(super) struct Over {
    /// What the request was.
    pub what: String,
    /// How the token ended.
    pub end: String,
    /// How long after the request; `None`: before.
    pub after: Option<Duration>,
}

/// More at once than these are not told.
const MOST: usize = 10_000;

/// Until a side that stays alone is forgotten, beside the life of its token.
const GRACE: Duration = Duration::from_secs(60);

/// The id and the end, if a line of the filter's log is about a token's.
pub(crate) fn end_of_token(line: &str) -> Option<(&str, &str)> {
    use RevocationEnd::{Expired, GivenUp, Kept, Refused, Revoked, Unsupported};
    let ends = [Revoked, Unsupported, Refused, Kept, Expired, GivenUp];
    let (id, end) = line.strip_prefix("step-up: ")?.split_once(": ")?;
    ends.iter().any(|known| known.name() == end).then_some((id, end))
}

impl Elevations {
    /// The request is over, whose token lives so long.
    pub fn request(&mut self, id: &str, what: &str, life: Duration) -> Option<Over> {
        match self.0.remove(id) {
            Some(Side { heard: Heard::Token(end), .. }) => Some(Over { what: what.to_owned(), end, after: None }),
            _ => self.keep(id, Heard::Request(what.to_owned()), life),
        }
    }

    /// The token is over.
    pub fn token(&mut self, id: &str, end: &str) -> Option<Over> {
        match self.0.remove(id) {
            Some(Side { heard: Heard::Request(what), at, .. }) => {
                Some(Over { what, end: end.to_owned(), after: Some(at.elapsed()) })
            }
            _ => self.keep(id, Heard::Token(end.to_owned()), Duration::ZERO),
        }
    }

    fn keep(&mut self, id: &str, heard: Heard, life: Duration) -> Option<Over> {
        let at = Instant::now();
        self.0.retain(|_, side| side.forgotten > at);
        if self.0.len() < MOST {
            self.0.insert(id.to_owned(), Side { heard, at, forgotten: at + life + GRACE });
        }
        None
    }
}
