//! The curves of `docs/pictures/scale-*.svg`.

use super::Deployment;
use super::chart::{Chart, Curve};
use super::figures::KEYS_FIRST;

/// Names of files, and what is in them.
pub fn all() -> [(&'static str, Chart); 3] {
    [("scale-token-service.svg", token_service()), ("scale-keys.svg", keys()), ("scale-memory.svg", memory())]
}

/// A hundred agents for each Envoy, four workers.
fn token_service() -> Chart {
    let curve = |name, calls: fn(&Deployment) -> f64| {
        let points = steps(100.0, 100_000.0).map(|agents| {
            let envoys = (agents / 100.0).max(2.0);
            (agents, calls(&Deployment { agents, envoys, workers: 4.0, ..Deployment::default() }))
        });
        Curve { name, points: points.collect() }
    };
    Chart {
        title: "Calls to the token service in a second",
        across: "agents, 100 for each Envoy of 4 workers",
        base: 10.0,
        curves: vec![
            curve("revocations fail for a minute", Deployment::revocations_fail),
            curve("the seconds after that", |d| d.recovery() + d.token_service()),
            curve("everything fails", Deployment::all_fail),
            curve("all is well", Deployment::token_service),
        ],
    }
}

fn keys() -> Chart {
    let curve = |name, fetches: fn(&Deployment) -> f64| {
        let points =
            steps(1.0, 1_000.0).map(|envoys| (envoys, fetches(&Deployment { envoys, ..Deployment::default() })));
        Curve { name, points: points.collect() }
    };
    Chart {
        title: "Fetches of one issuer's keys in a second",
        across: "Envoys, whatever their workers",
        base: 10.0,
        curves: vec![
            curve("all start, and there are no keys", |d| d.envoys / KEYS_FIRST.value),
            curve("strangers make up key ids", Deployment::key_fetches_provoked),
            curve("refresh: 1m", |d| Deployment { refresh: 60.0, ..*d }.key_fetches()),
            curve("refresh: 5m, the default", Deployment::key_fetches),
        ],
    }
}

fn memory() -> Chart {
    let curve = |name, rules| {
        let points = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
            .map(|workers| (workers, Deployment { workers, rules, ..Deployment::default() }.memory()));
        Curve { name, points: points.to_vec() }
    };
    Chart {
        title: "MiB of one Envoy, nothing under way",
        across: "workers",
        base: 2.0,
        curves: vec![curve("10,000 rules", 10_000.0), curve("1,000 rules", 1_000.0), curve("10 rules", 10.0)],
    }
}

/// Ten in each power of ten.
fn steps(from: f64, to: f64) -> impl Iterator<Item = f64> {
    let many = ((to / from).log10() * 10.0).round() as i32;
    (0..=many).map(move |at| from * 10_f64.powf(f64::from(at) / 10.0))
}
