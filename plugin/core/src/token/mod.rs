//! Access tokens: from text to evidence. Two kinds, two doors: `caller` makes a [`CallerToken`], `elevated` an
//! [`ElevatedToken`]; neither becomes the other.

mod cache;
mod caller;
mod elevated;
mod opinions;
mod rules;

pub(crate) use cache::Cache;
pub(crate) use caller::{CallerToken, Rejection, Verifier, record};
pub(crate) use elevated::{ElevatedToken, Unfit, Wanted};
pub(crate) use opinions::{Asked, Inspected};
