//! `docs/scale.md` and its pictures are what the formula says, and the formula's numbers are those of the code.
//! `UPDATE_DOCUMENTS=1 cargo test -p step-up-benches --test scale` writes them.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]

use std::env::var_os;
use std::fs::{read_to_string, write};
use std::path::{Path, PathBuf};

use step_up_benches::scale::{Deployment, curves, figures, table};

fn at(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)
}

fn held(file: &str, wanted: &str) {
    let path = at(file);
    if var_os("UPDATE_DOCUMENTS").is_some() {
        write(&path, wanted).unwrap();
    }
    let there = read_to_string(&path).unwrap_or_default();
    assert!(
        there == wanted,
        "{file} is not what the formula says: UPDATE_DOCUMENTS=1 cargo test -p step-up-benches --test scale"
    );
}

#[test]
fn the_page_has_the_tables() {
    let mut page = read_to_string(at("docs/scale.md")).unwrap();
    for (name, table) in [("sheet", table::sheet(&table::sizes())), ("figures", table::citations())] {
        let (begin, end) = (format!("<!-- {name}: generated -->\n"), format!("<!-- end of {name} -->"));
        let (before, rest) = page.split_once(&begin).expect(&begin);
        let (_, after) = rest.split_once(&end).expect(&end);
        page = format!("{before}{begin}{table}{end}{after}");
    }
    held("docs/scale.md", &page);
}

#[test]
fn the_pictures_are_drawn() {
    for (file, chart) in curves::all() {
        held(&format!("docs/pictures/{file}"), &chart.svg());
    }
}

#[test]
fn numbers_stand_where_they_are_cited() {
    for cited in figures::ALL {
        let code = read_to_string(at(cited.file)).unwrap();
        assert!(code.contains(cited.text), "{} does not say `{}`: look at the formula again", cited.file, cited.text);
    }
    for row in ["ours, 300 B", "first sight", "exchanged"] {
        assert!(figures::instructions(row) > 10_000.0, "no row {row}");
    }
}

/// What holds of any deployment.
#[test]
fn the_formula_is_sane() {
    for (name, large) in table::sizes() {
        assert!(large.signatures(1.0) <= large.signatures(large.envoys), "{name}");
        // Nobody checks more signatures than there are calls.
        assert!(large.signatures(large.envoys) <= large.all_calls() + large.exchanges(), "{name}");
        // However much waits, a service that is down is asked so often, and no more.
        let years = Deployment { ttl: 1e9, ..large };
        let most = years.exchanges() + years.vms() * 4.0;
        assert!((years.revocations_fail() - most).abs() < 1e-6, "{name}");
        assert!(large.all_fail() <= large.revocations_fail(), "{name}");
        assert!(large.connections() >= large.vms() && large.connections() >= large.under_way(), "{name}");
    }
    // Four tokens that nobody takes back were tried 37 times in half a minute.
    let four = Deployment { agents: 4.0, calls: 1.0, elevated: 1.0, ttl: 30.0, envoys: 100.0, ..Deployment::default() };
    let tried = four.revocations_fail() - four.exchanges();
    assert!((tried / 37.0 - 1.0).abs() < 0.1, "{tried}");
    // What was measured (MiB): the formula is within a twentieth of it.
    for (rules, measured) in [(10.0, [126.0, 127.0, 129.0, 133.0]), (10_000.0, [167.0, 183.0, 221.0, 294.0])] {
        for (workers, measured) in [1.0, 2.0, 4.0, 8.0].into_iter().zip(measured) {
            let said = Deployment { workers, rules, ..Deployment::default() }.memory();
            assert!(
                (said / measured - 1.0).abs() < 0.05,
                "{workers} workers, {rules} rules: {said}, measured {measured}"
            );
        }
    }
}
