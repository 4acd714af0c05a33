//! How things end, as records and metrics name it.

use crate::reason::Reason;

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

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeEnd {
    /// With a token for a client that waited.
    Granted,
    /// With a token that nobody waited for any more, and that is revoked.
    Late,
    /// Nobody knows whether a token was minted.
    Lost,
    /// Without one, for this reason.
    Refused(Reason),
}

impl ExchangeEnd {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            ExchangeEnd::Granted => "granted",
            ExchangeEnd::Late => "late",
            ExchangeEnd::Lost => "lost",
            ExchangeEnd::Refused(reason) => reason.name(),
        }
    }
}

/// How a revocation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationEnd {
    /// The token is dead.
    Revoked,
    /// RFC 7009 2.2.1: the service cannot revoke such tokens; `exp` is the end.
    Unsupported,
    /// The service refused for good.
    Refused,
    /// It was not asked for: the token lives until its `exp`, as the policy says.
    Kept,
    /// It was alive until its `exp`.
    Expired,
    /// It may be alive still.
    GivenUp,
}

impl RevocationEnd {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            RevocationEnd::Revoked => "revoked",
            RevocationEnd::Unsupported => "unsupported",
            RevocationEnd::Refused => "refused",
            RevocationEnd::Kept => "kept",
            RevocationEnd::Expired => "expired",
            RevocationEnd::GivenUp => "given_up",
        }
    }
}

/// How a fetch of keys ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysEnd {
    /// With keys.
    Fetched,
    /// The issuer has none any more.
    Withdrawn,
    /// No answer, or a status other than 200.
    Unreachable,
    /// An answer that is no usable document.
    Unusable,
}

impl KeysEnd {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            KeysEnd::Fetched => "fetched",
            KeysEnd::Withdrawn => "withdrawn",
            KeysEnd::Unreachable => "unreachable",
            KeysEnd::Unusable => "unusable",
        }
    }
}
