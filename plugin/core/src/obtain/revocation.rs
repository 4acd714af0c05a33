//! Taking tokens back (RFC 7009): until the token service confirms it, or the token has expired by itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::ends::RevocationEnd;
use crate::http::{Call, CallFault, Reply};
use crate::json::{self, Value};
use crate::obtain::exchange::{self, Stamp};
use crate::policy::{Endpoint, TokenService};
use crate::secret::Secret;
use crate::time::Millis;

/// A token that has to go.
#[derive(Debug)]
pub(crate) struct Revocation {
    /// Who gave it: a position in the policy's token services.
    pub service: usize,
    pub token: Secret,
    pub hint: &'static str,
    /// It is dead by itself then; `None`: nobody can read when.
    pub expires: Option<Millis>,
    /// Not before.
    pub due: Millis,
    pub decision: String,
    pub trace: Vec<(&'static str, Secret)>,
}

/// A token that waits to be revoked, by the order in which it came.
pub(crate) type Serial = u32;

/// Everything that waits to be revoked.
#[derive(Debug)]
pub(crate) struct Revocations {
    waiting: BTreeMap<Serial, Box<Waiting>>,
    /// Those without a call under way, by the moment of the next one.
    due: BTreeSet<(Millis, Serial)>,
    next: Serial,
    /// Where the pauses of this VM differ from those of others.
    spread: u64,
    /// Attempts that failed since one did not: the service is down, as it seems.
    failures: u32,
    /// While it is down, nothing is tried before that moment, for whichever token.
    probe: Millis,
    /// The host refused a call in this callback; the rest is left to the next tick.
    stalled: bool,
}

#[derive(Debug)]
struct Waiting {
    revocation: Revocation,
    attempts: u32,
    /// Without the caller's trace: the service refused a request that had it.
    bare: bool,
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
/// Failures in a row after which the service is taken for down; from then on it is asked with few calls, and seldom.
const DOWN: u32 = 3;
/// Calls at a time while it is down.
const PROBES: usize = 4;
/// Milliseconds between them.
const PROBE_PAUSE: u64 = 1_000;
/// Seconds after a token's end at which it is dead by any clock, tried or not.
const CERTAINLY: u64 = 60;

impl Revocations {
    /// `spread` is random.
    pub(crate) fn new(spread: u64) -> Revocations {
        Revocations {
            waiting: BTreeMap::new(),
            due: BTreeSet::new(),
            next: 0,
            spread,
            failures: 0,
            probe: Millis(0),
            stalled: false,
        }
    }

    /// A tick: what the host refused may be tried again.
    pub(crate) fn tick(&mut self) {
        self.stalled = false;
    }

