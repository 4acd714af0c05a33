//! A release build carries the module and the component inside: what `cargo install` puts somewhere needs no workspace and no second
//! build. Other builds leave it to `src/artifact.rs`, so that nobody waits for a module who only checks or tests the rest.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

#[path = "src/portable.rs"]
mod portable;

const MODULE: (&str, &str, &str) = ("step-up-filter", "wasm32-wasip1", "step_up_filter.wasm");
const COMPONENT: (&str, &str, &str) = ("step-up-component", "wasm32-wasip2", "step_up_component.wasm");

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let text = if env::var("PROFILE")? == "release" {
        let workspace = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("..").canonicalize()?;
        for source in ["plugin", "Cargo.toml", "Cargo.lock"] {
            println!("cargo::rerun-if-changed={}", workspace.join(source).display());
        }
        let (module, component) = (build(&workspace, &out, MODULE)?, build(&workspace, &out, COMPONENT)?);
        format!(
            "pub(crate) const MODULE: Option<&[u8]> = Some(include_bytes!({module:?}));\n\
             pub(crate) const COMPONENT: Option<&[u8]> = Some(include_bytes!({component:?}));\n"
        )
    } else {
        println!("cargo::rerun-if-changed=build.rs");
        "pub(crate) const MODULE: Option<&[u8]> = None;\npub(crate) const COMPONENT: Option<&[u8]> = None;\n".to_owned()
    };
    fs::write(out.join("embedded.rs"), text)?;
    Ok(())
}

/// By the documented command. In a target folder of its own: the outer build holds the lock of the other one.
fn build(workspace: &Path, out: &Path, (package, target, file): (&str, &str, &str)) -> Result<PathBuf, Box<dyn Error>> {
    let folder = out.join("wasm");
    let arguments = ["build", "--release", "--locked", "--target", target, "-p", package];
    let status = Command::new(env::var("CARGO")?)
        .args(arguments)
        .current_dir(workspace)
        .env("CARGO_TARGET_DIR", &folder)
        // Flags of the outer build are for its own target.
        .env(portable::FLAGS, portable::flags())
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .status()?;
    if !status.success() {
        let help = format!("if the target is missing: rustup target add {target}");
        return Err(format!("`cargo {}` failed; {help}", arguments.join(" ")).into());
    }
    Ok(folder.join(target).join("release").join(file))
}
