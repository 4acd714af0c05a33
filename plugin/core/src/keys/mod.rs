//! The issuers' keys: one fetcher per process, everyone else reads what it left in shared memory.
//!
//! Every VM of the host (one per worker, one for the main thread) ticks. The VM that gets the lease fetches; the
//! others see the new document on their next look. Nothing here is secret: key documents are public.

mod lease;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::rc::Rc;

use sha2::{Digest as _, Sha256};

use crate::http::{Call, CallFault, Reply};
use crate::jose::{DocumentFault, KeySet};
use crate::policy::{Endpoint, Issuer, KeySource};
use crate::reason::Reason;
use crate::time::Millis;
use lease::{Lease, RETRY};

/// Memory that all VMs of the process share, as proxy-wasm offers it: get, and set if unchanged. Synchronous, and
/// without any way back into the filter.
pub trait Shared {
    /// The value and its version, if the slot was ever set.
    fn get(&self, slot: &str) -> Option<(Vec<u8>, u32)>;
    /// Sets the slot, if `version` is still the one it has; `None` sets it in any case. False when it was not.
    fn set(&self, slot: &str, value: &[u8], version: Option<u32>) -> bool;
}

/// How long the fetcher may take before another VM may try.
const LEASE: u64 = 5_000;
/// How long the host waits for the document.
const FETCH_TIMEOUT: u64 = 3_000;
/// The pause between attempts while there are no keys at all.
const FIRST_RETRY: u64 = 1_000;
/// Unknown `kid`s remembered for each issuer.
const MOST_KIDS: usize = 256;

/// The keys of every issuer of a policy, in the policy's order.
pub(crate) struct KeyRing {
    issuers: Vec<IssuerKeys>,
    /// 80 % to 100 % of `refresh`: spreads the VMs and the processes.
    jitter: f64,
    changes: u64,
}

struct IssuerKeys {
    source: Source,
    set: Option<Rc<KeySet>>,
    fetched_at: Millis,
    wanted: bool,
    /// Wanted for a `kid` never seen before.
    wanted_early: bool,
    /// Unknown `kid`s, by a hash, and when each was first seen.
    unknown: HashMap<u64, Millis>,
}

/// May fresh keys change what is known of a token?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fresh {
    /// A fetch is under way, or will begin.
    Coming,
    /// Nobody has asked the issuer since this key was first named, and nobody may yet.
    NotYet,
    /// The issuer was asked, or will not be.
    No,
}

enum Source {
    Inline,
    Fetched(Box<Fetched>),
}

struct Fetched {
    endpoint: Endpoint,
    refresh: u64,
    stale: u64,
    document_slot: String,
    lease_slot: String,
    /// The version of the document slot that `set` was read from.
    version: Option<u32>,
    /// A fetch is under way in this VM, under the lease that ends then.
    lease: Option<Millis>,
    /// Keys that the last document of this VM had and that cannot be used.
    skipped: Option<String>,
}

/// A fetch to begin.
pub(crate) struct Fetch {
    pub issuer: usize,
    pub lease: Millis,
    pub call: Call,
}

/// What came of a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FetchOutcome {
    /// A usable document. Of what it had to skip: what differs from the last one, and whether something is wrong with it.
    Fetched { skipped: Option<(String, bool)> },
    /// A well-formed document without a usable key: the issuer has none any more.
    Withdrawn { skipped: Option<String> },
    /// No answer, or a status other than 200.
    Unreachable,
    /// An answer that is no usable document.
    Unusable(DocumentFault),
}

impl KeyRing {
    /// `random` spreads the refresh times.
    pub(crate) fn new(issuers: &[Issuer], random: u8, shared: &dyn Shared, now: Millis) -> KeyRing {
        let jitter = 0.8 + 0.2 * f64::from(random) / 255.0;
        let mut ring = KeyRing { issuers: issuers.iter().map(IssuerKeys::new).collect(), jitter, changes: 0 };
        for fetched in ring.issuers.iter().filter_map(IssuerKeys::fetched) {
            // There is no atomic create. Made here, before any VM ticks, the slot has a version to compare with.
            if Lease::read(shared, &fetched.lease_slot, now).is_none() {
                shared.set(&fetched.lease_slot, &Lease::default().bytes(), None);
            }
        }
        ring.look(shared, now);
        ring
    }

    /// The keys to check with now.
    pub(crate) fn current(&self, issuer: usize, now: Millis) -> Result<&KeySet, Reason> {
        let keys = self.issuers.get(issuer).ok_or(Reason::Internal)?;
        let set = keys.set.as_deref().filter(|set| !set.is_empty()).ok_or(Reason::KeysUnavailable)?;
        match keys.fetched() {
            Some(fetched) if now > keys.fetched_at.plus_seconds(fetched.stale) => Err(Reason::KeysStale),
            _ => Ok(set),
        }
    }

