//! What is done with a response.

mod end;
mod own;

pub(crate) use end::{Awaited, OperationEnd, Refused, Tail, is_oauth_error};
pub(crate) use own::{Own, instead};
