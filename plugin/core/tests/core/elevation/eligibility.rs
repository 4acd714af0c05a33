//! Who may be elevated, and in which order that is decided.

use super::*;

#[test]
fn p07_the_order_of_decision() {
    let rule = json!({
        "standing": "refuse",
        "max_lifetime": "11m",
        "may_elevate": { "client": "ci" },
    });
    let document = exchanging(rule);
    let denied = with(document.clone(), "/tools/delete/deny", json!(true));
    let lasting = |scope: &str, client: &str| Token::new(scope).claim("client_id", client).lifetime(3600).text();
    let client = |scope: &str, client: &str| Token::new(scope).claim("client_id", client).text();
    let limited = with(document.clone(), "/limits", json!({ "exchanges": 1 }));
    for (document, token, reason) in [
        (&denied, lasting("repo:admin", "x"), "denied"),
        (&document, lasting("repo:admin", "x"), "standing_privilege"),
        (&document, lasting("", "x"), "scope_missing"),
        (&document, lasting(BASELINE, "x"), "token_too_long_lived_for_rule"),
        (&document, client(BASELINE, "x"), "not_eligible"),
        (&limited, client(BASELINE, "x"), "not_eligible"),
        (&limited, client(BASELINE, "ci"), "elevation_rate"),
    ] {
        let mut vm = Vm::new(&load(document));
        let busy = Token::new(BASELINE).claim("client_id", "ci").claim("jti", "busy").text();
        if document == &limited {
            exchange(&mut vm, &call().bearer(&busy));
        }
        let stream = begin(&mut vm, &call().bearer(&token));
        let settled = vm.settled(stream);
        assert_eq!(settled.reason(), reason);
        assert_eq!(settled.rule(), Some("delete"));
        assert!(vm.take_calls().is_empty(), "{reason}: no call before everything else has passed");
        if reason == "scope_missing" {
            assert!(settled.challenge().unwrap().contains(r#"scope="mcp:connect""#), "never what is granted");
        } else {
            assert_eq!(settled.challenge(), None, "{reason}");
        }
    }
    exchange(&mut Vm::new(&load(&document)), &call().bearer(&client(BASELINE, "ci")));
}

#[test]
fn no_call_is_made_for_what_is_not_a_complete_good_request() {
    let mut vm = vm();
    for request in [
        Request::call("delete"),
        call().bearer("x"),
        call().header(":path", "/other"),
        call().header("mcp-name", "get"),
        call().header("content-type", "text/plain"),
        call().with_body(b"{".to_vec()),
        call().with_body(br#"[{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"delete"}}]"#.to_vec()),
        call().with_body(br#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"delete"}}"#.to_vec()),
        Request::call("Delete").bearer(&token(BASELINE)),
        Request::call("undelete").bearer(&token(BASELINE)),
        Request::method("tools/list", json!({})).bearer(&token(BASELINE)),
    ] {
        begin(&mut vm, &request);
        assert!(vm.take_calls().is_empty(), "{request:?}");
    }
}

#[test]
fn what_comes_on_a_stream_during_its_exchange_never_releases_it() {
    let body = call();
    let disturbances: [fn(&mut Vm, StreamId, &[u8]); 2] = [
        |vm, stream, body| vm.body(stream, body),
        |vm, stream, _| vm.body_fault(stream, step_up_core::BodyFault::TooLarge),
    ];
    for disturb in disturbances {
        let mut vm = vm();
        let (stream, id) = exchange(&mut vm, &call());
        disturb(&mut vm, stream, body.body());
        assert!(!vm.settled(stream).is_forwarded());
        grant(&mut vm, id, &good().text());
        assert_eq!(vm.elevated(stream), None);
        assert_eq!(revoked(&mut vm), [good().text()]);
    }
}

/// Is a caller with these claims elevated under this condition?
pub(super) fn is_elevated(condition: &Json, claims: &Json, source: Option<&str>) -> bool {
    let document = exchanging(json!({ "may_elevate": condition }));
    let mut vm = Vm::new(&load(&document));
    let claims = claims.as_object().expect("a map").iter();
    let token = claims.fold(Token::new(BASELINE), |token, (name, value)| token.claim(name, value.clone())).text();
    let request = call().bearer(&token);
    let stream = begin(&mut vm, &source.iter().fold(request, |request, source| request.certified_as(source)));
    let calls = vm.take_calls().len();
    if calls == 0 {
        let settled = vm.settled(stream);
        settled.assert_refused(403, "not_eligible");
        assert_eq!((settled.answer().code(), settled.challenge()), (Some(40301), None));
        assert_eq!(settled.answer().json()["error"]["data"]["reason"], "not_allowed");
    }
    calls == 1
}

#[test]
fn p08_who_may_be_elevated() {
    let (yes, no) = (true, false);
    let groups = json!({ "claim": "groups", "in": ["ops", 7] });
    let level = json!({ "claim": "level", "below": 2 });
    for (condition, claims, expected) in [
        (json!({ "client": "agent" }), json!({}), yes),
        (json!({ "client": ["x", "agent"] }), json!({}), yes),
        (json!({ "client": ["agen", "agent2", "Agent"] }), json!({}), no),
        (json!({ "client": "https://a.example/x" }), json!({ "client_id": "https://A.example/x" }), yes),
        (json!({ "client": "https://a.example/x" }), json!({ "client_id": "https://a.example/X" }), no),
        (json!({ "client": "https://a.example/x" }), json!({ "client_id": "https://a.example/x/y" }), no),
        (json!({ "client": "https://a.example/x" }), json!({ "client_id": "https://a.example@evil.test/x" }), no),
        (groups.clone(), json!({ "groups": "ops" }), yes),
        (groups.clone(), json!({ "groups": ["dev", "ops"] }), yes),
        (groups.clone(), json!({ "groups": [7] }), yes),
        (groups.clone(), json!({ "groups": 7.0 }), yes),
        (groups.clone(), json!({ "groups": "7" }), no),
        (groups.clone(), json!({ "groups": ["dev"] }), no),
        (groups.clone(), json!({ "groups": [] }), no),
        (groups.clone(), json!({ "groups": null }), no),
        (groups.clone(), json!({ "groups": { "ops": "ops" } }), no),
        (groups, json!({}), no),
        (json!({ "claim": "ok", "equals": true }), json!({ "ok": true }), yes),
        (json!({ "claim": "ok", "equals": true }), json!({ "ok": "true" }), no),
        (json!({ "claim": "ok", "equals": true }), json!({ "ok": 1 }), no),
        (json!({ "claim": "realm.roles", "equals": "ops" }), json!({ "realm": { "roles": ["ops"] } }), yes),
        (json!({ "claim": "realm.roles", "equals": "ops" }), json!({ "realm.roles": "ops" }), no),
        (json!({ "claim": "/https:~1~1x.y~1z/a~0b", "equals": 1 }), json!({ "https://x.y/z": { "a~b": 1 } }), yes),
        (json!({ "claim": "team", "prefix": "ops-" }), json!({ "team": "ops-eu" }), yes),
        (json!({ "claim": "team", "prefix": "ops-" }), json!({ "team": "dev-ops-" }), no),
        (json!({ "claim": "team", "prefix": "ops-" }), json!({ "team": 5 }), no),
        (json!({ "claim": "level", "above": 2 }), json!({ "level": 3 }), yes),
        (json!({ "claim": "level", "above": 2 }), json!({ "level": 2 }), no),
        (json!({ "claim": "level", "above": 2 }), json!({ "level": "3" }), no),
        (json!({ "claim": "x", "present": true }), json!({ "x": false }), yes),
        (json!({ "claim": "x", "present": true }), json!({ "x": null }), no),
        (json!({ "claim": "x", "present": false }), json!({}), yes),
        // Unknown stays unknown, whatever stands around it.
        (json!({ "not": level.clone() }), json!({ "level": 3 }), yes),
        (json!({ "not": level.clone() }), json!({ "level": 1 }), no),
        (json!({ "not": level.clone() }), json!({}), no),
        (json!({ "not": level.clone() }), json!({ "level": null }), no),
        (json!({ "not": level.clone() }), json!({ "level": "3" }), no),
        (json!({ "not": { "not": level.clone() } }), json!({}), no),
        (json!({ "not": { "claim": "groups", "in": ["banned"] } }), json!({ "groups": ["ok", 5] }), no),
        (json!({ "any": [level.clone(), { "client": "agent" }] }), json!({}), yes),
        (json!({ "any": [level.clone(), { "client": "x" }] }), json!({}), no),
        (json!({ "all": [{ "client": "agent" }, level.clone()] }), json!({}), no),
        (json!({ "all": [{ "client": "agent" }, level.clone()] }), json!({ "level": 1 }), yes),
        (json!({ "not": { "all": [{ "client": "x" }, level.clone()] } }), json!({}), yes),
        (json!({ "not": { "all": [{ "client": "agent" }, level] } }), json!({}), no),
        (json!({ "source": "spiffe://td/a" }), json!({}), no),
        (json!({ "not": { "source": "spiffe://td/a" } }), json!({}), no),
    ] {
        assert_eq!(is_elevated(&condition, &claims, None), expected, "{condition} {claims}");
    }
    let source = json!({ "source": ["spiffe://td/b", "spiffe://td/a"] });
    assert!(is_elevated(&source, &json!({}), Some("spiffe://td/a")));
    assert!(!is_elevated(&source, &json!({}), Some("spiffe://td/a/b")));
}

#[test]
fn p17_members_equal_under_case_folding_make_a_path_unknown() {
    let condition = json!({ "claim": "groups", "equals": "ops" });
    assert!(!is_elevated(&condition, &json!({ "groups": "ops", "Groups": "dev" }), None));
    assert!(!is_elevated(&json!({ "not": condition }), &json!({ "groups": "dev", "GROUPS": "ops" }), None));
}

#[test]
fn p08_conditions_of_rule_and_tier_must_both_hold() {
    let mut document = exchanging(json!({ "tier": "danger", "may_elevate": { "client": "agent" } }));
    document["tiers"] =
        json!({ "danger": { "step_up": "exchange", "may_elevate": { "claim": "ok", "equals": true } } });
    for (ok, calls) in [(true, 1), (false, 0)] {
        let mut vm = Vm::new(&load(&document));
        begin(&mut vm, &call().bearer(&Token::new(BASELINE).claim("ok", ok).text()));
        assert_eq!(vm.take_calls().len(), calls);
    }
}

#[test]
fn p08_a_token_that_says_who_may_act_must_name_the_filter() {
    let anybody = json!({ "client": "agent" });
    for (may_act, expected) in [
        (json!({ "sub": FILTER }), true),
        (json!({ "client_id": FILTER }), true),
        (json!({ "sub": "other" }), false),
        (json!({ "sub": "other", "act": { "sub": FILTER } }), false),
        (json!({}), false),
        (json!(FILTER), false),
        (json!([{ "sub": FILTER }]), false),
        (Json::Null, false),
    ] {
        assert_eq!(is_elevated(&anybody, &json!({ "may_act": may_act }), None), expected, "{may_act}");
    }
}

#[test]
fn a_token_of_an_issuer_that_is_not_listed_does_not_go_to_the_token_service() {
    let foreign = Token::new(BASELINE).claim("iss", PARTNER).signed_by(other_key());
    let mut vm = Vm::new(&load(&partnered_document()));
    let stream = begin(&mut vm, &call().bearer(&foreign));
    let settled = vm.settled(stream);
    settled.assert_refused(403, "issuer_not_exchangeable");
    assert_eq!((settled.answer().code(), settled.challenge()), (Some(40301), None));
    assert!(vm.take_calls().is_empty());
    let widened = with(partnered_document(), "/token_service/subject_issuers", json!([ISSUER, PARTNER]));
    let mut vm = Vm::new(&load(&widened));
    let (stream, id) = exchange(&mut vm, &call().bearer(&foreign));
    // `sub` is unique for its issuer only: nothing can be compared.
    grant(&mut vm, id, &good().claim("sub", "partner-alice").text());
    assert!(vm.elevated(stream).is_some());
}

/// P28: they are further ones.
#[test]
fn p28_subject_issuers_stand_beside_the_services_own() {
    for list in [json!([PARTNER]), json!([ISSUER, PARTNER])] {
        let mut vm = Vm::new(&load(&with(partnered_document(), "/token_service/subject_issuers", list)));
        let stream = elevated(&mut vm, &call());
        assert!(vm.elevated(stream).is_some());
    }
}

#[test]
fn a_token_of_the_filter_itself_does_not_come_back_through_the_front_door() {
    let own = |name: &str, value: Json| Token::new("mcp:connect repo:admin").claim(name, value).text();
    for text in [
        own("client_id", json!(FILTER)),
        own("azp", json!(FILTER)),
        own("act", json!({ "sub": FILTER })),
        own("act", json!({ "client_id": FILTER, "sub": "x" })),
    ] {
        let mut vm = vm();
        for request in [call(), modern_call(), Request::method("tools/list", json!({})), Request::bare("GET", "/mcp")] {
            let stream = vm.head(&request.bearer(&text));
            let settled = vm.settled(stream);
            settled.assert_refused(401, "own_token_presented");
            assert!(settled.challenge().unwrap().contains("invalid_token"));
        }
        assert!(vm.take_calls().is_empty());
    }
    // Somebody who once acted for the caller is not the one who presents it.
    let nested = own("act", json!({ "sub": "agent", "act": { "sub": FILTER } }));
    exchange(&mut vm(), &call().bearer(&nested));
}

#[test]
fn an_elevated_token_is_not_accepted_from_a_caller_even_for_the_same_audience() {
    let mut vm = Vm::new(&load(&exchanging(json!({ "audience": null, "scope": "x" }))));
    let echoed = good().claim("aud", RESOURCE).claim("scope", "x").text();
    elevated_with(&mut vm, &call(), &echoed);
    let stream = begin(&mut vm, &call().bearer(&echoed));
    vm.settled(stream).assert_refused(401, "own_token_presented");
}
