//! A server that wants a token: one that is given, and one from a login in a browser.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::RawQuery;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Json, Redirect, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use host_test::stack::{Request, send};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::world::{World, command, init, proposed, strict, temporary};

const TOKEN: &str = "a-token-of-a-login";

fn parameter(form: &str, name: &str) -> String {
    form_urlencoded::parse(form.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

/// The least that an MCP server can be.
fn mcp(base: &str, headers: &HeaderMap, body: &str) -> Response {
    let token = headers.get("authorization").and_then(|value| value.to_str().ok());
    if token != Some(&format!("Bearer {TOKEN}")) {
        let challenge = format!("Bearer resource_metadata=\"{base}/about\", scope=\"mcp:connect\"");
        return (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response();
    }
    let message: Value = serde_json::from_str(body).unwrap();
    let result = match message["method"].as_str().unwrap() {
        "initialize" => json!({
            "protocolVersion": "2025-11-25", "capabilities": { "tools": {} }, "serverInfo": { "name": "private", "version": "0" },
        }),
        "tools/list" => json!({ "tools": [{ "name": "get_secret_plan", "inputSchema": { "type": "object" } }] }),
        _ => return StatusCode::ACCEPTED.into_response(),
    };
    Json(json!({ "jsonrpc": "2.0", "id": message["id"], "result": result })).into_response()
}

/// Server and authorization server in one. `metadata` may spoil what it says of itself.
fn world(change: impl Fn(&str, &mut Value, &mut Value)) -> World {
    World::of(|base| {
        let mut about = json!({ "resource": format!("{base}/mcp"), "authorization_servers": [base] });
        let mut metadata = json!({
            "issuer": base, "authorization_endpoint": format!("{base}/authorize"), "token_endpoint": format!("{base}/token"),
            "registration_endpoint": format!("{base}/register"), "code_challenge_methods_supported": ["S256"],
        });
        change(base, &mut about, &mut metadata);
        let asked = Arc::new(Mutex::new(String::new()));
        let (at, here, given) = (base.to_owned(), base.to_owned(), Arc::clone(&asked));
        let authorize = move |RawQuery(query): RawQuery| async move {
            let query = query.unwrap_or_default();
            let form = [("code", "the-code"), ("state", &parameter(&query, "state")), ("iss", &here)];
            let to = format!("{}?{}", parameter(&query, "redirect_uri"), host_test::stack::encode(&form));
            *asked.lock().unwrap() = query;
            Redirect::to(&to)
        };
        let token = move |body: String| async move {
            let query = given.lock().unwrap().clone();
            let hash = URL_SAFE_NO_PAD.encode(digest(&SHA256, parameter(&body, "code_verifier").as_bytes()));
            let same = |name: &str| parameter(&query, name) == parameter(&body, name);
            let is_right = hash == parameter(&query, "code_challenge")
                && parameter(&query, "code_challenge_method") == "S256"
                && parameter(&query, "scope") == "mcp:connect"
                && parameter(&body, "code") == "the-code"
                && parameter(&body, "client_id") == "registered"
                && ["redirect_uri", "client_id", "resource"].into_iter().all(same);
            let answer = if is_right {
                json!({ "access_token": TOKEN, "token_type": "Bearer" })
            } else {
                json!({ "error": "invalid_grant" })
            };
            Json(answer)
        };
        let register = |Json(asked): Json<Value>| async move {
            assert_eq!(asked["token_endpoint_auth_method"], "none");
            (StatusCode::CREATED, Json(json!({ "client_id": "registered" })))
        };
        let document = |document: Value| get(move || async move { Json(document) });
        Router::new()
            .route("/about", document(about))
            .route("/.well-known/oauth-authorization-server", document(metadata))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .route("/register", post(register))
            .route("/mcp", post(move |headers: HeaderMap, body: String| async move { mcp(&at, &headers, &body) }))
            .fallback(|_: Uri| async { StatusCode::NOT_FOUND })
    })
}

/// A person with a browser: goes where the command says, and where that leads. Exit code, policy, and what is said after that.
fn log_in(world: &World, spoil: impl Fn(String) -> String) -> (Option<i32>, String, String) {
    let url = format!("{}/mcp", world.base);
    let mut child = command(&["--url", &url, "--login"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while said.read_line(&mut line).unwrap() > 0 && !line.starts_with("http") && line.starts_with("open this") {
        line.clear();
    }
    if line.starts_with("http") {
        let sent = send(&Request::get(line.trim())).unwrap();
        let back = spoil(sent.header("location").unwrap().to_owned());
        assert_eq!(send(&Request::get(back)).unwrap().status, 200);
    }
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap(), line + &rest)
}

#[test]
fn a_login_gets_a_token_that_is_used_once() {
    let world = world(|_, _, _| ());
    let (code, out, said) = log_in(&world, |back| back);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(strict(&out)["tools"]["get_secret_plan"]["tier"], "danger");
    assert!(!out.contains(TOKEN) && !said.contains(TOKEN), "the token is told");
}

#[test]
fn what_comes_back_must_be_the_answer_to_this_login() {
    let world = world(|_, _, _| ());
    for spoil in [
        (|back| back.replace("iss=http", "iss=https")) as fn(String) -> String,
        |back| back.replace("state=", "state=x"),
        |back| back.replace("code=the-code", "error=access_denied"),
        |back| back.replace("code=the-code", "code=another"),
    ] {
        let (code, out, said) = log_in(&world, spoil);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{said}");
    }
}

type Spoil = fn(&str, &mut Value, &mut Value);

#[test]
fn a_login_stops_where_the_metadata_are_not_to_be_used() {
    for (part, spoil) in [
        ("it is about", (|base, about, _| about["resource"] = json!(format!("{base}/other"))) as Spoil),
        ("no authorization server", |_, about, _| about["authorization_servers"] = json!([])),
        ("neither https nor", |_, about, _| about["authorization_servers"] = json!(["http://as.example.com"])),
        ("another issuer", |base, _, metadata| metadata["issuer"] = json!(format!("{base}/"))),
        ("PKCE", |_, _, metadata| metadata["code_challenge_methods_supported"] = json!(["plain"])),
        ("neither https nor", |_, _, metadata| metadata["token_endpoint"] = json!("http://as.example.com/token")),
        ("--client-id", |_, _, metadata| metadata["registration_endpoint"] = Value::Null),
    ] {
        let (code, out, said) = log_in(&world(spoil), |back| back);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{said}");
        assert!(said.contains(part), "no `{part}` in {said}");
    }
}

#[test]
fn a_token_that_is_given_is_used() {
    let world = world(|_, _, _| ());
    let url = format!("{}/mcp", world.base);
    let file = temporary("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let (out, _) = proposed(&["--url", &url, "--token", &file]);
    strict(&out);
    let output = command(&["--url", &url, "--token-env", "INIT_TOKEN"]).env("INIT_TOKEN", TOKEN).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), out);
    let (code, out, error) = init(&["--url", "http://mcp.example.com/mcp", "--token", &file]);
    assert!(code == 2 && out.is_empty() && error.contains("neither https nor"), "{error}");
    let (code, _, error) = init(&["--url", &url]);
    assert!(code == 2 && error.contains("401") && error.contains("--login"), "{error}");
}
