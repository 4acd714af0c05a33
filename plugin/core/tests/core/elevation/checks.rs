//! What comes back is checked like a stranger's.

use super::*;

/// The filter refuses this answer for this reason, forwards nothing, and revokes exactly these tokens.
#[track_caller]
fn assert_disbelieved(document: &Json, body: &Json, reason: &str, minted: &[String]) {
    let mut vm = Vm::new(&load(document));
    let (stream, id) = exchange(&mut vm, &call());
    say(&mut vm, id, 200, body);
    assert!(vm.is_settled(stream) && vm.elevated(stream).is_none(), "forwarded: {reason}");
    let settled = vm.settled(stream);
    assert_refused(&settled, 503, 50300, reason, reason);
    assert_eq!(settled.answer().json()["error"]["data"]["reason"], "elevation_unavailable", "the operator's business");
    let found = revocations(&mut vm);
    let tokens: Vec<&String> = found.iter().map(|(_, token)| token).collect();
    assert_eq!(tokens, minted.iter().collect::<Vec<_>>(), "{reason}");
    for (id, _) in found {
        vm.reply(id, Ok((200, b"")));
    }
    assert!(vm.is_idle());
}

#[track_caller]
fn assert_token_disbelieved(text: &str, reason: &str) {
    assert_disbelieved(&plain(), &answer(text), reason, &[text.to_owned()]);
}

#[test]
fn the_token_must_be_for_the_audience_alone() {
    for audience in
        [json!(RESOURCE), json!([ADMIN, RESOURCE]), json!([ADMIN, ADMIN]), json!("https://git.internal/admin/")]
    {
        assert_token_disbelieved(&good().claim("aud", audience).text(), "elevated_audience");
    }
    elevated_with(&mut vm(), &call(), &good().claim("aud", json!([ADMIN])).text());
}

#[test]
fn p04_the_scopes_must_cover_what_was_asked_for_and_nothing_that_it_does_not_imply() {
    let rule = |scope: Json| exchanging(json!({ "scope": scope }));
    for (asked, scope, reason) in [
        (json!("repo:write"), "repo:write", None),
        (json!("repo:admin"), "repo:admin repo:read repo:write", None),
        (json!(["repo:admin", "repo:read"]), "repo:admin", None),
        (json!("repo:write"), "repo:admin", Some("granted_too_wide")),
        (json!("repo:write"), "repo:write x", Some("granted_too_wide")),
        (json!("repo:write"), "mcp:connect repo:write", Some("granted_too_wide")),
        (json!("repo:admin"), "repo:write", Some("granted_too_narrow")),
        (json!("repo:admin"), "", Some("granted_too_narrow")),
        (json!(["repo:admin", "x"]), "repo:admin", Some("granted_too_narrow")),
        (json!([]), "x", Some("granted_too_wide")),
        (json!([]), "", None),
    ] {
        let text = good().claim("scope", scope).text();
        match reason {
            Some(reason) => assert_disbelieved(&rule(asked), &answer(&text), reason, &[text]),
            None => {
                elevated_with(&mut Vm::new(&load(&rule(asked))), &call(), &text);
            }
        }
    }
}

#[test]
fn the_scope_of_the_answer_is_checked_like_that_of_the_token() {
    let text = good().claim("scope", "repo:admin repo:read").text();
    for (scope, reason) in [
        ("repo:admin repo:read x", "granted_too_wide"),
        ("repo:read", "granted_too_narrow"),
        ("", "granted_too_narrow"),
    ] {
        let mut body = answer(&text);
        body["scope"] = json!(scope);
        assert_disbelieved(&plain(), &body, reason, std::slice::from_ref(&text));
    }
    for scope in [json!("repo:read repo:admin"), json!("repo:admin repo:read"), json!("repo:admin"), Json::Null] {
        let mut vm = vm();
        let (stream, id) = exchange(&mut vm, &call());
        let mut body = answer(&text);
        body["scope"] = scope;
        say(&mut vm, id, 200, &body);
        assert!(vm.elevated(stream).is_some());
    }
}

