//! From document to [`Policy`]. Every fault of the document is found in one pass.

mod built;
mod clients;
mod dialect;
mod digest;
mod introspection;
mod issuers;
mod lists;
mod modes;
mod places;
mod rules;
mod scopes;
mod servers;
mod service;
mod sessions;
mod terms;

use crate::jose::MAX_TOKEN;
use crate::json::{self, Value};
use crate::policy::document::{Entry, Fault, Fields, Report, boolean, duration, read_struct, size, vocabulary, word};
use crate::policy::{Environment, Limits, Mode, Policy, Select, Server};
use digest::digest;

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
    let policy = root
        .fields(&[vocabulary::POLICY, vocabulary::SERVER], &mut report)
        .and_then(|fields| policy(document, fields, environment, &mut report));
    match policy {
        Some(policy) if report.faults.is_empty() => {
            Ok(Policy { warnings: report.warnings, notes: report.notes, ..policy })
        }
        _ => Err(report.faults),
    }
}

/// A fault of the document as a whole.
fn whole(problem: &str, help: &str) -> Vec<Fault> {
    vec![Fault { path: String::new(), problem: problem.to_owned(), help: help.to_owned() }]
}

fn policy(
    document: &Value<'_>,
    fields: Fields<'_>,
    environment: &dyn Environment,
    report: &mut Report,
) -> Option<Policy> {
    if let Some(version) = fields.require("version", "begin with `version: 1`", report)
        && *version.value != Value::Integer(1)
    {
        version.fault(report, "not a version this filter knows", "write `version: 1`");
    }
    let issuers = fields.require("issuers", "name at least one issuer of tokens", report);
    let issuers = issuers::read(issuers, environment, report);
    let (one, several) = (fields.take("token_service"), fields.take("token_services"));
    let services = service::read(one, several, &issuers, environment, report);
    let clients = clients::read(fields.take("clients"), report);
    let scopes = scopes::Hierarchy::read(fields.take("scopes"), report);
    let limits = limits(fields.take("limits"), report);
    let tiers = rules::tiers(fields.take("tiers"), limits.max_ttl, report);
    let mode = modes::read(&fields, environment.now(), report).map(|mode| mode.unwrap_or(Mode::Enforce));
    let sessions = sessions::read(fields.take("sessions"), environment, report);
    if sessions.is_none() {
        let help = "a session can be continued by whoever knows its id and has a token; seal the ids: `sessions: { keys_env: [..] }`";
        report.note("sessions", "the ids of sessions are not sealed (P35)", help);
    }
    let several = fields.take("servers");
    let select = select(&fields, report);
    let mut context = servers::Context {
        issuers: &issuers,
        scopes,
        tiers,
        services: &services,
        max_ttl: limits.max_ttl,
        now: environment.now(),
    };
    let servers = context.read(several, &fields, report);
    rules::name_scopes(&context.tiers, &mut context.scopes);
    context.check_built(&servers, report);
    context.check_shared(&servers, report);
    context.finish(report);
    also_granted(&services, &context.scopes, report);
    let select = selected(select, &servers, report);
    fields.finish(report);
    let digest = digest(document);
    let of_server = |server: &Server| server.rules.all().iter().filter_map(|(_, rule)| rule.mode?.until()).max();
    let last_shadow = servers.iter().filter_map(of_server).max();
    Some(Policy {
        issuers,
        servers,
        select,
        services: services.into_iter().map(|(_, service)| service).collect::<Option<_>>()?,
        clients,
        mode: mode?,
        sessions,
        last_shadow,
        limits,
        digest,
        warnings: Vec::new(),
        notes: Vec::new(),
    })
}

/// P28: what a service adds unasked is nothing that the policy means.
fn also_granted(services: &service::Named, scopes: &scopes::Hierarchy, report: &mut Report) {
    for (name, service) in services {
        let place =
            if name.is_empty() { "token_service".to_owned() } else { crate::policy::join("token_services", name) };
        let also = service.iter().flat_map(|service| &service.answer.also_granted);
        for scope in also.filter(|scope| scopes.is_named(scope)) {
            let problem = format!("`{scope}` is a scope of this policy (P28)");
            report.fault(&format!("{place}.also_granted"), problem, "it would be obtained without being asked for");
        }
    }
}

/// P34: what was written, with its place.
fn select<'v>(fields: &Fields<'v>, report: &mut Report) -> Option<(Select, Entry<'v>)> {
    let entry = fields.take("select")?;
    let ways = [("metadata", Select::Metadata), ("host", Select::Host), ("path", Select::Path)];
    word(&entry, &ways, report).map(|select| (select, entry))
}

/// P34: unsaid, one server is found by its host and path, several only by the route.
fn selected(written: Option<(Select, Entry<'_>)>, servers: &[Server], report: &mut Report) -> Select {
    let Some((select, entry)) = written else {
        if servers.len() <= 1 {
            return Select::Host;
        }
        let help = "a request whose route names none is 404; earlier versions went by host and path: `select: host`";
        report.note("servers", "several servers and no `select`: the route names the server (P34)", help);
        return Select::Metadata;
    };
    if select == Select::Path {
        let all: Vec<_> =
            servers.iter().map(|server| server.addresses().map(|(_, path, query)| (path, query))).collect();
        let mut taken = Vec::new();
        let mut meets = false;
        for addresses in all {
            let own: Vec<_> = addresses.collect();
            meets |= own.iter().any(|address| taken.iter().any(|other| servers::overlap(*address, *other)));
            taken.extend(own);
        }
        if meets {
            let help = "the path alone cannot tell them apart; write `select: metadata` or `select: host`";
            entry.fault(report, "two servers at one path", help);
        } else {
            let help = "whoever reaches this listener under any name is answered as this resource";
            report.warn(&entry.path, "the host of a request is not looked at (P34)", help);
        }
    }
    select
}

fn limits(entry: Option<Entry<'_>>, report: &mut Report) -> Limits {
    let mut limits = Limits::default();
    let Some(fields) = entry.and_then(|entry| entry.fields(&[vocabulary::LIMITS], report)) else { return limits };
    for (name, limit) in [
        ("request_body", &mut limits.request_body),
        ("anonymous_body", &mut limits.anonymous_body),
        ("list", &mut limits.list),
    ] {
        if let Some(entry) = fields.take(name)
            && let Some(bytes) = size(&entry, report)
        {
            *limit = bytes;
        }
    }
    // P26: nobody without a token may send more than who has one.
    limits.anonymous_body = limits.anonymous_body.min(limits.request_body);
    let ends = [("token", true), ("unbounded", false)];
    let ends_streams = fields.take("stream").and_then(|entry| word(&entry, &ends, report));
    limits.ends_streams = ends_streams.unwrap_or(true);
    if let Some(entry) = fields.take("token")
        && let Some(bytes) = size(&entry, report)
    {
        // Envoy's own limit is 60 KiB for all headers.
        if bytes > MAX_TOKEN {
            entry.fault(report, "not a size of tokens", "write at most `60KiB`: Envoy accepts no more of all headers");
        } else {
            limits.token = bytes;
        }
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
    limits.filter_state = fields.take("filter_state").is_some_and(|entry| boolean(&entry, report));
    let counts = [
        ("exchanges", &mut limits.exchanges),
        ("exchanges_per_caller", &mut limits.exchanges_per_caller),
        ("exchange_rate", &mut limits.exchange_rate),
        ("anonymous_waiting", &mut limits.anonymous_waiting),
        ("introspections", &mut limits.introspections),
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
