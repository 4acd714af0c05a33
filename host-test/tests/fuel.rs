//! How many instructions each scenario takes in the module: nobody makes it slower without saying so.
//!
//! `benches/fuel.csv` has the figures. After a change on purpose: `UPDATE_FUEL=1 cargo test -p host-test --test fuel`.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use host_test::backend::Wasm;
use host_test::{paths, scenario};

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
