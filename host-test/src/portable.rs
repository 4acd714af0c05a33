// Also a module of `build.rs`, which is why it uses nothing of this crate.
//! What makes a module the same on every machine.

use std::env;
use std::path::PathBuf;

/// The variable of cargo's that takes precedence of all others by which flags are given to rustc.
pub const FLAGS: &str = "CARGO_ENCODED_RUSTFLAGS";

/// Its value. Panics say where in the source they come from, and the source of dependencies lies below cargo's home: each machine
/// has another one. That of this workspace is named by relative paths.
pub fn flags() -> String {
    cargo_home().map(|home| format!("--remap-path-prefix={}=/cargo", home.display())).unwrap_or_default()
}

/// Where cargo keeps what it downloads.
pub fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME")
        .filter(|home| !home.is_empty())
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".cargo")))
}
