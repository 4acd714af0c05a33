//! P32, P33, P36, P37: who acts, what a token is bound to, how its user logged in, and labels.

use super::*;

const CERTIFICATE: &str = "5f3a0c7b9e1d2846a0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3e4f50617";

fn thumbprint(hexadecimal: &str) -> String {
    let byte = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
    base64(hexadecimal.as_bytes().chunks(2).map(byte).collect::<Vec<u8>>())
}

fn bound_to(hexadecimal: &str) -> String {
    Token::new(BASELINE).claim("cnf", json!({ "x5t#S256": thumbprint(hexadecimal) })).text()
}

#[test]
fn p33_a_bound_token_comes_with_its_certificate() {
    let open = document(json!({ "t": { "scope": [] } }));
    let asking = document(json!({ "t": { "scope": [], "binding": "certificate" } }));
    let other = CERTIFICATE.replace("5f3a", "aaaa");
    let call = |token: &str| Request::call("t").bearer(token);
    for (document, request, expected) in [
        (&open, call(&token(BASELINE)), "permit"),
        (&open, call(&bound_to(CERTIFICATE)).with_certificate(CERTIFICATE), "permit"),
        (&open, call(&bound_to(CERTIFICATE)).with_certificate(&CERTIFICATE.to_uppercase()), "permit"),
        // Refused always, also where nobody asks for it.
        (&open, call(&bound_to(CERTIFICATE)), "binding_mismatch"),
        (&open, call(&bound_to(CERTIFICATE)).with_certificate(&other), "binding_mismatch"),
        (&open, call(&bound_to(CERTIFICATE)).with_certificate(""), "binding_mismatch"),
        (&open, call(&bound_to(CERTIFICATE)).with_certificate("xyz"), "binding_mismatch"),
        (&asking, call(&token(BASELINE)), "token_not_bound"),
        (&asking, call(&token(BASELINE)).with_certificate(CERTIFICATE), "token_not_bound"),
        (&asking, call(&bound_to(CERTIFICATE)).with_certificate(CERTIFICATE), "permit"),
    ] {
        assert_eq!(outcome(document, &request), expected, "{request:?}");
    }
    let settled = Vm::new(&load(&asking)).send(&call(&token(BASELINE)));
    settled.assert_refused(401, "token_not_bound");
    assert!(settled.challenge().unwrap().contains(r#"error="invalid_token""#));
}

#[test]
fn p33_other_bindings_cannot_be_verified_here() {
    let open = document(json!({ "t": { "scope": [] } }));
    let thumb = thumbprint(CERTIFICATE);
    for cnf in [
        json!({ "jkt": "x" }),
        json!({ "x5t#S256": thumb, "jkt": "x" }),
        json!({ "x5t#S256": 5 }),
        json!({}),
        json!([]),
        json!("x"),
        json!(null),
    ] {
        let request = Request::call("t").bearer(&Token::new(BASELINE).claim("cnf", cnf.clone()).text());
        assert_eq!(outcome(&open, &request.with_certificate(CERTIFICATE)), "token_bound", "{cnf}");
    }
    for place in ["/binding", "/tools/t/binding"] {
        assert_fault(&with(open.clone(), place, json!("dpop")), &["`dpop` is not understood (P33)"]);
    }
}

#[test]
fn p33_a_servers_binding_is_for_every_request() {
    let document = with(document(json!({ "t": { "scope": [] } })), "/binding", json!("certificate"));
    for request in [
        Request::call("t"),
        Request::method("ping", json!({})),
        Request::method("tools/list", json!({})),
        Request::notification("notifications/initialized"),
        Request::bare("GET", "/mcp"),
        Request::bare("DELETE", "/mcp"),
    ] {
        assert_eq!(outcome(&document, &request.clone().bearer(&token(BASELINE))), "token_not_bound");
        let bound = request.bearer(&bound_to(CERTIFICATE)).with_certificate(CERTIFICATE);
        assert_eq!(outcome(&document, &bound), "permit");
    }
}

#[test]
fn p33_a_binding_is_seen_by_requests_that_wait_for_keys() {
    let mut policy = document(json!({ "t": { "scope": [] } }));
    policy["issuers"][ISSUER] = json!({
        "jwks": { "cluster": "keys", "url": "https://as.example.com/jwks" }, "algorithms": ["EdDSA"],
    });
    let mut vm = Vm::new(&load(&policy));
    let request = Request::call("t").bearer(&bound_to(CERTIFICATE)).with_certificate(CERTIFICATE);
    let stream = vm.head(&request);
    assert!(!vm.is_settled(stream));
    vm.pass(100);
    let (id, _) = vm.take_calls().remove(0);
    vm.reply(id, Ok((200, json!({ "keys": [key().jwk()] }).to_string().as_bytes())));
    vm.body(stream, request.body());
    vm.settled(stream).assert_forwarded();
}

fn acting(act: Json) -> String {
    Token::new(BASELINE).claim("act", act).text()
}

#[test]
fn p32_the_current_actor_counts() {
    let policy = |act: Json| document(json!({ "t": { "scope": [], "act": act } }));
    let (gateway, broker) = (json!({ "sub": "gateway" }), json!({ "client_id": "broker" }));
    let chain = json!({ "sub": "gateway", "act": { "sub": "broker", "act": { "sub": "first" } } });
    let both = json!({ "sub": "x", "client_id": "gateway" });
    for (act, actor, expected) in [
        (json!({ "required": true }), None, "actor_not_allowed"),
        (json!({ "required": true }), Some(&gateway), "permit"),
        (json!({ "required": false, "clients": ["gateway"] }), None, "permit"),
        (json!({ "clients": ["gateway"] }), Some(&gateway), "permit"),
        (json!({ "clients": ["gateway"] }), Some(&broker), "actor_not_allowed"),
        (json!({ "clients": ["broker"] }), Some(&broker), "permit"),
        (json!({ "clients": ["gateway"] }), Some(&both), "permit"),
        (json!({ "clients": ["gateway"] }), Some(&chain), "permit"),
        // Inner ones are history and never grant.
        (json!({ "clients": ["broker"] }), Some(&chain), "actor_not_allowed"),
        (json!({ "depth": 3 }), Some(&chain), "permit"),
        (json!({ "depth": 2 }), Some(&chain), "actor_not_allowed"),
        (json!({ "depth": 1 }), Some(&gateway), "permit"),
    ] {
        let token = actor.map_or_else(|| token(BASELINE), |actor| acting(actor.clone()));
        let found = outcome(&policy(act.clone()), &Request::call("t").bearer(&token));
        assert_eq!(found, expected, "{act} {actor:?}");
    }
    let mut vm = Vm::new(&load(&policy(json!({ "depth": 4 }))));
    let settled = vm.send(&Request::call("t").bearer(&acting(chain)));
    assert_eq!(settled.record["actors"], json!(["gateway", "broker", "first"]));
}

#[test]
fn p32_a_malformed_actor_is_refused_everywhere() {
    let open = document(json!({ "t": { "scope": [] } }));
    for act in [
        json!("gateway"),
        json!(null),
        json!([]),
        json!({}),
        json!({ "sub": 5 }),
        json!({ "sub": "" }),
        json!({ "sub": "x", "client_id": null }),
        json!({ "sub": "x", "act": "y" }),
        json!({ "sub": "x", "act": { "iss": "https://as" } }),
    ] {
        let request = Request::call("t").bearer(&acting(act.clone()));
        assert_eq!(outcome(&open, &request), "claim_malformed", "{act}");
    }
}

#[test]
fn p32_delegation_is_read_strictly() {
    for (act, words) in [
        (json!({}), "`act` that asks for nothing"),
        (json!({ "clients": [] }), "an empty list"),
        (json!({ "depth": 0 }), "not a number of actors"),
        (json!({ "depth": 5 }), "not a number of actors"),
        (json!({ "required": "true" }), "not a boolean"),
        (json!({ "clients": ["a*"] }), "a pattern where none is understood"),
        (json!({ "actors": ["a"] }), "unknown field `actors`"),
    ] {
        let faults = faults(&document(json!({ "t": { "scope": [], "act": act } })));
        assert!(problems(&faults).contains(words), "{act}: {}", problems(&faults));
    }
    // P5: of a server, a tier and a rule, all must hold.
    let tier = json!({ "t": { "act": { "clients": ["a", "b"], "depth": 3 } } });
    let rule = json!({ "scope": [], "tier": "t", "act": { "clients": ["b", "c"], "depth": 2 } });
    let document = with(document(json!({ "t": rule })), "/tiers", tier);
    for (actor, expected) in [("a", "actor_not_allowed"), ("b", "permit"), ("c", "actor_not_allowed")] {
        let request = Request::call("t").bearer(&acting(json!({ "sub": actor })));
        assert_eq!(outcome(&document, &request), expected, "{actor}");
    }
}

#[test]
fn p37_the_login_is_as_strong_as_asked() {
    let policy = document(json!({ "t": { "scope": [], "acr": ["phr", "phrh"] }, "free": { "scope": [] } }));
    let token = |acr: Json| Token::new(BASELINE).claim("acr", acr).text();
    for (acr, expected) in [
        (json!("phr"), "permit"),
        (json!("phrh"), "permit"),
        (json!("PHR"), "login_too_weak"),
        (json!("1"), "login_too_weak"),
        (json!(["phr"]), "login_too_weak"),
        (json!(1), "login_too_weak"),
    ] {
        assert_eq!(outcome(&policy, &Request::call("t").bearer(&token(acr.clone()))), expected, "{acr}");
        assert_eq!(outcome(&policy, &Request::call("free").bearer(&token(acr.clone()))), "permit", "{acr}");
    }
    let settled = judge(&policy, &crate::support::token(BASELINE), "t");
    settled.assert_refused(403, "login_too_weak");
    assert_eq!((settled.answer().code(), settled.challenge()), (Some(40102), None));
}

#[test]
fn p37_clients_that_know_rfc_9470_are_told_all_that_the_rule_says() {
    let policy = document(json!({ "t": { "scope": [], "acr": ["phrh", "phr"], "max_age": "5m" } }));
    let policy = with(policy, "/clients", json!([{ "client": ["agent"], "rfc9470": true }]));
    let fresh = Token::new(BASELINE).claim("auth_time", START);
    for (token, reason) in [
        (Token::new(BASELINE).text(), "login_too_old"),
        (Token::new(BASELINE).claim("acr", "phr").text(), "login_too_old"),
        (fresh.clone().text(), "login_too_weak"),
    ] {
        let settled = judge(&policy, &token, "t");
        settled.assert_refused(401, reason);
        let challenge = settled.challenge().unwrap().to_owned();
        let expected = r#"Bearer error="insufficient_user_authentication", acr_values="phr phrh", max_age="300", "#;
        assert!(challenge.starts_with(expected), "{challenge}");
        assert_eq!(settled.record["verdict"], "challenge");
    }
    judge(&policy, &fresh.claim("acr", "phr").text(), "t").assert_forwarded();
    for (acr, words) in [
        (json!([]), "an empty list"),
        (json!("phr"), "where a list is expected"),
        (json!(["a b"]), "not a value"),
        (json!(["a\""]), "not a value"),
    ] {
        let faults = faults(&document(json!({ "t": { "scope": [], "acr": acr } })));
        assert!(problems(&faults).contains(words), "{acr}: {}", problems(&faults));
    }
    let tier = with(
        document(json!({ "t": { "scope": [], "tier": "x", "acr": ["a"] } })),
        "/tiers",
        json!({ "x": { "acr": ["b"] } }),
    );
    assert_fault(&tier, &["`acr` differs from that of the tier"]);
}

#[test]
fn p36_labels_are_for_the_record() {
    let policy = with(
        server(json!({
            "environment": "prod/eu-1", "data_class": "internal", "declared_task": "com.example/task",
            "tools": { "t": { "scope": [], "data_class": "secret", "purpose": "support" }, "u": { "scope": [] } },
        })),
        "/mode",
        json!("enforce"),
    );
    let mut vm = Vm::new(&load(&policy));
    let call = |tool: &str, meta: Json| {
        Request::method("tools/call", json!({ "name": tool, "arguments": {}, "_meta": meta })).bearer(&token(BASELINE))
    };
    let record = vm.send(&call("t", json!({ "com.example/task": "close the ticket" }))).record;
    assert_eq!(record["environment"], "prod/eu-1");
    assert_eq!((&record["data_class"], &record["purpose"]), (&json!("secret"), &json!("support")));
    assert_eq!(record["declared_task"], "close the ticket");
    let record = vm.send(&call("u", json!({ "com.example/task": "x".repeat(257) }))).record;
    assert_eq!(
        (&record["data_class"], record.get("purpose"), record.get("declared_task")),
        (&json!("internal"), None, None)
    );
    for task in [json!(5), json!(["x"]), json!(null)] {
        assert_eq!(vm.send(&call("u", json!({ "com.example/task": task }))).record.get("declared_task"), None);
    }
    for (word, value) in [("environment", "a b"), ("data_class", ""), ("environment", &*"x".repeat(65))] {
        assert_eq!(faults(&with(policy.clone(), &format!("/{word}"), json!(value))).len(), 1, "{word} {value}");
    }
}

#[test]
fn p36_the_token_service_is_told_the_labels_and_not_the_callers_word() {
    let rule =
        json!({ "scope": "x", "step_up": "exchange", "may_elevate": { "client": ["agent"] }, "purpose": "support" });
    let words =
        json!({ "environment": "prod", "data_class": "internal", "declared_task": "task", "tools": { "t": rule } });
    let policy = with(exchanging(server(words)), "/token_service/context", json!(true));
    let mut vm = Vm::new(&load(&policy));
    let call =
        Request::method("tools/call", json!({ "name": "t", "arguments": {}, "_meta": { "task": "my own words" } }));
    let call = call.bearer(&token(BASELINE));
    let stream = vm.head(&call);
    vm.body(stream, call.body());
    let (_, exchange) = vm.take_calls().remove(0);
    let form = exchange.body.reveal();
    for told in ["environment%22%3A%22prod", "data_class%22%3A%22internal", "purpose%22%3A%22support"] {
        assert!(form.contains(told), "{told} is not in {form}");
    }
    assert!(!form.contains("my%20own") && !form.contains("declared_task"), "{form}");
}
