//! What Envoys, workers, issuers and agents come to: the formula behind `docs/scale.md`, its tables and its curves.
//!
//! It is arithmetic on [`figures`]: nothing is run. A VM is the filter in one worker of one Envoy. Limits of the policy hold in a VM,
//! and VMs know nothing of each other's exchanges; only keys are shared, within a process.

pub mod chart;
pub mod curves;
pub mod figures;
pub mod table;

use figures::{
    AT_BUSY_TICK, BARE, ELEVATED_RECORD, FIRST_PAUSE, FIXED, KEYS_AGAIN, KEYS_EARLY, KEYS_SPREAD, LAST_PAUSE,
    PROBE_PAUSE, PROBES, RECORD, RULE, RULE_IN_WORKER, VERIFIED_CACHE, WAITING, WORKER,
};

/// A deployment, and what is asked of it.
#[derive(Clone, Copy, Debug)]
pub struct Deployment {
    /// Processes of Envoy.
    pub envoys: f64,
    /// Workers of each (`--concurrency`).
    pub workers: f64,
    /// Issuers whose keys are fetched.
    pub issuers: f64,
    /// Agents, each a caller with a token of its own.
    pub agents: f64,
    /// Calls of one agent in a second.
    pub calls: f64,
    /// The part of them that is exchanged for.
    pub elevated: f64,
    /// Seconds that an elevated call takes.
    pub operation: f64,
    /// Seconds that the token service takes to answer.
    pub latency: f64,
    /// Seconds that an elevated token lives.
    pub ttl: f64,
    /// Seconds between two fetches of keys.
    pub refresh: f64,
    /// Rules of the policy.
    pub rules: f64,
}

impl Default for Deployment {
    fn default() -> Deployment {
        Deployment {
            envoys: 2.0,
            workers: 2.0,
            issuers: 1.0,
            agents: 100.0,
            calls: 0.2,
            elevated: 0.02,
            operation: 2.0,
            latency: 0.05,
            ttl: 60.0,
            refresh: 300.0,
            rules: 100.0,
        }
    }
}

impl Deployment {
    /// The filter runs so many times.
    pub fn vms(&self) -> f64 {
        self.envoys * self.workers
    }

    /// Calls of all agents in a second.
    pub fn all_calls(&self) -> f64 {
        self.agents * self.calls
    }

    /// Exchanges in a second; so many revocations follow.
    pub fn exchanges(&self) -> f64 {
        self.all_calls() * self.elevated
    }

    /// Fetches of one issuer's keys in a second, at most: the VM of a process that is due first fetches for all of it.
    pub fn key_fetches(&self) -> f64 {
        self.envoys / (self.refresh * KEYS_SPREAD.value)
    }

    /// The same while strangers name keys that nobody has: what they can cause at most.
    pub fn key_fetches_provoked(&self) -> f64 {
        self.envoys * (1.0 + KEYS_EARLY.value) / KEYS_AGAIN.value
    }

    /// Signatures checked in a second. `envoys`: how many of them the calls of one agent reach.
    pub fn signatures(&self, envoys: f64) -> f64 {
        let vms = envoys.min(self.envoys) * self.workers;
        let in_cache_time = self.calls * VERIFIED_CACHE.value;
        let met = vms * (1.0 - (1.0 - 1.0 / vms).powf(in_cache_time));
        self.agents * met / VERIFIED_CACHE.value + self.exchanges()
    }

    /// Cores that the filter takes, of all Envoys.
    pub fn cores(&self, envoys: f64) -> f64 {
        let new = self.signatures(envoys) - self.exchanges();
        let instructions = self.all_calls() * figures::instructions("ours, 300 B")
            + new * figures::instructions("first sight")
            + self.exchanges() * figures::instructions("exchanged");
        instructions / figures::A_CORE
    }

    /// Calls to the token service in a second.
    pub fn token_service(&self) -> f64 {
        2.0 * self.exchanges()
    }

    /// Of those, under way at a time.
    pub fn under_way(&self) -> f64 {
        self.token_service() * self.latency
    }

    /// Connections to the token service: each worker has its own, and over HTTP/1.1 one for each call under way.
    pub fn connections(&self) -> f64 {
        self.vms() * (self.under_way() / self.vms()).ceil().max(1.0)
    }

    /// Exchanges under way at most, before the filter refuses: what a service that has become slow is left with.
    pub fn exchanges_at_most(&self) -> f64 {
        self.vms() * figures::EXCHANGES.value
    }

    /// Exchanges in a second that one agent can cause, if every VM sees it.
    pub fn one_agent(&self) -> f64 {
        self.vms() * figures::EXCHANGE_RATE.value / 60.0
    }

    /// Tokens of calls under way: what waits to be revoked where the service is down altogether, and what is lost where every Envoy dies.
    pub fn alive(&self) -> f64 {
        self.exchanges() * self.operation
    }

    /// Tokens that wait where only revocations fail and exchanges go on: each until its `exp`.
    pub fn waiting(&self) -> f64 {
        self.exchanges() * self.ttl
    }

    /// Revocations that workers make in a second of a service that is down, at most.
    fn probes(&self) -> f64 {
        self.vms() * PROBES.value / PROBE_PAUSE.value
    }

    /// Calls to the token service in a second where only revocations fail: each token is tried until its `exp`.
    pub fn revocations_fail(&self) -> f64 {
        self.exchanges() + (self.exchanges() * tries(self.ttl)).min(self.probes())
    }

    /// The same where everything fails, in the first seconds: agents go on asking, and calls that were under way have ended.
    pub fn all_fail(&self) -> f64 {
        let seconds = LAST_PAUSE.value;
        self.exchanges() + (self.alive() * tries(seconds) / seconds).min(self.probes())
    }

    /// Revocations in a second when it is back: what waits comes due within the longest pause.
    pub fn recovery(&self) -> f64 {
        (self.waiting() / LAST_PAUSE.value).min(self.vms() * AT_BUSY_TICK)
    }

    /// MiB of one Envoy, with nothing under way.
    pub fn memory(&self) -> f64 {
        BARE + FIXED + WORKER * self.workers + self.rules * (RULE + RULE_IN_WORKER * self.workers) / 1024.0
    }

    /// The most that comes to it while a policy is changed: the old one stays until nothing of it is left.
    pub fn memory_of_a_change(&self) -> f64 {
        WORKER * self.workers + self.rules * (RULE + RULE_IN_WORKER * self.workers) / 1024.0
    }

    /// MiB of one Envoy's tokens that wait to be revoked, where revocations fail.
    pub fn memory_of_waiting(&self) -> f64 {
        self.waiting() / self.envoys * WAITING / 1024.0
    }

    /// Bytes of access log in a second, of all Envoys.
    pub fn log(&self) -> f64 {
        self.all_calls() * RECORD + self.exchanges() * (ELEVATED_RECORD - RECORD)
    }
}

/// How often a revocation is tried in so many seconds that fail: at once, then after pauses that double, half to all of each.
fn tries(seconds: f64) -> f64 {
    let (mut at, mut pause, mut tries) = (0.0, FIRST_PAUSE.value, 0.0);
    while pause < LAST_PAUSE.value && at < seconds {
        (at, pause, tries) = (at + pause * 0.75, pause * 2.0, tries + 1.0);
    }
    tries + (seconds - at).max(0.0) / (LAST_PAUSE.value * 0.75)
}
