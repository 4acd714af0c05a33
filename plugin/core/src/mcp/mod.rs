//! MCP: frames, revisions and what a request asks for.

mod frame;
mod operation;
mod target;

pub(crate) use frame::{Frame, Id, NoFrame};
pub(crate) use operation::{Mirror, Operation, REVISIONS, kind, operation};
pub(crate) use target::Target;
