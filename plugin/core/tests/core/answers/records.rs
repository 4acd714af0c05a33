//! Records and metrics.

use super::*;

#[test]
fn every_decision_leaves_a_record_without_the_token() {
    let mut vm = vm();
    let token = token("mcp:connect");
    let settled = vm.send(&Request::call("get").bearer(&token));
    let expected = json!({
        "verdict": "permit",
        "reason": "permitted",
        "mode": "enforce",
        "server": "default",
        "protocol": "2025-11-25",
        "method": "tools/call",
        "name": "get",
        "rule": "get",
        "issuer": ISSUER,
        "subject": "alice",
        "client": "agent",
        "token_id": "t-1",
        "claimed_request_id": "edge-1",
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(settled.record[name], *value, "{name}");
    }
    assert_eq!(settled.record["token"].as_str().unwrap().len(), 16);
    assert_eq!(settled.record["id"].as_str().unwrap().len(), 32);
    assert_eq!(settled.record["policy"].as_str().unwrap().len(), 12);
    for part in token.split('.') {
        assert!(!settled.record.to_string().contains(part));
    }
    vm.send(&Request::call("shell").bearer(&token));
    vm.send(&Request::call("get"));
    vm.send(&Request::post("{").bearer(&token));
    assert_eq!(vm.records(), 4);
}

#[test]
fn the_record_names_what_was_asked_for() {
    let mut vm = vm();
    let read = Request::method("resources/read", json!({ "uri": "file:///etc/passwd" })).bearer(&good());
    assert_eq!(vm.send(&read).record["name"], "file:///etc/passwd");
    let prompt = Request::method("prompts/get", json!({ "name": "greet" })).bearer(&good());
    assert_eq!(vm.send(&prompt).record["name"], "greet");
}

#[test]
fn what_a_caller_writes_is_bounded_in_the_record() {
    let mut vm = vm();
    let name = "\u{1f600}\n\u{2028}\"".repeat(500);
    let settled = vm.send(&Request::call(&name).header("x-request-id", "r".repeat(5000)).bearer(&good()));
    assert!(settled.record["name"].as_str().unwrap().len() < 300);
    assert!(settled.record["claimed_request_id"].as_str().unwrap().len() < 300);
    let method = Request::method(&"m".repeat(5000), json!({})).bearer(&good());
    assert!(vm.send(&method).record["method"].as_str().unwrap().len() < 300);
}

#[test]
fn strangers_cannot_fill_the_log() {
    // Without a good token nobody gets more than ten records a second, whatever is tried. Counters stay exact.
    let bare = |path: &str| Request::bare("GET", path);
    let mut requests = vec![
        Request::call("get"),
        Request::call("get").header("authorization", "Basic x"),
        Request::call("get").bearer(&Token::new(BASELINE).claim("exp", START - 100).text()),
        Request::call("get").bearer("x"),
        Request::call("get").header("origin", "https://evil.example.com"),
        Request::call("get").header("upgrade", "websocket"),
        Request::call("get").header("x-http-method", "PUT"),
        Request::call("get").header(":path", "/mcp?access_token=x"),
        Request::call("get").another("mcp-name", "a").another("mcp-name", "a"),
        Request::call("get").header("x", b"\xff"),
        Request::call("get").routed_to("x"),
        bare("/other"),
        bare(WELL_KNOWN),
        bare("/mcp").header("content-length", "1"),
        bare("/mcp").header("mcp-protocol-version", "2026-07-28"),
        bare("/mcp").header("mcp-protocol-version", "unheard-of"),
    ];
    requests.extend(bad_tokens().into_iter().map(|(_, token)| Request::call("get").bearer(&token)));
    let mut flooding = Vec::new();
    for request in &requests {
        let mut vm = vm();
        for _ in 0..30 {
            vm.send(request);
        }
        if vm.records() > 10 {
            flooding.push(format!("{} records of {}", vm.records(), vm.send(request).reason()));
        }
        let decisions: u32 = vm.decisions().iter().map(|(_, count)| count).sum();
        assert!(decisions >= 30, "counters are exact");
    }
    assert!(flooding.is_empty(), "{flooding:#?}");
}

#[test]
fn suppressed_records_are_counted_in_the_next() {
    let mut vm = vm();
    for _ in 0..30 {
        vm.send(&Request::call("get"));
    }
    assert_eq!(vm.records(), 10);
    vm.pass(1_000);
    assert_eq!(vm.send(&Request::call("get")).record["suppressed"], 20);
    assert_eq!(vm.send(&Request::call("get")).record.get("suppressed"), None);
}

#[test]
fn decisions_are_told_once_a_second_and_none_is_lost_at_the_end() {
    let mut vm = vm();
    for _ in 0..3 {
        vm.send(&Request::call("get").bearer(&good()));
    }
    assert_eq!(vm.told(), []);
    vm.pass(1_000);
    assert_eq!(vm.told(), [("permitted", 3)]);
    vm.send(&Request::call("get").bearer(&good()));
    let last = vm.head(&Request::call("get").bearer(&good()));
    vm.retire();
    assert_eq!(vm.told(), [("permitted", 3), ("permitted", 1)]);
    // The host may take the root away when nothing is left, without another tick.
    vm.body(last, Request::call("get").body());
    assert_eq!(vm.told(), [("permitted", 3), ("permitted", 1), ("permitted", 1)]);
}

#[test]
fn metrics_name_server_verdict_reason_and_mode() {
    let mut vm = vm();
    vm.send(&Request::call("put").bearer(&good()));
    vm.send(&Request::call("get").bearer(&good()));
    vm.tick();
    let names: Vec<String> = vm.metrics.iter().map(Metric::name).collect();
    for expected in [
        "stepup_decisions_total;server=default;verdict=challenge;reason=scope_missing;mode=enforce",
        "stepup_decisions_total;server=default;verdict=permit;reason=permitted;mode=enforce",
    ] {
        assert!(names.iter().any(|name| name == expected), "{names:#?}");
    }
    let info = names.iter().find(|name| name.starts_with("stepup_info;")).unwrap();
    assert!(info.contains(&format!("policy={}", load(&example()).digest())), "{info}");
    assert!(names.iter().all(|name| !name.contains("put") && !name.contains("get")), "no tool names");
}

#[test]
fn a_client_that_leaves_is_counted() {
    let mut vm = vm();
    let stream = vm.head(&Request::call("get").bearer(&good()));
    vm.gone(stream);
    vm.body(stream, Request::call("get").body());
    assert!(!vm.is_settled(stream), "nobody is there to be answered");
    assert_eq!(vm.counted("client_gone"), 1);
}

#[test]
fn a_policy_is_announced_once_in_the_process_with_its_warnings() {
    let policy = load(&with(example(), "/tools/*", json!({ "scope": [] })));
    let process = Process::new(&policy, 3);
    let lines: Vec<&String> = process.vms.iter().flat_map(|vm| &vm.logs).collect();
    let in_force = lines.iter().filter(|line| line.contains("in force")).count();
    assert_eq!((in_force, lines.len()), (1, 1 + policy.warnings().len()), "{lines:#?}");
    assert!(lines[0].contains(policy.digest()));
}

#[test]
fn a_policy_that_was_replaced_is_no_longer_in_force() {
    let last = |vm: &Vm| {
        let info = vm.metrics.iter().rev().find(|metric| matches!(metric, Metric::Info { .. }));
        info.map(|metric| metric.change())
    };
    let memory = Memory::default();
    let (old, new) = (load(&example()), load(&with(example(), "/baseline", json!(["other"]))));
    let mut before = Vm::in_process(&old, &memory, NOW, 1);
    assert_eq!(last(&before), Some(Change::Set(1)));
    let after = Vm::in_process(&new, &memory, NOW, 2);
    before.retire();
    assert_eq!((last(&before), last(&after)), (Some(Change::Set(0)), Some(Change::Set(1))));
}
