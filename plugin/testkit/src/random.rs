//! Requests at random, near enough to right ones to come far.

use proptest::prelude::*;
use serde_json::json;

use super::{BASELINE, Request, token};

/// Names that mean something somewhere in a request, and close relatives of theirs.
const HEADERS: [&str; 20] = [
    ":method",
    ":path",
    ":authority",
    ":protocol",
    "host",
    "authorization",
    "content-type",
    "content-length",
    "content-encoding",
    "origin",
    "upgrade",
    "mcp-protocol-version",
    "mcp-method",
    "mcp-name",
    "mcp-session-id",
    "x-http-method-override",
    "x-request-id",
    "txn-token",
    "x-envoy-retry-on",
    "x",
];
const VALUES: [&str; 26] = [
    "h2c",
    "websocket",
    "",
    "POST",
    "GET",
    "DELETE",
    "HEAD",
    "/mcp",
    "/mcp?access_token=x",
    "/other",
    "/.well-known/oauth-protected-resource",
    "Bearer",
    "Bearer x.y.z",
    "Basic x",
    "application/json",
    "text/plain",
    "0",
    "5",
    "gzip",
    "https://mcp.example.com",
    "2025-11-25",
    "2026-07-28",
    "tools/call",
    "get",
    "shell",
    "=?base64?c2hlbGw=?=",
];
/// Member names of frames, the first ten the protocol's own.
pub const MEMBERS: [&str; 14] = [
    "jsonrpc",
    "id",
    "method",
    "params",
    "result",
    "error",
    "name",
    "uri",
    "arguments",
    "_meta",
    "Name",
    "METHOD",
    "param\u{17f}",
    "x",
];
const TEXTS: [&str; 12] = [
    "2.0",
    "tools/call",
    "tools/list",
    "ping",
    "prompts/get",
    "notifications/initialized",
    "notifications/x",
    "get",
    "shell",
    "Get",
    "2026-07-28",
    "",
];

/// A request that is right in most respects, with a few headers changed.
pub fn request() -> impl Strategy<Value = Request> {
    let good = token(BASELINE);
    let kind = prop::sample::select(vec![
        Request::call("get").bearer(&good),
        Request::call("shell").bearer(&good),
        Request::modern_call("get").bearer(&good),
        Request::method("tools/list", json!({})).bearer(&good),
        Request::notification("notifications/x").bearer(&good),
        Request::bare("GET", "/mcp").bearer(&good),
        Request::call("get"),
    ]);
    let value = prop_oneof![
        prop::sample::select(VALUES.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..12),
    ];
    let edit = (prop::sample::select(HEADERS.to_vec()), value, 0..3_u8);
    (kind, prop::collection::vec(edit, 0..3)).prop_map(|(request, edits)| {
        edits.into_iter().fold(request, |request, (name, value, how)| match how {
            0 => request.header(name, value),
            1 => request.another(name, value),
            _ => request.without(name),
        })
    })
}

/// A body: a plausible frame, something like one, or just bytes.
pub fn frame() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        3 => prop::sample::select(TEXTS.to_vec()).prop_map(|text| format!("{text:?}")),
        1 => prop::sample::select(vec!["null", "1", "-1", "1.5", "1e9", "true", "{}", "[]"]).prop_map(str::to_owned),
    ];
    // Written by hand, so that members may come twice.
    let value = leaf.prop_recursive(3, 12, 4, |inner| {
        let member = (prop::sample::select(MEMBERS.to_vec()), inner.clone());
        prop_oneof![
            4 => prop::collection::vec(member, 0..4).prop_map(|members| {
                let members: Vec<String> = members.into_iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
            1 => prop::collection::vec(inner, 0..3).prop_map(|items| format!("[{}]", items.join(","))),
        ]
    });
    let method = prop::sample::select(TEXTS.to_vec());
    let plausible = (method, value.clone(), value.clone()).prop_map(|(method, params, more)| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":{method:?},"params":{params},"x":{more}}}"#)
    });
    prop_oneof![
        3 => plausible.prop_map(String::into_bytes),
        2 => value.prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}
