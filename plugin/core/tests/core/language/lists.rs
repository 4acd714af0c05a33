//! P16: what lists show.

use super::*;

fn tools(names: &[&str]) -> Json {
    names.iter().map(|name| json!({ "name": name, "inputSchema": { "type": "object" } })).collect()
}

fn answer(list: &str, items: Json) -> String {
    json!({ "jsonrpc": "2.0", "id": 7, "result": { list: items, "nextCursor": "c" } }).to_string()
}

/// What a caller with this token gets of a list.
#[track_caller]
fn shown(document: &Json, request: &Request, body: &str) -> Json {
    let mut vm = Vm::new(&load(document));
    let stream = vm.head(request);
    vm.body(stream, request.body());
    let settled = vm.settled(stream);
    assert!(settled.removed().contains(&"accept-encoding".to_owned()), "it must be readable");
    vm.response(stream, ResponseHead { status: 200, content_type: JSON, ..ResponseHead::default() });
    vm.response_body(stream, Ok(body.as_bytes()));
    serde_json::from_str(vm.given(stream).expect("a list").text()).unwrap()
}

fn names(list: &Json, kind: &str, key: &str) -> Vec<String> {
    list["result"][kind].as_array().unwrap().iter().map(|item| item[key].as_str().unwrap().to_owned()).collect()
}

fn list(method: &str) -> Request {
    Request::method(method, json!({})).bearer(&token(BASELINE))
}

#[test]
fn p16_a_list_shows_what_could_be_reached() {
    let document = exchanging(server(json!({ "tools": {
        "open": { "scope": [] },
        "challenged": { "scope": "x" },
        "obtained": { "scope": "x", "step_up": "exchange", "may_elevate": { "client": ["agent"] } },
        "unobtainable": { "scope": "x", "step_up": "none" },
        "others": { "scope": "x", "step_up": "exchange", "may_elevate": { "client": ["other"] } },
        "theirs": { "scope": [], "callers": { "client": ["other"] } },
        "denied": "deny",
        "fresh": { "scope": [], "max_age": "1m" },
        "short": { "scope": [], "max_lifetime": "1m" },
        "standing": { "scope": "x", "step_up": "exchange", "standing": "refuse", "may_elevate": { "client": ["agent"] } },
        "by_argument": { "scope": [], "raise": [{ "unless": { "arg": "x", "equals": 1 }, "deny": true }] },
        "by_meta": { "scope": [], "raise": [{ "when": { "meta": "x", "equals": 1 }, "deny": true }] },
        "by_claim": { "scope": [], "raise": [{ "when": { "claim": "sub", "equals": "alice" }, "deny": true }] },
        "by_both": { "scope": [], "raise": [{ "when": { "all": [{ "arg": "x", "present": true }, { "claim": "sub", "present": true }] }, "deny": true }] },
        "challenged_by_argument": { "scope": [], "max_lifetime": "1m", "raise": [{ "when": { "arg": "x", "equals": 1 }, "scope": "x" }] },
        "denied_by_claim": { "scope": [], "max_lifetime": "1m", "raise": [{ "when": { "claim": "x", "equals": 1 }, "deny": true }, { "when": { "arg": "x", "equals": 1 }, "scope": "x" }] },
        "elevated_by_argument": { "scope": "x", "step_up": "exchange", "may_elevate": { "arg": "x", "equals": 1 } },
        "shadowed": { "deny": true, "mode": "shadow", "until": "2027-03-01" },
    } })));
    let all: Vec<String> = document["tools"].as_object().unwrap().keys().cloned().collect();
    let all: Vec<&str> = all.iter().map(String::as_str).chain(["unknown", "OPEN"]).collect();
    let seen = names(&shown(&document, &list("tools/list"), &answer("tools", tools(&all))), "tools", "name");
    let mut expected = vec![
        "by_argument",
        "by_both",
        "by_meta",
        "challenged",
        "challenged_by_argument",
        "elevated_by_argument",
        "obtained",
        "open",
        "shadowed",
        "standing",
    ];
    expected.sort_unstable();
    let mut seen: Vec<&str> = seen.iter().map(String::as_str).collect();
    seen.sort_unstable();
    assert_eq!(seen, expected);
}

