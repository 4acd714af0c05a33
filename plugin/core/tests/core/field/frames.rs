//! P29: frames and heads as clients send them.

use super::*;
use step_up_core::BodyFault;

fn vm() -> Vm {
    Vm::new(&load(&document(json!({ "get": { "scope": [] }, "shell": "deny" }))))
}

fn good() -> String {
    token(BASELINE)
}

fn body(text: &str) -> Request {
    Request::post(text).bearer(&good())
}

// The protocol version.

#[test]
fn p29_the_version_is_not_judged_on_initialize() {
    let mut vm = vm();
    let initialize = || Request::method("initialize", json!({ "protocolVersion": "x" })).bearer(&good());
    for version in ["2024-11-05", "2026-07-28", "2027-01-01", "DRAFT", ""] {
        vm.send(&initialize().header("mcp-protocol-version", version)).assert_forwarded();
    }
    vm.send(&initialize().without("mcp-protocol-version")).assert_forwarded();
    // Everything else is judged as ever.
    vm.send(&initialize().header("mcp-method", "ping")).assert_refused(400, "header_mismatch");
    vm.send(&initialize().header("mcp-name", "x")).assert_refused(400, "header_mismatch");
    let disagreeing = json!({ "_meta": { "io.modelcontextprotocol/protocolVersion": "2025-06-18" } });
    vm.send(&Request::method("initialize", disagreeing).bearer(&good())).assert_refused(400, "header_mismatch");
    let twice = initialize().another("mcp-protocol-version", "2025-06-18");
    vm.send(&twice).assert_refused(400, "header_duplicated");
    for method in ["Initialize", "ping", "notifications/initialized"] {
        let request = Request::method(method, json!({})).header("mcp-protocol-version", "2027-01-01");
        assert!(!vm.send(&request.bearer(&good())).is_forwarded(), "{method}");
    }
}

