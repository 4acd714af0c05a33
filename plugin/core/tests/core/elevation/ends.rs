//! P30: pauses, tasks, cancellations.

use super::*;

const PRIMED: &[u8] = b"id: e-1\ndata: \n\n";
const RESULT: &[u8] = b"data: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}\n\n";

/// A stream of events that the server closed after these.
fn closed_after(vm: &mut Vm, request: &Request, events: &[u8]) -> StreamId {
    let stream = elevated(vm, request);
    vm.response_head(stream, 200, EVENTS, false);
    vm.response_chunk(stream, events, true);
    stream
}

fn resume(token: &str, id: &str) -> Request {
    Request::bare("GET", "/mcp").bearer(token).header("last-event-id", id).header("accept", "text/event-stream")
}

#[test]
fn p30_a_stream_that_is_closed_on_purpose_pauses() {
    for (events, is_pause) in [
        (PRIMED, true),
        (b"id: e-1\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\n".as_slice(), true),
        (b"id: e-1\r\ndata:\r\n\r\n: comment\r\n\r\n", true),
        (b"id: e-1\ndata: \n\ndata: {\"method\":\"notifications/progress\"}\n\n", false),
        (b"id: e-1\ndata: ", false),
        (b"data: {}\n\n", false),
        (b"", false),
    ] {
        let mut vm = vm();
        closed_after(&mut vm, &call(), events);
        vm.pass(9_000);
        assert_eq!(revoked(&mut vm).is_empty(), is_pause, "{}", String::from_utf8_lossy(events));
        vm.pass(2_000);
        if is_pause {
            assert_eq!(revoked(&mut vm), [good().text()], "the time has passed");
        }
    }
    // The modern era knows no pauses, and the longer of `resume` and `linger` holds, cut to the token's life.
    let mut vm = vm();
    closed_after(&mut vm, &modern_call(), PRIMED);
    assert_eq!(revoked(&mut vm).len(), 1);
    for (resume, linger, until) in [("5s", "0s", 5), ("5s", "20s", 20), ("300s", "0s", 60)] {
        let document = with(plain(), "/token_service/resume", json!(resume));
        let document = if linger == "0s" { document } else { with(document, "/token_service/linger", json!(linger)) };
        let mut vm = Vm::new(&load(&document));
        closed_after(&mut vm, &call(), PRIMED);
        vm.pass((until - 2) * 1_000);
        assert!(revoked(&mut vm).is_empty() && !vm.is_idle(), "{resume} {linger}");
        vm.pass(4_000);
        assert_eq!(revoked(&mut vm).len(), 1, "{resume} {linger}");
    }
}

#[test]
fn p30_the_same_caller_continues_its_stream() {
    let mut vm = vm();
    closed_after(&mut vm, &call(), PRIMED);
    // Another subject, another event, no event: not this stream.
    for request in [
        resume(&bob(), "e-1"),
        resume(&token(BASELINE), "e-2"),
        Request::bare("GET", "/mcp").bearer(&token(BASELINE)),
        resume(&Token::new(BASELINE).claim("iss", ISSUER).claim("sub", "mallory").text(), "e-1"),
    ] {
        let stream = vm.head(&request);
        vm.settled(stream).assert_forwarded();
        vm.response_head(stream, 200, EVENTS, false);
        vm.response_chunk(stream, RESULT, true);
        assert!(revoked(&mut vm).is_empty(), "it is about another operation");
    }
    let stream = begin(&mut vm, &resume(&token(BASELINE), "e-1"));
    assert!(vm.settled(stream).removed().contains(&"accept-encoding".to_owned()));
    assert!(vm.continues(stream));
    vm.pass(20_000);
    assert!(revoked(&mut vm).is_empty(), "it is under way");
    vm.response_head(stream, 200, EVENTS, false);
    vm.response_chunk(stream, RESULT, false);
    assert_eq!(revoked(&mut vm), [good().text()]);
    // Once.
    let again = begin(&mut vm, &resume(&token(BASELINE), "e-1"));
    vm.response_head(again, 200, EVENTS, false);
    vm.response_chunk(again, RESULT, true);
}

#[test]
fn p30_a_stream_may_pause_again() {
    let mut vm = vm();
    closed_after(&mut vm, &call(), PRIMED);
    let stream = begin(&mut vm, &resume(&token(BASELINE), "e-1"));
    vm.response_head(stream, 200, EVENTS, false);
    vm.response_chunk(stream, b"id: e-2\ndata: \n\n", true);
    assert!(revoked(&mut vm).is_empty());
    let stream = begin(&mut vm, &resume(&token(BASELINE), "e-2"));
    vm.gone(stream);
    assert_eq!(revoked(&mut vm).len(), 1, "a client that left is an end");
}