#[test]
fn p16_prompts_resources_and_templates_are_listed_alike() {
    let document = server(json!({
        "prompts": { "a": { "scope": [] }, "b": "deny" },
        "resources": { "a://*": { "scope": [] }, "b://*": "deny", "c://{x}/y": { "scope": "c" } },
    }));
    let seen = |method: &str, kind: &str, key: &str, items: Json| {
        names(&shown(&document, &list(method), &answer(kind, items)), kind, key)
    };
    assert_eq!(
        seen("prompts/list", "prompts", "name", json!([{ "name": "a" }, { "name": "b" }, { "name": "c" }])),
        ["a"]
    );
    let resources = json!([{ "uri": "a://1" }, { "uri": "b://1" }, { "uri": "c://1/y" }, { "uri": "a://x/../y" }]);
    assert_eq!(seen("resources/list", "resources", "uri", resources), ["a://1", "c://1/y"]);
    let templates: Json = [
        "a://{x}",
        "b://{x}",
        "c://{x}/y",
        "c://{x}/z",
        "{x}://y",
        "a://b/../{x}",
        "a://{+x}",
        "b://{?q}",
        "a://{x",
        "{+x}",
        "{+x}/y",
    ]
    .iter()
    .map(|uri| json!({ "uriTemplate": uri }))
    .collect();
    let seen = seen("resources/templates/list", "resourceTemplates", "uriTemplate", templates);
    assert_eq!(seen, ["a://{x}", "c://{x}/y", "{x}://y", "a://{+x}", "{+x}", "{+x}/y"]);
}

#[test]
fn p16_everything_else_of_a_list_stays_as_it_is() {
    let document = document(json!({ "a": { "scope": [] } }));
    let body = r#"{ "jsonrpc": "2.0", "id": 7, "result": { "tools": [
        { "name": "a", "x": 1.50, "y": [ {"z": 1e3} ], "n": 12345678901234567890 } , {"name":"b"} ], "nextCursor": "\u0041" } }"#;
    let request = list("tools/list");
    let mut vm = Vm::new(&load(&document));
    let stream = vm.head(&request);
    vm.body(stream, request.body());
    vm.response(stream, ResponseHead { status: 200, content_type: JSON, ..ResponseHead::default() });
    vm.response_body(stream, Ok(body.as_bytes()));
    let expected = concat!(
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{ "name": "a", "x": 1.50, "y": [ {"z": 1e3} ], "n": 12345678901234567890 }],"#,
        r#""nextCursor":"\u0041"}}"#,
    );
    assert_eq!(vm.given(stream).unwrap().text(), expected);
}

#[test]
fn p16_a_list_is_private_in_the_modern_era() {
    let document = document(json!({ "a": { "scope": [] } }));
    let modern = Request::modern("tools/list", json!({})).bearer(&token(BASELINE));
    for scope in [json!({}), json!({ "cacheScope": "public" }), json!({ "cacheScope": "private" })] {
        let mut body: Json = serde_json::from_str(&answer("tools", tools(&["a", "b"]))).unwrap();
        scope.as_object().unwrap().iter().for_each(|(name, value)| body["result"][name] = value.clone());
        assert_eq!(shown(&document, &modern, &body.to_string())["result"]["cacheScope"], "private");
    }
    let legacy = shown(&document, &list("tools/list"), &answer("tools", tools(&["a"])));
    assert_eq!(legacy["result"].get("cacheScope"), None);
}

#[test]
fn p16_what_cannot_be_read_does_not_pass() {
    let document = document(json!({ "a": { "scope": [] } }));
    let refused = |head: ResponseHead<'_>, body: Result<&str, step_up_core::BodyFault>| {
        let mut vm = Vm::new(&load(&document));
        let request = list("tools/list");
        let stream = vm.head(&request);
        vm.body(stream, request.body());
        vm.response(stream, head);
        if vm.is_held(stream) {
            vm.response_body(stream, body.map(str::as_bytes));
        }
        let answer = vm.replaced(stream).cloned();
        answer.map(|answer| {
            (answer.status, answer.code(), vm.settled(stream).record["reason"].clone(), answer.json()["id"].clone())
        })
    };
    let json = ResponseHead { status: 200, content_type: JSON, ..ResponseHead::default() };
    let unreadable = Some((502, Some(50201), json!("list_unreadable"), json!(7)));
    for body in [
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"a","name":"b"}]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"a"}],"tools":[]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[]},"result":{"tools":[{"name":"b"}]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":{"name":"a"}}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":["a"]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"title":"a"}]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":5}]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"Tools":[{"name":"b"}]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"Result":{"tools":[{"name":"b"}]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"a","Name":"b"}]}}"#,
        r#"[{"jsonrpc":"2.0","id":7,"result":{"tools":[]}}]"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[]}}}"#,
        "<html>",
    ] {
        assert_eq!(refused(json, Ok(body)), unreadable, "{body}");
    }
    assert_eq!(refused(json, Err(step_up_core::BodyFault::TooLarge)), unreadable);
    assert_eq!(refused(json, Err(step_up_core::BodyFault::Unreadable)), unreadable);
    let compressed = ResponseHead { content_encoding: Some("gzip"), ..json };
    assert_eq!(refused(compressed, Ok("")), unreadable);
    assert_eq!(refused(ResponseHead { content_type: EVENTS, ..compressed }, Ok("")), unreadable);
    // Errors pass, of HTTP and of JSON-RPC, and what holds no list.
    assert_eq!(refused(ResponseHead { status: 500, ..json }, Ok("x")), None);
    assert_eq!(refused(ResponseHead { status: 202, content_type: Some("text/plain"), ..json }, Ok("Accepted")), None);
    for body in [
        r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32601,"message":"x"}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{}}"#,
        "",
    ] {
        assert_eq!(refused(json, Ok(body)), None, "{body}");
    }
}

