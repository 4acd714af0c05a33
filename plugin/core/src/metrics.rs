//! The fixed list of metrics. Names carry their labels, which `stats_tags` (in `envoy/`) turn into real ones.

use std::rc::Rc;

use crate::ends::{Ending, ExchangeEnd, KeysEnd, RevocationEnd};
use crate::reason::Reason;

/// What goes wrong whoever asks: internal errors, replies to calls never made, a host that stops bodies together with
/// headers, a token service that does not accept the filter, an upstream that refuses
/// elevated tokens with this status, and scopes of an upstream's challenge that the policy does not name.
pub const FAULTS: [&str; 10] = [
    "internal",
    "unexpected_reply",
    "host_without_header_stop",
    "filter_not_accepted",
    "upstream_refused_401",
    "upstream_refused_403",
    "upstream_refused_404",
    "upstream_scope_dropped",
    "list_unreadable",
    "tool_changed",
];

/// How a metric changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A counter grows.
    Add(u32),
    /// A gauge is set.
    Set(u64),
    /// A histogram gets a value.
    Observe(u64),
}

/// One thing counted, or set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Requests were decided: counter.
    Decision {
        /// The server's name in the policy, `-` when none was found.
        server: Rc<str>,
        /// How it ended.
        verdict: Ending,
        /// Why.
        reason: Reason,
        /// `enforce` or `shadow`.
        mode: &'static str,
        /// How many since the last time.
        count: u32,
    },
    /// An exchange ended: counter.
    Exchange {
        /// The server's name in the policy.
        server: Rc<str>,
        /// How.
        outcome: ExchangeEnd,
    },
    /// How long an exchange took, in milliseconds: histogram.
    ExchangeTime {
        /// The server's name in the policy.
        server: Rc<str>,
        /// Milliseconds.
        millis: u64,
    },
    /// A token was taken back, or not: counter.
    Revocation {
        /// How.
        outcome: RevocationEnd,
    },
    /// An issuer's keys were fetched: counter.
    JwksFetch {
        /// The issuer.
        issuer: String,
        /// How.
        outcome: KeysEnd,
    },
    /// Seconds since an issuer's keys were fetched: gauge.
    KeysAge {
        /// The issuer.
        issuer: String,
        /// Seconds.
        seconds: u64,
    },
    /// Something that should not happen: counter.
    Fault {
        /// One of [`FAULTS`].
        kind: &'static str,
        /// How often: 0 makes the counter visible before its first fault.
        count: u32,
    },
    /// 1 while the policy only says what it would do (P15): gauge.
    Shadow {
        /// 1 in shadow mode, 0 enforcing.
        value: u64,
    },
    /// 1 for the module and policy in force: gauge.
    Info {
        /// Version of the module.
        module: &'static str,
        /// Digest of the policy.
        policy: String,
        /// 1 in force, 0 no longer.
        value: u64,
    },
}

/// The most series that a process can ever have with so many servers and issuers: names are from the policy or from here,
/// never from a request. A histogram counts as one.
pub fn most_series(servers: usize, issuers: usize) -> usize {
    // A reason has one verdict in enforce mode and another in shadow mode.
    let decisions = (servers + 1) * Reason::ALL.len() * 2;
    let exchanges = servers * (Reason::ALL.len() + 3);
    let revocations = 6;
    let keys = issuers * 4;
    let process = FAULTS.len() + 2;
    decisions + exchanges + servers + revocations + keys + process
}

impl Metric {
    /// The name to define it by: `stepup_<what>;label=value;...`.
    pub fn name(&self) -> String {
        match self {
            Metric::Decision { server, verdict, reason, mode, .. } => labelled(
                "stepup_decisions_total",
                &[("server", server), ("verdict", verdict.name()), ("reason", reason.name()), ("mode", mode)],
            ),
            Metric::Exchange { server, outcome } => {
                labelled("stepup_exchanges_total", &[("server", server), ("outcome", outcome.name())])
            }
            Metric::ExchangeTime { server, .. } => labelled("stepup_exchange_ms", &[("server", server)]),
            Metric::Revocation { outcome } => labelled("stepup_revocations_total", &[("outcome", outcome.name())]),
            Metric::JwksFetch { issuer, outcome } => {
                labelled("stepup_jwks_fetches_total", &[("issuer", issuer), ("outcome", outcome.name())])
            }
            Metric::KeysAge { issuer, .. } => labelled("stepup_keys_age_seconds", &[("issuer", issuer)]),
            Metric::Fault { kind, .. } => labelled("stepup_faults_total", &[("kind", kind)]),
            Metric::Shadow { .. } => "stepup_shadow".to_owned(),
            Metric::Info { module, policy, .. } => labelled("stepup_info", &[("module", module), ("policy", policy)]),
        }
    }

    /// What to do with it.
    pub fn change(&self) -> Change {
        match self {
            Metric::KeysAge { seconds, .. } => Change::Set(*seconds),
            Metric::Info { value, .. } | Metric::Shadow { value } => Change::Set(*value),
            Metric::Fault { count, .. } | Metric::Decision { count, .. } => Change::Add(*count),
            Metric::ExchangeTime { millis, .. } => Change::Observe(*millis),
            Metric::Exchange { .. } | Metric::JwksFetch { .. } | Metric::Revocation { .. } => Change::Add(1),
        }
    }
}

fn labelled(name: &str, labels: &[(&str, &str)]) -> String {
    let mut text = name.to_owned();
    for (label, value) in labels {
        text.extend([";", label, "="]);
        match value.contains([';', '=']) {
            true => text += &value.replace([';', '='], "_"),
            false => text += value,
        }
    }
    text
}
