//! The core's tests from outside, by its public contract only: one binary, so that it is linked once.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

mod answers;
mod elevation;
mod field;
mod keys;
mod language;
mod policy;
mod shadow;
mod signatures;

use step_up_testkit as support;
