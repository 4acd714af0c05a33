//! The module and the component: carried inside by what was installed, else built by the documented command, once, whoever asks
//! first.

use std::fs::{self, File};
use std::io::{IsTerminal as _, stderr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, bail};
use ring::digest::{SHA256, digest};
use simulated_proxy::{Module, cache_in};

use crate::once::once;
use crate::{paths, portable};

// `MODULE` and `COMPONENT`, by `build.rs`.
include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// Of proxies.
const TARGET: &str = "wasm32-wasip1";
/// Of components.
const COMPONENT_TARGET: &str = "wasm32-wasip2";

/// Reads and compiles a module for the simulated proxy. What is compiled is kept, where that can be.
pub fn load(path: &Path) -> Result<Module> {
    if let Some(folder) = compiled() {
        cache_in(folder);
    }
    Module::load(path)
}

/// Where compiled code is kept.
pub(crate) fn compiled() -> Option<PathBuf> {
    let folder = paths::kept()?.join("compiled");
    fs::create_dir_all(&folder).ok()?;
    folder.canonicalize().ok()
}

/// The path of `step_up_filter.wasm`, built if need be. `STEP_UP_WASM` names another one, which is then taken as it is.
pub fn module() -> Result<PathBuf> {
    static PATH: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    once(&PATH, || shipped("STEP_UP_WASM", MODULE, "step-up-filter", TARGET)).cloned()
}

/// The path of `step_up_component.wasm`, built if need be. `STEP_UP_COMPONENT` names another one, which is then taken as it is.
pub fn component() -> Result<PathBuf> {
    static PATH: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    once(&PATH, || shipped("STEP_UP_COMPONENT", COMPONENT, "step-up-component", COMPONENT_TARGET)).cloned()
}

/// The SHA-256 of the module that [`module`] would give, if it is there without being built.
pub(crate) fn module_digest() -> Option<String> {
    let named = std::env::var_os("STEP_UP_WASM").map(PathBuf::from);
    match (named, MODULE) {
        (Some(path), _) => fs::read(path).ok().map(|bytes| sha256(&bytes)),
        (None, Some(bytes)) => Some(sha256(bytes)),
        (None, None) => {
            let built = paths::target().join(TARGET).join("release").join("step_up_filter.wasm");
            fs::read(built).ok().map(|bytes| sha256(&bytes))
        }
    }
}

/// In hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn shipped(variable: &str, embedded: Option<&[u8]>, package: &str, target: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable).map(PathBuf::from) {
        if !path.is_file() {
            bail!("{variable} names {}, which is no file", path.display());
        }
        return Ok(path);
    }
    match embedded {
        Some(bytes) => unpacked(bytes, package),
        None => build_package(package, target),
    }
}

/// A file with these bytes, named after them.
fn unpacked(bytes: &[u8], package: &str) -> Result<PathBuf> {
    let kept = paths::kept().unwrap_or_else(std::env::temp_dir);
    let path = kept.join(format!("{package}-{}.wasm", sha256(bytes)));
    // Whoever can write there could have written another one.
    if fs::read(&path).is_ok_and(|there| there == bytes) {
        return Ok(path);
    }
    fs::create_dir_all(&kept).with_context(|| format!("{} cannot be made", kept.display()))?;
    // Under its name it is whole.
    let begun = kept.join(format!(".{package}-{}", std::process::id()));
    fs::write(&begun, bytes).and_then(|()| fs::rename(&begun, &path)).with_context(|| {
        format!(
            "{} cannot be written; STEP_UP_WASM and STEP_UP_COMPONENT can name files in place of it",
            path.display()
        )
    })?;
    Ok(path)
}

/// The filter, built from this source and nothing else. An error where a variable names another one.
pub fn built_here() -> Result<PathBuf> {
    if std::env::var_os("STEP_UP_WASM").is_some() {
        bail!("STEP_UP_WASM names a module, and nobody knows what it was made from: unset it");
    }
    build_package("step-up-filter", TARGET)
}

/// The compiler beside the cargo that builds: rustup would take, for each dependency, the toolchain that its folder asks for.
pub(crate) fn compiler() -> PathBuf {
    Path::new(env!("CARGO")).with_file_name("rustc")
}

/// The filter beside a filter that traps (`host-test/guests/trap`).
pub fn trap_guest() -> Result<PathBuf> {
    build_package("trap-guest", TARGET)
}

/// The filter of `host-test/guests/probe`, which does what a request tells it to.
pub fn probe_guest() -> Result<PathBuf> {
    build_package("probe-guest", TARGET)
}

fn build_package(package: &str, target: &str) -> Result<PathBuf> {
    paths::in_a_clone()?;
    let folder = paths::target();
    fs::create_dir_all(&folder)?;
    // Cargo has its own lock; this one keeps a second process from announcing a second build.
    let lock = File::create(folder.join("step-up-filter.lock"))?;
    lock.lock()?;
    add_target(target)?;
    let release = folder.join(target).join("release");
    if !release.is_dir() {
        eprintln!("building {package} for {target} (the first time about a minute)");
    }
    let arguments = ["build", "--release", "--target", target, "-p", package];
    let status = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(paths::workspace())
        .env("CARGO_TARGET_DIR", &folder)
        .env(portable::FLAGS, portable::flags())
        .env("RUSTC", compiler())
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
fn add_target(target: &str) -> Result<()> {
    if has_target(Path::new(env!("CARGO")), target) {
        return Ok(());
    }
    eprintln!("adding the Rust target {target}");
    let added = Command::new("rustup").args(["target", "add", target]).current_dir(paths::workspace()).status();
    match added {
        Ok(status) if status.success() => Ok(()),
        _ => bail!("the Rust target {target} is missing; run: rustup target add {target}"),
    }
}

// The standard library of a target lies under the toolchain's sysroot.
fn has_target(cargo: &Path, target: &str) -> bool {
    let rustc = cargo.with_file_name("rustc");
    let output = Command::new(rustc).args(["--print", "sysroot"]).current_dir(paths::workspace()).output();
    let Ok(output) = output else { return false };
    let sysroot = String::from_utf8_lossy(&output.stdout);
    Path::new(sysroot.trim()).join("lib/rustlib").join(target).is_dir()
}
