//! P23: tokens that nobody can read here.

use step_up_core::{Call, CallId};

use super::*;

const OPAQUE: &str = "2YotnFZFEjr1zCsicMWpAA==";

/// `beside` keys, or in their place.
fn asking(beside: bool, more: Json) -> Json {
    let mut document = speaking(json!({ "introspection": {
        "cluster": "as-introspect", "url": "https://as.example.com/introspect", "client": { "id": "mcp", "auth": "cluster" },
    } }));
    let issuer = document.pointer_mut(AT).expect("the issuer").as_object_mut().expect("a map");
    if !beside {
        issuer.remove("keys");
        issuer.remove("algorithms");
    }
    let introspection = issuer["introspection"].as_object_mut().expect("a map");
    introspection.extend(more.as_object().expect("a map").clone());
    document
}

fn good() -> Json {
    json!({
        "active": true, "iss": ISSUER, "aud": RESOURCE, "sub": "alice", "client_id": "agent",
        "iat": START - 60, "exp": START + 540, "scope": "mcp:connect repo:read",
    })
}

fn changed(changes: Json) -> Json {
    let mut answer = good();
    for (name, value) in changes.as_object().expect("a map") {
        answer[name] = value.clone();
    }
    answer.as_object_mut().expect("a map").retain(|_, value| !value.is_null());
    answer
}

/// A call with this token, which waits for its issuer.
#[track_caller]
fn waiting(vm: &mut Vm, token: &str) -> (step_up_core::StreamId, CallId, Call) {
    let stream = vm.head(&Request::call("get").bearer(token));
    assert!(!vm.is_settled(stream), "{}", vm.settled(stream).record);
    let mut calls = vm.take_calls();
    assert_eq!(calls.len(), 1);
    let (id, call) = calls.pop().expect("the question");
    (stream, id, call)
}

fn answered(vm: &mut Vm, stream: step_up_core::StreamId, id: CallId, answer: &Json) -> Settled {
    vm.reply(id, Ok((200, answer.to_string().as_bytes())));
    if !vm.is_settled(stream) {
        vm.body(stream, Request::call("get").body());
    }
    vm.settled(stream)
}

#[track_caller]
fn judged(document: &Json, token: &str, answer: &Json) -> Settled {
    let mut vm = Vm::new(&load(document));
    let (stream, id, _) = waiting(&mut vm, token);
    answered(&mut vm, stream, id, answer)
}

#[test]
fn p23_the_issuer_is_asked_as_rfc_7662_says() {
    let mut vm = Vm::new(&load(&asking(true, json!({}))));
    let (stream, id, call) = waiting(&mut vm, OPAQUE);
    assert_eq!((call.method, &*call.cluster, &*call.path), ("POST", "as-introspect", "/introspect"));
    assert_eq!(call.body.reveal(), "token=2YotnFZFEjr1zCsicMWpAA%3D%3D&token_type_hint=access_token&client_id=mcp");
    let settled = answered(&mut vm, stream, id, &good());
    assert_eq!((settled.reason(), &settled.record["introspected"]), ("permitted", &json!(true)));
    assert_eq!((&settled.record["subject"], &settled.record["client"]), (&json!("alice"), &json!("agent")));
    assert!(!settled.record.to_string().contains("2YotnFZ"));
    // Without authentication, where the policy says so.
    let mut vm = Vm::new(&load(&asking(true, json!({ "client": "none" }))));
    assert_eq!(
        waiting(&mut vm, OPAQUE).2.body.reveal(),
        "token=2YotnFZFEjr1zCsicMWpAA%3D%3D&token_type_hint=access_token"
    );
    assert!(warnings(&asking(true, json!({ "client": "none" }))).contains("without authentication"));
}

