//! A token for one operation, from the token service, and its end.

mod exchange;
mod history;
mod introspection;
mod ledger;
mod limits;
mod revocation;
mod said;

pub(crate) use exchange::{Answer, Elevation, Party, Pending, Stamp};
pub(crate) use history::History;
pub(crate) use introspection::{Questions, opinion, question};
pub(crate) use ledger::{Ledger, expiry, of as revocation_of};
pub(crate) use limits::Rates;
pub(crate) use revocation::{Revocation, Revocations, Serial};
pub(crate) use said::Said;
