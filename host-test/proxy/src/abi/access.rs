//! What host functions work with.

use std::cell::RefCell;
use std::rc::Rc;

use ring::rand::SecureRandom as _;
use wasmtime::{AsContextMut as _, Caller};

use super::{Answer, dotted};
use crate::foreign;
use crate::guest::{Guest, VmState};
use crate::headers::Headers;
use crate::ids::{Direction, Place, Status};
use crate::machine::{ForeignFunctions, Machine};
use crate::stream::{Reply, Stream};

/// A host function at work: the guest's memory, its effective context, and the machine.
pub(crate) struct Access<'a> {
    caller: Caller<'a, VmState>,
}

impl<'a> Access<'a> {
    pub fn new(caller: Caller<'a, VmState>) -> Access<'a> {
        Access { caller }
    }

    pub fn machine(&self) -> Rc<RefCell<Machine>> {
        Rc::clone(&self.caller.data().machine)
    }

    pub(super) fn guest(&mut self) -> Guest<'_> {
        Guest { store: self.caller.as_context_mut() }
    }

    pub(super) fn place(&self) -> Place {
        Place { vm: self.caller.data().vm, context: self.caller.data().effective }
    }

    pub(super) fn vm_id(&self) -> String {
        self.caller.data().vm_id.clone()
    }

    // ---- memory

