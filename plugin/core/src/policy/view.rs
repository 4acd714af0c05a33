//! A policy to look at: what tools around the filter need to know of it, and nothing they could change.

use std::collections::BTreeSet;

use crate::policy::review::{self, Need, Setting, Who};
use crate::policy::{Endpoint, Issuer, KeySource, Kind, Place, Policy, Rule, Select, Server, TokenService};
use crate::time::Millis;

/// A policy as it was understood, in its own order.
#[derive(Clone, Copy, Debug)]
pub struct View<'p>(&'p Policy);

/// One of its servers.
#[derive(Clone, Copy, Debug)]
pub struct ServerView<'p> {
    policy: &'p Policy,
    server: &'p Server,
}

/// One of its rules.
#[derive(Clone, Copy, Debug)]
pub struct RuleView<'p> {
    /// What it is about.
    pub kind: Kind,
    rule: &'p Rule,
}

/// One of its issuers.
#[derive(Clone, Copy, Debug)]
pub struct IssuerView<'p>(&'p Issuer);

/// An endpoint behind a cluster of the host.
#[derive(Clone, Copy, Debug)]
pub struct EndpointView<'p>(&'p Endpoint);

/// Its token service.
#[derive(Clone, Copy, Debug)]
pub struct ServiceView<'p> {
    policy: &'p Policy,
    service: &'p TokenService,
}

impl Policy {
    /// To look at.
    pub fn view(&self) -> View<'_> {
        View(self)
    }
}

impl<'p> View<'p> {
    /// In the order of the document.
    pub fn servers(self) -> impl ExactSizeIterator<Item = ServerView<'p>> {
        self.0.servers.iter().map(move |server| ServerView { policy: self.0, server })
    }

    /// In the order of the document.
    pub fn issuers(self) -> impl ExactSizeIterator<Item = IssuerView<'p>> {
        self.0.issuers.iter().map(IssuerView)
    }

    /// Who exchanges and revokes tokens, in the order of the document.
    pub fn token_services(self) -> impl ExactSizeIterator<Item = ServiceView<'p>> {
        self.0.services.iter().map(move |service| ServiceView { policy: self.0, service })
    }

    /// P34: must routes name their server, since nothing else says which of several is meant?
    pub fn needs_named_routes(self) -> bool {
        self.0.select == Select::Metadata && self.0.servers.len() > 1
    }

    /// The callers that it tells apart.
    pub fn callers(self) -> BTreeSet<Who> {
        review::callers(self.0)
    }

    /// What it says beside rules and servers.
    pub fn settings(self, now: Millis) -> Vec<Setting> {
        review::of_policy(self.0, now)
    }

    /// Every cluster of the host that something is fetched from or sent to.
    pub fn clusters(self) -> BTreeSet<&'p str> {
        self.endpoints().map(EndpointView::cluster).collect()
    }

    /// Everything that is fetched from or sent to, cluster and URL.
    pub fn endpoints(self) -> impl Iterator<Item = EndpointView<'p>> {
        let keys = self.issuers().flat_map(|issuer| [issuer.keys(), issuer.introspection()]).flatten();
        let services = self.token_services().flat_map(|service| [Some(service.token()), service.revoke()]).flatten();
        keys.chain(services)
    }
}

