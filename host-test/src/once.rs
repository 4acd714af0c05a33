//! What is made once in a process.

use std::sync::OnceLock;

use anyhow::{Result, anyhow};

/// What was made, by whoever asked first; a fault is everybody's too.
pub(crate) fn once<T>(
    place: &'static OnceLock<Result<T, String>>,
    make: impl FnOnce() -> Result<T>,
) -> Result<&'static T> {
    let made = place.get_or_init(|| make().map_err(|error| format!("{error:#}")));
    made.as_ref().map_err(|fault| anyhow!("{fault}"))
}
