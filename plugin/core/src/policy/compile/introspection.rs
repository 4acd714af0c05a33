//! `introspection` of an issuer: whom to ask about its tokens (P23).

use super::service;
use crate::json::Value;
use crate::policy::document::{self, Entry, Report, Url, vocabulary};
use crate::policy::{Endpoint, Environment, Introspection};

/// Seconds.
const DEFAULT_CACHE: u64 = 30;
const MOST_CACHE: u64 = 60;
/// Questions a second.
const DEFAULT_RATE: u32 = 20;

pub(super) fn read(
    issuer: &str,
    entry: &Entry<'_>,
    environment: &dyn Environment,
    report: &mut Report,
) -> Option<Introspection> {
    let fields = entry.fields(&[vocabulary::INTROSPECTION], report)?;
    let cluster = fields
        .require("cluster", "name the cluster of the proxy that leads to it", report)
        .and_then(|entry| entry.text(report));
    let endpoint = fields.require("url", "write the URL of its introspection endpoint", report).and_then(|entry| {
        let text = entry.text(report)?;
        match Url::parse(text) {
            Ok(url) if url.https || url.is_loopback() => Some((text, url)),
            _ => {
                entry.fault(report, "not an endpoint", "write its https URL; only loopback may go without TLS");
                None
            }
        }
    });
    let help = "say who we are to it, `{ id: ..., auth: cluster }`, or `none` if it does not ask";
    let client = fields.require("client", help, report).and_then(|entry| {
        if entry.value.text() == Some("none") {
            let help = "whoever reaches it learns what a token may; RFC 7662 2.1 wants authentication";
            report.warn(&entry.path, "introspection without authentication (P23)", help);
            return Some(None);
        }
        service::client(&entry, issuer, environment, report).map(Some)
    });
    let cache = fields.take("cache").map_or(Some(DEFAULT_CACHE), |entry| {
        let seconds = document::duration_or_none(&entry, report);
        if seconds.is_some_and(|seconds| seconds > MOST_CACHE) {
            entry.fault(report, "answers that are remembered for more than a minute", "`cache` is 0s to 60s");
        }
        seconds
    });
    let ways = [("required", true), ("not_said", false)];
    let needs_audience = fields.take("audience").and_then(|entry| {
        let needs = document::word(&entry, &ways, report);
        if needs == Some(false) {
            let help = "whatever this issuer gives its users for other services opens this one too";
            report.warn(&entry.path, "tokens that do not say for whom they are (P23)", help);
        }
        needs
    });
    let rate = fields.take("rate").map_or(Some(DEFAULT_RATE), |entry| match entry.value {
        Value::Integer(rate @ 1..=100_000) => u32::try_from(*rate).ok(),
        _ => {
            entry.fault(report, "not a count", "write a whole number from 1 to 100000");
            None
        }
    });
    fields.finish(report);
    let (text, url) = endpoint?;
    let endpoint =
        Endpoint { cluster: cluster?.to_owned(), url: text.to_owned(), authority: url.authority, target: url.target };
    let needs_audience = needs_audience.unwrap_or(true);
    Some(Introspection { endpoint, client: client?, cache: cache?, needs_audience, rate: rate? })
}
