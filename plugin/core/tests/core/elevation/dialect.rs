//! P28: token services as they are.

use super::*;

/// The policy of the other tests, with this said of its token service.
fn served(more: Json) -> Json {
    let mut document = plain();
    for (name, value) in more.as_object().expect("a map") {
        document["token_service"][name] = value.clone();
    }
    document
}

fn asked(document: &Json) -> BTreeMap<String, String> {
    let mut vm = Vm::new(&load(document));
    begin(&mut vm, &call());
    form(&only_call(&mut vm).1)
}

#[test]
fn p28_the_target_is_named_as_the_service_wants_it() {
    for (target, resource, audience) in
        [("resource", true, false), ("audience", false, true), ("both", true, true), ("unsaid", false, false)]
    {
        for name in [ADMIN, "git-admin"] {
            let mut document = served(json!({ "request": { "target": target } }));
            document["tools"]["delete"]["audience"] = json!(name);
            let fields = asked(&document);
            let said = |wanted: bool| wanted.then(|| name.to_owned());
            assert_eq!(
                (fields.get("resource").cloned(), fields.get("audience").cloned()),
                (said(resource), said(audience))
            );
        }
    }
}

#[test]
fn p28_the_type_is_asked_for_as_the_service_wants_it() {
    for (word, sent) in [("access_token", Some(ACCESS_TOKEN)), ("jwt", Some(JWT)), ("unsaid", None)] {
        let document = served(json!({ "request": { "token_type": word } }));
        assert_eq!(asked(&document).get("requested_token_type").map(String::as_str), sent);
        for issued in [ACCESS_TOKEN, JWT] {
            let mut vm = Vm::new(&load(&document));
            let (stream, id) = exchange(&mut vm, &call());
            let mut body = answer(&good().text());
            body["issued_token_type"] = json!(issued);
            say(&mut vm, id, 200, &body);
            let is_asked = issued == ACCESS_TOKEN || word == "jwt";
            assert_eq!(vm.elevated(stream).is_some(), is_asked, "{word} {issued}");
        }
    }
}

#[test]
fn p28_on_behalf_of_is_entras_grant() {
    let document =
        served(json!({ "request": { "grant": "on-behalf-of", "scope": "{audience}/{scope}" }, "revoke": "none" }));
    let fields = asked(&document);
    let expected = [
        ("assertion", token(BASELINE)),
        ("client_id", FILTER.to_owned()),
        ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer".to_owned()),
        ("requested_token_use", "on_behalf_of".to_owned()),
        ("scope", format!("{ADMIN}/repo:admin")),
    ];
    assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value)).into());
    // No `issued_token_type`, the scope in either spelling.
    for (said, in_token) in [("repo:admin", "repo:admin"), ("SPELLED", "repo:admin"), ("SPELLED", "SPELLED")] {
        let spelled = |scope: &str| scope.replace("SPELLED", &format!("{ADMIN}/repo:admin"));
        let mut vm = Vm::new(&load(&document));
        let stream = begin(&mut vm, &call());
        let (id, _) = only_call(&mut vm);
        let text = good().claim("scope", spelled(in_token)).text();
        say(&mut vm, id, 200, &json!({ "access_token": text, "token_type": "Bearer", "scope": spelled(said) }));
        assert!(vm.elevated(stream).is_some(), "{said} {in_token}: {}", vm.settled(stream).record);
        // Nothing to revoke it with: it lives until its `exp`, and is counted.
        vm.response_head(stream, 200, JSON, true);
        assert!(vm.take_calls().is_empty() && vm.is_idle());
        assert_eq!(revocations_counted(&vm, "kept"), 1);
    }
    for grant in ["token-exchange", "on-behalf-of"] {
        let said = json!({ "grant": grant, "token_type": "jwt" });
        assert_eq!(
            Policy::load(served(json!({ "request": said })).to_string().as_bytes(), &step_up_core::NoEnvironment)
                .is_ok(),
            grant == "token-exchange"
        );
    }
}

