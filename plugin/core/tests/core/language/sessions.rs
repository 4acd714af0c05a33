//! P35: sessions that only their caller can continue.

use super::*;

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OLD: &str = "/////////////////////////////////////////38=";

struct Variables;

impl Environment for Variables {
    fn variable(&self, name: &str) -> Option<String> {
        let value = match name {
            "NEW" => KEY,
            "OLD" => OLD,
            "SHORT" => "AAAA",
            "EMPTY" => "",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn now(&self) -> Option<Millis> {
        None
    }
}

fn vm(keys: &[&str], words: Json) -> Vm {
    let mut document =
        server(json!({ "tools": { "t": { "scope": [] }, "hello": { "anonymous": true } }, "lists": "pass" }));
    document["sessions"] = json!({ "keys_env": keys });
    words.as_object().unwrap().iter().for_each(|(name, value)| document[name] = value.clone());
    let policy = Policy::load(document.to_string().as_bytes(), &Variables).unwrap();
    Vm::new(&std::rc::Rc::new(policy))
}

fn bob() -> String {
    Token::new(BASELINE).claim("sub", "bob").text()
}

/// Opens a session, and gives what the client gets for its id.
fn opened(vm: &mut Vm, token: Option<&str>, id: &str) -> String {
    let request = Request::method("initialize", json!({}));
    let request = token.map_or(request.clone(), |token| request.bearer(token));
    let stream = vm.head(&request);
    vm.body(stream, request.body());
    vm.settled(stream).assert_forwarded();
    vm.response(stream, ResponseHead { status: 200, content_type: JSON, session: Some(id), ..ResponseHead::default() });
    vm.sealed(stream).expect("a sealed id").to_owned()
}

fn continued(vm: &mut Vm, request: &Request) -> (String, Option<String>) {
    let stream = vm.head(request);
    if !vm.is_settled(stream) {
        vm.body(stream, request.body());
    }
    let settled = vm.settled(stream);
    let outcome = if settled.is_forwarded() { "permit".to_owned() } else { settled.reason().to_owned() };
    (outcome, vm.session(stream).map(str::to_owned))
}

#[test]
fn p35_a_session_is_continued_by_whom_it_belongs_to() {
    let mut vm = vm(&["NEW"], json!({}));
    let alice = token(BASELINE);
    let sealed = opened(&mut vm, Some(&alice), "s-1");
    assert!(sealed.starts_with("s-1."), "{sealed}");
    for request in [
        Request::call("t"),
        Request::method("ping", json!({})),
        Request::bare("GET", "/mcp"),
        Request::bare("DELETE", "/mcp"),
    ] {
        let with = |token: &str, session: &str| request.clone().bearer(token).header("mcp-session-id", session);
        assert_eq!(continued(&mut vm, &with(&alice, &sealed)), ("permit".to_owned(), Some("s-1".to_owned())));
        for (token, session) in [
            (&bob(), sealed.as_str()),
            (&alice, "s-1"),
            (&alice, &format!("{sealed}x")),
            (&alice, &sealed.replace("s-1", "s-2")),
        ] {
            assert_eq!(continued(&mut vm, &with(token, session)), ("session_foreign".to_owned(), None), "{session}");
        }
    }
    let settled = vm.send(&Request::call("t").bearer(&bob()).header("mcp-session-id", &sealed));
    settled.assert_refused(404, "session_foreign");
    assert_eq!(settled.answer().code(), Some(-32001));
    // Another token of the same subject continues it; no session is no fault.
    let again = Token::new("mcp:connect x").claim("jti", "t-2").text();
    assert_eq!(continued(&mut vm, &Request::call("t").bearer(&again).header("mcp-session-id", &sealed)).0, "permit");
    assert_eq!(continued(&mut vm, &Request::call("t").bearer(&bob())), ("permit".to_owned(), None));
}

#[test]
fn p35_any_replica_with_the_keys_can_check() {
    let alice = token(BASELINE);
    let sealed = opened(&mut vm(&["OLD"], json!({})), Some(&alice), "s");
    let request = Request::call("t").bearer(&alice).header("mcp-session-id", &sealed);
    assert_eq!(continued(&mut vm(&["NEW", "OLD"], json!({})), &request).0, "permit");
    assert_eq!(continued(&mut vm(&["NEW"], json!({})), &request).0, "session_foreign");
    let newer = opened(&mut vm(&["NEW", "OLD"], json!({})), Some(&alice), "s");
    assert_ne!(newer, sealed, "the first key makes");
}

#[test]
fn p35_what_nobody_opened_anybody_may_continue() {
    let mut vm = vm(&["NEW"], json!({}));
    let sealed = opened(&mut vm, None, "s");
    for request in
        [Request::call("hello"), Request::call("t").bearer(&bob()), Request::call("t").bearer(&token(BASELINE))]
    {
        assert_eq!(
            continued(&mut vm, &request.header("mcp-session-id", &sealed)),
            ("permit".to_owned(), Some("s".to_owned()))
        );
    }
    let own = opened(&mut vm, Some(&token(BASELINE)), "s");
    assert_eq!(continued(&mut vm, &Request::call("hello").header("mcp-session-id", &own)).0, "session_foreign");
}

#[test]
fn p35_it_is_judged_after_the_token_and_before_the_policy() {
    let mut vm = vm(&["NEW"], json!({}));
    let expired = Token::new(BASELINE).claim("exp", START - 3600).claim("iat", START - 7200).text();
    let foreign = |token: &str, tool: &str| Request::call(tool).bearer(token).header("mcp-session-id", "s");
    assert_eq!(continued(&mut vm, &foreign(&expired, "t")).0, "token_expired");
    assert_eq!(continued(&mut vm, &foreign(&token(BASELINE), "no such tool")).0, "session_foreign");
    assert_eq!(continued(&mut vm, &foreign(&token("x"), "t")).0, "session_foreign");
    let mut shadow = self::vm(&["NEW"], json!({ "mode": "shadow", "until": "2027-03-01" }));
    assert_eq!(continued(&mut shadow, &foreign(&token(BASELINE), "t")).0, "session_foreign", "never suspended");
}

#[test]
fn p35_who_has_no_token_is_told_to_log_in_and_not_that_the_session_is_gone() {
    let mut vm = vm(&["NEW"], json!({}));
    let own = opened(&mut vm, Some(&token(BASELINE)), "s");
    for id in [own.as_str(), "s"] {
        assert_eq!(continued(&mut vm, &Request::call("t").header("mcp-session-id", id)).0, "token_missing");
        assert_eq!(continued(&mut vm, &Request::call("hello").header("mcp-session-id", id)).0, "session_foreign");
    }
}

/// The end that the proxy is asked for, and the headers that are taken out.
fn bounded(vm: &mut Vm, request: &Request) -> (Option<u64>, Vec<String>) {
    let stream = vm.head(request);
    if !vm.is_settled(stream) {
        vm.body(stream, request.body());
    }
    (vm.duration(stream), vm.settled(stream).removed().to_vec())
}

#[test]
fn p35_streams_end_with_their_token_and_answers_do_not() {
    let document = document(json!({ "t": { "scope": [] } }));
    let mut vm = Vm::new(&load(&document));
    let get = |token: String| Request::bare("GET", "/mcp").bearer(&token);
    let listen = |token: String| Request::method("subscriptions/listen", json!({})).bearer(&token);
    for request in [get(token(BASELINE)), listen(token(BASELINE))] {
        let rival = "x-envoy-upstream-rq-timeout-ms";
        let (end, removed) = bounded(&mut vm, &request.header(rival, "60000"));
        assert_eq!(end, Some(540_000));
        assert!(removed.contains(&rival.to_owned()), "it would come before");
    }
    // Within the leeway of its end; and one that the proxy would take for no end.
    for (exp, end) in [(START - 1, 1), (START + 86_400 * 30, 86_400_000)] {
        let token = Token::new(BASELINE).claim("iat", START - 60).claim("exp", exp).text();
        let policy = load(&with(document.clone(), "/issuers/https:~1~1as.example.com/max_lifetime", json!("1000h")));
        assert_eq!(bounded(&mut Vm::new(&policy), &get(token)).0, Some(end), "{exp}");
    }
    for request in [Request::call("t"), Request::method("ping", json!({})), Request::bare("DELETE", "/mcp")] {
        assert_eq!(bounded(&mut vm, &request.bearer(&token(BASELINE))), (None, Vec::new()));
    }
    let unbounded = with(document, "/limits", json!({ "stream": "unbounded" }));
    let mut vm = Vm::new(&load(&unbounded));
    for request in [get(token(BASELINE)), listen(token(BASELINE))] {
        assert_eq!(bounded(&mut vm, &request).0, None);
    }
}

#[test]
fn p35_the_modern_era_has_no_sessions() {
    let mut vm = vm(&["NEW"], json!({}));
    let request = Request::modern_call("t").bearer(&token(BASELINE)).header("mcp-session-id", "s");
    let settled = vm.send(&request);
    settled.assert_forwarded();
    assert!(settled.removed().contains(&"mcp-session-id".to_owned()), "it goes no further");
}

#[test]
fn p35_without_the_word_nothing_is_sealed_and_check_says_so() {
    let document = document(json!({ "t": { "scope": [] } }));
    let mut vm = Vm::new(&load(&document));
    let request = Request::call("t").bearer(&token(BASELINE)).header("mcp-session-id", "s");
    assert_eq!(continued(&mut vm, &request), ("permit".to_owned(), None));
    let said = |document: &Json| {
        let policy = Policy::load(document.to_string().as_bytes(), &Variables).unwrap();
        policy.notes().iter().any(|note| note.to_string().contains("ids of sessions are not sealed"))
    };
    assert!(said(&document));
    assert!(!said(&with(document, "/sessions", json!({ "keys_env": ["NEW"] }))));
}

#[test]
fn p35_keys_are_read_strictly() {
    for (keys, words) in [
        (json!([]), "an empty list"),
        (json!(["NEW", "OLD", "NEW"]), "more than two keys"),
        (json!(["MISSING"]), "host_env_keys"),
        (json!(["EMPTY"]), "missing or empty"),
        (json!(["SHORT"]), "not a key of 32 bytes"),
        (json!("NEW"), "where a list is expected"),
    ] {
        let mut document = document(json!({ "t": { "scope": [] } }));
        document["sessions"] = json!({ "keys_env": keys });
        let faults = Policy::load(document.to_string().as_bytes(), &Variables).unwrap_err();
        assert!(problems(&faults).contains(words), "{keys}: {}", problems(&faults));
    }
}
