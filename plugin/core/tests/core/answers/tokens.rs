//! No token, bad tokens, and good ones in every form.

use super::*;

// No token.

#[test]
fn without_a_token_the_challenge_names_the_baseline_and_no_error() {
    for request in [
        Request::call("get"),
        Request::call("put"),
        Request::call("shell"),
        Request::modern_call("get"),
        Request::bare("GET", "/mcp"),
        Request::bare("DELETE", "/mcp"),
        Request::call("get").header("authorization", "Basic YTpi"),
        Request::call("get").header("authorization", "DPoP abc"),
        Request::post("not even JSON").header("content-type", "text/plain"),
    ] {
        let settled = at_head(&mut vm(), &request);
        let answer = settled.answer();
        assert_eq!(answer.status, 401, "{request:?}");
        let expected = format!(r#"Bearer scope="mcp:connect", resource_metadata="{METADATA}""#);
        assert_eq!(settled.challenge(), Some(&*expected));
        assert_eq!((answer.code(), answer.json().get("id")), (Some(40100), None));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
}

#[test]
fn an_empty_baseline_leaves_the_scope_out() {
    let mut vm = Vm::new(&load(&with(example(), "/baseline", json!([]))));
    let settled = at_head(&mut vm, &Request::call("get"));
    assert_eq!(settled.challenge(), Some(&*format!(r#"Bearer resource_metadata="{METADATA}""#)));
}

#[test]
fn the_challenge_names_all_of_the_baseline_sorted() {
    let mut vm = Vm::new(&load(&with(example(), "/baseline", json!(["z:last", "a:first", "a:first"]))));
    let settled = at_head(&mut vm, &Request::call("get"));
    assert!(settled.challenge().unwrap().starts_with(r#"Bearer scope="a:first z:last", "#));
}

// Bad tokens.

#[test]
fn every_bad_token_is_an_invalid_token_at_the_head() {
    for (reason, token) in bad_tokens() {
        let settled = at_head(&mut vm(), &Request::call("get").bearer(&token));
        settled.assert_refused(401, reason);
        assert_eq!(settled.answer().code(), Some(40101), "{reason}");
        assert_eq!(settled.answer().json().get("id"), None, "{reason}");
        let challenge = settled.challenge().unwrap();
        let expected = format!(
            r#"Bearer error="invalid_token", scope="mcp:connect", resource_metadata="{METADATA}", error_description=""#
        );
        let description = challenge.strip_prefix(&expected).unwrap().strip_suffix('"').unwrap();
        assert!(!description.is_empty() && !description.contains(['"', '\\', '=', ',']), "{challenge}");
    }
}

#[test]
fn p42_a_token_that_is_too_large_is_not_challenged() {
    let token = Token::new(BASELINE).claim("padding", "x".repeat(16 * 1024)).text();
    let settled = at_head(&mut vm(), &Request::call("get").bearer(&token));
    settled.assert_refused(431, "token_too_large");
    assert_eq!((settled.answer().code(), settled.challenge()), (Some(40101), None));
}

#[test]
fn the_challenge_for_an_expired_token_word_for_word() {
    let settled =
        at_head(&mut vm(), &Request::call("get").bearer(&Token::new(BASELINE).claim("exp", START - 31).text()));
    assert_eq!(
        settled.challenge(),
        Some(
            "Bearer error=\"invalid_token\", scope=\"mcp:connect\", \
             resource_metadata=\"https://mcp.example.com/.well-known/oauth-protected-resource/mcp\", \
             error_description=\"the access token expired\""
        )
    );
}

#[test]
fn good_tokens_come_in_these_forms_too() {
    let good = || Token::new(BASELINE);
    for token in [
        good().header("typ", "AT+JWT").text(),
        good().header("typ", "application/at+jwt").text(),
        good().without_kid().text(),
        good().claim("aud", json!(["https://other.example.com", RESOURCE])).text(),
        good().claim("scope", "mcp:connect mcp:connect x").text(),
        good().claim("exp", START - 29).text(),
        good().claim("iat", START + 30).text(),
        good().claim("nbf", START + 30).text(),
        good().claim("groups", json!({ "deep": [[[1.5]]] })).text(),
        good().claim("sid", "x").text(),
    ] {
        vm().send(&Request::call("get").bearer(&token)).assert_forwarded();
    }
    let call = Request::call("get");
    vm().send(&call.header("authorization", format!("bEARER {}", good().text()))).assert_forwarded();
}

#[test]
fn a_token_seen_before_expires_all_the_same() {
    let mut vm = vm();
    let call = Request::call("get").bearer(&Token::new(BASELINE).claim("exp", START + 10).text());
    vm.send(&call).assert_forwarded();
    vm.now = NOW.plus_seconds(39);
    vm.send(&call).assert_forwarded();
    vm.now = NOW.plus_seconds(40);
    vm.send(&call).assert_refused(401, "token_expired");
}

#[test]
fn jwt_typed_tokens_are_accepted_where_the_issuer_says_so() {
    let place = "/issuers/https:~1~1as.example.com/token_type";
    let mut vm = Vm::new(&load(&with(example(), place, json!("jwt"))));
    let good = || Token::new(BASELINE);
    for token in [
        good().without_type().text(),
        good().header("typ", "JWT").text(),
        good().text(),
        good().header("typ", "JWT").without("jti").without("client_id").text(),
        good().header("typ", "JWT").claim("sid", "as Keycloak writes it").text(),
    ] {
        vm.send(&Request::call("get").bearer(&token)).assert_forwarded();
    }
    for claim in ["nonce", "at_hash", "c_hash", "events"] {
        let token = good().header("typ", "JWT").claim(claim, "x").text();
        vm.send(&Request::call("get").bearer(&token)).assert_refused(401, "not_an_access_token");
    }
    for kind in ["dpop+jwt", "logout+jwt", "oauth-id-jag+jwt", "token-introspection+jwt"] {
        let token = good().header("typ", kind).text();
        vm.send(&Request::call("get").bearer(&token)).assert_refused(401, "token_type");
    }
    let no_subject = good().header("typ", "JWT").without("sub").text();
    vm.send(&Request::call("get").bearer(&no_subject)).assert_refused(401, "claim_missing");
}

#[test]
fn a_token_of_more_than_a_thousand_scopes_is_refused() {
    let many = |count: usize| (1..count).map(|number| format!("s{number} ")).collect::<String>() + BASELINE;
    vm().send(&Request::call("get").bearer(&token(&many(1000)))).assert_forwarded();
    at_head(&mut vm(), &Request::call("get").bearer(&token(&many(1001)))).assert_refused(401, "claim_malformed");
    // Each is read before it is known to be the same.
    let same = format!("{BASELINE} ").repeat(1000) + BASELINE;
    at_head(&mut vm(), &Request::call("get").bearer(&token(&same))).assert_refused(401, "claim_malformed");
}
