//! What runs without Envoy: the demo's story, and its authorization server beside the one of the end-to-end tests.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use host_test::fixtures;
use host_test::local::{AuthorizationServer, LocalStack, Resource};
use host_test::process::{Process, free_port};
use host_test::signing::claims;
use host_test::stack::{Answer, FILTER_CREDENTIAL, Request, encode, granted, send};
use host_test::story::{STEPS, Story};
use serde_json::{Value, json};

#[test]
fn the_story_goes_as_told() {
    let mut stack = LocalStack::start().unwrap();
    let mut story = Story::new(&mut stack);
    for step in STEPS {
        let told = story.tell(step).unwrap();
        assert!(told.surprise.is_none(), "{told:#?}");
    }
}

/// One of the two authorization servers.
struct Server {
    name: &'static str,
    issuer: String,
    _process: Option<Process>,
    _own: Option<AuthorizationServer>,
}

const RESOURCE: &str = "http://127.0.0.1:1/mcp";
const OTHER: &str = "urn:tool:payments";
const CLIENT: [(&str, &str); 2] = [("client_id", "mcp-client"), ("client_secret", "mcp-secret")];
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

fn servers() -> [Server; 2] {
    let resources = json!({
        RESOURCE: { "scopes": "mcp:connect tools:write tools:admin", "elevate": "tools:write tools:admin" },
        OTHER: { "scopes": "pay", "elevate": "pay" },
    });
    let port = free_port().unwrap();
    let mut command = fixtures::install().unwrap().node("authorization-server.mjs");
    command.env("PORT", port.to_string()).env("RESOURCES", resources.to_string());
    let folder = host_test::paths::target().join("stacks").join(format!("as-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut process = Process::start("authorization-server", &mut command, &folder).unwrap();
    process.wait_until(|log| log.contains("\"ready\":true")).unwrap();
    let known = BTreeMap::from([
        (
            RESOURCE.to_owned(),
            Resource::new(&["mcp:connect", "tools:write", "tools:admin"], &["tools:write", "tools:admin"]),
        ),
        (OTHER.to_owned(), Resource::new(&["pay"], &["pay"])),
    ]);
    let own = AuthorizationServer::start(0, known, 60).unwrap();
    let issuer = format!("http://127.0.0.1:{port}");
    [
        Server { name: "oidc-provider", issuer, _process: Some(process), _own: None },
        Server { name: "ours", issuer: own.issuer(), _process: None, _own: Some(own) },
    ]
}

impl Server {
    fn post(&self, path: &str, authorization: Option<&str>, form: &[(&str, &str)]) -> Answer {
        let request = Request::post(format!("{}{path}", self.issuer), encode(form))
            .with("content-type", "application/x-www-form-urlencoded");
        let request = authorization.into_iter().fold(request, |request, value| request.with("authorization", value));
        send(&request).unwrap()
    }

    fn token(&self, scope: &str) -> String {
        granted(&self.issuer, RESOURCE, scope).unwrap()
    }

    fn exchange(&self, subject: &str, changes: &[(&str, &str)]) -> Answer {
        let own = [
            ("grant_type", EXCHANGE),
            ("subject_token", subject),
            ("subject_token_type", ACCESS_TOKEN),
            ("audience", RESOURCE),
            ("scope", "tools:admin"),
        ];
        let kept = own.into_iter().filter(|(name, _)| changes.iter().all(|(other, _)| other != name));
        let form: Vec<(&str, &str)> = kept.chain(changes.iter().copied().filter(|(_, value)| *value != "-")).collect();
        self.post("/token", Some(FILTER_CREDENTIAL), &form)
    }
}

/// What must be alike: status, error, and of an answer with a token what is in both of them.
fn essence(answer: &Answer) -> Value {
    let body = answer.message().unwrap_or_default();
    let token = body["access_token"].as_str().unwrap_or_default();
    let claims = claims(token);
    let mut names: Vec<&String> = claims.as_object().into_iter().flat_map(serde_json::Map::keys).collect();
    names.sort();
    // oidc-provider names the scope that it refuses, too.
    let scope = if answer.status == 200 { body["scope"].clone() } else { Value::Null };
    let lives = claims["exp"].as_u64().unwrap_or_default() - claims["iat"].as_u64().unwrap_or_default();
    json!({
        "status": answer.status, "error": body["error"], "type": body["token_type"], "issued": body["issued_token_type"],
        "scope": scope, "seconds": body["expires_in"], "active": body["active"],
        "claims": names, "lives": lives, "aud": claims["aud"], "sub": claims["sub"], "client": claims["client_id"],
        "act": claims["act"], "granted": claims["scope"],
    })
}

/// A case of the table: its name, and what is asked.
type Ask = fn(&Server) -> Answer;

fn with_client(server: &Server, form: &[(&str, &str)]) -> Answer {
    let [id, secret] = CLIENT;
    let own = [id, secret].into_iter().filter(|(name, _)| form.iter().all(|(other, _)| other != name));
    let form: Vec<(&str, &str)> = own.chain(form.iter().copied()).collect();
    server.post("/token", None, &form)
}

const TABLE: &[(&str, Ask)] = &[
    ("client credentials", |server| {
        with_client(
            server,
            &[("grant_type", "client_credentials"), ("scope", "mcp:connect tools:write"), ("resource", RESOURCE)],
        )
    }),
    ("without a scope", |server| with_client(server, &[("grant_type", "client_credentials"), ("resource", RESOURCE)])),
    ("a resource nobody knows", |server| {
        with_client(
            server,
            &[("grant_type", "client_credentials"), ("scope", "mcp:connect"), ("resource", "https://x.example")],
        )
    }),
    ("a wrong secret", |server| {
        with_client(server, &[("grant_type", "client_credentials"), ("client_secret", "wrong"), ("resource", RESOURCE)])
    }),
    ("a client nobody knows", |server| {
        with_client(server, &[("grant_type", "client_credentials"), ("client_id", "nobody"), ("resource", RESOURCE)])
    }),
    ("no grant type", |server| with_client(server, &[("resource", RESOURCE)])),
    ("a grant type nobody knows", |server| with_client(server, &[("grant_type", "urn:x"), ("resource", RESOURCE)])),
    ("an exchange by a client that may not", |server| {
        let token = server.token("mcp:connect");
        with_client(
            server,
            &[
                ("grant_type", EXCHANGE),
                ("subject_token", &token),
                ("subject_token_type", ACCESS_TOKEN),
                ("audience", RESOURCE),
                ("scope", "tools:admin"),
            ],
        )
    }),
    ("an exchange", |server| server.exchange(&server.token("mcp:connect"), &[])),
    ("for the resource instead of the audience", |server| {
        server.exchange(&server.token("mcp:connect"), &[("audience", "-"), ("resource", RESOURCE)])
    }),
    ("for another audience", |server| {
        server.exchange(&server.token("mcp:connect"), &[("audience", OTHER), ("scope", "pay")])
    }),
    ("for two audiences", |server| server.exchange(&server.token("mcp:connect"), &[("resource", OTHER)])),
    ("for an audience nobody knows", |server| {
        server.exchange(&server.token("mcp:connect"), &[("audience", "https://x.example")])
    }),
    ("for a scope that may not be obtained", |server| {
        server.exchange(&server.token("mcp:connect"), &[("scope", "mcp:connect")])
    }),
    ("for no scope", |server| server.exchange(&server.token("mcp:connect"), &[("scope", "-")])),
    ("without a subject token", |server| server.exchange("", &[("subject_token", "-")])),
    ("with a subject token that is none", |server| server.exchange("a.b.c", &[])),
    ("with a subject token of another type", |server| {
        let saml = "urn:ietf:params:oauth:token-type:saml2";
        server.exchange(&server.token("mcp:connect"), &[("subject_token_type", saml)])
    }),
    ("an exchanged token is alive", |server| {
        let token = server.exchange(&server.token("mcp:connect"), &[]).message().unwrap()["access_token"].clone();
        server.post("/token/introspection", Some(FILTER_CREDENTIAL), &[("token", token.as_str().unwrap())])
    }),
    ("and dead once it is revoked", |server| {
        let token = server.exchange(&server.token("mcp:connect"), &[]).message().unwrap()["access_token"].clone();
        let token = token.as_str().unwrap();
        assert_eq!(server.post("/token/revocation", Some(FILTER_CREDENTIAL), &[("token", token)]).status, 200);
        server.post("/token/introspection", Some(FILTER_CREDENTIAL), &[("token", token)])
    }),
    ("nobody revokes what is another's", |server| {
        let token = server.token("mcp:connect");
        assert_eq!(server.post("/token/revocation", Some(FILTER_CREDENTIAL), &[("token", &token)]).status, 200);
        server.post("/token/introspection", Some(FILTER_CREDENTIAL), &[("token", &token)])
    }),
    ("a revocation without a client", |server| {
        server.post("/token/revocation", Some("Basic bm9ib2R5Ong="), &[("token", "a.b.c")])
    }),
    ("an introspection without a client", |server| {
        server.post("/token/introspection", Some("Basic bm9ib2R5Ong="), &[("token", "a.b.c")])
    }),
    ("a forged token is dead", |server| {
        server.post("/token/introspection", Some(FILTER_CREDENTIAL), &[("token", "a.b.c")])
    }),
];

#[test]
fn both_authorization_servers_answer_alike() {
    let [real, ours] = servers();
    let differences: Vec<String> = TABLE
        .iter()
        .filter_map(|(name, ask)| {
            let (theirs, own) = (essence(&ask(&real)), essence(&ask(&ours)));
            (theirs != own).then(|| format!("{name}\n  {}: {theirs}\n  {}: {own}", real.name, ours.name))
        })
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
