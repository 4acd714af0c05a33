//! What the component counts, as the core's own metric: so it can be compared.

use anyhow::{Context as _, Result};
use step_up_core::{Ending, ExchangeEnd, FAULTS, KeysEnd, Metric, Reason, RevocationEnd, VERSION};

use super::super::native;
use super::wit;

pub(super) fn counted(metric: wit::Metric) -> Result<String> {
    Ok(native::counted(&understood(metric)?))
}

fn understood(metric: wit::Metric) -> Result<Metric> {
    Ok(match metric {
        wit::Metric::Decisions(decisions) => Metric::Decision {
            server: decisions.server.into(),
            verdict: ending(decisions.verdict),
            reason: reason(&decisions.reason)?,
            mode: known(&decisions.mode, &["enforce", "shadow"])?,
            count: decisions.count,
        },
        wit::Metric::Exchange(exchange) => {
            let outcome = match exchange.outcome {
                wit::ExchangeEnd::Granted => ExchangeEnd::Granted,
                wit::ExchangeEnd::Late => ExchangeEnd::Late,
                wit::ExchangeEnd::Lost => ExchangeEnd::Lost,
                wit::ExchangeEnd::Refused(name) => ExchangeEnd::Refused(reason(&name)?),
            };
            Metric::Exchange { server: exchange.server.into(), outcome }
        }
        wit::Metric::ExchangeTime(time) => Metric::ExchangeTime { server: time.server.into(), millis: time.millis },
        wit::Metric::Revocation(end) => Metric::Revocation { outcome: revocation(end) },
        wit::Metric::KeysFetch(fetch) => Metric::JwksFetch { issuer: fetch.issuer, outcome: keys(fetch.outcome) },
        wit::Metric::KeysAge(age) => Metric::KeysAge { issuer: age.issuer, seconds: age.seconds },
        wit::Metric::Faults(faults) => Metric::Fault { kind: known(&faults.kind, &FAULTS)?, count: faults.count },
        wit::Metric::Shadow(value) => Metric::Shadow { value },
        wit::Metric::InForce(info) => {
            let module = known(&info.version, &[VERSION])?;
            Metric::Info { module, policy: info.policy, value: info.value }
        }
    })
}

fn reason(name: &str) -> Result<Reason> {
    let found = Reason::ALL.iter().find(|reason| reason.name() == name);
    found.copied().with_context(|| format!("`{name}` is no reason"))
}

fn known(name: &str, names: &[&'static str]) -> Result<&'static str> {
    names.iter().find(|known| **known == name).copied().with_context(|| format!("`{name}` is none of {names:?}"))
}

pub(super) fn ending(ending: wit::Ending) -> Ending {
    match ending {
        wit::Ending::Permit => Ending::Permit,
        wit::Ending::Challenge => Ending::Challenge,
        wit::Ending::Deny => Ending::Deny,
        wit::Ending::Answer => Ending::Answer,
        wit::Ending::Abandoned => Ending::Abandoned,
        wit::Ending::Elevate => Ending::Elevate,
    }
}

fn revocation(end: wit::RevocationEnd) -> RevocationEnd {
    match end {
        wit::RevocationEnd::Revoked => RevocationEnd::Revoked,
        wit::RevocationEnd::Unsupported => RevocationEnd::Unsupported,
        wit::RevocationEnd::Refused => RevocationEnd::Refused,
        wit::RevocationEnd::Kept => RevocationEnd::Kept,
        wit::RevocationEnd::Expired => RevocationEnd::Expired,
        wit::RevocationEnd::GivenUp => RevocationEnd::GivenUp,
    }
}

fn keys(end: wit::KeysEnd) -> KeysEnd {
    match end {
        wit::KeysEnd::Fetched => KeysEnd::Fetched,
        wit::KeysEnd::Withdrawn => KeysEnd::Withdrawn,
        wit::KeysEnd::Unreachable => KeysEnd::Unreachable,
        wit::KeysEnd::Unusable => KeysEnd::Unusable,
    }
}
