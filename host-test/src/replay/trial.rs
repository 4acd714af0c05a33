//! One record, tried: built again in every way that it leaves open, and decided by the gate.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::{Map, Value, json};
use step_up_core::{Class, Kind, Millis, Need, Reason, Who};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::conditions::{ANSWERS, Answer};
use super::document::Document;
use super::worlds::{self, DIMENSIONS, World};
use crate::backend::Native;
use crate::scenario::{Case, Scenario};

/// What comes of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was not decided by rules, and a policy says nothing of it.
    NotOfRules,
    /// Whatever the record leaves open, it comes to this.
    Decided(Decision),
    /// What would have to be known.
    Untold(String),
}

/// What was done, and in shadow mode what would have been.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Decision {
    pub verdict: String,
    pub reason: String,
    pub would: Option<String>,
    pub rule: Option<String>,
}

/// The policy that is asked, and the one it was recorded under.
pub(super) struct Trial<'d> {
    pub policy: &'d Document,
    pub under: Option<&'d Document>,
    pub at: Millis,
}

/// What a record is about, to be asked again.
struct Asked<'r> {
    kind: Option<Kind>,
    server: &'r str,
    /// As a scenario has it.
    request: &'r Value,
    is_anonymous: bool,
}

/// Answers to open conditions, and the worlds in which they were given.
type Decided = Vec<(Vec<usize>, World, Decision)>;

/// More sets of answers are not tried.
const MOST_ANSWERS: usize = 27;

impl Decision {
    /// Of a record.
    pub(super) fn of(record: &Value) -> Decision {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let reason = text(record.get("reason"));
        // Whatever the token service said: it was asked.
        let is_asked =
            reason == "elevated" || known(&reason).is_some_and(|reason| reason.class() == Class::TokenService);
        let verdict = if is_asked { "elevate".to_owned() } else { text(record.get("verdict")) };
        let would = record.get("would").map(|would| text(would.get("verdict")));
        let rule = record.get("rule").and_then(Value::as_str).map(str::to_owned);
        Decision { verdict, reason, would, rule }
    }

    /// Is the same done?
    pub(super) fn is_alike(&self, other: &Decision) -> bool {
        self.verdict == other.verdict
    }

    /// The same by all that a record says?
    fn is_that_of(&self, record: &Value, recorded: &Decision, own: &Value) -> bool {
        let is_asked = recorded.verdict == "elevate";
        let same = |name: &str| record.get(name) == own.get(name);
        self.verdict == recorded.verdict
            && (is_asked || self.reason == recorded.reason)
            && self.would == recorded.would
            && self.rule == recorded.rule
            && record.get("step_up") == own.get("step_up")
            && (is_asked || (same("missing") && same("would")))
            && same("raised")
    }
}

