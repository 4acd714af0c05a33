//! The functions of proxy-wasm 0.2.1 that a filter calls. Statuses and effects are those of Envoy 1.40.

mod access;

use anyhow::Result;
use wasmtime::{Caller, Linker};

use crate::guest::VmState;
use crate::headers::Headers;
use crate::ids::Status;
use crate::network::OutboundCall;
use crate::stream::Stream;

pub(crate) use access::Access;

type Answer = Result<(), Status>;

/// Links a host function; its body yields `Ok` or the status.
macro_rules! function {
    ($linker:ident, $name:literal, |$access:ident $(, $argument:ident: $kind:ty)*| $body:expr) => {
        $linker.func_wrap("env", $name, |caller: Caller<'_, VmState>, $($argument: $kind),*| -> i32 {
            let mut access = Access::new(caller);
            let $access = &mut access;
            status(move || $body)
        })?;
    };
}

pub(crate) fn link(linker: &mut Linker<VmState>) -> Result<()> {
    link_process(linker)?;
    link_maps_and_buffers(linker)?;
    link_streams(linker)?;
    link_shared(linker)?;
    link_calls(linker)?;
    Ok(())
}

fn link_process(linker: &mut Linker<VmState>) -> Result<()> {
    function!(linker, "proxy_log", |access, level: i32, text: i32, size: i32| access.log(level, text, size));
    function!(linker, "proxy_get_log_level", |access, at: i32| access.put(at, &0_i32.to_le_bytes()));
    function!(linker, "proxy_get_current_time_nanoseconds", |access, at: i32| {
        let now = access.machine().borrow().now;
        access.put(at, &now.to_le_bytes())
    });
    function!(linker, "proxy_set_tick_period_milliseconds", |access, period: i32| {
        let place = access.place();
        check(access.machine().borrow_mut().set_period(place, u64::from(period.cast_unsigned())))
    });
    function!(linker, "proxy_set_effective_context", |access, context: i32| access.enter(context));
    function!(linker, "proxy_done", |access| {
        let place = access.place();
        access.machine().borrow_mut().done.push(place);
        Ok(())
    });
    function!(linker, "proxy_get_status", |access, code: i32, text: i32, size: i32| {
        access.put(code, &[0; 4]).and_then(|()| access.give(&[], text, size))
    });
    function!(linker, "proxy_define_metric", |access, _kind: i32, name: i32, size: i32, id: i32| {
        access.define_metric(name, size, id)
    });
    function!(linker, "proxy_increment_metric", |access, id: i32, by: i64| {
        access.change_metric(id, |value| value.wrapping_add_signed(by))
    });
    function!(linker, "proxy_record_metric", |access, id: i32, value: i64| {
        access.change_metric(id, |_| value.cast_unsigned())
    });
    function!(linker, "proxy_get_metric", |access, id: i32, at: i32| access.get_metric(id, at));
    function!(
        linker,
        "proxy_call_foreign_function",
        |access, name: i32, name_size: i32, arguments: i32, size: i32, result: i32, result_size: i32| {
            access.foreign_function((name, name_size), (arguments, size), (result, result_size))
        }
    );
    Ok(())
}