#[test]
fn p16_lists_that_pass_are_not_looked_at() {
    let document = server(json!({ "lists": "pass", "tools": { "a": { "scope": [] } } }));
    let mut vm = Vm::new(&load(&document));
    for request in [list("tools/list"), list("prompts/list"), Request::bare("GET", "/mcp").bearer(&token(BASELINE))] {
        let settled = vm.send(&request);
        assert!(settled.removed().is_empty());
    }
    let call = vm.send(&Request::call("a").bearer(&token(BASELINE)));
    assert!(call.removed().is_empty());
    assert_eq!(faults(&server(json!({ "lists": "none", "tools": { "a": { "scope": [] } } }))).len(), 1);
}

/// What a client gets of a stream that comes in pieces of this length, and whether it is an error instead.
fn streamed(document: &Json, request: &Request, stream_text: &str, piece: usize) -> Result<String, u16> {
    let mut vm = Vm::new(&load(document));
    let stream = vm.head(request);
    if !vm.is_settled(stream) {
        vm.body(stream, request.body());
    }
    vm.response(stream, ResponseHead { status: 200, content_type: EVENTS, ..ResponseHead::default() });
    let pieces: Vec<&[u8]> = stream_text.as_bytes().chunks(piece).collect();
    for (at, bytes) in pieces.iter().enumerate() {
        vm.response_chunk(stream, bytes, at + 1 == pieces.len());
        if let Some(answer) = vm.replaced(stream) {
            return Err(answer.status);
        }
    }
    Ok(vm.given(stream).unwrap().text().to_owned())
}

#[test]
fn p16_lists_in_event_streams_in_whatever_pieces() {
    let document = document(json!({ "a": { "scope": [] } }));
    let result = answer("tools", tools(&["a", "b"]));
    let (first, second) = result.split_at(result.find("\"result\"").unwrap());
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
    for end in ["\n", "\r\n", "\r"] {
        let text = format!(
            ": hello{end}{end}event: message{end}data: {progress}{end}{end}id: 5{end}data: {first}{end}data: {second}{end}{end}data: {progress}{end}{end}"
        );
        for piece in [1, 2, 7, 64, 10_000] {
            let given = streamed(&document, &list("tools/list"), &text, piece).unwrap();
            assert!(
                given.starts_with(&format!(": hello{end}{end}event: message{end}data: {progress}{end}{end}")),
                "{given}"
            );
            assert!(given.contains("id: 5\n") && given.contains(r#"[{"inputSchema""#), "{given}");
            assert!(!given.contains(r#""name":"b""#), "{given}");
            assert!(given.ends_with("\n\n"), "what comes after the answer is nobody's: {given}");
        }
    }
}

/// There are clients that believe in an event when they have seen the second half of its end, and not before.
#[test]
fn p16_an_answer_that_stays_as_it_is_has_the_whole_of_its_end() {
    let document = document(json!({ "a": { "scope": [] } }));
    let error = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32603,"message":"no"}}"#;
    let text = format!("id: 1\r\ndata: {error}\r\n\r\n");
    for piece in [1, 2, 7, 10_000, text.len() - 1] {
        assert_eq!(streamed(&document, &list("tools/list"), &text, piece).as_ref(), Ok(&text), "{piece}");
    }
}

#[test]
fn p16_an_event_that_cannot_be_read_is_an_error() {
    let document = with(document(json!({ "a": { "scope": [] } })), "/limits", json!({ "list": "1KiB" }));
    let twice = r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"b","name":"a"}]}}"#;
    let long = answer("tools", tools(&["a".repeat(2000).as_str()]));
    for bad in [twice, &long, "{"] {
        assert_eq!(streamed(&document, &list("tools/list"), &format!("data: {bad}\n\n"), 16), Err(502), "{bad}");
        // The head has gone.
        let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#;
        let given =
            streamed(&document, &list("tools/list"), &format!("data: {progress}\n\ndata: {bad}\n\n"), 16).unwrap();
        assert!(
            given.contains(r#""code":50201"#) && given.contains(r#""id":7"#) && !given.contains("\"b\""),
            "{given}"
        );
    }
}

