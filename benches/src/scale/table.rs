//! The tables of `docs/scale.md`.

use std::fmt::Write as _;

use super::{Deployment, figures};

/// The three sizes of the page.
pub fn sizes() -> [(&'static str, Deployment); 3] {
    let base = Deployment::default();
    [
        ("small", base),
        ("middle", Deployment { envoys: 20.0, workers: 4.0, issuers: 2.0, agents: 5_000.0, rules: 500.0, ..base }),
        (
            "large",
            Deployment { envoys: 1_000.0, workers: 4.0, issuers: 3.0, agents: 100_000.0, rules: 2_000.0, ..base },
        ),
    ]
}

/// Rows of the sheet: what it is, and how it is had.
type Row = (&'static str, fn(&Deployment) -> f64);

const GIVEN: [Row; 11] = [
    ("Envoys", |d| d.envoys),
    ("workers of each", |d| d.workers),
    ("issuers", |d| d.issuers),
    ("agents", |d| d.agents),
    ("calls of an agent, in a second", |d| d.calls),
    ("the part that is exchanged for", |d| d.elevated),
    ("seconds of an elevated call", |d| d.operation),
    ("seconds of an answer of the token service", |d| d.latency),
    ("`ttl`, seconds", |d| d.ttl),
    ("`refresh`, seconds", |d| d.refresh),
    ("rules", |d| d.rules),
];

const FOLLOWS: [Row; 24] = [
    ("calls/s", Deployment::all_calls),
    ("exchanges/s, and as many revocations", Deployment::exchanges),
    ("**token service**, calls/s", Deployment::token_service),
    ("calls under way there", Deployment::under_way),
    ("connections to it (HTTP/1.1)", Deployment::connections),
    ("calls/s while only revocations fail", Deployment::revocations_fail),
    ("calls/s while everything fails", Deployment::all_fail),
    ("revocations/s in the first seconds after the former", Deployment::recovery),
    ("exchanges under way at most (`exchanges: 64`)", Deployment::exchanges_at_most),
    ("exchanges/s that one agent can cause (`exchange_rate: 60`)", Deployment::one_agent),
    ("elevated tokens alive", Deployment::alive),
    ("tokens that wait while only revocations fail", Deployment::waiting),
    ("the same in one worker, of at most 100,000", |d| d.waiting() / d.vms()),
    ("**an issuer**, key fetches/s", Deployment::key_fetches),
    ("key fetches/s that strangers can cause", Deployment::key_fetches_provoked),
    ("key fetches/s when all Envoys start at once", |d| d.envoys / figures::KEYS_FIRST.value),
    ("**all Envoys**, key fetches/s of all issuers", |d| d.key_fetches() * d.issuers),
    ("signatures/s, agents stay at one Envoy", |d| d.signatures(1.0)),
    ("signatures/s, agents come to any", |d| d.signatures(d.envoys)),
    ("cores, agents stay at one Envoy", |d| d.cores(1.0)),
    ("cores, agents come to any", |d| d.cores(d.envoys)),
    ("access log, GB a day", |d| d.log() * 86_400.0 / 1e9),
    ("**one Envoy**, MiB", Deployment::memory),
    ("MiB more while a policy is changed", Deployment::memory_of_a_change),
];

/// What is asked of each of these, and what follows.
pub fn sheet(deployments: &[(&str, Deployment)]) -> String {
    let mut out = String::from("|");
    // Writing to a text cannot fail.
    for (name, _) in deployments {
        let _ = write!(out, " | {name}");
    }
    let _ = writeln!(out, " |\n|{}", " --- |".repeat(deployments.len() + 1));
    for (what, of) in GIVEN.iter().chain(&FOLLOWS) {
        let values: Vec<String> = deployments.iter().map(|(_, deployment)| number(of(deployment))).collect();
        let _ = writeln!(out, "| {what} | {} |", values.join(" | "));
    }
    out
}

/// Where each number of the code is.
pub fn citations() -> String {
    let mut out = String::from("| | what | where |\n| --- | --- | --- |\n");
    for cited in figures::ALL {
        let (_, name) = cited.file.rsplit_once('/').unwrap_or_default();
        let _ = writeln!(
            out,
            "| {} | {} | [{name}](../{}): `{}` |",
            number(cited.value),
            cited.what,
            cited.file,
            cited.text
        );
    }
    out
}

/// Two digits that count, unless it is whole.
fn number(value: f64) -> String {
    let is_whole = (value - value.round()).abs() < 1e-6;
    let digits = if is_whole { 0 } else { 1 - value.abs().log10().floor() as i32 };
    let rounded = (value * 10_f64.powi(digits)).round() / 10_f64.powi(digits);
    if !is_whole && rounded < 10.0 {
        return format!("{rounded}");
    }
    let text = format!("{rounded:.0}");
    let groups = text.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}
