//! Access tokens: from text to evidence. [`verify`] is the only door to a [`CallerToken`].

mod cache;
mod claims;
mod jws;
mod verify;

pub use claims::Claims;
pub use jws::{Algorithm, Unverified};

pub(crate) use cache::Cache;
pub(crate) use jws::Compact;
pub(crate) use verify::{CallerToken, Rejection, Verifier};