#[test]
fn p28_a_type_that_is_not_said_is_believed_where_the_policy_says_so() {
    let unsaid = |document: &Json, issued: Json| {
        let mut vm = Vm::new(&load(document));
        let (stream, id) = exchange(&mut vm, &call());
        let mut body = answer(&good().text());
        body["issued_token_type"] = issued;
        say(&mut vm, id, 200, &body);
        vm.elevated(stream).is_some()
    };
    for (word, expected) in [
        (json!({}), false),
        (json!({ "issued_token_type": "said" }), false),
        (json!({ "issued_token_type": "assumed" }), true),
    ] {
        assert_eq!(unsaid(&served(word.clone()), Json::Null), expected, "{word}");
        assert!(!unsaid(&served(word), json!("urn:ietf:params:oauth:token-type:id_token")));
    }
    let strict = served(json!({ "request": { "grant": "on-behalf-of" }, "issued_token_type": "said" }));
    let mut vm = Vm::new(&load(&strict));
    let stream = begin(&mut vm, &call());
    let (id, _) = only_call(&mut vm);
    say(&mut vm, id, 200, &json!({ "access_token": good().text(), "token_type": "Bearer" }));
    vm.settled(stream).assert_refused(503, "elevated_token_type");
}

#[test]
fn p28_what_a_service_adds_is_accepted_of_it_and_never_believed_of_callers() {
    let document = served(
        json!({ "also_granted": ["profile", "email"], "also_audience": ["https://as.example.com/userinfo"], "audience_aliases": { ADMIN: ["guid-1"] } }),
    );
    let granted = |scope: &str, aud: Json| {
        let mut vm = Vm::new(&load(&document));
        let (stream, id) = exchange(&mut vm, &call());
        let mut body = answer(&good().claim("scope", scope).claim("aud", aud).text());
        body["scope"] = json!(scope);
        say(&mut vm, id, 200, &body);
        vm.settled(stream).reason().to_owned()
    };
    for (scope, aud, reason) in [
        ("repo:admin profile email", json!(ADMIN), "elevated"),
        ("repo:admin", json!([ADMIN, "https://as.example.com/userinfo"]), "elevated"),
        ("repo:admin", json!("guid-1"), "elevated"),
        ("repo:admin", json!(["https://as.example.com/userinfo", "guid-1"]), "elevated"),
        ("repo:admin phone", json!(ADMIN), "granted_too_wide"),
        ("profile email", json!(ADMIN), "granted_too_narrow"),
        ("repo:admin", json!("https://as.example.com/userinfo"), "elevated_audience"),
        ("repo:admin", json!([ADMIN, "https://other.example.com"]), "elevated_audience"),
        ("repo:admin", json!([ADMIN, "guid-1"]), "elevated_audience"),
        ("repo:admin", json!("guid-2"), "elevated_audience"),
    ] {
        assert_eq!(granted(scope, aud.clone()), reason, "{scope} {aud}");
    }
    // The caller's own `aud` is not widened by it.
    let mut vm = Vm::new(&load(&document));
    let theirs = Token::new(BASELINE).claim("aud", "https://as.example.com/userinfo").text();
    vm.send(&Request::call("delete").bearer(&theirs)).assert_refused(401, "audience_mismatch");
    assert_faulty(&served(json!({ "also_granted": ["repo:read"] })), &["token_service.also_granted"]);
    assert_faulty(&served(json!({ "also_granted": [] })), &["token_service.also_granted"]);
    assert_faulty(&served(json!({ "also_audience": ["https://*.example.com"] })), &["token_service.also_audience[0]"]);
    assert_faulty(&served(json!({ "audience_aliases": {} })), &["token_service.audience_aliases"]);
}

#[test]
fn p28_several_services_and_each_exchange_says_which() {
    let mut document = plain();
    let one = document["token_service"].take();
    document.as_object_mut().expect("a map").remove("token_service");
    let mut other = one.clone();
    (other["cluster"], other["client"]["id"]) = (json!("as-other"), json!("other-filter"));
    document["token_services"] = json!({ "one": one, "other": other });
    assert_faulty(&document, &["tools.delete"]);
    document["tools"]["delete"]["token_service"] = json!("other");
    let mut vm = Vm::new(&load(&document));
    let stream = begin(&mut vm, &call());
    let (id, asked) = only_call(&mut vm);
    assert_eq!((&*asked.cluster, &*form(&asked)["client_id"]), ("as-other", "other-filter"));
    grant(&mut vm, id, &good().claim("client_id", "other-filter").text());
    vm.response_head(stream, 200, JSON, true);
    let (_, revocation) = only_call(&mut vm);
    assert_eq!(revocation.cluster, "as-other");
    // The front door refuses the own tokens of all of them.
    for client in [FILTER, "other-filter"] {
        let own = Token::new(BASELINE).claim("client_id", client).text();
        vm.send(&Request::call("delete").bearer(&own)).assert_refused(401, "own_token_presented");
    }
    let mut unknown = document.clone();
    unknown["tools"]["delete"]["token_service"] = json!("third");
    assert_faulty(&unknown, &["tools.delete.token_service"]);
    let mut tiered = document.clone();
    tiered["tiers"] = json!({ "t": { "token_service": "one" } });
    tiered["tools"]["delete"]["tier"] = json!("t");
    assert_faulty(&tiered, &["tools.delete"]);
    let mut both = document;
    both["token_service"] = both["token_services"]["one"].clone();
    assert!(faults(&both).iter().any(|fault| fault.path == "token_services"));
    assert_faulty(&exchanging(json!({ "token_service": "one" })), &["tools.delete.token_service"]);
}