#[test]
fn the_token_must_be_about_the_same_subject() {
    assert_token_disbelieved(&good().claim("sub", "mallory").text(), "elevated_subject");
    assert_token_disbelieved(&good().claim("sub", "Alice").text(), "elevated_subject");
    assert_token_disbelieved(&good().without("sub").text(), "elevated_subject");
}

#[test]
fn the_token_must_be_issued_by_the_issuer_of_the_token_service() {
    let foreign = good().claim("iss", PARTNER).signed_by(other_key());
    let document = partnered_document();
    assert_disbelieved(&document, &answer(&foreign), "elevated_issuer", std::slice::from_ref(&foreign));
    assert_token_disbelieved(&good().claim("iss", "https://evil.example.com").text(), "elevated_issuer");
    let forged = good().signed_by(other_key());
    assert_disbelieved(&document, &answer(&forged), "elevated_signature", std::slice::from_ref(&forged));
}

#[test]
fn the_token_must_not_outlive_the_rule() {
    for (issued, expires) in [
        (START, START + 61),
        (START - 10, START + 51),
        (START - 60, START),
        (START - 100, START - 40),
        (START + 31, START + 91),
        (START + 3600, START + 3660),
        (START + 10, START + 10),
    ] {
        let text = good().claim("iat", issued).claim("exp", expires).text();
        assert_token_disbelieved(&text, "elevated_lifetime");
    }
    assert_token_disbelieved(&good().claim("nbf", START + 31).text(), "elevated_lifetime");
    elevated_with(&mut vm(), &call(), &good().claim("iat", START - 59).claim("exp", START + 1).text());
}

#[test]
fn the_token_must_be_signed_as_the_policy_says() {
    assert_token_disbelieved(&good().signed_by(other_key()), "elevated_signature");
    assert_token_disbelieved(&good().header("kid", "k1").signed_by(other_key()), "elevated_signature");
    assert_token_disbelieved(&good().without_kid().signed_by(other_key()), "elevated_signature");
    assert_token_disbelieved(&good().header("alg", "none").text(), "elevated_signature");
    assert_token_disbelieved(&good().header("alg", "HS256").text(), "elevated_signature");
    assert_token_disbelieved(&good().header("alg", "RS256").text(), "elevated_signature");
    let text = good().text();
    let unsigned = format!("{}.", text.rsplit_once('.').unwrap().0);
    assert_token_disbelieved(&unsigned, "elevated_signature");
    elevated_with(&mut vm(), &call(), &good().without_kid().text());
}

#[test]
fn the_token_must_be_typed_as_an_access_token() {
    for kind in ["JWT", "dpop+jwt", "logout+jwt", "oauth-id-jag+jwt", "txntoken+jwt", ""] {
        assert_token_disbelieved(&good().header("typ", kind).text(), "elevated_token_type");
    }
    assert_token_disbelieved(&good().without_type().text(), "elevated_token_type");
    assert_token_disbelieved(&good().claim("cnf", json!({ "jkt": "x" })).text(), "elevated_token_type");
    elevated_with(&mut vm(), &call(), &good().header("typ", "application/AT+jwt").text());
}

#[test]
fn the_token_must_not_look_like_an_id_token_where_types_do_not_tell() {
    let document = with(plain(), "/issuers/https:~1~1as.example.com/token_type", json!("jwt"));
    for claim in ["nonce", "at_hash", "c_hash", "events"] {
        let text = good().header("typ", "JWT").claim(claim, "x").text();
        assert_disbelieved(&document, &answer(&text), "elevated_token_type", std::slice::from_ref(&text));
    }
    elevated_with(&mut Vm::new(&load(&document)), &call(), &good().header("typ", "JWT").text());
}

