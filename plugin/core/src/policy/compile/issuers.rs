//! `issuers`: whose tokens are accepted, and with which keys they are checked.

use std::rc::Rc;

use crate::jose::{Algorithm, DocumentFault, KeySet};
use crate::json::Value;
use crate::policy::document::{self, Entry, Fields, Report, Url, vocabulary};
use crate::policy::{Endpoint, Issuer, KeySource, TokenType};

/// Seconds. A removed key must not be trusted for longer than this when the issuer cannot be reached.
const MAX_STALE: u64 = 3600;
/// Seconds (P28).
const MIN_REFRESH: u64 = 5;
/// Seconds. Clocks differ, but not by more than this.
const MAX_LEEWAY: u64 = 60;

pub(super) fn read(entry: Option<Entry<'_>>, report: &mut Report) -> Vec<Issuer> {
    let Some(entry) = entry else { return Vec::new() };
    let Some(named) = entry.named(report) else { return Vec::new() };
    if named.is_empty() {
        entry.fault(report, "no issuer", "name at least one issuer of tokens");
    }
    named.into_iter().filter_map(|(name, entry)| issuer(name, &entry, report)).collect()
}

fn issuer(name: &str, entry: &Entry<'_>, report: &mut Report) -> Option<Issuer> {
    match Url::parse(name) {
        Ok(_) if name.contains('*') => document::no_pattern(name, entry, report),
        Ok(url) if url.https || url.is_loopback() => {}
        Ok(_) => entry.fault(report, "an issuer without TLS", "use https; only loopback may go without"),
        Err(problem) => entry.fault(report, format!("not an issuer identifier: {problem}"), "RFC 8414 2: an https URL"),
    }
    let fields = entry.fields(&[vocabulary::ISSUER], report)?;
    let keys = keys(&fields, report);
    let algorithms = algorithms(&fields, report);
    let types = [("at+jwt", TokenType::AccessToken), ("jwt", TokenType::Jwt)];
    let token_type = match fields.take("token_type") {
        None => Some(TokenType::AccessToken),
        Some(entry) => document::word(&entry, &types, report),
    };
    let max_lifetime = fields.take("max_lifetime").and_then(|entry| document::duration(&entry, report));
    let leeway = match fields.take("leeway") {
        None => 30,
        Some(entry) => {
            let leeway = document::duration(&entry, report).unwrap_or_default();
            if leeway > MAX_LEEWAY {
                entry.fault(report, "more than a minute of leeway", "synchronize the clocks; 60s is the most");
            }
            leeway
        }
    };
    let advertised = fields.take("advertised").is_none_or(|entry| match entry.value {
        Value::Bool(advertised) => *advertised,
        _ => {
            entry.fault(report, "not a boolean", "write `false`; a URL is for families of issuers, which come later");
            true
        }
    });
    fields.finish(report);
    Some(Issuer {
        name: name.to_owned(),
        advertised,
        keys: keys?,
        algorithms: algorithms?,
        token_type: token_type?,
        max_lifetime,
        leeway,
    })
}

fn keys(fields: &Fields<'_>, report: &mut Report) -> Option<KeySource> {
    match (fields.take("jwks"), fields.take("keys")) {
        (Some(entry), None) => fetched(&entry, report),
        (None, Some(entry)) => inline(&entry, report),
        (None, None) => {
            report.fault(
                &fields.path,
                "no keys",
                "write `jwks: { cluster: ..., url: ... }`, or `keys:` with a key set",
            );
            None
        }
        (Some(_), Some(entry)) => {
            entry.fault(report, "both `jwks` and `keys`", "keep one of them");
            None
        }
    }
}

fn fetched(entry: &Entry<'_>, report: &mut Report) -> Option<KeySource> {
    let fields = entry.fields(&[vocabulary::JWKS], report)?;
    let cluster = fields
        .require("cluster", "name the cluster of the proxy through which the keys are fetched", report)
        .and_then(|entry| entry.text(report));
    let url = fields.require("url", "write the issuer's `jwks_uri`", report);
    let url = url.and_then(|entry| Some((entry.text(report)?, entry)));
    let mut time = |name, default| match fields.take(name) {
        None => Some(default),
        Some(entry) => document::duration(&entry, report),
    };
    let (refresh, stale) = (time("refresh", 300), time("stale", 3600));
    if let (Some(refresh), Some(stale)) = (refresh, stale)
        && refresh >= stale
    {
        report.fault(
            &fields.path,
            "`refresh` is not shorter than `stale`",
            "keys must be renewed before they are stale",
        );
    }
    if refresh.is_some_and(|refresh| refresh < MIN_REFRESH) {
        report.fault(&fields.path, "keys that are fetched all the time", "`refresh` is at least 5s");
    }
    if stale.is_some_and(|stale| stale > MAX_STALE) {
        report.fault(&fields.path, "keys that may be older than an hour", "`stale` is at most 1h");
    }
    fields.finish(report);
    let (text, entry) = url?;
    let parsed = match Url::parse(text) {
        Ok(parsed) if parsed.https || parsed.is_loopback() => parsed,
        Ok(_) => {
            entry.fault(report, "keys fetched without TLS", "use https; only loopback may go without");
            return None;
        }
        Err(problem) => {
            entry.fault(report, format!("not a URL: {problem}"), "write the issuer's `jwks_uri`");
            return None;
        }
    };
    let endpoint = Endpoint {
        cluster: cluster?.to_owned(),
        url: text.to_owned(),
        authority: parsed.authority,
        target: parsed.target,
    };
    Some(KeySource::Fetch { endpoint, refresh: refresh?, stale: stale? })
}

fn inline(entry: &Entry<'_>, report: &mut Report) -> Option<KeySource> {
    match KeySet::from_value(entry.value) {
        Ok(set) if set.is_empty() => {
            entry.fault(report, "no key that can be used", "write a JWK set: { keys: [ ... ] } (RFC 7517 5)");
            None
        }
        Ok(set) if set.skipped() == 0 => Some(KeySource::Inline(Rc::new(set))),
        Ok(set) => {
            let problem = format!("{} of the keys cannot be used", set.skipped());
            entry.fault(report, problem, "public EC, RSA (2048 to 4096 bits) and Ed25519 keys for signatures only");
            None
        }
        Err(fault) => {
            let problem = match fault {
                DocumentFault::TooManyKeys => "more than 32 keys",
                DocumentFault::Malformed | DocumentFault::TooLarge => "not a key set",
            };
            entry.fault(report, problem, "write a JWK set: { keys: [ ... ] } (RFC 7517 5)");
            None
        }
    }
}

fn algorithms(fields: &Fields<'_>, report: &mut Report) -> Option<Vec<Algorithm>> {
    let entry = fields.require("algorithms", "list what the issuer signs with, e.g. [ES256]", report)?;
    let items = entry.list(report)?;
    if items.is_empty() {
        entry.fault(report, "no algorithm", "list what the issuer signs with, e.g. [ES256]");
    }
    let words = Algorithm::ALL.map(|algorithm| (algorithm.name(), algorithm));
    // Each of them is looked at, also after a fault.
    Some(items.iter().filter_map(|item| document::word(item, &words, report)).collect())
}