/// A call whose exchange is answered so, and what came of it.
fn refused_with(vm: &mut Vm, request: &Request, status: u16, body: &Json) -> Settled {
    let (stream, id) = exchange(vm, request);
    say(vm, id, status, body);
    vm.settled(stream)
}

#[test]
fn p28_invalid_request_is_a_dead_subject_where_the_target_has_worked() {
    let dead = json!({ "error": "invalid_request", "error_description": "Invalid token\u{7}\u{e9}" });
    let mut vm = vm();
    let first = refused_with(&mut vm, &call(), 400, &dead);
    first.assert_refused(403, "elevation_refused");
    let said = first.record["service_error"].as_str().unwrap();
    assert!(said.starts_with("400 invalid_request: Invalid token (") && said.is_ascii(), "{said}");
    assert!(!first.answer().json().to_string().contains("Invalid token"), "never to the client");
    let stream = elevated(&mut vm, &call());
    vm.response_head(stream, 200, JSON, true);
    vm.take_calls();
    // It has worked: now it is the subject. Not twice in a minute, whichever of its tokens, and the digest is not remembered.
    let again = refused_with(&mut vm, &call(), 400, &dead);
    again.assert_refused(401, "subject_token_rejected");
    assert!(again.challenge().is_some_and(|challenge| challenge.contains("invalid_token")));
    let other = Request::call("delete").bearer(&Token::new(BASELINE).claim("jti", "t-2").text());
    refused_with(&mut vm, &other, 400, &dead).assert_refused(403, "elevation_refused");
    let bob = Request::call("delete").bearer(&bob());
    refused_with(&mut vm, &bob, 400, &dead).assert_refused(401, "subject_token_rejected");
    vm.pass(60_000);
    vm.take_calls();
    refused_with(&mut vm, &call(), 400, &dead).assert_refused(401, "subject_token_rejected");
}

#[test]
fn p28_the_status_the_error_and_a_bounded_description_are_in_record_and_log() {
    let long = "x".repeat(500);
    let mut vm = vm();
    let body = json!({ "error": "access_denied", "error_description": format!("Client is not within the token audience {long}") });
    let settled = refused_with(&mut vm, &call(), 403, &body);
    settled.assert_refused(403, "elevation_refused");
    let said = settled.record["service_error"].as_str().unwrap().to_owned();
    assert_eq!(said.len(), "403 access_denied: ".len() + 128, "{said}");
    assert!(vm.logs.iter().any(|line| line.contains(&said) && line.contains("tools.delete")), "{:?}", vm.logs);
    assert!(!settled.answer().json().to_string().contains("audience"));
    let unreadable = refused_with(&mut vm, &call(), 500, &json!("<html>"));
    assert_eq!(unreadable.record["service_error"], "500");
    let granted = elevated(&mut vm, &call());
    assert_eq!(vm.settled(granted).record.get("service_error"), None);
}

#[test]
fn p28_the_third_wrong_target_in_a_row_is_told_to_an_operator() {
    let wrong = json!({ "error": "invalid_client", "error_description": "Audience not found" });
    let warned = |vm: &Vm| vm.warnings.iter().filter(|line| line.contains("Audience not found")).count();
    let mut vm = vm();
    for _ in 0..2 {
        refused_with(&mut vm, &call(), 400, &wrong).assert_refused(403, "elevation_refused");
    }
    refused_with(&mut vm, &call(), 400, &json!({ "error": "invalid_scope" }));
    for _ in 0..2 {
        refused_with(&mut vm, &call(), 400, &wrong);
        assert_eq!(warned(&vm), 0);
    }
    refused_with(&mut vm, &call(), 400, &wrong);
    assert_eq!(warned(&vm), 1);
    refused_with(&mut vm, &call(), 401, &wrong).assert_refused(503, "filter_not_accepted");
}

