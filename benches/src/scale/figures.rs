//! What the formula takes from the code and from measurements, each with where it stands. A test finds them there.

/// A number that stands in the code.
#[derive(Clone, Copy, Debug)]
pub struct Cited {
    /// As the formula uses it.
    pub value: f64,
    /// What it is.
    pub what: &'static str,
    /// The file, from the root of the repository.
    pub file: &'static str,
    /// The text there that says it.
    pub text: &'static str,
}

const KEYS: &str = "plugin/core/src/keys/mod.rs";
const LEASE: &str = "plugin/core/src/keys/lease.rs";
const LIMITS: &str = "plugin/core/src/policy/model.rs";
const REVOCATION: &str = "plugin/core/src/obtain/revocation.rs";
const LEDGER: &str = "plugin/core/src/obtain/ledger.rs";
const CACHE: &str = "plugin/core/src/token/cache.rs";

/// The table, in the order of the page.
pub const ALL: [Cited; 22] = [
    KEYS_SPREAD,
    KEYS_AGAIN,
    KEYS_EARLY,
    KEYS_FIRST,
    REFRESH,
    VERIFIED_CACHE,
    EXCHANGES,
    PER_CALLER,
    EXCHANGE_RATE,
    LATE,
    FAULTS,
    FIRST_PAUSE,
    LAST_PAUSE,
    DOWN,
    PROBES,
    PROBE_PAUSE,
    AT_ONCE,
    BUSY,
    KNOWN,
    LONGEST,
    TOKENS,
    TOKEN_BYTES,
];

/// Part of `refresh`.
pub const KEYS_SPREAD: Cited = Cited {
    value: 0.8,
    what: "keys are renewed after 0.8 to 1 of `refresh`, by the VM of a process that is due first",
    file: KEYS,
    text: "0.8 + 0.2 * f64::from(random)",
};
/// Seconds.
pub const KEYS_AGAIN: Cited = Cited {
    value: 30.0,
    what: "seconds between two fetches of a process, whatever asks for them",
    file: LEASE,
    text: "const RETRY: u64 = 30_000;",
};
/// In [`KEYS_AGAIN`].
pub const KEYS_EARLY: Cited = Cited {
    value: 3.0,
    what: "further fetches in that time, for key ids never seen before",
    file: LEASE,
    text: "const NEW_KIDS: u64 = 3;",
};
/// Seconds.
pub const KEYS_FIRST: Cited = Cited {
    value: 1.0,
    what: "seconds between two fetches of a process that has no keys yet",
    file: KEYS,
    text: "const FIRST_RETRY: u64 = 1_000;",
};
/// Seconds.
pub const REFRESH: Cited = Cited {
    value: 300.0,
    what: "`refresh`, where it is not said, seconds",
    file: "plugin/core/src/policy/compile/issuers.rs",
    text: "time(\"refresh\", 300)",
};
/// Seconds.
pub const VERIFIED_CACHE: Cited = Cited {
    value: 300.0,
    what: "`limits.verified_cache`: seconds in which a VM does not check a token's signature again",
    file: LIMITS,
    text: "verified_cache: 300,",
};
/// In a VM.
pub const EXCHANGES: Cited =
    Cited { value: 64.0, what: "`limits.exchanges`: under way in a VM", file: LIMITS, text: "exchanges: 64," };
/// In a VM.
pub const PER_CALLER: Cited = Cited {
    value: 4.0,
    what: "`limits.exchanges_per_caller`: the same, of one caller",
    file: LIMITS,
    text: "exchanges_per_caller: 4,",
};
/// In a minute and VM.
pub const EXCHANGE_RATE: Cited = Cited {
    value: 60.0,
    what: "`limits.exchange_rate`: of one subject in a minute, in a VM",
    file: LIMITS,
    text: "exchange_rate: 60,",
};
const LATE: Cited = Cited {
    value: 16.0,
    what: "times `limits.exchanges`: those that no client waits for any more count up to here",
    file: "plugin/core/src/obtain/limits.rs",
    text: "const LATE_FACTOR: usize = 16;",
};
const FAULTS: Cited = Cited {
    value: 30.0,
    what: "seconds between two exchanges under a rule, in a VM, after three faults that waiting does not heal",
    file: "plugin/core/src/obtain/history.rs",
    text: "const PAUSE: u64 = 30;",
};
/// Seconds.
pub const FIRST_PAUSE: Cited = Cited {
    value: 0.2,
    what: "seconds of the first pause before a revocation is tried again; it doubles, and half of it is random",
    file: REVOCATION,
    text: "const FIRST_PAUSE: u64 = 200;",
};
/// Seconds.
pub const LAST_PAUSE: Cited =
    Cited { value: 10.0, what: "seconds of the last pause", file: REVOCATION, text: "const LAST_PAUSE: u64 = 10_000;" };
