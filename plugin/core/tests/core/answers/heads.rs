//! What is judged beside token and frame.

use super::*;

// Before the token: Origin, method, path, upgrade, headers.

#[test]
fn a_foreign_origin_is_refused() {
    let mut vm =
        Vm::new(&load(&with(example(), "/origins", json!(["https://app.example.com", "http://localhost:3000"]))));
    for origin in [
        "https://evil.example.com",
        "null",
        "",
        "http://mcp.example.com",
        "https://mcp.example.com:444",
        "https://mcp.example.com.evil.example.com",
        "https://APP.example.com",
        "http://localhost",
    ] {
        for request in [Request::call("get"), Request::bare("GET", "/mcp")] {
            let settled = at_head(&mut vm, &request.header("origin", origin).bearer(&good()));
            assert_plain(&settled, 403, Some(-32600), "origin_not_allowed");
        }
    }
    for origin in ["https://mcp.example.com", "https://app.example.com", "http://localhost:3000"] {
        vm.send(&Request::call("get").header("origin", origin).bearer(&good())).assert_forwarded();
    }
}

#[test]
fn methods_that_are_not_served() {
    let mut vm = vm();
    for method in ["PUT", "PATCH", "OPTIONS", "HEAD", "CONNECT", "TRACE", "post", "get", ""] {
        let settled = at_head(&mut vm, &Request::bare(method, "/mcp").bearer(&good()));
        assert_plain(&settled, 405, None, "method_not_allowed");
        assert_eq!(settled.answer().header("allow"), Some("POST, GET, DELETE"), "{method}");
    }
    for method in ["GET", "DELETE"] {
        let modern = Request::bare(method, "/mcp").header("mcp-protocol-version", "2026-07-28").bearer(&good());
        assert_plain(&at_head(&mut vm, &modern), 405, None, "method_not_allowed");
    }
}

#[test]
fn legacy_streams_need_a_token_with_the_baseline_and_no_body() {
    let mut vm = vm();
    for method in ["GET", "DELETE"] {
        let request = || Request::bare(method, "/mcp").header("mcp-session-id", "s");
        at_head(&mut vm, &request().bearer(&good())).assert_forwarded();
        at_head(&mut vm, &request().bearer(&token("x"))).assert_refused(403, "scope_missing");
        at_head(&mut vm, &request()).assert_refused(401, "token_missing");
        let announced = request().header("content-length", "5").bearer(&good());
        assert_plain(&at_head(&mut vm, &announced), 400, None, "body_not_allowed");
        let following = Request::post("x").header(":method", method).bearer(&good());
        assert_plain(&vm.send(&following), 400, None, "body_not_allowed");
        at_head(&mut vm, &request().header("content-length", "0").bearer(&good())).assert_forwarded();
    }
}

#[test]
fn only_the_path_of_the_resource_is_served() {
    let mut vm = Vm::new(&load(&with(example(), "/paths", json!(["/messages"]))));
    for path in [
        "/",
        "",
        "/mcp//",
        "/MCP",
        "//mcp",
        "/mcp/x",
        "/%6dcp",
        "/mcp;x",
        "/./mcp",
        "/messages//",
        "/admin",
        "mcp",
        "*",
    ] {
        // Whoever asks: there is nothing to be had with a token either.
        for request in [Request::call("get").bearer(&good()), Request::call("get")] {
            let settled = at_head(&mut vm, &request.header(":path", path));
            assert_plain(&settled, 404, None, "unknown_path");
        }
    }
    for path in ["/mcp", "/mcp?session=1", "/mcp?", "/messages"] {
        vm.send(&Request::call("get").header(":path", path).bearer(&good())).assert_forwarded();
    }
}

#[test]
fn upgrades_overrides_and_tokens_in_the_query_are_refused() {
    let mut vm = vm();
    for (name, value, reason) in [
        ("upgrade", "websocket", "upgrade_not_allowed"),
        (":protocol", "websocket", "upgrade_not_allowed"),
        ("x-http-method-override", "DELETE", "method_override"),
        ("x-http-method", "DELETE", "method_override"),
        ("x-method-override", "DELETE", "method_override"),
        (":path", "/mcp?access_token=x", "token_in_query"),
        (":path", "/mcp?a=b&Access%5FToken=x", "token_in_query"),
    ] {
        for request in [Request::call("get").bearer(&good()), Request::bare("GET", "/mcp")] {
            assert_plain(&at_head(&mut vm, &request.header(name, value)), 400, None, reason);
        }
    }
}

#[test]
fn single_value_headers_come_once() {
    let mut vm = vm();
    let request = || Request::call("get").bearer(&good());
    for name in [
        "authorization",
        "origin",
        "content-type",
        "content-encoding",
        "content-length",
        "mcp-session-id",
        "mcp-method",
        "mcp-name",
        ":path",
        ":method",
        ":authority",
        "host",
    ] {
        let twice = request().another(name, "a").another(name, "a");
        assert_plain(&at_head(&mut vm, &twice), 400, None, "header_duplicated");
    }
    for (name, value) in [
        ("authorization", format!("Bearer {}, Bearer {}", good(), good())),
        ("authorization", format!("Basic abc, Bearer {}", good())),
        ("content-type", "application/json, application/json".into()),
        ("mcp-protocol-version", "2025-11-25,2026-07-28".into()),
        ("origin", "https://mcp.example.com, https://evil.example.com".into()),
    ] {
        assert_plain(&at_head(&mut vm, &request().header(name, value)), 400, None, "header_duplicated");
    }
}

