//! How many instructions things take in the module: nobody makes them slower without saying so.
//!
//! `benches/fuel.csv` has the figures of the scenarios. After a change on purpose: `UPDATE_FUEL=1 cargo test -p host-test --test fuel`.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::rc::Rc;

use host_test::backend::Wasm;
use host_test::corpus::{NOW, Nobody};
use host_test::{artifact, paths, scenario};
use serde_json::{Map, Value, json};
use simulated_proxy::{Configuration, FailurePolicy, ForeignFunctions, Limits, Proxy};

/// In percent.
const MOST: f64 = 3.0;

#[test]
fn no_scenario_takes_more_than_it_did() {
    let file = paths::workspace().join("benches/fuel.csv");
    let wasm = Wasm::new().unwrap();
    let mut now = BTreeMap::new();
    for case in scenario::load(&paths::policies()).unwrap() {
        now.insert(case.name.clone(), case.run(&wasm).unwrap().fuel.unwrap());
    }
    if std::env::var_os("UPDATE_FUEL").is_some() {
        let mut text = "fuel,scenario\n".to_owned();
        for (name, fuel) in &now {
            writeln!(text, "{fuel},\"{}\"", name.replace('"', "\"\"")).unwrap();
        }
        fs::write(&file, text).unwrap();
        return;
    }
    let text = fs::read_to_string(&file).unwrap();
    let rows = text.lines().skip(1).filter_map(|line| line.split_once(','));
    let before: BTreeMap<String, u64> =
        rows.map(|(fuel, name)| (name.trim_matches('"').replace("\"\"", "\""), fuel.parse().unwrap())).collect();
    let mut complaints = Vec::new();
    for (name, fuel) in &now {
        match before.get(name) {
            None => complaints.push(format!("{name}: not in benches/fuel.csv")),
            Some(before) => {
                let growth = (*fuel as f64 / *before as f64 - 1.0) * 100.0;
                // Less is good news, and has to be written down: else the next growth hides behind it.
                if growth.abs() > MOST {
                    complaints.push(format!("{name}: {fuel}, {growth:+.1} % beside {before}"));
                }
            }
        }
    }
    let gone = before.keys().filter(|name| !now.contains_key(*name));
    complaints.extend(gone.map(|name| format!("{name}: is no scenario any more")));
    let help = "if that is meant: UPDATE_FUEL=1 cargo test -p host-test --test fuel, in the same change";
    assert!(complaints.is_empty(), "{}\n{help}", complaints.join("\n"));
}

/// A policy with a scope of its own for every tool, and one that implies it: what a generator makes of many tools.
fn generated(size: usize) -> Value {
    let scopes: Map<String, Value> =
        (0..size).map(|n| (format!("t{n}:admin"), json!({ "implies": [format!("t{n}:use")] }))).collect();
    let tools: Map<String, Value> =
        (0..size).map(|n| (format!("tool{n}"), json!({ "scope": format!("t{n}:use"), "max_age": "1h" }))).collect();
    json!({
        "version": 1,
        "issuers": { "https://as.example.com": {
            "jwks": { "cluster": "keys", "url": "https://as.example.com/jwks" }, "algorithms": ["ES256"],
        } },
        "resource": "https://mcp.example.com/mcp", "baseline": ["mcp:connect"], "scopes": scopes, "tools": tools,
    })
}

/// Every VM of the host loads the policy before it serves anything: eight times as long, not sixty-four.
#[test]
fn loading_takes_instructions_in_proportion_to_the_policy() {
    let fuel = |size| {
        let mut proxy = Proxy::new(NOW.0, 0, Rc::new(RefCell::new(Nobody)), Limits::default(), ForeignFunctions::Envoy);
        let configuration = Configuration {
            module: artifact::load(&artifact::module().unwrap()).unwrap(),
            vm_id: "vm".to_owned(),
            root_id: "step-up".to_owned(),
            configuration: generated(size).to_string().into_bytes(),
            environment: Vec::new(),
            allow_on_headers_stop_iteration: true,
            failure_policy: FailurePolicy::FailClosed,
        };
        proxy.load(configuration).unwrap();
        proxy.fuel_used() as f64
    };
    let ratio = fuel(1_600) / fuel(200);
    println!("eight times the policy takes {ratio:.2} times the instructions");
    assert!(ratio < 12.0, "eight times the policy takes {ratio:.1} times the instructions");
}
