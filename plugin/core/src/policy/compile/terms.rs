//! The terms of a tier or a rule: as they are written, and what they ask (P3 to P13).

use super::scopes::Hierarchy;
use super::service::Named;
use crate::json::Value;
use crate::policy::audience;
use crate::policy::client;
use crate::policy::condition::{Allowed, Condition};
use crate::policy::delegation::Delegation;
use crate::policy::document::{self, Entry, Fields, NAME, Report, vocabulary};
use crate::policy::requirement::{ExchangeTerms, Held, Requirement, StepUp, Ways, both, each_once, smaller};
use crate::policy::rules::Kind;
use crate::policy::scope::Group;
use crate::text::{distinct, is_scope_token};

/// What a tier or a rule says. `None` is not written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Terms {
    /// Each of them one of several, of which the first is asked for.
    scope: Option<Vec<Vec<String>>>,
    step_up: Option<StepUp>,
    max_lifetime: Option<u64>,
    max_age: Option<u64>,
    acr: Option<Vec<String>>,
    bound: bool,
    act: Option<Delegation>,
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
        let token_service = fields.take("token_service").and_then(|entry| entry.text(report).map(str::to_owned));
        let task = fields.take("task").and_then(|entry| {
            let help = "until its `exp`, for whatever runs there: keep `ttl` short";
            report.warn(&entry.path, "a token of one call outlives its answer where that is a task (P30)", help);
            document::word(&entry, &[("keep", ())], report)
        });
        Terms { token_service, task, ..Terms::read_of_raise(fields, max_ttl, report) }
    }

    /// The terms that a raise may have, too.
    pub(super) fn read_of_raise(fields: &Fields<'_>, max_ttl: u64, report: &mut Report) -> Terms {
        let scope = fields.take("scope").map(|entry| document::needs(&entry, report).unwrap_or_default());
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
        let standings = [("ignore", Standing::Ignore), ("refuse", Standing::Refuse)];
        let standing = fields.take("standing").and_then(|entry| document::word(&entry, &standings, report));
        let fallback = fields.take("fallback").and_then(|entry| document::word(&entry, &[("challenge", ())], report));
        let acr = fields.take("acr").map(|entry| acr_values(&entry, report));
        let bound = fields.take("binding").is_some_and(|entry| binding(&entry, report));
        let act = fields.take("act").and_then(|entry| delegation(&entry, report));
        let callers = fields.take("callers").map(|entry| Condition::read(&entry, Allowed::CALLER, report));
        let may_elevate = fields.take("may_elevate").map(|entry| Condition::read(&entry, Allowed::OPERATION, report));
        let seconds = |time: Option<(u64, Entry<'_>)>| time.map(|(seconds, _)| seconds);
        Terms {
            scope,
            step_up,
            max_lifetime: seconds(max_lifetime),
            max_age: seconds(max_age),
            acr,
            bound,
            act,
            deny: deny.unwrap_or(false),
            ttl: seconds(ttl),
            audience,
            token_service: None,
            standing,
            fallback,
            task: None,
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
        let acr = once(self.acr, tier.acr, "acr", path, report);
        let scope = match (self.scope, tier.scope) {
            (Some(own), Some(other)) => Some([own, other].concat()),
            (own, other) => own.or(other),
        };
        Terms {
            scope,
            step_up,
            max_lifetime: smaller(self.max_lifetime, tier.max_lifetime),
            max_age: smaller(self.max_age, tier.max_age),
            acr,
            bound: self.bound || tier.bound,
            act: match (self.act, tier.act) {
                (Some(own), Some(their)) => Some(own.and(their)),
                (own, their) => own.or(their),
            },
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

    /// P7: does it ask for anything at all?
    pub(super) fn asks(&self) -> bool {
        *self != Terms { step_up: self.step_up, ..Terms::default() }
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
    pub(super) fn check(&self, site: &Site<'_>, raises: &[Terms], path: &str, report: &mut Report) {
        let leads_elsewhere = self.leads_elsewhere(site.resource);
        self.check_built(site, path, report);
        if !self.may_exchange() {
            // P28: which service its raises ask.
            let is_for_raises = raises.iter().any(Terms::may_exchange);
            self.check_words(leads_elsewhere, is_for_raises, path, report);
            let is_beyond = self.is_beyond(site);
            if self.step_up.is_none() && is_beyond && !self.deny && !site.services.is_empty() {
                let help =
                    "most clients cannot step up (P6): write `challenge` if those that call this can, else `exchange`";
                report.warn(path, "`step_up` is not said, and there is a token service", help);
            }
            return;
        }
        self.check_exchange(self, true, site, path, report);
    }

    /// P7, P10: what a raise adds to these terms of its rule. Its own way and service stand in it, or the rule's.
    pub(super) fn check_raise(&self, raise: &Terms, site: &Site<'_>, path: &str, report: &mut Report) {
        raise.check_built(site, path, report);
        if raise.audience.is_some() && self.audience.is_some() {
            let help = "a raise may say one only where the rule and its tier say none";
            report.fault(&format!("{path}.audience"), "`audience` is said by the rule (P7)", help);
        }
        if !raise.may_exchange() {
            return raise.check_words(raise.leads_elsewhere(site.resource), false, path, report);
        }
        let mut joined = raise.clone();
        if self.may_exchange() {
            joined.scope =
                [self.scope.clone(), raise.scope.clone()].into_iter().flatten().reduce(|a, b| [a, b].concat());
            joined.standing = self.standing.max(raise.standing);
            joined.fallback = self.fallback.or(raise.fallback);
            joined.may_elevate = both(self.may_elevate.clone(), raise.may_elevate.clone());
            joined.ttl = smaller(self.ttl, raise.ttl);
            joined.audience = raise.audience.clone().or_else(|| self.audience.clone());
        }
        joined.deny |= self.deny;
        joined.check_exchange(raise, !self.may_exchange(), site, path, report);
    }

    /// `own`: what is written at this place. `is_new`: there is no other exchange that it is joined to, and that was checked.
    fn check_exchange(&self, own: &Terms, is_new: bool, site: &Site<'_>, path: &str, report: &mut Report) {
        // P22: another spelling of the resource leads nowhere else.
        let leads_elsewhere = self.leads_elsewhere(site.resource)
            && !audience::is_same(self.audience.as_deref().unwrap_or_default(), site.resource);
        self.check_service(site, path, report);
        self.check_conflicts(path, report);
        own.check_auto(path, report);
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
        if self.standing.is_some() && !scopes {
            report.fault(path, "`standing` without scopes", "there is nothing a caller could hold already");
        }
        if is_new || own.standing.is_some() {
            self.check_baseline(site, path, report);
        }
        if is_new && !scopes && leads_elsewhere && !self.deny {
            report.warn(path, "an exchange without a scope (P6)", "Keycloak refuses to be asked for none: name one");
        }
        if is_new && self.may_elevate.is_empty() && !self.deny {
            let problem = "any caller with the baseline is elevated here if the token service agrees (P8)";
            report.warn(path, problem, "say who may be elevated: `may_elevate: { client: [ ... ] }`");
        }
    }

    /// P3: for whom a scope is made.
    fn check_built(&self, site: &Site<'_>, path: &str, report: &mut Report) {
        let is_built = self.scopes().any(|scope| scope.ends_with(NAME));
        if is_built && !matches!(site.kind, Kind::Tool | Kind::Prompt) {
            let help = "only tools and prompts have names that can stand in a scope: name the scopes";
            report.fault(path, "`{name}` in a scope of a resource or method (P3)", help);
        }
    }

    fn check_baseline(&self, site: &Site<'_>, path: &str, report: &mut Report) {
        if self.standing == Some(Standing::Refuse) && self.scopes().any(|name| site.has(name)) {
            let help = "the baseline, which every caller has, holds a scope that this rule refuses to see";
            report.warn(path, "a tool nobody can call", help);
        }
    }

    /// Is any scope asked for that not every caller has?
    fn is_beyond(&self, site: &Site<'_>) -> bool {
        self.scope.iter().flatten().any(|need| !need.iter().any(|name| site.has(name)))
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

    fn check_words(&self, leads_elsewhere: bool, is_for_raises: bool, path: &str, report: &mut Report) {
        let audience = (leads_elsewhere, "audience", "the caller's token is for `resource` and must not go elsewhere");
        let words = self.words_of_an_exchange().into_iter().chain([audience]);
        let is_wrong =
            |(written, word, _): &(bool, &str, &str)| *written && !(is_for_raises && *word == "token_service");
        for (_, word, help) in words.filter(is_wrong) {
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
            self.check_words(false, false, path, report);
        } else {
            self.check_conflicts(path, report);
            self.check_auto(path, report);
        }
    }

    fn check_conflicts(&self, path: &str, report: &mut Report) {
        if self.standing == Some(Standing::Refuse) && self.fallback.is_some() {
            let help = "the token that the challenge asks for would be refused; keep one of them";
            report.fault(path, "`standing: refuse` beside `fallback: challenge`", help);
        }
    }

    fn check_auto(&self, path: &str, report: &mut Report) {
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
        let asked = self.scope.iter().flatten().filter_map(|need| need.first());
        let spoilt = asked.filter_map(spelled).find(|spelled| !is_scope_token(spelled));
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
        let is_beyond = is_exchange || self.is_beyond(site);
        let needs = self.scope.iter().flatten().filter_map(|need| scopes.group(need));
        let (granted, held): (Vec<Group>, Vec<Group>) = needs.partition(|_| is_exchange);
        let part = Requirement::of(held);
        let exchange = ExchangeTerms {
            granted: each_once(granted),
            audience: self.audience,
            service: site.service(self.token_service.as_deref()).unwrap_or_default(),
            ttl: self.ttl.unwrap_or(DEFAULT_TTL),
            refuse_standing: self.standing == Some(Standing::Refuse),
            fallback: self.fallback.is_some(),
            keeps_tasks: self.task.is_some(),
        };
        Requirement {
            may_elevate: self.may_elevate,
            deny: self.deny,
            bound: self.bound,
            callers: self.callers,
            act: self.act,
            acr: self.acr,
            held: part.held.into_iter().map(|held| Held { challenged: step_up != StepUp::None, ..held }).collect(),
            ways: if is_beyond { Ways::of(step_up) } else { Ways::default() },
            max_lifetime: self.max_lifetime,
            max_age: self.max_age,
            exchange: is_exchange.then_some(exchange),
        }
    }

    /// The scopes that are written.
    pub(super) fn scopes(&self) -> impl Iterator<Item = &String> {
        self.scope.iter().flatten().flatten()
    }

    /// P7: a raise goes its rule's way, and to its service, where it says none.
    pub(super) fn or_those_of(self, rule: &Terms) -> Terms {
        let step_up = self.step_up.or(rule.step_up);
        let token_service = self.token_service.clone().or_else(|| rule.token_service.clone());
        let exchanges = matches!(step_up, Some(StepUp::Exchange | StepUp::Auto));
        Terms { step_up, token_service: token_service.filter(|_| exchanges), ..self }
    }

    /// P10: absent means `resource`.
    fn leads_elsewhere(&self, resource: &str) -> bool {
        self.audience.as_deref().is_some_and(|audience| audience != resource)
    }
}

/// Where terms stand: what is settled about their server.
pub(super) struct Site<'s> {
    pub kind: Kind,
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
        self.baseline.held.iter().any(|held| &*held.group.ask().name == scope)
    }
}

/// What two may say only if it is the same.
fn once<T: PartialEq>(own: Option<T>, tier: Option<T>, word: &str, path: &str, report: &mut Report) -> Option<T> {
    if own.is_some() && tier.is_some() && own != tier {
        report.fault(path, format!("`{word}` differs from that of the tier"), "say it in one place");
    }
    own.or(tier)
}

/// A list of texts, sorted, each once.
fn values(entry: &Entry<'_>, report: &mut Report) -> Vec<String> {
    let items = entry.some_list(report).unwrap_or_default();
    distinct(items.iter().filter_map(|item| item.text(report)).map(str::to_owned).collect())
}

/// P37: a challenge has them in one text, separated by spaces.
fn acr_values(entry: &Entry<'_>, report: &mut Report) -> Vec<String> {
    let values = values(entry, report);
    if !values.iter().all(|value| is_scope_token(value)) {
        entry.fault(
            report,
            "not a value of `acr` that can be asked for",
            "visible ASCII, without quotes and backslashes",
        );
    }
    values
}

/// P33. Is it asked for?
pub(super) fn binding(entry: &Entry<'_>, report: &mut Report) -> bool {
    if entry.value.text() == Some("dpop") {
        let help = "no MCP client sends it, and tokens that are bound so are refused: write `certificate` or `none`";
        entry.fault(report, "`dpop` is not understood (P33)", help);
        return false;
    }
    document::word(entry, &[("none", false), ("certificate", true)], report).unwrap_or(false)
}

/// P32.
pub(super) fn delegation(entry: &Entry<'_>, report: &mut Report) -> Option<Delegation> {
    let fields = entry.fields(&[vocabulary::DELEGATION], report)?;
    let required = fields.take("required").is_some_and(|entry| document::boolean(&entry, report));
    let clients = fields.take("clients").map(|entry| {
        let values = values(&entry, report);
        values.iter().for_each(|client| client::check(client, &entry, report));
        values
    });
    let depth = fields.take("depth").and_then(|entry| match entry.value {
        Value::Integer(depth @ 1..=4) => usize::try_from(*depth).ok(),
        _ => {
            entry.fault(report, "not a number of actors", "write 1 to 4");
            None
        }
    });
    fields.finish(report);
    if entry.value.members().is_some_and(<[_]>::is_empty) {
        entry.fault(report, "`act` that asks for nothing", "say `required`, `clients` or `depth`");
    }
    Some(Delegation { required, clients, depth })
}
