//! `issuers`: whose tokens are accepted, and with which keys they are checked.

use std::rc::Rc;

use super::introspection;

use crate::jose::{Algorithm, Dialect, DocumentFault, KeySet, Place, REFUSED};
use crate::json::Value;
use crate::policy::document::{self, Entry, Fields, Report, Url, vocabulary};
use crate::policy::issuer::Family;
use crate::policy::{Endpoint, Environment, Issuer, KeySource, TokenType, is_tenant};
use crate::text::is_scope_token;

/// Seconds. A removed key must not be trusted for longer than this when the issuer cannot be reached.
const MAX_STALE: u64 = 3600;
/// Seconds (P28).
const MIN_REFRESH: u64 = 5;
/// Seconds. Clocks differ, but not by more than this.
const MAX_LEEWAY: u64 = 60;

pub(super) fn read(entry: Option<Entry<'_>>, environment: &dyn Environment, report: &mut Report) -> Vec<Issuer> {
    let Some(entry) = entry else { return Vec::new() };
    let Some(named) = entry.named(report) else { return Vec::new() };
    if named.is_empty() {
        entry.fault(report, "no issuer", "name at least one issuer of tokens");
    }
    let mut issuers: Vec<Issuer> = Vec::new();
    for (name, entry) in named {
        let Some(issuer) = issuer(name, &entry, environment, report) else { continue };
        let meets = |other: &&Issuer| match (&issuer.family, &other.family) {
            (Some(own), Some(their)) => own.meets(their),
            _ => false,
        };
        if let Some(other) = issuers.iter().find(meets) {
            let problem = format!("a family that can meet `{}` (P38)", other.name);
            entry.fault(report, problem, "one issuer could be in both: make them one, or name it exactly");
        }
        issuers.push(issuer);
    }
    issuers
}

fn issuer(name: &str, entry: &Entry<'_>, environment: &dyn Environment, report: &mut Report) -> Option<Issuer> {
    let pattern = pattern(name);
    // As one of the family would read.
    let example = pattern.as_ref().map(|(prefix, suffix)| format!("{prefix}x{suffix}"));
    match Url::parse(example.as_deref().unwrap_or(name)) {
        _ if pattern.is_none() && document::no_pattern(name, entry, report) => {}
        Ok(url) if url.https || url.is_loopback() => {}
        Ok(_) => entry.fault(report, "an issuer without TLS", "use https; only loopback may go without"),
        Err(problem) => entry.fault(report, format!("not an issuer identifier: {problem}"), "RFC 8414 2: an https URL"),
    }
    let fields = entry.fields(&[vocabulary::ISSUER], report)?;
    let introspection = fields.take("introspection");
    let is_asked = introspection.is_some();
    let introspection = introspection.map(|entry| introspection::read(name, &entry, environment, report));
    let keys = keys(&fields, is_asked, report);
    let algorithms = match (&keys, fields.take("algorithms")) {
        (Some(KeySource::None), None) => Some(Vec::new()),
        (Some(KeySource::None), Some(entry)) => {
            entry.fault(report, "`algorithms` without keys (P23)", "every token is asked about: leave it out");
            None
        }
        _ => algorithms(&fields, report),
    };
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
    let family = family(pattern, &fields, report);
    let advertised = advertised(name, family.is_some(), &fields, report);
    let dialect = fields.take("claims").map(|entry| dialect(&entry, report)).unwrap_or_default();
    let ask = fields.take("ask").and_then(|entry| template(&entry, &["{scope}"], report));
    fields.finish(report);
    Some(Issuer {
        name: name.to_owned(),
        family,
        advertised,
        keys: keys?,
        introspection: match introspection {
            None => None,
            Some(read) => Some(read?),
        },
        algorithms: algorithms?,
        token_type: token_type?,
        dialect,
        ask,
        max_lifetime,
        leeway,
    })
}

/// P38: what stands before and after the one segment of the path that is a variable.
fn pattern(name: &str) -> Option<(String, String)> {
    let (prefix, rest) = name.split_once('{')?;
    let (variable, suffix) = rest.split_once('}')?;
    let is_path = prefix.ends_with('/') && prefix.split('/').count() > 3;
    let is_segment = is_path && (suffix.is_empty() || suffix.starts_with('/'));
    let is_name =
        !variable.is_empty() && variable.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    // RFC 8414 2: an issuer has neither query nor fragment.
    let is_only = ![prefix, suffix].iter().any(|part| part.contains(['*', '{', '}', '?', '#']));
    (is_segment && is_name && is_only).then(|| (prefix.to_owned(), suffix.to_owned()))
}

fn family(pattern: Option<(String, String)>, fields: &Fields<'_>, report: &mut Report) -> Option<Family> {
    let help = "write `tenants: { claim: tid, in: [ ... ] }`, or `any: true` in place of the list";
    let Some((prefix, suffix)) = pattern else {
        if let Some(entry) = fields.take("tenants") {
            entry.fault(report, "tenants of one issuer", "a family has its tenant in braces: https://host/{tid}/v2.0");
        }
        return None;
    };
    let tenants = fields.require("tenants", help, report)?.fields(&[vocabulary::TENANTS], report)?;
    let claim = tenants.require("claim", "name the claim that has the tenant", report);
    let claim = claim.and_then(|entry| place(&entry, report));
    let list = tenants.take("in").map(|entry| {
        let items = entry.some_list(report).unwrap_or_default();
        for item in items.iter().filter(|item| item.value.text().is_some_and(|text| !is_tenant(text))) {
            let help = "write each out: 1 to 64 letters, digits, dots and hyphens";
            item.fault(report, "not a tenant, which is one segment of the issuer's path", help);
        }
        items.iter().filter_map(|item| item.text(report)).map(str::to_owned).collect::<Vec<_>>()
    });
    let any = tenants
        .take("any")
        .map(|entry| (document::word(&entry.as_word(), &[("true", true)], report), entry.path.clone()));
    match (&list, &any) {
        (Some(_), None) => {}
        (None, Some((_, path))) => {
            let help = "whoever has a tenant there issues tokens for this policy; list those that count: `in: [ ... ]`";
            report.warn(path, "any tenant of this family counts (P38)", help);
        }
        _ => report.fault(&tenants.path, "not exactly one of `in` and `any`", help),
    }
    tenants.finish(report);
    Some(Family { prefix, suffix, claim: claim?, tenants: list })
}

