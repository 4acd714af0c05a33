//! The compiled policy: immutable, total, cheap to share. Whatever can be wrong with it was found when it was loaded.

mod ability;
mod audience;
mod book;
mod client;
mod compile;
mod condition;
mod delegation;
mod document;
mod issuer;
mod model;
mod pattern;
mod place;
mod readings;
mod requirement;
mod review;
mod rules;
mod scope;
mod select;
mod service;
mod session;
mod view;

pub use document::vocabulary::{MAPS, Map, Shape, Word};
pub use document::{Fault, join};
pub use model::Limits;
pub use review::{Became, Direction, How, Need, Setting, Who, Words, is_for, samples};
pub use rules::Kind;
pub use view::{EndpointView, IssuerView, RuleView, ServerView, ServiceView, View};

pub(crate) use ability::{Ability, Clients};
pub(crate) use audience::Named;
pub(crate) use condition::{Condition, Given, Subject, Truth};
pub(crate) use issuer::{Introspection, Issuer, KeySource, TokenType, is_tenant};
pub(crate) use model::{Digest, Endpoint, Mode, Select, Server};
pub(crate) use place::Place;
pub(crate) use requirement::{Exchange, ExchangeTerms, Held, Requirement, is_scopable};
pub(crate) use rules::{Rule, Unmatched};
pub(crate) use scope::{Group, Scope};
pub(crate) use select::{Address, Spot};
pub(crate) use service::{AnswerForm, Client, ClientAuthentication, Grant, RequestForm, Target, TokenService};
pub(crate) use session::{Keys as SessionKeys, Owner};

use crate::jose::{COMMON, Dialect};
use crate::json::Value;
use crate::text::distinct;
use crate::time::Millis;

/// A policy in force.
#[derive(Debug)]
pub struct Policy {
    pub(crate) issuers: Vec<Issuer>,
    pub(crate) servers: Vec<Server>,
    pub(crate) select: Select,
    /// In the order of the document.
    pub(crate) services: Vec<TokenService>,
    pub(crate) clients: Clients,
    pub(crate) mode: Mode,
    /// P15: until when some rule of its own is in shadow.
    pub(crate) last_shadow: Option<Millis>,
    /// P35: session ids are sealed with these.
    pub(crate) sessions: Option<SessionKeys>,
    pub(crate) limits: Limits,
    pub(crate) digest: String,
    pub(crate) warnings: Vec<Fault>,
    pub(crate) notes: Vec<Fault>,
}

impl Policy {
    /// Reads a configuration as Envoy delivers it: JSON text (`StringValue`, `BytesValue`) or a serialized `Struct`.
    ///
    /// All faults are reported at once, each with path, problem and help (P18).
    pub fn load(configuration: &[u8], environment: &dyn Environment) -> Result<Policy, Vec<Fault>> {
        compile::configuration(configuration, environment)
    }

    /// The same, from a tree that a reader of another notation made. `text` is what was read; it names the policy.
    pub fn from_value(document: &Value<'_>, text: &[u8], environment: &dyn Environment) -> Result<Policy, Vec<Fault>> {
        compile::document(document, text, environment)
    }

    /// Does any rule ask who the peer's certificate names? The host need not look it up otherwise.
    pub fn asks_source(&self) -> bool {
        self.servers.iter().any(|server| {
            let mut conditions = Vec::new();
            server.baseline.conditions(&mut conditions);
            server.rules.all().iter().for_each(|(_, rule)| conditions.extend(rule.conditions()));
            conditions.into_iter().any(Condition::asks_source)
        })
    }

    /// Is anything for callers without a token (P26)? The host need not ask how much of a body is looked at otherwise.
    pub fn has_anonymous(&self) -> bool {
        self.servers.iter().any(|server| server.has_anonymous)
    }

    /// P15: is anything of it in shadow?
    pub(crate) fn has_shadow(&self, now: Millis) -> bool {
        self.mode.is_shadow(now) || self.last_shadow.is_some_and(|until| now < until)
    }

    /// What `check` would warn of.
    pub fn warnings(&self) -> &[Fault] {
        &self.warnings
    }

    /// What `check` says beside: nothing is wrong, and it means something else than in earlier versions.
    pub fn notes(&self) -> &[Fault] {
        &self.notes
    }

    /// Twelve hexadecimal digits that name this policy in audit records and metrics.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The limits a host has to know.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn issuer(&self, name: &str) -> Option<(usize, &Issuer)> {
        // P38: an exact one before a family.
        let mut family = None;
        for (at, issuer) in self.issuers.iter().enumerate() {
            match (issuer.is(name), &issuer.family) {
                (true, None) => return Some((at, issuer)),
                (true, Some(_)) => family = Some((at, issuer)),
                (false, _) => {}
            }
        }
        family
    }

    /// The dialect of whom a token names as its issuer.
    pub(crate) fn dialect(&self, issuer: &str) -> &Dialect {
        self.issuer(issuer).map_or(&COMMON, |(_, issuer)| &issuer.dialect)
    }

    /// P21: these scopes, as they are asked of nobody in particular: by the template that all issuers of the server share.
    pub(crate) fn asked_of_anybody<'s>(&self, server: &Server, scopes: impl Iterator<Item = &'s str>) -> String {
        let shared = Issuer::asking_alike(server.issuers.iter().filter_map(|at| self.issuer_at(*at)));
        let asked = scopes.map(|scope| shared.map_or_else(|| scope.to_owned(), |issuer| issuer.asked(scope)));
        distinct(asked.collect()).join(" ")
    }

    pub(crate) fn issuer_at(&self, position: usize) -> Option<&Issuer> {
        self.issuers.get(position)
    }

    pub(crate) fn service_at(&self, position: usize) -> Option<&TokenService> {
        self.services.get(position)
    }

    pub(crate) fn server_at(&self, position: usize) -> Option<&Server> {
        self.servers.get(position)
    }

    pub(crate) fn at(&self, spot: Spot) -> Option<(&Server, &Place)> {
        let server = self.server_at(spot.server)?;
        Some((server, server.places.get(spot.place)?))
    }
}

/// Where secrets come from: a policy only names them (P18).
pub trait Environment {
    /// The value of an environment variable.
    fn variable(&self, name: &str) -> Option<String>;

    /// The same, of a variable that holds a key for session ids (P35).
    fn session_key(&self, name: &str) -> Option<String> {
        self.variable(name)
    }

    /// The time at which the policy is loaded. Without it, dates are not judged.
    fn now(&self) -> Option<Millis> {
        None
    }
}

/// No variables at all: for policies without secrets.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoEnvironment;

impl Environment for NoEnvironment {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }
}
