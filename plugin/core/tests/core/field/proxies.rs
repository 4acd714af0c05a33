//! What the proxy and its other filters do (P42), and credentials beside the token (P41).

use super::*;

fn vm(more: Json) -> Vm {
    Vm::new(&load(&saying(more)))
}

fn saying(more: Json) -> Json {
    let mut document = document(json!({ "get": { "scope": [] }, "shell": "deny" }));
    for (name, value) in more.as_object().expect("a map") {
        document[name] = value.clone();
    }
    document
}

fn call() -> Request {
    Request::call("get").bearer(&token(BASELINE))
}

#[test]
fn p42_an_upgrade_that_may_be_ignored_is_taken_out() {
    let mut vm = vm(json!({}));
    /// Headers; those that are taken out; what is left of `connection`.
    type Case<'c> = (&'c [(&'c str, &'c str)], &'c [&'c str], Option<&'c str>);
    let upgrades: &[Case<'_>] = &[
        (&[("upgrade", "TLS/1.2"), ("connection", "Upgrade")], &["connection", "upgrade"], None),
        (&[("upgrade", "TLS/1.2"), ("connection", "upgrade, keep-alive")], &["upgrade"], Some("keep-alive")),
        (
            &[("upgrade", "h2c"), ("http2-settings", "AAMAAABk"), ("connection", "Upgrade, HTTP2-Settings")],
            &["connection", "http2-settings", "upgrade"],
            None,
        ),
        (&[("upgrade", "foo, bar/2")], &["upgrade"], None),
        (&[("upgrade", "")], &["upgrade"], None),
        (&[("connection", "a,UPGRADE ,\tb")], &[], Some("a, b")),
        (&[("connection", "keep-alive")], &[], None),
        (&[("http2-settings", "AAMAAABk")], &["http2-settings"], None),
        (&[("upgrade", "xwebsocket, websockets, web/socket")], &["upgrade"], None),
    ];
    for (headers, removed, connection) in upgrades {
        for request in [call(), Request::bare("GET", "/mcp").bearer(&token(BASELINE))] {
            let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
            let stream = vm.head(&request);
            if !vm.is_settled(stream) {
                vm.body(stream, request.body());
            }
            let settled = vm.settled(stream);
            let mut taken: Vec<&str> = settled.removed().iter().map(String::as_str).collect();
            // P16: of a stream that may bring a list.
            taken.retain(|name| *name != "accept-encoding");
            taken.sort_unstable();
            assert_eq!((&*taken, vm.connection(stream)), (*removed, *connection), "{headers:?}");
        }
    }
    let lines = call().another("connection", "Upgrade").another("connection", "te").another("upgrade", "h2c");
    let stream = vm.head(&lines.another("upgrade", "TLS/1.2"));
    vm.body(stream, call().body());
    assert_eq!((vm.settled(stream).removed(), vm.connection(stream)), (&["upgrade".to_owned()][..], Some("te")));
}

#[test]
fn p42_an_upgrade_that_leads_away_is_refused() {
    let mut vm = vm(json!({}));
    for value in ["websocket", "WebSocket", "h2c, websocket", "TLS/1.2,\twebsocket", "websocket/13", " websocket /13"] {
        // A second for each, so that no record is suppressed.
        vm.pass(1_000);
        vm.send(&call().header("upgrade", value)).assert_refused(400, "upgrade_not_allowed");
    }
    vm.send(&call().another("upgrade", "h2c").another("upgrade", "websocket"))
        .assert_refused(400, "upgrade_not_allowed");
    for value in ["websocket", "connect-udp", ""] {
        vm.pass(1_000);
        vm.send(&call().header(":protocol", value)).assert_refused(400, "upgrade_not_allowed");
    }
    let connect = || Request::bare("CONNECT", "/mcp").bearer(&token(BASELINE));
    vm.send(&connect().header(":protocol", "websocket")).assert_refused(400, "upgrade_not_allowed");
    for request in [connect(), connect().without(":path"), connect().without("authorization").without(":path")] {
        let settled = vm.send(&request);
        settled.assert_refused(405, "method_not_allowed");
        assert_eq!(settled.challenge(), None);
    }
}

#[test]
fn p42_a_token_that_another_filter_took_is_no_reason_to_log_in() {
    let mut vm = vm(json!({}));
    for request in [Request::call("get"), Request::bare("GET", "/mcp"), Request::bare("HEAD", "/mcp")] {
        let settled = vm.send(&request.clone().with_token_removed());
        settled.assert_refused(500, "token_removed");
        assert_eq!((settled.challenge(), settled.answer().code()), (None, Some(50001)));
        vm.send(&request).assert_refused(401, "token_missing");
    }
    // What else is wrong comes first, as ever, and no metadata document needs a token.
    let removed = || Request::call("get").with_token_removed();
    vm.send(&removed().header("origin", "https://evil.example.com")).assert_refused(403, "origin_not_allowed");
    vm.send(&removed().header(":path", "/other")).assert_refused(404, "unknown_path");
    vm.send(&removed().header("authorization", "Basic x")).assert_refused(401, "scheme_not_bearer");
    let metadata = Request::bare("GET", "/.well-known/oauth-protected-resource/mcp").with_token_removed();
    assert_eq!(vm.send(&metadata).reason(), "metadata");
}

