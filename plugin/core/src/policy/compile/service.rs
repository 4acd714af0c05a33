//! `token_service` and `token_services`: who elevates, and how we are known to it.

use super::dialect;
use crate::jose::Es256Key;
use crate::policy::document::{self, Entry, Fields, Report, Url, join, vocabulary};
use crate::policy::{Client, ClientAuthentication, Endpoint, Environment, Issuer, KeySource, TokenService};
use crate::secret::Secret;

/// The services by name, empty for the only one at the top; `None` for one that has faults.
pub(super) type Named = Vec<(String, Option<TokenService>)>;

/// P28: one for all rules, or several by name.
pub(super) fn read(
    one: Option<Entry<'_>>,
    several: Option<Entry<'_>>,
    issuers: &[Issuer],
    environment: &dyn Environment,
    report: &mut Report,
) -> Named {
    let mut services = Vec::new();
    if let (Some(_), Some(several)) = (&one, &several) {
        several.fault(report, "`token_services` beside `token_service`", "give each a name, under `token_services`");
    }
    if let Some(entry) = &one {
        services.push((String::new(), service(entry, issuers, environment, report)));
    }
    if let Some(entry) = &several {
        let named = entry.named(report).unwrap_or_default();
        if named.is_empty() {
            entry.fault(report, "no token service", "name at least one, or leave the field out");
        }
        for (name, entry) in named {
            services.push((name.to_owned(), service(&entry, issuers, environment, report)));
        }
    }
    services
}

fn service(
    entry: &Entry<'_>,
    issuers: &[Issuer],
    environment: &dyn Environment,
    report: &mut Report,
) -> Option<TokenService> {
    let fields = entry.fields(&[vocabulary::TOKEN_SERVICE], report)?;
    let place = |name: &str| issuers.iter().position(|issuer| issuer.name == name);
    let known = |entry: &Entry<'_>, report: &mut Report| {
        let name = entry.text(report)?;
        let at = place(name);
        if at.is_none() && document::no_pattern(name, entry, report) {
            return None;
        }
        if at.is_none() && !issuers.is_empty() {
            entry.fault(report, "not one of `issuers`", "its keys verify what the token service returns: add it there");
        }
        at
    };
    let issuer = fields
        .require("issuer", "name the issuer of the tokens it returns", report)
        .and_then(|entry| known(&entry, report));
    if issuer.and_then(|at| issuers.get(at)).is_some_and(|issuer| matches!(issuer.keys, KeySource::None)) {
        let help = "an elevated token is always checked by its signature: give the issuer `jwks` or `keys`";
        report.fault(&fields.path, "a token service whose issuer has no keys (P23)", help);
    }
    let subject_issuers = match fields.take("subject_issuers") {
        None => issuer.into_iter().collect(),
        Some(entry) => {
            let others = entry.some_list(report).unwrap_or_default();
            let name = issuer.and_then(|at| issuers.get(at)).map(|issuer| issuer.name.as_str());
            if !others.iter().any(|other| other.value.text() == name) {
                let help = "earlier versions sent the tokens of those that are listed only";
                report.note(&entry.path, "`issuer` counts beside `subject_issuers` (P28)", help);
            }
            // P28: beside `issuer`, which needs no mention.
            issuer.into_iter().chain(others.iter().filter_map(|item| known(item, report))).collect()
        }
    };
    let cluster = fields
        .require("cluster", "name the cluster of the proxy that leads to it", report)
        .and_then(|entry| entry.text(report));
    let token = endpoint("token", &fields, cluster, report);
    // RFC 7523 3: the issuer, or its token endpoint where the issuer has many names (P38).
    let issuer_of = issuer.and_then(|at| issuers.get(at));
    let audience = match (issuer_of, &token) {
        (Some(Issuer { family: Some(_), .. }), Some(token)) => token.url.as_str(),
        (issuer, _) => issuer.map_or("", |issuer| issuer.name.as_str()),
    };
    let revoke = match fields.take("revoke") {
        // P28: it must be written.
        Some(entry) if entry.value.text() == Some("none") => {
            let help = "name its RFC 7009 endpoint if it has one: `exp` is the only end otherwise";
            report.note(
                &entry.path,
                "a token of one call lives until its `exp`, whatever has become of the call",
                help,
            );
            Some(None)
        }
        _ => endpoint("revoke", &fields, cluster, report).map(Some),
    };
    let client = fields
        .require("client", "say who we are to it: { id: ..., auth: cluster }", report)
        .and_then(|entry| client(&entry, audience, environment, report));
    let mut time = |name, default| match fields.take(name) {
        None => Some(default),
        Some(entry) if matches!(name, "linger" | "resume") => document::duration_or_none(&entry, report),
        Some(entry) => document::duration(&entry, report),
    };
    let (timeout, late, linger, resume) = (time("timeout", 2), time("late", 30), time("linger", 0), time("resume", 10));
    let context = fields
        .take("context")
        .is_some_and(|entry| document::word(&entry.as_word(), &[("true", true)], report).unwrap_or(false));
    let (request, answer) = dialect::read(&fields, report);
    fields.finish(report);
    Some(TokenService {
        issuer: issuer?,
        subject_issuers,
        token: token?,
        revoke: revoke?,
        client: client?,
        timeout: timeout?,
        late: late?,
        linger: linger?,
        resume: resume?,
        context,
        request: request?,
        answer,
    })
}

