//! Where servers answer: spellings of a path, aliases, queries (P29, P42), and origins of any scheme.

use super::*;

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

fn serving(more: Json) -> Json {
    let mut document = document(json!({ "get": { "scope": [] } }));
    for (name, value) in more.as_object().expect("a map") {
        document[name] = value.clone();
    }
    document
}

fn vm(more: Json) -> Vm {
    Vm::new(&load(&serving(more)))
}

fn call_at(path: &str) -> Request {
    Request::call("get").header(":path", path).bearer(&token(BASELINE))
}

/// `resource` of the metadata document there.
fn described(vm: &mut Vm, path: &str) -> Option<String> {
    let settled = vm.send(&Request::bare("GET", path));
    let answer = settled.answer();
    if answer.status == 404 {
        return None;
    }
    assert_eq!(settled.reason(), "metadata");
    answer.json()["resource"].as_str().map(str::to_owned)
}

/// Where the challenge at that path sends clients.
fn challenged(vm: &mut Vm, path: &str) -> String {
    let settled = vm.send(&call_at(path).without("authorization"));
    settled.assert_refused(401, "token_missing");
    let challenge = settled.challenge().expect("a challenge").to_owned();
    let (_, rest) = challenge.split_once("resource_metadata=\"").expect("a document");
    rest.split('"').next().unwrap_or_default().to_owned()
}

#[test]
fn p29_one_final_slash_makes_no_other_path() {
    for (listed, other) in [("/mcp", "/mcp/"), ("/mcp/", "/mcp")] {
        let resource = format!("https://mcp.example.com{listed}");
        let mut vm = vm(json!({ "resource": resource }));
        let good = Token::new(BASELINE).claim("aud", resource.clone()).text();
        for path in [listed, other] {
            vm.send(&call_at(path).bearer(&good)).assert_forwarded();
            vm.send(&call_at(&format!("{path}?a=b")).bearer(&good)).assert_forwarded();
            let place = challenged(&mut vm, path);
            assert_eq!(place, format!("https://mcp.example.com{WELL_KNOWN}/mcp"));
            for metadata in [format!("{WELL_KNOWN}/mcp"), format!("{WELL_KNOWN}/mcp/")] {
                assert_eq!(described(&mut vm, &metadata), Some(resource.clone()), "{metadata}");
            }
        }
        for path in ["/mcp//", "//mcp", "/mcp/x", "/mcp/?/", "/"] {
            let status = vm.send(&call_at(path).bearer(&good));
            assert_eq!(status.is_forwarded(), path == "/mcp/?/", "{path}");
        }
        // The audience is the one that is listed.
        let twin = Token::new(BASELINE).claim("aud", format!("https://mcp.example.com{other}")).text();
        vm.send(&call_at(listed).bearer(&twin)).assert_refused(401, "audience_mismatch");
        vm.send(&call_at(other).bearer(&twin)).assert_refused(401, "audience_mismatch");
    }
}

#[test]
fn p29_both_spellings_are_two_where_both_are_listed() {
    let mut vm = vm(json!({ "paths": ["/mcp/"] }));
    let (plain, slash) = ("https://mcp.example.com/mcp", "https://mcp.example.com/mcp/");
    assert_eq!(described(&mut vm, &format!("{WELL_KNOWN}/mcp")).as_deref(), Some(plain));
    assert_eq!(described(&mut vm, &format!("{WELL_KNOWN}/mcp/")).as_deref(), Some(slash));
    assert_eq!(challenged(&mut vm, "/mcp"), format!("https://mcp.example.com{WELL_KNOWN}/mcp"));
    assert_eq!(challenged(&mut vm, "/mcp/"), format!("https://mcp.example.com{WELL_KNOWN}/mcp/"));
    let alias = Token::new(BASELINE).claim("aud", slash).text();
    vm.send(&call_at("/mcp/").bearer(&alias)).assert_forwarded();
    vm.send(&call_at("/mcp").bearer(&alias)).assert_refused(401, "audience_mismatch");
    vm.send(&call_at("/mcp/")).assert_forwarded();
}