#[test]
fn p16_a_stream_of_the_servers_own_may_bring_lists_too() {
    let document = with(document(json!({ "a": { "scope": [] } })), "/limits", json!({ "list": "1KiB" }));
    let get = Request::bare("GET", "/mcp").bearer(&token(BASELINE));
    let (list, call) = (answer("tools", tools(&["a", "b"])), r#"{"jsonrpc":"2.0","id":8,"result":{"content":[]}}"#);
    let long = format!(r#"{{"jsonrpc":"2.0","id":9,"result":{{"content":["{}"]}}}}"#, "x".repeat(2000));
    let text = format!(
        "event: endpoint\ndata: /messages?s=1\n\ndata: {list}\n\ndata: {call}\n\ndata: {long}\n\ndata: nonsense\n\ndata: {list}\n\n"
    );
    let given = streamed(&document, &get, &text, 50).unwrap();
    assert!(given.starts_with("event: endpoint\ndata: /messages?s=1\n\n"), "{given}");
    assert!(
        given.contains(call)
            && !given.contains(r#""name":"b""#)
            && !given.contains("xxx")
            && !given.contains("nonsense")
    );
    assert_eq!(given.matches(r#""name":"a""#).count(), 2, "{given}");
}

#[test]
fn p26_strangers_see_what_is_for_everybody() {
    let tools = json!({
        "hello": { "anonymous": true }, "get": { "scope": "x" }, "denied": "deny", "t/x": { "scope": "tool:{name}" },
    });
    let stranger = Request::method("tools/list", json!({}));
    let body = answer("tools", self::tools(&["hello", "get", "denied", "t/x", "unknown"]));
    let seen = |document: &Json| names(&shown(document, &stranger, &body), "tools", "name");
    assert_eq!(seen(&document(tools.clone())), ["hello"]);
    let annotated = with(document(tools), "/annotate", json!(["security_schemes"]));
    assert_eq!(seen(&annotated), ["hello", "get"]);
    assert!(warnings(&annotated).contains("names of tools, prompts and resources, and schemas, are public (P16)"));
}

#[test]
fn p16_annotations_say_how_each_tool_is_authorized() {
    let tools = json!({
        "hello": { "anonymous": true }, "get": { "scope": "x" }, "each": { "scope": "tool:{name}" },
        "obtained": { "scope": "y", "step_up": "exchange", "may_elevate": { "client": ["agent"] } },
    });
    let document = with(exchanging(document(tools)), "/annotate", json!(["security_schemes"]));
    let items = json!([
        { "name": "hello", "securitySchemes": [{ "type": "oauth2", "scopes": ["everything"] }] },
        { "name": "get", "_meta": { "ui": "x", "securitySchemes": [] } }, { "name": "each", "_meta": null }, { "name": "obtained" },
    ]);
    for request in [list("tools/list"), Request::method("tools/list", json!({}))] {
        let given = shown(&document, &request, &answer("tools", items.clone()));
        let scheme = |at: usize| {
            let tool = &given["result"]["tools"][at];
            assert_eq!(tool["securitySchemes"], tool["_meta"]["securitySchemes"]);
            tool["securitySchemes"].clone()
        };
        assert_eq!(scheme(0), json!([{ "type": "noauth" }]));
        assert_eq!(scheme(1), json!([{ "type": "oauth2", "scopes": ["mcp:connect", "x"] }]));
        assert_eq!(given["result"]["tools"][1]["_meta"]["ui"], "x");
        assert_eq!(scheme(2), json!([{ "type": "oauth2", "scopes": ["mcp:connect", "tool:each"] }]));
        assert_eq!(scheme(3), json!([{ "type": "oauth2", "scopes": ["mcp:connect"] }]));
    }
    let passing = with(document.clone(), "/lists", json!("pass"));
    assert_fault(&passing, &["`annotate` where lists pass (P16)"]);
    assert_eq!(faults(&with(document, "/annotate", json!(["all"]))).len(), 1);
}
