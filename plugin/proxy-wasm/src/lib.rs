//! The step-up filter as a proxy-wasm module: translates host callbacks into inputs of the core's gate and performs
//! the effects that come out. No rule of the policy is decided here.
#![cfg(target_family = "wasm")]

mod drive;
mod headers;
mod host;
mod native;
mod raw;
mod root;
mod stream;

use proxy_wasm::types::LogLevel;

mod entry {
    use super::{LogLevel, root};

    proxy_wasm::main! {{
        proxy_wasm::set_log_level(LogLevel::Trace); // The host decides which levels it prints.
        proxy_wasm::set_root_context(|id| Box::new(root::Root::new(id)));
    }}
}
