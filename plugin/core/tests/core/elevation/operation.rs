//! One operation: its exchange, its token, its end.

use super::*;
use step_up_core::{BodyFault, Metric, ResponseHead};

// The good path.

#[test]
fn p12_one_operation_one_exchange_one_token_one_revocation() {
    for request in [call(), modern_call()] {
        let mut vm = vm();
        let request = request.header("dpop", "proof").header("txn-token", "x");
        let (stream, id) = exchange(&mut vm, &request);
        assert!(!vm.is_idle());
        grant(&mut vm, id, &good().text());
        let settled = vm.settled(stream);
        assert_eq!(vm.elevated(stream), Some(&*format!("Bearer {}", good().text())));
        let removed: BTreeSet<&str> = settled.removed().iter().map(String::as_str).collect();
        // P41: gateways use the last three instead of the token that was judged.
        let unwanted = ["accept-encoding", "dpop", "txn-token"];
        let instead = ["proxy-authorization", "x-forwarded-access-token", "x-upstream-authorization"];
        assert_eq!(removed, unwanted.into_iter().chain(instead).collect());
        let record = &settled.record;
        assert_eq!((&record["verdict"], settled.reason()), (&json!("permit"), "elevated"));
        assert_eq!(record["elevated"]["audience"], ADMIN);
        assert_eq!(record["elevated"]["scopes"], json!(["repo:admin"]));
        assert_eq!((&record["elevated"]["token_id"], &record["elevated"]["expires_in"]), (&json!("e-1"), &json!(60)));
        let text = record.to_string();
        assert!(!text.contains(&good().text()) && !text.contains(&token(BASELINE)), "a token in the record");
        vm.response_head(stream, 200, JSON, false);
        vm.response_chunk(stream, b"{}", false);
        assert!(revoked(&mut vm).is_empty());
        vm.response_chunk(stream, b"", true);
        let (id, token) = only_revocation(&mut vm);
        assert_eq!(token, good().text());
        assert!(!vm.is_idle());
        vm.reply(id, Ok((200, b"")));
        assert!(vm.is_idle());
        assert_eq!((revocations_counted(&vm, "revoked"), exchanges_counted(&vm, "granted")), (1, 1));
        vm.gone(stream);
        vm.pass(120_000);
        assert!(vm.take_calls().is_empty(), "once");
        assert!(vm.logs.iter().all(|line| !line.contains(&good().text())));
    }
}

#[test]
fn p09_the_exchange_happens_although_the_caller_holds_the_scope() {
    let mut vm = vm();
    let stream = begin(&mut vm, &call().bearer(&token("mcp:connect repo:admin")));
    assert!(!vm.is_settled(stream));
    only_call(&mut vm);
}

#[test]
fn p09_standing_privilege_is_refused_by_name_and_by_a_scope_that_implies_it() {
    let document = exchanging(json!({ "scope": ["repo:write", "x"], "standing": "refuse" }));
    let document = without(document, "/tools/delete/audience");
    for (scope, refused) in [
        ("mcp:connect repo:write", true),
        ("mcp:connect x", true),
        ("mcp:connect repo:admin", true),
        ("mcp:connect repo:read", false),
        ("mcp:connect repo:writer", false),
    ] {
        let mut vm = Vm::new(&load(&document));
        let stream = begin(&mut vm, &call().bearer(&token(scope)));
        assert_eq!(vm.take_calls().len(), usize::from(!refused), "{scope}");
        if refused {
            let settled = vm.settled(stream);
            settled.assert_refused(403, "standing_privilege");
            assert_eq!((settled.answer().code(), settled.challenge()), (Some(40303), None));
        }
    }
    let mut vm = Vm::new(&load(&exchanging(json!({ "standing": "ignore" }))));
    exchange(&mut vm, &call().bearer(&token("mcp:connect repo:admin")));
}

