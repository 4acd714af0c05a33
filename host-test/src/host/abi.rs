//! The functions of proxy-wasm 0.2.1 that a filter calls. Statuses and effects are those of Envoy 1.40.

use std::cell::RefCell;
use std::rc::Rc;

use anyhow::Result;
use wasmtime::{AsContextMut as _, Caller, Linker};

use super::foreign;
use super::guest::{Guest, VmState};
use super::headers::Headers;
use super::network::Call;
use super::stream::{Direction, Reply, Stream};
use super::world::{ForeignFunctions, Place, Status, World};

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

pub(super) fn link(linker: &mut Linker<VmState>) -> Result<()> {
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
        let now = access.world().borrow().now;
        access.put(at, &now.to_le_bytes())
    });
    function!(linker, "proxy_set_tick_period_milliseconds", |access, period: i32| {
        let place = access.place();
        check(access.world().borrow_mut().set_period(place, u64::from(period.cast_unsigned())))
    });
    function!(linker, "proxy_set_effective_context", |access, context: i32| access.enter(context));
    function!(linker, "proxy_done", |access| {
        let place = access.place();
        access.world().borrow_mut().done.push(place);
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
         _details: i32,
         _details_size: i32,
         body: i32,
         body_size: i32,
         headers: i32,
         size: i32,
         _grpc_status: i32| access.reply(status, (body, body_size), (headers, size))
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
        let (found, cas) = access.world().borrow().shared(&vm_id, &key).cloned().ok_or(Status::NotFound)?;
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
        check(access.world().borrow_mut().set_shared(&vm_id, &key, &value, version.cast_unsigned()))
    });
    function!(linker, "proxy_register_shared_queue", |access, name: i32, name_size: i32, token: i32| {
        let name = access.bytes(name, name_size)?;
        let (vm_id, place) = (access.vm_id(), access.place());
        let queue = access.world().borrow_mut().register_queue(&vm_id, &name, place);
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
        let queue = access.world().borrow().queue(&vm_id, &name).ok_or(Status::NotFound)?;
        access.put(token, &queue.to_le_bytes())
    });
    function!(linker, "proxy_enqueue_shared_queue", |access, token: i32, data: i32, size: i32| {
        let bytes = access.bytes(data, size)?;
        check(access.world().borrow_mut().enqueue(token.cast_unsigned(), &bytes))
    });
    function!(linker, "proxy_dequeue_shared_queue", |access, token: i32, data: i32, size: i32| {
        let item = access.world().borrow_mut().dequeue(token.cast_unsigned())?;
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
        let call = Call { cluster, headers, body, timeout: u64::from(timeout.cast_unsigned()) };
        let id = access.world().borrow_mut().make_call(place, call)?;
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

/// A host function at work: the guest's memory, its effective context, and the world.
pub(super) struct Access<'a> {
    caller: Caller<'a, VmState>,
}

impl<'a> Access<'a> {
    pub fn new(caller: Caller<'a, VmState>) -> Access<'a> {
        Access { caller }
    }

    pub fn world(&self) -> Rc<RefCell<World>> {
        Rc::clone(&self.caller.data().world)
    }

    fn guest(&mut self) -> Guest<'_> {
        Guest { store: self.caller.as_context_mut() }
    }

    fn place(&self) -> Place {
        Place { vm: self.caller.data().vm, context: self.caller.data().effective }
    }

    fn vm_id(&self) -> String {
        self.caller.data().vm_id.clone()
    }

    // ---- memory

    fn bytes(&mut self, at: i32, size: i32) -> Result<Vec<u8>, Status> {
        let memory = self.guest().memory().ok_or(Status::InvalidMemoryAccess)?;
        let (start, size) = (at.cast_unsigned() as usize, size.cast_unsigned() as usize);
        let end = start.checked_add(size).ok_or(Status::InvalidMemoryAccess)?;
        memory.data(&self.caller).get(start..end).map(<[u8]>::to_vec).ok_or(Status::InvalidMemoryAccess)
    }

    pub fn put(&mut self, at: i32, bytes: &[u8]) -> Answer {
        let memory = self.guest().memory().ok_or(Status::InvalidMemoryAccess)?;
        let at = at.cast_unsigned() as usize;
        memory.write(&mut self.caller, at, bytes).map_err(|_| Status::InvalidMemoryAccess)
    }

    pub fn put_length(&mut self, at: i32, length: usize) -> Answer {
        let length = u32::try_from(length).map_err(|_| Status::InternalFailure)?;
        self.put(at, &length.to_le_bytes())
    }

    /// Hands over bytes in memory that the guest allocates; nothing is a null pointer.
    fn give(&mut self, bytes: &[u8], data: i32, size: i32) -> Answer {
        let mut at = 0;
        if !bytes.is_empty() {
            let length = i32::try_from(bytes.len()).map_err(|_| Status::InternalFailure)?;
            at = self.guest().allocate(length).ok_or(Status::InvalidMemoryAccess)?;
            self.put(at, bytes)?;
        }
        self.put(data, &at.to_le_bytes())?;
        self.put_length(size, bytes.len())
    }

    // ---- WASI

    /// xorshift64*: repeats itself in every run, and differs from VM to VM.
    pub fn random_byte(&mut self) -> u8 {
        let state = &mut self.caller.data_mut().random;
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        let [.., byte] = state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes();
        byte
    }

    pub fn environment(&self) -> Vec<Vec<u8>> {
        let entries = &self.caller.data().environment;
        entries.iter().map(|(name, value)| format!("{name}={value}\0").into_bytes()).collect()
    }

    /// Standard output and standard error are lines of the log.
    pub fn write(&mut self, is_error: bool, pieces: i32, count: i32, written: i32) -> Answer {
        let mut text = Vec::new();
        for index in 0..count {
            let piece = self.bytes(pieces.wrapping_add(index.wrapping_mul(8)), 8)?;
            let number = |at: usize| {
                let bytes = piece.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
                bytes.map(i32::from_le_bytes).ok_or(Status::InvalidMemoryAccess)
            };
            text.extend(self.bytes(number(0)?, number(4)?)?);
        }
        let (level, line) = (if is_error { 4 } else { 2 }, String::from_utf8_lossy(&text).trim_end().to_owned());
        self.world().borrow_mut().log.push((level, line));
        self.put_length(written, text.len())
    }

    // ---- process

    fn log(&mut self, level: i32, text: i32, size: i32) -> Answer {
        let line = String::from_utf8_lossy(&self.bytes(text, size)?).into_owned();
        self.world().borrow_mut().log.push((level.cast_unsigned(), line));
        Ok(())
    }

    fn enter(&mut self, context: i32) -> Answer {
        let context = context.cast_unsigned();
        let place = Place { context, ..self.place() };
        if !self.world().borrow().contexts.contains_key(&place) {
            return Err(Status::BadArgument);
        }
        self.caller.data_mut().effective = context;
        Ok(())
    }

    fn define_metric(&mut self, name: i32, size: i32, id: i32) -> Answer {
        let name = String::from_utf8_lossy(&self.bytes(name, size)?).into_owned();
        let metric = self.world().borrow_mut().define_metric(&name);
        self.put(id, &metric.to_le_bytes())
    }

    fn change_metric(&mut self, id: i32, change: impl FnOnce(u64) -> u64) -> Answer {
        let world = self.world();
        let mut world = world.borrow_mut();
        let value = world.metric(id.cast_unsigned()).ok_or(Status::NotFound)?;
        *value = change(*value);
        Ok(())
    }

    fn get_metric(&mut self, id: i32, at: i32) -> Answer {
        let value = self.world().borrow_mut().metric(id.cast_unsigned()).copied().ok_or(Status::NotFound)?;
        self.put(at, &value.to_le_bytes())
    }

    fn foreign_function(&mut self, name: (i32, i32), arguments: (i32, i32), result: (i32, i32)) -> Answer {
        let (name, arguments) = (self.bytes(name.0, name.1)?, self.bytes(arguments.0, arguments.1)?);
        let present = self.world().borrow().foreign == ForeignFunctions::Envoy;
        match name.as_slice() {
            b"verify_signature" if present => {
                let answer = foreign::verify_signature(&arguments).ok_or(Status::BadArgument)?;
                self.give(&answer, result.0, result.1)
            }
            _ => Err(Status::NotFound),
        }
    }

    // ---- streams

    fn on_stream<R>(&mut self, act: impl FnOnce(&mut Stream) -> R) -> Result<R, Status> {
        let place = self.place();
        self.world().borrow_mut().stream_at(place).map(act).ok_or(Status::BadArgument)
    }

    fn resume(&mut self, kind: i32) -> Answer {
        let direction = match kind {
            0 => Direction::Request,
            1 => Direction::Response,
            _ => return Err(Status::BadArgument),
        };
        self.on_stream(|stream| stream.resume(direction))?;
        self.act_now();
        Ok(())
    }

    fn reply(&mut self, status: i32, body: (i32, i32), headers: (i32, i32)) -> Answer {
        let status = u16::try_from(status).map_err(|_| Status::BadArgument)?;
        let body = self.bytes(body.0, body.1)?;
        let headers = Headers::deserialize(&self.bytes(headers.0, headers.1)?).ok_or(Status::BadArgument)?;
        // The last one counts: measured, two replies in one callback gave the client the second.
        self.on_stream(|stream| stream.reply(Reply { status, headers, body }))?;
        self.stop_iteration();
        self.act_now();
        Ok(())
    }

    fn stop_iteration(&mut self) {
        self.caller.data_mut().stops_iteration = true;
    }

    /// Envoy leaves what follows until the callback has returned. Other hosts have not: then it happens here, and leads
    /// back into the filter.
    fn act_now(&mut self) {
        let place = self.place();
        let world = self.world();
        let idle = {
            let mut world = world.borrow_mut();
            world.reentrant && world.stream_at(place).is_some_and(|stream| !stream.is_in_callback())
        };
        if idle {
            self.guest().act(place);
        }
    }

    fn map(&mut self, kind: i32) -> Result<Headers, Status> {
        const CALL: i32 = 6;
        if kind == CALL {
            let world = self.world();
            return world.borrow().answer.as_ref().map(|answer| answer.headers.clone()).ok_or(Status::BadArgument);
        }
        self.on_stream(|stream| stream.map(kind).cloned())?.ok_or(Status::BadArgument)
    }

    fn change_map(&mut self, kind: i32, change: impl FnOnce(&mut Headers)) -> Answer {
        self.on_stream(|stream| stream.writable_map(kind).map(change))?.ok_or(Status::BadArgument)
    }

    fn buffer(&mut self, kind: i32) -> Result<Vec<u8>, Status> {
        const CALL: i32 = 4;
        const PLUGIN_CONFIGURATION: i32 = 7;
        let (world, place) = (self.world(), self.place());
        let mut world = world.borrow_mut();
        match kind {
            0 => world.stream_at(place).and_then(|stream| stream.buffer(Direction::Request)).cloned(),
            1 => world.stream_at(place).and_then(|stream| stream.buffer(Direction::Response)).cloned(),
            CALL => world.answer.as_ref().map(|answer| answer.body.clone()),
            PLUGIN_CONFIGURATION => world.root(place).map(|root| root.configuration.clone()),
            _ => None,
        }
        .ok_or(Status::NotFound)
    }

    /// Replaces, prepends or appends; anything else is refused. Nobody corrects `content-length`.
    fn change_buffer(&mut self, kind: i32, start: i32, most: i32, bytes: Vec<u8>) -> Answer {
        let direction = match kind {
            0 => Direction::Request,
            1 => Direction::Response,
            _ => return Err(Status::BadArgument),
        };
        let (start, most) = (start.cast_unsigned() as usize, most.cast_unsigned() as usize);
        self.on_stream(|stream| {
            let buffer = stream.buffer(direction).ok_or(Status::BadArgument)?;
            if start == 0 && most >= buffer.len() {
                *buffer = bytes;
            } else if start == 0 && most == 0 {
                buffer.splice(0..0, bytes);
            } else if start >= buffer.len() {
                buffer.extend(bytes);
            } else {
                return Err(Status::BadArgument);
            }
            Ok(())
        })?
    }

    fn property(&mut self, path: &[u8]) -> Option<Vec<u8>> {
        let path = dotted(path);
        let (world, place) = (self.world(), self.place());
        let mut world = world.borrow_mut();
        if path == "plugin_root_id" {
            let root = world.stream_at(place).map_or(place, |stream| stream.root());
            return world.root(root).map(|root| root.root_id.clone().into_bytes());
        }
        world.stream_at(place)?.property(&path)
    }

    fn set_property(&mut self, path: &[u8], value: Vec<u8>) -> Answer {
        let name = dotted(path);
        self.on_stream(|stream| stream.filter_state.insert(name, value))?;
        Ok(())
    }
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