fn keeping() -> Json {
    exchanging(json!({ "task": "keep" }))
}

#[test]
fn p30_an_operation_that_goes_on_as_a_task_keeps_its_token_where_the_rule_says_so() {
    let json = |result: &str| format!(r#"{{"jsonrpc":"2.0","id":7,{result}}}"#).into_bytes();
    let event = |body: &[u8]| [b"data: ".as_slice(), body, b"\n\n"].concat();
    // The result's type says it (2026-07-28); where it has none, it carries a task (2025-11-25).
    for (body, is_modern, goes_on) in [
        (json(r#""result":{"resultType":"task","taskId":"t"}"#), true, true),
        (json(r#""result":{"resultType":"task","taskId":"t"}"#), false, true),
        (json(r#""result":{"task":{"taskId":"t","status":"working"}}"#), false, true),
        (json(r#""result":{"task":{"taskId":"t","status":"working"}}"#), true, false),
        (json(r#""result":{"resultType":"complete","task":{"taskId":"t"}}"#), true, false),
        (json(r#""result":{"resultType":"input_required","task":{}}"#), true, false),
        (json(r#""result":{"resultType":"complete","task":{"taskId":"t"}}"#), false, false),
        (json(r#""result":{"task":"done"}"#), false, false),
        (json(r#""error":{"code":1},"result":{"task":{}}"#), false, false),
        (b"[{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}]".to_vec(), false, false),
        (b"null".to_vec(), false, false),
        (json(r#""result":{"resultType":"complete"}"#), true, false),
        (json(r#""result":{"resultType":"input_required"}"#), true, false),
        (json(r#""result":{"content":[{"task":{}}],"task":null}"#), false, false),
        (json(r#""error":{"code":1,"message":"x"}"#), false, false),
        (json(r#""result":{"resultType":"complete","resultType":"task"}"#), true, false),
        (b"<html>".to_vec(), false, false),
    ] {
        for events in [false, true] {
            for document in [keeping(), plain()] {
                let keeps = goes_on && document == keeping();
                let mut vm = Vm::new(&load(&document));
                let stream = elevated(&mut vm, &if is_modern { modern_call() } else { call() });
                vm.response_head(stream, 200, if events { EVENTS } else { JSON }, false);
                let sent = if events { event(&body) } else { body.clone() };
                vm.response_chunk(stream, &sent[..3], false);
                vm.response_chunk(stream, &sent[3..], true);
                vm.gone(stream);
                let text = String::from_utf8_lossy(&body).into_owned();
                assert_eq!(revoked(&mut vm).is_empty(), keeps, "{events} {text}");
                assert_eq!(revocations_counted(&vm, "kept"), usize::from(keeps), "{events} {text}");
                if keeps {
                    assert!(vm.is_idle());
                }
            }
        }
    }
}

#[test]
fn p30_an_answer_that_only_says_accepted_is_treated_like_a_task() {
    for document in [keeping(), plain()] {
        for (status, body, goes_on) in [
            (202, b"".as_slice(), true),
            (202, b"Accepted", true),
            (200, b"Accepted", false),
            (200, b"", true),
            (200, b"{}", true),
            (202, br#"{"jsonrpc":"2.0","id":7,"result":{}}"#, false),
            (500, b"", false),
        ] {
            let keeps = goes_on && document == keeping();
            let mut vm = Vm::new(&load(&document));
            let stream = elevated(&mut vm, &call());
            vm.response_head(stream, status, JSON, body.is_empty());
            if !body.is_empty() {
                vm.response_chunk(stream, body, true);
            }
            assert_eq!(
                (revoked(&mut vm).is_empty(), revocations_counted(&vm, "kept")),
                (keeps, usize::from(keeps)),
                "{status}"
            );
        }
    }
    // What is too long to be looked at ends.
    let mut vm = Vm::new(&load(&keeping()));
    let stream = elevated(&mut vm, &call());
    vm.response_head(stream, 200, JSON, false);
    vm.response_chunk(stream, &vec![b' '; 300 * 1024], false);
    vm.response_chunk(stream, br#"{"jsonrpc":"2.0","id":7,"result":{"resultType":"task"}}"#, true);
    assert_eq!(revoked(&mut vm).len(), 1);
}

#[test]
fn p30_keeping_is_said_of_exchanges_only_and_warned_of() {
    assert!(warnings(&keeping()).contains("outlives its answer"));
    assert_faulty(&document(json!({ "get": { "scope": "a", "task": "keep" } })), &["tools.get.task"]);
    // A caller that asks for a task gets one.
    let task = Request::method("tools/call", json!({ "name": "delete", "task": {} })).bearer(&token(BASELINE));
    Vm::new(&load(&plain())).send(&task).assert_refused(403, "task_not_elevated");
    let mut vm = Vm::new(&load(&keeping()));
    let stream = begin(&mut vm, &task);
    assert!(!vm.is_settled(stream));
}

fn cancelled(id: &Json) -> Request {
    let body = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } });
    Request::post(body.to_string()).bearer(&token(BASELINE))
}

#[test]
fn p30_a_cancellation_ends_the_operation_that_it_names() {
    let in_session = || call().header("mcp-session-id", "s-1");
    let (named, other) = (json!(7), json!("7"));
    for (notification, ends) in [
        (cancelled(&named).header("mcp-session-id", "s-1"), true),
        (cancelled(&named).header("mcp-session-id", "s-2"), false),
        (cancelled(&named), false),
        (cancelled(&other).header("mcp-session-id", "s-1"), false),
        (cancelled(&named).header("mcp-session-id", "s-1").bearer(&bob()), false),
    ] {
        let mut vm = vm();
        let stream = elevated(&mut vm, &in_session());
        vm.response_head(stream, 200, EVENTS, false);
        vm.send(&notification).assert_forwarded();
        assert_eq!(revoked(&mut vm).len(), usize::from(ends));
        vm.response_chunk(stream, RESULT, true);
        assert_eq!(revoked(&mut vm).len(), usize::from(!ends), "once");
    }
    // One whose client has left already, and that lingers.
    let mut vm = lingering();
    let stream = elevated(&mut vm, &in_session());
    vm.response_head(stream, 200, EVENTS, false);
    vm.gone(stream);
    assert!(revoked(&mut vm).is_empty());
    vm.send(&cancelled(&named).header("mcp-session-id", "s-1")).assert_forwarded();
    assert_eq!(revoked(&mut vm).len(), 1);
    // One that pauses, too.
    let mut vm = self::vm();
    closed_after(&mut vm, &in_session(), PRIMED);
    vm.send(&cancelled(&named).header("mcp-session-id", "s-1")).assert_forwarded();
    assert_eq!(revoked(&mut vm).len(), 1);
}

#[test]
fn p30_a_call_that_is_cancelled_before_it_has_its_token_never_has_it() {
    let in_session = call().header("mcp-session-id", "s-1");
    for (session, ends) in [("s-1", true), ("s-2", false)] {
        let mut vm = vm();
        let (stream, id) = exchange(&mut vm, &in_session);
        vm.send(&cancelled(&json!(7)).header("mcp-session-id", session)).assert_forwarded();
        assert_eq!(vm.is_settled(stream), ends);
        if ends {
            vm.settled(stream).assert_refused(400, "cancelled");
        }
        grant(&mut vm, id, &good().text());
        assert_eq!(vm.elevated(stream).is_some(), !ends);
        assert_eq!(revoked(&mut vm).len(), usize::from(ends), "what was minted for nobody");
    }
}

#[test]
fn p30_the_first_final_event_decides_wherever_a_piece_ends() {
    let task = r#"data: {"jsonrpc":"2.0","id":7,"result":{"task":{"taskId":"t"}}}"#;
    let done = r#"data: {"jsonrpc":"2.0","id":7,"result":{}}"#;
    let progress = r#"data: {"jsonrpc":"2.0","method":"notifications/progress"}"#;
    for (events, keeps) in
        [([task, progress], true), ([task, done], true), ([done, task], false), ([progress, done], false)]
    {
        let mut vm = Vm::new(&load(&keeping()));
        let stream = elevated(&mut vm, &call());
        vm.response_head(stream, 200, EVENTS, false);
        vm.response_chunk(stream, format!("{}\n\n{}\n\n", events[0], events[1]).as_bytes(), false);
        assert_eq!(
            (revoked(&mut vm).is_empty(), revocations_counted(&vm, "kept")),
            (keeps, usize::from(keeps)),
            "{events:?}"
        );
    }
}

#[test]
fn p30_without_a_session_the_client_and_the_server_tell_operations_apart() {
    let other_client = Token::new(BASELINE).claim("client_id", "other").text();
    for (notification, ends) in [(cancelled(&json!(7)), true), (cancelled(&json!(7)).bearer(&other_client), false)] {
        let mut vm = vm();
        let (stream, _) = exchange(&mut vm, &call());
        vm.send(&notification).assert_forwarded();
        assert_eq!(vm.is_settled(stream), ends);
    }
    // Two servers of one policy, one user, and the first request of each client.
    let mut document = plain();
    let one = json!({
        "resource": document["resource"], "baseline": document["baseline"], "tools": document["tools"],
    });
    let mut two = one.clone();
    two["resource"] = json!("https://mcp.example.com/two");
    for name in ["resource", "baseline", "tools"] {
        document.as_object_mut().expect("a map").remove(name);
    }
    document["select"] = json!("host");
    document["servers"] = json!({ "one": one, "two": two });
    let mut vm = Vm::new(&load(&document));
    let (stream, _) = exchange(&mut vm, &call());
    let at_two = Token::new(BASELINE).claim("aud", "https://mcp.example.com/two").text();
    vm.send(&cancelled(&json!(7)).header(":path", "/two").bearer(&at_two)).assert_forwarded();
    assert!(!vm.is_settled(stream));
}

#[test]
fn p30_a_result_is_seen_whatever_else_it_holds() {
    let many = format!("{{{}}}", (0..10_001).map(|n| format!("\"{n}\":0")).collect::<Vec<_>>().join(","));
    for (result, ends) in [
        (many.as_str(), true),
        (r#"{"a\u0001":0}"#, true),
        (r#"{"a":1,"a":2}"#, true),
        (r#"null"#, true),
        (r#"{"#, false),
    ] {
        let mut vm = vm();
        let stream = elevated(&mut vm, &call());
        vm.response_head(stream, 200, EVENTS, false);
        vm.response_chunk(stream, format!("data: {{\"id\":7,\"result\":{result}}}\n\n").as_bytes(), false);
        assert_eq!(revoked(&mut vm).len(), usize::from(ends), "{}", result.chars().take(20).collect::<String>());
    }
    // P29: a request of the server, with a member that is null and so absent.
    let mut vm = vm();
    let stream = elevated(&mut vm, &call());
    vm.response_head(stream, 200, EVENTS, false);
    vm.response_chunk(stream, b"data: {\"id\":7,\"method\":\"ping\",\"error\":null,\"result\":null}\n\n", false);
    assert!(revoked(&mut vm).is_empty());
}

#[test]
fn p30_what_goes_on_in_a_get_has_the_callers_own_token() {
    let resume = |session: &str| resume(&token(BASELINE), "e-1").header("mcp-session-id", session);
    let paused = |vm: &mut Vm| closed_after(vm, &call().header("mcp-session-id", "s-1"), PRIMED);
    // Ids of events are unique in a session only.
    let mut vm = vm();
    paused(&mut vm);
    let other = begin(&mut vm, &resume("s-2"));
    vm.response_head(other, 200, EVENTS, false);
    vm.response_chunk(other, RESULT, true);
    assert!(revoked(&mut vm).is_empty());
    // Refusals are about that token, and pass.
    for status in [401, 403, 404] {
        let mut vm = self::vm();
        paused(&mut vm);
        let stream = begin(&mut vm, &resume("s-1"));
        vm.response_head(stream, status, JSON, true);
        assert_eq!((vm.replaced(stream), vm.is_held(stream)), (None, false));
        // It rests as long as it would have, and another GET may continue it.
        assert!(revoked(&mut vm).is_empty());
        vm.gone(stream);
        vm.pass(2_000);
        let again = begin(&mut vm, &resume("s-1"));
        vm.response_head(again, 200, EVENTS, false);
        vm.response_chunk(again, RESULT, false);
        assert_eq!(revoked(&mut vm).len(), 1, "{status}");
    }
    let mut vm = self::vm();
    paused(&mut vm);
    let stream = begin(&mut vm, &resume("s-1"));
    vm.response_head(stream, 503, JSON, true);
    vm.pass(11_000);
    assert_eq!(revoked(&mut vm).len(), 1, "nobody continued it");
}

#[test]
fn p30_events_are_read_as_browsers_do() {
    let mark = "\u{feff}";
    let long = "x".repeat(300 * 1024);
    for (events, is_pause) in [
        (format!("{mark}id: e-1\ndata: \n\n"), true),
        ("id: e\0-1\ndata: \n\n".to_owned(), false),
        ("id: e-1\ndata: \n\ndata\n\n".to_owned(), false),
        // A result that nobody can see is none that is still to come.
        (format!("id: e-1\ndata: {{\"id\":7,\"result\":{{\"x\":\"{long}\"}}}}\n\n"), false),
        ("id: e-1\ndata: [{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}]\n\n".to_owned(), false),
    ] {
        let mut vm = vm();
        closed_after(&mut vm, &call(), events.as_bytes());
        assert_eq!(revoked(&mut vm).is_empty(), is_pause, "{}", events.chars().take(60).collect::<String>());
    }
    let mut vm = vm();
    let stream = elevated(&mut vm, &call());
    vm.response_head(stream, 403, JSON, false);
    vm.response_body(stream, Ok(format!("{mark}{{\"error\":\"invalid_token\"}}").as_bytes()));
    assert_eq!(vm.replaced(stream).map(|answer| answer.status), Some(502));
}
