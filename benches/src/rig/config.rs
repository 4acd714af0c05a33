//! Envoy's configuration: one listener, its filters, where it leads.

use std::path::Path;

use serde_json::{Value, json};

use super::{ISSUER, RESOURCE};

pub(super) fn config(port: u16, route: &Value, filters: &[Value], clusters: &[Value]) -> Value {
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
    });
    let filters: Vec<&Value> = filters.iter().chain([&router]).collect();
    // As operators run it: with the audit record, and nowhere to keep it.
    let log = json!({
        "name": "log",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": "/dev/null",
            "log_format": { "text_format_source": { "inline_string": "%RESPONSE_CODE% %FILTER_STATE(wasm.stepup.audit:PLAIN)%\n" } },
        },
    });
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench", "access_log": [log], "http_filters": filters,
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [route] }] },
    });
    let listener = json!({
        "name": "listener",
        "address": { "socket_address": { "address": "127.0.0.1", "port_value": port } },
        "filter_chains": [{ "filters": [{ "name": "http", "typed_config": manager }] }],
    });
    json!({ "static_resources": { "listeners": [listener], "clusters": clusters } })
}

pub(super) fn cluster(name: &str, port: u16) -> Value {
    let address = json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } });
    let endpoints = json!([{ "lb_endpoints": [{ "endpoint": { "address": address } }] }]);
    json!({ "name": name, "type": "STATIC", "load_assignment": { "cluster_name": name, "endpoints": endpoints } })
}

/// A wasm filter with this configuration.
pub(super) fn wasm(module: &Path, configuration: &Value) -> Value {
    json!({
        "name": "wasm",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": "wasm", "root_id": "wasm", "allow_on_headers_stop_iteration": true,
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue", "value": configuration.to_string(),
                },
                "vm_config": { "vm_id": "wasm", "runtime": "envoy.wasm.runtime.v8", "code": { "local": { "filename": module } } },
            },
        },
    })
}

/// The token, the body's method and tool, and one rule for both.
pub(super) fn native(jwks: &Value) -> Vec<Value> {
    let any = json!([{ "any": true }]);
    let is = |path: [&str; 2], value: &str| {
        let path: Vec<Value> = path.iter().filter(|key| !key.is_empty()).map(|key| json!({ "key": key })).collect();
        let value = json!({ "string_match": { "exact": value } });
        json!({ "metadata": { "filter": "envoy.filters.http.mcp", "path": path, "value": value } })
    };
    let rules =
        json!({ "and_rules": { "rules": [is(["method", ""], "tools/call"), is(["params", "name"], "get_file")] } });
    vec![
        json!({
            "name": "envoy.filters.http.jwt_authn",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
                "providers": { "as": {
                    "issuer": ISSUER, "audiences": [RESOURCE], "local_jwks": { "inline_string": jwks.to_string() },
                    "payload_in_metadata": "payload", "jwt_cache_config": { "jwt_cache_size": 100 }, "forward": true,
                } },
                "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "as" } }],
            },
        }),
        json!({
            "name": "envoy.filters.http.mcp",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.mcp.v3.Mcp",
                "traffic_mode": "REJECT_NO_MCP", "max_request_body_size": 65536,
            },
        }),
        json!({
            "name": "envoy.filters.http.rbac",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
                "rules": { "action": "ALLOW", "policies": { "reader": { "permissions": [rules], "principals": any } } },
            },
        }),
    ]
}