#[test]
fn p29_an_alias_is_a_resource_at_its_own_path() {
    let mut vm = vm(json!({ "paths": ["/v1/mcp", "/v2"] }));
    for (path, place) in [("/mcp", "/mcp"), ("/v1/mcp", "/v1/mcp"), ("/v1/mcp/", "/v1/mcp"), ("/v2/", "/v2")] {
        let resource = format!("https://mcp.example.com{place}");
        assert_eq!(challenged(&mut vm, path), format!("https://mcp.example.com{WELL_KNOWN}{place}"));
        assert_eq!(described(&mut vm, &format!("{WELL_KNOWN}{path}")), Some(resource.clone()));
        let own = Token::new(BASELINE).claim("aud", resource).text();
        vm.send(&call_at(path).bearer(&own)).assert_forwarded();
        // Again, from memory.
        vm.send(&call_at(path).bearer(&own)).assert_forwarded();
        for other in ["/mcp", "/v1/mcp", "/v2"].into_iter().filter(|other| *other != place && place != "/mcp") {
            vm.send(&call_at(other).bearer(&own)).assert_refused(401, "audience_mismatch");
        }
        // The resource's own audience is good everywhere at the server.
        vm.send(&call_at(path)).assert_forwarded();
    }
    // The root form is the resource's.
    assert_eq!(described(&mut vm, WELL_KNOWN).as_deref(), Some("https://mcp.example.com/mcp"));
    let refused = vm.send(&call_at("/v1/mcp").bearer(&token("x")));
    refused.assert_refused(403, "scope_missing");
    assert!(refused.challenge().is_some_and(|challenge| challenge.contains("oauth-protected-resource/v1/mcp\"")));
}

#[test]
fn p29_an_alias_means_no_other_server() {
    let server = |host: &str, more: Json| {
        let mut server = json!({ "resource": format!("https://{host}/mcp"), "baseline": [BASELINE], "tools": { "get": { "scope": [] } } });
        for (name, value) in more.as_object().expect("a map") {
            server[name] = value.clone();
        }
        server
    };
    let mut document = document(json!({ "get": { "scope": [] } }));
    for name in ["resource", "baseline", "tools"] {
        document.as_object_mut().expect("a map").remove(name);
    }
    document["select"] = json!("host");
    document["servers"] = json!({
        "one": server("one.example.com", json!({ "paths": ["/v1"] })),
        "two": server("two.example.com", json!({ "audiences": ["https://one.example.com/v1"] })),
    });
    assert_faulty(&document, &["servers.two"]);
    document["servers"]["two"] = server("one.example.com", json!({ "resource": "https://one.example.com/v1/" }));
    assert_faulty(&document, &["servers.two"]);
}

#[test]
fn p42_encoded_separators_are_compared_byte_for_byte() {
    let resource = "https://mcp.example.com/runtimes/arn%3Aaws%2Fmy-agent/mcp";
    let mut vm = vm(json!({ "resource": resource }));
    let good = Token::new(BASELINE).claim("aud", resource).text();
    let path = "/runtimes/arn%3Aaws%2Fmy-agent/mcp";
    vm.send(&call_at(path).bearer(&good)).assert_forwarded();
    vm.send(&call_at(&format!("{path}?qualifier=x")).bearer(&good)).assert_forwarded();
    assert_eq!(challenged(&mut vm, path), format!("https://mcp.example.com{WELL_KNOWN}{path}"));
    assert_eq!(described(&mut vm, &format!("{WELL_KNOWN}{path}")).as_deref(), Some(resource));
    for other in [
        "/runtimes/arn%3Aaws%2fmy-agent/mcp",
        "/runtimes/arn%3aaws%2Fmy-agent/mcp",
        "/runtimes/arn:aws%2Fmy-agent/mcp",
        "/runtimes/arn%3Aaws/my-agent/mcp",
        "/runtimes/arn%3Aaws%2Fmy-agent/mcp/",
        "/runtimes/arn%3Aaws%252Fmy-agent/mcp",
    ] {
        // A second for each, so that no record is suppressed.
        vm.pass(1_000);
        vm.send(&call_at(other).bearer(&good)).assert_refused(404, "unknown_path");
        assert_eq!(described(&mut vm, &format!("{WELL_KNOWN}{other}")), None, "{other}");
    }
}

