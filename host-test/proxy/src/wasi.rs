//! The few WASI functions that Envoy offers a filter. Anything else does not link, as it would not there.

use anyhow::Result;
use wasmtime::{Caller, Linker};

use crate::abi::Access;
use crate::guest::VmState;
use crate::ids::Status;

const MODULE: &str = "wasi_snapshot_preview1";
const SUCCESS: i32 = 0;
const BAD_DESCRIPTOR: i32 = 8;
const FAULT: i32 = 21;

pub(crate) fn link(linker: &mut Linker<VmState>) -> Result<()> {
    linker.func_wrap(MODULE, "clock_time_get", |caller: Caller<'_, VmState>, _: i32, _: i64, at: i32| {
        let mut access = Access::new(caller);
        let now = access.machine().borrow().now;
        errno(access.put(at, &now.to_le_bytes()))
    })?;
    linker.func_wrap(MODULE, "random_get", |caller: Caller<'_, VmState>, at: i32, size: i32| {
        let mut access = Access::new(caller);
        let bytes: Result<Vec<u8>, Status> = (0..size).map(|_| access.random_byte()).collect();
        errno(bytes.and_then(|bytes| access.put(at, &bytes)))
    })?;
    linker.func_wrap(MODULE, "environ_sizes_get", |caller: Caller<'_, VmState>, count: i32, size: i32| {
        let mut access = Access::new(caller);
        let entries = access.environment();
        let bytes = entries.iter().map(Vec::len).sum();
        errno(access.put_length(count, entries.len()).and_then(|()| access.put_length(size, bytes)))
    })?;
    linker.func_wrap(MODULE, "environ_get", |caller: Caller<'_, VmState>, pointers: i32, text: i32| {
        let mut access = Access::new(caller);
        let (mut pointer, mut at) = (pointers, text);
        for entry in access.environment() {
            let written = access.put(pointer, &at.to_le_bytes()).and_then(|()| access.put(at, &entry)).and_then(|()| {
                pointer = pointer.checked_add(4).ok_or(Status::InvalidMemoryAccess)?;
                let length = i32::try_from(entry.len()).map_err(|_| Status::InvalidMemoryAccess)?;
                at = at.checked_add(length).ok_or(Status::InvalidMemoryAccess)?;
                Ok(())
            });
            if written.is_err() {
                return FAULT;
            }
        }
        SUCCESS
    })?;
    for name in ["args_get", "args_sizes_get"] {
        linker.func_wrap(MODULE, name, |caller: Caller<'_, VmState>, count: i32, size: i32| {
            let mut access = Access::new(caller);
            errno(access.put_length(count, 0).and_then(|()| access.put_length(size, 0)))
        })?;
    }
    linker.func_wrap(
        MODULE,
        "fd_write",
        |caller: Caller<'_, VmState>, descriptor: i32, pieces: i32, count: i32, written: i32| {
            if !matches!(descriptor, 1 | 2) {
                return BAD_DESCRIPTOR;
            }
            errno(Access::new(caller).write(descriptor == 2, pieces, count, written))
        },
    )?;
    linker.func_wrap(MODULE, "proc_exit", |code: i32| -> wasmtime::Result<()> {
        Err(wasmtime::Error::msg(format!("the module ended with exit code {code}")))
    })?;
    Ok(())
}

fn errno(result: Result<(), Status>) -> i32 {
    if result.is_ok() { SUCCESS } else { FAULT }
}