    pub(super) fn bytes(&mut self, at: i32, size: i32) -> Result<Vec<u8>, Status> {
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
    pub(super) fn give(&mut self, bytes: &[u8], data: i32, size: i32) -> Answer {
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

    /// The system's, where the world is real. Otherwise xorshift64*: it repeats itself in every run, and differs from VM to VM.
    pub fn random_byte(&mut self) -> Result<u8, Status> {
        if let Some(live) = &self.machine().borrow().live {
            let mut byte = [0];
            live.random.fill(&mut byte).map_err(|_| Status::InternalFailure)?;
            return Ok(byte[0]);
        }
        let state = &mut self.caller.data_mut().random;
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        let [.., byte] = state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes();
        Ok(byte)
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
        self.machine().borrow_mut().log.push((level, line));
        self.put_length(written, text.len())
    }

    // ---- process

    pub(super) fn log(&mut self, level: i32, text: i32, size: i32) -> Answer {
        let line = String::from_utf8_lossy(&self.bytes(text, size)?).into_owned();
        self.machine().borrow_mut().log.push((level.cast_unsigned(), line));
        Ok(())
    }

    pub(super) fn enter(&mut self, context: i32) -> Answer {
        let context = context.cast_unsigned();
        let place = Place { context, ..self.place() };
        if !self.machine().borrow().contexts.contains_key(&place) {
            return Err(Status::BadArgument);
        }
        self.caller.data_mut().effective = context;
        Ok(())
    }

    pub(super) fn define_metric(&mut self, name: i32, size: i32, id: i32) -> Answer {
        let name = String::from_utf8_lossy(&self.bytes(name, size)?).into_owned();
        let metric = self.machine().borrow_mut().define_metric(&name);
        self.put(id, &metric.to_le_bytes())
    }

    pub(super) fn change_metric(&mut self, id: i32, change: impl FnOnce(u64) -> u64) -> Answer {
        let machine = self.machine();
        let mut machine = machine.borrow_mut();
        let value = machine.metric(id.cast_unsigned()).ok_or(Status::NotFound)?;
        *value = change(*value);
        Ok(())
    }

    pub(super) fn get_metric(&mut self, id: i32, at: i32) -> Answer {
        let value = self.machine().borrow_mut().metric(id.cast_unsigned()).copied().ok_or(Status::NotFound)?;
        self.put(at, &value.to_le_bytes())
    }

    pub(super) fn foreign_function(&mut self, name: (i32, i32), arguments: (i32, i32), result: (i32, i32)) -> Answer {
        let (name, arguments) = (self.bytes(name.0, name.1)?, self.bytes(arguments.0, arguments.1)?);
        let present = self.machine().borrow().foreign == ForeignFunctions::Envoy;
        match name.as_slice() {
            b"verify_signature" if present => {
                let answer = foreign::verify_signature(&arguments).ok_or(Status::BadArgument)?;
                self.give(&answer, result.0, result.1)
            }
            _ => Err(Status::NotFound),
        }
    }

    // ---- streams

    pub(super) fn on_stream<R>(&mut self, act: impl FnOnce(&mut Stream) -> R) -> Result<R, Status> {
        let place = self.place();
        self.machine().borrow_mut().stream_at(place).map(act).ok_or(Status::BadArgument)
    }

    pub(super) fn resume(&mut self, kind: i32) -> Answer {
        let direction = match kind {
            0 => Direction::Request,
            1 => Direction::Response,
            _ => return Err(Status::BadArgument),
        };
        self.on_stream(|stream| stream.resume(direction))?;
        self.act_now();
        Ok(())
    }

    pub(super) fn reply(&mut self, status: i32, details: (i32, i32), body: (i32, i32), headers: (i32, i32)) -> Answer {
        let status = u16::try_from(status).map_err(|_| Status::BadArgument)?;
        let details = String::from_utf8_lossy(&self.bytes(details.0, details.1)?).into_owned();
        let body = self.bytes(body.0, body.1)?;
        let headers = Headers::deserialize(&self.bytes(headers.0, headers.1)?).ok_or(Status::BadArgument)?;
        // The last one counts: measured, two replies in one callback gave the client the second.
        self.on_stream(|stream| stream.reply(Reply { status, headers, body, details }))?;
        self.stop_iteration();
        self.act_now();
        Ok(())
    }

    pub(super) fn stop_iteration(&mut self) {
        self.caller.data_mut().stops_iteration = true;
    }

    /// Envoy leaves what follows until the callback has returned. Other hosts have not: then it happens here, and leads
    /// back into the filter.
    pub(super) fn act_now(&mut self) {
        let place = self.place();
        let machine = self.machine();
        let idle = {
            let mut machine = machine.borrow_mut();
            machine.reentrant && machine.stream_at(place).is_some_and(|stream| !stream.is_in_callback())
        };
        if idle {
            self.guest().act(place);
        }
    }

    pub(super) fn map(&mut self, kind: i32) -> Result<Headers, Status> {
        const CALL: i32 = 6;
        if kind == CALL {
            let machine = self.machine();
            return machine.borrow().answer.as_ref().map(|answer| answer.headers.clone()).ok_or(Status::BadArgument);
        }
        self.on_stream(|stream| stream.map(kind).cloned())?.ok_or(Status::BadArgument)
    }

    pub(super) fn change_map(&mut self, kind: i32, change: impl FnOnce(&mut Headers)) -> Answer {
        self.on_stream(|stream| stream.writable_map(kind).map(change))?.ok_or(Status::BadArgument)
    }

    pub(super) fn buffer(&mut self, kind: i32) -> Result<Vec<u8>, Status> {
        const CALL: i32 = 4;
        const PLUGIN_CONFIGURATION: i32 = 7;
        let (machine, place) = (self.machine(), self.place());
        let mut machine = machine.borrow_mut();
        match kind {
            0 => machine.stream_at(place).and_then(|stream| stream.buffer(Direction::Request)).cloned(),
            1 => machine.stream_at(place).and_then(|stream| stream.buffer(Direction::Response)).cloned(),
            CALL => machine.answer.as_ref().map(|answer| answer.body.clone()),
            PLUGIN_CONFIGURATION => machine.root(place).map(|root| root.configuration.clone()),
            _ => None,
        }
        .ok_or(Status::NotFound)
    }

    /// Replaces, prepends or appends; anything else is refused. Nobody corrects `content-length`.
    pub(super) fn change_buffer(&mut self, kind: i32, start: i32, most: i32, bytes: Vec<u8>) -> Answer {
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

    pub(super) fn property(&mut self, path: &[u8]) -> Option<Vec<u8>> {
        let path = dotted(path);
        let (machine, place) = (self.machine(), self.place());
        let mut machine = machine.borrow_mut();
        if path == "plugin_root_id" {
            let root = machine.stream_at(place).map_or(place, |stream| stream.root());
            return machine.root(root).map(|root| root.root_id.clone().into_bytes());
        }
        machine.stream_at(place)?.property(&path)
    }

    pub(super) fn set_property(&mut self, path: &[u8], value: Vec<u8>) -> Answer {
        let name = dotted(path);
        self.on_stream(|stream| stream.filter_state.insert(name, value))?;
        Ok(())
    }
}
