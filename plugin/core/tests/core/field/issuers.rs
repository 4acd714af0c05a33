//! P21, P22, P38, P39, P43 and the keys of P29: issuers as they are.

use super::*;

#[test]
fn p21_scopes_stand_where_the_issuer_writes_them() {
    let document = speaking(
        json!({ "claims": { "scope": ["scope", "scp", "/realm_access/roles", "/https:~1~1a.example~1permissions"] } }),
    );
    let scopes = json!(["mcp:connect", "repo:read", "role with a blank"]);
    let bare = || able().without("scope");
    for (token, expected) in [
        (able(), "permitted"),
        (bare(), "scope_missing"),
        (bare().claim("scp", "mcp:connect repo:read"), "permitted"),
        (bare().claim("scp", scopes.clone()), "permitted"),
        (bare().claim("realm_access", json!({ "roles": scopes })), "permitted"),
        (bare().claim("https://a.example/permissions", scopes.clone()), "permitted"),
        // The first that is present counts, whatever it holds; the others are ordinary claims.
        (Token::new("mcp:connect").claim("scp", "repo:read"), "scope_missing"),
        (Token::new("").claim("scp", "mcp:connect repo:read"), "scope_missing"),
        (able().claim("scp", 7).claim("realm_access", "x"), "permitted"),
        (able().claim("scope", Json::Null).claim("scp", "mcp:connect repo:read"), "claim_malformed"),
        (bare().claim("scp", json!(["mcp:connect", 1])), "claim_malformed"),
        (bare().claim("scp", json!({ "a": 1 })), "claim_malformed"),
        (bare().claim("realm_access", json!("roles")), "scope_missing"),
        // An item that holds a space is one scope, which no policy can name.
        (bare().claim("scp", json!(["mcp:connect repo:read"])), "scope_missing"),
    ] {
        assert_eq!(reason(&document, &token), expected, "{}", token.claims());
    }
    // Without the word, nobody else's claim is looked at.
    assert_eq!(reason(&speaking(json!({})), &bare().claim("scp", "mcp:connect repo:read")), "scope_missing");
    // And a list where a text is usual is read all the same.
    assert_eq!(reason(&speaking(json!({})), &bare().claim("scope", scopes)), "permitted");
}

#[test]
fn p21_a_mapped_client_is_as_good_as_client_id() {
    let mapped = speaking(json!({ "claims": { "client": ["client_id", "azp", "cid"] } }));
    let bare = || able().without("client_id");
    for (token, expected) in [
        (bare().claim("azp", "agent"), "permitted"),
        (bare().claim("cid", "agent"), "permitted"),
        (bare(), "claim_missing"),
        (bare().claim("azp", Json::Null).claim("cid", "agent"), "claim_malformed"),
        (bare().claim("azp", json!(["agent"])), "claim_malformed"),
    ] {
        assert_eq!(reason(&mapped, &token), expected, "{}", token.claims());
    }
    // RFC 9068 2.2 requires `client_id` of `at+jwt`; the common dialect finds the client in `azp` where the type is not said.
    assert_eq!(reason(&speaking(json!({})), &bare().claim("azp", "agent")), "claim_missing");
    let settled = judge(&speaking(json!({ "token_type": "jwt" })), &bare().claim("azp", "agent").text(), "get");
    assert_eq!((settled.reason(), &settled.record["client"]), ("permitted", &json!("agent")));
}