fn link_maps_and_buffers(linker: &mut Linker<VmState>) -> Result<()> {
    function!(linker, "proxy_get_header_map_pairs", |access, map: i32, data: i32, size: i32| {
        let headers = access.map(map)?;
        access.give(&headers.serialize(), data, size)
    });
    function!(linker, "proxy_set_header_map_pairs", |access, map: i32, data: i32, size: i32| {
        let headers = Headers::deserialize(&access.bytes(data, size)?).ok_or(Status::BadArgument)?;
        access.change_map(map, |there| *there = headers)
    });
    function!(linker, "proxy_get_header_map_size", |access, map: i32, size: i32| {
        let bytes = access.map(map)?.byte_size();
        access.put_length(size, bytes)
    });
    function!(linker, "proxy_get_header_map_value", |access,
                                                     map: i32,
                                                     name: i32,
                                                     name_size: i32,
                                                     value: i32,
                                                     size: i32| {
        let name = access.bytes(name, name_size)?;
        let found = access.map(map)?.get(&name).ok_or(Status::NotFound)?;
        access.give(&found, value, size)
    });
    function!(linker, "proxy_add_header_map_value", |access,
                                                     map: i32,
                                                     name: i32,
                                                     name_size: i32,
                                                     value: i32,
                                                     size: i32| {
        let (name, value) = (access.bytes(name, name_size)?, access.bytes(value, size)?);
        access.change_map(map, |there| there.add(&name, &value))
    });
    function!(
        linker,
        "proxy_replace_header_map_value",
        |access, map: i32, name: i32, name_size: i32, value: i32, size: i32| {
            let (name, value) = (access.bytes(name, name_size)?, access.bytes(value, size)?);
            access.change_map(map, |there| there.replace(&name, &value))
        }
    );
    function!(linker, "proxy_remove_header_map_value", |access, map: i32, name: i32, name_size: i32| {
        let name = access.bytes(name, name_size)?;
        access.change_map(map, |there| there.remove(&name))
    });
    function!(linker, "proxy_get_buffer_bytes", |access, buffer: i32, start: i32, most: i32, data: i32, size: i32| {
        let bytes = access.buffer(buffer)?;
        let piece = part(&bytes, start, most);
        access.give(&piece, data, size)
    });
    function!(linker, "proxy_get_buffer_status", |access, buffer: i32, size: i32, flags: i32| {
        let bytes = access.buffer(buffer)?.len();
        access.put_length(size, bytes).and_then(|()| access.put(flags, &[0; 4]))
    });
    function!(linker, "proxy_set_buffer_bytes", |access, buffer: i32, start: i32, most: i32, data: i32, size: i32| {
        let bytes = access.bytes(data, size)?;
        access.change_buffer(buffer, start, most, bytes)
    });
    function!(linker, "proxy_get_property", |access, path: i32, path_size: i32, value: i32, size: i32| {
        let path = access.bytes(path, path_size)?;
        let found = access.property(&path).ok_or(Status::NotFound)?;
        access.give(&found, value, size)
    });
    function!(linker, "proxy_set_property", |access, path: i32, path_size: i32, value: i32, size: i32| {
        let (path, value) = (access.bytes(path, path_size)?, access.bytes(value, size)?);
        access.set_property(&path, value)
    });
    Ok(())
}

fn link_streams(linker: &mut Linker<VmState>) -> Result<()> {
    function!(linker, "proxy_continue_stream", |access, kind: i32| access.resume(kind));
    function!(linker, "proxy_close_stream", |access, _kind: i32| {
        access.on_stream(Stream::close)?;
        access.stop_iteration();
        access.act_now();
        Ok(())
    });
    function!(
        linker,
        "proxy_send_local_response",
        |access,
         status: i32,
         details: i32,
         details_size: i32,
         body: i32,
         body_size: i32,
         headers: i32,
         size: i32,
         _grpc_status: i32| access.reply(status, (details, details_size), (body, body_size), (headers, size))
    );
    Ok(())
}

