//! What is done with a response.

mod end;

pub(crate) use end::{Awaited, OperationEnd, Refused, Tail, is_oauth_error};
