//! Modules to compare with, as text.

/// Exports what a filter must, and does nothing.
pub(super) const BARE: &str = r#"(module
  (memory (export "memory") 1)
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0))
  (func (export "proxy_on_done") (param i32) (result i32) (i32.const 1))
  (func (export "proxy_on_delete") (param i32)))"#;

/// Has the callbacks of the filter and makes the host calls of a call that it allows, with no work between them: what is left
/// to be paid when the module itself costs nothing.
pub(super) const FLOOR: &str = r#"(module
  (import "env" "proxy_get_header_map_pairs" (func $map (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_property" (func $get (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_property" (func $set (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_bytes" (func $buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_current_time_nanoseconds" (func $time (param i32) (result i32)))
  (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_increment_metric" (func $increment (param i32 i64) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 256) "xds\00route_metadata\00filter_metadata\00stepup\00server")
  (data (i32.const 384) "stepup.audit")
  (data (i32.const 448) "floor")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 8192))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (drop (call $define (i32.const 0) (i32.const 448) (i32.const 5) (i32.const 16)))
    (i32.const 1))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (drop (call $map (i32.const 0) (i32.const 0) (i32.const 4)))
    (drop (call $get (i32.const 256) (i32.const 48) (i32.const 0) (i32.const 4)))
    (drop (call $time (i32.const 8)))
    (i32.const 1))
  (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
    (if (i32.eqz (local.get 2)) (then (return (i32.const 1))))
    (drop (call $buffer (i32.const 0) (i32.const 0) (local.get 1) (i32.const 0) (i32.const 4)))
    (drop (call $time (i32.const 8)))
    (drop (call $increment (i32.load (i32.const 16)) (i64.const 1)))
    (drop (call $set (i32.const 384) (i32.const 12) (i32.const 1024) (i32.const 600)))
    (i32.const 0))
  (func (export "proxy_on_request_trailers") (param i32 i32) (result i32) (i32.const 0))
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (i32.const 0))
  (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32) (i32.const 0))
  (func (export "proxy_on_response_trailers") (param i32 i32) (result i32) (i32.const 0))
  (func (export "proxy_on_done") (param i32) (result i32) (i32.const 1))
  (func (export "proxy_on_log") (param i32) (drop (call $time (i32.const 8))))
  (func (export "proxy_on_delete") (param i32)))"#;