impl Trial<'_> {
    /// What the policy would have decided.
    pub(super) fn of(&self, record: &Value) -> Result<Outcome> {
        let text = |name: &str| record.get(name).and_then(Value::as_str);
        let reason = text("reason").unwrap_or_default();
        let recorded = Decision::of(record);
        if !matches!(recorded.verdict.as_str(), "permit" | "challenge" | "deny" | "elevate") {
            return Ok(Outcome::NotOfRules);
        }
        match known(reason).map(Reason::class) {
            // The server's list, and no request, was wrong.
            _ if reason == "list_unreadable" => return Ok(Outcome::NotOfRules),
            _ if matches!(reason, "task_not_elevated" | "not_elevatable") => {
                return Ok(untold("whether it is a task, or a stream"));
            }
            Some(class) if is_of_rules(class) => {}
            Some(_) => return Ok(Outcome::NotOfRules),
            None => return Ok(untold("a reason that this version does not know")),
        }
        if matches!(reason, "tool_changed" | "tool_unpinned") {
            return Ok(untold("what the tool looked like"));
        }
        let Some(server) = text("server") else { return Ok(untold("the server")) };
        let documents: Vec<&Document> = std::iter::once(self.policy).chain(self.under).collect();
        if documents.iter().any(|document| document.server(server).is_none()) {
            return Ok(untold("what has become of a server that a policy does not have"));
        }
        let fields = ["name", "subject", "client", "issuer"];
        if fields.iter().filter_map(|name| text(name)).any(|value| value.len() >= 256 && value.ends_with("...")) {
            return Ok(untold("the whole of a text that was cut"));
        }
        let Some((kind, name, request)) = request(record) else { return Ok(untold("what was asked for")) };
        let is_anonymous = record.get("anonymous") == Some(&Value::Bool(true));
        if !is_anonymous {
            let Some(issuer) = text("issuer") else { return Ok(untold("the issuer")) };
            if documents.iter().any(|document| !document.has_issuer(issuer)) {
                return Ok(untold(
                    "whether a token of that issuer is accepted: the policy does not name it, or by a family",
                ));
            }
        }
        let who = text("client").map_or(Who::Nameless, |client| Who::Client(client.to_owned()));
        let needs: Vec<Need> =
            documents.iter().filter_map(|document| document.need(server, kind, &name, &who, self.at)).collect();
        if record.get("actors").is_some() && needs.iter().any(|need| need.words().act.is_some()) {
            return Ok(untold("what else the actor is called"));
        }
        let mut open = Vec::new();
        documents.iter().zip(&needs).for_each(|(document, need)| document.open(server, need, kind, &mut open));
        let Some(worlds) = worlds::all(record, &needs, &name) else {
            return Ok(untold("the token: it could have been too many"));
        };
        let combinations = answers(open.len());
        if combinations.len() > MOST_ANSWERS {
            return Ok(untold("what its conditions ask: there are too many"));
        }
        let asked = Asked { kind, server, request: &request, is_anonymous };
        let mut decided: Decided = Vec::new();
        for combination in combinations {
            let given: Vec<(Value, Answer)> =
                open.iter().cloned().zip(combination.iter().filter_map(|at| ANSWERS.get(*at).copied())).collect();
            let worlds = match self.under {
                None => worlds.clone(),
                Some(under) => {
                    let Some(run) = self.run(under, &asked, &given, &worlds)? else {
                        return Ok(untold("what its conditions ask: the older policy does not load without them"));
                    };
                    let fits = |own: &Value| Decision::of(own).is_that_of(record, &recorded, own);
                    worlds.iter().zip(&run).filter(|(_, own)| fits(own)).map(|(world, _)| world.clone()).collect()
                }
            };
            if worlds.is_empty() {
                continue;
            }
            let Some(run) = self.run(self.policy, &asked, &given, &worlds)? else {
                return Ok(untold("what its conditions ask: the policy does not load without them"));
            };
            for (world, own) in worlds.into_iter().zip(&run) {
                let reason = own.get("reason").and_then(Value::as_str).unwrap_or_default();
                if !known(reason).map(Reason::class).is_some_and(is_of_rules) {
                    return Ok(untold(&format!("how it was asked: built again, it is {reason}")));
                }
                decided.push((combination.clone(), world, Decision::of(own)));
            }
        }
        Ok(told(&decided, &open))
    }

    /// The records of this request, made in each of the worlds. `None`: the policy does not load so.
    fn run(
        &self,
        document: &Document,
        asked: &Asked<'_>,
        answers: &[(Value, Answer)],
        worlds: &[World],
    ) -> Result<Option<Vec<Value>>> {
        let Asked { kind, server, request, is_anonymous } = *asked;
        let policy = document.answered(kind, answers);
        if crate::policy::loaded(&policy).is_err() || document.server(server).is_none() {
            return Ok(None);
        }
        let (mut tokens, mut when) = (Map::new(), Vec::new());
        for (at, world) in worlds.iter().enumerate() {
            let token = format!("world-{at}");
            let mut request = request.clone();
            if let Some(members) = request.as_object_mut() {
                members.insert("server".to_owned(), json!(server));
                if document.has_several_servers() {
                    members.insert("route".to_owned(), json!(server));
                }
                if !is_anonymous {
                    members.insert("token".to_owned(), json!(token));
                }
                if let Some(certificate) = world.certificate {
                    members.insert("certificate".to_owned(), json!(certificate));
                }
            }
            when.push(request);
            tokens.insert(token, Value::Object(world.claims.clone()));
        }
        let clock = OffsetDateTime::from_unix_timestamp(i64::try_from(self.at.0 / 1000)?)?.format(&Rfc3339)?;
        let given = json!({ "clock": clock, "tokens": tokens });
        let scenario: Scenario =
            serde_json::from_value(json!({ "name": "replay", "given": given, "when": when, "then": [] }))?;
        let outcome = Case::of(scenario, policy).run(&Native)?;
        let record = |request: &Value| request.get("record").cloned().unwrap_or_default();
        Ok(Some(outcome.requests.iter().map(record).collect()))
    }
}

