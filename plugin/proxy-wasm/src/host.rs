//! The host calls this filter makes, each with the rule that keeps it from panicking.
//!
//! Most SDK wrappers panic on a status they do not expect, and a panic ends the VM of the worker. So: bytes, never
//! strings, are read; headers are touched only while the host holds them; and nothing is called on a stream whose
//! context was not entered.

use std::time::{Duration, UNIX_EPOCH};

use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, Bytes, LogLevel, MapType};
use step_up_core::Environment;
use step_up_core::Permit;
use step_up_core::Response;
use step_up_core::Shared;
use step_up_core::{Call, Millis};

use crate::headers::{self, Headers};
use crate::raw;

pub fn now() -> Millis {
    let since = hostcalls::get_current_time().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Millis(since.and_then(|since| u64::try_from(since.as_millis()).ok()).unwrap_or(0))
}

pub fn log(level: LogLevel, line: &str) {
    let _ = hostcalls::log(level, line);
}

pub fn configuration() -> Bytes {
    hostcalls::get_buffer(BufferType::PluginConfiguration, 0, usize::MAX).ok().flatten().unwrap_or_default()
}

/// 16 random bytes, `None` when the host has none to give.
pub fn seed() -> Option<[u8; 16]> {
    let mut seed = [0; 16];
    getrandom::fill(&mut seed).ok().map(|()| seed)
}

/// The server that the route names: `filter_metadata["stepup"].server`.
pub fn route_server() -> Option<String> {
    // A name that is no text is one that the policy lacks.
    let name = raw::property("xds\0route_metadata\0filter_metadata\0stepup\0server")?;
    Some(String::from_utf8_lossy(&name).into_owned())
}

/// Has Envoy's `jwt_authn` left in dynamic metadata what a token of this request said?
pub fn has_verified_token() -> bool {
    match raw::property_or_fault("metadata\0filter_metadata\0envoy.filters.http.jwt_authn") {
        Ok(metadata) => metadata.is_some_and(|metadata| headers::tell_of_a_token(&metadata)),
        // A claim is null.
        Err(()) => true,
    }
}

/// Nobody judges trailers. False when they could not be taken out.
pub fn drop_request_trailers() -> bool {
    raw::clear_map(MapType::HttpRequestTrailers)
}

/// The buffered request body; `Err` when the host does not hand it over.
pub fn request_body(size: usize) -> Result<Bytes, ()> {
    if size == 0 {
        return Ok(Bytes::new());
    }
    let body = hostcalls::get_buffer(BufferType::HttpRequestBody, 0, size).map_err(drop)?.unwrap_or_default();
    if size == usize::MAX || body.len() == size { Ok(body) } else { Err(()) }
}

/// Has the host bytes of the current request's body? One that cannot tell is taken to have them.
pub fn has_bytes_of_body() -> bool {
    let total = raw::property("request\0total_size").and_then(|total| Some(u64::from_le_bytes(total.try_into().ok()?)));
    // The total is that of the headers' names and values, and of all that came behind them.
    let headers = Headers::of_request().size();
    total.is_none_or(|total| total > headers)
}

/// The identity in the peer's certificate. Envoy gives it also where the chain was not validated: the listener has to.
pub fn peer_identity() -> Option<String> {
    String::from_utf8(raw::property("connection\0uri_san_peer_certificate")?)
        .ok()
        .filter(|identity| !identity.is_empty())
}

/// Whoever is at the other end of the connection of the current stream.
#[derive(Debug)]
pub struct Peer;

impl step_up_core::Peer for Peer {
    fn certificate(&self) -> Option<String> {
        String::from_utf8(raw::property("connection\0sha256_peer_certificate_digest")?).ok()
    }
}

/// A header of a response. That it is there counts, also where it is no text.
pub fn response_header(name: &str) -> Option<String> {
    let value = hostcalls::get_map_value_bytes(MapType::HttpResponseHeaders, name).ok().flatten();
    Some(String::from_utf8_lossy(&value?).into_owned())
}

/// What there is of the response body.
pub fn response_chunk(size: usize) -> Bytes {
    hostcalls::get_buffer(BufferType::HttpResponseBody, 0, size).ok().flatten().unwrap_or_default()
}

/// In place of all that a response has of it; an empty value takes it out.
pub fn set_response_header(name: &str, value: &str) {
    let _ = hostcalls::remove_map_value(MapType::HttpResponseHeaders, name);
    if !value.is_empty() {
        let _ = hostcalls::add_map_value(MapType::HttpResponseHeaders, name, value);
    }
}