#[test]
fn p29_2024_11_05_is_a_legacy_revision() {
    let mut vm = vm();
    let old = |request: Request| request.header("mcp-protocol-version", "2024-11-05").bearer(&good());
    vm.send(&old(Request::call("get"))).assert_forwarded();
    vm.send(&old(Request::bare("GET", "/mcp"))).assert_forwarded();
    vm.send(&old(Request::method("com.example/run", json!({})))).assert_refused(200, "unknown_method");
    vm.send(&old(Request::notification("notifications/x"))).assert_refused(202, "dropped");
    vm.send(&old(body(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#))).assert_forwarded();
}

#[test]
fn p29_equal_versions_count_as_one() {
    let mut vm = vm();
    let call = || Request::call("get").bearer(&good()).without("mcp-protocol-version");
    let with =
        |values: &[&str]| values.iter().fold(call(), |request, value| request.another("mcp-protocol-version", value));
    for values in [
        &["2025-06-18, 2025-06-18"][..],
        &["2025-06-18,2025-06-18,2025-06-18"],
        &["2025-06-18 ,\t2025-06-18"],
        &["2025-06-18", "2025-06-18"],
        &["2025-06-18,2025-06-18", "2025-06-18"],
    ] {
        let settled = vm.send(&with(values));
        settled.assert_forwarded();
        assert_eq!(settled.record["protocol"], "2025-06-18", "{values:?}");
    }
    for values in [
        &["2025-06-18, 2025-11-25"][..],
        &["2025-06-18", "2025-11-25"],
        &["2025-06-18,"],
        &[",2025-06-18"],
        &["2025-06-18,2025-06-18", "2025-11-25"],
        &["2025-06-18", ""],
    ] {
        vm.send(&with(values)).assert_refused(400, "header_duplicated");
    }
    for values in [&["2027-01-01, 2027-01-01"][..], &["2027-01-01", "2027-01-01"]] {
        let settled = vm.send(&with(values));
        settled.assert_refused(400, "protocol_version");
        assert_eq!(settled.answer().json()["error"]["data"]["requested"], "2027-01-01");
    }
    // The body has to agree with the one.
    let doubled = Request::modern_call("get").header("mcp-protocol-version", "2026-07-28,2026-07-28");
    vm.send(&doubled.bearer(&good())).assert_forwarded();
}

// Members that are null.

#[test]
fn p29_params_that_are_null_are_absent_where_none_are_needed() {
    let mut vm = vm();
    let frame = |method: &str, id: &str| format!(r#"{{"jsonrpc":"2.0",{id}"method":"{method}","params":null}}"#);
    for method in ["ping", "tools/list", "prompts/list", "resources/list", "resources/templates/list"] {
        vm.send(&body(&frame(method, r#""id":1,"#))).assert_forwarded();
    }
    for method in ["notifications/initialized", "notifications/roots/list_changed"] {
        vm.send(&body(&frame(method, ""))).assert_forwarded();
    }
    for method in [
        "initialize",
        "tools/call",
        "prompts/get",
        "resources/read",
        "resources/subscribe",
        "completion/complete",
        "logging/setLevel",
        "subscriptions/listen",
    ] {
        vm.send(&body(&frame(method, r#""id":1,"#))).assert_refused(400, "params_invalid");
    }
    vm.send(&body(&frame("notifications/progress", ""))).assert_refused(400, "params_invalid");
    // In 2026-07-28 every request needs some.
    let modern = body(&frame("tools/list", r#""id":1,"#)).header("mcp-protocol-version", "2026-07-28");
    vm.send(&modern.header("mcp-method", "tools/list")).assert_refused(400, "params_invalid");
    for other in ["[]", "0", "false", "\"\""] {
        let frame = frame("ping", r#""id":1,"#).replace("null", other);
        vm.send(&body(&frame)).assert_refused(400, "params_invalid");
    }
}

#[test]
fn p29_meta_that_is_null_is_absent() {
    let mut vm = vm();
    let frame =
        |method: &str, params: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
    vm.send(&body(&frame("ping", r#"{"_meta":null}"#))).assert_forwarded();
    vm.send(&body(&frame("tools/call", r#"{"name":"get","_meta":null}"#))).assert_forwarded();
    vm.send(&body(&frame("tools/call", r#"{"name":"shell","_meta":null}"#))).assert_refused(403, "denied");
    vm.send(&body(&frame("ping", r#"{"_meta":[]}"#))).assert_refused(400, "params_invalid");
    let modern = body(&frame("tools/list", r#"{"_meta":null}"#)).header("mcp-protocol-version", "2026-07-28");
    vm.send(&modern.header("mcp-method", "tools/list")).assert_refused(400, "params_invalid");
}

#[test]
fn p29_a_null_member_is_absent_where_one_reading_is_left() {
    let mut vm = vm();
    for frame in [
        // Responses.
        r#"{"jsonrpc":"2.0","id":1,"result":{},"error":null}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":null}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":null,"error":{"code":1,"message":"no"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":null,"params":null,"result":{},"error":null}"#,
        // Requests and notifications.
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":null}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","error":null}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":null,"result":null,"error":null}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/initialized","result":null,"error":null}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get"},"error":null}"#,
    ] {
        let settled = vm.send(&body(frame));
        assert!(settled.is_forwarded(), "{frame}: {}", settled.record);
    }
    let denied = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"shell"},"result":null}"#;
    vm.send(&body(denied)).assert_refused(403, "denied");
    for (reason, frame) in [
        ("frame_id", r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#),
        ("frame_id", r#"{"jsonrpc":"2.0","id":null,"method":"notifications/initialized"}"#),
        ("frame_id", r#"{"jsonrpc":"2.0","id":null,"result":{}}"#),
        // Neither is said, or it is not known which.
        ("frame_shape", r#"{"jsonrpc":"2.0","id":1,"error":null}"#),
        ("frame_shape", r#"{"jsonrpc":"2.0","id":1,"result":null,"error":null}"#),
        ("frame_shape", r#"{"jsonrpc":"2.0","id":1,"method":null}"#),
        ("frame_shape", r#"{"jsonrpc":"2.0","id":1,"method":null,"error":null}"#),
        ("frame_shape", r#"{"jsonrpc":null,"id":1,"method":"ping"}"#),
        ("frame_shape", r#"{"jsonrpc":"2.0","result":null}"#),
        // Two are said.
        ("frame_shape", r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#),
        ("frame_shape", r#"{"jsonrpc":"2.0","id":1,"method":"ping","error":false}"#),
        ("frame_shape", r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":null,"error":{}}"#),
        ("frame_shape", r#"{"jsonrpc":"2.0","id":1,"result":{},"error":false}"#),
        ("frame_shape", r#"{"jsonrpc":"2.0","id":1,"result":{},"params":{}}"#),
        ("duplicate_key", r#"{"jsonrpc":"2.0","id":1,"result":{},"error":null,"error":{}}"#),
        ("folded_key", r#"{"jsonrpc":"2.0","id":1,"result":{},"Error":null}"#),
    ] {
        let settled = vm.send(&body(frame));
        assert_eq!((settled.answer().status, settled.reason()), (400, reason), "{frame}");
    }
    // Batches stay refused.
    vm.send(&body(r#"[{"jsonrpc":"2.0","id":1,"method":"ping","error":null}]"#)).assert_refused(400, "batch");
}

#[test]
fn p29_a_response_needs_no_session_in_revisions_that_do_without() {
    let mut vm = vm();
    let response =
        |version: &str| body(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#).header("mcp-protocol-version", version);
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        vm.send(&response(version)).assert_forwarded();
        vm.send(&response(version).header("mcp-session-id", "")).assert_forwarded();
        vm.send(&response(version).header("mcp-session-id", "s")).assert_forwarded();
    }
    vm.send(&response("2025-11-25").without("mcp-protocol-version")).assert_forwarded();
    vm.send(&response("2026-07-28")).assert_refused(400, "response_not_allowed");
    vm.send(&response("2026-07-28").header("mcp-session-id", "s")).assert_refused(400, "response_not_allowed");
    vm.send(&response("2027-01-01")).assert_refused(400, "protocol_version");
    vm.send(&response("2025-11-25").without("authorization")).assert_refused(401, "token_missing");
}

// Heads.

#[test]
fn p29_a_stream_is_refused_for_a_body_at_its_first_byte() {
    for method in ["GET", "DELETE"] {
        let mut vm = vm();
        let late = || Request::bare(method, "/mcp").bearer(&good()).ending_late();
        let stream = vm.head(&late());
        assert!(!vm.is_settled(stream), "its end is still to come");
        assert_eq!(vm.body_limit(stream), 0);
        vm.body(stream, b"");
        vm.settled(stream).assert_forwarded();

        let stream = vm.head(&late());
        vm.body_fault(stream, BodyFault::TooLarge);
        vm.settled(stream).assert_refused(400, "body_not_allowed");
        let stream = vm.head(&late());
        vm.body(stream, b"x");
        vm.settled(stream).assert_refused(400, "body_not_allowed");
        assert_eq!(vm.counted("body_not_allowed"), 2);

        // Who it is is known at the head.
        let stream = vm.head(&late().without("authorization"));
        vm.settled(stream).assert_refused(401, "token_missing");
        let stream = vm.head(&late().header("content-length", "1"));
        vm.settled(stream).assert_refused(400, "body_not_allowed");
        let stream = vm.head(&late());
        vm.pass(11_000);
        vm.settled(stream).assert_refused(408, "body_timeout");
    }
    let mut vm = vm();
    let stream = vm.head(&Request::call("get").bearer(&good()));
    assert_eq!(vm.body_limit(stream), 1024 * 1024);
}

#[test]
fn p29_only_headers_that_are_read_must_be_text() {
    let mut vm = vm();
    let call = || Request::call("get").bearer(&good());
    for name in ["x-user-name", "user-agent", "cookie", "x-http-method-overridden", "te"] {
        vm.send(&call().header(name, b"J\xfcrgen")).assert_forwarded();
    }
    for name in [
        ":path",
        "authorization",
        "origin",
        "content-type",
        "content-encoding",
        "content-length",
        "mcp-protocol-version",
        "mcp-session-id",
        "mcp-method",
        "mcp-name",
        "x-request-id",
        "traceparent",
        "upgrade",
        "connection",
    ] {
        // A second for each, so that no record is suppressed.
        vm.pass(1_000);
        vm.send(&call().header(name, b"a\xff")).assert_refused(400, "header_malformed");
    }
    // Their values are not read, and they are seen all the same.
    vm.send(&call().header("x-http-method-override", b"\xff")).assert_refused(400, "method_override");
    let removed = vm.send(&call().header("txn-token", b"\xff"));
    assert_eq!(removed.removed(), ["txn-token"]);
}

#[test]
fn p29_a_head_without_a_token_gets_the_challenge() {
    let mut vm = vm();
    let settled = vm.send(&Request::bare("HEAD", "/mcp"));
    settled.assert_refused(401, "token_missing");
    assert!(settled.challenge().is_some_and(|challenge| challenge.contains("resource_metadata=")));
    for version in ["2026-07-28", "2027-01-01"] {
        vm.send(&Request::bare("HEAD", "/mcp").header("mcp-protocol-version", version))
            .assert_refused(401, "token_missing");
    }
    vm.send(&Request::bare("HEAD", "/mcp").bearer(&good())).assert_refused(405, "method_not_allowed");
    vm.send(&Request::bare("HEAD", "/mcp").bearer("x")).assert_refused(405, "method_not_allowed");
    vm.send(&Request::bare("HEAD", "/other")).assert_refused(404, "unknown_path");
    vm.send(&Request::bare("HEAD", "/mcp").header("origin", "https://evil.example.com"))
        .assert_refused(403, "origin_not_allowed");
    vm.send(&Request::bare("HEAD", "/mcp?access_token=x")).assert_refused(400, "token_in_query");
}

#[test]
fn p29_the_id_of_a_session_may_hold_a_comma() {
    let mut vm = vm();
    vm.send(&Request::call("get").bearer(&good()).header("mcp-session-id", "node-1,s-2")).assert_forwarded();
    let twice = Request::call("get").bearer(&good()).another("mcp-session-id", "a").another("mcp-session-id", "b");
    vm.send(&twice).assert_refused(400, "header_duplicated");
}

#[test]
fn p29_a_head_with_other_credentials_has_no_token_either() {
    let settled = vm().send(&Request::bare("HEAD", "/mcp").header("authorization", "Basic YTpi"));
    settled.assert_refused(401, "scheme_not_bearer");
    assert!(settled.challenge().is_some());
}
