//! The parts of a decision: reading a body, checking a signature.
#![allow(clippy::unwrap_used, missing_docs, reason = "benches")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use host_test::signing::Key;
use serde_json::{Map, json};
use step_up_core::json;
use step_up_core::keys::Jwk;
use step_up_core::signatures::{PureRust, Signatures as _};
use step_up_core::token::Compact;

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

criterion_group!(benches, parse, verify);
criterion_main!(benches);
