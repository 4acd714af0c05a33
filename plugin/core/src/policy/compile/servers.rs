//! `servers`, or the one-server spelling of it.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::built;
use super::lists::{Labels, Lists};
use super::places::{Described, Resource, headers, origins, paths};
use super::rules::{self, Maker, Tiers};
use super::scopes::Hierarchy;
use super::service::Named;
use super::terms::{self, Site};
use crate::mcp::Reads;
use crate::policy::audience::{Audiences, is_url};
use crate::policy::book::RuleBook;
use crate::policy::condition::{Allowed, Condition, Root};
use crate::policy::document::{self, vocabulary};
use crate::policy::document::{Entry, Fields, Report};
use crate::policy::requirement::Requirement;
use crate::policy::rules::Kind;
use crate::policy::{Issuer, Server, TokenType};
use crate::text::distinct;
use crate::time::Millis;

/// The name of the server in a document that has only one.
const ONLY: &str = "default";

/// What servers refer to.
pub(super) struct Context<'c> {
    pub issuers: &'c [Issuer],
    pub scopes: Hierarchy,
    pub tiers: Tiers,
    /// The token services, by name.
    pub services: &'c Named,
    /// Seconds.
    pub max_ttl: u64,
    pub now: Option<Millis>,
}

impl Context<'_> {
    /// P18: `servers:`, or one server's fields at the top; not both.
    pub(super) fn read(&mut self, several: Option<Entry<'_>>, top: &Fields<'_>, report: &mut Report) -> Vec<Server> {
        let Some(several) = several else {
            return self.server(ONLY, top, None, report).into_iter().collect();
        };
        let mut both = false;
        for field in vocabulary::SERVER {
            if let Some(entry) = top.take(field) {
                entry.fault(report, format!("`{field}` beside `servers`"), "move it into one of the servers");
                both = true;
            }
        }
        let named = several.named(report).unwrap_or_default();
        if named.is_empty() && !both {
            several.fault(report, "no server", "name at least one MCP server");
        }
        let several_servers = named.len() > 1;
        let mut servers: Vec<Server> = Vec::new();
        let mut taken: Vec<(String, String, Option<String>, String)> = Vec::new();
        // By audience.
        let mut meant: Vec<(String, String)> = Vec::new();
        for (name, entry) in named {
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b)) {
                entry.fault(report, "not a server name", "use letters, digits and `_ - .`; it becomes a metric label");
            }
            let known = [vocabulary::SERVER, vocabulary::LISTED_SERVER];
            let Some(fields) = entry.fields(&known, report) else { continue };
            let server = self.server(name, &fields, Some(several_servers), report);
            fields.finish(report);
            let Some(server) = server else { continue };
            let mut is_twin = false;
            for (host, path, query) in server.addresses() {
                let meets = |(other, at, asked, _): &&(String, String, Option<String>, String)| {
                    other == host && overlap((path, query), (at, asked.as_deref()))
                };
                if let Some((.., twin)) = taken.iter().filter(|(.., twin)| twin != name).find(meets) {
                    let problem = format!("the same host and path as `{twin}`");
                    entry.fault(report, problem, "a token for one would pass for the other; give each its own");
                    is_twin = true;
                }
                taken.push((host.to_owned(), path.to_owned(), query.map(str::to_owned), name.to_owned()));
            }
            let of_places = server.places.iter().flat_map(|place| place.audiences.keys());
            for audience in server.audiences.keys().chain(of_places) {
                let Some(twin) = taken_by(&mut meant, audience, name) else { continue };
                if !is_twin {
                    let problem = format!("an audience that means `{twin}` too (P22): {audience}");
                    entry.fault(report, problem, "a token for one would pass for the other; give each its own");
                }
            }
            servers.push(server);
        }
        servers
    }

    /// P23: tokens that do not say for whom they are must not open two servers.
    pub(super) fn check_shared(&self, servers: &[Server], report: &mut Report) {
        for (at, issuer) in self.issuers.iter().enumerate() {
            let is_vague = issuer.introspection.as_ref().is_some_and(|asked| !asked.needs_audience);
            let sharing = servers.iter().filter(|server| server.issuers.contains(&at)).count();
            if is_vague && sharing > 1 {
                let place = format!("{}.introspection.audience", document::join("issuers", &issuer.name));
                let help =
                    "a token for one of them would pass at the other: `audience: required`, or an issuer for each";
                report.fault(&place, "`not_said`, and several servers share the issuer (P23)", help);
            }
        }
    }

    pub(super) fn finish(&self, report: &mut Report) {
        self.scopes.finish(report);
        rules::unused(&self.tiers, self.services, report);
    }

    /// P34: whose tokens count at this server, in the order in which metadata names them (P39). Unsaid, everybody's, in the order of
    /// the alphabet.
    fn issuers(&self, fields: &Fields<'_>, several: Option<bool>, report: &mut Report) -> Vec<usize> {
        let entry = several.and_then(|_| fields.take("issuers"));
        let Some(entry) = entry else {
            if several == Some(true) && self.issuers.len() > 1 {
                let help =
                    "each of them could grant every scope here: list those whose tokens count, `issuers: [ ... ]`";
                report.fault(&fields.path, "several issuers and servers, and no `issuers`", help);
            }
            let name =
                |at: usize| self.issuers.get(at).map(|issuer| issuer.advertised.as_deref().unwrap_or(&issuer.name));
            let mut all: Vec<usize> = Vec::new();
            for at in 0..self.issuers.len() {
                let place = all.iter().position(|other| name(at) < name(*other)).unwrap_or(all.len());
                all.insert(place, at);
            }
            return all;
        };
        let mut list = Vec::new();
        for item in entry.some_list(report).unwrap_or_default() {
            let Some(name) = item.text(report) else { continue };
            match self.issuers.iter().position(|issuer| issuer.name == name) {
                Some(at) if list.contains(&at) => item.fault(report, "named twice", "keep one of them"),
                Some(at) => list.push(at),
                None if document::no_pattern(name, &item, report) => {}
                None => item.fault(report, "not one of `issuers` of the policy", "add it there, with its keys"),
            }
        }
        list
    }

    /// `several` servers? `None` for the spelling of one server at the top, where `issuers` are the policy's.
    fn server(
        &mut self,
        name: &str,
        fields: &Fields<'_>,
        several: Option<bool>,
        report: &mut Report,
    ) -> Option<Server> {
        let resource =
            fields.require("resource", "write the URL that clients use, e.g. https://mcp.example.com/mcp", report);
        let resource = resource.and_then(|entry| Resource::read(&entry, report));
        let baseline_help = "list the scopes every request needs, e.g. `baseline: [mcp:connect]`";
        let baseline = fields.require("baseline", baseline_help, report).and_then(|entry| {
            let scopes = document::scopes(&entry, report)?;
            if scopes.is_empty() {
                report.warn(&entry.path, "an empty baseline (P2)", "any token for this resource is enough to connect");
            }
            Some(scopes)
        });
        let issuers = self.issuers(fields, several, report);
        // P7: these are asked of every request with a token.
        let callers = fields.take("callers").and_then(|entry| Condition::read(&entry, Allowed::CALLER, report));
        let bound = fields.take("binding").is_some_and(|entry| terms::binding(&entry, report));
        let act = fields.take("act").and_then(|entry| terms::delegation(&entry, report));
        let held = baseline.iter().flatten().map(|name| self.scopes.scope(name).into());
        let asked = Requirement { callers: callers.into_iter().collect(), bound, act, ..Requirement::of(held) };
        let resource_text = resource.as_ref().map(|resource| resource.text.as_str()).unwrap_or_default();
        let rules = self.rules(fields, &asked, resource_text, report);
        let held_somewhere = held_somewhere(&rules);
        let lists = Lists::read(fields, rules.has_anonymous(), report);
        let labels = Labels::read(fields, report);
        let reads = reads(&rules, labels.declared_task.as_deref());
        let ways = [("http", false), ("jsonrpc", true)];
        let denials = fields.take("denials").and_then(|entry| document::word(&entry, &ways, report));
        let denies_by_jsonrpc = denials.unwrap_or(false);
        let whose = [("route", false), ("ours", true)];
        let challenge = fields.take("upstream_challenge").and_then(|entry| document::word(&entry, &whose, report));
        let challenges_itself = challenge.unwrap_or(false);
        let paths = fields.take("paths").and_then(|entry| paths(&entry, report)).unwrap_or_default();
        let remove_headers =
            fields.take("remove_headers").and_then(|entry| headers(&entry, report)).unwrap_or_default();
        let listed = fields.take("origins").and_then(|entry| origins(&entry, report)).unwrap_or_default();
        let audiences = fields.take("audiences").and_then(|entry| {
            let further = audiences(&entry, report)?;
            self.check_names(&entry, &further, &issuers, asked.held.is_empty(), report);
            Some(further)
        });
        let source_from = fields.take("source_from").and_then(|entry| source_from(&entry, report)).unwrap_or_default();
        let resource = resource?;
        if !issuers.iter().any(|at| self.issuers.get(*at).is_some_and(|issuer| issuer.advertised.is_some()))
            && !issuers.is_empty()
        {
            let help =
                "clients that have no token find nobody to ask for one; leave `advertised` out at one of its issuers";
            report.warn(&fields.path, "no issuer is advertised (P39)", help);
        }
        let asked_of_anybody = self.asked_of_anybody(&issuers, &baseline?);
        let introspecting = issuers.clone();
        let authorization_servers = self.authorization_servers(&issuers);
        let places = resource.places(paths, &Described { authorization_servers, scopes: &asked_of_anybody });
        let Resource { text: resource, url } = resource;
        let mut audiences = audiences.unwrap_or_default();
        audiences.add(&resource);
        let origins = listed.into_iter().chain([url.origin()]).collect();
        Some(Server {
            name: Rc::from(name),
            resource,
            audiences,
            url,
            places,
            origins,
            remove_headers,
            issuers,
            baseline: asked,
            asked: asked_of_anybody.join(" "),
            source_from,
            held_somewhere,
            denies_by_jsonrpc,
            challenges_itself,
            introspects: self.introspects(fields, &introspecting, report),
            has_anonymous: rules.has_anonymous(),
            rules,
            reads,
            filters_lists: lists.filters,
            annotates: lists.annotates,
            pins: lists.pins,
            environment: labels.environment,
            data_class: labels.data_class,
            declared_task: labels.declared_task,
        })
    }

    /// P2: at least one, of whatever kind.
    fn rules(&mut self, fields: &Fields<'_>, baseline: &Requirement, resource: &str, report: &mut Report) -> RuleBook {
        let mut is_any = false;
        let mut read = |kind: Kind| {
            let entry = fields.take(kind.word());
            is_any |= entry.is_some();
            let site = Site { kind, baseline, resource, services: self.services, max_ttl: self.max_ttl };
            let (scopes, tiers) = (&mut self.scopes, &mut self.tiers);
            Maker { scopes, tiers, site, now: self.now }.rules(entry, report)
        };
        let [tools, prompts, resources, methods] =
            [Kind::Tool, Kind::Prompt, Kind::Resource, Kind::Method].map(&mut read);
        if !is_any {
            let help = "write `tools`, `prompts`, `resources` or `methods`; what no rule matches is refused";
            report.fault(&fields.path, "no rule (P2)", help);
        }
        RuleBook { tools, prompts, resources, methods }
    }

    /// P3: what a rule makes of a name must be nothing else that the policy means.
    pub(super) fn check_built(&self, servers: &[Server], report: &mut Report) {
        built::check(servers, &self.scopes, report);
    }

    /// P23: a token that is no JWS does not say whose it is, so there is one issuer to ask.
    fn introspects(&self, fields: &Fields<'_>, issuers: &[usize], report: &mut Report) -> Option<usize> {
        let asks = |at: &&usize| self.issuers.get(**at).is_some_and(|issuer| issuer.introspection.is_some());
        let mut asked = issuers.iter().filter(asks);
        let first = asked.next().copied();
        if asked.next().is_some() {
            let help = "a token that cannot be read does not say whose it is: keep one for each server";
            report.fault(&fields.path, "two issuers with `introspection` (P23)", help);
        }
        first
    }

    /// P22: an ID token has exactly a client's id in `aud`, and no scopes.
    fn check_names(
        &self,
        entry: &Entry<'_>,
        audiences: &Audiences,
        issuers: &[usize],
        no_baseline: bool,
        report: &mut Report,
    ) {
        if !audiences.has_names() {
            return;
        }
        let issuers = issuers.iter().filter_map(|at| self.issuers.get(*at));
        for issuer in issuers.filter(|issuer| issuer.token_type == TokenType::Jwt) {
            if no_baseline {
                let help = "an ID token has a client's id in `aud`, and would pass: ask for a scope in `baseline`";
                entry.fault(report, "an audience that is no URL, and an empty baseline (P22)", help);
                return;
            }
            let said = issuer.dialect.scope.iter().filter_map(|place| place.name());
            if let Some(name) = said.into_iter().find(|name| matches!(*name, "roles" | "groups")) {
                let problem = format!("`{name}` of {} counts as scope, and ID tokens have it too (P22)", issuer.name);
                report.warn(
                    &entry.path,
                    problem,
                    "such a token passes for an access token: name a claim that only those have",
                );
            }
        }
    }

    /// P21: the baseline, as it is asked of nobody in particular: by the template that all issuers of the server share.
    fn asked_of_anybody(&self, issuers: &[usize], baseline: &[String]) -> Vec<String> {
        let shared = Issuer::asking_alike(issuers.iter().filter_map(|at| self.issuers.get(*at)));
        let asked = |scope: &String| shared.map_or_else(|| scope.clone(), |issuer| issuer.asked(scope));
        distinct(baseline.iter().map(asked).collect())
    }

    /// P39: in their order, each once.
    fn authorization_servers(&self, issuers: &[usize]) -> Vec<&str> {
        let mut named: Vec<&str> = Vec::new();
        for issuer in issuers.iter().filter_map(|at| self.issuers.get(*at)?.advertised.as_deref()) {
            if !named.contains(&issuer) {
                named.push(issuer);
            }
        }
        named
    }
}

