//! MCP: frames, revisions and what a request asks for.

mod frame;
mod operation;

pub(crate) use frame::{Frame, Id, NoFrame};
pub(crate) use operation::{Mirror, Operation, REVISIONS, operation};
