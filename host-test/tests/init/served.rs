//! A proposed policy, served as it is: clients can use it at once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use host_test::local::{AuthorizationServer, McpServer, Resource};
use host_test::process::free_port;
use host_test::serve::{Options, Served, Serving, Upstream};
use host_test::stack::{Answer, FILTER_CREDENTIAL, Request, granted, send};
use serde_json::{Value, json};

use crate::world::{proposed, strict, temporary};

struct Client {
    url: String,
    token: String,
    session: String,
}

impl Client {
    fn ask(&self, method: &str, params: Value) -> Answer {
        let body = json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params });
        let request = Request::post(&self.url, body).bearer(&self.token).with("mcp-protocol-version", "2025-11-25");
        send(&if self.session.is_empty() { request } else { request.with("mcp-session-id", &self.session) }).unwrap()
    }

    fn call(&self, tool: &str) -> Answer {
        self.ask("tools/call", json!({ "name": tool, "arguments": {} }))
    }
}

/// Serves what is proposed for the demo's server, and lets a client with the baseline try it.
fn tried(elevates: &[&str], then: impl FnOnce(&Client, &AuthorizationServer)) {
    let port = free_port().unwrap();
    let url = format!("http://127.0.0.1:{port}/mcp");
    let resource = Resource::new(&["mcp:connect", "tools:write", "tools:admin"], &["tools:admin"]);
    let authorization = AuthorizationServer::start(0, BTreeMap::from([(url.clone(), resource)]), 60).unwrap();
    let (server, issuer) = (McpServer::start("everything").unwrap(), authorization.issuer());
    let file = temporary(&format!("served-{}.yaml", elevates.len()));
    let mut arguments = vec!["--resource", &url, "--issuer", &issuer, "--output", &file, "--force"];
    for client in elevates {
        arguments.extend(["--may-elevate", client]);
    }
    let at = server.url();
    arguments.extend(["--url", &at]);
    proposed(&arguments);
    strict(&std::fs::read_to_string(&file).unwrap());
    let upstreams = vec![Upstream { server: None, url: at.parse().unwrap() }];
    let credentials = BTreeMap::from([("as-token".to_owned(), FILTER_CREDENTIAL.to_owned())]);
    let options = Options { credentials, ..Options::new(port, upstreams, drop) };
    let _serving = Serving::start(Served::read(file.as_ref()).unwrap(), options).unwrap();
    let mut client = Client { token: granted(&issuer, &url, "mcp:connect").unwrap(), url, session: String::new() };
    let opened = client.ask(
        "initialize",
        json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "0" } }),
    );
    assert_eq!(opened.status, 200, "{}", opened.body);
    client.session = opened.header("mcp-session-id").unwrap().to_owned();
    then(&client, &authorization);
}

#[test]
fn reads_run_writes_are_challenged_and_danger_is_elevated() {
    tried(&["mcp-client"], |client, authorization| {
        let listed = client.ask("tools/list", json!({})).message().unwrap();
        // No pin differs from what is sent.
        assert_eq!(listed["result"]["tools"].as_array().map(Vec::len), Some(6), "{listed}");
        for tool in ["echo", "get-sum"] {
            assert_eq!(client.call(tool).status, 200, "{tool}");
        }
        assert_eq!(authorization.books().minted, 0);
        let refused = client.call("wait");
        assert_eq!((refused.status, refused.challenge("scope")), (403, Some("mcp:connect tools:write")), "{refused:?}");
        let shown = client.call("show-token").message().unwrap();
        let seen = shown["result"]["content"][0]["text"].as_str().unwrap();
        assert!(seen.split('.').count() == 3 && seen != client.token, "the server got the caller's own token");
        assert_eq!(client.call("delete_record").status, 200);
        let begin = Instant::now();
        while authorization.books().revoked.len() < 2 && begin.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!((authorization.books().minted, authorization.books().revoked.len()), (2, 2));
        assert_eq!(client.call("no-such-tool").status, 403);
    });
}

#[test]
fn nobody_is_elevated_until_somebody_is_named() {
    tried(&[], |client, authorization| {
        assert_eq!(client.call("echo").status, 200);
        let refused = client.call("delete_record");
        assert_eq!((refused.status, authorization.books().minted), (403, 0), "{refused:?}");
    });
}
