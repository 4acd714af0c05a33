//! Where things are in the workspace.

use std::path::{Path, PathBuf};

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Cargo's target folder: everything that is built, installed or written goes below it.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// The example policies and their scenarios.
pub fn policies() -> PathBuf {
    workspace().join("policies")
}

/// The folder of the Envoy stack.
pub fn envoy() -> PathBuf {
    workspace().join("envoy")
}

/// Programs that ask the component.
pub fn component_examples() -> PathBuf {
    workspace().join("plugin/component/examples")
}
