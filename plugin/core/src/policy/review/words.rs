//! What is asked, in words that a person can check.

use crate::json::Value;
use crate::policy::client::Origin;
use crate::policy::condition::{Host, Root, Test};
use crate::policy::requirement::{Requirement, StepUp};
use crate::policy::{Condition, Group};
use crate::time::Millis;

use super::{Context, Need, Refused};

/// How a caller gets to do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// Not at all.
    Denied,
    /// Without a token (P26).
    Anonymous,
    /// With any token that has the baseline.
    Open,
    /// With scopes that the token must have already: nobody is told to ask for them.
    Standing,
    /// With scopes that the client is told to obtain.
    Challenge,
    /// With a token that the filter obtains for the one call.
    Exchange,
}

/// What is needed, part by part. A part that is not said asks for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// How.
    pub how: How,
    /// Why it is denied.
    pub why: Option<&'static str>,
    /// Scopes of the caller's own token, each perhaps one of several, beyond the baseline.
    pub held: Vec<String>,
    /// Scopes that are obtained for the call.
    pub granted: Vec<String>,
    /// For whom that token is.
    pub audience: Option<String>,
    /// Who gives it.
    pub service: Option<String>,
    /// Seconds that it lives at most.
    pub ttl: Option<u64>,
    /// Seconds that the caller's own token lives at most.
    pub max_lifetime: Option<u64>,
    /// Seconds since the login at most.
    pub max_age: Option<u64>,
    /// How the user must have logged in: one of these.
    pub acr: Vec<String>,
    /// The token must be bound to the caller's certificate.
    pub bound: bool,
    /// Who may act for the caller.
    pub act: Option<String>,
    /// What must be true of the caller.
    pub callers: Vec<String>,
    /// Who may be elevated.
    pub may_elevate: Vec<String>,
    /// Further manners of the exchange.
    pub manners: Vec<&'static str>,
    /// What is asked beside, each with its condition.
    pub raises: Vec<(String, Words)>,
    /// The verdicts are only recorded, until then.
    pub shadow: Option<Millis>,
    /// The pattern of the rule, and where it stands.
    pub rule: Option<(String, String)>,
    /// The tier whose terms were added.
    pub tier: Option<String>,
}

impl Need {
    /// In words.
    pub fn words(&self) -> Words {
        let mut words = of(&self.requirement, &self.context);
        if self.anonymous && words.how != How::Denied {
            words.how = How::Anonymous;
        }
        words.why = self.refused.map(|refused| match refused {
            Refused::Rule => "the rule denies it",
            Refused::NoRule => "no rule",
            Refused::Confusable => "the name could be read as another one",
            Refused::Caller => "none of the callers that may",
            Refused::NotEligible => "may not be elevated",
        });
        words.raises = self.raises.iter().map(|(when, part)| (when_text(when), of(part, &self.context))).collect();
        words.shadow = self.shadow;
        words.rule = self.rule.as_ref().map(|rule| (rule.pattern.clone(), rule.place.clone()));
        words.tier = self.rule.as_ref().and_then(|rule| rule.tier.clone());
        words
    }
}

fn of(asked: &Requirement, context: &Context) -> Words {
    let is_beyond =
        |group: &Group| !group.members().all(|scope| context.baseline.iter().any(|own| **own == *scope.name));
    let held: Vec<String> =
        asked.held.iter().map(|held| &held.group).filter(|group| is_beyond(group)).map(group).collect();
    let exchange = asked.exchange.as_ref();
    let how = if asked.deny {
        How::Denied
    } else if exchange.is_some() {
        How::Exchange
    } else if asked.ways.has(StepUp::Challenge) {
        How::Challenge
    } else if !held.is_empty() {
        // P7: the baseline is a part of its own, and asked for.
        let mut beyond = asked.held.iter().filter(|held| is_beyond(&held.group));
        if beyond.all(|held| held.challenged) { How::Challenge } else { How::Standing }
    } else {
        How::Open
    };
    let mut manners = Vec::new();
    if exchange.is_some_and(|exchange| exchange.refuse_standing) {
        manners.push("who holds such a scope already is refused");
    }
    if exchange.is_some_and(|exchange| exchange.fallback) {
        manners.push("the client is challenged where the token service wants the user");
    }
    if exchange.is_some_and(|exchange| exchange.keeps_tasks) {
        manners.push("kept until its end where the call goes on as a task");
    }
    if exchange.is_some() && asked.ways.has(StepUp::Challenge) {
        manners.push("the client is told to obtain what its own token lacks");
    }
    Words {
        how,
        why: None,
        held,
        granted: exchange.map(|exchange| exchange.granted.iter().map(group).collect()).unwrap_or_default(),
        audience: exchange.map(|exchange| exchange.audience.clone().unwrap_or_else(|| context.resource.clone())),
        service: exchange.and_then(|exchange| context.services.get(exchange.service).cloned()),
        ttl: exchange.map(|exchange| exchange.ttl),
        max_lifetime: asked.max_lifetime,
        max_age: asked.max_age,
        acr: asked.acr.clone().unwrap_or_default(),
        bound: asked.bound,
        act: asked.act.as_ref().map(|act| {
            let mut parts =
                vec![if act.required { "an actor is required".to_owned() } else { "an actor may".to_owned() }];
            parts.extend(act.clients.as_ref().map(|clients| format!("one of {}", clients.join(", "))));
            parts.extend(act.depth.map(|depth| format!("at most {depth} in a row")));
            parts.join("; ")
        }),
        callers: asked.callers.iter().map(text).collect(),
        may_elevate: asked.may_elevate.iter().map(text).collect(),
        manners,
        raises: Vec::new(),
        shadow: None,
        rule: None,
        tier: None,
    }
}