#[test]
fn p12_two_calls_of_one_caller_share_nothing() {
    let mut vm = vm();
    let (first, first_call) = exchange(&mut vm, &call());
    let (second, second_call) = exchange(&mut vm, &call());
    let tokens = ["e-1", "e-2"].map(|id| good().claim("jti", id).text());
    grant(&mut vm, second_call, &tokens[1]);
    assert!(!vm.is_settled(first), "that was the answer to the other");
    grant(&mut vm, first_call, &tokens[0]);
    for (stream, token) in [(first, &tokens[0]), (second, &tokens[1])] {
        assert_eq!(vm.elevated(stream), Some(&*format!("Bearer {token}")));
        vm.gone(stream);
        assert_eq!(&revoked(&mut vm), std::slice::from_ref(token));
    }
}

#[test]
fn p12_a_third_call_after_the_end_is_exchanged_for_again() {
    let mut vm = vm();
    for id in ["e-1", "e-2", "e-3"] {
        let token = good().claim("jti", id).text();
        let stream = elevated_with(&mut vm, &call(), &token);
        vm.response_head(stream, 200, JSON, true);
        assert_eq!(revoked(&mut vm), [token]);
    }
}

#[test]
fn p12_a_token_that_comes_again_is_not_used_again() {
    let mut vm = vm();
    let stream = elevated(&mut vm, &call());
    vm.response_head(stream, 200, JSON, true);
    let (id, _) = only_revocation(&mut vm);
    vm.reply(id, Ok((200, b"")));
    // The token service hands out what it has stored.
    let (stream, id) = exchange(&mut vm, &call());
    grant(&mut vm, id, &good().text());
    vm.settled(stream).assert_refused(503, "elevated_token_not_ours");
    // Whoever hands it out takes it for alive.
    let (id, token) = only_revocation(&mut vm);
    assert_eq!(token, good().text());
    vm.reply(id, Ok((200, b"")));
    assert!(vm.is_idle());
}

#[test]
fn p12_a_refused_token_that_another_operation_uses_is_not_taken_from_it() {
    let document = with(
        plain(),
        "/tools/wipe",
        json!({ "scope": "repo:admin", "step_up": "exchange", "audience": ADMIN, "ttl": "30s" }),
    );
    let mut vm = Vm::new(&load(&document));
    let first = elevated(&mut vm, &call());
    // The same token, which lives too long for this tool.
    let (second, id) = exchange(&mut vm, &Request::call("wipe").bearer(&token(BASELINE)));
    grant(&mut vm, id, &good().text());
    vm.settled(second).assert_refused(503, "elevated_lifetime");
    assert!(vm.take_calls().is_empty(), "revoked in the middle of another operation");
    vm.response_head(first, 200, JSON, true);
    assert_eq!(revoked(&mut vm), [good().text()]);
}

#[test]
fn an_answer_after_a_token_has_expired_comes_too_late_for_its_caller() {
    let document = with(plain(), "/token_service/timeout", json!("5s"));
    let mut vm = Vm::new(&load(&document));
    let request = call().bearer(&Token::new(BASELINE).claim("exp", START - 27).text());
    let (stream, id) = exchange(&mut vm, &request);
    vm.pass(4_000);
    grant(&mut vm, id, &good().text());
    vm.settled(stream).assert_refused(401, "token_expired");
    assert_eq!(revoked(&mut vm), [good().text()]);
}

// The end of the operation.

/// Whether the operation with this id has ended, and its token was revoked, after each of the chunks.
fn ends(id: &Json, chunks: &[&[u8]]) -> Vec<bool> {
    let mut vm = vm();
    let stream = elevated(&mut vm, &call_with_id(id));
    vm.response_head(stream, 200, EVENTS, false);
    let mut ended = false;
    chunks
        .iter()
        .map(|chunk| {
            vm.response_chunk(stream, chunk, false);
            let revoked = revoked(&mut vm);
            assert!(revoked.is_empty() || !ended, "revoked twice");
            ended |= !revoked.is_empty();
            ended
        })
        .collect()
}

fn ends_after_all(id: &Json, events: &str) -> bool {
    ends(id, &[events.as_bytes()])[0]
}

