//! Whole scenarios, on the core alone and on the module in wasmtime: with a fresh filter, and each further request.
#![allow(clippy::unwrap_used, missing_docs, reason = "benches")]

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use host_test::backend::{Backend, Native, Wasm};
use host_test::scenario::Case;

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

criterion_group!(benches, flow);
criterion_main!(benches);