#[test]
fn p21_a_scope_is_asked_for_as_the_issuer_writes_it() {
    let asking = speaking(json!({ "ask": "api://1111/{scope}" }));
    let settled = judge(&asking, &token(BASELINE), "get");
    let challenge = settled.challenge().unwrap_or_default().to_owned();
    assert!(challenge.contains("scope=\"api://1111/mcp:connect api://1111/repo:read\""), "{challenge}");
    assert_eq!(settled.record["missing"], json!(["repo:read"]), "the record has the policy's names");
    let mut vm = Vm::new(&load(&asking));
    let nobody = vm.send(&Request::call("get"));
    assert!(nobody.challenge().unwrap_or_default().contains("scope=\"api://1111/mcp:connect\""));
    let metadata = vm.send(&Request::bare("GET", "/.well-known/oauth-protected-resource/mcp"));
    assert_eq!(metadata.answer().json()["scopes_supported"], json!(["api://1111/mcp:connect"]));
    // Two issuers that do not agree: nobody in particular is asked in the policy's words.
    let mut two = asking;
    let mut other = two.pointer(AT).expect("the issuer").clone();
    other.as_object_mut().expect("a map").remove("ask");
    two["issuers"]["https://other.example.com"] = other;
    let mut vm = Vm::new(&load(&two));
    assert!(vm.send(&Request::call("get")).challenge().unwrap_or_default().contains("scope=\"mcp:connect\""));
    let theirs =
        vm.send(&Request::call("get").bearer(&Token::new(BASELINE).claim("iss", "https://other.example.com").text()));
    assert!(theirs.challenge().unwrap_or_default().contains("scope=\"mcp:connect repo:read\""));
    let ours = vm.send(&Request::call("get").bearer(&token(BASELINE)));
    assert!(ours.challenge().unwrap_or_default().contains("api://1111/repo:read"));
}

#[test]
fn p21_what_is_no_dialect_is_a_load_error() {
    for (more, place) in [
        (json!({ "claims": { "scope": [] } }), "issuers.\"https://as.example.com\".claims.scope"),
        (json!({ "claims": { "scope": ["a.b"] } }), "issuers.\"https://as.example.com\".claims.scope[0]"),
        (
            json!({ "claims": { "scope": ["https://a.example/p"] } }),
            "issuers.\"https://as.example.com\".claims.scope[0]",
        ),
        (json!({ "claims": { "client": ["/a~2"] } }), "issuers.\"https://as.example.com\".claims.client[0]"),
        (json!({ "claims": { "roles": ["a"] } }), "issuers.\"https://as.example.com\".claims.roles"),
        (json!({ "ask": "api://1111/" }), "issuers.\"https://as.example.com\".ask"),
        (json!({ "ask": "{scope}{scope}" }), "issuers.\"https://as.example.com\".ask"),
        (json!({ "ask": "{audience}/{scope}" }), "issuers.\"https://as.example.com\".ask"),
        (json!({ "ask": "a b {scope}" }), "issuers.\"https://as.example.com\".ask"),
    ] {
        assert_faulty(&speaking(more), &[place]);
    }
}

#[test]
fn p22_further_audiences_mean_this_server() {
    let document = with(speaking(json!({})), "/audiences", json!(["api://git", "https://old.example.com"]));
    for (audience, expected) in [
        (json!(RESOURCE), "permitted"),
        (json!("HTTPS://MCP.example.com:443/mcp"), "permitted"),
        (json!("api://git"), "permitted"),
        (json!(["x", "https://OLD.example.com/"]), "permitted"),
        (json!("API://git"), "audience_mismatch"),
        (json!("https://old.example.com/x"), "audience_mismatch"),
        (json!(format!("{RESOURCE}/")), "audience_mismatch"),
        (json!("https://mcp.example.com/%6Dcp"), "audience_mismatch"),
    ] {
        assert_eq!(reason(&document, &able().claim("aud", audience.clone())), expected, "{audience}");
    }
    assert_eq!(reason(&document, &able().without("aud")), "claim_missing");
}

#[test]
fn p22_an_id_token_has_no_scopes() {
    let named = || {
        with(speaking(json!({ "token_type": "jwt", "claims": { "scope": ["scp"] } })), "/audiences", json!(["app-1"]))
    };
    let id_token = || able().without("scope").claim("aud", "app-1");
    assert_eq!(reason(&named(), &id_token()), "not_an_access_token");
    assert_eq!(reason(&named(), &id_token().claim("scope", "mcp:connect repo:read")), "not_an_access_token");
    assert_eq!(reason(&named(), &id_token().claim("scp", "mcp:connect repo:read")), "permitted");
    // By a URL it is told apart as before.
    assert_eq!(reason(&named(), &able().without("scope")), "scope_missing");
    assert_eq!(reason(&named(), &id_token().claim("aud", json!(["app-1", RESOURCE]))), "scope_missing");
    assert_faulty(&with(named(), "/baseline", json!([])), &["audiences"]);
    let roles = speaking(json!({ "token_type": "jwt", "claims": { "scope": ["scp", "roles"] } }));
    assert!(warnings(&with(roles.clone(), "/audiences", json!(["app-1"]))).contains("`roles`"));
    assert!(!warnings(&with(roles, "/audiences", json!(["https://b.example.com"]))).contains("`roles`"));
}

