//! Where things are: in the workspace, and for what was installed without one.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use directories_next::ProjectDirs;

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Cargo's target folder: everything that is built, installed or written goes below it.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// Where what is made out of what is there is kept from run to run: for whom built it below cargo's target folder; for what carries the
/// module inside, as it was installed, where this user's programs keep such things. `None` if this user has no such place.
pub(crate) fn kept() -> Option<PathBuf> {
    match crate::artifact::MODULE {
        None => Some(target()),
        Some(_) => ProjectDirs::from("", "", "stepup").map(|folders| folders.cache_dir().to_path_buf()),
    }
}

/// What runs real Envoy, or other people's servers, takes their configuration from the repository.
pub(crate) fn in_a_clone() -> Result<()> {
    if !envoy().join("envoy.yaml").is_file() {
        bail!("this takes files of the repository, which are not at {}: run it in a clone", workspace().display());
    }
    Ok(())
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