#[test]
fn p28_a_fault_that_waiting_does_not_heal_is_not_minted_for_again_and_again() {
    let long = |id: usize| answer(&good().claim("jti", format!("long-{id}")).claim("exp", START + 3600).text());
    let mut vm = vm();
    let attempt = |vm: &mut Vm, id: usize| {
        let settled = refused_with(vm, &caller_call(id), 200, &long(id));
        settled.assert_refused(503, "elevated_lifetime");
        assert_eq!(settled.answer().header("retry-after"), None);
        vm.take_calls();
    };
    attempt(&mut vm, 1);
    attempt(&mut vm, 2);
    // Refusals and outages neither count nor end the row.
    refused_with(&mut vm, &caller_call(3), 400, &json!({ "error": "access_denied" }))
        .assert_refused(403, "elevation_refused");
    refused_with(&mut vm, &caller_call(3), 503, &json!({})).assert_refused(503, "elevation_unavailable");
    attempt(&mut vm, 3);
    let stream = begin(&mut vm, &caller_call(4));
    let settled = vm.settled(stream);
    settled.assert_refused(503, "elevated_lifetime");
    assert_eq!(settled.answer().header("retry-after"), None);
    assert!(vm.take_calls().is_empty(), "nothing is minted only to be revoked");
    vm.pass(29_000);
    vm.take_calls();
    begin(&mut vm, &caller_call(5));
    assert!(vm.take_calls().is_empty());
    vm.pass(1_001);
    vm.take_calls();
    // Then one is tried.
    let (tried, id) = exchange(&mut vm, &caller_call(6));
    let beside = begin(&mut vm, &caller_call(7));
    assert!(vm.is_settled(beside) && vm.take_calls().is_empty());
    let now = vm.now.seconds();
    let text = good().claim("sub", "user-6").claim("iat", now).claim("exp", now + 60).text();
    grant(&mut vm, id, &text);
    assert!(vm.elevated(tried).is_some());
    vm.response_head(tried, 200, JSON, true);
    vm.take_calls();
    exchange(&mut vm, &caller_call(8));
}

fn caller_call(number: usize) -> Request {
    let token = Token::new(BASELINE).claim("sub", format!("user-{number}")).claim("exp", START + 3000).text();
    Request::call("delete").bearer(&token)
}

#[test]
fn p28_further_demands_of_entra_are_passed_on_where_the_rule_falls_back() {
    let claims = r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#;
    let body = json!({ "error": "interaction_required", "claims": claims });
    let mut vm = Vm::new(&load(&exchanging(json!({ "fallback": "challenge" }))));
    let settled = refused_with(&mut vm, &call(), 400, &body);
    settled.assert_refused(403, "elevation_needs_user");
    let challenge = settled.challenge().unwrap();
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, claims);
    assert!(challenge.contains(&format!("claims=\"{encoded}\"")), "{challenge}");
    assert!(challenge.rfind("error_description").unwrap() > challenge.rfind("claims=").unwrap());
    // Without the word, nothing of it reaches the client.
    let mut vm = self::vm();
    let settled = refused_with(&mut vm, &call(), 400, &body);
    assert_eq!(settled.challenge(), None);
    assert!(!settled.answer().json().to_string().contains("acrs"));
}

#[test]
fn p28_what_waits_for_a_key_that_does_not_come_is_refused_and_taken_back() {
    let jwks = json!({ "cluster": "as-keys", "url": "https://as.example.com/jwks" });
    let mut vm =
        Vm::new(&load(&with(plain(), "/issuers", json!({ ISSUER: { "jwks": jwks, "algorithms": ["EdDSA"] } }))));
    vm.pass(1_000);
    let (id, _) = only_call(&mut vm);
    say(&mut vm, id, 200, &json!({ "keys": [key().jwk()] }));
    vm.pass(60_000);
    let (stream, id) = exchange(&mut vm, &call());
    let rotated = good().claim("iat", START + 61).claim("exp", START + 120).signed_by(other_key());
    grant(&mut vm, id, &rotated);
    vm.pass(100);
    let (id, _) = only_call(&mut vm);
    say(&mut vm, id, 200, &json!({ "keys": [key().jwk()] }));
    vm.pass(3_000);
    let settled = vm.settled(stream);
    settled.assert_refused(503, "elevated_signature");
    assert!(settled.answer().header("retry-after").is_some(), "waiting may heal it");
    assert_eq!(revoked(&mut vm), [rotated]);
}

