//! A filter that does what the header `x-probe` tells it to, and says in headers what came of it. The configuration is a
//! list of words, for the root context.
#![cfg(target_family = "wasm")]
#![expect(clippy::panic, reason = "traps are among the things to be seen")]

use std::time::Duration;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, BufferType, ContextType, MapType};

mod entry {
    use super::Root;

    proxy_wasm::main! {{
        proxy_wasm::set_root_context(|id| Box::new(Root { id, words: Vec::new(), queue: None }));
    }}
}

#[expect(unsafe_code, reason = "the SDK panics on the statuses that are to be seen")]
mod raw {
    unsafe extern "C" {
        safe fn proxy_replace_header_map_value(
            map: u32,
            name: *const u8,
            size: usize,
            value: *const u8,
            length: usize,
        ) -> u32;
        safe fn proxy_set_buffer_bytes(buffer: u32, start: usize, most: usize, data: *const u8, size: usize) -> u32;
        safe fn proxy_set_effective_context(context: u32) -> u32;
    }

    pub fn replace_request_header(name: &str, value: &str) -> u32 {
        proxy_replace_header_map_value(0, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    }

    pub fn set_request_body(start: usize, most: usize, data: &str) -> u32 {
        proxy_set_buffer_bytes(0, start, most, data.as_ptr(), data.len())
    }

    pub fn enter(context: u32) -> u32 {
        proxy_set_effective_context(context)
    }
}

struct Root {
    id: u32,
    words: Vec<String>,
    queue: Option<u32>,
}

impl Root {
    fn has(&self, word: &str) -> bool {
        self.words.iter().any(|other| other == word)
    }
}

/// Adds one to a number in shared data, as often as it takes.
fn count(key: &str) {
    loop {
        let (value, version) = hostcalls::get_shared_data(key).unwrap_or((None, None));
        let number: u32 = value.and_then(|value| String::from_utf8(value).ok()?.parse().ok()).unwrap_or(0);
        if hostcalls::set_shared_data(key, Some((number + 1).to_string().as_bytes()), version).is_ok() {
            return;
        }
    }
}

fn shared(key: &str) -> String {
    let value = hostcalls::get_shared_data(key).ok().and_then(|(value, _)| value);
    String::from_utf8(value.unwrap_or_default()).unwrap_or_default()
}

impl Context for Root {
    fn on_http_call_response(&mut self, _: u32, _: usize, _: usize, _: usize) {
        count("answers");
    }

    fn on_done(&mut self) -> bool {
        !self.has("busy")
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, _: usize) -> bool {
        let bytes = hostcalls::get_buffer(BufferType::PluginConfiguration, 0, usize::MAX).ok().flatten();
        let text = String::from_utf8(bytes.unwrap_or_default()).unwrap_or_default();
        self.words = text.split_whitespace().map(str::to_owned).collect();
        if self.has("tick") {
            let _ = hostcalls::set_tick_period(Duration::from_millis(100));
        }
        if self.has("queue") {
            self.queue = hostcalls::register_shared_queue("probe").ok();
        }
        if self.has("call") {
            let headers = vec![(":method", "GET"), (":path", "/"), (":authority", "up")];
            let _ = hostcalls::dispatch_http_call("good", headers, None, Vec::new(), Duration::from_secs(1));
        }
        count("configured");
        !self.has("refuse")
    }

    fn on_tick(&mut self) {
        count("ticks");
        if self.has("done") {
            let _ = hostcalls::done();
        }
    }

