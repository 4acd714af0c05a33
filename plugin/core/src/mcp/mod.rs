//! MCP: frames, revisions and what a request asks for.

mod frame;
mod operation;
mod paths;
mod target;

pub(crate) use frame::{Context, Frame, Id, NoFrame};
pub(crate) use operation::{MODERN, Mirror, Operation, is_fixed, operation};
pub(crate) use paths::Reads;
pub(crate) use target::Target;