fn link_shared(linker: &mut Linker<VmState>) -> Result<()> {
    function!(linker, "proxy_get_shared_data", |access,
                                                key: i32,
                                                key_size: i32,
                                                value: i32,
                                                size: i32,
                                                version: i32| {
        let key = access.bytes(key, key_size)?;
        let vm_id = access.vm_id();
        let (found, cas) = access.machine().borrow().shared(&vm_id, &key).cloned().ok_or(Status::NotFound)?;
        access.give(&found, value, size).and_then(|()| access.put(version, &cas.to_le_bytes()))
    });
    function!(linker, "proxy_set_shared_data", |access,
                                                key: i32,
                                                key_size: i32,
                                                value: i32,
                                                size: i32,
                                                version: i32| {
        let (key, value) = (access.bytes(key, key_size)?, access.bytes(value, size)?);
        let vm_id = access.vm_id();
        check(access.machine().borrow_mut().set_shared(&vm_id, &key, &value, version.cast_unsigned()))
    });
    function!(linker, "proxy_register_shared_queue", |access, name: i32, name_size: i32, token: i32| {
        let name = access.bytes(name, name_size)?;
        let (vm_id, place) = (access.vm_id(), access.place());
        let queue = access.machine().borrow_mut().register_queue(&vm_id, &name, place);
        access.put(token, &queue.to_le_bytes())
    });
    function!(linker, "proxy_resolve_shared_queue", |access,
                                                     vm_id: i32,
                                                     vm_id_size: i32,
                                                     name: i32,
                                                     name_size: i32,
                                                     token: i32| {
        let (vm_id, name) = (access.bytes(vm_id, vm_id_size)?, access.bytes(name, name_size)?);
        let vm_id = String::from_utf8_lossy(&vm_id).into_owned();
        let queue = access.machine().borrow().queue(&vm_id, &name).ok_or(Status::NotFound)?;
        access.put(token, &queue.to_le_bytes())
    });
    function!(linker, "proxy_enqueue_shared_queue", |access, token: i32, data: i32, size: i32| {
        let bytes = access.bytes(data, size)?;
        check(access.machine().borrow_mut().enqueue(token.cast_unsigned(), &bytes))
    });
    function!(linker, "proxy_dequeue_shared_queue", |access, token: i32, data: i32, size: i32| {
        let item = access.machine().borrow_mut().dequeue(token.cast_unsigned())?;
        access.give(&item, data, size)
    });
    Ok(())
}

fn link_calls(linker: &mut Linker<VmState>) -> Result<()> {
    function!(linker, "proxy_http_call", |access,
                                          cluster: i32,
                                          cluster_size: i32,
                                          headers: i32,
                                          headers_size: i32,
                                          body: i32,
                                          body_size: i32,
                                          _trailers: i32,
                                          _trailers_size: i32,
                                          timeout: i32,
                                          token: i32| {
        let cluster = String::from_utf8_lossy(&access.bytes(cluster, cluster_size)?).into_owned();
        let headers = Headers::deserialize(&access.bytes(headers, headers_size)?).ok_or(Status::BadArgument)?;
        let body = access.bytes(body, body_size)?;
        let place = access.place();
        let call = OutboundCall { cluster, headers, body, timeout: u64::from(timeout.cast_unsigned()) };
        let id = access.machine().borrow_mut().make_call(place, call)?;
        access.put(token, &id.to_le_bytes())
    });
    // The SDK imports these; the HTTP part of the ABI does without.
    let none = Status::Unimplemented as i32;
    linker.func_wrap(
        "env",
        "proxy_grpc_call",
        move |_: i32, _: i32, _: i32, _: i32, _: i32, _: i32, _: i32, _: i32, _: i32, _: i32, _: i32, _: i32| none,
    )?;
    linker.func_wrap(
        "env",
        "proxy_grpc_stream",
        move |_: i32, _: i32, _: i32, _: i32, _: i32, _: i32, _: i32, _: i32, _: i32| none,
    )?;
    linker.func_wrap("env", "proxy_grpc_send", move |_: i32, _: i32, _: i32, _: i32| none)?;
    linker.func_wrap("env", "proxy_grpc_cancel", move |_: i32| none)?;
    linker.func_wrap("env", "proxy_grpc_close", move |_: i32| none)?;
    Ok(())
}

fn status(body: impl FnOnce() -> Answer) -> i32 {
    body().err().unwrap_or(Status::Ok) as i32
}

fn check(status: Status) -> Answer {
    if status == Status::Ok { Ok(()) } else { Err(status) }
}

fn part(bytes: &[u8], start: i32, most: i32) -> Vec<u8> {
    let (start, most) = (start.cast_unsigned() as usize, most.cast_unsigned() as usize);
    let end = start.saturating_add(most).min(bytes.len());
    bytes.get(start..end).unwrap_or_default().to_vec()
}

/// Segments are separated by NUL.
fn dotted(path: &[u8]) -> String {
    String::from_utf8_lossy(path).trim_end_matches('\0').replace('\0', ".")
}
