//! What is done with a response.

mod end;
mod list;
mod own;

pub use list::pin;

pub(crate) use end::{Awaited, OperationEnd, Refused, Tail, is_oauth_error};
pub(crate) use list::{AtHead, Lister, Listing, Piece, Shown, changed, note_changed};
pub(crate) use own::{Own, SessionOwner, instead};
