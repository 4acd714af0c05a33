//! Taking tokens back (RFC 7009): until the token service confirms it, or the token has expired by itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::http::{Call, CallFault, CallId, Reply};
use crate::json::{self, Value};
use crate::obtain::exchange::{self, Stamp};
use crate::policy::TokenService;
use crate::secret::Secret;
use crate::time::Millis;

/// A token that has to go.
#[derive(Debug)]
pub(crate) struct Revocation {
    pub token: Secret,
    pub hint: &'static str,
    /// It is dead by itself then; `None`: nobody can read when.
    pub expires: Option<Millis>,
    /// Not before.
    pub due: Millis,
    pub decision: String,
    pub trace: Vec<(&'static str, Secret)>,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RevocationEnd {
    Revoked,
    /// RFC 7009 2.2.1: the service cannot revoke such tokens; `exp` is the end.
    Unsupported,
    /// The service refused for good.
    Refused,
    /// It was alive until its `exp`.
    Expired,
    /// It may be alive still.
    GivenUp,
}

impl RevocationEnd {
    pub(crate) fn name(self) -> &'static str {
        match self {
            RevocationEnd::Revoked => "revoked",
            RevocationEnd::Unsupported => "unsupported",
            RevocationEnd::Refused => "refused",
            RevocationEnd::Expired => "expired",
            RevocationEnd::GivenUp => "given_up",
        }
    }
}

/// Everything that waits to be revoked.
#[derive(Debug, Default)]
pub(crate) struct Revocations {
    waiting: BTreeMap<u64, Waiting>,
    /// Those without a call under way, by the moment of the next one.
    due: BTreeSet<(Millis, u64)>,
    /// The calls under way: for which token, and until when the host should have answered.
    calls: BTreeMap<CallId, (u64, Millis)>,
    next: u64,
}

#[derive(Debug)]
struct Waiting {
    revocation: Revocation,
    attempts: u32,
    /// Not tried any more then.
    until: Millis,
}

/// The first pause after a failure, in milliseconds; it doubles up to the last.
const FIRST_PAUSE: u64 = 200;
const LAST_PAUSE: u64 = 10_000;
/// Seconds after which a token is given up that says it lives longer, or does not say.
const LONGEST: u64 = 24 * 3600;
/// Calls begun in one callback: other requests of the worker wait meanwhile.
const AT_ONCE: usize = 64;
/// A call that nobody answers is given up this long after the host should have done so.
const GRACE: u64 = 5_000;

impl Revocations {
    pub(crate) fn add(&mut self, revocation: Revocation, now: Millis) {
        self.next += 1;
        self.due.insert((revocation.due, self.next));
        let longest = now.plus_seconds(LONGEST);
        let until = revocation.expires.map_or(longest, |expires| expires.min(longest));
        self.waiting.insert(self.next, Waiting { revocation, attempts: 0, until });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Is that token waiting here?
    pub(crate) fn contains(&self, token: &Secret) -> bool {
        self.waiting.values().any(|waiting| waiting.revocation.token == *token)
    }

    /// The calls to make now, each once, and not too many at a time: the rest is due at once again.
    pub(crate) fn calls_due(
        &mut self,
        service: &TokenService,
        now: Millis,
        mut next_call: impl FnMut() -> (CallId, String),
    ) -> Vec<(CallId, Call)> {
        let mut calls = Vec::new();
        while let Some((_, serial)) = self.due.first().copied().filter(|(due, _)| *due <= now)
            && calls.len() < AT_ONCE
        {
            self.due.pop_first();
            let Some(Waiting { revocation, .. }) = self.waiting.get(&serial) else { continue };
            let (id, unique) = next_call();
            let stamp = Stamp { unique: &unique, now };
            let call = exchange::revocation(service, &revocation.token, revocation.hint, &revocation.trace, &stamp);
            calls.push((id, call));
            self.calls.insert(id, (serial, now.plus_seconds(service.timeout).plus(GRACE)));
        }
        calls
    }

    /// When the next call is due.
    pub(crate) fn next_due(&self) -> Option<Millis> {
        self.due.first().map(|(due, _)| *due)
    }

    /// A call ended. `None` if it is not one of ours; `Some(None)` if there will be another.
    pub(crate) fn reply(
        &mut self,
        call: CallId,
        reply: &Result<Reply<'_>, CallFault>,
        now: Millis,
    ) -> Option<Option<(Revocation, RevocationEnd)>> {
        let (serial, _) = self.calls.remove(&call)?;
        let end = match reply {
            // RFC 7009 2.2 says 200; nothing to say is as good.
            Ok(Reply { status: 200 | 204, .. }) => RevocationEnd::Revoked,
            Ok(Reply { status: 400, body }) if says(body, &["unsupported_token_type"]) => RevocationEnd::Unsupported,
            Ok(Reply { status: 400, body }) if !says(body, &["invalid_client", "unauthorized_client"]) => {
                RevocationEnd::Refused
            }
            Ok(Reply { status: 402 | 403 | 405..=407 | 409..=424 | 426..=428 | 430..=499, .. }) => {
                RevocationEnd::Refused
            }
            // RFC 7009 2.2.1: after a 503 the token must be taken for alive. Where it is us who are not accepted, the
            // credential may just be changing.
            Ok(_) | Err(_) => {
                self.retry(serial, now);
                return Some(None);
            }
        };
        Some(self.waiting.remove(&serial).map(|waiting| (waiting.revocation, end)))
    }

    /// Those that have died by themselves or are given up, with no call under way and at least one made: by the token
    /// service's clock they may be alive. A call that the host forgot counts as failed.
    pub(crate) fn over(&mut self, now: Millis) -> Vec<(Revocation, RevocationEnd)> {
        let forgotten: Vec<u64> =
            self.calls.extract_if(.., |_, (_, until)| *until <= now).map(|(_, (serial, _))| serial).collect();
        for serial in forgotten {
            self.retry(serial, now);
        }
        let is_over = |waiting: &Waiting| waiting.attempts > 0 && waiting.until <= now;
        let is_dead = |serial: &u64| self.waiting.get(serial).is_none_or(is_over);
        let dead: Vec<(Millis, u64)> = self.due.iter().filter(|(_, serial)| is_dead(serial)).copied().collect();
        let bury = |(due, serial)| {
            self.due.remove(&(due, serial));
            let Waiting { revocation, .. } = self.waiting.remove(&serial)?;
            let end = if revocation.expires.is_some_and(|expires| expires <= now) {
                RevocationEnd::Expired
            } else {
                RevocationEnd::GivenUp
            };
            Some((revocation, end))
        };
        dead.into_iter().filter_map(bury).collect()
    }

    fn retry(&mut self, serial: u64, now: Millis) {
        if let Some(waiting) = self.waiting.get_mut(&serial) {
            let pause = FIRST_PAUSE.saturating_mul(1 << waiting.attempts.min(10)).min(LAST_PAUSE);
            waiting.attempts = waiting.attempts.saturating_add(1);
            self.due.insert((now.plus(pause), serial));
        }
    }
}

fn says(body: &[u8], errors: &[&str]) -> bool {
    json::read(body)
        .is_ok_and(|body| body.get("error").and_then(Value::text).is_some_and(|error| errors.contains(&error)))
}
