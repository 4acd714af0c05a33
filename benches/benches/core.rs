//! The parts of a decision: reading a body, checking a signature, deciding about a call of a token seen before.
#![allow(clippy::unwrap_used, missing_docs, reason = "benches")]

use std::hint::black_box;
use std::rc::Rc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use host_test::signing::Key;
use serde_json::{Map, Value, json};
use step_up_core::Compact;
use step_up_core::Gate;
use step_up_core::Jwk;
use step_up_core::RequestHead;
use step_up_core::json;
use step_up_core::{Effect, Input, Millis, StreamId};
use step_up_core::{NoEnvironment, Policy};
use step_up_core::{PureRust, Signatures as _};
use step_up_testkit::Memory;

fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    for size in [300, 20_000] {
        let body = step_up_benches::body(size);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(size), body.as_bytes(), |bencher, body| {
            bencher.iter(|| json::read(black_box(body)).is_ok());
        });
    }
    group.finish();
}

fn verify(c: &mut Criterion) {
    let mut group = c.benchmark_group("verify");
    for algorithm in ["ES256", "ES384", "RS256", "PS256", "EdDSA"] {
        let key = Key::for_tests(algorithm).unwrap();
        let claims = json!({ "iss": "https://as.example.com", "aud": "a", "sub": "s", "iat": 1, "exp": 2, "client_id": "c", "jti": "j" });
        let token = Compact::new(&key.token(&Map::new(), &claims).unwrap());
        let public = key.public().to_string();
        let public = json::read(public.as_bytes()).unwrap();
        let jwk = Jwk::read(&public).unwrap();
        group.bench_function(BenchmarkId::new("pure_rust", algorithm), |bencher| {
            bencher.iter(|| PureRust.check(black_box(&token.read().unwrap()), &jwk).is_ok());
        });
    }
    group.finish();
}

const NOW: Millis = Millis(1_795_219_200_000);

fn policy(tools: usize) -> Rc<Policy> {
    let keys = json!({ "keys": [Key::for_tests("ES256").unwrap().public()] });
    let mut rules: Map<String, Value> =
        (1..tools).map(|number| (format!("tool_{number}"), json!({ "scope": "repo:write" }))).collect();
    rules.insert("get_*".to_owned(), json!({ "scope": [] }));
    let document = json!({
        "version": 1, "issuers": { "https://as.example.com": { "keys": keys, "algorithms": ["ES256"] } },
        "resource": "https://mcp.example.com/mcp", "baseline": ["mcp:connect"], "tools": rules,
    });
    Rc::new(Policy::load(document.to_string().as_bytes(), &NoEnvironment).unwrap())
}

fn decide(c: &mut Criterion) {
    let now = NOW.seconds();
    let claims = json!({
        "iss": "https://as.example.com", "aud": "https://mcp.example.com/mcp", "sub": "alice", "client_id": "agent",
        "jti": "t", "iat": now - 60, "exp": now + 600, "scope": "mcp:connect",
    });
    let token = Key::for_tests("ES256").unwrap().token(&Map::new(), &claims).unwrap();
    let authorization = format!("Bearer {token}");
    let headers = [
        (":method", "POST"),
        (":path", "/mcp"),
        (":authority", "mcp.example.com"),
        ("content-type", "application/json"),
        ("mcp-protocol-version", "2025-11-25"),
        ("authorization", &authorization),
    ]
    .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let body = step_up_benches::body(300);
    let mut group = c.benchmark_group("decide");
    for tools in [10, 10_000] {
        let mut gate = Gate::new(policy(tools), Box::new(PureRust), Box::<Memory>::default(), [7; 16], NOW);
        let stream = StreamId(1);
        let mut call = || {
            let head = RequestHead {
                headers: &headers,
                server: None,
                source: None,
                peer: &None::<String>,
                token_removed: false,
                end_of_stream: false,
            };
            gate.handle(Input::Head { stream, head }, NOW);
            gate.handle(Input::Body { stream, body: Ok(body.as_bytes()) }, NOW);
            let mut released = false;
            while let Some(effect) = gate.poll() {
                released |= matches!(effect, Effect::Continue { .. });
            }
            gate.handle(Input::Gone { stream }, NOW);
            released
        };
        assert!(call(), "the call is allowed");
        group.bench_function(BenchmarkId::new("tools", tools), |bencher| bencher.iter(&mut call));
    }
    group.finish();
}

criterion_group!(benches, parse, verify, decide);
criterion_main!(benches);
