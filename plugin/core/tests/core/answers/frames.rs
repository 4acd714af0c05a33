//! Frames, unknown methods and notifications.

use super::*;

// Frames.

#[test]
fn bodies_that_are_no_frame_are_refused() {
    let deep =
        format!(r#"{{"jsonrpc":"2.0","id":7,"method":"ping","params":{{"a":{}1{}}}}}"#, "[".repeat(70), "]".repeat(70));
    // Reason, code, is the id told?
    let cases: &[(&str, i64, Option<i64>, &[u8])] = &[
        ("not_utf8", -32700, None, b"{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"\xff\"}"),
        ("json_syntax", -32700, None, b""),
        ("json_syntax", -32700, None, b"{"),
        ("json_syntax", -32700, None, b"\xef\xbb\xbf{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"ping\"}"),
        ("json_syntax", -32700, None, br#"{"jsonrpc":"2.0","id":7,"method":"ping"}{}"#),
        ("json_syntax", -32700, None, br#"{"jsonrpc":"2.0","id":7,"method":"ping"} x"#),
        ("json_syntax", -32700, None, br#"{"jsonrpc":"2.0","id":7,"method":"ping","params":{"a":NaN}}"#),
        ("duplicate_key", -32600, None, br#"{"jsonrpc":"2.0","id":7,"method":"ping","method":"tools/call"}"#),
        ("duplicate_key", -32600, None, br#"{"jsonrpc":"2.0","id":7,"id":8,"method":"ping"}"#),
        (
            "duplicate_key",
            -32600,
            None,
            br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"get","n\u0061me":"shell"}}"#,
        ),
        (
            "duplicate_key",
            -32600,
            None,
            br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"get","arguments":{"a":1,"a":2}}}"#,
        ),
        ("too_deep", -32600, None, deep.as_bytes()),
        ("batch", -32600, None, br#"[{"jsonrpc":"2.0","id":7,"method":"ping"}]"#),
        ("batch", -32600, None, b"[]"),
        ("frame_shape", -32600, None, b"null"),
        ("frame_shape", -32600, None, b"\"ping\""),
        ("frame_shape", -32600, None, b"{}"),
        ("frame_shape", -32600, Some(7), br#"{"id":7,"method":"ping"}"#),
        ("frame_shape", -32600, Some(7), br#"{"jsonrpc":"1.0","id":7,"method":"ping"}"#),
        ("frame_shape", -32600, Some(7), br#"{"jsonrpc":2.0,"id":7,"method":"ping"}"#),
        ("frame_shape", -32600, Some(7), br#"{"jsonrpc":"2.0","id":7}"#),
        ("frame_shape", -32600, Some(7), br#"{"jsonrpc":"2.0","id":7,"method":1}"#),
        ("frame_shape", -32600, Some(7), br#"{"jsonrpc":"2.0","id":7,"method":"notifications/initialized"}"#),
        ("frame_shape", -32600, Some(7), br#"{"jsonrpc":"2.0","id":7,"method":"ping","result":{}}"#),
        ("frame_shape", -32600, None, br#"{"jsonrpc":"2.0","id":7,"result":{},"error":{}}"#),
        ("frame_shape", -32600, None, br#"{"jsonrpc":"2.0","id":7,"result":{},"params":{}}"#),
        ("frame_shape", -32600, None, br#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"get"}}"#),
        ("frame_shape", -32600, None, br#"{"jsonrpc":"2.0","method":"ping"}"#),
        ("frame_shape", -32600, None, br#"{"jsonrpc":"2.0","result":{}}"#),
        ("frame_id", -32600, None, br#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#),
        ("frame_id", -32600, None, br#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#),
        ("frame_id", -32600, None, br#"{"jsonrpc":"2.0","id":7.0,"method":"ping"}"#),
        ("frame_id", -32600, None, br#"{"jsonrpc":"2.0","id":[7],"method":"ping"}"#),
        ("frame_id", -32600, None, br#"{"jsonrpc":"2.0","id":9007199254740993,"method":"ping"}"#),
        ("folded_key", -32600, None, br#"{"jsonrpc":"2.0","id":7,"method":"ping","Method":"tools/call"}"#),
        ("folded_key", -32600, None, br#"{"jsonrpc":"2.0","id":7,"ID":8,"method":"ping"}"#),
        (
            "folded_key",
            -32600,
            Some(7),
            br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"get","Name":"shell"}}"#,
        ),
        (
            "folded_key",
            -32600,
            None,
            "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/call\",\"param\u{17f}\":{\"name\":\"shell\"}}".as_bytes(),
        ),
        (
            "folded_key",
            -32600,
            Some(7),
            br#"{"jsonrpc":"2.0","id":7,"method":"ping","params":{"_meta":{"IO.modelcontextprotocol/protocolVersion":"x"}}}"#,
        ),
        ("params_invalid", -32602, Some(7), br#"{"jsonrpc":"2.0","id":7,"method":"ping","params":[]}"#),
        ("params_invalid", -32602, Some(7), br#"{"jsonrpc":"2.0","id":7,"method":"ping","params":{"_meta":1}}"#),
        ("params_invalid", -32602, Some(7), br#"{"jsonrpc":"2.0","id":7,"method":"tools/call"}"#),
        ("params_invalid", -32602, Some(7), br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{}}"#),
        ("params_invalid", -32602, Some(7), br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":["get"]}}"#),
    ];
    let mut vm = vm();
    for (reason, code, id, body) in cases {
        let settled = vm.send(&Request::post(body).bearer(&good()));
        let text = String::from_utf8_lossy(body);
        assert_eq!((settled.answer().status, settled.reason()), (400, *reason), "{text}");
        assert_eq!((settled.answer().code(), settled.challenge()), (Some(*code), None), "{text}");
        assert_eq!(settled.answer().json().get("id"), id.map(Json::from).as_ref(), "{text}");
    }
}

#[test]
fn ids_come_back_as_they_were() {
    let mut vm = vm();
    let long = "x".repeat(256);
    for id in [json!(0), json!(-5), json!(1_i64 << 53), json!("a"), json!(""), json!("7"), json!("é\"\\"), json!(long)]
    {
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "shell" } });
        let settled = vm.send(&Request::post(body.to_string()).bearer(&good()));
        assert_eq!(settled.answer().json()["id"], id);
    }
    let body = json!({ "jsonrpc": "2.0", "id": "x".repeat(257), "method": "ping" });
    vm.send(&Request::post(body.to_string()).bearer(&good())).assert_refused(400, "frame_id");
}

#[test]
fn headers_and_body_must_agree_in_every_era() {
    let mut vm = vm();
    let name = |value: &str| Request::call("get").header("mcp-name", value);
    let modern = || Request::modern_call("get");
    for request in [
        Request::call("get").header("mcp-method", "tools/list"),
        Request::call("get").header("mcp-method", "Tools/Call"),
        name("put"),
        name("Get"),
        name("=?base64?cHV0?="),
        name("=?base64?Z2V0"),
        name("=?base64?Z2V?="),
        name("=?base64?/w==?="),
        name("=?BASE64?Z2V0?="),
        modern().header("mcp-name", "put"),
        modern().header("mcp-method", "tools/list"),
        modern().header("mcp-protocol-version", "2025-11-25"),
        modern().without("mcp-protocol-version"),
        Request::modern("ping", json!({})).header("mcp-name", "x"),
    ] {
        let settled = vm.send(&request.clone().bearer(&good()));
        settled.assert_refused(400, "header_mismatch");
        assert_eq!((settled.answer().code(), &settled.answer().json()["id"]), (Some(-32020), &json!(7)), "{request:?}");
    }
    for request in [
        name("get"),
        name("=?base64?Z2V0?="),
        Request::call("get").header("mcp-method", "tools/call"),
        modern(),
        modern().header("mcp-name", "=?base64?Z2V0?="),
        Request::modern("tools/list", json!({})),
    ] {
        vm.send(&request.bearer(&good())).assert_forwarded();
    }
}

#[test]
fn the_modern_revision_requires_its_headers_and_metadata() {
    let mut vm = vm();
    for name in ["mcp-name", "mcp-method"] {
        let settled = vm.send(&Request::modern_call("get").without(name).bearer(&good()));
        settled.assert_refused(400, "header_missing");
        assert_eq!((settled.answer().code(), &settled.answer().json()["id"]), (Some(-32020), &json!(7)));
    }
    let without_meta = Request::call("get")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", "get");
    let settled = vm.send(&without_meta.bearer(&good()));
    settled.assert_refused(400, "params_invalid");
    assert_eq!(settled.answer().code(), Some(-32602));
}

#[test]
fn an_unsupported_version_is_told_which_are() {
    let mut vm = vm();
    // Of those that a request can say of itself.
    let supported = json!(["2026-07-28"]);
    for version in ["2024-10-07", "2027-01-01", "1", ""] {
        let settled = vm.send(&Request::call("get").header("mcp-protocol-version", version).bearer(&good()));
        settled.assert_refused(400, "protocol_version");
        let answer = settled.answer().json();
        assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(-32022), &json!(7)));
        assert_eq!(answer["error"]["data"]["supported"], supported);
        assert_eq!(answer["error"]["data"]["requested"], version);
    }
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        vm.send(&Request::call("get").header("mcp-protocol-version", version).bearer(&good())).assert_forwarded();
    }
    vm.send(&Request::call("get").without("mcp-protocol-version").bearer(&good())).assert_forwarded();
}

#[test]
fn an_unsupported_version_of_a_stream_is_told_which_are_too() {
    let request = Request::bare("GET", "/mcp").header("mcp-protocol-version", "2027-01-01").bearer(&good());
    let settled = vm().send(&request);
    settled.assert_refused(400, "protocol_version");
    assert_eq!(settled.answer().json()["error"]["data"]["requested"], "2027-01-01");
}

// Unknown methods and notifications.

#[test]
fn an_unknown_method_is_404_in_the_modern_era_and_200_in_the_legacy_one() {
    let mut vm = vm();
    let modern = vm.send(&Request::modern("tasks/get", json!({})).bearer(&good()));
    assert_eq!((modern.answer().status, modern.answer().code()), (404, Some(-32601)));
    assert_eq!(modern.answer().json()["id"], 7);
    for request in [
        Request::method("tasks/get", json!({})),
        Request::method("tasks/get", json!({})).without("mcp-protocol-version"),
        Request::method("tasks/get", json!({})).header("mcp-session-id", "s"),
    ] {
        let legacy = vm.send(&request.bearer(&good()));
        legacy.assert_refused(200, "unknown_method");
        assert_eq!((legacy.answer().code(), legacy.challenge()), (Some(-32601), None));
        assert_eq!(legacy.answer().json()["id"], 7, "a 404 would mean that the session is gone");
        assert_eq!(legacy.answer().header("content-type"), Some("application/json"));
    }
}

#[test]
fn an_unknown_legacy_notification_is_accepted_and_goes_nowhere() {
    let mut vm = vm();
    let settled = vm.send(&Request::notification("notifications/unheard_of").bearer(&good()));
    assert_eq!((settled.answer().status, settled.answer().body.len()), (202, 0));
    assert_eq!((settled.reason(), &settled.record["verdict"]), ("dropped", &json!("answer")));
    vm.send(&Request::notification("notifications/unheard_of").bearer(&token("x")))
        .assert_refused(403, "scope_missing");

    let frame = json!({ "jsonrpc": "2.0", "method": "notifications/unheard_of" });
    let modern = Request::post(frame.to_string()).header("mcp-protocol-version", "2026-07-28");
    let settled = vm.send(&modern.bearer(&good()));
    settled.assert_refused(404, "unknown_method");
    assert_eq!(settled.answer().json().get("id"), None);
}

#[test]
fn a_refused_notification_has_no_id() {
    let settled = vm().send(&Request::notification("notifications/initialized").bearer(&token("x")));
    settled.assert_refused(403, "scope_missing");
    assert_eq!(settled.answer().json().get("id"), None);
}

#[test]
fn responses_pass_in_legacy_revisions_only() {
    let mut vm = vm();
    let body = json!({ "jsonrpc": "2.0", "id": 7, "result": {} }).to_string();
    let response = || Request::post(&body).bearer(&good());
    let session = || response().header("mcp-session-id", "s");
    vm.send(&session()).assert_forwarded();
    let error = json!({ "jsonrpc": "2.0", "id": "a", "error": { "code": 1, "message": "no" } }).to_string();
    vm.send(&Request::post(error).bearer(&good()).header("mcp-session-id", "s")).assert_forwarded();
    vm.send(&session().bearer(&token("x"))).assert_refused(403, "scope_missing");
    vm.send(&response()).assert_forwarded();
    for request in [
        session().header("mcp-protocol-version", "2026-07-28"),
        session().header("mcp-method", "tools/call"),
        session().header("mcp-name", "get"),
    ] {
        vm.send(&request).assert_refused(400, "response_not_allowed");
    }
}

#[test]
fn a_refused_response_is_not_answered_under_its_id() {
    // The id is the server's: to the client it would look like the answer to a request of its own.
    let body = json!({ "jsonrpc": "2.0", "id": 7, "result": {} }).to_string();
    let settled = vm().send(&Request::post(&body).header("mcp-method", "ping").bearer(&good()));
    settled.assert_refused(400, "response_not_allowed");
    assert_eq!(settled.answer().json().get("id"), None);
}
