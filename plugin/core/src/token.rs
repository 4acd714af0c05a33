//! Access tokens: from text to evidence. Two kinds, two doors: [`verify`] makes a [`CallerToken`], [`elevated`] an
//! [`ElevatedToken`]; neither becomes the other.

mod cache;
mod claims;
mod elevated;
mod jws;
mod verify;

pub use claims::Claims;
pub use jws::{Algorithm, Compact, Unverified};

pub(crate) use cache::Cache;
pub(crate) use elevated::{ElevatedToken, Wanted};
pub(crate) use verify::{CallerToken, Rejection, Verifier};
