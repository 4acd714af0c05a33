//! The host calls of every request without the SDK's copies: the only unsafe code, and nothing else.

#![allow(unsafe_code, reason = "a host call writes through pointers into this memory")]

use proxy_wasm::types::{Bytes, MapType};

const OK: u32 = 0;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_set_header_map_pairs(map: u32, data: *const u8, size: usize) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
    fn proxy_get_property(path: *const u8, path_size: usize, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_set_property(path: *const u8, path_size: usize, data: *const u8, size: usize) -> u32;
}

/// A whole map, as the host serializes it; `None` when it is not to be had.
pub fn header_map(map: MapType) -> Option<Bytes> {
    // SAFETY: the host writes through both pointers, which outlive the call.
    given(|data, size| unsafe { proxy_get_header_map_pairs(map as u32, data, size) })
}

/// Takes everything out of a map; false when that could not be done.
pub fn clear_map(map: MapType) -> bool {
    const EMPTY: [u8; 4] = 0_u32.to_le_bytes();
    // SAFETY: the host reads the map, which is a constant.
    unsafe { proxy_set_header_map_pairs(map as u32, EMPTY.as_ptr(), EMPTY.len()) == OK }
}

/// Answers the request. The SDK has no place for the details, which are for the host's log.
pub fn respond(status: u32, details: &str, body: &[u8], headers: &[u8]) {
    const NO_GRPC: i32 = -1;
    // SAFETY: the host reads the three texts, which outlive the call.
    let _ = unsafe {
        proxy_send_local_response(
            status,
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            NO_GRPC,
        )
    };
}

/// A property; `None` when there is none. The parts of the path end with a NUL, but the last.
pub fn property(path: &str) -> Option<Bytes> {
    // SAFETY: the host reads the path, and writes through both pointers; all outlive the call.
    given(|data, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) })
}

/// The same; `Err` when it is there and the host cannot write it down. Measured in Envoy: a map with a null anywhere in it.
pub fn property_or_fault(path: &str) -> Result<Option<Bytes>, ()> {
    const SERIALIZATION_FAILURE: u32 = 3;
    let mut status = OK;
    let found = given(|data, size| {
        // SAFETY: as above.
        status = unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) };
        status
    });
    if status == SERIALIZATION_FAILURE { Err(()) } else { Ok(found) }
}

/// Sets a property. The host copies the value.
pub fn set_property(path: &str, value: &[u8]) {
    // SAFETY: the host reads both texts, which outlive the call.
    let _ = unsafe { proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len()) };
}

/// What a host call gives away.
fn given(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Option<Bytes> {
    let (mut data, mut size) = (std::ptr::null_mut(), 0);
    let status = call(&raw mut data, &raw mut size);
    if status != OK || data.is_null() {
        return None;
    }
    // SAFETY: the host got this memory from `proxy_on_memory_allocate` of the SDK, which gives away a boxed slice of
    // exactly this size, and nobody else has it.
    Some(unsafe { Vec::from_raw_parts(data, size, size) })
}
