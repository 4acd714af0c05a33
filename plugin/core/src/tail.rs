//! What watches a response: the end of an elevated operation, a list to be filtered.
//!
//! Nothing needs watching yet, and so there is no such value. A permit without a tail costs no host call in the
//! response phase.

/// A response watcher. Elevation (its first use) brings its states.
#[derive(Debug)]
pub enum Tail {}
