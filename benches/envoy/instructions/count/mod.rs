//! Rows, and the table of them.

mod clock;
mod gate;
mod places;
mod sample;
mod step;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use step_up_benches::rig::{self, Answer, Rig, Variant, token_service};

use places::{Place, Places};
use sample::{Client, Request};
use step::Counts;

#[derive(Parser)]
#[command(about = "Counts Envoy's user instructions for one request")]
struct Options {
    /// Only rows whose name contains this, and what they are compared with
    #[arg(long, value_name = "NAME", default_value = "")]
    only: String,
    /// Samples of each row; the median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    samples: u32,
    /// Another build of the filter
    #[arg(long, value_name = "PATH", conflicts_with = "update")]
    module: Option<PathBuf>,
    /// Fails where a row is more than 2 % away from benches/instructions.csv
    #[arg(long)]
    check: bool,
    /// Writes benches/instructions.csv
    #[arg(long, conflicts_with_all = ["check", "only"])]
    update: bool,
}

/// What is counted.
struct Row {
    name: &'static str,
    variant: Variant,
    size: usize,
    /// Each request has a token that was not seen before.
    is_fresh: bool,
}

const fn row(name: &'static str, variant: Variant, size: usize) -> Row {
    Row { name, variant, size, is_fresh: false }
}

const SMALL: usize = 300;
const LARGE: usize = 20_000;

/// What a row is compared with comes before it.
const ROWS: [Row; 15] = [
    row("none, 300 B", Variant::Nothing, SMALL),
    row("native, 300 B", Variant::Native, SMALL),
    row("floor, 300 B", Variant::Floor, SMALL),
    row("ours, 300 B", Variant::StepUp, SMALL),
    row("none, 20 KB", Variant::Nothing, LARGE),
    row("native, 20 KB", Variant::Native, LARGE),
    row("floor, 20 KB", Variant::Floor, LARGE),
    row("ours, 20 KB", Variant::StepUp, LARGE),
    row("denied", Variant::Denied, SMALL),
    row("challenged", Variant::Challenged, SMALL),
    Row { is_fresh: true, ..row("first sight", Variant::StepUp, SMALL) },
    row("exchange: refused", Variant::Exchange(Answer::Refusal), SMALL),
    row("exchange: other type", Variant::Exchange(Answer::OtherType), SMALL),
    row("exchange: other subject", Variant::Exchange(Answer::OtherSubject), SMALL),
    row("exchanged", Variant::Exchange(Answer::Token), SMALL),
];

impl Row {
    /// The row of this size without a filter, or with the native ones.
    fn base(&self, variant: Variant) -> &'static str {
        let base = ROWS.iter().find(|row| row.variant == variant && row.size == self.size);
        base.map_or("", |row| row.name)
    }

    fn is_asked_for(&self, only: &str) -> bool {
        let is_base_of = |row: &Row| self.name == row.base(Variant::Nothing) && row.name.contains(only);
        self.name.contains(only) || ROWS.iter().any(is_base_of)
    }
}

/// Does what the command line says.
pub fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    token_service::serve_if_asked(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    let options = Options::parse();
    let rig = Rig::new("instructions", options.module)?;
    stay_beside_the_worker()?;
    let mut totals = BTreeMap::new();
    println!(
        "| row | instructions (range) | beyond none | of native | Envoy | module | libc, vdso | lines: Envoy | module |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for row in ROWS.iter().filter(|row| row.is_asked_for(&options.only)) {
        let counted = count(&rig, row, options.samples).with_context(|| row.name)?;
        totals.insert(row.name, counted.total);
        println!("{}", line(row, &counted, &totals));
    }
    let found = gate::figures(&totals);
    if options.update {
        gate::write(&found)?;
    }
    if options.check { gate::check(&found, options.only.is_empty()) } else { Ok(()) }
}

/// On the worker's core: to wake a thread on another one takes longer.
fn stay_beside_the_worker() -> Result<()> {
    let mut core = CpuSet::new();
    core.set(rig::CORE)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &core)?)
}

/// The sample in the middle, with the range of all.
struct Counted {
    total: u64,
    first: u64,
    last: u64,
    /// In Envoy, the module, and the rest.
    instructions: [u64; 3],
    /// Lines of 64 bytes of code, in Envoy and in the module.
    lines: [usize; 2],
}

fn count(rig: &Rig, row: &Row, samples: u32) -> Result<Counted> {
    let envoy = rig.start(row.variant)?;
    let mut client = Client::connect(envoy.port)?;
    let mut requests = Request::new(row.size, row.is_fresh, row.variant.status())?;
    let warm_up = if matches!(row.variant, Variant::Exchange(_)) { 300 } else { 3_000 };
    for _ in 0..warm_up {
        client.call(&mut requests)?;
    }
    let mut found: Vec<Counts> = Vec::new();
    for _ in 0..samples {
        found.push(sample::take(envoy.id(), &mut client, &mut requests)?);
    }
    found.sort_by_key(sum);
    let (first, last) = found.first().zip(found.last()).context("no samples")?;
    let middle = found.get(found.len() / 2).context("no samples")?;
    let places = Places::of(envoy.id())?;
    Ok(Counted {
        total: sum(middle),
        first: sum(first),
        last: sum(last),
        instructions: [Place::Envoy, Place::Module, Place::Other].map(|place| places.instructions(middle, place)),
        lines: [Place::Envoy, Place::Module].map(|place| places.lines(middle, place)),
    })
}

fn sum(counts: &Counts) -> u64 {
    counts.values().sum()
}

fn line(row: &Row, counted: &Counted, totals: &BTreeMap<&str, u64>) -> String {
    let Counted { total, first, last, instructions: [envoy, module, other], lines: [lines, module_lines] } = counted;
    let of = |variant| totals.get(row.base(variant)).copied();
    let none = of(Variant::Nothing).unwrap_or_default();
    let beyond = total.saturating_sub(none);
    let ratio = of(Variant::Native).map(|native| beyond as f64 / native.saturating_sub(none).max(1) as f64);
    let ratio = ratio.filter(|_| beyond > 0).map_or_else(String::new, |ratio| format!("{ratio:.2}"));
    format!(
        "| {} | {total} ({first} to {last}) | {beyond} | {ratio} | {envoy} | {module} | {other} | {lines} | {module_lines} |",
        row.name
    )
}
