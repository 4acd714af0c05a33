//! `benches/instructions.csv`: what a request costs, so that nobody makes it dearer without saying so.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use host_test::paths;

use super::{ROWS, Variant};

/// In percent.
const MOST: f64 = 2.0;

/// What is held, by row: without a filter all of it, with one what it adds.
pub type Figures<'r> = BTreeMap<&'r str, u64>;

pub fn figures<'r>(totals: &BTreeMap<&'r str, u64>) -> Figures<'r> {
    let rows = ROWS.iter().filter_map(|row| {
        let total = *totals.get(row.name)?;
        let base = if row.variant == Variant::Nothing { 0 } else { *totals.get(row.base(Variant::Nothing))? };
        Some((row.name, total.saturating_sub(base)))
    });
    rows.collect()
}

pub fn write(found: &Figures<'_>) -> Result<()> {
    let mut text = "instructions,row\n".to_owned();
    for row in &ROWS {
        if let Some(figure) = found.get(row.name) {
            writeln!(text, "{figure},\"{}\"", row.name)?;
        }
    }
    Ok(fs::write(file(), text)?)
}

/// Fails, by name, where a row is further away from the file than it may be; and where one is missing, if this is `all`.
pub fn check(found: &Figures<'_>, all: bool) -> Result<()> {
    let text = fs::read_to_string(file())?;
    let rows = text.lines().skip(1).filter_map(|line| line.split_once(','));
    let before: BTreeMap<&str, f64> =
        rows.map(|(figure, name)| Ok((name.trim_matches('"'), figure.parse()?))).collect::<Result<_>>()?;
    let mut complaints = Vec::new();
    for (name, figure) in found {
        match before.get(name) {
            None => complaints.push(format!("{name}: not in benches/instructions.csv")),
            Some(before) => {
                let growth = (*figure as f64 / before - 1.0) * 100.0;
                // Less is good news, and has to be written down: else the next growth hides behind it.
                if growth.abs() > MOST {
                    complaints.push(format!("{name}: {figure}, {growth:+.1} % beside {before}"));
                }
            }
        }
    }
    let gone = before.keys().filter(|name| all && !found.contains_key(*name));
    complaints.extend(gone.map(|name| format!("{name}: is no row any more")));
    let help = "if that is meant: run it with --update, in the same change";
    ensure!(complaints.is_empty(), "{}\n{help}", complaints.join("\n"));
    Ok(())
}

fn file() -> PathBuf {
    paths::workspace().join("benches/instructions.csv")
}
