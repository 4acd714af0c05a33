use serde_json::json;
use std::time::Instant;
use step_up_core::policy::Policy;
#[test]
fn t() {
    for n in [500usize, 1000, 2000, 4000, 8000] {
        for hier in [false, true] {
            let scopes: serde_json::Map<String, serde_json::Value> = if hier {
                (0..n).map(|n| (format!("t{n}:admin"), json!({ "implies": [format!("t{n}:use")] }))).collect()
            } else {
                Default::default()
            };
            let tools: serde_json::Map<String, serde_json::Value> =
                (0..n).map(|n| (format!("tool{n}"), json!({"scope": format!("t{n}:use")}))).collect();
            let d = json!({"version":1,"issuers":{"https://as":{"jwks":{"cluster":"a","url":"https://a/j"},"algorithms":["ES256"]}},"resource":"https://h/m","baseline":[],"scopes":scopes,"tools":tools}).to_string();
            let t = Instant::now();
            let r = Policy::load(d.as_bytes());
            eprintln!("{n} hier={hier} {} bytes {:?} {}", d.len(), t.elapsed(), r.is_ok());
        }
    }
    for n in [1000usize, 2000, 4000] {
        let scopes: serde_json::Map<String, serde_json::Value> = (0..n)
            .map(|i| (format!("s{i}"), json!({ "implies": [format!("s{}", i+1)] })))
            .chain([(format!("s{n}"), json!({}))])
            .collect();
        let d = json!({"version":1,"issuers":{"https://as":{"jwks":{"cluster":"a","url":"https://a/j"},"algorithms":["ES256"]}},"resource":"https://h/m","baseline":[],"scopes":scopes,"tools":{"a":{"scope":"s1"}}}).to_string();
        let t = Instant::now();
        let r = Policy::load(d.as_bytes());
        eprintln!("chain {n} {} bytes {:?} {}", d.len(), t.elapsed(), r.is_ok());
    }
}
