//! Bytecode, compiled. Compiling takes a second, so the result is kept under `target/`.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context as _, Result};
use wasmtime::{Cache, CacheConfig, Config, Engine};

use crate::once::once;
use crate::paths;

/// A compiled module. Cheap to copy.
#[derive(Clone)]
pub struct Module {
    pub(super) compiled: wasmtime::Module,
}

impl Module {
    /// Reads and compiles a `.wasm` file.
    pub fn load(path: &Path) -> Result<Module> {
        let bytes = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        Module::new(&bytes).with_context(|| format!("{} is no module", path.display()))
    }

    /// Compiles bytecode, unless that was done before.
    pub fn new(bytes: &[u8]) -> Result<Module> {
        Ok(Module { compiled: wasmtime::Module::new(engine()?, bytes)? })
    }
}

pub(super) fn engine() -> Result<&'static Engine> {
    static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();
    once(&ENGINE, build)
}

fn build() -> Result<Engine> {
    let mut cache = CacheConfig::new();
    cache.with_directory(paths::target().canonicalize()?.join("compiled"));
    let mut config = Config::new();
    // Fuel counts instructions: it bounds every callback, and says the same on every machine.
    config.consume_fuel(true).cache(Some(Cache::new(cache)?));
    Ok(Engine::new(&config)?)
}