#[test]
fn p23_beside_keys_a_jws_is_read_here_and_in_their_place_it_is_not() {
    let mut vm = Vm::new(&load(&asking(true, json!({}))));
    vm.send(&Request::call("get").bearer(&able().text())).assert_forwarded();
    assert!(vm.take_calls().is_empty());
    vm.send(&Request::call("get").bearer(&able().header("kid", "k1").signed_by(other_key())))
        .assert_refused(401, "signature_invalid");
    assert!(vm.take_calls().is_empty(), "a bad JWS is nobody's question");
    // Lightweight: nothing of it is believed but whom to ask.
    let instead = asking(false, json!({}));
    let light = Token::new("repo:admin").claim("exp", START - 600).without("sub").text();
    assert_eq!(judged(&instead, &light, &good()).reason(), "permitted");
    assert_eq!(judged(&instead, OPAQUE, &good()).reason(), "permitted");
    let mut vm = Vm::new(&load(&instead));
    vm.send(&Request::call("get").bearer(&able().claim("iss", "https://evil.example").text()))
        .assert_refused(401, "issuer_unknown");
    assert!(vm.take_calls().is_empty());
}

#[test]
fn p23_the_answer_is_checked_like_a_token() {
    let document = asking(true, json!({}));
    for (changes, reason) in [
        (json!({}), "permitted"),
        (json!({ "iss": null }), "permitted"),
        (json!({ "exp": null, "iat": null, "sub": null }), "permitted"),
        (json!({ "aud": ["x", RESOURCE] }), "permitted"),
        (json!({ "active": false }), "token_inactive"),
        (json!({ "iss": "https://other.example.com" }), "issuer_unknown"),
        (json!({ "aud": null }), "audience_mismatch"),
        (json!({ "aud": "https://other.example.com" }), "audience_mismatch"),
        (json!({ "exp": START - 60 }), "token_expired"),
        (json!({ "nbf": START + 60 }), "token_not_yet_valid"),
        (json!({ "iat": START + 60 }), "token_not_yet_valid"),
        (json!({ "scope": "mcp:connect" }), "scope_missing"),
        (json!({ "scope": 7 }), "claim_malformed"),
        (json!({ "cnf": { "jkt": "x" } }), "token_bound"),
        (json!({ "active": "true" }), "introspection_unavailable"),
        (json!({ "active": null }), "introspection_unavailable"),
    ] {
        assert_eq!(judged(&document, OPAQUE, &changed(changes.clone())).reason(), reason, "{changes}");
    }
    // What is not said is more than any lifetime.
    let short = with(document, &format!("{AT}/max_lifetime"), json!("1h"));
    assert_eq!(judged(&short, OPAQUE, &good()).reason(), "permitted");
    for missing in ["iat", "exp"] {
        assert_eq!(
            judged(&short, OPAQUE, &changed(json!({ missing: null }))).reason(),
            "token_too_long_lived",
            "{missing}"
        );
    }
    let vague = asking(true, json!({ "audience": "not_said" }));
    assert_eq!(judged(&vague, OPAQUE, &changed(json!({ "aud": null }))).reason(), "permitted");
    assert_eq!(
        judged(&vague, OPAQUE, &changed(json!({ "aud": "https://other.example.com" }))).reason(),
        "audience_mismatch"
    );
    assert!(warnings(&vague).contains("do not say for whom"));
}

