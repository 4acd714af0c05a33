//! What else of a policy an auditor must see: whose tokens count, and what guards them.

use crate::jose::{Algorithm, Place};
use crate::policy::service::ClientAuthentication;
use crate::policy::{Issuer, KeySource, Limits, Policy, Server, TokenService, TokenType};
use crate::time::Millis;

/// One thing that a policy says beside its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// What it is about: an issuer, a token service, a server; the policy itself where it is empty.
    pub about: String,
    /// What it is.
    pub name: &'static str,
    /// What is said, in words; empty: nothing.
    pub value: Vec<String>,
    /// Which way is weaker.
    pub direction: Direction,
    /// To compare by, where it is a number. `None`: there is no bound.
    pub number: Option<u64>,
}

/// Which of two values asks less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The larger number; none at all is the largest.
    Larger,
    /// The list with more in it.
    More,
    /// The list with less in it.
    Fewer,
    /// Neither: it is another one.
    Neither,
}

/// Of the policy as a whole, its issuers and its token services.
pub(in crate::policy) fn of_policy(policy: &Policy, now: Millis) -> Vec<Setting> {
    let mut all = vec![
        texts("", "issuers", policy.issuers.iter().map(|issuer| issuer.name.clone()), Direction::More),
        texts("", "shadow mode", shadow(policy, now), Direction::More),
        texts("", "sealed session ids", policy.sessions.iter().map(|_| "sealed".to_owned()), Direction::Fewer),
        texts("", "how a server is found", [format!("{:?}", policy.select).to_lowercase()], Direction::Neither),
    ];
    all.extend(limits(&policy.limits));
    policy.issuers.iter().for_each(|issuer| all.extend(of_issuer(issuer)));
    let services: Vec<String> = policy.services.iter().map(|service| service.token.url.clone()).collect();
    all.push(texts("", "token services", services, Direction::Neither));
    policy.services.iter().for_each(|service| all.extend(of_service(policy, service)));
    all
}

/// Of one server, beside its rules.
pub(in crate::policy) fn of_server(policy: &Policy, server: &Server) -> Vec<Setting> {
    let about = format!("server {}", server.name);
    let about = about.as_str();
    let issuer = |at: &usize| policy.issuer_at(*at).map(|issuer| issuer.name.clone());
    let flag = |is: bool, text: &str| is.then(|| text.to_owned());
    let places = server.places.iter().map(|place| match &place.query {
        Some(query) => format!("{}?{query}", place.path),
        None => place.path.clone(),
    });
    let introspects = server.introspects.iter().filter_map(issuer);
    let pins = server.pins.digests.iter().map(|(name, digest)| format!("{name} {}", crate::text::hex(digest, 8)));
    vec![
        texts(about, "resource", [server.resource.clone()], Direction::Neither),
        texts(about, "audiences", server.audiences.keys().map(str::to_owned), Direction::More),
        texts(about, "paths", places, Direction::More),
        texts(about, "issuers that count", server.issuers.iter().filter_map(issuer), Direction::More),
        texts(about, "issuer that is asked about tokens", introspects, Direction::Neither),
        texts(about, "origins of browser clients", server.origins.clone(), Direction::More),
        texts(about, "peers believed about their clients", server.source_from.clone(), Direction::More),
        texts(about, "headers that are removed", server.remove_headers.clone(), Direction::Fewer),
        texts(about, "pinned tools", pins, Direction::Fewer),
        texts(about, "tools without a pin", flag(server.pins.hides_others, "hidden and denied"), Direction::Fewer),
        texts(about, "lists", flag(server.filters_lists, "show what the caller can reach"), Direction::Fewer),
    ]
}

fn of_issuer(issuer: &Issuer) -> Vec<Setting> {
    let about = format!("issuer {}", issuer.name);
    let about = about.as_str();
    let keys = match &issuer.keys {
        KeySource::None => Vec::new(),
        KeySource::Inline(_) => vec!["written in the policy".to_owned()],
        KeySource::Fetch { endpoint, .. } => vec![format!("{} by {}", endpoint.url, endpoint.cluster)],
    };
    let algorithms = issuer.algorithms.iter().map(|algorithm: &Algorithm| algorithm.name().to_owned());
    let untyped = (issuer.token_type == TokenType::Jwt).then(|| "JWT, or none".to_owned());
    let asked = issuer.introspection.as_ref();
    let unsaid = asked.filter(|asked| !asked.needs_audience).map(|_| "need not be said".to_owned());
    let tenants = issuer.family.as_ref().map(|family| family.tenants.clone());
    let any = matches!(tenants, Some(None)).then(|| "any".to_owned());
    let claims =
        [("scope", &issuer.dialect.scope), ("client", &issuer.dialect.client), ("subject", &issuer.dialect.subject)];
    let claims = claims.into_iter().filter(|(_, places)| !places.is_empty());
    let claims = claims
        .map(|(name, places)| format!("{name} in {}", places.iter().map(Place::text).collect::<Vec<_>>().join(", ")));
    let stale = match &issuer.keys {
        KeySource::Fetch { stale, .. } => Some(*stale),
        KeySource::None | KeySource::Inline(_) => Some(0),
    };
    vec![
        texts(about, "keys", keys, Direction::Neither),
        texts(about, "algorithms", algorithms, Direction::More),
        seconds(about, "longest life of a token", issuer.max_lifetime),
        seconds(about, "leeway of clocks", Some(issuer.leeway)),
        seconds(about, "how long keys are used that cannot be fetched", stale),
        texts(about, "types of tokens beside at+jwt", untyped, Direction::More),
        texts(about, "introspection", asked.map(|asked| asked.endpoint.url.clone()), Direction::Neither),
        texts(about, "audience in an introspection", unsaid, Direction::More),
        texts(about, "any tenant", any, Direction::More),
        texts(about, "tenants", tenants.flatten().unwrap_or_default(), Direction::More),
        texts(about, "where its tokens say scope, client and subject", claims, Direction::Neither),
    ]
}