fn group(group: &Group) -> String {
    let name = |scope: &crate::policy::Scope| {
        if scope.is_built { format!("{}<name>", scope.name) } else { scope.name.to_string() }
    };
    group.members().map(name).collect::<Vec<_>>().join(" or ")
}

/// `unless` is kept as a negation.
fn when_text(condition: &Condition) -> String {
    match condition {
        Condition::Not(inner) => format!("unless {}", text(inner)),
        other => format!("when {}", text(other)),
    }
}

/// A condition as a person would say it.
pub(super) fn text(condition: &Condition) -> String {
    let several = |list: &[Condition], word: &str| {
        let inner = |condition: &Condition| match condition {
            Condition::All(_) | Condition::Any(_) => format!("({})", text(condition)),
            other => text(other),
        };
        list.iter().map(inner).collect::<Vec<_>>().join(word)
    };
    match condition {
        Condition::All(list) => several(list, " and "),
        Condition::Any(list) => several(list, " or "),
        Condition::Not(inner) => match &**inner {
            Condition::Member(root, path, Test::Present(is_there)) => {
                text(&Condition::Member(*root, path.clone(), Test::Present(!is_there)))
            }
            inner => format!("not ({})", text(inner)),
        },
        Condition::Client(list) => format!("the client is {}", one_of(list.clone())),
        Condition::ClientOrigin(list) => {
            format!("the client is of {}", one_of(list.iter().map(Origin::text).collect()))
        }
        Condition::Source(list) => format!("the certificate names {}", one_of(list.clone())),
        Condition::Member(root, path, test) => {
            let root = match root {
                Root::Claim => "the claim",
                Root::Argument => "the argument",
                Root::Meta => "the member of _meta",
            };
            format!("{root} {} {}", path.join("."), test_text(test))
        }
        Condition::Every(path, test) => format!("each item of the argument {} {}", path.join("."), test_text(test)),
        Condition::Some(path, test) => format!("some item of the argument {} {}", path.join("."), test_text(test)),
    }
}

fn test_text(test: &Test) -> String {
    match test {
        Test::Equals(value) => format!("is {}", value_text(value)),
        Test::EqualsName(pieces) => {
            let text: String = pieces.iter().map(|piece| piece.as_deref().unwrap_or("{name}")).collect();
            format!("is {text:?}, with the name that is called")
        }
        Test::In(list) => format!("is {}", one_of(list.iter().map(value_text).collect())),
        Test::Prefix(prefix) => format!("begins with {prefix:?}"),
        Test::Suffix(suffix) => format!("ends with {suffix:?}"),
        Test::Above(bound) => format!("is above {}", bound.text()),
        Test::Below(bound) => format!("is below {}", bound.text()),
        Test::Present(true) => "is there".to_owned(),
        Test::Present(false) => "is not there".to_owned(),
        Test::Within(folder) => format!("is a path within {folder:?}"),
        Test::Host(hosts) => {
            let host = |host: &Host| match host {
                Host::Is(name) => name.clone(),
                Host::Below(end) => format!("*{end}"),
            };
            format!("is a URL at {}", one_of(hosts.iter().map(host).collect()))
        }
    }
}

fn one_of(list: Vec<String>) -> String {
    if list.len() == 1 { list.join("") } else { format!("one of {}", list.join(", ")) }
}

fn value_text(value: &Value<'_>) -> String {
    match value {
        Value::Text(text) => format!("{text:?}"),
        Value::Bool(value) => value.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Number(Some(number)) => number.text(),
        _ => "a value that cannot be shown".to_owned(),
    }
}