#[test]
fn the_token_must_be_a_jwt() {
    let text = good().text();
    for text in ["opaque", "a.b.c", "..", &format!("{text} "), &format!("{text}\r\nx: y"), &format!("{text}.x")] {
        assert_token_disbelieved(text, "elevated_token_malformed");
    }
    assert_token_disbelieved(&good().header("crit", json!(["x"])).text(), "elevated_token_malformed");
    assert_token_disbelieved(&good().header("jwk", json!({})).text(), "elevated_token_malformed");
    assert_token_disbelieved(&good().claim("padding", "x".repeat(16 * 1024)).text(), "elevated_token_malformed");
}

#[test]
fn the_token_must_be_ours() {
    for client in ["agent", "step-up-filter2", "Step-up-filter"] {
        assert_token_disbelieved(&good().claim("client_id", client).text(), "elevated_token_not_ours");
    }
    assert_token_disbelieved(&good().without("client_id").text(), "elevated_token_not_ours");
    let nested = json!({ "sub": "agent", "act": { "sub": FILTER } });
    assert_token_disbelieved(
        &good().claim("client_id", "agent").claim("act", nested).text(),
        "elevated_token_not_ours",
    );
    let acting = good().claim("client_id", "agent").claim("act", json!({ "sub": FILTER })).text();
    elevated_with(&mut vm(), &call(), &acting);
}

#[test]
fn the_answer_must_say_that_it_is_a_bearer_access_token() {
    let text = good().text();
    for (field, value) in [
        ("token_type", json!("DPoP")),
        ("token_type", json!("N_A")),
        ("token_type", json!("mac")),
        ("token_type", Json::Null),
        ("token_type", json!("")),
        ("issued_token_type", json!("urn:ietf:params:oauth:token-type:id_token")),
        ("issued_token_type", json!("urn:ietf:params:oauth:token-type:refresh_token")),
        ("issued_token_type", json!("urn:ietf:params:oauth:token-type:saml2")),
        ("issued_token_type", json!("access_token")),
        ("issued_token_type", json!(JWT)),
        ("issued_token_type", Json::Null),
    ] {
        let mut body = answer(&text);
        body[field] = value;
        assert_disbelieved(&plain(), &body, "elevated_token_type", std::slice::from_ref(&text));
    }
    for token_type in ["bearer", "BEARER", "Bearer"] {
        let mut vm = vm();
        let (stream, id) = exchange(&mut vm, &call());
        let mut body = answer(&text);
        (body["token_type"], body["issued_token_type"]) = (json!(token_type), json!(ACCESS_TOKEN));
        say(&mut vm, id, 200, &body);
        assert!(vm.elevated(stream).is_some(), "{token_type}");
    }
}

#[test]
fn a_refresh_token_is_revoked_together_with_what_came_with_it() {
    let mut body = answer(&good().text());
    body["refresh_token"] = json!("refresh-1");
    assert_disbelieved(&plain(), &body, "elevated_with_refresh_token", &[good().text(), "refresh-1".to_owned()]);
    let mut vm = vm();
    let (_, id) = exchange(&mut vm, &call());
    say(&mut vm, id, 200, &body);
    let hints: Vec<String> = vm.take_calls().iter().map(|(_, call)| form(call)["token_type_hint"].clone()).collect();
    assert_eq!(hints, ["access_token", "refresh_token"]);
    body["refresh_token"] = Json::Null;
    let mut vm = self::vm();
    let (stream, id) = exchange(&mut vm, &call());
    say(&mut vm, id, 200, &body);
    assert!(vm.elevated(stream).is_some(), "null is none");
}

#[test]
fn a_refresh_token_that_came_alone_is_revoked_too() {
    for access in [Json::Null, json!(""), json!(7)] {
        let body = json!({ "access_token": access, "refresh_token": "refresh-1", "token_type": "Bearer" });
        assert_disbelieved(&plain(), &body, "elevation_unavailable", &["refresh-1".to_owned()]);
    }
}

