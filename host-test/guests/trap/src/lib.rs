//! What becomes of unfinished business when a VM dies? Plugins of one module and one `vm_id` share a VM, and the shipped
//! module never traps. So this one holds the filter, from the very sources of the shipped module, and beside it, under
//! the root id `trap`, a filter that traps when a request asks for it.
#![cfg(target_family = "wasm")]

#[path = "../../../../plugin/proxy-wasm/src/drive.rs"]
mod drive;
#[path = "../../../../plugin/proxy-wasm/src/headers.rs"]
mod headers;
#[path = "../../../../plugin/proxy-wasm/src/host.rs"]
mod host;
#[path = "../../../../plugin/proxy-wasm/src/native.rs"]
mod native;
#[path = "../../../../plugin/proxy-wasm/src/raw.rs"]
mod raw;
#[path = "../../../../plugin/proxy-wasm/src/root.rs"]
mod root;
#[path = "../../../../plugin/proxy-wasm/src/stream.rs"]
mod stream;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel, MapType};

mod entry {
    use super::{LogLevel, Trap, is_trap, root};

    proxy_wasm::main! {{
        proxy_wasm::set_log_level(LogLevel::Trace);
        proxy_wasm::set_root_context(|id| if is_trap() { Box::new(Trap) } else { Box::new(root::Root::new(id)) });
    }}
}

fn is_trap() -> bool {
    hostcalls::get_property(vec!["plugin_root_id"]).ok().flatten().is_some_and(|name| name == b"trap")
}

struct Trap;

impl Context for Trap {}

impl RootContext for Trap {
    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Trap))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl HttpContext for Trap {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        if hostcalls::get_map_value_bytes(MapType::HttpRequestHeaders, "x-trap").ok().flatten().is_some() {
            std::process::abort();
        }
        Action::Continue
    }
}
