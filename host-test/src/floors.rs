//! How many there are at least: fewer were lost, or are not found. Raised when some are added.

/// Scenarios of `policies/`.
pub const SCENARIOS: usize = 678;
/// Of those, the ones that real Envoy repeats.
pub const REPLAYED: usize = 165;
/// Files of `host-test/corpus/frames`.
pub const FRAMES: usize = 367;
/// Files of `host-test/corpus/tokens`.
pub const TOKENS: usize = 263;