#[test]
fn media_types_and_encodings_that_are_not_accepted() {
    let mut vm = vm();
    let request = || Request::call("get").bearer(&good());
    for media in ["text/plain", "application/json-rpc", "application/json; charset=latin1", ""] {
        assert_plain(&at_head(&mut vm, &request().header("content-type", media)), 400, Some(-32600), "content_type");
    }
    assert_plain(&at_head(&mut vm, &request().without("content-type")), 400, Some(-32600), "content_type");
    for coding in ["gzip", "br", "identity, gzip", "identity,identity"] {
        let encoded = request().header("content-encoding", coding);
        assert_plain(&at_head(&mut vm, &encoded), 400, Some(-32600), "content_encoding");
    }
    for (name, value) in [
        ("content-type", "application/json; charset=utf-8"),
        ("content-type", "Application/JSON"),
        ("content-encoding", "identity"),
    ] {
        vm.send(&request().header(name, value)).assert_forwarded();
    }
}

// Too large, internal.

#[test]
fn a_body_that_is_too_large_is_413_as_early_as_possible() {
    let mut vm = Vm::new(&load(&with(example(), "/limits", json!({ "request_body": "1KiB" }))));
    let padded = |bytes: usize| {
        let mut body =
            json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": { "name": "get" } }).to_string();
        body.push_str(&" ".repeat(bytes - body.len()));
        Request::post(body).bearer(&good())
    };
    vm.send(&padded(1024).header("content-length", "1024")).assert_forwarded();
    assert_plain(&vm.send(&padded(1025)), 413, Some(41300), "body_too_large");
    let announced = padded(1025).header("content-length", "1025");
    assert_plain(&at_head(&mut vm, &announced), 413, Some(41300), "body_too_large");
    // On a 32 bit machine, which WebAssembly is, the first of these is as good as the second.
    for length in ["5000000000", "99999999999999999999999"] {
        at_head(&mut vm, &padded(500).header("content-length", length)).assert_refused(413, "body_too_large");
    }
    for length in ["x", "-1", "+1", "1.5", "1 0"] {
        at_head(&mut vm, &padded(500).header("content-length", length)).assert_refused(400, "header_malformed");
    }
    let stream = vm.head(&padded(500));
    vm.body_fault(stream, BodyFault::TooLarge);
    assert_plain(&vm.settled(stream), 413, Some(41300), "body_too_large");
}

#[test]
fn a_body_the_host_cannot_read_is_our_fault_and_says_no_more() {
    let mut vm = vm();
    let stream = vm.head(&Request::call("get").bearer(&good()));
    vm.body_fault(stream, BodyFault::Unreadable);
    assert_plain(&vm.settled(stream), 500, Some(50001), "body_unreadable");
    assert_eq!(vm.settled(stream).answer().json()["error"]["message"], "internal error");
}

#[test]
fn a_post_without_a_body_is_no_frame() {
    let request = Request::bare("POST", "/mcp").header("content-type", "application/json").bearer(&good());
    let mut vm = vm();
    // The host has nothing more to say by itself.
    let stream = vm.head(&request);
    vm.settled(stream).assert_refused(400, "json_syntax");
}

#[test]
fn inputs_for_streams_that_were_settled_or_never_began_do_nothing() {
    let mut vm = vm();
    let stream = vm.head(&Request::call("get"));
    let before = vm.settled(stream).record;
    vm.body(stream, b"{}");
    vm.gone(stream);
    assert_eq!(vm.settled(stream).record, before);
    let never = step_up_core::StreamId(99);
    vm.body(never, b"{}");
    vm.gone(never);
    assert!(!vm.is_settled(never));
}

// What callers may not send upstream.

#[test]
fn headers_that_only_the_proxy_may_set_are_removed() {
    let mut vm = vm();
    let call = || Request::call("get").bearer(&good());
    assert!(vm.send(&call()).removed().is_empty());
    let unwanted = [
        "txn-token",
        "x-mcp-authorized",
        "x-envoy-retry-on",
        "x-envoy-retry-grpc-on",
        "x-envoy-hedge-on-per-try-timeout",
        "x-envoy-max-retries",
        "x-envoy-original-dst-host",
    ];
    for request in [call(), Request::bare("GET", "/mcp").bearer(&good())] {
        let request = unwanted.iter().fold(request, |request, name| request.header(name, "x"));
        let settled = vm.send(&request.header("x-envoy-external-address", "10.0.0.1").header("cookie", "a=b"));
        // P16: of a stream that may bring a list.
        let removed: Vec<&String> = settled.removed().iter().filter(|name| *name != "accept-encoding").collect();
        assert_eq!(removed, unwanted);
    }
}

/// Frameworks route by these in place of the path that was judged.
#[test]
fn a_path_in_a_header_is_refused() {
    let mut vm = vm();
    for name in ["x-original-url", "x-rewrite-url"] {
        for path in ["/admin", "/mcp", ""] {
            for request in [Request::call("get"), Request::bare("GET", "/mcp"), Request::bare("DELETE", "/mcp")] {
                let settled = at_head(&mut vm, &request.header(name, path).bearer(&good()));
                assert_plain(&settled, 400, None, "path_override");
            }
        }
    }
    vm.send(&Request::call("get").header("x-original-uri", "/admin").bearer(&good())).assert_forwarded();
}

/// A gateway behind us may go by them, and there is no body that they could agree with.
#[test]
fn a_stream_names_no_operation() {
    let mut vm = vm();
    for method in ["GET", "DELETE"] {
        for (name, value) in
            [("mcp-method", "tools/call"), ("mcp-method", "ping"), ("mcp-name", "shell"), ("mcp-name", "")]
        {
            let request = Request::bare(method, "/mcp").header("mcp-session-id", "s").header(name, value);
            let settled = at_head(&mut vm, &request.bearer(&good()));
            assert_plain(&settled, 400, Some(-32020), "header_mismatch");
        }
    }
}
