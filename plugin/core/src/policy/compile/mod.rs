//! From document to [`Policy`]. Every fault of the document is found in one pass.

mod issuers;
mod scopes;
mod servers;
mod service;
mod tools;

use sha2::{Digest as _, Sha256};

use crate::json::{self, Value};
use crate::policy::document::{Entry, Fault, Fields, Report, date, duration, read_struct, size};
use crate::policy::{Environment, Limits, Mode, Policy};

/// P18: longer documents are refused.
const MAX_DOCUMENT: usize = 1024 * 1024;

pub(crate) fn configuration(bytes: &[u8], environment: &dyn Environment) -> Result<Policy, Vec<Fault>> {
    if bytes.is_empty() {
        return Err(whole("there is no policy", "give the policy as the filter's `configuration`"));
    }
    if bytes.len() > MAX_DOCUMENT {
        return document(&Value::Null, bytes, environment);
    }
    let fault = match json::read_document(bytes) {
        Ok(value) => return document(&value, bytes, environment),
        Err(fault) => fault,
    };
    // A serialized Struct begins with 0x0a, a JSON text never has a control character after its white space.
    if let Some(value) = read_struct(bytes) {
        return document(&value, bytes, environment);
    }
    Err(match fault {
        json::Fault::DuplicateKey => whole("a field is written twice in one map", "keep one of them"),
        json::Fault::ControlInName => whole("a field's name has a control character in it", "remove it"),
        json::Fault::NotUtf8 => whole("the policy is not UTF-8", "save it as UTF-8"),
        json::Fault::TooManyMembers => whole("the policy has too many members", "split it"),
        json::Fault::TooDeep => whole("the policy is nested too deep", "a policy needs no more than ten levels"),
        json::Fault::Syntax => whole(
            "the policy is not JSON",
            "Envoy takes the policy as JSON in a StringValue, or as a Struct; convert YAML first",
        ),
    })
}

pub(crate) fn document(document: &Value<'_>, text: &[u8], environment: &dyn Environment) -> Result<Policy, Vec<Fault>> {
    if text.len() > MAX_DOCUMENT {
        return Err(whole("the policy is larger than 1 MiB", "split it: one policy for each listener"));
    }
    let mut report = Report::default();
    let root = Entry { path: String::new(), value: document };
    let policy = root.fields(&mut report).and_then(|fields| policy(fields, text, environment, &mut report));
    match policy {
        Some(policy) if report.faults.is_empty() => Ok(Policy { warnings: report.warnings, ..policy }),
        _ => Err(report.faults),
    }
}

/// A fault of the document as a whole.
fn whole(problem: &str, help: &str) -> Vec<Fault> {
    vec![Fault { path: String::new(), problem: problem.to_owned(), help: help.to_owned() }]
}

fn policy(mut fields: Fields<'_>, text: &[u8], environment: &dyn Environment, report: &mut Report) -> Option<Policy> {
    if let Some(version) = fields.require("version", "begin with `version: 1`", report)
        && *version.value != Value::Integer(1)
    {
        version.fault(report, "not a version this filter knows", "write `version: 1`");
    }
    let issuers = issuers::read(fields.require("issuers", "name at least one issuer of tokens", report), report);
    let service = fields.take("token_service");
    let has_service = service.is_some();
    let token_service = service::read(service, &issuers, environment, report);
    let scopes = scopes::Hierarchy::read(fields.take("scopes"), report);
    let limits = limits(fields.take("limits"), report);
    let tiers = tools::tiers(fields.take("tiers"), limits.max_ttl, report);
    let mode = mode(&mut fields, report);
    let several = fields.take("servers");
    let mut context = servers::Context { issuers: &issuers, scopes, tiers, has_service, max_ttl: limits.max_ttl };
    let servers = context.read(several, &mut fields, report);
    context.finish(report);
    fields.finish(report);
    let digest = crate::text::hex(&Sha256::digest(text), 6);
    Some(Policy { issuers, servers, token_service, mode: mode?, limits, digest, warnings: Vec::new() })
}

/// P15: `shadow` needs the date at which it ends.
fn mode(fields: &mut Fields<'_>, report: &mut Report) -> Option<Mode> {
    let mode = fields.take("mode");
    let until = fields.take("until");
    match mode.as_ref().map(|entry| entry.value.text()) {
        None | Some(Some("enforce")) => {
            if let Some(until) = until {
                until.fault(report, "`until` without shadow mode", "remove it, or write `mode: shadow`");
                return None;
            }
            Some(Mode::Enforce)
        }
        Some(Some("shadow")) => {
            let Some(until) = until else {
                report.fault(&fields.path, "`until` is missing", "shadow mode needs the date at which it ends");
                return None;
            };
            date(&until, report).map(|until| Mode::Shadow { until })
        }
        Some(_) => {
            mode.as_ref()?.fault(report, "not a mode", "write `enforce` or `shadow`");
            None
        }
    }
}

fn limits(entry: Option<Entry<'_>>, report: &mut Report) -> Limits {
    let mut limits = Limits::default();
    let Some(mut fields) = entry.and_then(|entry| entry.fields(report)) else { return limits };
    if let Some(entry) = fields.take("request_body")
        && let Some(bytes) = size(&entry, report)
    {
        limits.request_body = bytes;
    }
    let times = [
        ("body_wait", &mut limits.body_wait),
        ("keys_wait", &mut limits.keys_wait),
        ("verified_cache", &mut limits.verified_cache),
        ("elevation_wait", &mut limits.elevation_wait),
        ("max_ttl", &mut limits.max_ttl),
    ];
    for (name, limit) in times {
        if let Some(entry) = fields.take(name)
            && let Some(seconds) = duration(&entry, report)
        {
            *limit = seconds;
        }
    }
    let counts = [
        ("exchanges", &mut limits.exchanges),
        ("exchanges_per_caller", &mut limits.exchanges_per_caller),
        ("exchange_rate", &mut limits.exchange_rate),
    ];
    for (name, limit) in counts {
        if let Some(entry) = fields.take(name) {
            match entry.value {
                Value::Integer(count @ 1..=100_000) => *limit = usize::try_from(*count).unwrap_or(*limit),
                _ => entry.fault(report, "not a count", "write a whole number from 1 to 100000"),
            }
        }
    }
    fields.finish(report);
    limits
}
