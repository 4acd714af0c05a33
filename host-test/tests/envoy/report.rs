//! Figures for the notes: not asserted, because they are the machine's. Run: `--ignored report`.

use std::time::Instant;

use anyhow::{Context as _, Result};
use host_test::stack::{EnvoyStack, Options, Server, Setup, Stack as _, send};
use libtest_mimic::{Failed, Trial};

use crate::support::call;

pub fn trials() -> Vec<Trial> {
    let run = || report().map_err(|error| Failed::from(format!("{error:#}")));
    vec![Trial::test("report::module_size_ready_time_and_memory", run).with_ignored_flag(true)]
}

/// Alternating starts of the stack with the filter and without: ready time and resident memory after ten requests.
fn report() -> Result<()> {
    let module = host_test::artifact::module()?;
    println!("module: {} bytes", std::fs::metadata(module)?.len());
    for workers in [1, 2] {
        let mut figures = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
        for _ in 0..5 {
            for (setup, (ready, memory)) in [Setup::Open, Setup::Sample].into_iter().zip(&mut figures) {
                let mut stack = EnvoyStack::prepare(&Options { workers, setup, ..Options::default() })?;
                let begin = Instant::now();
                stack.wait_until_ready()?;
                ready.push(begin.elapsed());
                let token = stack.token(Server::Notes, "mcp:connect")?;
                for _ in 0..10 {
                    send(&call(&stack, Server::Notes, &token, "echo"))?;
                }
                memory.push(resident(stack.envoy().id())?);
            }
        }
        let [(bare_ready, bare_memory), (ready, memory)] = figures;
        println!(
            "{workers} workers, median of 5: ready {:?} bare, {:?} with the filter",
            median(bare_ready),
            median(ready)
        );
        println!(
            "{workers} workers, median of 5: memory {} KiB bare, {} KiB with the filter",
            median(bare_memory),
            median(memory)
        );
    }
    Ok(())
}

fn median<T: Ord + Copy + Default>(mut figures: Vec<T>) -> T {
    figures.sort_unstable();
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

pub fn resident(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    line.split_whitespace().nth(1).and_then(|size| size.parse().ok()).context("no size")
}