/// P24: what some rule wants of the caller's own token; true: only of callers that step up. What is made of a name is none of it.
fn held_somewhere(rules: &RuleBook) -> Vec<(Rc<str>, bool)> {
    let (mut by_all, mut all) = (BTreeSet::new(), BTreeSet::new());
    let add = |names: &mut BTreeSet<Rc<str>>, parts: Vec<&Requirement>| {
        for held in parts.iter().flat_map(|part| &part.held) {
            for scope in held.group.members().filter(|scope| !scope.is_built) {
                names.insert(Rc::clone(&scope.name));
            }
        }
    };
    for (_, rule) in rules.all() {
        add(&mut by_all, rule.parts_for_others());
        add(&mut all, rule.parts());
    }
    all.into_iter().map(|name| (Rc::clone(&name), !by_all.contains(&name))).collect()
}

/// The paths that conditions ask about. Of resources they are no part of the request.
fn reads(rules: &RuleBook, declared_task: Option<&str>) -> Reads {
    let mut reads = Reads::default();
    for (kind, rule) in rules.all() {
        let mut paths = Vec::new();
        rule.conditions().into_iter().for_each(|condition| condition.paths(&mut paths));
        for (root, path, is_numeric) in paths {
            let below = match (root, kind) {
                (Root::Meta, _) => Some("_meta"),
                (_, Kind::Tool | Kind::Prompt) => Some("arguments"),
                (_, Kind::Method) => None,
                (_, Kind::Resource) => continue,
            };
            reads.params.add(below.into_iter().chain(path.iter().map(String::as_str)));
            reads.numbers |= is_numeric;
        }
    }
    if let Some(member) = declared_task {
        reads.params.add(["_meta", member].into_iter());
    }
    reads
}