#[test]
fn p42_a_query_that_is_written_must_be_there_byte_for_byte() {
    for (resource, path, metadata) in [
        ("https://mcp.example.com/mcp?tenant=a", "/mcp?tenant=a", "/mcp?tenant=a"),
        ("https://mcp.example.com/?tenant=a", "/?tenant=a", "?tenant=a"),
        ("https://mcp.example.com?tenant=a", "/?tenant=a", "?tenant=a"),
        ("https://mcp.example.com/mcp?", "/mcp?", "/mcp?"),
    ] {
        let mut vm = vm(json!({ "resource": resource, "paths": ["/alias"] }));
        let good = Token::new(BASELINE).claim("aud", resource).text();
        vm.send(&call_at(path).bearer(&good)).assert_forwarded();
        assert_eq!(challenged(&mut vm, path), format!("https://mcp.example.com{WELL_KNOWN}{metadata}"));
        assert_eq!(described(&mut vm, &format!("{WELL_KNOWN}{metadata}")).as_deref(), Some(resource));
        let bare = path.split('?').next().unwrap_or_default();
        for query in ["", "?tenant=b", "?tenant=a&x=1", "?x=1&tenant=a", "?tenant=A", "?tenant=%61", "?&tenant=a"] {
            vm.pass(1_000);
            vm.send(&call_at(&format!("{bare}{query}")).bearer(&good)).assert_refused(404, "unknown_path");
        }
        if bare != "/" {
            vm.send(&call_at(&path.replace('?', "/?")).bearer(&good)).assert_refused(404, "unknown_path");
        }
        // It is the resource's, not its aliases'.
        vm.send(&call_at("/alias").bearer(&good)).assert_forwarded();
    }
}

#[test]
fn p42_servers_may_differ_by_their_queries() {
    let server =
        |resource: &str| json!({ "resource": resource, "baseline": [BASELINE], "tools": { "get": { "scope": [] } } });
    let mut document = document(json!({ "get": { "scope": [] } }));
    for name in ["resource", "baseline", "tools"] {
        document.as_object_mut().expect("a map").remove(name);
    }
    document["select"] = json!("host");
    let (one, two) = ("https://mcp.example.com/mcp?tenant=a", "https://mcp.example.com/mcp?tenant=b");
    document["servers"] = json!({ "one": server(one), "two": server(two) });
    let mut vm = Vm::new(&load(&document));
    let good = Token::new(BASELINE).claim("aud", two).text();
    let settled = vm.send(&call_at("/mcp?tenant=b").bearer(&good));
    settled.assert_forwarded();
    assert_eq!(settled.record["server"], "two");
    vm.send(&call_at("/mcp?tenant=a").bearer(&good)).assert_refused(401, "audience_mismatch");
    // Where one of them takes any query, both would be meant.
    document["servers"]["one"] = server("https://mcp.example.com/mcp");
    assert_faulty(&document, &["servers.two"]);
}

#[test]
fn p42_a_token_in_the_query_of_a_resource_would_never_be_accepted() {
    let document = serving(json!({ "resource": "https://mcp.example.com/mcp?access_token=x" }));
    assert_faulty(&document, &["resource"]);
}

#[test]
fn p29_origins_of_any_scheme() {
    let origins = [
        "chrome-extension://hkgfoiooedgoejojocmhlaklaeopbecg",
        "vscode-webview://0kbb1r3mq2ubq8nh3m9a1rqs5bl5u83u5n1qvdmhapsb3oj9ti7m",
        "tauri://localhost",
        "app://obsidian.md",
        "com.example+x://host:8080",
    ];
    let mut vm = vm(json!({ "origins": origins }));
    for origin in origins {
        vm.send(&call_at("/mcp").header("origin", origin)).assert_forwarded();
    }
    for origin in ["null", "chrome-extension://other", "tauri://localhost/", "tauri://LOCALHOST", "app://"] {
        vm.send(&call_at("/mcp").header("origin", origin)).assert_refused(403, "origin_not_allowed");
    }
}

#[test]
fn p42_a_resource_may_be_written_in_upper_case() {
    let mut vm = vm(json!({ "resource": "HTTPS://MCP.Example.com:443/mcp" }));
    for aud in ["https://mcp.example.com/mcp", "HTTPS://MCP.Example.com:443/mcp"] {
        vm.send(&Request::call("get").bearer(&able().claim("aud", aud).text())).assert_forwarded();
    }
    let document = described(&mut vm, &format!("{WELL_KNOWN}/mcp"));
    assert_eq!(document.as_deref(), Some("HTTPS://MCP.Example.com:443/mcp"));
}
