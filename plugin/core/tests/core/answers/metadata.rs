//! Metadata.

use super::*;

fn metadata(vm: &mut Vm, path: &str) -> Settled {
    at_head(vm, &Request::bare("GET", path))
}

#[test]
fn the_metadata_document_stands_at_its_path_and_at_the_root() {
    let mut vm = vm();
    for path in ["/.well-known/oauth-protected-resource/mcp", WELL_KNOWN, "/.well-known/oauth-protected-resource/mcp?x"]
    {
        let settled = metadata(&mut vm, path);
        let answer = settled.answer();
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
        let expected = json!({
            "resource": RESOURCE,
            "authorization_servers": [ISSUER],
            "bearer_methods_supported": ["header"],
            "scopes_supported": [BASELINE],
        });
        assert_eq!(answer.json(), expected);
        assert_eq!((settled.reason(), &settled.record["verdict"]), ("metadata", &json!("answer")));
    }
    for path in [
        "/.well-known/oauth-protected-resource/",
        "/.well-known/oauth-protected-resource/mcp//",
        "/.well-known/oauth-protected-resource/mcp/x",
        "/.well-known/oauth-protected-resource/MCP",
        "/.well-known/oauth-protected-resourcemcp",
        "/.well-known/openid-configuration",
        "/mcp/.well-known/oauth-protected-resource",
    ] {
        assert_plain(&metadata(&mut vm, path), 404, None, "unknown_path");
    }
}

#[test]
fn metadata_is_for_get_and_head() {
    let mut vm = vm();
    let head = at_head(&mut vm, &Request::bare("HEAD", WELL_KNOWN));
    assert_eq!((head.answer().status, head.answer().body.len()), (200, 0));
    assert_eq!(head.answer().header("content-type"), Some("application/json"));
    for method in ["POST", "DELETE", "PUT", "OPTIONS"] {
        at_head(&mut vm, &Request::bare(method, WELL_KNOWN).bearer(&good())).assert_refused(404, "unknown_path");
    }
}

#[test]
fn an_empty_baseline_is_not_advertised() {
    let mut vm = Vm::new(&load(&with(example(), "/baseline", json!([]))));
    assert_eq!(metadata(&mut vm, WELL_KNOWN).answer().json().get("scopes_supported"), None);
}

#[test]
fn the_well_known_part_goes_between_host_and_path() {
    for (origin, path, inserted) in [
        ("https://h.example.com", "", ""),
        ("https://h.example.com", "/", ""),
        ("https://h.example.com", "/a/b", "/a/b"),
        ("https://h.example.com", "/a/", "/a"),
        ("https://h.example.com:8443", "/a", "/a"),
    ] {
        let resource = format!("{origin}{path}");

        let mut vm = Vm::new(&load(&with(example(), "/resource", json!(resource))));
        let host = origin.trim_start_matches("https://");
        let well_known = format!("{WELL_KNOWN}{inserted}");
        let document = at_head(&mut vm, &Request::bare("GET", &well_known).header(":authority", host));
        assert_eq!(document.answer().json()["resource"], resource);
        let served = if path.is_empty() { "/" } else { path };
        let settled = at_head(&mut vm, &call_at(host, served));
        let url = format!(r#"resource_metadata="{origin}{WELL_KNOWN}{inserted}""#);
        assert!(settled.challenge().unwrap().ends_with(&url), "{settled:?}");
    }
}