/// Nobody knows how long the body will be.
pub fn forget_length() {
    let _ = hostcalls::remove_map_value(MapType::HttpResponseHeaders, "content-length");
}

/// Replaces what there is of the response body.
pub fn give(bytes: &[u8]) {
    let _ = hostcalls::set_buffer(BufferType::HttpResponseBody, 0, usize::MAX, bytes);
}

/// Replaces the body of a response whose headers are held, too: a length that is not that of the body would put what
/// follows into somebody else's response.
pub fn rewrite_response(body: &[u8]) {
    give(body);
    let length = body.len().to_string();
    let _ = hostcalls::set_map_value(MapType::HttpResponseHeaders, "content-length", Some(&length));
}

/// A queue of our own, whose only content is that something is in it. The last VM to register a name gets all its
/// wake-ups, so the name is nobody else's.
pub fn own_queue(seed: &[u8; 16]) -> Option<u32> {
    hostcalls::register_shared_queue(&format!("stepup/1/{seed:02x?}")).ok()
}

/// Wakes the root; false when the host would not.
pub fn wake_root(queue: u32) -> bool {
    hostcalls::enqueue_shared_queue(queue, Some(b"1")).is_ok()
}

/// Empties the queue.
pub fn drain(queue: u32) {
    while let Ok(Some(_)) = hostcalls::dequeue_shared_queue(queue) {}
}

/// Says that a root that was asked to end may do so now.
pub fn done() {
    let _ = hostcalls::done();
}

/// `vm_config.environment_variables`.
pub struct VmEnvironment;

impl Environment for VmEnvironment {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn now(&self) -> Option<Millis> {
        Some(now())
    }
}

/// Header edits of a permit. Called only before the request is released.
pub fn edit_request(permit: &Permit) {
    for (name, value) in permit.set() {
        let _ = hostcalls::set_map_value(MapType::HttpRequestHeaders, name, Some(value.reveal()));
    }
    for name in permit.remove() {
        let _ = hostcalls::remove_map_value(MapType::HttpRequestHeaders, name);
    }
}

pub fn resume_request() {
    let _ = hostcalls::resume_http_request();
}

pub fn respond(response: &Response) {
    let map: Vec<(&str, &str)> = response.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    raw::respond(u32::from(response.status), &response.details(), &response.body, &headers::written(&map));
}

/// Filter state `wasm.stepup.audit`, for the access log.
pub fn record(record: &str) {
    tell("stepup.audit", record);
}

/// Filter state, with `wasm.` before its name.
pub fn tell(name: &str, value: &str) {
    raw::set_property(name, value.as_bytes());
}

/// Makes a call; `None` when the host refuses (unknown cluster, circuit breaker).
pub fn dispatch(call: &Call) -> Option<u32> {
    let mut headers = vec![
        (":method", call.method),
        (":path", call.path.as_str()),
        (":authority", call.authority.as_str()),
        ("accept", "application/json"),
    ];
    headers.extend(call.headers.iter().map(|(name, value)| (*name, value.reveal())));
    let body = Some(call.body.reveal().as_bytes()).filter(|body| !body.is_empty());
    let timeout = Duration::from_millis(call.timeout);
    hostcalls::dispatch_http_call(&call.cluster, headers, body, Vec::new(), timeout).ok()
}

/// The answer to a call: status and body. `None` when there is none.
pub fn call_reply(headers: usize, body_size: usize) -> Option<(u16, Bytes)> {
    if headers == 0 {
        return None;
    }
    let status = hostcalls::get_map_value_bytes(MapType::HttpCallResponseHeaders, ":status").ok().flatten()?;
    let status = std::str::from_utf8(&status).ok()?.parse().ok()?;
    let body = hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, body_size).ok()?.unwrap_or_default();
    Some((status, body))
}

pub fn set_tick_period(period: Duration) {
    let _ = hostcalls::set_tick_period(period);
}

/// Makes the following calls act on another context; false when it is gone.
pub fn enter(context: u32) -> bool {
    hostcalls::set_effective_context(context).is_ok()
}

/// The memory that all VMs with our `vm_id` share.
pub struct SharedData;

impl Shared for SharedData {
    fn get(&self, slot: &str) -> Option<(Vec<u8>, u32)> {
        match hostcalls::get_shared_data(slot).ok()? {
            (value, Some(version)) => Some((value.unwrap_or_default(), version)),
            (value, None) => value.map(|value| (value, 0)),
        }
    }

    fn set(&self, slot: &str, value: &[u8], version: Option<u32>) -> bool {
        hostcalls::set_shared_data(slot, Some(value), version).is_ok()
    }
}