/// One decision in all worlds, or what it hangs on.
fn told(decided: &Decided, open: &[Value]) -> Outcome {
    let Some((_, _, first)) = decided.first() else {
        return untold("how it came about: under the older policy, nothing that could be built comes to this record");
    };
    let alike = |one: &Decision, other: &Decision| one.is_alike(other) && one.would == other.would;
    if decided.iter().all(|(_, _, decision)| alike(decision, first)) {
        return Outcome::Decided(first.clone());
    }
    let mut hangs_on = BTreeSet::new();
    for (at, (answers, world, decision)) in decided.iter().enumerate() {
        for (other_answers, other_world, other) in decided.iter().skip(at + 1) {
            if alike(decision, other) {
                continue;
            }
            let differ = |one: &[usize], two: &[usize]| -> Vec<usize> {
                one.iter().zip(two).enumerate().filter(|(_, (one, two))| one != two).map(|(at, _)| at).collect()
            };
            match (differ(answers, other_answers).as_slice(), differ(&world.choice, &other_world.choice).as_slice()) {
                ([], [dimension]) => {
                    hangs_on.extend(DIMENSIONS.get(*dimension).map(|name| (*name).to_owned()));
                }
                ([condition], []) => {
                    hangs_on.extend(open.get(*condition).map(|asked| format!("whether {asked}")));
                }
                _ => {}
            }
        }
    }
    if hangs_on.is_empty() {
        return untold("several things together that no record has");
    }
    Outcome::Untold(hangs_on.into_iter().collect::<Vec<_>>().join("; "))
}

/// Kind and name of what a record is about, and the request as a scenario has it.
fn request(record: &Value) -> Option<(Option<Kind>, String, Value)> {
    let text = |name: &str| record.get(name).and_then(Value::as_str);
    let (method, name) = (text("method")?, text("name"));
    let call = |params: Value| json!({ "method": method, "params": params });
    Some(match (method, text("kind"), name) {
        ("tools/call", _, Some(name)) => (Some(Kind::Tool), name.to_owned(), json!({ "tool": name })),
        ("prompts/get", _, Some(name)) => (Some(Kind::Prompt), name.to_owned(), call(json!({ "name": name }))),
        ("resources/read" | "resources/subscribe" | "resources/unsubscribe", _, Some(uri)) => {
            (Some(Kind::Resource), uri.to_owned(), call(json!({ "uri": uri })))
        }
        ("tools/call" | "prompts/get" | "resources/read" | "completion/complete" | "subscriptions/listen", _, _) => {
            return None;
        }
        (_, Some("method"), _) if text("rule").is_some() => (Some(Kind::Method), method.to_owned(), call(json!({}))),
        // P2: what needs no rule needs the baseline, as a ping does.
        (_, Some("method") | None, _) => (None, String::new(), json!({ "method": "ping" })),
        _ => return None,
    })
}

/// Every set of answers to so many conditions, by position; one more than are tried where there are too many.
fn answers(open: usize) -> Vec<Vec<usize>> {
    let mut all: Vec<Vec<usize>> = vec![Vec::new()];
    for _ in 0..open {
        if all.len() > MOST_ANSWERS {
            break;
        }
        let longer = |set: Vec<usize>| (0..ANSWERS.len()).map(move |answer| [set.as_slice(), &[answer]].concat());
        all = all.into_iter().flat_map(longer).collect();
    }
    all
}

/// Those are what a rule comes to.
fn is_of_rules(class: Class) -> bool {
    matches!(class, Class::Done | Class::Policy | Class::PolicyKept | Class::TokenService)
}

fn known(reason: &str) -> Option<Reason> {
    Reason::ALL.iter().copied().find(|known| known.name() == reason)
}

fn untold(what: &str) -> Outcome {
    Outcome::Untold(what.to_owned())
}