    /// Reads what other VMs left.
    pub(crate) fn look(&mut self, shared: &dyn Shared, now: Millis) {
        for keys in &mut self.issuers {
            self.changes += u64::from(keys.look(shared, now));
        }
    }

    /// Grows whenever any issuer's keys are new.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// A token names a key we do not have (`unknown`), or a signature fails: ask for fresh keys.
    pub(crate) fn want(&mut self, issuer: usize, unknown: Option<&str>, shared: &dyn Shared, now: Millis) -> Fresh {
        let Some(keys) = self.issuers.get_mut(issuer) else { return Fresh::No };
        let Some((lease, _)) = keys.fetched().and_then(|fetched| Lease::read(shared, &fetched.lease_slot, now)) else {
            return Fresh::No;
        };
        let first_seen = unknown.map(|kid| keys.first_seen(kid, now));
        keys.wanted = lease.allows(keys.pause(), now);
        if keys.wanted || lease.is_held(now) {
            return Fresh::Coming;
        }
        match first_seen {
            None => Fresh::No,
            Some(seen) if seen < keys.fetched_at => Fresh::No,
            Some(_) if lease.allows_early(now) => {
                keys.wanted_early = true;
                Fresh::Coming
            }
            Some(_) => Fresh::NotYet,
        }
    }

    /// The fetches to begin now: those that are due and whose lease this VM gets.
    pub(crate) fn fetch_due(&mut self, shared: &dyn Shared, now: Millis) -> Vec<Fetch> {
        let jitter = self.jitter;
        let mut fetches = Vec::new();
        for (issuer, keys) in self.issuers.iter_mut().enumerate() {
            // A clock that was set back must not make old keys look fresh until it has caught up.
            keys.fetched_at = keys.fetched_at.min(now);
            let due = keys.is_due(jitter, now);
            let pause = keys.pause();
            let Source::Fetched(fetched) = &mut keys.source else { continue };
            // A call that is older than its lease will not be answered any more.
            if !due || fetched.lease.is_some_and(|until| now < until) {
                continue;
            }
            let Some((lease, version)) = Lease::read(shared, &fetched.lease_slot, now) else { continue };
            if lease.is_held(now) {
                continue;
            }
            let regular = lease.allows(pause, now);
            let early = keys.wanted_early && lease.allows_early(now);
            if !(regular || early) {
                (keys.wanted, keys.wanted_early) = (false, false);
                continue;
            }
            let until = now.plus(LEASE);
            let half_minute = now.0 / RETRY;
            let spent = if lease.half_minute == half_minute { lease.early } else { 0 } + u64::from(!regular);
            let mine = Lease { attempted_at: now.0, until: until.0, half_minute, early: spent };
            if !shared.set(&fetched.lease_slot, &mine.bytes(), Some(version)) {
                continue;
            }
            fetched.lease = Some(until);
            (keys.wanted, keys.wanted_early) = (false, false);
            fetches.push(Fetch { issuer, lease: until, call: fetched.endpoint.get(FETCH_TIMEOUT) });
        }
        fetches
    }

    /// The fetch under that lease ended. `None` when another one has begun since.
    pub(crate) fn fetched(
        &mut self,
        issuer: usize,
        lease: Millis,
        reply: &Result<Reply<'_>, CallFault>,
        shared: &dyn Shared,
        now: Millis,
    ) -> Option<FetchOutcome> {
        let Source::Fetched(fetched) = &mut self.issuers.get_mut(issuer)?.source else { return None };
        fetched.lease.take_if(|until| *until == lease)?;
        let outcome = match reply {
            Ok(Reply { status: 200, body }) => match KeySet::read(body) {
                Ok(set) => {
                    let document = [&now.0.to_be_bytes()[..], body].concat();
                    shared.set(&fetched.document_slot, &document, None);
                    let skipped = set.skipped();
                    let is_news = std::mem::replace(&mut fetched.skipped, skipped.clone()) != skipped;
                    if set.is_empty() {
                        FetchOutcome::Withdrawn { skipped }
                    } else {
                        let skipped = skipped.filter(|_| is_news).map(|text| (text, !set.skips_as_usual()));
                        FetchOutcome::Fetched { skipped }
                    }
                }
                Err(fault) => FetchOutcome::Unusable(fault),
            },
            // Redirects are failures like any other: the URL in the policy is the one to ask.
            _ => FetchOutcome::Unreachable,
        };
        // Not the lease of a VM that took over because this answer was late.
        if let Some((written, version)) = Lease::read(shared, &fetched.lease_slot, now)
            && written.until == lease.0
        {
            let done = Lease { until: 0, ..written };
            shared.set(&fetched.lease_slot, &done.bytes(), Some(version));
        }
        self.look(shared, now);
        Some(outcome)
    }

