//! `stepup init`: what it proposes is good at once, whatever the server says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod login;
mod served;
mod world;

use std::collections::BTreeSet;
use std::fs;

use axum::Router;
use axum::http::HeaderMap;
use axum::response::Json;
use axum::routing::post;
use host_test::fixtures;
use host_test::process::{Process, free_port};
use host_test::{paths, yaml};
use serde_json::{Value, json};
use world::{World, init, listed_by_hand, pins_of, proposed, strict, temporary};

const GITHUB: &str = "host-test/tests/init/github-tools.json";
const HOSTILE: &str = "host-test/tests/init/hostile-tools.json";

fn keys(map: &Value) -> BTreeSet<&str> {
    map.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect()
}

fn tier<'p>(policy: &'p Value, tool: &str) -> &'p str {
    policy["tools"][tool]["tier"].as_str().unwrap_or_else(|| panic!("{tool} has no tier"))
}

#[test]
fn a_saved_list_becomes_a_policy() {
    let (text, heard) = proposed(&["--tools", GITHUB]);
    let policy = strict(&text);
    for (tool, wanted) in [
        ("get_me", "read"),
        ("search_code", "read"),
        ("pull_request_read", "read"),
        ("create_branch", "write"),
        ("issue_write", "write"),
        ("delete_file", "danger"),
        ("merge_pull_request", "danger"),
        ("list_secret_scanning_alerts", "danger"),
    ] {
        assert_eq!(tier(&policy, tool), wanted, "{tool}");
    }
    // Nobody is known who would exchange.
    assert_eq!((&policy["tiers"]["danger"]["step_up"], &policy["token_service"]), (&json!("challenge"), &Value::Null));
    assert!(heard.contains("6 read, 5 write, 5 danger") && heard.contains("marked EDIT"), "{heard}");
    let list = fs::read_to_string(paths::workspace().join(GITHUB)).unwrap();
    assert_eq!(policy["pins"], pins_of(&list));
    assert_eq!(proposed(&["--tools", GITHUB]).0, text, "twice the same");
    assert!(strict(&proposed(&["--tools", GITHUB, "--no-pins"]).0)["pins"].is_null());
    let until = (time::OffsetDateTime::now_utc().date() + time::Duration::days(30)).to_string();
    let shadow = strict(&proposed(&["--tools", GITHUB, "--shadow", &until]).0);
    assert_eq!((&shadow["mode"], &shadow["until"]), (&json!("shadow"), &json!(until)));
}

/// What the page shows is what comes out.
#[test]
fn the_example_of_the_page_is_what_is_proposed() {
    let page = fs::read_to_string(paths::workspace().join("docs/init.md")).unwrap();
    let (_, rest) = page.split_once("```yaml policy whole\n").unwrap();
    let (shown, _) = rest.split_once("```").unwrap();
    assert_eq!(shown, proposed(&["--tools", "host-test/tests/init/small-tools.json"]).0);
}

/// Each name is read back exactly, or is refused by name; nothing else comes of any.
#[test]
fn what_a_hostile_list_says_stays_a_text() {
    let (text, heard) = proposed(&["--tools", HOSTILE]);
    let policy = strict(&text);
    assert!(text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)), "something else than ASCII");
    let list: Value = serde_json::from_str(&fs::read_to_string(paths::workspace().join(HOSTILE)).unwrap()).unwrap();
    let listed: Vec<&str> = list["tools"].as_array().unwrap().iter().filter_map(|tool| tool["name"].as_str()).collect();
    let names: BTreeSet<&str> = listed.iter().copied().collect();
    let kept = keys(&policy["tools"]);
    assert!(kept.is_subset(&names), "{:?} were made up", kept.difference(&names));
    assert_eq!(keys(&policy["pins"]), kept);
    let refused = heard.lines().filter(|line| line.starts_with("no rule for ")).count();
    assert_eq!(refused + kept.len(), names.len(), "{heard}");
    for name in ["*", "get_*", "twice", "Read_Me", "read_me", "READ_ME", "<<", "get_it\n  delete_all: { scope: [] }"] {
        assert!(!kept.contains(name), "{name} has a rule");
    }
    for name in
        ["plain_name", "say \"hi\"", "a: b", "get # not a comment", "null", "\u{202e}drowssap_teg", "{name}", "1e3"]
    {
        assert!(kept.contains(name), "{name:?} has none: {heard}");
    }
    assert!(heard.contains("left out: 2 without a name"), "{heard}");
    let tops: BTreeSet<&str> = keys(&policy);
    assert_eq!(tops, BTreeSet::from(["baseline", "issuers", "pins", "resource", "tiers", "tools", "version"]));
}

