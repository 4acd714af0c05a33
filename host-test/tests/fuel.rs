//! How many instructions things take in the module: nobody makes them slower without saying so.
//!
//! `benches/fuel.csv` has the figures of the scenarios. After a change on purpose: `UPDATE_FUEL=1 cargo test -p host-test --test fuel`.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::rc::Rc;

use host_test::backend::{Backend as _, Wasm};
use host_test::corpus::{NOW, Nobody};
use host_test::scenario::Case;
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

fn fuel_of_loading(policy: &Value) -> f64 {
    let mut proxy = Proxy::new(NOW.0, 0, Rc::new(RefCell::new(Nobody)), Limits::default(), ForeignFunctions::Envoy);
    let configuration = Configuration {
        module: artifact::load(&artifact::module().unwrap()).unwrap(),
        vm_id: "vm".to_owned(),
        root_id: "step-up".to_owned(),
        configuration: policy.to_string().into_bytes(),
        environment: Vec::new(),
        allow_on_headers_stop_iteration: true,
        failure_policy: FailurePolicy::FailClosed,
    };
    proxy.load(configuration).unwrap();
    proxy.fuel_used() as f64
}

/// Every VM of the host loads the policy before it serves anything: eight times as long, not sixty-four.
#[test]
fn loading_takes_instructions_in_proportion_to_the_policy() {
    let [few, more, many] = [200, 1_600, 10_000].map(|size| fuel_of_loading(&generated(size)));
    println!("200 rules take {few:.0}, 1,600 {:.2} times that, 10,000 {:.2} times that", more / few, many / few);
    assert!(more / few < 12.0, "eight times the policy takes {:.1} times the instructions", more / few);
    assert!(many / more < 9.0, "six times the policy takes {:.1} times the instructions", many / more);
}

/// What one more allowed call takes in a policy.
fn fuel_of_a_call(case: &Case) -> f64 {
    let wasm = Wasm::new().unwrap();
    let fuel = |times| {
        let (script, network) = case.script(times).unwrap();
        let run = wasm.run(&script, network).unwrap();
        assert!(run.transcripts.iter().all(|transcript| transcript.upstream.is_some()), "a call was not allowed");
        run.fuel.unwrap() as f64
    };
    (fuel(110) - fuel(10)) / 100.0
}

fn case(name: &str) -> Case {
    scenario::load(&paths::policies()).unwrap().into_iter().find(|case| case.name == name).unwrap()
}

/// An allowed call under a policy that has none of the words of arguments, lists, pins, sessions and labels pays nothing for them.
#[test]
fn a_call_takes_no_more_than_before_there_were_these_words() {
    const BEFORE: f64 = 58_021.0;
    let call = fuel_of_a_call(&case("step-up-on-write::scopes::a reader reads"));
    println!("a call takes {call:.0}, {:+.1} % beside {BEFORE}", (call / BEFORE - 1.0) * 100.0);
    assert!(call <= BEFORE * 1.02, "a call takes {call:.0}; it was {BEFORE}");
}

#[test]
fn ten_thousand_rules_cost_a_call_what_ten_do() {
    let of = |rules: usize| {
        let case = case("read-only-tools::tools::a tool that reads").under(|policy| {
            for n in 0..rules {
                let pattern = if n % 2 == 0 { format!("tool_{n}") } else { format!("tool_{n}_*_by") };
                policy["tools"][pattern] = json!({ "scope": format!("docs:{}", n % 100) });
            }
        });
        fuel_of_a_call(&case)
    };
    let (ten, many) = (of(10), of(10_000));
    println!("a call under 10 rules takes {ten:.0}, under 10,000 {:.3} times that", many / ten);
    assert!(many / ten <= 1.1, "a call under 10,000 rules takes {:.2} times that under ten", many / ten);
}

/// P17: arguments are read in one pass, whatever rules ask of them: eight times the frame, eight times the instructions.
#[test]
fn p17_a_call_takes_instructions_in_proportion_to_its_arguments() {
    let of = |items: usize| {
        let paths: Vec<String> = (0..items).map(|at| format!("/srv/shared/{at}.txt")).collect();
        let others: Map<String, Value> = (0..items / 10).map(|at| (format!("m{at}"), json!([at, "x"]))).collect();
        let scenario = json!({
            "name": "a long list of paths",
            "given": { "tokens": { "t": { "scope": "mcp:connect docs:read" } } },
            "when": { "tool": "get_files", "arguments": { "paths": paths, "others": others, "ids": [1, 2, 3] }, "token": "t" },
            "then": {},
        });
        let every = json!({ "every": { "arg": "paths", "within": "/srv/" } });
        let some = json!({ "some": { "arg": "paths", "suffix": ".secret" } });
        let given = case("read-only-tools::tools::a tool that reads").under(|policy| {
            policy["tools"]["get_files"] = json!({
                "scope": "docs:read",
                "raise": [{ "unless": every, "deny": true }, { "when": some, "deny": true }, { "unless": { "arg": "ids", "present": true }, "deny": true }],
            });
        });
        fuel_of_a_call(&given.instead(serde_json::from_value(scenario).unwrap()))
    };
    let (few, many) = (of(1_000), of(8_000));
    println!("a call with 1,000 paths takes {few:.0}, with 8,000 {:.2} times that", many / few);
    assert!(many / few < 9.0, "eight times the arguments take {:.1} times the instructions", many / few);
}
