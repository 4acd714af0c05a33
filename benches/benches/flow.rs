//! Whole scenarios, on the core alone and on the module in wasmtime: with a fresh filter, and each further request.
#![allow(clippy::unwrap_used, missing_docs, reason = "benches")]

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use host_test::backend::{Backend, Native, Wasm};
use host_test::scenario::Case;
use host_test::signing::Key;
use serde_json::{Map, Value, json};

const SCENARIOS: [(&str, &str); 3] = [
    ("allowed", "step-up-on-write::scopes::a reader reads"),
    ("challenged", "step-up-on-write::scopes::reading needs the scope for it"),
    ("elevated", "exchange-for-destructive::exchange::a branch is deleted on a token for that call alone"),
];

fn time(backend: &dyn Backend, case: &Case, times: usize) -> Duration {
    let (script, world) = case.script(times).unwrap();
    let begin = Instant::now();
    backend.run(&script, world).unwrap();
    begin.elapsed()
}

fn flow(c: &mut Criterion) {
    let wasm = Wasm::new().unwrap();
    let backends: [&dyn Backend; 2] = [&Native, &wasm];
    let cases = SCENARIOS.map(|(short, name)| (short, step_up_benches::case(name).unwrap()));
    let mut group = c.benchmark_group("flow");
    group.sample_size(20);
    for backend in backends {
        for (short, case) in &cases {
            group.bench_function(BenchmarkId::new(format!("{}/fresh", backend.name()), short), |bencher| {
                bencher.iter_custom(|times| (0..times).map(|_| time(backend, case, 1)).sum());
            });
            // The start is in both, and taken out.
            const REQUESTS: u32 = 50;
            group.bench_function(BenchmarkId::new(format!("{}/request", backend.name()), short), |bencher| {
                bencher.iter_custom(|times| {
                    let one = |_| time(backend, case, 1 + REQUESTS as usize).saturating_sub(time(backend, case, 1));
                    (0..times).map(one).sum::<Duration>() / REQUESTS
                });
            });
        }
    }
    group.finish();
}

/// A signature checked in wasm: by the host's function, where it has one for the algorithm, and by the module itself.
fn verify(c: &mut Criterion) {
    const TOKENS: usize = 20;
    let wasm = Wasm::new().unwrap();
    let providers = [("host", wasm.clone()), ("module", wasm.without_foreign_functions())];
    let mut group = c.benchmark_group("verify_in_wasm");
    group.sample_size(10);
    for algorithm in ["ES256", "ES384", "RS256", "PS256", "EdDSA"] {
        let (same, different) = (calls(algorithm, TOKENS, 1).unwrap(), calls(algorithm, TOKENS, TOKENS).unwrap());
        for (provider, wasm) in &providers {
            // What such a request costs otherwise is in both, and taken out.
            group.bench_function(BenchmarkId::new(*provider, algorithm), |bencher| {
                bencher.iter_custom(|times| {
                    let one = |_| time(wasm, &different, 1).saturating_sub(time(wasm, &same, 1));
                    (0..times).map(one).sum::<Duration>() / (TOKENS as u32 - 1)
                });
            });
        }
    }
    group.finish();
}

/// So many calls with so many tokens.
fn calls(algorithm: &str, calls: usize, tokens: usize) -> anyhow::Result<Case> {
    let keys = json!({ "keys": [Key::for_tests(algorithm)?.public()] });
    let policy = json!({
        "version": 1, "issuers": { "https://as.example.com": { "keys": keys, "algorithms": [algorithm] } },
        "resource": "https://mcp.example.com/mcp", "baseline": ["mcp:connect"], "tools": { "get_file": { "scope": [] } },
    });
    let name = |number: usize| format!("token-{}", number % tokens);
    let when: Vec<Value> = (0..calls).map(|call| json!({ "tool": "get_file", "token": name(call) })).collect();
    let tokens: Map<String, Value> =
        (0..tokens).map(|token| (name(token), json!({ "scope": "mcp:connect" }))).collect();
    let then = vec![json!({ "status": 200 }); calls];
    let scenario = json!({ "name": algorithm, "given": { "tokens": tokens }, "when": when, "then": then });
    let case = Case::of(serde_json::from_value(scenario)?, policy);
    let outcome = case.run(&Native)?;
    anyhow::ensure!(case.check(&outcome).is_empty(), "{:?}", case.check(&outcome));
    Ok(case)
}

criterion_group!(benches, flow, verify);
criterion_main!(benches);
