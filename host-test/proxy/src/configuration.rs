//! A filter as the proxy's configuration has it.

use crate::module::Module;

/// What the host does when a VM traps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailurePolicy {
    /// 503 for ever.
    #[default]
    FailClosed,
    /// The filter is skipped from then on.
    FailOpen,
    /// 503 until the pause is over, then a new VM.
    FailReload,
}

/// A filter of the chain, as the proxy's configuration has it.
#[derive(Clone)]
pub struct Configuration {
    /// The bytecode.
    pub module: Module,
    /// VMs with the same id (and module and environment) are one.
    pub vm_id: String,
    /// The filter's own id in the VM.
    pub root_id: String,
    /// What the filter is given.
    pub configuration: Vec<u8>,
    /// The VM's environment variables.
    pub environment: Vec<(String, String)>,
    /// Without it, a filter that pauses at the head never sees the body.
    pub allow_on_headers_stop_iteration: bool,
    /// What a trap does.
    pub failure_policy: FailurePolicy,
}