#[test]
fn p42_how_long_a_token_may_be() {
    let long = |bytes: usize| {
        let padded = |fill: usize| Token::new(BASELINE).claim("x", "a".repeat(fill)).text();
        let mut fill = (bytes - padded(0).len()) * 3 / 4;
        while padded(fill).len() < bytes {
            fill += 1;
        }
        padded(fill)
    };
    let call = |token: &str| Request::call("get").bearer(token);
    let size = long(20 * 1024);
    let mut standard = vm(json!({}));
    let settled = standard.send(&call(&size));
    settled.assert_refused(431, "token_too_large");
    assert_eq!((settled.challenge(), settled.answer().code()), (None, Some(40101)));
    let mut longer = vm(json!({ "limits": { "token": "32KiB" } }));
    longer.send(&call(&size)).assert_forwarded();
    longer.send(&call(&size)).assert_forwarded();
    longer.send(&call(&long(33 * 1024))).assert_refused(431, "token_too_large");
    let mut most = vm(json!({ "limits": { "token": "60KiB" } }));
    most.send(&call(&long(59 * 1024))).assert_forwarded();
    most.send(&call(&long(61 * 1024))).assert_refused(431, "token_too_large");
    let mut short = vm(json!({ "limits": { "token": "1KiB" } }));
    short.send(&call(&token(BASELINE))).assert_forwarded();
    short.send(&call(&long(2 * 1024))).assert_refused(431, "token_too_large");
    for size in [json!("61KiB"), json!("1MiB"), json!("0KiB"), json!(1024), json!("16KB")] {
        assert_faulty(&saying(json!({ "limits": { "token": size } })), &["limits.token"]);
    }
}

#[test]
fn p42_every_answer_says_in_its_details_what_the_client_is_told() {
    let mut vm = vm(json!({}));
    let details = |settled: &Settled| settled.answer().details.clone();
    for (request, expected) in [
        (Request::call("get"), "stepup:token_missing"),
        (Request::call("shell").bearer(&token(BASELINE)), "stepup:not_allowed"),
        (Request::call("none").bearer(&token(BASELINE)), "stepup:not_allowed"),
        (call().bearer(&token("x")), "stepup:scope_missing"),
        (call().with_body(b"{".to_vec()), "stepup:json_syntax"),
        (Request::notification("notifications/x").bearer(&token(BASELINE)), "stepup:dropped"),
        (Request::bare("GET", "/.well-known/oauth-protected-resource"), "stepup:metadata"),
        (Request::call("get").with_token_removed(), "stepup:token_removed"),
    ] {
        assert_eq!(details(&vm.send(&request)), expected);
    }
}

#[test]
fn p41_headers_that_a_server_must_not_see() {
    let mut vm = vm(json!({ "remove_headers": ["x-api-key", "X-Forwarded-Access-Token", "cookie"] }));
    let with = |request: Request| {
        request.header("x-api-key", "mine").header("x-forwarded-access-token", b"\xff").header("x-other", "x")
    };
    for request in [call(), Request::bare("GET", "/mcp").bearer(&token(BASELINE))] {
        let settled = vm.send(&with(request));
        assert_eq!(settled.removed().get(..2).unwrap(), ["x-api-key", "x-forwarded-access-token"]);
    }
    // They go on where nobody says that they must not: with the caller's own token.
    let mut open = self::vm(json!({}));
    let others = ["x-upstream-authorization", "x-forwarded-access-token", "proxy-authorization"];
    let request = others.iter().fold(with(call()), |request, name| request.header(name, "x"));
    assert!(open.send(&request).removed().is_empty());
}

#[test]
fn p41_what_the_server_needs_cannot_be_removed() {
    for name in [
        "authorization",
        "Authorization",
        "host",
        "content-type",
        "Content-Length",
        "content-x",
        "mcp-session-id",
        "Mcp-Name",
        ":path",
        ":authority",
        "",
        "a b",
        "a:",
        "x-*",
        "x-\u{e9}",
    ] {
        assert_faulty(&saying(json!({ "remove_headers": [name] })), &["remove_headers[0]"]);
    }
    assert_faulty(&saying(json!({ "remove_headers": ["x-a", "X-A"] })), &["remove_headers[1]"]);
    assert_faulty(&saying(json!({ "remove_headers": [] })), &["remove_headers"]);
    assert_faulty(&saying(json!({ "remove_headers": "x-a" })), &["remove_headers"]);
}

#[test]
fn p42_an_upgrade_that_leads_away_is_one_wherever_it_leads() {
    let mut vm = vm(json!({}));
    vm.send(&Request::bare("GET", "/other").header("upgrade", "websocket")).assert_refused(400, "upgrade_not_allowed");
    vm.send(&Request::bare("CONNECT", "/other").header(":protocol", "websocket"))
        .assert_refused(400, "upgrade_not_allowed");
    vm.send(&Request::bare("CONNECT", "/other")).assert_refused(405, "method_not_allowed");
}

#[test]
fn p42_the_length_of_a_token_comes_before_its_characters() {
    let mut vm = vm(json!({ "limits": { "token": "1KiB" } }));
    let settled = vm.send(&Request::call("get").header("authorization", format!("Bearer {} \u{e9}", "a".repeat(1025))));
    settled.assert_refused(431, "token_too_large");
    assert_eq!(settled.challenge(), None);
}