#[test]
fn p22_an_audience_means_one_server() {
    let server = |resource: &str, audiences: Json| json!({ "resource": resource, "baseline": [BASELINE], "audiences": audiences, "tools": { "get": { "scope": [] } } });
    let two = |a: Json, b: Json| {
        let mut document = document(json!({}));
        for name in ["resource", "baseline", "tools"] {
            document.as_object_mut().expect("a map").remove(name);
        }
        document["servers"] =
            json!({ "a": server("https://a.example.com/mcp", a), "b": server("https://b.example.com/mcp", b) });
        document
    };
    load(&two(json!(["x"]), json!(["y"])));
    assert_faulty(&two(json!(["x"]), json!(["x"])), &["servers.b"]);
    assert_faulty(&two(json!(["https://B.example.com:443/mcp"]), json!(["y"])), &["servers.b"]);
    for audiences in [json!([]), json!(["a*"]), json!(["{x}"]), json!(["https://a.example.com/#x"]), json!("x")] {
        let document = with(speaking(json!({})), "/audiences", audiences.clone());
        assert_eq!(faults(&document).len(), 1, "{audiences}");
    }
}

/// A family in place of the one issuer.
fn family(name: &str, tenants: Json) -> Json {
    let mut document = speaking(json!({}));
    let mut issuer = document["issuers"][ISSUER].take();
    issuer["tenants"] = tenants;
    document["issuers"] = json!({ name: issuer });
    document
}

const FAMILY: &str = "https://login.example.com/{tid}/v2.0";

fn of_tenant(path: &str, tid: &str) -> Token {
    able().claim("iss", format!("https://login.example.com/{path}/v2.0")).claim("tid", tid)
}

#[test]
fn p38_a_family_of_issuers_differs_in_one_segment() {
    let document = family(FAMILY, json!({ "claim": "tid", "in": ["t-1", "t-2"] }));
    for (token, expected) in [
        (of_tenant("t-1", "t-1"), "permitted"),
        (of_tenant("t-3", "t-3"), "issuer_unknown"),
        (of_tenant("t-1", "t-2"), "issuer_unknown"),
        (of_tenant("t-1", "T-1"), "issuer_unknown"),
        (of_tenant("t-1/x", "t-1/x"), "issuer_unknown"),
        (of_tenant("t-1%20", "t-1%20"), "issuer_unknown"),
        (of_tenant("", ""), "issuer_unknown"),
        (of_tenant("t-1", "t-1").claim("tid", Json::Null), "issuer_unknown"),
        (of_tenant("t-1", "t-1").without("tid"), "issuer_unknown"),
        (able().claim("iss", FAMILY).claim("tid", "{tid}"), "issuer_unknown"),
    ] {
        assert_eq!(reason(&document, &token), expected, "{}", token.claims());
    }
    let settled = judge(&document, &of_tenant("t-1", "t-1").text(), "get");
    assert_eq!(settled.record["issuer"], "https://login.example.com/t-1/v2.0");
    let any = family(FAMILY, json!({ "claim": "tid", "any": true }));
    assert_eq!(reason(&any, &of_tenant("t-9", "t-9")), "permitted");
    assert!(warnings(&any).contains("any tenant"));
    assert_eq!(reason(&any, &of_tenant(&"t".repeat(65), &"t".repeat(65))), "issuer_unknown");
}

