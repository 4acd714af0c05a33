//! An answer given here.

use std::rc::Rc;

/// An HTTP response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header names and values, visible ASCII.
    pub headers: Vec<(&'static str, String)>,
    /// Body bytes; empty for none.
    pub body: Rc<[u8]>,
}
