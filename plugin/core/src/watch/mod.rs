//! What is done with a response.

mod end;

pub(crate) use end::{OperationEnd, Refused, Tail, is_oauth_error};