#[test]
fn p38_an_exact_issuer_wins_and_two_families_never_meet() {
    let mut document = family(FAMILY, json!({ "claim": "tid", "any": true }));
    let mut exact = document["issuers"][FAMILY].clone();
    exact.as_object_mut().expect("a map").remove("tenants");
    exact["max_lifetime"] = json!("1m");
    document["issuers"]["https://login.example.com/t-1/v2.0"] = exact;
    assert_eq!(reason(&document, &of_tenant("t-1", "t-1")), "token_too_long_lived");
    assert_eq!(reason(&document, &of_tenant("t-2", "t-2")), "permitted");
    let beside = |other: &str| {
        let mut two = family(FAMILY, json!({ "claim": "tid", "any": true }));
        two["issuers"][other] = two["issuers"][FAMILY].clone();
        two
    };
    assert_eq!(faults(&beside("https://login.example.com/v2.0/{x}")).len(), 1, "login.example.com/v2.0/v2.0");
    assert_eq!(faults(&beside("https://login.example.com/{y}/v2.0")).len(), 1);
    load(&beside("https://login.example.com/{y}/v1.0"));
    load(&beside("https://login.example.com/x/{y}/v2.0"));
    load(&beside("https://other.example.com/{y}/v2.0"));
}

#[test]
fn p38_a_pattern_is_understood_in_a_segment_of_an_issuer_only() {
    let listed = || json!({ "claim": "tid", "in": ["t-1"] });
    for name in [
        "https://{tid}.example.com/v2.0",
        "https://a.example.com/x{tid}/y",
        "https://a.example.com/{a}/{b}",
        "https://{tid}",
        "https://a.example.com/{}/x",
        "https://a.example.com/*",
    ] {
        assert!(!faults(&family(name, listed())).is_empty(), "{name}");
    }
    assert_eq!(faults(&family(FAMILY, Json::Null)).len(), 1);
    for tenants in [
        json!({ "claim": "tid" }),
        json!({ "claim": "tid", "in": [] }),
        json!({ "claim": "tid", "in": ["a"], "any": true }),
        json!({ "in": ["a"] }),
        json!({ "claim": "tid", "any": false }),
    ] {
        assert!(!faults(&family(FAMILY, tenants.clone())).is_empty(), "{tenants}");
    }
    assert_faulty(&speaking(json!({ "tenants": listed() })), &["issuers.\"https://as.example.com\".tenants"]);
}

#[test]
fn p38_p39_metadata_names_what_is_advertised_for_a_family() {
    let named = |advertised: Json| {
        let mut document = family(FAMILY, json!({ "claim": "tid", "in": ["t-1"] }));
        if !advertised.is_null() {
            document["issuers"][FAMILY]["advertised"] = advertised;
        }
        let mut vm = Vm::new(&load(&document));
        vm.send(&Request::bare("GET", "/.well-known/oauth-protected-resource/mcp")).answer().json()["authorization_servers"]
            .clone()
    };
    assert_eq!(named(Json::Null), Json::Null);
    assert_eq!(named(json!(false)), Json::Null);
    assert_eq!(
        named(json!("https://login.example.com/organizations/v2.0")),
        json!(["https://login.example.com/organizations/v2.0"])
    );
    let mut document = family(FAMILY, json!({ "claim": "tid", "in": ["t-1"] }));
    document["issuers"][FAMILY]["advertised"] = json!(true);
    assert_eq!(faults(&document).len(), 1);
    assert_eq!(faults(&speaking(json!({ "advertised": "https://b.example.com" }))).len(), 1);
}

/// The issuer's keys, by what is changed about the first.
fn keyed(keys: &[Json]) -> Json {
    speaking(json!({ "keys": { "keys": keys } }))
}

#[test]
fn p43_one_algorithm_has_two_registered_names() {
    for (listed, said, of_key) in
        [("EdDSA", "Ed25519", "EdDSA"), ("Ed25519", "EdDSA", "Ed25519"), ("Ed25519", "Ed25519", "EdDSA")]
    {
        let mut document = keyed(&[with(key().jwk(), "/alg", json!(of_key))]);
        document["issuers"][ISSUER]["algorithms"] = json!([listed]);
        let token = able().header("alg", said);
        assert_eq!(reason(&document, &token), "permitted", "{listed} {said} {of_key}");
    }
    for name in ["RS384", "RS512", "PS384", "PS512", "ES512", "HS256", "none", "ed25519"] {
        let document = speaking(json!({ "algorithms": [name] }));
        assert_fault(&document, &[&format!("`{name}`"), "ES256"]);
    }
}

