//! A proxy-wasm 0.2.1 host: what Envoy does around a filter, without Envoy. The same bytecode runs here that runs there.
//!
//! Everything that was measured of Envoy 1.40 and that a filter can notice is here (docs/envoy-manners.md has the list); sockets,
//! threads and wall time are not; whoever has them can run a process with a real world ([`Proxy::live`]). The clock stands still until [`Proxy`] moves it, so a run repeats itself to the last byte.
//!
//! In go bytecode, its [`Configuration`], and clients' requests; the world outside (what the upstream and the clusters answer) is a
//! [`Network`] that the caller writes. Out come [`Transcript`]s: what the upstream got, what the client got, what the filter set;
//! and calls, log lines, metrics and fuel of the process.
//!
//! - [`Proxy`]: one process with its threads' VMs, and the clock. Start here.
//! - [`Module`]: compiled bytecode. [`cache_in`] keeps it on disk.
//! - [`Network`]: what the test says about the world outside.
//!
//! `guest` calls into a VM; `abi` and `wasi` are called by it, `linker` offers them; `machine` is what all VMs share; `stream` is what
//! is known of a stream, `manager` Envoy's filter manager for one filter.
//!
//! ```no_run
//! # use std::{cell::RefCell, path::Path, rc::Rc};
//! # use simulated_proxy::*;
//! # fn run(network: Rc<RefCell<dyn Network>>, client: Client) -> anyhow::Result<Transcript> {
//! let mut proxy = Proxy::new(1_795_000_000_000, 1, network, Limits::default(), ForeignFunctions::Envoy);
//! let filter = proxy.load(Configuration {
//!     module: Module::load(Path::new("filter.wasm"))?,
//!     vm_id: "vm".to_owned(),
//!     root_id: "filter".to_owned(),
//!     configuration: Vec::new(),
//!     environment: Vec::new(),
//!     allow_on_headers_stop_iteration: true,
//!     failure_policy: FailurePolicy::FailClosed,
//! })?;
//! let stream = proxy.send(filter, client);
//! proxy.pass(1_000);
//! # Ok(proxy.transcript(stream))
//! # }
//! ```

mod abi;
mod configuration;
mod events;
mod foreign;
mod guest;
mod headers;
mod ids;
mod limits;
mod linker;
mod live;
mod machine;
mod manager;
mod module;
mod network;
mod proxy;
mod stream;
mod wasi;

pub use configuration::{Configuration, FailurePolicy};
pub use headers::Headers;
pub use ids::StreamId;
pub use limits::Limits;
pub use live::{Delivery, End};
pub use machine::{CallRecord, ForeignFunctions};
pub use module::{Module, cache_in};
pub use network::{
    CallAnswer, CallPlan, Chunk, Client, Network, OutboundCall, Protocol, Refused, UpstreamPlan, UpstreamRequest,
};
pub use proxy::Proxy;
pub use stream::{ClientResponse, Origin, Transcript};