    fn on_queue_ready(&mut self, queue: u32) {
        while let Ok(Some(_)) = hostcalls::dequeue_shared_queue(queue) {
            count("woken");
        }
        count(&format!("woken by {}", self.id));
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream {
            id,
            queue: self.queue,
            words: self.words.clone(),
            task: String::new(),
            seen: String::new(),
        }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Stream {
    id: u32,
    queue: Option<u32>,
    words: Vec<String>,
    task: String,
    /// Body callbacks so far: size and whether it was the last.
    seen: String,
}

impl Stream {
    fn tell(name: &str, value: &str) {
        let _ = raw::replace_request_header(name, value);
    }

    fn call(cluster: &str) -> Result<u32, proxy_wasm::types::Status> {
        let headers = vec![(":method", "GET"), (":path", "/"), (":authority", "up")];
        hostcalls::dispatch_http_call(cluster, headers, None, Vec::new(), Duration::from_millis(500))
    }
}

impl Context for Stream {
    fn on_http_call_response(&mut self, _: u32, headers: usize, size: usize, _: usize) {
        if self.task == "call-then-trap" {
            panic!("as told");
        }
        let status = hostcalls::get_map_value(MapType::HttpCallResponseHeaders, ":status").ok().flatten();
        Stream::tell("x-answer", &format!("{headers} {} {size}", status.unwrap_or_default()));
        let _ = hostcalls::resume_http_request();
        // What is set after that comes too late only when the host goes on inside of the call.
        Stream::tell("x-after", "1");
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        self.task = hostcalls::get_map_value(MapType::HttpRequestHeaders, "x-probe").ok().flatten().unwrap_or_default();
        Stream::tell("x-words", &self.words.join(" "));
        match self.task.as_str() {
            "trap-at-head" => panic!("as told"),
            "two-answers" => {
                let _ = hostcalls::send_http_response(403, Vec::new(), Some(b"first"));
                let _ = hostcalls::send_http_response(500, Vec::new(), Some(b"second"));
                Action::Pause
            }
            "answer-and-go-on" => {
                let _ = hostcalls::send_http_response(403, Vec::new(), Some(b"no"));
                Action::Continue
            }
            "call" | "call-then-trap" => match Stream::call("good") {
                Ok(_) => Action::Pause,
                Err(_) => Action::Continue,
            },
            "call-nowhere" => {
                Stream::tell("x-answer", &format!("{:?} {:?}", Stream::call("unknown"), Stream::call("full")));
                Action::Continue
            }
            "call-refused" | "call-silent" => {
                let cluster = if self.task == "call-refused" { "refused" } else { "silent" };
                let _ = Stream::call(cluster);
                Action::Pause
            }
            "enqueue" => {
                if let Some(queue) = self.queue {
                    let _ = hostcalls::enqueue_shared_queue(queue, Some(b"1"));
                }
                Action::Continue
            }
            "report" => {
                let keys = ["configured", "ticks", "woken", "answers"];
                let report = keys.map(|key| format!("{key}={}", shared(key)));
                Stream::tell("x-report", &report.join(" "));
                Action::Continue
            }
            "entered" => {
                Stream::tell("x-entered", &format!("{} {}", raw::enter(self.id), raw::enter(9999)));
                Action::Continue
            }
            "header-too-late" | "pass" => Action::Continue,
            _ => Action::Pause,
        }
    }

    fn on_http_request_body(&mut self, size: usize, end: bool) -> Action {
        self.seen += &format!("{size}/{end} ");
        match self.task.as_str() {
            "trap-at-body" if end => panic!("as told"),
            "header-too-late" => {
                let status = raw::replace_request_header("x-late", "1");
                let _ = hostcalls::set_property(vec!["late"], Some(status.to_string().as_bytes()));
                Action::Continue
            }
            "append" if end => {
                let middle = raw::set_request_body(1, 1, "?");
                let _ = hostcalls::set_property(vec!["middle"], Some(middle.to_string().as_bytes()));
                raw::set_request_body(size, 0, "appended");
                Action::Continue
            }
            "pass" => Action::Continue,
            _ if end => {
                Stream::tell("x-seen", self.seen.trim());
                Action::Continue
            }
            _ => Action::Pause,
        }
    }

    fn on_http_request_trailers(&mut self, count: usize) -> Action {
        Stream::tell("x-seen", &format!("{}{count} trailers", self.seen));
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        let status = hostcalls::get_map_value(MapType::HttpResponseHeaders, ":status").ok().flatten();
        let _ = hostcalls::set_property(vec!["response"], status.as_deref().map(str::as_bytes));
        match self.task.as_str() {
            "trap-at-response" => panic!("as told"),
            "replace-response" => {
                let _ = hostcalls::send_http_response(502, Vec::new(), Some(b"replaced"));
                Action::Continue
            }
            "hold-response" => Action::Pause,
            _ => Action::Continue,
        }
    }

    fn on_http_response_body(&mut self, size: usize, end: bool) -> Action {
        if self.task == "hold-response" && !end {
            return Action::Pause;
        }
        if self.task == "trap-at-response-body" {
            panic!("as told");
        }
        let _ = hostcalls::set_property(vec!["response-body"], Some(format!("{size}/{end}").as_bytes()));
        Action::Continue
    }

    fn on_log(&mut self) {
        let _ = hostcalls::set_property(vec!["logged"], Some(b"1"));
    }
}