fn endpoint(name: &'static str, fields: &Fields<'_>, cluster: Option<&str>, report: &mut Report) -> Option<Endpoint> {
    let help = format!("write the URL of its {name} endpoint");
    let entry = fields.require(name, &help, report)?;
    let text = entry.text(report)?;
    match Url::parse(text) {
        Ok(url) if url.https || url.is_loopback() => Some(Endpoint {
            cluster: cluster?.to_owned(),
            url: text.to_owned(),
            authority: url.authority,
            target: url.target,
        }),
        Ok(_) => {
            entry.fault(report, "tokens sent without TLS", "use https; only loopback may go without");
            None
        }
        Err(problem) => {
            entry.fault(report, format!("not a URL: {problem}"), help);
            None
        }
    }
}

/// P18: secrets never stand in the document, only the names of environment variables.
pub(super) fn client(
    entry: &Entry<'_>,
    issuer: &str,
    environment: &dyn Environment,
    report: &mut Report,
) -> Option<Client> {
    let fields = entry.fields(&[vocabulary::CLIENT], report)?;
    let id = fields.require("id", "write our client id", report).and_then(|entry| {
        let text = entry.text(report)?;
        document::no_pattern(text, &entry, report);
        Some(text)
    });
    let by_cluster = fields.take("auth").and_then(|entry| document::word(&entry, &[("cluster", ())], report));
    let secret = fields.take("secret_env").and_then(|entry| variable(&entry, environment, report));
    let key = fields.take("private_key_env").and_then(|entry| signing_key(&entry, environment, report));
    let path = fields.path.clone();
    fields.finish(report);
    let authentication = match (by_cluster, secret, key) {
        (Some(()), None, None) => ClientAuthentication::Cluster,
        (None, None, Some(key)) => ClientAuthentication::Key(Box::new(key), issuer.to_owned()),
        (None, Some(secret), None) => {
            let help = "prefer `auth: cluster`: the proxy's credential_injector rotates without touching this filter";
            report.warn(&join(&path, "secret_env"), "a secret in the environment shows in Envoy's config_dump", help);
            ClientAuthentication::Secret(secret)
        }
        (None, None, None) => {
            if report.faults.iter().all(|fault| !fault.path.starts_with(&path)) {
                report.fault(
                    &path,
                    "no client authentication",
                    "write `auth: cluster`, `secret_env: NAME` or `private_key_env: NAME`",
                );
            }
            return None;
        }
        _ => {
            report.fault(&path, "two client authentications", "keep one of `auth`, `secret_env` and `private_key_env`");
            return None;
        }
    };
    Some(Client { id: id?.to_owned(), authentication })
}

fn variable(entry: &Entry<'_>, environment: &dyn Environment, report: &mut Report) -> Option<Secret> {
    secret(entry, |name| environment.variable(name), report)
}

/// What the variable holds that is named here.
pub(super) fn secret(
    entry: &Entry<'_>,
    variable: impl FnOnce(&str) -> Option<String>,
    report: &mut Report,
) -> Option<Secret> {
    let name = entry.text(report)?;
    let value = variable(name).filter(|value| !value.is_empty());
    if value.is_none() {
        let help = format!("set it for Envoy and list it in vm_config.environment_variables.host_env_keys: [{name}]");
        entry.fault(report, format!("the environment variable `{name}` is missing or empty"), help);
    }
    value.map(Secret::new)
}

fn signing_key(entry: &Entry<'_>, environment: &dyn Environment, report: &mut Report) -> Option<Es256Key> {
    let text = variable(entry, environment, report)?;
    let key = Es256Key::read(text.reveal());
    if key.is_none() {
        entry.fault(report, "not an ES256 private key", "put a private JWK (EC, P-256) into the variable");
    }
    key
}
