//! What a module was made from.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::artifact::{self, sha256};
use crate::paths;

/// All that decides over its bytes: the code, the versions of others' code, the compiler.
const SOURCES: [&str; 5] = ["Cargo.lock", "Cargo.toml", "plugin/core", "plugin/proxy-wasm", "rust-toolchain.toml"];

/// The SHA-256 of what `git ls-files SOURCES | xargs sha256sum` prints: it changes with the working tree, not with commits.
pub fn digest() -> Result<String> {
    let listed = said("git", &[&["ls-files", "-z", "--"], &SOURCES[..]].concat())?;
    let mut sums = String::new();
    for name in listed.split_terminator('\0') {
        let bytes = fs::read(paths::workspace().join(name)).with_context(|| format!("{name} cannot be read"))?;
        sums.push_str(&format!("{}  {name}\n", sha256(&bytes)));
    }
    if sums.is_empty() {
        bail!("git knows no file of {}: run it in a clone", paths::workspace().display());
    }
    Ok(format!("sha256:{}", sha256(sums.as_bytes())))
}

/// The compiler that builds, by its own words.
pub fn compiler() -> Result<String> {
    Ok(said(&artifact::compiler().to_string_lossy(), &["--version"])?.trim().to_owned())
}

/// What a program prints, in the workspace.
pub fn said(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).current_dir(paths::workspace()).output();
    let output = output.with_context(|| format!("{program} could not be started"))?;
    if !output.status.success() {
        let line = arguments.join(" ");
        bail!("`{program} {line}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{program} does not print UTF-8"))
}
