//! What no scenario comes to: several gates in one instance, and a gate that is replaced.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]

use super::*;

const NOW: u64 = 1_795_000_000_000;

const POLICY: &str = r#"{
    "version": 1,
    "issuers": { "https://as.example.com": {
        "jwks": { "cluster": "as", "url": "https://as.example.com/jwks" }, "algorithms": ["ES256"]
    } },
    "resource": "https://mcp.example.com/mcp",
    "baseline": ["mcp:connect"],
    "tools": { "get_issue": { "scope": "repo:read" } }
}"#;

const KEYS: &str = r#"{ "keys": [{ "kid": "es256-1", "alg": "ES256", "kty": "EC", "crv": "P-256",
    "x": "gmjCHd0R6TTcGA6TlYA-PthpTXujh6bOhFKzS4rGL6A", "y": "YZfDND6sVNMMrPQv4Xa4OnVoqRV5H6pnfujqMYO59O4" }] }"#;

struct Instance {
    store: Store<()>,
    gates: wit::Guest,
}

impl Instance {
    fn new() -> Instance {
        let (store, gates) = Component::new().unwrap().instance().unwrap();
        Instance { store, gates }
    }

    fn load(&mut self, policy: &str) -> Result<ResourceAny, Vec<wit::Fault>> {
        self.gates.gate().call_load(&mut self.store, policy, &[], (1, 2), NOW).unwrap()
    }

    fn handle(&mut self, gate: ResourceAny, input: &wit::Input, now: u64) -> Vec<wit::Effect> {
        self.gates.gate().call_handle(&mut self.store, gate, input, now).unwrap();
        self.gates.gate().call_poll(&mut self.store, gate).unwrap()
    }

    fn is_idle(&mut self, gate: ResourceAny) -> bool {
        self.gates.gate().call_is_idle(&mut self.store, gate).unwrap()
    }
}

fn call(effects: &[wit::Effect]) -> Option<u32> {
    effects.iter().find_map(|effect| match effect {
        wit::Effect::Call(call) => Some(call.id),
        _ => None,
    })
}

fn keys_arrived(effects: &[wit::Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, wit::Effect::Count(wit::Metric::KeysAge(_))))
}

#[test]
fn gates_of_an_instance_share_the_keys_and_those_of_another_do_not() {
    let (mut instance, mut other) = (Instance::new(), Instance::new());
    let (first, second) = (instance.load(POLICY).unwrap(), instance.load(POLICY).unwrap());
    let apart = other.load(POLICY).unwrap();
    let fetch = call(&instance.handle(first, &wit::Input::Tick, NOW + 1)).expect("the keys are fetched");
    assert_eq!(call(&instance.handle(second, &wit::Input::Tick, NOW + 1)), None, "by one of them");
    assert!(call(&other.handle(apart, &wit::Input::Tick, NOW + 1)).is_some(), "and by the other instance");
    let answer = Ok(wit::Answer { status: 200, body: KEYS.as_bytes().to_vec() });
    instance.handle(first, &wit::Input::Reply(wit::CallEnded { call: fetch, answer }), NOW + 2);
    let told = instance.handle(second, &wit::Input::Tick, NOW + 60_000);
    assert!(keys_arrived(&told), "who did not ask has them, too: {told:?}");
    let apart = other.handle(apart, &wit::Input::Tick, NOW + 60_000);
    assert!(!keys_arrived(&apart), "{apart:?}");
}

#[test]
fn a_gate_is_replaced() {
    let mut instance = Instance::new();
    let gate = instance.load(POLICY).unwrap();
    let digest = instance.gates.gate().call_policy(&mut instance.store, gate).unwrap();
    let headers =
        [(":method", "POST"), (":path", "/mcp"), (":authority", "mcp.example.com"), ("authorization", "Bearer a.b.c")];
    let header = |(name, value): (&str, &str)| wit::Header { name: name.into(), value: value.into() };
    let head = wit::RequestHead {
        stream: 7,
        headers: headers.into_iter().map(header).collect(),
        server: None,
        source: None,
        certificate: None,
        token_removed: false,
        end_of_stream: false,
    };
    assert!(instance.is_idle(gate));
    let refused = instance.handle(gate, &wit::Input::Head(head), NOW);
    let reply = refused.iter().any(|effect| matches!(effect, wit::Effect::Reply(response) if response.status >= 400));
    assert!(reply, "{refused:?}");
    assert!(!instance.gates.gate().call_knows(&mut instance.store, gate, 7).unwrap(), "it is decided");
    // Another policy comes into force.
    let newer = POLICY.replace("get_issue", "list_issues");
    assert_ne!(instance.load(&newer).unwrap(), gate);
    instance.gates.gate().call_retire(&mut instance.store, gate, NOW).unwrap();
    let told = instance.gates.gate().call_poll(&mut instance.store, gate).unwrap();
    let is_last = |effect: &wit::Effect| match effect {
        wit::Effect::Count(wit::Metric::InForce(info)) => info.value == 0 && info.policy == digest,
        _ => false,
    };
    assert!(told.iter().any(is_last), "{told:?}");
}

#[test]
fn a_policy_that_is_wrong_comes_back_with_all_its_faults() {
    let policy = POLICY.replace("ES256", "none").replace("\"scope\"", "\"scoop\"");
    let faults = Instance::new().load(&policy).expect_err("it is refused");
    let paths: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
    assert!(paths.iter().any(|path| path.contains("algorithms")), "{paths:?}");
    assert!(paths.iter().any(|path| path.contains("get_issue")), "{paths:?}");
}
