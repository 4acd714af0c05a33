//! A proxy-wasm 0.2.1 host: what Envoy does around a filter, without Envoy. The same bytecode runs here that runs there.
//!
//! Everything that was measured of Envoy 1.40 and that a filter can notice is here; sockets, threads and wall time are
//! not. The clock stands still until [`Proxy`] moves it, so a run repeats itself to the last byte.
//!
//! - [`Proxy`]: one process with its threads' VMs, and the clock. Start here.
//! - [`Module`]: compiled bytecode, cached on disk.
//! - [`Network`]: what the test says about the world outside.
//! - `guest.rs` calls into a VM, `abi.rs` and `wasi.rs` are called by it; `world.rs` is what all VMs share; `stream.rs`
//!   is Envoy's filter manager for one filter.

mod abi;
mod events;
mod foreign;
mod guest;
mod headers;
mod module;
mod network;
mod proxy;
mod stream;
mod wasi;
mod world;

pub use headers::Headers;
pub use module::Module;
pub use network::{
    Call, CallAnswer, CallPlan, Chunk, Client, Network, Protocol, Refused, UpstreamPlan, UpstreamRequest,
};
pub use proxy::{Configuration, FailurePolicy, Limits, Proxy};
pub use stream::{ClientResponse, Origin, StreamId, Transcript};
pub use world::{CallRecord, ForeignFunctions};
