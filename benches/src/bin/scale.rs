//! The sheet of `docs/scale.md` for a deployment of one's own.

use std::io::Write as _;

use anyhow::Result;
use clap::Parser;
use step_up_benches::scale::{Deployment, table};

/// What a deployment comes to: memory, cores, and what the token service and the issuers see.
#[derive(Debug, Parser)]
struct Arguments {
    /// Processes of Envoy.
    #[arg(long, default_value_t = 2.0)]
    envoys: f64,
    /// Workers of each.
    #[arg(long, default_value_t = 2.0)]
    workers: f64,
    /// Issuers whose keys are fetched.
    #[arg(long, default_value_t = 1.0)]
    issuers: f64,
    /// Agents.
    #[arg(long, default_value_t = 100.0)]
    agents: f64,
    /// Calls of one agent in a second.
    #[arg(long, default_value_t = 0.2)]
    calls: f64,
    /// The part of them that is exchanged for.
    #[arg(long, default_value_t = 0.02)]
    elevated: f64,
    /// Seconds that an elevated call takes.
    #[arg(long, default_value_t = 2.0)]
    operation: f64,
    /// Seconds that the token service takes to answer.
    #[arg(long, default_value_t = 0.05)]
    latency: f64,
    /// Seconds that an elevated token lives.
    #[arg(long, default_value_t = 60.0)]
    ttl: f64,
    /// Seconds between two fetches of keys.
    #[arg(long, default_value_t = 300.0)]
    refresh: f64,
    /// Rules of the policy.
    #[arg(long, default_value_t = 100.0)]
    rules: f64,
}

fn main() -> Result<()> {
    let Arguments { envoys, workers, issuers, agents, calls, elevated, operation, latency, ttl, refresh, rules } =
        Arguments::parse();
    let deployment =
        Deployment { envoys, workers, issuers, agents, calls, elevated, operation, latency, ttl, refresh, rules };
    write!(std::io::stdout(), "{}", table::sheet(&[("yours", deployment)])).map_err(Into::into)
}
