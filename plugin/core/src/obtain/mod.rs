//! A token for one operation, from the token service, and its end.

mod exchange;
mod ledger;
mod limits;
mod revocation;

pub(crate) use exchange::{Answer, Elevation, Party, Pending, Stamp};
pub(crate) use ledger::{Ledger, expiry};
pub(crate) use limits::Rates;
pub(crate) use revocation::{Revocation, Revocations, Serial};