#[test]
fn an_operation_ends_with_the_event_that_has_its_result() {
    for (id, other) in
        [(json!(7), json!(8)), (json!("a\"b"), json!("c")), (json!(7), json!("7")), (json!("7"), json!(7))]
    {
        let event = |message: Json| format!("event: message\ndata: {message}\n\n");
        let progress =
            event(json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progressToken": id } }));
        let request = event(json!({ "jsonrpc": "2.0", "id": id, "method": "sampling/createMessage", "params": {} }));
        let foreign = event(json!({ "jsonrpc": "2.0", "id": other, "result": {} }));
        let nested = event(json!({ "jsonrpc": "2.0", "method": "x", "params": { "id": id, "result": {} } }));
        let result = event(json!({ "jsonrpc": "2.0", "id": id, "result": { "id": other } }));
        let chunks = [progress, request, foreign, nested, result.clone(), result];
        let chunks: Vec<&[u8]> = chunks.iter().map(String::as_bytes).collect();
        assert_eq!(ends(&id, &chunks), [false, false, false, false, true, true], "{id}");
        assert!(ends_after_all(&id, &event(json!({ "jsonrpc": "2.0", "id": id, "error": { "code": 1 } }))), "{id}");
    }
}

#[test]
fn events_are_read_as_the_standard_says() {
    let result = r#"{"jsonrpc":"2.0","id":7,"result":{}}"#;
    for (events, ended) in [
        (format!("data: {result}\n\n"), true),
        (format!("data:{result}\n\n"), true),
        (format!("data: {result}\r\n\r\n"), true),
        (format!(": comment\ndata: {result}\nid: 5\nretry: 1\n\n"), true),
        ("data: {\"jsonrpc\":\"2.0\",\"id\":7,\ndata:\"result\":{}}\n\n".to_owned(), true),
        (format!("data:\ndata: {result}\ndata\ndata:\n\n"), true),
        (format!("data:\n\ndata: {result}\n\n"), true),
        (format!("data: not json\n\ndata: {result}\n\n"), true),
        (format!("data: {result}\n"), false),
        (format!("data: {result}"), false),
        (format!("xdata: {result}\n\n"), false),
        (format!(" data: {result}\n\n"), false),
        (format!(": data: {result}\n\n"), false),
        (format!("id: {result}\n\n"), false),
        (format!("data: [{result}]x\n\n"), false),
    ] {
        assert_eq!(ends_after_all(&json!(7), &events), ended, "{events:?}");
    }
}

#[test]
fn a_carriage_return_alone_ends_a_line_of_an_event() {
    assert!(ends_after_all(&json!(7), "data: {\"id\":7,\"result\":{}}\r\r"));
    assert!(ends_after_all(&json!(7), "data: {}\r\rdata: {\"id\":7,\"result\":{}}\r\r"));
}

#[test]
fn chunks_may_be_cut_anywhere() {
    for newline in ["\n", "\r\n"] {
        let text =
            ["data: {\"method\":\"é\"}", "", ": x", "data:", "data: {\"id\":7,\"result\":\"é\"}", "", "data: {}", ""];
        let stream = text.map(|line| format!("{line}{newline}")).concat();
        // The carriage return ends the line already.
        let end = stream.rfind("data: {}").unwrap() + 1 - newline.len();
        for cut in 0..=stream.len() {
            let (left, right) = stream.as_bytes().split_at(cut);
            let found = ends(&json!(7), &[left, right]);
            assert_eq!(found, [cut >= end, true], "{cut} {newline:?}");
        }
        let single: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
        let found = ends(&json!(7), &single);
        assert_eq!(found.iter().filter(|ended| !**ended).count(), end - 1, "{newline:?}");
    }
}

#[test]
fn a_huge_event_is_not_kept_and_does_not_hide_what_comes_after() {
    let huge = format!("data: {{\"x\":\"{}\"}}\n\n", "x".repeat(1_200_000));
    let result = "data: {\"id\":7,\"result\":{}}\n\n";
    assert_eq!(ends(&json!(7), &[huge.as_bytes(), result.as_bytes()]), [false, true]);
    // Several lines of one event belong to that event, whatever their size.
    let lines = format!("data: {}\ndata: x\n{result}", "x".repeat(1_048_570));
    assert_eq!(ends(&json!(7), &[lines.as_bytes()]), [false], "the end of one event is no event");
}

#[test]
fn p30_no_refusal_of_a_token_that_the_client_never_had_leaves() {
    let oauth = br#"{"error":"insufficient_scope","error_description":"x"}"#;
    let rpc = br#"{"jsonrpc":"2.0","id":7,"error":{"code":-32001,"message":"forbidden"}}"#;
    let head = |status, challenge| ResponseHead { status, challenge, content_type: JSON, ..ResponseHead::default() };
    let in_session = |id: &'static str| call().header("mcp-session-id", id);
    for (request, head, metric) in [
        (call(), head(401, None), "upstream_refused_401"),
        (call(), head(403, Some("Bearer error=\"insufficient_scope\"")), "upstream_refused_403"),
        // Nobody can tell before it has ended.
        (call(), ResponseHead { content_type: EVENTS, ..head(403, None) }, "upstream_refused_403"),
        (in_session("s-1"), head(404, None), "upstream_refused_404"),
    ] {
        let mut vm = vm();
        let stream = elevated(&mut vm, &request);
        vm.response(stream, head);
        assert_refused_upstream(&mut vm, stream, metric);
    }
    let twice: &[u8] = br#"{"error":{},"error":"invalid_token"}"#;
    let held: [(&[u8], bool); 4] = [(oauth, true), (twice, true), (rpc, false), (b"Forbidden", false)];
    for (body, is_refusal) in held {
        let mut vm = vm();
        let stream = elevated(&mut vm, &call());
        vm.response(stream, head(403, None));
        assert!(vm.is_held(stream) && vm.take_calls().is_empty());
        vm.response_body(stream, Ok(body));
        if is_refusal {
            assert_refused_upstream(&mut vm, stream, "upstream_refused_403");
        } else {
            assert_eq!(vm.replaced(stream), None);
            assert_eq!(revoked(&mut vm), [good().text()]);
        }
    }
    // What is too long to be looked at is refused; what is no refusal of the token passes.
    let mut vm = vm();
    let stream = elevated(&mut vm, &call());
    vm.response(stream, head(403, None));
    vm.response_body(stream, Err(BodyFault::TooLarge));
    assert_refused_upstream(&mut vm, stream, "upstream_refused_403");
    let mut vm = self::vm();
    for head in [head(404, None), head(400, None)] {
        let stream = elevated_with(&mut vm, &call(), &good().claim("jti", head.status.to_string()).text());
        vm.response(stream, head);
        assert_eq!((vm.replaced(stream), vm.is_held(stream)), (None, false), "{head:?}");
    }
}

#[track_caller]
fn assert_refused_upstream(vm: &mut Vm, stream: StreamId, metric: &'static str) {
    let answer = vm.replaced(stream).expect("an answer of ours");
    assert_eq!((answer.status, answer.code(), answer.header("www-authenticate")), (502, Some(50200), None));
    assert!(vm.metrics.contains(&Metric::Fault { kind: metric, count: 1 }), "{metric}");
    let status = metric.trim_start_matches("upstream_refused_");
    assert!(vm.logs.iter().any(|line| line.contains(status)), "{:?}", vm.logs);
    assert_eq!(revoked(vm), [good().text()]);
}

#[test]
fn an_operation_ends_with_its_response() {
    let endings: [fn(&mut Vm, StreamId); 4] = [
        |vm, stream| vm.response_head(stream, 200, JSON, true),
        |vm, stream| {
            vm.response_head(stream, 200, JSON, false);
            vm.response_chunk(stream, b"{}", true);
        },
        |vm, stream| vm.response_head(stream, 500, None, true),
        |vm, stream| {
            vm.response_head(stream, 200, Some("Application/JSON; charset=utf-8"), false);
            vm.response_chunk(stream, b"data: {\"id\":7,\"result\":{}}\n\n", false);
            assert!(vm.take_calls().is_empty(), "these are no events");
            vm.response_chunk(stream, b"", true);
        },
    ];
    for end in endings {
        for mut vm in [vm(), lingering()] {
            let stream = elevated(&mut vm, &call());
            end(&mut vm, stream);
            assert_eq!(revoked(&mut vm), [good().text()]);
            vm.gone(stream);
            assert!(vm.take_calls().is_empty());
        }
    }
}

#[test]
fn without_a_result_a_modern_operation_ends_with_its_stream() {
    let endings: [fn(&mut Vm, StreamId); 2] = [
        |vm, stream| vm.gone(stream),
        |vm, stream| {
            vm.response_chunk(stream, b": keep-alive\n\n", true);
        },
    ];
    for end in endings {
        let mut vm = lingering();
        let stream = elevated(&mut vm, &modern_call());
        vm.response_head(stream, 200, Some("TEXT/event-stream;charset=utf-8"), false);
        end(&mut vm, stream);
        assert_eq!(revoked(&mut vm), [good().text()]);
    }
}

#[test]
fn without_a_result_a_legacy_operation_may_linger() {
    let endings: [fn(&mut Vm, StreamId); 2] = [
        |vm, stream| vm.gone(stream),
        |vm, stream| {
            vm.response_chunk(stream, b": keep-alive\n\n", true);
        },
    ];
    for end in endings {
        let mut lingering = lingering();
        let stream = elevated(&mut lingering, &call());
        lingering.response_head(stream, 200, EVENTS, false);
        end(&mut lingering, stream);
        lingering.pass(4_900);
        assert!(lingering.take_calls().is_empty() && !lingering.is_idle());
        lingering.pass(200);
        assert_eq!(revoked(&mut lingering), [good().text()]);
        let mut at_once = vm();
        let stream = elevated(&mut at_once, &call());
        at_once.response_head(stream, 200, EVENTS, false);
        end(&mut at_once, stream);
        assert_eq!(revoked(&mut at_once), [good().text()], "the default is not to linger");
    }
}

#[test]
fn a_result_ends_a_legacy_operation_at_once() {
    let mut vm = lingering();
    let stream = elevated(&mut vm, &call());
    vm.response_head(stream, 200, EVENTS, false);
    vm.response_chunk(stream, b"data: {\"id\":7,\"result\":{}}\n\n", false);
    let (id, _) = only_revocation(&mut vm);
    vm.reply(id, Ok((200, b"")));
    vm.response_chunk(stream, b"data: {\"id\":7,\"result\":{}}\n\n", true);
    vm.gone(stream);
    vm.pass(10_000);
    assert!(vm.take_calls().is_empty(), "once");
}

#[test]
fn a_gate_is_not_idle_while_an_elevated_operation_is_under_way() {
    let mut vm = vm();
    let stream = elevated(&mut vm, &call());
    assert!(!vm.is_idle(), "its token is still to be revoked, by a call from the root");
    vm.response_head(stream, 200, EVENTS, false);
    assert!(!vm.is_idle());
}

#[test]
fn a_client_that_leaves_after_forwarding_ends_its_operation() {
    let mut vm = vm();
    let stream = elevated(&mut vm, &call());
    vm.gone(stream);
    assert_eq!(revoked(&mut vm), [good().text()]);
}

#[test]
fn a_client_that_leaves_during_the_exchange_leaves_no_token() {
    let mut vm = lingering();
    let (stream, id) = exchange(&mut vm, &call());
    vm.gone(stream);
    assert!(!vm.is_idle(), "an exchange is under way");
    vm.pass(1_000);
    grant(&mut vm, id, &good().text());
    assert!(!vm.is_settled(stream) && vm.elevated(stream).is_none());
    assert_eq!(revoked(&mut vm), [good().text()], "nobody used it, so nothing lingers");
    assert_eq!((exchanges_counted(&vm, "late"), vm.counted("client_gone")), (1, 1));
}

#[test]
fn a_stream_whose_id_is_used_again_does_not_get_the_token_of_the_other() {
    let mut vm = vm();
    let (stream, id) = exchange(&mut vm, &call());
    vm.head_again(stream, &call());
    vm.body(stream, call().body());
    let (second, _) = only_call(&mut vm);
    grant(&mut vm, id, &good().text());
    assert!(!vm.is_settled(stream), "that was for the request before");
    assert_eq!(revoked(&mut vm), [good().text()]);
    let token = good().claim("jti", "e-2").text();
    grant(&mut vm, second, &token);
    assert_eq!(vm.elevated(stream), Some(&*format!("Bearer {token}")));
}

#[test]
fn a_stream_whose_id_is_used_again_gives_the_token_of_the_other_back() {
    let mut vm = vm();
    let stream = elevated(&mut vm, &call());
    vm.forget(stream);
    vm.head_again(stream, &call());
    assert_eq!(revoked(&mut vm), [good().text()], "the operation before is over");
    vm.body(stream, call().body());
    let (second, _) = only_call(&mut vm);
    let token = good().claim("jti", "e-2").text();
    grant(&mut vm, second, &token);
    vm.gone(stream);
    assert_eq!(revoked(&mut vm), [token]);
}

#[test]
fn p11_a_token_lives_no_longer_than_ttl_after_it_came() {
    let mut vm = vm();
    let stream = elevated(&mut vm, &call());
    vm.response_head(stream, 200, EVENTS, false);
    vm.pass(59_000);
    assert!(vm.take_calls().is_empty());
    vm.pass(2_000);
    // Dead by our clock; by that of the token service, perhaps not.
    let (id, token) = only_revocation(&mut vm);
    assert_eq!(token, good().text());
    vm.reply(id, Ok((503, b"")));
    vm.pass(1_000);
    assert!(vm.is_idle() && vm.take_calls().is_empty(), "asked once, and dead by itself");
    assert_eq!(revocations_counted(&vm, "expired"), 1);
}

#[test]
fn p11_the_time_to_revocation_is_bounded_by_ttl_where_clocks_differ() {
    // What lingers lingers for the rest of ttl at most.
    for mut vm in [vm(), lingering()] {
        let token = good().claim("iat", START + 20).claim("exp", START + 80).text();
        let (stream, id) = exchange(&mut vm, &call());
        grant(&mut vm, id, &token);
        if vm.elevated(stream).is_some() {
            vm.response_head(stream, 200, EVENTS, false);
            vm.pass(61_000);
        }
        assert_eq!(revoked(&mut vm), [token], "the time to revocation is bounded by ttl");
    }
}

#[test]
fn an_upstream_that_refuses_the_elevated_token_does_not_send_the_client_to_log_in() {
    for request in [call(), modern_call()] {
        let mut vm = vm();
        let stream = elevated(&mut vm, &request);
        vm.response_head(stream, 401, JSON, false);
        let answer = vm.replaced(stream).expect("answered").clone();
        assert_eq!((answer.status, answer.code(), answer.header("www-authenticate")), (502, Some(50200), None));
        assert_eq!((&answer.json()["id"], answer.header("retry-after")), (&json!(7), None));
        assert_eq!(answer.json()["error"]["data"]["request_id"], vm.settled(stream).record["id"], "one id for both");
        assert_eq!(revoked(&mut vm), [good().text()]);
        vm.response_chunk(stream, b"x", true);
        vm.gone(stream);
        assert!(vm.take_calls().is_empty());
    }
    for status in [400, 403, 404, 429, 500, 503] {
        let mut vm = vm();
        let stream = elevated(&mut vm, &call());
        vm.response_head(stream, status, JSON, true);
        assert!(vm.replaced(stream).is_none(), "{status} passes");
        assert_eq!(revoked(&mut vm), [good().text()]);
    }
}

#[test]
fn p30_a_refusal_that_comes_after_the_time_is_not_the_clients_either() {
    for (end, minted) in [("ttl", 1), ("cancel", 1)] {
        let mut vm = vm();
        let stream = elevated(&mut vm, &call());
        match end {
            "ttl" => vm.pass(61_000),
            _ => {
                let body =
                    json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 7 } });
                vm.send(&Request::post(body.to_string()).bearer(&token(BASELINE))).assert_forwarded();
            }
        }
        assert_eq!(revoked(&mut vm).len(), minted, "{end}");
        vm.response(
            stream,
            ResponseHead { status: 401, challenge: Some("Bearer"), end_of_stream: true, ..ResponseHead::default() },
        );
        assert_eq!(vm.replaced(stream).map(|answer| answer.status), Some(502), "{end}");
        vm.gone(stream);
        assert!(revoked(&mut vm).is_empty(), "once: {end}");
    }
    // What is no refusal passes, and nothing is revoked twice.
    let mut vm = vm();
    let stream = elevated(&mut vm, &call());
    vm.pass(61_000);
    assert_eq!(revoked(&mut vm).len(), 1);
    vm.response_head(stream, 200, JSON, false);
    vm.response_chunk(stream, b"{}", true);
    vm.gone(stream);
    assert!(revoked(&mut vm).is_empty());
}
