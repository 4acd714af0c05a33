//! The module under test: built by the documented command, once, whoever asks first.

use std::fs::File;
use std::io::{IsTerminal as _, stderr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, bail};
use simulated_proxy::{Module, cache_in};

use crate::once::once;
use crate::paths;

/// Reads and compiles a module for the simulated proxy. What is compiled is kept under `target/`.
pub fn load(path: &Path) -> Result<Module> {
    cache_in(paths::target().canonicalize()?.join("compiled"));
    Module::load(path)
}

const TARGET: &str = "wasm32-wasip1";

/// The path of `step_up_filter.wasm`, built if need be. `STEP_UP_WASM` names another one, which is then taken as it is.
pub fn module() -> Result<PathBuf> {
    static MODULE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    once(&MODULE, build).cloned()
}

fn build() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("STEP_UP_WASM").map(PathBuf::from) {
        if !path.is_file() {
            bail!("STEP_UP_WASM names {}, which is no file", path.display());
        }
        return Ok(path);
    }
    build_package("step-up-filter")
}

/// The filter beside a filter that traps (`host-test/guests/trap`).
pub fn trap_guest() -> Result<PathBuf> {
    build_package("trap-guest")
}

/// The filter of `host-test/guests/probe`, which does what a request tells it to.
pub fn probe_guest() -> Result<PathBuf> {
    build_package("probe-guest")
}

fn build_package(package: &str) -> Result<PathBuf> {
    let target = paths::target();
    std::fs::create_dir_all(&target)?;
    // Cargo has its own lock; this one keeps a second process from announcing a second build.
    let lock = File::create(target.join("step-up-filter.lock"))?;
    lock.lock()?;
    add_target()?;
    let release = target.join(TARGET).join("release");
    if !release.is_dir() {
        eprintln!("building {package} for {TARGET} (the first time about a minute)");
    }
    let arguments = ["build", "--release", "--target", TARGET, "-p", package];
    let status = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(paths::workspace())
        .env("CARGO_TARGET_DIR", &target)
        .stdout(Stdio::null())
        // People see how far it is; logs would see nothing but lines.
        .args((!stderr().is_terminal()).then_some("--quiet"))
        .status()
        .context("cargo could not be started")?;
    if !status.success() {
        bail!("`cargo {}` failed", arguments.join(" "));
    }
    Ok(release.join(format!("{}.wasm", package.replace('-', "_"))))
}

/// Adds the wasm target with rustup, or names the command when there is none.
fn add_target() -> Result<()> {
    if has_target(Path::new(env!("CARGO"))) {
        return Ok(());
    }
    eprintln!("adding the Rust target {TARGET}");
    let added = Command::new("rustup").args(["target", "add", TARGET]).current_dir(paths::workspace()).status();
    match added {
        Ok(status) if status.success() => Ok(()),
        _ => bail!("the Rust target {TARGET} is missing; run: rustup target add {TARGET}"),
    }
}

// The standard library of a target lies under the toolchain's sysroot.
fn has_target(cargo: &Path) -> bool {
    let rustc = cargo.with_file_name("rustc");
    let output = Command::new(rustc).args(["--print", "sysroot"]).current_dir(paths::workspace()).output();
    let Ok(output) = output else { return false };
    let sysroot = String::from_utf8_lossy(&output.stdout);
    Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).is_dir()
}
