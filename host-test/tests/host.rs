//! What the simulated proxy does around a filter, each point as it was measured of Envoy 1.40.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::cell::RefCell;
use std::rc::Rc;

use host_test::artifact;
use host_test::host::{
    Call, CallPlan, Chunk, Client, Configuration, FailurePolicy, ForeignFunctions, Headers, Limits, Module, Network,
    Proxy, UpstreamPlan, UpstreamRequest,
};
use host_test::signing::Key;
use serde_json::{Map, Value, json};

/// 2026-11-21T00:00:00Z
const NOW: u64 = 1_795_219_200_000;
const RESOURCE: &str = "https://mcp.example.com/mcp";

/// Publishes keys after a while; the upstream says yes.
struct World {
    keys_after: u64,
}

impl Network for World {
    fn call(&mut self, call: &Call) -> CallPlan {
        if call.cluster != "as-keys" {
            return CallPlan::UnknownCluster;
        }
        let body = json!({ "keys": [Key::for_tests("ES256").unwrap().public()] }).to_string().into_bytes();
        CallPlan::Answer { after: self.keys_after, headers: Headers::of([(":status", "200")]), body }
    }

    fn upstream(&mut self, _: &UpstreamRequest) -> UpstreamPlan {
        UpstreamPlan { headers: Headers::of([(":status", "200")]), ..UpstreamPlan::default() }
    }
}

fn policy() -> Value {
    json!({
        "version": 1,
        "issuers": { "https://as.example.com": {
            "jwks": { "cluster": "as-keys", "url": "https://as.example.com/jwks" }, "algorithms": ["ES256"],
        } },
        "resource": RESOURCE,
        "baseline": ["mcp:connect"],
        "tools": { "get_*": { "scope": [] }, "shell": "deny" },
    })
}

fn filter() -> Configuration {
    Configuration {
        module: Module::load(&artifact::module().unwrap()).unwrap(),
        vm_id: "step-up".to_owned(),
        root_id: "step-up".to_owned(),
        configuration: policy().to_string().into_bytes(),
        environment: Vec::new(),
        allow_on_headers_stop_iteration: true,
        failure_policy: FailurePolicy::FailReload,
    }
}

fn call(tool: &str) -> Client {
    let claims = json!({
        "iss": "https://as.example.com", "aud": RESOURCE, "sub": "alice", "client_id": "agent", "jti": "t-1",
        "iat": NOW / 1000 - 60, "exp": NOW / 1000 + 540, "scope": "mcp:connect",
    });
    let token = Key::for_tests("ES256").unwrap().token(&Map::new(), &claims).unwrap();
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool } }).to_string();
    Client {
        headers: Headers::of([
            (":method", "POST"),
            (":path", "/mcp"),
            (":authority", "mcp.example.com"),
            ("content-type", "application/json"),
            ("mcp-protocol-version", "2025-11-25"),
            ("authorization", format!("Bearer {token}").as_str()),
        ]),
        body: vec![Chunk::now(body)],
        ..Client::default()
    }
}

fn status(proxy: &Proxy, stream: host_test::host::StreamId) -> u16 {
    proxy.transcript(stream).response.map_or(0, |response| response.headers.status())
}

/// proxy-wasm-cpp-host has one flag for the whole VM that a local reply sets: an answer to another stream, given in a
/// callback of this one, would stop this one for good.
#[test]
fn an_answer_to_one_stream_stops_no_other() {
    // The keys are there 153 ms after the start, and this worker looks for them every 50 ms.
    for delay in 140..210 {
        let network = Rc::new(RefCell::new(World { keys_after: 103 }));
        let mut proxy = Proxy::new(NOW, 2, network, Limits::default(), ForeignFunctions::Envoy);
        let filter = proxy.load(filter()).unwrap();
        // One waits for keys, and will be refused; the other comes when they are there, or nearly.
        let waiting = proxy.send(filter, Client { worker: 1, ..call("shell") });
        let passing = proxy.send_later(filter, delay, Client { worker: 1, ..call("get_x") });
        proxy.pass(1_000);
        assert_eq!((status(&proxy, waiting), status(&proxy, passing)), (403, 200), "{delay} ms");
    }
}
