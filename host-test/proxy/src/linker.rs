//! What any module may import: the same for all VMs.

use std::sync::LazyLock;

use anyhow::{Result, anyhow};
use wasmtime::Linker;

use crate::guest::VmState;
use crate::module::engine;
use crate::{abi, wasi};

pub(crate) fn linker() -> Result<&'static Linker<VmState>> {
    static LINKER: LazyLock<Result<Linker<VmState>, String>> =
        LazyLock::new(|| build().map_err(|error| format!("{error:#}")));
    LINKER.as_ref().map_err(|fault| anyhow!("{fault}"))
}

fn build() -> Result<Linker<VmState>> {
    let mut linker = Linker::new(engine()?);
    abi::link(&mut linker)?;
    wasi::link(&mut linker)?;
    Ok(linker)
}