impl<'p> ServerView<'p> {
    /// `default` where the document has one server at its top.
    pub fn name(self) -> &'p str {
        &self.server.name
    }

    /// The identifier that clients use.
    pub fn resource(self) -> &'p str {
        &self.server.resource
    }

    /// Its paths, that of `resource` first; each with the path of its metadata document (RFC 9728).
    pub fn paths(self) -> impl Iterator<Item = (&'p str, &'p str)> {
        self.server.places.iter().map(|place| (place.path.as_str(), place.metadata.path.as_str()))
    }

    /// Pages of these origins may call.
    pub fn origins(self) -> &'p [String] {
        &self.server.origins
    }

    /// P27: a challenge of the upstream's is replaced by one of ours.
    pub fn challenges_itself(self) -> bool {
        self.server.challenges_itself
    }

    /// P40: the peers whose `x-forwarded-client-cert` is believed.
    pub fn gateways(self) -> &'p [String] {
        &self.server.source_from
    }

    /// Its paths that are one with another spelling, each with that: a final slash more, or less (P29).
    pub fn spellings(self) -> impl Iterator<Item = (String, String)> {
        let of_place = |place: &Place| {
            let other = place.path.strip_suffix('/').map_or_else(|| format!("{}/", place.path), str::to_owned);
            (!place.is_exact && !other.is_empty()).then(|| (place.path.clone(), other))
        };
        self.server.places.iter().filter_map(of_place)
    }

    /// Who calls, as `source` conditions see it (P40): by the certificate of the peer, and by what it wrote into
    /// `x-forwarded-client-cert`. `None`: unknown.
    pub fn source(self, peer: Option<&str>, forwarded: Option<&str>) -> Option<String> {
        self.server.source(peer, forwarded)
    }

    /// Its rules of this kind that match a name as it is written: the one that applies, and those that lose (P1).
    pub fn matching(self, kind: Kind, name: &str) -> impl Iterator<Item = RuleView<'p>> {
        self.server.rules.of_kind(kind).matching(name).into_iter().map(move |rule| RuleView { kind, rule })
    }

    /// All its rules.
    pub fn rules(self) -> impl Iterator<Item = RuleView<'p>> {
        self.server.rules.all().into_iter().map(|(kind, rule)| RuleView { kind, rule })
    }

    /// What a caller needs for a thing of this name, at this time.
    pub fn need(self, kind: Kind, name: &str, who: &Who, now: Millis) -> Need {
        review::need(self.policy, self.server, kind, name, who, now)
    }

    /// What it needs for any request with a token (P2).
    pub fn baseline(self, who: &Who, now: Millis) -> Need {
        review::baseline(self.policy, self.server, who, now)
    }

    /// What is said of it beside rules.
    pub fn settings(self) -> Vec<Setting> {
        review::of_server(self.policy, self.server)
    }
}

impl<'p> RuleView<'p> {
    /// As written: an exact name, `prefix*` or `*`.
    pub fn pattern(self) -> &'p str {
        &self.rule.pattern
    }

    /// Where it stands in the document, as faults say it.
    pub fn place(self) -> &'p str {
        &self.rule.place
    }

    /// The name of the tier whose terms were added.
    pub fn tier(self) -> Option<&'p str> {
        self.rule.tier.as_deref()
    }
}

impl<'p> IssuerView<'p> {
    /// The `iss` of its tokens.
    pub fn name(self) -> &'p str {
        &self.0.name
    }

    /// JOSE names of what it may sign with, in the order written.
    pub fn algorithms(self) -> impl Iterator<Item = &'static str> {
        self.0.algorithms.iter().map(|algorithm| algorithm.name())
    }

    /// Where its keys are fetched; `None`: they stand in the policy.
    pub fn keys(self) -> Option<EndpointView<'p>> {
        match &self.0.keys {
            KeySource::Inline(_) | KeySource::None => None,
            KeySource::Fetch { endpoint, .. } => Some(EndpointView(endpoint)),
        }
    }
}

impl<'p> IssuerView<'p> {
    /// Where its tokens are asked about (RFC 7662).
    pub fn introspection(self) -> Option<EndpointView<'p>> {
        self.0.introspection.as_ref().map(|asked| EndpointView(&asked.endpoint))
    }
}

impl<'p> EndpointView<'p> {
    /// The cluster that leads to it.
    pub fn cluster(self) -> &'p str {
        &self.0.cluster
    }

    /// As written.
    pub fn url(self) -> &'p str {
        &self.0.url
    }
}

impl<'p> ServiceView<'p> {
    /// The issuer of the tokens it gives.
    pub fn issuer(self) -> Option<IssuerView<'p>> {
        self.policy.issuer_at(self.service.issuer).map(IssuerView)
    }

    /// RFC 8693.
    pub fn token(self) -> EndpointView<'p> {
        EndpointView(&self.service.token)
    }

    /// RFC 7009.
    pub fn revoke(self) -> Option<EndpointView<'p>> {
        self.service.revoke.as_ref().map(EndpointView)
    }

    /// Our `client_id` there.
    pub fn client(self) -> &'p str {
        &self.service.client.id
    }
}
