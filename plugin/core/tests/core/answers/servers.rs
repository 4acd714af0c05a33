//! Several servers.

use super::*;

fn two_servers(a: &str, b: &str) -> Vm {
    let server = |resource: &str, scope: &str| json!({ "resource": resource, "baseline": [scope], "tools": { "get": { "scope": [] } } });
    let one = without(without(without(example(), "/resource"), "/baseline"), "/tools");
    let both = json!({ "a": server(a, "a:connect"), "b": server(b, "b:connect") });
    Vm::new(&load(&with(with(one, "/servers", both), "/select", json!("host"))))
}

#[test]
fn the_server_is_chosen_by_host_and_path() {
    let mut vm = two_servers("https://a.example.com/mcp", "https://b.example.com:8443/mcp");
    for (host, path, server) in [
        ("a.example.com", "/mcp", "a"),
        ("A.Example.Com", "/mcp", "a"),
        ("a.example.com:443", "/mcp", "a"),
        ("b.example.com:8443", "/mcp", "b"),
    ] {
        let settled = at_head(&mut vm, &call_at(host, path));
        settled.assert_refused(401, "token_missing");
        assert_eq!(settled.record["server"], server, "{host}");
        assert!(settled.challenge().unwrap().contains(&format!(r#"scope="{server}:connect""#)));
    }
    for host in ["b.example.com", "a.example.com:8443", "c.example.com", "", "a.example.com.", "xa.example.com"] {
        assert_plain(&at_head(&mut vm, &call_at(host, "/mcp")), 404, None, "unknown_server");
    }
    assert_plain(&at_head(&mut vm, &call_at("a.example.com", "/other")), 404, None, "unknown_path");
}

#[test]
fn p34_one_server_is_served_at_its_own_host_only() {
    assert_plain(&at_head(&mut vm(), &call_at("other.example.com", "/mcp")), 404, None, "unknown_server");
    let by_path = with(example(), "/select", json!("path"));
    at_head(&mut Vm::new(&load(&by_path)), &call_at("other.example.com", "/mcp")).assert_refused(401, "token_missing");
    let by_route = Vm::new(&load(&with(example(), "/select", json!("metadata"))));
    assert_plain(&at_head(&mut { by_route }, &call_at("mcp.example.com", "/mcp")), 404, None, "unknown_server");
}

#[test]
fn p34_several_servers_need_the_route_to_say_which() {
    let server =
        |resource: &str| json!({ "resource": resource, "baseline": ["c"], "tools": { "get": { "scope": [] } } });
    let servers = json!({ "a": server("https://a.example.com/a"), "b": server("https://b.example.com/b") });
    let one = without(without(without(example(), "/resource"), "/baseline"), "/tools");
    let mut vm = Vm::new(&load(&with(one, "/servers", servers)));
    assert_plain(&at_head(&mut vm, &call_at("a.example.com", "/a")), 404, None, "unknown_server");
    at_head(&mut vm, &call_at("x.example.com", "/a").routed_to("a")).assert_refused(401, "token_missing");
}

#[test]
fn p34_an_issuer_counts_where_the_server_names_it() {
    let server = |resource: &str, issuers: Json| json!({ "resource": resource, "baseline": ["c"], "issuers": issuers, "tools": { "get": { "scope": [] } } });
    let keys = json!({ "keys": { "keys": [key().jwk()] }, "algorithms": ["EdDSA"] });
    let document = json!({
        "version": 1,
        "issuers": { "https://z.example": keys.clone(), "https://a.example": keys },
        "servers": {
            "a": server("https://h.example.com/a", json!(["https://z.example", "https://a.example"])),
            "b": server("https://h.example.com/b", json!(["https://a.example"])),
        },
    });
    let mut vm = Vm::new(&load(&document));
    let from = |issuer: &str, server: &str| {
        let token = Token::new("c").claim("iss", issuer).claim("aud", format!("https://h.example.com/{server}"));
        call_at("h.example.com", &format!("/{server}")).routed_to(server).bearer(&token.text())
    };
    for _ in 0..2 {
        vm.send(&from("https://z.example", "a")).assert_forwarded();
        vm.send(&from("https://a.example", "a")).assert_forwarded();
        vm.send(&from("https://a.example", "b")).assert_forwarded();
        at_head(&mut vm, &from("https://z.example", "b")).assert_refused(401, "issuer_unknown");
    }
    // One token for both, which is remembered from the one where its issuer counts.
    let audience = json!(["https://h.example.com/a", "https://h.example.com/b"]);
    let both = Token::new("c").claim("iss", "https://z.example").claim("aud", audience).text();
    let at = |server: &str| call_at("h.example.com", &format!("/{server}")).routed_to(server).bearer(&both);
    vm.send(&at("a")).assert_forwarded();
    at_head(&mut vm, &at("b")).assert_refused(401, "issuer_unknown");

    let advertised = |vm: &mut Vm, server: &str| {
        let path = format!("{WELL_KNOWN}/{server}");
        let request = Request::bare("GET", &path).header(":authority", "h.example.com").routed_to(server);
        at_head(vm, &request).answer().json()["authorization_servers"].clone()
    };
    assert_eq!(advertised(&mut vm, "a"), json!(["https://z.example", "https://a.example"]));
    assert_eq!(advertised(&mut vm, "b"), json!(["https://a.example"]));
}

#[test]
fn p34_of_several_issuers_each_of_several_servers_names_its_own() {
    let server =
        |resource: &str| json!({ "resource": resource, "baseline": ["c"], "tools": { "get": { "scope": [] } } });
    let one = without(without(without(example(), "/resource"), "/baseline"), "/tools");
    let mut document = with(one, "/servers", json!({ "a": server("https://a.example/a") }));
    document["issuers"]["https://partner.example"] = document["issuers"][ISSUER].clone();
    load(&document);
    document["servers"]["b"] = server("https://b.example/b");
    assert_faulty(&document, &["servers.a", "servers.b"]);
    document["servers"]["a"]["issuers"] = json!([ISSUER]);
    assert_faulty(&document, &["servers.b"]);
    document["servers"]["b"]["issuers"] = json!(["https://partner.example", ISSUER]);
    load(&document);
}

#[test]
fn the_route_has_the_first_word_on_the_server() {
    let mut vm = two_servers("https://a.example.com/a", "https://b.example.com/b");
    let settled = at_head(&mut vm, &call_at("a.example.com", "/b").routed_to("b"));
    assert_eq!((settled.reason(), &settled.record["server"]), ("token_missing", &json!("b")));
    assert_plain(&at_head(&mut vm, &call_at("a.example.com", "/a").routed_to("b")), 404, None, "unknown_path");
    assert_plain(&at_head(&mut vm, &call_at("a.example.com", "/a").routed_to("c")), 404, None, "unknown_server");
    assert_plain(&at_head(&mut vm, &call_at("a.example.com", "/a").routed_to("")), 404, None, "unknown_server");
    let one = &mut self::vm();
    assert_plain(&at_head(one, &Request::call("get").routed_to("git")), 404, None, "unknown_server");
}

#[test]
fn a_token_for_one_server_is_none_for_the_other() {
    let mut vm = two_servers("https://h.example.com/a", "https://h.example.com/b");
    let token = Token::new("a:connect b:connect").claim("aud", "https://h.example.com/a").text();
    let at = |path: &str| call_at("h.example.com", path).bearer(&token);
    // Also when the token is already in the cache.
    for _ in 0..2 {
        vm.send(&at("/a")).assert_forwarded();
        at_head(&mut vm, &at("/b")).assert_refused(401, "audience_mismatch");
    }
}

#[test]
fn each_server_has_its_own_metadata_and_the_root_form_only_where_it_is_unique() {
    let mut vm = two_servers("https://h.example.com/a", "https://h.example.com/b");
    let at = |vm: &mut Vm, host: &str, path: &str| at_head(vm, &Request::bare("GET", path).header(":authority", host));
    for name in ["a", "b"] {
        let settled = at(&mut vm, "h.example.com", &format!("{WELL_KNOWN}/{name}"));
        assert_eq!(settled.answer().json()["resource"], format!("https://h.example.com/{name}"));
        assert_eq!(settled.answer().json()["scopes_supported"], json!([format!("{name}:connect")]));
    }
    assert_plain(&at(&mut vm, "h.example.com", WELL_KNOWN), 404, None, "unknown_path");
    assert_plain(&at(&mut vm, "other.example.com", WELL_KNOWN), 404, None, "unknown_server");

    let mut vm = two_servers("https://a.example.com/mcp", "https://b.example.com/mcp");
    for name in ["a", "b"] {
        for path in [WELL_KNOWN, "/.well-known/oauth-protected-resource/mcp"] {
            let settled = at(&mut vm, &format!("{name}.example.com"), path);
            assert_eq!(settled.answer().json()["resource"], format!("https://{name}.example.com/mcp"));
        }
    }
}