#[test]
fn p28_what_is_added_unasked_may_stand_in_the_token_alone_or_in_the_answer_alone() {
    let document = served(json!({ "also_granted": ["profile", "email"] }));
    for (token, said) in [
        ("repo:admin", "repo:admin profile"),
        ("repo:admin profile email", "repo:admin"),
        ("repo:admin repo:write", "email repo:admin"),
    ] {
        let mut vm = Vm::new(&load(&document));
        let (stream, id) = exchange(&mut vm, &call());
        let mut body = answer(&good().claim("scope", token).text());
        body["scope"] = json!(said);
        say(&mut vm, id, 200, &body);
        assert!(vm.elevated(stream).is_some(), "{token}, {said}");
    }
    // Named by a tier that no rule uses is named, too.
    let tier = with(document, "/tiers", json!({ "spare": { "scope": "profile" } }));
    assert_fault(&tier, &["token_service.also_granted", "`profile` is a scope of this policy"]);
}

#[test]
fn p28_an_answer_of_200_that_refuses_is_told_like_any_other() {
    let mut vm = vm();
    for body in [json!({ "error": "access_denied", "error_description": "no" }), {
        let mut both = answer(&good().text());
        (both["error"], both["error_description"]) = (json!("access_denied"), json!("no"));
        both
    }] {
        let settled = refused_with(&mut vm, &call(), 200, &body);
        settled.assert_refused(503, "elevation_unavailable");
        assert_eq!(settled.record["service_error"], "200 access_denied: no");
    }
    assert_eq!(revoked(&mut vm), [good().text()], "what came with the error");
    let (stream, id) = exchange(&mut vm, &call());
    vm.reply(id, Ok((200, b"<html>")));
    assert_eq!(vm.settled(stream).record["service_error"], "200");
    let lines = vm.logs.iter().filter(|line| line.contains("no token for tools.delete")).count();
    assert_eq!(lines, 3, "{:?}", vm.logs);
    // Too long to be read: whatever was in it is lost.
    let (_, id) = exchange(&mut vm, &call());
    vm.reply(id, Ok((200, &vec![b' '; 1024 * 1024 + 1])));
    assert_eq!(exchanges_counted(&vm, "lost"), 1);
}

#[test]
fn p11_who_reads_the_log_learns_what_to_configure() {
    let mut vm = vm();
    let settled = refused_with(&mut vm, &call(), 200, &answer(&good().claim("exp", START + 61).text()));
    settled.assert_refused(503, "elevated_lifetime");
    assert!(vm.logs.iter().any(|line| line.contains("lifespan") && line.contains("`ttl`")), "{:?}", vm.logs);
}

#[test]
fn p28_what_is_not_made_in_the_pause_is_not_counted() {
    let mut vm = Vm::new(&load(&with(plain(), "/limits", json!({ "exchange_rate": 4 }))));
    for id in 0..3 {
        let long = good().claim("jti", format!("long-{id}")).claim("exp", START + 3600).text();
        refused_with(&mut vm, &call(), 200, &answer(&long)).assert_refused(503, "elevated_lifetime");
        vm.take_calls();
    }
    for _ in 0..9 {
        let stream = begin(&mut vm, &call());
        let settled = vm.settled(stream);
        settled.assert_refused(503, "elevated_lifetime");
        assert_eq!(settled.answer().header("retry-after"), None);
    }
}

#[test]
fn p28_a_template_makes_scopes_of_every_audience() {
    let mut document = served(json!({ "request": { "scope": "{audience}/{scope}" } }));
    for audience in ["a b", "a\"b", "\u{e9}"] {
        document["tools"]["delete"]["audience"] = json!(audience);
        assert_fault(&document, &["tools.delete", "which is no scope (P28)"]);
    }
    // What on-behalf-of sends may be written.
    load(&served(json!({ "request": { "grant": "on-behalf-of", "token_type": "unsaid" } })));
    load(&served(json!({ "linger": "0s", "resume": "0s" })));
}

#[test]
fn p11_the_default_is_bounded_by_the_longest() {
    let short = with(exchanging(json!({ "ttl": null })), "/limits", json!({ "max_ttl": "30s" }));
    assert_fault(&short, &["tools.delete", "`ttl` is not said"]);
}

#[test]
fn a_tier_that_no_rule_uses_is_looked_at_all_the_same() {
    for (tier, problem) in [
        (json!({ "standing": "refuse", "fallback": "challenge", "step_up": "exchange" }), "beside `fallback"),
        (json!({ "step_up": "challenge", "ttl": "10s", "max_age": "1h" }), "`ttl` needs `step_up: exchange`"),
        (json!({ "token_service": "zz" }), "unknown token service `zz`"),
        (json!({ "step_up": "auto", "audience": "x" }), "`audience` beside `step_up: auto`"),
    ] {
        assert_fault(&with(plain(), "/tiers", json!({ "spare": tier })), &["tiers.spare", problem]);
    }
}