fn of_service(policy: &Policy, service: &TokenService) -> Vec<Setting> {
    let about = format!("token service {}", service.token.url);
    let about = about.as_str();
    let issuer = |at: &usize| policy.issuer_at(*at).map(|issuer| issuer.name.clone());
    let how = match service.client.authentication {
        ClientAuthentication::Cluster => "by the cluster",
        ClientAuthentication::Secret(_) => "by a secret",
        ClientAuthentication::Key(..) => "by a private key",
    };
    let answer = &service.answer;
    let aliases = answer.audience_aliases.iter().map(|(name, others)| format!("{name} = {}", others.join(" ")));
    vec![
        texts(about, "issuer of what it gives", issuer(&service.issuer), Direction::Neither),
        texts(about, "client", [format!("{}, {how}", service.client.id)], Direction::Neither),
        texts(about, "cluster", [service.token.cluster.clone()], Direction::Neither),
        texts(about, "revocation", service.revoke.iter().map(|revoke| revoke.url.clone()), Direction::Fewer),
        texts(
            about,
            "issuers whose tokens it gets",
            service.subject_issuers.iter().filter_map(issuer),
            Direction::More,
        ),
        texts(about, "scopes that it may add", answer.also_granted.clone(), Direction::More),
        texts(about, "audiences that it may add", answer.also_audience.clone(), Direction::More),
        texts(about, "other names of audiences", aliases, Direction::More),
        texts(about, "is told of the operation", service.context.then(|| "yes".to_owned()), Direction::Neither),
        texts(
            about,
            "how it is asked",
            [format!("{:?}, {:?}", service.request.grant, service.request.target)],
            Direction::Neither,
        ),
        seconds(about, "how long a token outlives a broken stream", Some(service.linger)),
        seconds(about, "how long a token outlives a paused stream", Some(service.resume)),
    ]
}

fn limits(limits: &Limits) -> Vec<Setting> {
    let number = |name: &'static str, number: usize| Setting {
        about: String::new(),
        name,
        value: vec![number.to_string()],
        direction: Direction::Larger,
        number: u64::try_from(number).ok(),
    };
    let unbounded = (!limits.ends_streams).then(|| "outlive their token".to_owned());
    vec![
        seconds("", "longest life of an elevated token (limits.max_ttl)", Some(limits.max_ttl)),
        seconds("", "time until a token is verified again (limits.verified_cache)", Some(limits.verified_cache)),
        texts("", "streams that a client listens to (limits.stream)", unbounded, Direction::More),
        number("bytes of a request (limits.request_body)", limits.request_body),
        number("bytes of a token (limits.token)", limits.token),
        number("exchanges under way (limits.exchanges)", limits.exchanges),
        number("exchanges of one caller under way (limits.exchanges_per_caller)", limits.exchanges_per_caller),
        number("exchanges of one caller in a minute (limits.exchange_rate)", limits.exchange_rate),
    ]
}

/// Only that it is so: until when is told at the rules.
fn shadow(policy: &Policy, now: Millis) -> Option<String> {
    policy.mode.is_shadow(now).then(|| "nothing is enforced but where a rule says so".to_owned())
}

fn texts(about: &str, name: &'static str, value: impl IntoIterator<Item = String>, direction: Direction) -> Setting {
    let mut value: Vec<String> = value.into_iter().collect();
    value.sort();
    value.dedup();
    Setting { about: about.to_owned(), name, value, direction, number: None }
}

fn seconds(about: &str, name: &'static str, number: Option<u64>) -> Setting {
    let value = number.iter().map(|seconds| format!("{seconds} s")).collect();
    Setting { about: about.to_owned(), name, value, direction: Direction::Larger, number }
}