#[test]
fn what_goes_wrong_is_said() {
    let file = temporary("there.yaml");
    fs::write(&file, "mine").unwrap();
    let (code, _, error) = init(&["--tools", GITHUB, "--output", &file]);
    assert_eq!((code, fs::read_to_string(&file).unwrap().as_str()), (2, "mine"), "{error}");
    assert!(error.contains("--force"), "{error}");
    let (code, out, error) = init(&["--tools", GITHUB, "--output", &file, "--force"]);
    assert_eq!((code, out.as_str()), (0, ""), "{error}");
    strict(&fs::read_to_string(&file).unwrap());
    let nobody = format!("http://127.0.0.1:{}/mcp", free_port().unwrap());
    let empty = temporary("empty.json");
    fs::write(&empty, r#"{"tools":[]}"#).unwrap();
    for (part, arguments) in [
        ("could not be asked", vec!["--url", &nobody]),
        ("has no metadata", vec!["--tools", GITHUB, "--issuer", &nobody]),
        ("no list of tools", vec!["--tools", "README.md"]),
        ("cannot be read", vec!["--tools", "no/such/file"]),
        ("nothing that could have a rule", vec!["--tools", &empty]),
        ("resource", vec!["--tools", GITHUB, "--resource", "mcp.example.com"]),
        ("no good policy", vec!["--tools", GITHUB, "--shadow", "2099-01-01\ntools: {}"]),
        ("required", vec![]),
        ("cannot be used with", vec!["--tools", GITHUB, "--url", &nobody]),
        ("the environment has no", vec!["--url", &nobody, "--token-env", "NO_SUCH_VARIABLE"]),
    ] {
        let (code, out, error) = init(&arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        assert!(error.contains(part), "{arguments:?}: no `{part}` in {error}");
    }
}

/// Every tool that is listed by hand has a rule, and the digest of what was sent.
fn live(url: &str) -> Value {
    let (text, heard) = proposed(&["--url", url]);
    let policy = strict(&text);
    assert_eq!(policy["resource"], url);
    assert_eq!(policy["pins"], pins_of(&listed_by_hand(url)), "{heard}");
    assert_eq!(keys(&policy["tools"]), keys(&policy["pins"]), "{heard}");
    policy
}

#[test]
fn server_everything_gets_a_policy() {
    let fixtures = fixtures::install().unwrap();
    let port = free_port().unwrap();
    let mut command = fixtures.server_everything();
    let folder = temporary("everything");
    fs::create_dir_all(&folder).unwrap();
    let mut server = Process::start("everything", command.env("PORT", port.to_string()), folder.as_ref()).unwrap();
    server.wait_for_port(port).unwrap();
    let policy = live(&format!("http://127.0.0.1:{port}/mcp"));
    assert_eq!((tier(&policy, "echo"), tier(&policy, "get-env")), ("read", "danger"));
    assert!(!keys(&policy["prompts"]).is_empty() && !keys(&policy["resources"]).is_empty(), "{policy}");
}

#[test]
fn the_python_server_gets_a_policy() {
    let fixtures = fixtures::install().unwrap();
    let port = free_port().unwrap();
    let mut command = fixtures.python("mcp-server.py");
    let folder = temporary("notes");
    fs::create_dir_all(&folder).unwrap();
    let mut server =
        Process::start("notes", command.env_clear().env("PORT", port.to_string()), folder.as_ref()).unwrap();
    server.wait_for_port(port).unwrap();
    let policy = live(&format!("http://127.0.0.1:{port}/mcp"));
    assert_eq!((tier(&policy, "get-sum"), tier(&policy, "delete_record")), ("read", "danger"));
}

/// A server that knows revision 2026-07-28 and none before: no `initialize`, no sessions.
#[test]
fn a_server_of_the_newest_revision_gets_a_policy() {
    let newest = |headers: HeaderMap, Json(message): Json<Value>| async move {
        let answer = |result: Value| json!({ "jsonrpc": "2.0", "id": message["id"], "result": result });
        let version = headers.get("mcp-protocol-version").and_then(|value| value.to_str().ok());
        match (message["method"].as_str(), version) {
            (Some("server/discover"), Some("2026-07-28")) => Json(answer(json!({
                "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": { "tools": {} },
                "ttlMs": 0, "cacheScope": "private",
            }))),
            (Some("tools/list"), Some("2026-07-28")) => Json(answer(json!({
                "resultType": "complete", "ttlMs": 0, "cacheScope": "private",
                "tools": [{ "name": "get_note", "inputSchema": { "type": "object" }, "unknown": 1 }],
            }))),
            _ => Json(json!({
                "jsonrpc": "2.0", "id": message["id"], "error": { "code": -32601, "message": "\u{202e}no such\nmethod" },
            })),
        }
    };
    let world = World::of(|_| Router::new().route("/mcp", post(newest)));
    let policy = strict(&proposed(&["--url", &format!("{}/mcp", world.base)]).0);
    let sent = r#"{ "name": "get_note", "inputSchema": { "type": "object" }, "unknown": 1 }"#;
    assert_eq!(policy["pins"], json!({ "get_note": step_up_core::pin(sent).unwrap() }));
    // And one that knows nothing at all: its words come out as ours.
    let nothing = World::of(|_| {
        Router::new().route(
            "/mcp",
            post(|Json(message): Json<Value>| async move {
                let error = json!({ "code": -32000, "message": "\u{202e}no\nsuch: \u{1b}[31mthing" });
                Json(json!({ "jsonrpc": "2.0", "id": message["id"], "error": error }))
            }),
        )
    });
    let (code, _, error) = init(&["--url", &format!("{}/mcp", nothing.base)]);
    assert!(code == 2 && error.contains("such: ?[31mthing") && error.is_ascii(), "{error:?}");
}

/// The words of each provider are those of its example policy, whoever hosts it.
#[test]
fn a_providers_dialect_comes_from_its_metadata() {
    // Issuer, keys, tokens and revocation, below the place where it is.
    for (folder, [issuer, keys, token, revoke], exchanges) in [
        (
            "keycloak",
            [
                "/realms/corp",
                "/realms/corp/protocol/openid-connect/certs",
                "/realms/corp/protocol/openid-connect/token",
                "/realms/corp/protocol/openid-connect/revoke",
            ],
            true,
        ),
        ("entra", ["/{tenantid}/v2.0", "/discovery/v2.0/keys", "/oauth2/v2.0/token", "-"], false),
        (
            "okta",
            ["/oauth2/aus1mcp", "/oauth2/aus1mcp/v1/keys", "/oauth2/aus1mcp/v1/token", "/oauth2/aus1mcp/v1/revoke"],
            true,
        ),
        ("auth0", ["/", "/.well-known/jwks.json", "/oauth/token", "/oauth/revoke"], true),
        ("zitadel", ["", "/oauth/v2/keys", "/oauth/v2/token", "/oauth/v2/revoke"], true),
        ("exchange-for-destructive", ["", "/jwks", "/token", "/revoke"], true),
    ] {
        let world = World::start(move |base| {
            let at = |path: &str| json!(format!("{base}{path}"));
            let mut metadata = json!({
                "issuer": at(issuer), "jwks_uri": at(keys), "token_endpoint": at(token), "revocation_endpoint": at(revoke),
                "grant_types_supported": ["authorization_code", "urn:ietf:params:oauth:grant-type:token-exchange"],
            });
            if revoke == "-" {
                metadata.as_object_mut().unwrap().remove("revocation_endpoint");
            }
            let place = format!(
                "{}/.well-known/openid-configuration",
                issuer.replace("{tenantid}", "organizations").trim_end_matches('/')
            );
            vec![
                (place, metadata),
                (keys.to_owned(), json!({ "keys": [{ "kty": "RSA", "use": "sig" }, { "kty": "RSA", "use": "enc" }] })),
            ]
        });
        let asked = format!("{}{}", world.base, issuer.replace("{tenantid}", "organizations"));
        let arguments =
            ["--tools", GITHUB, "--issuer", &asked, "--may-elevate", "ci", "--resource", "https://mcp.example.com/mcp"];
        let (text, heard) = proposed(&arguments);
        let policy = strict(&text);
        let example = yaml::load(&paths::workspace().join("policies").join(folder).join("policy.yaml")).unwrap();
        let first = |policy: &Value| {
            policy["issuers"]
                .as_object()
                .unwrap()
                .iter()
                .next()
                .map(|(key, value)| (key.clone(), value.clone()))
                .unwrap()
        };
        let ((name, words), (_, wanted)) = (first(&policy), first(&example));
        assert_eq!(name, format!("{}{}", world.base, issuer.replace("{tenantid}", "{tid}")));
        assert_eq!(words["algorithms"], json!(["RS256"]));
        for word in ["token_type", "claims"] {
            assert_eq!(words[word], wanted[word], "{word} of {folder}");
        }
        assert_eq!(words["ask"].is_null(), wanted["ask"].is_null(), "{folder}");
        assert_eq!(policy["audiences"].is_null(), example["audiences"].is_null(), "{folder}");
        let danger = &policy["tiers"]["danger"]["step_up"];
        if !exchanges {
            assert_eq!((danger, &policy["token_service"]), (&json!("challenge"), &Value::Null), "{folder}");
            assert!(words["tenants"]["in"].is_array() && heard.contains("EDIT"), "{folder}");
            continue;
        }
        assert_eq!(danger, "exchange", "{folder}");
        for word in ["request", "also_granted"] {
            assert_eq!(policy["token_service"][word], example["token_service"][word], "{word} of {folder}");
        }
        let is_none = |policy: &Value| policy["token_service"]["revoke"] == "none";
        assert_eq!(is_none(&policy), is_none(&example), "{folder}");
    }
}