#[test]
fn p23_an_answer_that_is_none_sends_nobody_to_log_in() {
    let document = asking(true, json!({}));
    for reply in [
        Err(step_up_core::CallFault::Refused),
        Err(step_up_core::CallFault::Unanswered),
        Ok((401, br#"{"error":"invalid_client"}"#.as_slice())),
        Ok((500, b"".as_slice())),
        Ok((200, b"active".as_slice())),
        Ok((200, br#"{"active":true,"active":false}"#.as_slice())),
    ] {
        let mut vm = Vm::new(&load(&document));
        let (stream, id, _) = waiting(&mut vm, OPAQUE);
        vm.reply(id, reply);
        let settled = vm.settled(stream);
        settled.assert_refused(503, "introspection_unavailable");
        assert_eq!((settled.challenge(), settled.answer().header("retry-after")), (None, Some("5")));
        // And is not remembered.
        waiting(&mut vm, OPAQUE);
    }
    let mut vm = Vm::new(&load(&document));
    let (stream, ..) = waiting(&mut vm, OPAQUE);
    vm.pass(2_500);
    vm.settled(stream).assert_refused(503, "introspection_unavailable");
}

#[test]
fn p23_one_question_for_a_token_and_its_answer_is_remembered() {
    let mut vm = Vm::new(&load(&asking(true, json!({}))));
    let (first, id, _) = waiting(&mut vm, OPAQUE);
    let second = vm.head(&Request::call("get").bearer(OPAQUE));
    vm.body(second, Request::call("get").body());
    assert!(vm.take_calls().is_empty() && !vm.is_settled(second));
    answered(&mut vm, first, id, &good()).assert_forwarded();
    assert!(vm.wants_body(second));
    vm.body(second, Request::call("get").body());
    vm.settled(second).assert_forwarded();
    vm.pass(29_000);
    vm.send(&Request::call("get").bearer(OPAQUE)).assert_forwarded();
    vm.pass(2_000);
    waiting(&mut vm, OPAQUE);
    // "Inactive" for five seconds, and never beyond `exp`.
    let mut vm = Vm::new(&load(&asking(true, json!({ "cache": "60s" }))));
    let (stream, id, _) = waiting(&mut vm, OPAQUE);
    answered(&mut vm, stream, id, &json!({ "active": false })).assert_refused(401, "token_inactive");
    vm.pass(4_900);
    vm.send(&Request::call("get").bearer(OPAQUE)).assert_refused(401, "token_inactive");
    vm.pass(200);
    let (stream, id, _) = waiting(&mut vm, OPAQUE);
    answered(&mut vm, stream, id, &changed(json!({ "exp": START + 15 }))).assert_forwarded();
    vm.pass(11_000);
    waiting(&mut vm, OPAQUE);
    let mut vm = Vm::new(&load(&asking(true, json!({ "cache": "0s" }))));
    for _ in 0..2 {
        let (stream, id, _) = waiting(&mut vm, OPAQUE);
        answered(&mut vm, stream, id, &good()).assert_forwarded();
    }
}

#[test]
fn p23_length_and_characters_come_before_any_question() {
    let mut vm = Vm::new(&load(&asking(true, json!({}))));
    for (token, status, reason) in [
        ("x".repeat(4_097), 431, "token_too_large"),
        ("a b".to_owned(), 401, "token_malformed"),
        ("a\"b".to_owned(), 401, "token_malformed"),
        ("a=b".to_owned(), 401, "token_malformed"),
        ("==".to_owned(), 401, "token_malformed"),
    ] {
        vm.send(&Request::call("get").bearer(&token)).assert_refused(status, reason);
        assert!(vm.take_calls().is_empty());
    }
}

#[test]
fn p23_strangers_do_not_starve_callers() {
    let mut vm = Vm::new(&load(&asking(true, json!({ "cache": "1s" }))));
    let callers: Vec<String> = (0..50).map(|number| format!("caller-{number}")).collect();
    // All of them have been here before.
    for token in &callers {
        let stream = vm.head(&Request::call("get").bearer(token));
        if vm.is_settled(stream) {
            vm.pass(1_000);
        }
        let stream = if vm.is_settled(stream) { vm.head(&Request::call("get").bearer(token)) } else { stream };
        let (id, _) = vm.take_calls().pop().expect("a question");
        answered(&mut vm, stream, id, &good()).assert_forwarded();
    }
    let (mut served, mut asked, mut refused) = (0, 0, 0);
    for second in 0..5 {
        vm.pass(1_100);
        for number in 0..1_000 {
            let stream = vm.head(&Request::call("get").bearer(&format!("stranger-{second}-{number}")));
            match vm.is_settled(stream) {
                true => {
                    // Most of their records are suppressed.
                    assert_eq!(vm.settled(stream).answer().status, 503);
                    refused += 1;
                }
                // Nobody answers about strangers: they hold their places.
                false => asked += vm.take_calls().len(),
            }
            if number % 20 == 0 {
                let token = &callers[number / 20];
                let stream = vm.head(&Request::call("get").bearer(token));
                assert!(!vm.is_settled(stream), "{}", vm.settled(stream).record);
                let (id, _) = vm.take_calls().pop().expect("a question about a caller");
                answered(&mut vm, stream, id, &good()).assert_forwarded();
                served += 1;
            }
        }
    }
    assert_eq!(served, 250);
    assert!(asked <= 100 && refused >= 4_900, "{asked} {refused}");
}

#[test]
fn p23_an_opaque_token_can_be_exchanged_where_it_has_a_subject() {
    let mut document = asking(true, json!({}));
    document["tools"]["drop"] =
        json!({ "scope": "repo:admin", "step_up": "exchange", "may_elevate": { "client": ["agent"] } });
    document["token_service"] = json!({
        "issuer": ISSUER, "cluster": "as", "token": "https://as.example.com/token", "revoke": "none", "client": { "id": "f", "auth": "cluster" },
    });
    for (changes, exchanged) in [(json!({}), true), (json!({ "sub": null }), false)] {
        let mut vm = Vm::new(&load(&document));
        let stream = vm.head(&Request::call("drop").bearer(OPAQUE));
        let (id, _) = vm.take_calls().pop().expect("the question");
        vm.reply(id, Ok((200, changed(changes).to_string().as_bytes())));
        vm.body(stream, Request::call("drop").body());
        assert_eq!(vm.is_settled(stream), !exchanged);
        match vm.take_calls().pop() {
            Some((_, call)) => assert!(call.body.reveal().contains("subject_token=2YotnFZFEjr1zCsicMWpAA%3D%3D")),
            None => vm.settled(stream).assert_refused(403, "not_eligible"),
        }
    }
}

#[test]
fn p23_what_cannot_be_meant_is_a_load_error() {
    let at = "issuers.\"https://as.example.com\"";
    for (document, place) in [
        (asking(true, json!({ "cache": "61s" })), format!("{at}.introspection.cache")),
        (asking(true, json!({ "rate": 0 })), format!("{at}.introspection.rate")),
        (asking(true, json!({ "audience": "maybe" })), format!("{at}.introspection.audience")),
        (asking(true, json!({ "url": "http://as.example.com/x" })), format!("{at}.introspection.url")),
        (with(asking(false, json!({})), &format!("{AT}/algorithms"), json!(["ES256"])), format!("{at}.algorithms")),
        (without(speaking(json!({})), &format!("{AT}/keys")), at.to_owned()),
    ] {
        assert_faulty(&document, &[&place]);
    }
    // Two of them at one server, and tokens that do not say for whom they are at two.
    let mut two = asking(true, json!({}));
    two["issuers"]["https://b.example.com"] = two["issuers"][ISSUER].clone();
    assert_faulty(&two, &[""]);
    let mut shared = asking(true, json!({ "audience": "not_said" }));
    let server =
        |resource: &str| json!({ "resource": resource, "baseline": [BASELINE], "tools": { "get": { "scope": [] } } });
    for name in ["resource", "baseline", "tools"] {
        shared.as_object_mut().expect("a map").remove(name);
    }
    shared["servers"] = json!({ "a": server(RESOURCE), "b": server("https://b.example.com/mcp") });
    assert_faulty(&shared, &[&format!("{at}.introspection.audience")]);
    let mut service = asking(false, json!({}));
    service["token_service"] = json!({
        "issuer": ISSUER, "cluster": "as", "token": "https://as.example.com/token", "revoke": "none", "client": { "id": "f", "auth": "cluster" },
    });
    assert_faulty(&service, &["token_service"]);
}

#[test]
fn p23_a_token_that_does_not_say_when_it_ends_is_no_stranger_the_second_time() {
    let mut vm = Vm::new(&load(&asking(true, json!({ "cache": "1s", "rate": 1 }))));
    let endless = changed(json!({ "exp": null }));
    let (stream, id, _) = waiting(&mut vm, OPAQUE);
    answered(&mut vm, stream, id, &endless).assert_forwarded();
    vm.pass(32_000);
    vm.take_calls();
    // The one stranger of this second.
    waiting(&mut vm, "stranger");
    let (stream, id, _) = waiting(&mut vm, OPAQUE);
    answered(&mut vm, stream, id, &endless).assert_forwarded();
}

#[test]
fn p23_many_callers_do_not_make_strangers_of_each_other() {
    let document = with(asking(true, json!({ "rate": 100_000 })), "/limits", json!({ "introspections": 40 }));
    let mut vm = Vm::new(&load(&document));
    let long = changed(json!({ "exp": START + 3600 }));
    for number in 0..4_200 {
        let (stream, id, _) = waiting(&mut vm, &format!("caller-{number}"));
        answered(&mut vm, stream, id, &long).assert_forwarded();
    }
    vm.pass(31_000);
    vm.take_calls();
    // Strangers take their half of the places.
    for number in 0..20 {
        waiting(&mut vm, &format!("stranger-{number}"));
    }
    let turned_away = vm.head(&Request::call("get").bearer("stranger-20"));
    vm.settled(turned_away).assert_refused(503, "introspection_unavailable");
    let (stream, id, _) = waiting(&mut vm, "caller-0");
    answered(&mut vm, stream, id, &long).assert_forwarded();
}

#[test]
fn p23_what_one_issuer_says_is_nothing_to_the_server_of_another() {
    const OTHER: &str = "https://other.example.com";
    let one = asking(true, json!({ "rate": 1 }));
    let mut issuer = one.pointer(AT).expect("the issuer").clone();
    issuer["introspection"]["url"] = json!("https://other.example.com/introspect");
    let server = |path: &str, issuer: &str| json!({ "resource": format!("https://mcp.example.com{path}"), "issuers": [issuer], "baseline": BASELINE, "tools": one["tools"] });
    let document = json!({
        "version": 1, "select": "host",
        "issuers": { ISSUER: one.pointer(AT).expect("the issuer"), OTHER: issuer },
        "servers": { "one": server("/mcp", ISSUER), "two": server("/two", OTHER) },
    });
    let at_two = |token: &str| Request::call("get").header(":path", "/two").bearer(token);
    let mut vm = Vm::new(&load(&document));
    let (first, asked, _) = waiting(&mut vm, OPAQUE);
    // Asked of both, at the same time and although each has a rate of one.
    let second = vm.head(&at_two(OPAQUE));
    let (also, call) = vm.take_calls().pop().expect("a question to the other");
    assert_eq!(call.authority, "other.example.com");
    vm.reply(asked, Ok((200, br#"{"active":false}"#)));
    vm.settled(first).assert_refused(401, "token_inactive");
    let theirs = changed(json!({ "iss": OTHER, "aud": "https://mcp.example.com/two" }));
    vm.reply(also, Ok((200, theirs.to_string().as_bytes())));
    vm.body(second, Request::call("get").body());
    vm.settled(second).assert_forwarded();
}

#[test]
fn p23_a_jws_that_cannot_be_read_is_nobodys_opaque_token() {
    let part = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, text);
    let beside = asking(true, json!({}));
    let payload = format!(r#"{{"iss":"{ISSUER}","sub":"a","sub":"b"}}"#);
    for (header, payload) in [
        (r#"{"alg":"EdDSA"}"#, payload.as_str()),
        (r#"{"alg":"EdDSA","alg":"none"}"#, "{}"),
        (r#"{"alg":"EdDSA"}"#, "\"text\""),
    ] {
        let mut vm = Vm::new(&load(&beside));
        let text = format!("{}.{}.c2ln", part(header), part(payload));
        vm.send(&Request::call("get").bearer(&text)).assert_refused(401, "token_malformed");
        assert!(vm.take_calls().is_empty(), "{header} {payload}");
    }
    // Three parts do not make one.
    for text in [format!("{}.1700000000.c2ln", part(r#"{"user":1}"#)), "a.b.c".to_owned()] {
        assert_eq!(judged(&beside, &text, &good()).record["introspected"], true, "{text}");
    }
    // In place of keys its header says nothing to us.
    let instead = asking(false, json!({}));
    for header in ["jku", "crit"] {
        let token = able().header(header, json!("https://evil.example/k")).text();
        assert_eq!(judged(&instead, &token, &good()).reason(), "permitted", "{header}");
    }
    // Records of refusals say that it was asked, too.
    let refused = judged(&beside, OPAQUE, &json!({ "active": false }));
    assert_eq!((refused.reason(), &refused.record["introspected"]), ("token_inactive", &json!(true)));
}

/// Envoy would buffer it meanwhile, and answer in its own words.
#[test]
fn p23_nobody_is_asked_about_a_request_that_is_too_large() {
    let mut vm = Vm::new(&load(&asking(true, json!({}))));
    let stream = vm.head(&Request::call("get").header("content-length", "2097152").bearer(OPAQUE));
    vm.settled(stream).assert_refused(413, "body_too_large");
    assert!(vm.take_calls().is_empty());
}