const DOWN: Cited = Cited {
    value: 3.0,
    what: "failures in a row after which a VM takes the service for down",
    file: REVOCATION,
    text: "const DOWN: u32 = 3;",
};
/// In [`PROBE_PAUSE`].
pub const PROBES: Cited = Cited {
    value: 4.0,
    what: "revocations of a VM at a time, while it is down",
    file: REVOCATION,
    text: "const PROBES: usize = 4;",
};
/// Seconds.
pub const PROBE_PAUSE: Cited =
    Cited { value: 1.0, what: "seconds between those", file: REVOCATION, text: "const PROBE_PAUSE: u64 = 1_000;" };
/// In a callback.
pub const AT_ONCE: Cited = Cited {
    value: 64.0,
    what: "revocations begun in one callback or tick, while it is up",
    file: REVOCATION,
    text: "const AT_ONCE: usize = 64;",
};
/// Seconds.
pub const BUSY: Cited = Cited {
    value: 0.05,
    what: "seconds between two ticks, while there is something to do",
    file: "plugin/core/src/gate/mod.rs",
    text: "const BUSY: u64 = 50;",
};
/// In a VM.
pub const KNOWN: Cited = Cited {
    value: 100_000.0,
    what: "tokens of a VM that are not dead yet; beyond it nothing is exchanged",
    file: LEDGER,
    text: "const MOST_KNOWN: usize = 100_000;",
};
const LONGEST: Cited = Cited {
    value: 86_400.0,
    what: "seconds for which a revocation is tried, where the token does not say when it dies",
    file: REVOCATION,
    text: "const LONGEST: u64 = 24 * 3600;",
};
/// In a VM, of each half.
pub const TOKENS: Cited = Cited {
    value: 4096.0,
    what: "verified tokens that a VM remembers, in each of two halves",
    file: CACHE,
    text: "const CAPACITY: usize = 4096;",
};
const TOKEN_BYTES: Cited = Cited {
    value: 16.0,
    what: "MiB of their claims, in each half",
    file: CACHE,
    text: "const CAPACITY_BYTES: usize = 16 * 1024 * 1024;",
};

/// Revocations that a VM begins in a second of ticks.
pub const AT_BUSY_TICK: f64 = AT_ONCE.value / BUSY.value;

/// Instructions of a core in a second, as docs/operating.md counts.
pub const A_CORE: f64 = 3e9;

/// A row of benches/instructions.csv: instructions beyond no filter.
pub fn instructions(row: &str) -> f64 {
    let rows = include_str!("../../instructions.csv").lines();
    let found = rows.filter_map(|line| line.split_once(',')).find(|(_, name)| name.trim_matches('"') == row);
    found.and_then(|(instructions, _)| instructions.parse().ok()).unwrap_or(f64::NAN)
}

/// MiB of an Envoy without the filter: `scale::memory_of_workers_and_rules` of `host-test/tests/envoy/scale.rs`.
pub const BARE: f64 = 65.0;
/// MiB that the filter adds whatever the workers: V8, and the module compiled once.
pub const FIXED: f64 = 60.0;
/// MiB of a worker's VM.
pub const WORKER: f64 = 1.0;
/// KiB of a rule in a process, beside its workers.
pub const RULE: f64 = 2.4;
/// KiB of a rule in a worker.
pub const RULE_IN_WORKER: f64 = 1.8;
/// KiB of a token that waits to be revoked: `scale::memory_of_waiting_revocations`.
pub const WAITING: f64 = 1.0;
/// Bytes of a line of the sample's access log, of a permitted call: `scale::bytes_of_a_line_of_the_access_log`.
pub const RECORD: f64 = 670.0;
/// The same of an elevated one.
pub const ELEVATED_RECORD: f64 = 900.0;
