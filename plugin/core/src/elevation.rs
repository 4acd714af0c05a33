//! A token for one operation, obtained by exchange and revoked at its end.
//!
//! This version cannot elevate, and the loader refuses a policy that asks for it; so there is no such value. Every
//! place that will have to deal with one already has its arm.

/// A need that only a token exchange can satisfy.
#[derive(Debug)]
pub(crate) enum Elevation {}