#[test]
fn p29_one_key_without_a_kid_is_a_candidate() {
    let nameless = || without(key().jwk(), "/kid");
    let other = || without(other_key().jwk(), "/kid");
    assert_eq!(reason(&keyed(&[nameless()]), &able()), "permitted");
    assert_eq!(reason(&keyed(&[nameless(), other_key().jwk()]), &able()), "permitted");
    // Two are anybody's guess, and one that has the name decides.
    assert_eq!(reason(&keyed(&[nameless(), other()]), &able()), "key_unknown");
    assert_eq!(
        reason(&keyed(&[nameless(), with(other_key().jwk(), "/kid", json!("k1"))]), &able()),
        "signature_invalid"
    );
    assert_eq!(reason(&keyed(&[other()]), &able()), "key_unknown");
}

#[test]
fn p29_only_usable_keys_count() {
    let encryption = with(key().jwk(), "/use", json!("enc"));
    let unusable = |many: usize| vec![encryption.clone(); many];
    let document = |keys: &[Json]| json!({ "keys": keys }).to_string().into_bytes();
    let fetched = |keys: &[Json]| {
        let policy =
            speaking(json!({ "keys": Json::Null, "jwks": { "cluster": "as", "url": "https://as.example.com/jwks" } }));
        let policy = without(policy, &format!("{AT}/keys"));
        let mut vm = Vm::new(&load(&policy));
        vm.tick();
        let (id, _) = vm.take_calls().pop().expect("a fetch");
        vm.reply(id, Ok((200, &document(keys))));
        let logs = vm.logs.join("\n");
        let request = Request::call("get").bearer(&able().text());
        let stream = vm.head(&request);
        vm.body(stream, request.body());
        vm.pass(5_000);
        (vm.settled(stream).reason().to_owned(), logs)
    };
    let mut many = unusable(300);
    many.push(key().jwk());
    let (reason, logs) = fetched(&many);
    assert_eq!(reason, "permitted");
    assert!(logs.contains("\"k1\" (not for signatures") && logs.contains("and 268 more"), "{logs}");
    let (_, logs) = fetched(&[key().jwk(), with(key().jwk(), "/x", json!("AAAA="))]);
    assert!(logs.contains("malformed"), "{logs}");
    assert_eq!(fetched(&vec![key().jwk(); 128]).0, "permitted");
    assert_eq!(fetched(&vec![key().jwk(); 129]).0, "keys_unavailable");
}

#[test]
fn p38_what_a_family_says_of_an_exact_issuer_beside_it_is_nothing() {
    let exact = "https://login.example.com/t-1/v2.0";
    let mut document = family(FAMILY, json!({ "claim": "tid", "any": true }));
    document["issuers"][exact] = document["issuers"][FAMILY].clone();
    document["issuers"][exact].as_object_mut().expect("a map").remove("tenants");
    // By introspection, where the server names the family only.
    let mut asking = document.clone();
    asking["issuers"][FAMILY]["introspection"] =
        json!({ "cluster": "as", "url": "https://as.example.com/i", "client": "none" });
    let server = |document: &Json| json!({ "git": { "resource": RESOURCE, "baseline": BASELINE, "issuers": [FAMILY], "tools": document["tools"] } });
    let listed = json!({
        "version": 1, "select": "host", "issuers": asking["issuers"], "servers": server(&asking),
    });
    let said = |tenant: &str| {
        let mut vm = Vm::new(&load(&listed));
        let stream = vm.head(&Request::call("get").bearer("opaque"));
        let (id, _) = vm.take_calls().pop().expect("a question");
        let answer = json!({
            "active": true, "iss": format!("https://login.example.com/{tenant}/v2.0"), "tid": tenant, "aud": RESOURCE, "sub": "a",
            "client_id": "agent", "scope": "mcp:connect repo:read", "exp": START + 60,
        });
        vm.reply(id, Ok((200, answer.to_string().as_bytes())));
        if !vm.is_settled(stream) {
            vm.body(stream, Request::call("get").body());
        }
        vm.settled(stream).reason().to_owned()
    };
    assert_eq!((said("t-2").as_str(), said("t-1").as_str()), ("permitted", "issuer_unknown"));
}

