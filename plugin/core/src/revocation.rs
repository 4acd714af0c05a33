//! Taking tokens back (RFC 7009): until the token service confirms it, or the token has expired by itself.

use std::collections::BTreeMap;

use crate::effect::{Call, CallFault, CallId, Millis, Reply};
use crate::elevation::{self, Stamp};
use crate::json::{self, Value};
use crate::policy::{Secret, TokenService};

/// A token that has to go.
#[derive(Debug)]
pub(crate) struct Revocation {
    pub token: Secret,
    pub hint: &'static str,
    /// It is dead by itself then.
    pub expires: Millis,
    pub due: Millis,
    pub decision: String,
    pub trace: Vec<(&'static str, Secret)>,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Revoked,
    /// RFC 7009 2.2.1: the service cannot revoke such tokens; `exp` is the end.
    Unsupported,
    /// The service refused for good.
    Refused,
    /// It was alive until its `exp`.
    Expired,
}

impl End {
    pub fn name(self) -> &'static str {
        match self {
            End::Revoked => "revoked",
            End::Unsupported => "unsupported",
            End::Refused => "refused",
            End::Expired => "expired",
        }
    }
}

/// Everything that waits to be revoked.
#[derive(Debug, Default)]
pub(crate) struct Revocations {
    waiting: BTreeMap<u64, (Revocation, u32)>,
    calls: BTreeMap<CallId, u64>,
    next: u64,
}

/// The first pause after a failure, in milliseconds; it doubles up to the last.
const FIRST_PAUSE: u64 = 200;
const LAST_PAUSE: u64 = 10_000;

impl Revocations {
    pub fn add(&mut self, revocation: Revocation) {
        self.next += 1;
        self.waiting.insert(self.next, (revocation, 0));
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The calls to make now, each once.
    pub fn calls_due(
        &mut self,
        service: &TokenService,
        now: Millis,
        mut next_call: impl FnMut() -> (CallId, String),
    ) -> Vec<(CallId, Call)> {
        let mut calls = Vec::new();
        for (serial, (revocation, _)) in &self.waiting {
            if revocation.due > now || self.calls.values().any(|other| other == serial) {
                continue;
            }
            let (id, unique) = next_call();
            let Revocation { token, hint, trace, .. } = revocation;
            let stamp = Stamp { unique: &unique, now };
            calls.push((id, elevation::revocation(service, token, hint, trace, &stamp)));
            self.calls.insert(id, *serial);
        }
        calls
    }

    /// When the next call is due.
    pub fn next_due(&self) -> Option<Millis> {
        let busy: Vec<u64> = self.calls.values().copied().collect();
        self.waiting.iter().filter(|(serial, _)| !busy.contains(serial)).map(|(_, (item, _))| item.due).min()
    }

    /// A call ended. `None` if it is not one of ours; `Some(None)` if there will be another.
    pub fn reply(
        &mut self,
        call: CallId,
        reply: &Result<Reply<'_>, CallFault>,
        now: Millis,
    ) -> Option<Option<(Revocation, End)>> {
        let serial = self.calls.remove(&call)?;
        let end = match reply {
            Ok(Reply { status: 200, .. }) => Some(End::Revoked),
            Ok(Reply { status: 400, body }) if is_unsupported(body) => Some(End::Unsupported),
            Ok(Reply { status: 429 | 500.., .. }) | Err(_) => None,
            Ok(_) => Some(End::Refused),
        };
        match end {
            Some(end) => Some(self.waiting.remove(&serial).map(|(revocation, _)| (revocation, end))),
            None => {
                if let Some((revocation, attempts)) = self.waiting.get_mut(&serial) {
                    let pause = FIRST_PAUSE.saturating_mul(1 << (*attempts).min(10)).min(LAST_PAUSE);
                    *attempts = attempts.saturating_add(1);
                    revocation.due = now.plus(pause);
                }
                Some(None)
            }
        }
    }

    /// Those that have died by themselves, with no call under way.
    pub fn expired(&mut self, now: Millis) -> Vec<Revocation> {
        let busy: Vec<u64> = self.calls.values().copied().collect();
        let dead: Vec<u64> = self
            .waiting
            .iter()
            .filter(|(serial, (revocation, _))| revocation.expires <= now && !busy.contains(serial))
            .map(|(serial, _)| *serial)
            .collect();
        dead.iter().filter_map(|serial| self.waiting.remove(serial)).map(|(revocation, _)| revocation).collect()
    }
}

fn is_unsupported(body: &[u8]) -> bool {
    json::read(body).is_ok_and(|body| body.get("error").and_then(Value::text) == Some("unsupported_token_type"))
}