#[test]
fn the_callers_own_token_is_neither_accepted_nor_revoked() {
    let own = token(BASELINE);
    assert_disbelieved(&plain(), &answer(&own), "elevated_token_not_ours", &[]);
    let mut body = answer(&own);
    body["refresh_token"] = json!("refresh-1");
    assert_disbelieved(&plain(), &body, "elevated_token_not_ours", &["refresh-1".to_owned()]);
}

#[test]
fn the_callers_own_token_is_not_revoked_under_another_name_either() {
    let mut body = answer(&good().text());
    body["refresh_token"] = json!(token(BASELINE));
    assert_disbelieved(&plain(), &body, "elevated_with_refresh_token", &[good().text()]);
}

#[test]
fn the_callers_own_token_is_not_revoked_when_it_comes_late() {
    let mut vm = vm();
    let (stream, id) = exchange(&mut vm, &call());
    vm.gone(stream);
    grant(&mut vm, id, &token(BASELINE));
    vm.pass(1_000);
    assert!(vm.take_calls().is_empty() && vm.is_idle());
}

#[test]
fn a_token_in_an_answer_with_a_strange_status_is_revoked() {
    let mut lost = Vec::new();
    for status in [201, 202] {
        let mut vm = vm();
        let (stream, id) = exchange(&mut vm, &call());
        say(&mut vm, id, status, &answer(&good().text()));
        assert!(vm.is_settled(stream) && vm.elevated(stream).is_none());
        if revoked(&mut vm) != [good().text()] {
            lost.push(status);
        }
    }
    assert!(lost.is_empty(), "minted, received, and neither used nor taken back: {lost:?}");
}

#[test]
fn p28_an_elevated_token_signed_with_a_new_key_waits_for_it() {
    let jwks = json!({ "cluster": "as-keys", "url": "https://as.example.com/jwks" });
    let issuers = json!({ ISSUER: { "jwks": jwks, "algorithms": ["EdDSA"] } });
    let mut vm = Vm::new(&load(&with(plain(), "/issuers", issuers)));
    vm.pass(1_000);
    let (id, _) = only_call(&mut vm);
    say(&mut vm, id, 200, &json!({ "keys": [key().jwk()] }));
    vm.pass(60_000);
    let (stream, id) = exchange(&mut vm, &call());
    let rotated = good().claim("iat", START + 61).claim("exp", START + 120).signed_by(other_key());
    grant(&mut vm, id, &rotated);
    assert!(!vm.is_settled(stream) && !vm.is_idle(), "it waits for the key, as a caller's token does (P28)");
    vm.pass(100);
    let (id, fetch) = only_call(&mut vm);
    assert_eq!(fetch.cluster, "as-keys");
    say(&mut vm, id, 200, &json!({ "keys": [key().jwk(), other_key().jwk()] }));
    assert_eq!(vm.elevated(stream), Some(&*format!("Bearer {rotated}")));
    assert_eq!(exchanges_counted(&vm, "granted"), 1);
}

#[test]
fn the_token_is_ours_or_the_callers_with_us_as_its_actor() {
    let act = |id: &str| json!({ "sub": id });
    for (token, is_ours) in [
        (good(), true),
        (good().claim("client_id", "agent").claim("act", act(FILTER)), true),
        (good().claim("client_id", "evil").claim("act", act(FILTER)), false),
        (good().claim("client_id", "evil").claim("azp", FILTER), false),
        (good().claim("client_id", "agent").claim("act", act("other")), false),
        (good().claim("client_id", "agent").claim("act", json!({ "sub": "other", "act": act(FILTER) })), false),
    ] {
        let text = token.text();
        if is_ours {
            elevated_with(&mut vm(), &call(), &text);
        } else {
            assert_disbelieved(&plain(), &answer(&text), "elevated_token_not_ours", std::slice::from_ref(&text));
        }
    }
}