/// The other server that has it already.
fn taken_by(taken: &mut Vec<(String, String)>, what: &str, name: &str) -> Option<String> {
    let twin = taken.iter().find(|(known, server)| known == what && server != name);
    let twin = twin.map(|(_, server)| server.clone());
    taken.push((what.to_owned(), name.to_owned()));
    twin
}

/// Could one request be for both, of two paths and queries on one host? Where no query is written, any may be.
pub(super) fn overlap(one: (&str, Option<&str>), other: (&str, Option<&str>)) -> bool {
    one.0 == other.0 && (one.1.is_none() || other.1.is_none() || one.1 == other.1)
}

/// P40: `certificate`, or the header that such a peer wrote about its own client.
fn source_from(entry: &Entry<'_>, report: &mut Report) -> Option<Vec<String>> {
    if entry.value.text() == Some("certificate") {
        return Some(Vec::new());
    }
    if entry.value.members().is_none() {
        entry.fault(report, "not a source", "write `certificate`, or `{ xfcc: { peers: [ ... ] } }`");
        return None;
    }
    let fields = entry.fields(&[vocabulary::SOURCE_FROM], report)?;
    let help = "name the peers that write the header: { xfcc: { peers: [ ... ] } }";
    let xfcc = fields.require("xfcc", help, report).and_then(|entry| {
        let fields = entry.fields(&[vocabulary::XFCC], report)?;
        let peers = fields.require("peers", help, report).and_then(|entry| entry.some_list(report)).unwrap_or_default();
        let named = peers.iter().filter_map(|peer| peer.text(report)).map(str::to_owned).collect();
        fields.finish(report);
        Some(named)
    });
    fields.finish(report);
    xfcc
}

/// P22: any text, but a pattern.
fn audiences(entry: &Entry<'_>, report: &mut Report) -> Option<Audiences> {
    let mut audiences = Audiences::default();
    for item in entry.some_list(report)? {
        let Some(text) = item.text(report) else { continue };
        if text.contains(['*', '{', '}']) {
            document::no_pattern(text, &item, report);
        } else if is_url(text) && text.contains('#') {
            item.fault(report, "an audience with a fragment", "RFC 8707 2: write it without");
        } else {
            audiences.add(text);
        }
    }
    Some(audiences)
}
