//! HTTP as the core sees it: request heads, answers, calls to others, event streams.

mod call;
mod challenge;
mod head;
mod response;
mod sse;
mod unwanted;
mod xfcc;

pub use call::{Call, CallFault, CallId, Reply, StreamId};
pub use head::{Peer, RequestHead};
pub use response::{Response, ResponseHead};

pub(crate) use challenge::Challenged;
pub(crate) use head::{Head, Method, target_has_token};
pub(crate) use sse::{Blocks, Events, without_mark};
pub(crate) use unwanted::Unwanted;
pub(crate) use xfcc::last_uri;
