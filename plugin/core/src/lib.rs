//! The whole decision of the step-up filter, without I/O.
//!
//! A host (the proxy-wasm adapter, a test) owns one [`Gate`](gate::Gate) for each policy. It tells the gate what
//! happened ([`Input`](effect::Input)) and performs what comes out ([`Effect`](effect::Effect)). Requests leave only
//! with a [`Permit`](decide::Permit), which only the decision can make, from a caller's token, which only the
//! verification can make.
//!
//! Reading order: [`effect`], [`gate`], `flow`, [`decide`], then whichever noun is of interest.
#![forbid(unsafe_code)]

pub mod decide;
pub mod effect;
pub mod gate;
pub mod http;
pub mod json;
pub mod keys;
pub mod metrics;
pub mod policy;
pub mod reason;
pub mod response;
pub mod signatures;
pub mod token;

mod assertion;
mod audit;
mod elevation;
mod flow;
mod jsonrpc;
mod mcp;
mod revocation;
mod tail;

/// The first `most` bytes in hexadecimal.
fn hex(bytes: &[u8], most: usize) -> String {
    base16ct::lower::encode_string(bytes.get(..most).unwrap_or(bytes))
}
