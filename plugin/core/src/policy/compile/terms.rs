//! The terms of a tier or a rule: as they are written, and what they ask (P3 to P13).

use super::scopes::Hierarchy;
use super::service::Named;
use crate::policy::audience;
use crate::policy::condition::Condition;
use crate::policy::document::{self, Entry, Fields, Report};
use crate::policy::requirement::{Exchange, Held, Requirement, Scope, StepUp, Ways, both, each_once, smaller};
use crate::text::is_scope_token;

/// What a tier or a rule says. `None` is not written.
#[derive(Clone, Debug, Default)]
pub(super) struct Terms {
    scope: Option<Vec<String>>,
    step_up: Option<StepUp>,
    max_lifetime: Option<u64>,
    max_age: Option<u64>,
    deny: bool,
    ttl: Option<u64>,
    audience: Option<String>,
    token_service: Option<String>,
    standing: Option<Standing>,
    fallback: Option<()>,
    task: Option<()>,
    callers: Vec<Condition>,
    may_elevate: Vec<Condition>,
}

/// P9: what of a caller who holds the scope already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Ignore,
    Refuse,
}

/// P11, in seconds.
const DEFAULT_TTL: u64 = 60;

impl Terms {
    /// As written, and each word well-formed.
    pub(super) fn read(fields: &Fields<'_>, max_ttl: u64, report: &mut Report) -> Terms {
        let scope = fields.take("scope").map(|entry| document::scopes(&entry, report).unwrap_or_default());
        let ways = [
            ("none", StepUp::None),
            ("challenge", StepUp::Challenge),
            ("exchange", StepUp::Exchange),
            ("auto", StepUp::Auto),
        ];
        let step_up = fields.take("step_up").and_then(|entry| document::word(&entry, &ways, report));
        let mut time = |name| fields.take(name).and_then(|entry| Some((document::duration(&entry, report)?, entry)));
        let (max_lifetime, max_age, ttl) = (time("max_lifetime"), time("max_age"), time("ttl"));
        if let Some((seconds, entry)) = &ttl
            && *seconds > max_ttl
        {
            let help = format!("at most {max_ttl}s; more needs `limits.max_ttl`");
            entry.fault(report, "a long life for a token of one call", help);
        }
        let deny = fields.take("deny").and_then(|entry| document::word(&entry.as_word(), &[("true", true)], report));
        let audience = fields.take("audience").and_then(|entry| {
            let text = entry.text(report)?;
            document::no_pattern(text, &entry, report);
            Some(text.to_owned())
        });
        let token_service = fields.take("token_service").and_then(|entry| entry.text(report).map(str::to_owned));
        let standings = [("ignore", Standing::Ignore), ("refuse", Standing::Refuse)];
        let standing = fields.take("standing").and_then(|entry| document::word(&entry, &standings, report));
        let fallback = fields.take("fallback").and_then(|entry| document::word(&entry, &[("challenge", ())], report));
        let task = fields.take("task").and_then(|entry| {
            let help = "until its `exp`, for whatever runs there: keep `ttl` short";
            report.warn(&entry.path, "a token of one call outlives its answer where that is a task (P30)", help);
            document::word(&entry, &[("keep", ())], report)
        });
        let callers = fields.take("callers").map(|entry| Condition::read(&entry, report));
        let may_elevate = fields.take("may_elevate").map(|entry| Condition::read(&entry, report));
        let seconds = |time: Option<(u64, Entry<'_>)>| time.map(|(seconds, _)| seconds);
        Terms {
            scope,
            step_up,
            max_lifetime: seconds(max_lifetime),
            max_age: seconds(max_age),
            deny: deny.unwrap_or(false),
            ttl: seconds(ttl),
            audience,
            token_service,
            standing,
            fallback,
            task,
            callers: callers.flatten().into_iter().collect(),
            may_elevate: may_elevate.flatten().into_iter().collect(),
        }
    }

    /// `deny`, and nothing else.
    pub(super) fn denied() -> Terms {
        Terms { deny: true, ..Terms::default() }
    }

    /// P5: what a rule and its tier say together.
    pub(super) fn join(self, tier: Terms, path: &str, report: &mut Report) -> Terms {
        let step_up = once(self.step_up, tier.step_up, "step_up", path, report);
        let audience = once(self.audience, tier.audience, "audience", path, report);
        let token_service = once(self.token_service, tier.token_service, "token_service", path, report);
        let scope = match (self.scope, tier.scope) {
            (Some(own), Some(other)) => Some([own, other].concat()),
            (own, other) => own.or(other),
        };
        Terms {
            scope,
            step_up,
            max_lifetime: smaller(self.max_lifetime, tier.max_lifetime),
            max_age: smaller(self.max_age, tier.max_age),
            deny: self.deny || tier.deny,
            ttl: smaller(self.ttl, tier.ttl),
            audience,
            token_service,
            // `refuse` is the greater.
            standing: self.standing.max(tier.standing),
            fallback: self.fallback.or(tier.fallback),
            task: self.task.or(tier.task),
            callers: both(self.callers, tier.callers),
            may_elevate: both(self.may_elevate, tier.may_elevate),
        }
    }

    /// P2: a rule says which scopes it asks for, unless it is about something else.
    pub(super) fn says_what_it_needs(&self, resource: &str) -> bool {
        self.scope.is_some() || self.deny || self.leads_elsewhere(resource)
    }

    /// P13: after a challenge the client has a wide token for its whole life.
    pub(super) fn is_challenge_without_end(&self) -> bool {
        let challenges = match self.step_up {
            Some(step_up) => matches!(step_up, StepUp::Challenge | StepUp::Auto),
            // The way is the rule's: what only an exchange can mean says which.
            None => self.scopes().next().is_some() && !self.words_of_an_exchange().iter().any(|(written, ..)| *written),
        };
        challenges && !self.deny && self.max_lifetime.or(self.max_age).is_none()
    }

    /// P6, P8 to P11: what belongs to an exchange, and to nothing else.
    pub(super) fn check(&self, site: &Site<'_>, path: &str, report: &mut Report) {
        let leads_elsewhere = self.leads_elsewhere(site.resource);
        if !self.may_exchange() {
            self.check_words(leads_elsewhere, path, report);
            let is_beyond = self.scope.iter().flatten().any(|name| !site.has(name));
            if self.step_up.is_none() && is_beyond && !self.deny && !site.services.is_empty() {
                let help =
                    "most clients cannot step up (P6): write `challenge` if those that call this can, else `exchange`";
                report.warn(path, "`step_up` is not said, and there is a token service", help);
            }
            return;
        }
        // P22: another spelling of the resource leads nowhere else.
        let leads_elsewhere =
            leads_elsewhere && !audience::is_same(self.audience.as_deref().unwrap_or_default(), site.resource);
        self.check_service(site, path, report);
        self.check_conflicts(path, report);
        if self.step_up == Some(StepUp::Auto) && self.may_elevate.is_empty() {
            let help = "otherwise whoever is not listed under `clients` gets the easier way: say who may be elevated";
            report.fault(path, "`auto` without `may_elevate` (P24)", help);
        }
        if self.ttl.is_none() && site.max_ttl < DEFAULT_TTL {
            let help = format!("it is {DEFAULT_TTL}s; `limits.max_ttl` is less: say one of at most {}s", site.max_ttl);
            report.fault(path, "`ttl` is not said, and its default is too long", help);
        }
        let scopes = self.scope.as_ref().is_some_and(|scopes| !scopes.is_empty());
        if !scopes && !leads_elsewhere && !self.deny {
            let help = "name the scopes to obtain, or an `audience` other than `resource`";
            report.fault(path, "an exchange for nothing", help);
        }
        if !scopes && leads_elsewhere && !self.deny {
            report.warn(path, "an exchange without a scope (P6)", "Keycloak refuses to be asked for none: name one");
        }
        if self.standing.is_some() && !scopes {
            report.fault(path, "`standing` without scopes", "there is nothing a caller could hold already");
        }
        if self.standing == Some(Standing::Refuse) && self.scope.iter().flatten().any(|name| site.has(name)) {
            let help = "the baseline, which every caller has, holds a scope that this rule refuses to see";
            report.warn(path, "a tool nobody can call", help);
        }
        if self.may_elevate.is_empty() && !self.deny {
            let problem = "any caller with the baseline is elevated here if the token service agrees (P8)";
            report.warn(path, problem, "say who may be elevated: `may_elevate: { client: [ ... ] }`");
        }
    }

    fn may_exchange(&self) -> bool {
        matches!(self.step_up, Some(StepUp::Exchange | StepUp::Auto))
    }

    /// Whether each is written, and what to do where nothing is exchanged. `audience` is none: it may be the `resource`.
    fn words_of_an_exchange(&self) -> [(bool, &'static str, &'static str); 6] {
        [
            (self.ttl.is_some(), "ttl", "for callers' tokens use `max_lifetime`"),
            (self.standing.is_some(), "standing", "it is about scopes that an exchange would obtain"),
            (self.fallback.is_some(), "fallback", "a missing scope is challenged here anyway"),
            (self.task.is_some(), "task", "only a token of one call has an end to put off"),
            (!self.may_elevate.is_empty(), "may_elevate", "nobody is elevated by this rule"),
            (self.token_service.is_some(), "token_service", "nothing is obtained by this rule"),
        ]
    }

    fn check_words(&self, leads_elsewhere: bool, path: &str, report: &mut Report) {
        let audience = (leads_elsewhere, "audience", "the caller's token is for `resource` and must not go elsewhere");
        let words = self.words_of_an_exchange().into_iter().chain([audience]);
        for (_, word, help) in words.filter(|(written, ..)| *written) {
            let path = format!("{path}.{word}");
            report.fault(&path, format!("`{word}` needs `step_up: exchange`"), help);
        }
    }

    /// What a tier that no rule uses says wrongly by itself, whatever a rule would add.
    pub(super) fn check_alone(&self, services: &Named, path: &str, report: &mut Report) {
        if let Some(name) = self.token_service.as_ref().filter(|name| services.iter().all(|(known, _)| known != *name))
        {
            report.fault(&format!("{path}.token_service"), format!("unknown token service `{name}`"), "correct it");
        }
        if self.step_up.is_some() && !self.may_exchange() {
            self.check_words(false, path, report);
        } else {
            self.check_conflicts(path, report);
        }
    }

    fn check_conflicts(&self, path: &str, report: &mut Report) {
        if self.standing == Some(Standing::Refuse) && self.fallback.is_some() {
            let help = "the token that the challenge asks for would be refused; keep one of them";
            report.fault(path, "`standing: refuse` beside `fallback: challenge`", help);
        }
        if self.step_up != Some(StepUp::Auto) {
            return;
        }
        // P24: for some callers there is no exchange, so nothing may hang on it; and who is not listed must not have the easier way.
        let words = [
            (self.audience.is_some(), "audience", "a challenge brings a token for the `resource` only"),
            (self.standing == Some(Standing::Refuse), "standing", "a challenge brings the scope that is refused"),
            (self.fallback.is_some(), "fallback", "who can be challenged is challenged at once"),
        ];
        for (_, word, help) in words.iter().filter(|(written, ..)| *written) {
            report.fault(&format!("{path}.{word}"), format!("`{word}` beside `step_up: auto` (P24)"), *help);
        }
    }

    /// P28: with one service at the top there is nothing to say, with several it must be said.
    fn check_service(&self, site: &Site<'_>, path: &str, report: &mut Report) {
        let names = || site.services.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let is_only = site.services.first().is_some_and(|(name, _)| name.is_empty());
        let place = format!("{path}.token_service");
        match &self.token_service {
            _ if site.services.is_empty() => {
                report.fault(path, "`exchange` needs `token_service`", "say at the top who exchanges tokens");
            }
            Some(_) if is_only => {
                let help = "`token_service` at the top serves every rule; several stand under `token_services`";
                report.fault(&place, "a name where there is one token service", help);
            }
            None if is_only => {}
            None => {
                let help = format!("name one of {}, here or in the tier", names());
                report.fault(path, "an exchange that does not say whose (P28)", help);
            }
            Some(name) if site.service(Some(name)).is_none() => {
                let help = format!("token services of this policy: {}", names());
                report.fault(&place, format!("unknown token service `{name}`"), help);
            }
            Some(_) => {}
        }
        self.check_spelling(site, path, report);
    }

    /// P28: what is asked for is still a scope (P3), whatever the audience is.
    fn check_spelling(&self, site: &Site<'_>, path: &str, report: &mut Report) {
        let at = site.service(self.token_service.as_deref()).and_then(|at| site.services.get(at));
        let Some((_, Some(service))) = at else { return };
        let audience = self.audience.as_deref().unwrap_or(site.resource);
        let spelled = |scope: &String| service.request.spelled(scope, audience);
        let spoilt = self.scope.iter().flatten().filter_map(spelled).find(|spelled| !is_scope_token(spelled));
        if let Some(spelled) = spoilt {
            let help = "give the rule an `audience` that can stand in one, or change `request.scope`";
            report.fault(path, format!("`{spelled}` would be asked for, which is no scope (P28)"), help);
        }
    }

    /// P24: what it asks of callers that step up, where that is something else.
    pub(super) fn for_who_steps_up(&self) -> Option<Terms> {
        (self.step_up == Some(StepUp::Auto)).then(|| Terms {
            step_up: Some(StepUp::Challenge),
            ttl: None,
            standing: None,
            task: None,
            token_service: None,
            may_elevate: Vec::new(),
            ..self.clone()
        })
    }

    /// What is asked beside the baseline, where this stands.
    pub(super) fn requirement(self, scopes: &mut Hierarchy, site: &Site<'_>) -> Requirement {
        // `auto` is an exchange for all others.
        let step_up = match self.step_up {
            None => StepUp::Challenge,
            Some(StepUp::Auto) => StepUp::Exchange,
            Some(step_up) => step_up,
        };
        let is_exchange = step_up == StepUp::Exchange;
        let is_beyond = is_exchange || self.scope.iter().flatten().any(|name| !site.has(name));
        let named = self.scope.iter().flatten().map(|name| scopes.scope(name));
        let (granted, held): (Vec<Scope>, Vec<Scope>) = named.partition(|_| is_exchange);
        let part = Requirement::of(held);
        let exchange = Exchange {
            granted: each_once(granted),
            audience: self.audience.unwrap_or_else(|| site.resource.to_owned()),
            service: site.service(self.token_service.as_deref()).unwrap_or_default(),
            ttl: self.ttl.unwrap_or(DEFAULT_TTL),
            refuse_standing: self.standing == Some(Standing::Refuse),
            fallback: self.fallback.is_some(),
            keeps_tasks: self.task.is_some(),
            may_elevate: self.may_elevate,
        };
        Requirement {
            deny: self.deny,
            callers: self.callers,
            held: part.held.into_iter().map(|held| Held { challenged: step_up != StepUp::None, ..held }).collect(),
            ways: if is_beyond { Ways::of(step_up) } else { Ways::default() },
            max_lifetime: self.max_lifetime,
            max_age: self.max_age,
            exchange: is_exchange.then_some(exchange),
        }
    }

    /// The scopes that are written.
    pub(super) fn scopes(&self) -> impl Iterator<Item = &String> {
        self.scope.iter().flatten()
    }

    /// P10: absent means `resource`.
    fn leads_elsewhere(&self, resource: &str) -> bool {
        self.audience.as_deref().is_some_and(|audience| audience != resource)
    }
}

/// Where terms stand: what is settled about their server.
pub(super) struct Site<'s> {
    pub baseline: &'s Requirement,
    pub resource: &'s str,
    /// The token services, by name.
    pub services: &'s Named,
    /// Seconds.
    pub max_ttl: u64,
}

impl Site<'_> {
    /// The position of that token service; `None`: the only one.
    fn service(&self, name: Option<&str>) -> Option<usize> {
        self.services.iter().position(|(known, _)| known == name.unwrap_or_default())
    }

    fn has(&self, scope: &str) -> bool {
        self.baseline.held.iter().any(|held| &*held.scope.name == scope)
    }
}

/// What two may say only if it is the same.
fn once<T: PartialEq>(own: Option<T>, tier: Option<T>, word: &str, path: &str, report: &mut Report) -> Option<T> {
    if own.is_some() && tier.is_some() && own != tier {
        report.fault(path, format!("`{word}` differs from that of the tier"), "say it in one place");
    }
    own.or(tier)
}
