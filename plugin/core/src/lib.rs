//! The whole decision of the step-up filter, without I/O.
//!
//! A host (the proxy-wasm adapter, a test) owns one [`Gate`] for each policy. It tells the gate what happened ([`Input`]) and
//! performs what comes out ([`Effect`]). Requests leave only with a [`Permit`], which only the decision can make, from a
//! caller's token, which only the verification can make.
//!
//! What is believed of a token cannot even be named outside:
//!
//! ```compile_fail,E0432
//! use step_up_core::{CallerToken, ElevatedToken};
//! ```
//!
//! Reading order: `effect`, `gate`, `flow`, `decide`, then whichever noun is of interest.
#![forbid(unsafe_code)]
#![warn(unreachable_pub)]

mod answer;
mod audit;
mod decide;
mod decimal;
mod effect;
mod ends;
mod flow;
mod gate;
mod http;
mod jose;
pub mod json;
mod keys;
mod line;
mod mcp;
mod metrics;
mod obtain;
mod policy;
mod reason;
mod secret;
mod text;
mod time;
mod token;
mod watch;

pub use decide::Permit;
pub use decimal::Decimal;
pub use effect::{BodyFault, Effect, Input, Level, ResponseAct};
pub use ends::{Ending, ExchangeEnd, KeysEnd, RevocationEnd};
pub use gate::{Gate, VERSION};
pub use http::{Call, CallFault, CallId, Peer, Reply, RequestHead, Response, ResponseHead, StreamId};
pub use jose::{
    Algorithm, BadSignature, Compact, Jwk, PublicKey, PureRust, RsaKey, Signatures, UnusableKey, Unverified,
};
pub use keys::Shared;
pub use metrics::{Change, FAULTS, Metric, most_series};
pub use policy::{
    Became, Direction, EndpointView, Environment, Fault, How, IssuerView, Kind, Limits, MAPS, Map, Need, NoEnvironment,
    Policy, RuleView, ServerView, ServiceView, Setting, Shape, View, Who, Word, Words, is_for, join, samples,
};
pub use reason::{Acts, Challenge, Class, Reason, Wire};
pub use secret::Secret;
pub use text::is_scope_token;
pub use time::Millis;
pub use watch::pin;