    /// Gives the leases of fetches under way back: who makes way for a successor may not live to see their answers.
    pub(crate) fn release(&self, shared: &dyn Shared, now: Millis) {
        for fetched in self.issuers.iter().filter_map(IssuerKeys::fetched) {
            let Some(until) = fetched.lease else { continue };
            if let Some((lease, version)) = Lease::read(shared, &fetched.lease_slot, now)
                && lease.until == until.0
            {
                let free = Lease { attempted_at: 0, until: 0, ..lease };
                shared.set(&fetched.lease_slot, &free.bytes(), Some(version));
            }
        }
    }

    /// Issuers whose keys are fetched, with their age in seconds, if there are any.
    pub(crate) fn ages(&self, now: Millis) -> impl Iterator<Item = (usize, u64)> {
        self.issuers
            .iter()
            .enumerate()
            .filter(|(_, keys)| keys.fetched().is_some() && keys.set.is_some())
            .map(move |(position, keys)| (position, now.0.saturating_sub(keys.fetched_at.0) / 1000))
    }

    /// True while an issuer has no keys, or somebody waits for fresh ones: then looking often is worth it.
    pub(crate) fn is_impatient(&self) -> bool {
        self.issuers.iter().any(|keys| keys.wanted || keys.wanted_early || keys.set.is_none())
    }
}

impl IssuerKeys {
    fn new(issuer: &Issuer) -> IssuerKeys {
        let (source, set) = match &issuer.keys {
            KeySource::Inline(set) => (Source::Inline, Some(Rc::clone(set))),
            KeySource::None => (Source::Inline, Some(Rc::new(KeySet::default()))),
            KeySource::Fetch { endpoint, refresh, stale } => {
                // The slot names what is fetched, so that policies that differ in it do not read each other's keys.
                let name = [&issuer.name, &endpoint.cluster, &endpoint.url].map(String::as_str).join("\n");
                let name = crate::text::hex(&Sha256::digest(name), 8);
                let fetched = Fetched {
                    endpoint: endpoint.clone(),
                    refresh: *refresh,
                    stale: *stale,
                    // 2: the format of what is stored. Two module versions run side by side during a rollout.
                    document_slot: format!("stepup/2/keys/{name}/document"),
                    lease_slot: format!("stepup/2/keys/{name}/lease"),
                    version: None,
                    lease: None,
                    skipped: None,
                };
                (Source::Fetched(Box::new(fetched)), None)
            }
        };
        IssuerKeys { source, set, fetched_at: Millis(0), wanted: false, wanted_early: false, unknown: HashMap::new() }
    }

    fn fetched(&self) -> Option<&Fetched> {
        match &self.source {
            Source::Inline => None,
            Source::Fetched(fetched) => Some(fetched),
        }
    }

    /// Between attempts. P28: a `refresh` that is shorter is kept as it is written.
    fn pause(&self) -> u64 {
        let refresh = self.fetched().map_or(RETRY, |fetched| fetched.refresh.saturating_mul(1_000));
        if self.set.is_none() { FIRST_RETRY } else { RETRY.min(refresh) }
    }

    fn is_due(&self, jitter: f64, now: Millis) -> bool {
        let Some(fetched) = self.fetched() else { return false };
        let refresh = (fetched.refresh as f64 * jitter * 1000.0) as u64;
        self.wanted || self.wanted_early || self.set.is_none() || now >= self.fetched_at.plus(refresh)
    }

    /// When this unknown `kid` was first named.
    fn first_seen(&mut self, kid: &str, now: Millis) -> Millis {
        if self.unknown.len() >= MOST_KIDS {
            self.unknown.clear();
        }
        *self.unknown.entry(hash(kid)).or_insert(now)
    }

    /// What the issuer had and has no longer is no news.
    fn remember_removed(&mut self, new: &KeySet) {
        let Some(old) = &self.set else { return };
        let removed = old.ids().filter(|id| !new.ids().any(|kept| kept == *id));
        self.unknown.extend(removed.map(|id| (hash(id), Millis(0))));
    }

    fn look(&mut self, shared: &dyn Shared, now: Millis) -> bool {
        let Source::Fetched(fetched) = &mut self.source else { return false };
        let Some((document, version)) = shared.get(&fetched.document_slot) else { return false };
        if fetched.version == Some(version) {
            return false;
        }
        fetched.version = Some(version);
        let Some((time, body)) = document.split_first_chunk::<8>() else { return false };
        let Ok(set) = KeySet::read(body) else { return false };
        self.fetched_at = Millis(u64::from_be_bytes(*time)).min(now);
        self.wanted = false;
        self.remember_removed(&set);
        let generation = self.set.as_ref().map_or(0, |old| old.generation());
        self.set = Some(Rc::new(set.with_generation(generation + 1)));
        true
    }
}

fn hash(kid: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    kid.hash(&mut hasher);
    hasher.finish()
}
