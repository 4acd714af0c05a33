//! Bytecode, compiled. Compiling takes a second, so the result can be kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, OnceLock};

use anyhow::{Context as _, Result, anyhow};
use wasmtime::{Cache, CacheConfig, Config, Engine};

/// A compiled module. Cheap to copy.
#[derive(Clone)]
pub struct Module {
    pub(crate) compiled: wasmtime::Module,
}

static CACHE: OnceLock<PathBuf> = OnceLock::new();

/// Keeps what is compiled in this folder (absolute). Only what is said before the first module counts.
pub fn cache_in(folder: PathBuf) {
    let _ = CACHE.set(folder);
}

impl Module {
    /// Reads and compiles a `.wasm` file.
    pub fn load(path: &Path) -> Result<Module> {
        let bytes = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        Module::new(&bytes).with_context(|| format!("{} is no module", path.display()))
    }

    /// What it asks of its host, and what its host can ask of it: names of functions.
    pub fn functions(&self) -> Vec<String> {
        let imported = self.compiled.imports().map(|import| import.name().to_owned());
        let exports = self.compiled.exports().filter(|export| export.ty().func().is_some());
        imported.chain(exports.map(|export| export.name().to_owned())).collect()
    }

    /// What it asks of its host: modules, and names in them.
    pub fn imports(&self) -> Vec<(String, String)> {
        self.compiled.imports().map(|import| (import.module().to_owned(), import.name().to_owned())).collect()
    }

    /// Compiles bytecode, unless that was done before.
    pub fn new(bytes: &[u8]) -> Result<Module> {
        Ok(Module { compiled: wasmtime::Module::new(engine()?, bytes)? })
    }
}

pub(crate) fn engine() -> Result<&'static Engine> {
    static ENGINE: LazyLock<Result<Engine, String>> = LazyLock::new(|| build().map_err(|error| format!("{error:#}")));
    ENGINE.as_ref().map_err(|fault| anyhow!("{fault}"))
}

fn build() -> Result<Engine> {
    let mut config = Config::new();
    // Fuel counts instructions: it bounds every callback, and says the same on every machine.
    config.consume_fuel(true);
    if let Some(folder) = CACHE.get() {
        let mut cache = CacheConfig::new();
        cache.with_directory(folder);
        config.cache(Some(Cache::new(cache)?));
    }
    Ok(Engine::new(&config)?)
}
