//! A token for one operation, from the token service, and its end.

mod exchange;
mod revocation;

pub(crate) use exchange::{Answer, Elevation, Party, Pending, Stamp};
pub(crate) use revocation::{Revocation, RevocationEnd, Revocations};