/// P39, and of a family P38: what its metadata name is cannot be guessed.
fn advertised(name: &str, is_family: bool, fields: &Fields<'_>, report: &mut Report) -> Option<String> {
    let own = (!is_family).then(|| name.to_owned());
    let Some(entry) = fields.take("advertised") else { return own };
    match entry.value {
        Value::Bool(false) => None,
        Value::Bool(true) if !is_family => own,
        Value::Text(text) if is_family && document::no_pattern(text, &entry, report) => None,
        Value::Text(text) if is_family => match Url::parse(text) {
            Ok(url) if url.https || url.is_loopback() => Some(text.to_string()),
            _ => {
                entry.fault(report, "not an issuer identifier", "write the https URL that clients shall log in at");
                None
            }
        },
        _ if is_family => {
            entry.fault(report, "not a URL", "write the issuer that clients shall log in at, or `false`");
            None
        }
        _ => {
            entry.fault(report, "not a boolean", "write `false`; a URL is for families of issuers (P38)");
            None
        }
    }
}

/// P21.
fn dialect(entry: &Entry<'_>, report: &mut Report) -> Dialect {
    let Some(fields) = entry.fields(&[vocabulary::CLAIMS], report) else { return Dialect::default() };
    let mut places = |name| match fields.take(name) {
        None => Vec::new(),
        Some(entry) => {
            let items = entry.some_list(report).unwrap_or_default();
            items.iter().filter_map(|item| place(item, report)).collect()
        }
    };
    let (scope, client, subject) = (places("scope"), places("client"), places("subject"));
    let (maps_client, maps_subject) = (!client.is_empty(), !subject.is_empty());
    fields.finish(report);
    Dialect { scope, client, subject, maps_client, maps_subject }
}

fn place(entry: &Entry<'_>, report: &mut Report) -> Option<Place> {
    let place = Place::read(entry.text(report)?);
    if place.is_none() {
        let help = "a path or a URL is a JSON Pointer (RFC 6901): /realm_access/roles, /https:~1~1example.com~1roles";
        entry.fault(report, "not the name of a claim", help);
    }
    place
}

/// A scope with these variables in it, each at most once, `{scope}` exactly once.
pub(super) fn template(entry: &Entry<'_>, variables: &[&str], report: &mut Report) -> Option<String> {
    let text = entry.text(report)?;
    let rest = variables.iter().fold(text.to_owned(), |text, variable| text.replacen(variable, "x", 1));
    if !text.contains("{scope}") || !is_scope_token(&rest) || rest.contains(['{', '}']) {
        let help = format!("write {} once, and around it what a scope may have", variables.join(" and "));
        entry.fault(report, "not a template of a scope", help);
        return None;
    }
    Some(text.to_owned())
}

fn keys(fields: &Fields<'_>, is_asked: bool, report: &mut Report) -> Option<KeySource> {
    match (fields.take("jwks"), fields.take("keys")) {
        (Some(entry), None) => fetched(&entry, report),
        (None, Some(entry)) => inline(&entry, report),
        (None, None) if is_asked => Some(KeySource::None),
        (None, None) => {
            report.fault(
                &fields.path,
                "no keys",
                "write `jwks: { cluster: ..., url: ... }`, `keys:` with a key set, or `introspection`",
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
        Ok(set) => {
            let Some(skipped) = set.skipped() else { return Some(KeySource::Inline(Rc::new(set))) };
            let problem = format!("keys that cannot be used: {skipped}");
            entry.fault(report, problem, "public EC, RSA (2048 to 4096 bits) and Ed25519 keys for signatures only");
            None
        }
        Err(fault) => {
            let problem = match fault {
                DocumentFault::TooManyKeys => "more than 128 keys",
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
    // Each of them is looked at, also after a fault.
    Some(items.iter().filter_map(|item| algorithm(item, report)).collect())
}

/// P43: what is not accepted is said by its name.
fn algorithm(entry: &Entry<'_>, report: &mut Report) -> Option<Algorithm> {
    let name = entry.text(report)?;
    let known = Algorithm::from_name(name);
    if known.is_none() {
        let problem = match name {
            _ if REFUSED.contains(&name) => format!("`{name}` is not accepted (P43)"),
            "HS256" | "HS384" | "HS512" => format!("`{name}` is symmetric: whoever checks it could sign with it"),
            _ => format!("`{name}` is not known here"),
        };
        let names = Algorithm::ALL.map(|algorithm| format!("`{}`", algorithm.name())).join(", ") + " (or `Ed25519`)";
        entry.fault(report, problem, format!("let the issuer sign with one of {names}"));
    }
    known
}