#[test]
fn p38_patterns_are_refused_as_such() {
    let no_pattern = "a pattern where none is understood";
    let with_family = |place: &str, value: &str| {
        let mut document = family(FAMILY, json!({ "claim": "tid", "in": ["t-1"] }));
        document["issuers"][FAMILY][place] = json!(value);
        document
    };
    assert_fault(&with_family("advertised", "https://login.example.com/*"), &["advertised", no_pattern]);
    assert_fault(&with_family("advertised", "https://login.example.com/{x}"), &["advertised", no_pattern]);
    for (place, value) in [
        ("/resource", json!("https://mcp.example.com/{x}")),
        ("/paths", json!(["/{x}"])),
        ("/origins", json!(["https://{x}.example.com"])),
        ("/callers", json!({ "client_origin": ["https://*.example.com"] })),
    ] {
        let found = faults(&with(speaking(json!({})), place, value));
        assert!(found.iter().any(|fault| fault.problem == no_pattern), "{place}");
    }
    let asked = |id: &str| {
        speaking(json!({ "introspection": {
            "cluster": "as", "url": "https://as.example.com/i", "client": { "id": id, "auth": "cluster" },
        } }))
    };
    assert_fault(&asked("mcp*"), &["introspection.client.id", no_pattern]);
    // One path segment, and tenants that can be one.
    for name in ["https://login.example.com/?q=/{tid}", "https://login.example.com/{tid}/?x=1"] {
        assert!(!faults(&family(name, json!({ "claim": "tid", "any": true }))).is_empty(), "{name}");
    }
    for tenant in ["*", "a/b", "", &"x".repeat(65)] {
        assert!(!faults(&family(FAMILY, json!({ "claim": "tid", "in": [tenant] }))).is_empty(), "{tenant}");
    }
}

#[test]
fn p39_the_alphabet_is_that_of_what_is_named() {
    let mut document = speaking(json!({}));
    let mut listed = family("https://a.example.com/{tid}", json!({ "claim": "tid", "any": true }))["issuers"]
        ["https://a.example.com/{tid}"]
        .clone();
    listed["advertised"] = json!("https://z.example.com");
    document["issuers"]["https://a.example.com/{tid}"] = listed;
    let mut vm = Vm::new(&load(&document));
    let metadata = vm.send(&Request::bare("GET", "/.well-known/oauth-protected-resource/mcp"));
    assert_eq!(metadata.answer().json()["authorization_servers"], json!([ISSUER, "https://z.example.com"]));
}

#[test]
fn p21_a_pointer_counts_the_items_of_a_list() {
    let document = speaking(json!({ "claims": { "subject": ["/ids/0", "sub"] } }));
    for (ids, subject) in [(json!(["i-0", "i-1"]), "i-0"), (json!([]), "alice"), (json!({ "0": "named" }), "named")] {
        let settled = judge(&document, &able().claim("ids", ids.clone()).text(), "get");
        assert_eq!(settled.record["subject"], subject, "{ids}");
    }
}

#[test]
fn p29_a_document_whose_keys_are_all_skipped_says_why() {
    let policy = speaking(json!({ "jwks": { "cluster": "as", "url": "https://as.example.com/jwks" } }));
    let policy = load(&without(policy, &format!("{AT}/keys")));
    let fetching = || {
        let mut vm = Vm::new(&policy);
        vm.tick();
        let (id, _) = vm.take_calls().pop().expect("a fetch");
        (vm, id)
    };
    let (mut vm, id) = fetching();
    let document = json!({ "keys": [with(key().jwk(), "/alg", json!("RS512")), { "kid": "b", "kty": "EC" }] });
    vm.reply(id, Ok((200, document.to_string().as_bytes())));
    let line = vm.warnings.iter().find(|line| line.contains("withdrawn")).expect("a line");
    assert!(line.contains("\"k1\" (") && line.contains("\"b\" ("), "{line}");
    // Members of keys that are skipped do not count either.
    let mut keys = vec![json!({ "kty": "x" }); 11_000];
    keys.push(key().jwk());
    let document = json!({ "keys": keys }).to_string();
    assert!(document.len() < 256 * 1024);
    let (mut vm, id) = fetching();
    vm.reply(id, Ok((200, document.as_bytes())));
    vm.send(&Request::call("get").bearer(&able().text())).assert_forwarded();
}
