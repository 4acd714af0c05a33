//! What is bounded.

/// What is bounded.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a request body that are held back.
    pub request_body: usize,
    /// Bytes of a response body that are held back.
    pub response_body: usize,
    /// Milliseconds without anything happening on a stream.
    pub idle_timeout: u64,
    /// Milliseconds until a VM that trapped is replaced.
    pub reload_pause: u64,
    /// Instructions of one event, roughly.
    pub fuel: u64,
    /// Bytes of a VM's memory.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            request_body: 1 << 20,
            response_body: 1 << 20,
            idle_timeout: 300_000,
            reload_pause: 1_000,
            fuel: 20_000_000_000,
            memory: 1 << 30,
        }
    }
}
