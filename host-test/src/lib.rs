//! What the `stepup` command and the tests around the filter are made of.
// It panics when nobody reads any more.
#![deny(clippy::print_stdout)]

pub mod about;
pub mod artifact;
pub mod audit;
pub mod backend;
pub mod check;
pub mod corpus;
pub mod demo;
pub mod diff;
pub mod explain;
pub mod fault_proxy;
pub mod fixtures;
pub mod floors;
pub mod guard;
mod https;
pub mod init;
pub mod issuer;
pub mod local;
mod login;
pub mod matrix;
mod metadata;
mod once;
pub mod package;
pub mod paths;
pub mod pin;
mod policy;
mod portable;
pub mod probe;
pub mod process;
pub mod reached;
pub mod reference;
pub mod render;
pub mod replay;
pub mod scenario;
pub mod serve;
mod shown;
pub mod signing;
pub mod stack;
pub mod story;
pub mod telemetry;
pub mod testing;
mod text;
pub mod wire;
pub mod yaml;
