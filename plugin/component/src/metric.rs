//! What is counted, as the host is told it.

use step_up_core::{Ending, ExchangeEnd, KeysEnd, Metric, RevocationEnd};

use crate::bindings::exports::step_up::decision::gates as wit;

/// A metric of the core, with its labels.
pub fn told(metric: Metric) -> wit::Metric {
    match metric {
        Metric::Decision { server, verdict, reason, mode, count } => wit::Metric::Decisions(wit::Decisions {
            server: server.to_string(),
            verdict: ending(verdict),
            reason: reason.name().to_owned(),
            mode: mode.to_owned(),
            count,
        }),
        Metric::Exchange { server, outcome } => {
            wit::Metric::Exchange(wit::Exchange { server: server.to_string(), outcome: exchange(outcome) })
        }
        Metric::ExchangeTime { server, millis } => {
            wit::Metric::ExchangeTime(wit::ExchangeTime { server: server.to_string(), millis })
        }
        Metric::Revocation { outcome } => wit::Metric::Revocation(revocation(outcome)),
        Metric::JwksFetch { issuer, outcome } => {
            wit::Metric::KeysFetch(wit::KeysFetch { issuer, outcome: keys(outcome) })
        }
        Metric::KeysAge { issuer, seconds } => wit::Metric::KeysAge(wit::KeysAge { issuer, seconds }),
        Metric::Fault { kind, count } => wit::Metric::Faults(wit::Faults { kind: kind.to_owned(), count }),
        Metric::Shadow { value } => wit::Metric::Shadow(value),
        Metric::Info { module, policy, value } => {
            wit::Metric::InForce(wit::InForce { version: module.to_owned(), policy, value })
        }
    }
}

pub fn ending(ending: Ending) -> wit::Ending {
    match ending {
        Ending::Permit => wit::Ending::Permit,
        Ending::Challenge => wit::Ending::Challenge,
        Ending::Deny => wit::Ending::Deny,
        Ending::Answer => wit::Ending::Answer,
        Ending::Abandoned => wit::Ending::Abandoned,
        Ending::Elevate => wit::Ending::Elevate,
    }
}

fn exchange(end: ExchangeEnd) -> wit::ExchangeEnd {
    match end {
        ExchangeEnd::Granted => wit::ExchangeEnd::Granted,
        ExchangeEnd::Late => wit::ExchangeEnd::Late,
        ExchangeEnd::Lost => wit::ExchangeEnd::Lost,
        ExchangeEnd::Refused(reason) => wit::ExchangeEnd::Refused(reason.name().to_owned()),
    }
}

fn revocation(end: RevocationEnd) -> wit::RevocationEnd {
    match end {
        RevocationEnd::Revoked => wit::RevocationEnd::Revoked,
        RevocationEnd::Unsupported => wit::RevocationEnd::Unsupported,
        RevocationEnd::Refused => wit::RevocationEnd::Refused,
        RevocationEnd::Kept => wit::RevocationEnd::Kept,
        RevocationEnd::Expired => wit::RevocationEnd::Expired,
        RevocationEnd::GivenUp => wit::RevocationEnd::GivenUp,
    }
}

fn keys(end: KeysEnd) -> wit::KeysEnd {
    match end {
        KeysEnd::Fetched => wit::KeysEnd::Fetched,
        KeysEnd::Withdrawn => wit::KeysEnd::Withdrawn,
        KeysEnd::Unreachable => wit::KeysEnd::Unreachable,
        KeysEnd::Unusable => wit::KeysEnd::Unusable,
    }
}