    pub(crate) fn add(&mut self, revocation: Revocation, now: Millis) {
        self.next = self.next.wrapping_add(1);
        self.due.insert((revocation.due, self.next));
        let longest = now.plus_seconds(LONGEST);
        let until = revocation.expires.map_or(longest, |expires| expires.min(longest));
        let waiting = Waiting { revocation, attempts: 0, bare: false, until };
        self.waiting.insert(self.next, Box::new(waiting));
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

    /// The calls to make now, each once, and not too many at a time: the rest is due at once again. `unique` names one each time.
    pub(crate) fn calls_due(
        &mut self,
        service: &TokenService,
        endpoint: &Endpoint,
        now: Millis,
        mut unique: impl FnMut() -> String,
    ) -> Vec<(Serial, Call)> {
        let mut calls = Vec::new();
        let down = self.failures >= DOWN;
        if self.stalled || (down && now < self.probe) {
            return calls;
        }
        let most = if down { PROBES } else { AT_ONCE };
        while let Some((_, serial)) = self.due.first().copied().filter(|(due, _)| *due <= now)
            && calls.len() < most
        {
            self.due.pop_first();
            let Some(waiting) = self.waiting.get(&serial) else { continue };
            let Waiting { revocation, bare, .. } = &**waiting;
            let stamp = Stamp { unique: &unique(), now };
            let trace = if *bare { &[] } else { revocation.trace.as_slice() };
            calls.push((
                serial,
                exchange::revocation(service, endpoint, &revocation.token, revocation.hint, trace, &stamp),
            ));
        }
        if down && !calls.is_empty() {
            self.probe = now.plus(PROBE_PAUSE);
        }
        calls
    }

    /// When the next call is due.
    pub(crate) fn next_due(&self) -> Option<Millis> {
        let first = self.due.first().map(|(due, _)| *due)?;
        Some(if self.failures >= DOWN { first.max(self.probe) } else { first })
    }

    /// A call ended. `None` if there will be another.
    pub(crate) fn reply(
        &mut self,
        serial: Serial,
        reply: &Result<Reply<'_>, CallFault>,
        now: Millis,
    ) -> Option<(Revocation, RevocationEnd)> {
        self.stalled |= matches!(reply, Err(CallFault::Refused));
        let end = match reply {
            // RFC 7009 2.2 says 200; nothing to say is as good.
            Ok(Reply { status: 200 | 204, .. }) => RevocationEnd::Revoked,
            Ok(Reply { status: 400, body }) if says(body, &["unsupported_token_type"]) => RevocationEnd::Unsupported,
            // Perhaps it is the caller's trace that makes the request malformed or too large, and not the token.
            Ok(Reply { status: 400 | 413 | 414 | 431, .. }) if self.strip(serial, now) => return None,
            // Without an error of OAuth's, it was not the service that refused, but who reads requests for it.
            Ok(Reply { status: 400, body })
                if !says(body, &["invalid_client", "unauthorized_client"]) && has_error(body) =>
            {
                RevocationEnd::Refused
            }
            // What is too large (413, 414, 431) says nothing of the token.
            Ok(Reply {
                status: 402 | 403 | 405..=407 | 409..=412 | 415..=424 | 426..=428 | 430 | 432..=499, ..
            }) => RevocationEnd::Refused,
            // RFC 7009 2.2.1: after a 503 the token must be taken for alive. Where it is us who are not accepted, the
            // credential may just be changing.
            Ok(_) | Err(_) => {
                self.retry(serial, now);
                return None;
            }
        };
        self.failures = 0;
        self.waiting.remove(&serial).map(|waiting| (waiting.revocation, end))
    }

    /// Those that have died by themselves or are given up, with no call under way and at least one made: by the token
    /// service's clock they may be alive.
    pub(crate) fn over(&mut self, now: Millis) -> Vec<(Revocation, RevocationEnd)> {
        let is_over = |waiting: &Waiting| {
            let end = if waiting.attempts > 0 { waiting.until } else { waiting.until.plus_seconds(CERTAINLY) };
            end <= now
        };
        let is_dead = |serial: &Serial| self.waiting.get(serial).is_none_or(|waiting| is_over(waiting));
        let dead: Vec<(Millis, Serial)> = self.due.iter().filter(|(_, serial)| is_dead(serial)).copied().collect();
        let bury = |(due, serial)| {
            self.due.remove(&(due, serial));
            let Waiting { revocation, .. } = *self.waiting.remove(&serial)?;
            let end = if revocation.expires.is_some_and(|expires| expires <= now) {
                RevocationEnd::Expired
            } else {
                RevocationEnd::GivenUp
            };
            Some((revocation, end))
        };
        dead.into_iter().filter_map(bury).collect()
    }

    /// Once more, later: the call failed, or the host has forgotten it.
    pub(crate) fn retry(&mut self, serial: Serial, now: Millis) {
        self.failures = self.failures.saturating_add(1);
        if let Some(waiting) = self.waiting.get_mut(&serial) {
            let pause = FIRST_PAUSE.saturating_mul(1 << waiting.attempts.min(10)).min(LAST_PAUSE);
            waiting.attempts = waiting.attempts.saturating_add(1);
            // Half to all of it: what failed together does not come back together.
            let random = mixed(self.spread ^ mixed(u64::from(serial) ^ u64::from(waiting.attempts) << 48));
            let pause = pause / 2 + random % (pause / 2 + 1);
            self.due.insert((now.plus(pause), serial));
        }
    }

    /// Leaves out the caller's trace from now on, and tries at once. False where it has been left out already, or there is none.
    fn strip(&mut self, serial: Serial, now: Millis) -> bool {
        let Some(waiting) = self.waiting.get_mut(&serial) else { return false };
        if waiting.bare || waiting.revocation.trace.is_empty() {
            return false;
        }
        waiting.bare = true;
        waiting.attempts = waiting.attempts.saturating_add(1);
        self.due.insert((now, serial));
        true
    }
}

/// The finalizer of SplitMix64: spreads, and hides nothing.
fn mixed(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// RFC 6749 5.2: an answer of the service itself.
fn has_error(body: &[u8]) -> bool {
    json::read(body).is_ok_and(|body| body.get("error").and_then(Value::text).is_some())
}

fn says(body: &[u8], errors: &[&str]) -> bool {
    json::read(body)
        .is_ok_and(|body| body.get("error").and_then(Value::text).is_some_and(|error| errors.contains(&error)))
}
