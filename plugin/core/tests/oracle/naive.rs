//! A naive decision, written from the page alone. Slow on purpose. Where the page leaves a choice that is easily turned round,
//! a switch says which one was made.
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// NOTES 1: under shadow, a rule for a foreign audience answers with its own first reason; otherwise always `shadow_cannot_exchange`.
pub const FOREIGN_RULES_KEEP_THEIR_REASONS: bool = true;
/// NOTES 2: a raise that is an exchange by its rule's `step_up` and says no `ttl` brings the default's 60 s too.
pub const INHERITED_EXCHANGE_HAS_DEFAULT_TTL: bool = true;
/// NOTES 3: `task: keep` lets a request that asks for a task be elevated.
pub const KEEP_ALLOWS_TASKS: bool = true;
const LEEWAY: i64 = 30;

#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Permit,
    Anonymous,
    Challenge { scopes: Vec<String> },
    Login { max_age: Option<u64>, acr: Vec<String> },
    Refuse(&'static str),
    Elevate { scopes: Vec<String>, audience: String, ttl: u64 },
    NeedsToken,
    Drop,
}
use Answer::*;

pub struct Caller<'a> {
    pub claims: &'a Value,
    pub source: Option<&'a str>,
    pub certificate: Option<&'a str>,
}

// ---------------------------------------------------------------------------------------------------------------- the decision

pub fn decide(policy: &Value, caller: Option<&Caller>, frame: &Value, modern: bool, now: u64) -> Answer {
    let world = World { policy, caller, modern, now };
    if let Some(caller) = caller
        && let Some(reason) = fault_of_token(caller)
    {
        return Refuse(reason); // a bad token is 401 always, before anything else (P7, P26, P32, P33)
    }
    let answer = world.judge_frame(frame);
    match (caller, answer) {
        (None, Anonymous) => Anonymous,
        (None, _) => NeedsToken, // P26: everything else is the same 401; P15: without a token shadow permits nothing
        (Some(_), Anonymous) => Permit,
        (Some(_), answer) => answer,
    }
}

pub fn listed(policy: &Value, caller: Option<&Caller>, kind: &str, name: &str, modern: bool, now: u64) -> bool {
    let world = World { policy, caller, modern, now };
    if policy["lists"] == "pass" {
        return true; // P16
    }
    match kind {
        "templates" => world.uris_of(name).iter().any(|uri| world.is_listed("resources", uri)), // P19
        _ => world.is_listed(kind, name),
    }
}

#[derive(Clone, Copy)]
struct World<'a> {
    policy: &'a Value,
    caller: Option<&'a Caller<'a>>,
    modern: bool,
    now: u64,
}

/// How the raises of a rule are chosen.
#[derive(Clone, Copy, PartialEq)]
enum Raises {
    ThatHold,
    All,           // P20: a completion has no arguments, so every raise applies
    InFavour(u32), // P16: some arguments, such that those of the raises whose bit is set hold that can
}

/// What is called: the thing, what it is called with, and how.
struct Call<'a> {
    kind: &'a str,
    name: &'a str,
    arguments: Option<Value>, // what `arg` reads
    meta: Option<Value>,
    raises: Raises,
    task: bool,
    stream: bool,
}

const WITH_BASELINE: [&str; 13] = [
    "initialize",
    "ping",
    "server/discover",
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "prompts/list",
    "notifications/initialized",
    "notifications/cancelled",
    "notifications/progress",
    "notifications/roots/list_changed",
    "logging/setLevel",
    "resources/unsubscribe",
];
const WITHOUT_TOKEN: [&str; 9] = [
    "initialize",
    "ping",
    "server/discover",
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "prompts/list",
    "notifications/initialized",
    "notifications/cancelled",
];
const WITH_RULES_OF_THEIR_OWN: [&str; 6] = [
    "tools/call",
    "prompts/get",
    "resources/read",
    "resources/subscribe",
    "completion/complete",
    "subscriptions/listen",
];

impl<'a> World<'a> {
    fn judge_frame(&self, frame: &Value) -> Answer {
        let Some(method) = frame["method"].as_str() else { return self.judge_baseline() }; // a response
        let params = &frame["params"];
        let call = |kind, name, arguments: &Value| Call {
            kind,
            name,
            arguments: Some(arguments.clone()).filter(|a| !a.is_null()),
            meta: params.get("_meta").cloned(),
            raises: Raises::ThatHold,
            task: params.get("task").is_some(),
            stream: false,
        };
        match method {
            "tools/call" | "prompts/get" => match params["name"].as_str() {
                Some(name) => self.judge(&call(
                    if method == "tools/call" { "tools" } else { "prompts" },
                    name,
                    &params["arguments"],
                )),
                None => Refuse("params_invalid"),
            },
            "resources/read" => match params["uri"].as_str() {
                Some(uri) => self.judge(&call("resources", uri, &Value::Null)),
                None => Refuse("params_invalid"),
            },
            "resources/subscribe" if !self.modern || !params["uri"].is_null() => match params["uri"].as_str() {
                Some(_) if self.caller.is_none() => NeedsToken, // P26: subscriptions need a token
                Some(uri) => self.judge(&Call { stream: true, ..call("resources", uri, &Value::Null) }),
                None => Refuse("params_invalid"),
            },
            "subscriptions/listen" => self.judge_listening(params, &call),
            "completion/complete" => self.judge_completion(&params["ref"], &call),
            _ if WITH_BASELINE.contains(&method) => {
                if self.caller.is_none() && WITHOUT_TOKEN.contains(&method) && self.has_anonymous_rule() {
                    return Anonymous; // P26
                }
                self.judge_baseline()
            }
            _ => {
                if let Found::Nothing = find(&self.policy["methods"], "methods", method) {
                    return match method.starts_with("notifications/") && !self.modern {
                        // P20, P1: the baseline is asked of every request
                        true if self.caller.is_none() => NeedsToken,
                        true => match self.judge_baseline() {
                            Permit => Drop,
                            refused => refused,
                        },
                        false => Refuse("unknown_method"),
                    };
                }
                self.judge(&call("methods", method, params)) // P17: `arg` reads a method's `params`
            }
        }
    }

    /// P20: every URI is judged as `resources/read`; the first that is not allowed gives the reason.
    fn judge_listening<'b>(&self, params: &'b Value, call: &dyn Fn(&'b str, &'b str, &Value) -> Call<'b>) -> Answer {
        let folds =
            |object: &Map<String, Value>, word: &str| object.keys().any(|k| k != word && k.eq_ignore_ascii_case(word));
        if params.as_object().is_some_and(|p| folds(p, "notifications")) {
            return Refuse("params_invalid");
        }
        let mut uris: Vec<&str> = vec![];
        match params.get("notifications") {
            None => {}
            Some(Value::Object(members)) => {
                if folds(members, "resourceSubscriptions") {
                    return Refuse("params_invalid");
                }
                for (name, member) in members {
                    match member {
                        Value::Array(list) if name == "resourceSubscriptions" && list.iter().all(Value::is_string) => {
                            uris = list.iter().filter_map(Value::as_str).collect();
                        }
                        Value::Bool(_) if name != "resourceSubscriptions" => {}
                        _ => return Refuse("params_invalid"),
                    }
                }
            }
            Some(_) => return Refuse("params_invalid"),
        }
        for uri in uris {
            let answer = self.judge(&Call { stream: true, ..call("resources", uri, &Value::Null) });
            if !matches!(answer, Permit | Anonymous) {
                return answer;
            }
        }
        self.judge_baseline()
    }

    /// P20: judged as what `ref` names.
    fn judge_completion<'b>(
        &self,
        reference: &'b Value,
        call: &dyn Fn(&'b str, &'b str, &Value) -> Call<'b>,
    ) -> Answer {
        match (reference["type"].as_str(), reference["name"].as_str(), reference["uri"].as_str()) {
            (Some("ref/prompt"), Some(name), _) => {
                self.judge(&Call { raises: Raises::All, ..call("prompts", name, &Value::Null) })
            }
            (Some("ref/resource"), _, Some(uri)) => {
                let answers = self.uris_of(uri).into_iter().map(|uri| {
                    self.judge(&Call {
                        kind: "resources",
                        name: &uri,
                        raises: Raises::All,
                        ..call("resources", "", &Value::Null)
                    })
                });
                answers.min_by_key(rank).unwrap_or(Refuse("no_rule")) // whether *some* URI could be read: the best of them
            }
            _ => Refuse("params_invalid"),
        }
    }

    /// What needs no rule: the baseline, and the server's own terms (P7, P20).
    fn judge_baseline(&self) -> Answer {
        let Some(caller) = self.caller else { return NeedsToken };
        let facts = Facts { caller, arguments: None, meta: None, name: None, favour: false };
        let need = self.need_of_server();
        let failures = self.failures(&need, &facts, caller);
        verdict(failures, self.policy_in_shadow(), Permit)
    }

    fn judge(&self, call: &Call) -> Answer {
        let rules = &self.policy[call.kind];
        let found = find(rules, call.kind, call.name);
        if let Found::Rule(rule) = &found
            && rule["anonymous"] == true
        {
            return Anonymous; // P26: nothing of the server's applies, with a token neither
        }
        let Some(caller) = self.caller else { return NeedsToken };
        let arguments = match (call.kind, call.raises) {
            ("resources", Raises::ThatHold) => Some(arguments_of_resource(rules, call.name)),
            _ => call.arguments.clone(),
        };
        let name = Some(call.name).filter(|_| matches!(call.kind, "tools" | "prompts"));
        let favour = matches!(call.raises, Raises::InFavour(_));
        let facts = Facts { caller, arguments: arguments.as_ref(), meta: call.meta.as_ref(), name, favour };

        let rule = match found {
            Found::Rule(rule) => rule,
            Found::Nothing => return self.without_rule(&facts, "no_rule", &[None], call),
            Found::Confusable(rules) => return self.without_rule(&facts, "name_confusable", &rules, call),
        };
        let need = self.need_of_rule(rule, &facts, call);
        let mut failures = vec![];
        if need.unscopable {
            failures.push(Refuse("name_not_scopable")); // step 1 of P7
        }
        failures.extend(self.failures(&need, &facts, caller));
        let shadow = self.rule_in_shadow(rule);
        if !need.is_exchange() {
            return verdict(failures, shadow, Permit);
        }
        if !self.may_act(caller) || need.may_elevate.iter().any(|c| facts.truth(c, Truth::True) != Truth::True) {
            failures.push(Refuse("not_eligible")); // step 11, P8
        }
        if shadow && self.is_foreign(&need) {
            if FOREIGN_RULES_KEEP_THEIR_REASONS && !failures.is_empty() {
                return failures.remove(0); // P15: it refuses in shadow mode too
            }
            failures.retain(|f| *f == Refuse("token_not_bound"));
            return failures.pop().unwrap_or(Refuse("shadow_cannot_exchange"));
        }
        if call.task && !(KEEP_ALLOWS_TASKS && need.keep) {
            failures.push(Refuse("task_not_elevated")); // step 12, P12
        }
        if call.stream {
            failures.push(Refuse("not_elevatable")); // step 12, P20
        }
        let scopes: BTreeSet<String> = need.granted().map(|g| g.ask.clone()).collect();
        let ttl = need.ttl.unwrap_or(60);
        verdict(failures, shadow, Elevate { scopes: scopes.into_iter().collect(), audience: self.audience(&need), ttl })
    }

    /// No rule, no call (P1). In shadow it goes on, if every rule that it might fall under is in shadow (P15).
    fn without_rule(&self, facts: &Facts, reason: &'static str, candidates: &[Option<&Value>], call: &Call) -> Answer {
        let in_shadow = |c: &Option<&Value>| c.map_or(self.policy_in_shadow(), |rule| self.rule_in_shadow(rule));
        if !candidates.iter().all(in_shadow) {
            return Refuse(reason);
        }
        let needs: Vec<Need> = candidates.iter().flatten().map(|rule| self.need_of_rule(rule, facts, call)).collect();
        let bound = thumbprint(facts.caller).is_some();
        if !bound && (self.need_of_server().bound || needs.iter().any(|n| n.bound)) {
            return Refuse("token_not_bound"); // not of class policy, so not suspended
        }
        if needs.iter().any(|need| need.is_exchange() && self.is_foreign(need)) {
            return Refuse("shadow_cannot_exchange");
        }
        Permit
    }

    /// Steps 2 to 10 of P7: what fails, in their order.
    fn failures(&self, need: &Need, facts: &Facts, caller: &Caller) -> Vec<Answer> {
        let mut failures = vec![];
        if need.deny {
            failures.push(Refuse("denied"));
        }
        if need.bound && thumbprint(caller).is_none() {
            failures.push(Refuse("token_not_bound")); // P33
        }
        if need.callers.iter().any(|c| facts.truth(c, Truth::True) != Truth::True) {
            failures.push(Refuse("caller_not_allowed")); // P14: unknown is no
        }
        if !need.act.allows(&caller.claims["act"]) {
            failures.push(Refuse("actor_not_allowed")); // P32
        }
        if need.standing_refused && need.granted().any(|g| self.holds(g)) {
            failures.push(Refuse("standing_privilege")); // P9
        }
        let missing = |part: &&Part| part.way != "exchange" && part.groups.iter().any(|g| !self.holds(g));
        let lacking: Vec<&Part> = need.parts.iter().filter(missing).collect();
        if lacking.iter().any(|part| part.way == "none") {
            failures.push(Refuse("scope_not_obtainable")); // P7
        } else if !lacking.is_empty() {
            failures.push(Challenge { scopes: self.named_by_challenge(need) });
        }
        let lifetime = match (date(&caller.claims["exp"]), date(&caller.claims["iat"])) {
            (Some(exp), Some(iat)) => Some(exp - iat),
            _ => None,
        };
        if need.max_lifetime.is_some_and(|most| lifetime.is_none_or(|l| l > most as i64)) {
            failures.push(Refuse("token_too_long_lived_for_rule")); // P13
        }
        let now = self.now as i64;
        let fresh = |most: u64| {
            date(&caller.claims["auth_time"]).is_some_and(|at| now - at <= most as i64 && at <= now + LEEWAY)
        };
        let too_old = need.max_age.is_some_and(|most| !fresh(most));
        let acr = caller.claims["acr"].as_str();
        let too_weak = need.acr.as_ref().is_some_and(|list| !list.iter().any(|value| Some(value.as_str()) == acr));
        if (too_old || too_weak) && self.can("rfc9470") {
            failures.push(Login { max_age: need.max_age, acr: need.acr.clone().unwrap_or_default() }); // P37
        } else if too_old {
            failures.push(Refuse("login_too_old"));
        } else if too_weak {
            failures.push(Refuse("login_too_weak"));
        }
        failures
    }

    fn is_listed(&self, kind: &str, name: &str) -> bool {
        let found = find(&self.policy[kind], kind, name);
        if self.caller.is_none() {
            let Found::Rule(rule) = found else { return false };
            let annotated = strings(&self.policy["annotate"]).contains(&"security_schemes");
            return rule["anonymous"] == true // P16: anonymous callers see anonymous things
                || self.has_anonymous_rule() && annotated && self.some_token_reaches(rule, name);
        }
        if let Found::Rule(rule) = found
            && self.rule_in_shadow(rule)
        {
            return true; // P15
        }
        (0..16).any(|some| {
            let raises = Raises::InFavour(some);
            let call = Call { kind, name, arguments: None, meta: None, raises, task: false, stream: false };
            matches!(self.judge(&call), Permit | Anonymous | Challenge { .. } | Elevate { .. } | Login { .. })
        })
    }

    fn some_token_reaches(&self, rule: &Value, name: &str) -> bool {
        let tier = &self.policy["tiers"][rule["tier"].as_str().unwrap_or("")];
        let denied = rule == "deny" || rule["deny"] == true || tier["deny"] == true;
        let template = |terms: &Value| groups(&terms["scope"]).iter().any(|g| g.ask.ends_with("{name}"));
        self.rule_in_shadow(rule) || !denied && !((template(rule) || template(tier)) && !is_scopable(name))
    }

    // ------------------------------------------------------------------------------------------------------ the requirement

    fn need_of_server(&self) -> Need<'a> {
        let mut need = Need::default();
        need.parts.push(Part { way: "challenge".into(), groups: groups(&self.policy["baseline"]) });
        need.join(self.policy, &["callers", "act", "binding"]);
        need
    }

    /// The baseline, the rule with its tier, and every raise that holds or is unknown (P7).
    fn need_of_rule(&self, rule: &'a Value, facts: &Facts, call: &Call) -> Need<'a> {
        let mut need = self.need_of_server();
        if rule == "deny" {
            need.deny = true;
            return need;
        }
        let way = self.fill(&mut need, rule, "challenge", false);
        for (at, raise) in rule["raise"].as_array().into_iter().flatten().enumerate() {
            let open = matches!(call.raises, Raises::InFavour(some) if some >> at & 1 == 1);
            let (no, yes) = if open { (Truth::True, Truth::False) } else { (Truth::False, Truth::True) };
            let applies = match (raise.get("when"), raise.get("unless")) {
                (Some(when), _) => facts.truth(when, no) != Truth::False,
                (_, Some(unless)) => facts.truth(unless, yes) != Truth::True,
                _ => true,
            };
            if applies || call.raises == Raises::All {
                self.fill(&mut need, raise, &way, true);
            }
        }
        for group in need.parts.iter_mut().flat_map(|part| part.groups.iter_mut()).filter(|g| g.ask.ends_with("{name}"))
        {
            need.unscopable |= !is_scopable(call.name);
            group.ask = group.ask.replace("{name}", call.name); // P3
            group.any = vec![group.ask.clone()];
        }
        need
    }

    /// Joins one part (a rule or a raise) with its tier into the requirement (P5). Gives the part's `step_up`.
    fn fill(&self, need: &mut Need<'a>, part: &'a Value, inherited: &str, raise: bool) -> String {
        let tier = &self.policy["tiers"][part["tier"].as_str().unwrap_or("")];
        let said = part["step_up"].as_str().or(tier["step_up"].as_str());
        let way = self.resolved(said.unwrap_or(inherited));
        need.join(tier, &[]);
        need.join(part, &[]);
        let mut groups_of_part = groups(&tier["scope"]);
        groups_of_part.extend(groups(&part["scope"]));
        let says_ttl = part.get("ttl").is_some() || tier.get("ttl").is_some();
        if way == "exchange" && !says_ttl && (!raise || said.is_some() || INHERITED_EXCHANGE_HAS_DEFAULT_TTL) {
            need.ttl = smaller(need.ttl, Some(60)); // P5: defaults are joined too
        }
        need.parts.push(Part { way: way.clone(), groups: groups_of_part });
        way
    }

    /// P24: `auto` is resolved for each caller, before the join.
    fn resolved(&self, way: &str) -> String {
        match way {
            "auto" if self.can("steps_up") => "challenge".into(),
            "auto" => "exchange".into(),
            way => way.into(),
        }
    }

    /// P24: what `clients` says of this caller. Ids come before origins.
    fn can(&self, word: &str) -> bool {
        let Some(client) = self.caller.and_then(client_id) else { return false };
        let entries = || self.policy["clients"].as_array().into_iter().flatten();
        let by_id =
            entries().find(|e| e.get("client").is_some() && client_is(client, &strings(&e["client"])) == Truth::True);
        let origin = |e: &&Value| origin_is(client, &strings(&e["client_origin"])) == Truth::True;
        let entry = by_id.or_else(|| entries().find(|e| e.get("client_origin").is_some() && origin(e)));
        entry.is_some_and(|e| e[word] == true)
    }

    /// P24: the baseline, all `held` scopes, and up to 2025-11-25 what the caller holds that some rule wants held.
    fn named_by_challenge(&self, need: &Need) -> Vec<String> {
        let own = self.own_scopes();
        let mut named = BTreeSet::new();
        for group in need.parts.iter().filter(|p| p.way != "exchange").flat_map(|p| &p.groups) {
            let by_name = |scope: &&String| own.contains(scope.as_str());
            let held = Some(&group.ask).filter(by_name).or_else(|| group.any.iter().find(by_name));
            named.insert(held.unwrap_or(&group.ask).clone()); // P3
        }
        if !self.modern {
            let granted: Vec<&String> = need.granted().map(|g| &g.ask).collect();
            for scope in self.held_somewhere() {
                if own.contains(scope.as_str()) && !granted.contains(&&scope) {
                    named.insert(scope);
                }
            }
        }
        named.into_iter().collect()
    }

    fn held_somewhere(&self) -> Vec<String> {
        let mut scopes = vec![];
        for kind in ["tools", "prompts", "resources", "methods"] {
            for rule in self.policy[kind].as_object().into_iter().flat_map(Map::values) {
                let mut need = Need::default();
                let way = self.fill(&mut need, rule, "challenge", false);
                for raise in rule["raise"].as_array().into_iter().flatten() {
                    self.fill(&mut need, raise, &way, true);
                }
                let held = need.parts.iter().filter(|p| p.way != "exchange").flat_map(|p| &p.groups);
                scopes.extend(held.flat_map(|g| g.any.clone()).filter(|s| !s.ends_with("{name}")));
            }
        }
        scopes
    }

    fn own_scopes(&self) -> BTreeSet<&str> {
        self.caller
            .and_then(|c| c.claims["scope"].as_str())
            .unwrap_or("")
            .split(' ')
            .filter(|s| !s.is_empty())
            .collect()
    }

    /// P3, P4: one member is enough, by name or by what a held scope implies.
    fn holds(&self, group: &Group) -> bool {
        let mut covered: BTreeSet<String> = self.own_scopes().into_iter().map(String::from).collect();
        loop {
            let implied = |scope: &String| strings(&self.policy["scopes"][scope]["implies"]);
            let next: Vec<String> = covered.iter().flat_map(implied).map(String::from).collect();
            let before = covered.len();
            covered.extend(next);
            if covered.len() == before {
                return group.any.iter().any(|scope| covered.contains(scope));
            }
        }
    }

    /// P8: `may_act`, where it is there, names the filter.
    fn may_act(&self, caller: &Caller) -> bool {
        let filter = &self.policy["token_service"]["client"]["id"];
        caller.claims.get("may_act").is_none_or(|may| may["sub"] == *filter || may["client_id"] == *filter)
    }

    fn audience(&self, need: &Need) -> String {
        need.audience.unwrap_or(self.policy["resource"].as_str().unwrap_or("")).to_string()
    }

    /// P10, P22: what is equivalent to the resource is no other audience.
    fn is_foreign(&self, need: &Need) -> bool {
        // P15: as it is written; another spelling refuses more.
        self.audience(need) != self.policy["resource"].as_str().unwrap_or("")
    }

    fn has_anonymous_rule(&self) -> bool {
        let rules = ["tools", "prompts", "resources"].map(|kind| self.policy[kind].as_object());
        rules.into_iter().flatten().flat_map(Map::values).any(|rule| rule["anonymous"] == true)
    }

    fn policy_in_shadow(&self) -> bool {
        self.policy["mode"] == "shadow" && self.is_before(&self.policy["until"])
    }

    /// P15: a rule's own `mode` wins, in both directions; a rule whose date has come enforces.
    fn rule_in_shadow(&self, rule: &Value) -> bool {
        match rule["mode"].as_str() {
            Some(mode) => mode == "shadow" && self.is_before(&rule["until"]),
            None => self.policy_in_shadow(),
        }
    }

    fn is_before(&self, until: &Value) -> bool {
        until.as_str().and_then(seconds_of_date).is_some_and(|date| (self.now as i64) < date)
    }

    /// URIs of a template, enough to meet every rule: each variable takes each word that stands in the rules, and one that does not.
    fn uris_of(&self, template: &str) -> Vec<String> {
        let Some((before, rest)) = template.split_once('{') else { return vec![template.to_string()] };
        let Some((_, after)) = rest.split_once('}') else { return vec![template.to_string()] };
        let mut words: Vec<&str> = vec!["zq0"];
        for key in self.policy["resources"].as_object().into_iter().flat_map(Map::keys) {
            words.extend(key.split(|c: char| !is_variable_char(c)).filter(|w| !w.is_empty() && w.len() <= 64));
        }
        words.iter().flat_map(|word| self.uris_of(&format!("{before}{word}{after}"))).collect()
    }
}

fn rank(answer: &Answer) -> u8 {
    match answer {
        Permit | Anonymous => 0,
        Elevate { .. } => 1,
        Challenge { .. } => 2,
        Login { .. } => 3,
        _ => 4,
    }
}

/// The first that fails is the reason; in shadow the first that is not suspended (P15). Steps 11 to 14 are recorded only.
fn verdict(failures: Vec<Answer>, shadow: bool, otherwise: Answer) -> Answer {
    if shadow {
        return failures.into_iter().find(|f| *f == Refuse("token_not_bound")).unwrap_or(Permit);
    }
    failures.into_iter().next().unwrap_or(otherwise)
}

fn fault_of_token(caller: &Caller) -> Option<&'static str> {
    let mut act = caller.claims.get("act");
    while let Some(actor) = act {
        let text_or_unsaid = |word: &str| actor.get(word).is_none_or(Value::is_string);
        let named = actor.get("sub").or(actor.get("client_id")).is_some();
        if !actor.is_object() || !named || !text_or_unsaid("sub") || !text_or_unsaid("client_id") {
            return Some("claim_malformed"); // P32
        }
        act = actor.get("act");
    }
    let cnf = &caller.claims["cnf"];
    if cnf.as_object().is_some_and(|members| members.keys().any(|k| k != "x5t#S256")) {
        return Some("token_bound");
    }
    if !cnf.is_null() && (thumbprint(caller).is_none() || thumbprint(caller) != caller.certificate) {
        return Some("binding_mismatch");
    }
    None
}

fn thumbprint<'a>(caller: &'a Caller) -> Option<&'a str> {
    caller.claims["cnf"]["x5t#S256"].as_str()
}

fn client_id<'a>(caller: &'a Caller) -> Option<&'a str> {
    caller.claims["client_id"].as_str().or(caller.claims["azp"].as_str()) // P21
}

struct Group {
    any: Vec<String>,
    ask: String,
}

struct Part {
    way: String, // `challenge`, `none` or `exchange`
    groups: Vec<Group>,
}

#[derive(Default)]
struct Act {
    required: bool,
    clients: Option<Vec<String>>,
    depth: Option<u64>,
}

impl Act {
    fn allows(&self, act: &Value) -> bool {
        if act.is_null() {
            return !self.required;
        }
        let is_actor = |client: &String| act["sub"] == **client || act["client_id"] == **client;
        let depth = std::iter::successors(Some(act), |a| a.get("act")).count() as u64;
        self.clients.as_ref().is_none_or(|list| list.iter().any(is_actor))
            && self.depth.is_none_or(|most| depth <= most)
    }
}

#[derive(Default)]
struct Need<'a> {
    parts: Vec<Part>,
    audience: Option<&'a str>,
    ttl: Option<u64>,
    max_age: Option<u64>,
    max_lifetime: Option<u64>,
    callers: Vec<&'a Value>,
    may_elevate: Vec<&'a Value>,
    acr: Option<Vec<String>>,
    act: Act,
    deny: bool,
    bound: bool,
    standing_refused: bool,
    keep: bool,
    unscopable: bool,
}

impl<'a> Need<'a> {
    /// The join of P5, of all words but scopes and `step_up`. `only` names the words that are read; none means all.
    fn join(&mut self, terms: &'a Value, only: &[&str]) {
        let get = |word: &str| terms.get(word).filter(|_| only.is_empty() || only.contains(&word));
        let time = |word: &str| get(word).and_then(duration);
        self.deny |= get("deny").is_some_and(|v| v == true);
        self.standing_refused |= get("standing").is_some_and(|v| v == "refuse");
        self.bound |= get("binding").is_some_and(|v| v == "certificate");
        self.keep |= get("task").is_some_and(|v| v == "keep");
        self.ttl = smaller(self.ttl, time("ttl"));
        self.max_age = smaller(self.max_age, time("max_age"));
        self.max_lifetime = smaller(self.max_lifetime, time("max_lifetime"));
        self.callers.extend(get("callers"));
        self.may_elevate.extend(get("may_elevate"));
        self.audience = self.audience.or(get("audience").and_then(Value::as_str));
        let owned = |v: &Value| strings(v).into_iter().map(String::from).collect::<Vec<_>>();
        self.acr = self.acr.take().or(get("acr").map(owned));
        if let Some(act) = get("act") {
            self.act.required |= act["required"] == true;
            self.act.depth = smaller(self.act.depth, act["depth"].as_u64());
            if let Some(clients) = act.get("clients").map(owned) {
                self.act.clients = Some(match self.act.clients.take() {
                    Some(before) => before.into_iter().filter(|c| clients.contains(c)).collect(),
                    None => clients,
                });
            }
        }
    }

    fn is_exchange(&self) -> bool {
        self.parts.iter().any(|part| part.way == "exchange")
    }

    fn granted(&self) -> impl Iterator<Item = &Group> {
        self.parts.iter().filter(|part| part.way == "exchange").flat_map(|part| &part.groups)
    }
}

/// P3: a scope, a list of which all are required, or groups with `any`.
fn groups(scope: &Value) -> Vec<Group> {
    match scope {
        Value::String(one) => vec![Group { any: vec![one.clone()], ask: one.clone() }],
        Value::Array(list) => list.iter().flat_map(groups).collect(),
        Value::Object(group) => {
            let any: Vec<String> = strings(&group["any"]).into_iter().map(String::from).collect();
            let ask = group.get("ask").and_then(Value::as_str).map_or_else(|| any[0].clone(), String::from);
            vec![Group { any, ask }]
        }
        _ => vec![],
    }
}

// ----------------------------------------------------------------------------------------------------------- finding the rule

enum Found<'a> {
    Rule(&'a Value),
    Nothing,
    Confusable(Vec<Option<&'a Value>>), // the rules under which a server might run it
}

fn find<'a>(rules: &'a Value, kind: &str, name: &str) -> Found<'a> {
    let lower = name.to_ascii_lowercase();
    if kind == "methods" {
        let own = |m: &&str| m.eq_ignore_ascii_case(name);
        if WITH_BASELINE.iter().any(&own) || WITH_RULES_OF_THEIR_OWN.iter().any(own) {
            return Found::Nothing; // P20: prefixes skip them
        }
    }
    let empty = Map::new();
    let keys: Vec<&String> = rules.as_object().unwrap_or(&empty).keys().collect();
    let plain = if kind == "resources" { is_plain_uri(name) } else { is_plain(name) };
    if !plain {
        if let Some(rule) = rules.get(name).filter(|_| is_exact(name, kind)) {
            return Found::Rule(rule);
        }
        let readings = readings(name, kind);
        let as_it_is = readings.iter().flat_map(|r| winners(&keys, kind, r, false));
        let mut all: Vec<Option<&Value>> = as_it_is.map(|key| rules.get(key)).collect();
        all.extend(
            readings.iter().flat_map(|r| winners(&keys, kind, &r.to_ascii_lowercase(), true)).map(|key| rules.get(key)),
        );
        all.push(None); // as it is, it has no rule
        return match kind {
            "methods" => Found::Nothing,
            _ => Found::Confusable(all),
        };
    }
    let first = winners(&keys, kind, name, false);
    let second = winners(&keys, kind, &lower, true);
    if let Some(both) = first.iter().find(|key| second.contains(key)) {
        return Found::Rule(&rules[both.as_str()]);
    }
    if first.is_empty() && (second.is_empty() || kind == "methods") {
        // P19: a query needs a pattern with a query, else only an exact rule is met
        let query = kind == "resources" && name.contains('?');
        if !query {
            return Found::Nothing;
        }
        // Without its query it might be another one's.
        let bare = lower.split('?').next().unwrap_or("");
        let others = winners(&keys, kind, bare, true).into_iter().map(|key| rules.get(key));
        return Found::Confusable(others.chain([None]).collect());
    }
    if kind == "methods" {
        return Found::Nothing; // P20: answered as a method that nobody knows
    }
    let one = |list: &[&String]| list.first().map(|key| &rules[key.as_str()]);
    Found::Confusable(vec![one(&first), one(&second)])
}

/// The keys that win: the exact one, else those with the most literal characters, else `*`. Several only if they tie (P1, P19).
fn winners<'a>(keys: &[&'a String], kind: &str, name: &str, fold: bool) -> Vec<&'a String> {
    let folded = |key: &str| if fold { key.to_ascii_lowercase() } else { key.to_string() };
    if let Some(key) = keys.iter().find(|key| is_exact(key, kind) && folded(key) == name) {
        return vec![*key];
    }
    let matching: Vec<&String> = keys
        .iter()
        .copied()
        .filter(|key| !is_exact(key, kind) && matched(&folded(key), kind, name).is_some())
        .collect();
    let most = matching.iter().map(|key| literals(key, kind)).max();
    matching.into_iter().filter(|key| Some(literals(key, kind)) == most).collect()
}

fn is_exact(key: &str, kind: &str) -> bool {
    !(key.contains('*') || kind == "resources" && key.contains('{'))
}

fn literals(key: &str, kind: &str) -> usize {
    let mut inside = false;
    let counts = |c: &char| {
        inside |= *c == '{' && kind == "resources";
        let literal = !inside && *c != '*';
        inside &= *c != '}';
        literal
    };
    key.chars().filter(counts).count()
}

/// Whether a pattern matches; of a template also its variables.
fn matched(pattern: &str, kind: &str, name: &str) -> Option<Vec<(String, String)>> {
    if kind == "resources" && pattern.contains('{') {
        return match_template(pattern, name);
    }
    if kind == "resources" && name.contains('?') && !pattern.contains('?') {
        return None; // P19
    }
    let (before, after) = pattern.split_once('*')?;
    let long_enough = name.len() >= before.len() + after.len();
    (long_enough && name.starts_with(before) && name.ends_with(after)).then(Vec::new)
}

/// P19: a variable matches `[A-Za-z0-9._~-]{1,64}`, undecoded.
fn match_template(template: &str, uri: &str) -> Option<Vec<(String, String)>> {
    let Some((before, rest)) = template.split_once('{') else { return (template == uri).then(Vec::new) };
    let (variable, after) = rest.split_once('}')?;
    let uri = uri.strip_prefix(before)?;
    let most = uri.chars().take_while(|c| is_variable_char(*c)).count().min(64);
    for length in (1..=most).rev() {
        if let Some(others) = match_template(after, &uri[length..]) {
            let mut all = vec![(variable.to_string(), uri[..length].to_string())];
            all.extend(others);
            return Some(all);
        }
    }
    None
}

/// P17: on a resource's rule `arg` reads the `uri` and the variables of its template.
fn arguments_of_resource(rules: &Value, uri: &str) -> Value {
    let empty = Map::new();
    let keys: Vec<&String> = rules.as_object().unwrap_or(&empty).keys().collect();
    let mut arguments = json!({ "uri": uri });
    for key in winners(&keys, "resources", uri, false).into_iter().take(1) {
        for (variable, value) in matched(key, "resources", uri).unwrap_or_default() {
            arguments[variable] = json!(value);
        }
    }
    arguments
}

fn is_variable_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._~-".contains(c)
}

/// P1
fn is_plain(name: &str) -> bool {
    let characters = name.chars().all(|c| c.is_ascii_alphanumeric() || "_.:/-".contains(c));
    (1..=128).contains(&name.len()) && characters && name.split('/').all(|s| !["", ".", ".."].contains(&s))
}

/// P3
fn is_scopable(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

/// P19: whether a URI may match more than an exact rule. (A query is looked at pattern by pattern.)
fn is_plain_uri(uri: &str) -> bool {
    let lower = uri.to_ascii_lowercase();
    let scheme = uri.split_once(':').map_or("", |(scheme, _)| scheme);
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    if !is_scheme || uri.contains(['\\', '#']) || uri.chars().any(|c| !c.is_ascii_graphic()) {
        return false;
    }
    if ["%2e", "%2f", "%5c", "%00", "%25"].iter().any(|code| lower.contains(code)) {
        return false;
    }
    for piece in lower.split('%').skip(1) {
        match piece.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) if is_variable_char(byte as char) => return false, // an unreserved character, percent-encoded
            Some(_) if !piece.starts_with('+') => {}
            _ => return false, // a `%` that encodes nothing
        }
    }
    if lower.starts_with("file:") && !lower.starts_with("file:///") {
        return false;
    }
    let before_query = uri.split('?').next().unwrap_or("");
    let rest = before_query.split_once(':').map_or(before_query, |(_, rest)| rest);
    let path = match rest.strip_prefix("//") {
        Some(hier) => {
            let authority = hier.split('/').next().unwrap_or("");
            if authority.contains('@') || authority == "." || authority == ".." {
                return false;
            }
            &hier[authority.len()..]
        }
        None => rest,
    };
    let inner = path.strip_prefix('/').unwrap_or(path);
    if inner.is_empty() {
        return true;
    }
    let inner = inner.strip_suffix('/').unwrap_or(inner); // one final slash is no empty segment
    inner.split('/').all(|segment| !["", ".", ".."].contains(&segment))
}

/// P15: every way that a server might read a name that is not plain.
fn readings(name: &str, kind: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::from([name.to_string()]);
    loop {
        let mut more = BTreeSet::new();
        for text in &all {
            more.insert(text.to_ascii_lowercase());
            more.insert(text.trim().to_string());
            if kind == "resources" {
                more.insert(text.chars().filter(|c| c.is_ascii() && !c.is_ascii_control() && *c != '\\').collect());
                more.insert(text.replace('\\', "/"));
                more.insert(text.split(['#', '?']).next().unwrap_or("").to_string());
                more.insert(percent_decoded(text));
                if let Some((scheme, rest)) = text.split_once("://") {
                    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
                    let host = authority.rsplit('@').next().unwrap_or("");
                    more.insert(format!("{scheme}://{host}/{}", resolved_path(path)));
                }
                if let Some((scheme, path)) =
                    text.split_once(':').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("file"))
                {
                    let path =
                        path.strip_prefix("//").map_or(path, |rest| rest.split_once('/').map_or("", |(_, path)| path));
                    more.insert(format!("{scheme}:///{}", resolved_path(path))); // RFC 8089: on this machine
                }
            } else {
                more.insert(text.chars().filter(|c| c.is_ascii_alphanumeric() || "_.:/-".contains(*c)).collect());
                more.insert(resolved_path(text));
                for (at, _) in text.match_indices('/') {
                    more.insert(text[at + 1..].to_string());
                }
            }
        }
        let before = all.len();
        all.extend(more);
        if all.len() == before {
            return all;
        }
    }
}

fn resolved_path(path: &str) -> String {
    let mut segments: Vec<&str> = vec![];
    for segment in path.split('/') {
        match segment {
            ".." => drop(segments.pop()),
            "." | "" => {}
            segment => segments.push(segment),
        }
    }
    segments.join("/")
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = vec![];
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let code = rest.strip_prefix('%').and_then(|r| r.get(..2)).and_then(|code| u8::from_str_radix(code, 16).ok());
        let taken = if code.is_some() { 3 } else { c.len_utf8() };
        match code {
            Some(byte) => bytes.push(byte),
            None => bytes.extend(rest[..taken].bytes()),
        }
        rest = &rest[taken..];
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

// ----------------------------------------------------------------------------------------------------------- conditions (P17)

/// Kleene's three values: `all` is the least of them, `any` the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Truth {
    False,
    Unknown,
    True,
}

impl From<bool> for Truth {
    fn from(value: bool) -> Truth {
        if value { Truth::True } else { Truth::False }
    }
}

impl std::ops::Not for Truth {
    type Output = Truth;
    fn not(self) -> Truth {
        match self {
            Truth::True => Truth::False,
            Truth::False => Truth::True,
            Truth::Unknown => Truth::Unknown,
        }
    }
}

fn all(truths: impl Iterator<Item = Truth>) -> Truth {
    truths.min().unwrap_or(Truth::True)
}

fn any(truths: impl Iterator<Item = Truth>) -> Truth {
    truths.max().unwrap_or(Truth::False)
}

struct Facts<'a> {
    caller: &'a Caller<'a>,
    arguments: Option<&'a Value>,
    meta: Option<&'a Value>,
    name: Option<&'a str>,
    favour: bool,
}

/// What stands at the end of a path.
enum Place<'a> {
    Unknowable,
    Absent,
    Here(&'a Value),
}

impl Facts<'_> {
    /// `wanted` is what would be good for the caller; under `favour` all that asks about arguments is that (P16).
    fn truth(&self, condition: &Value, wanted: Truth) -> Truth {
        let Some(object) = condition.as_object() else { return Truth::Unknown };
        let each = |list: &Value| -> Vec<Truth> {
            list.as_array().into_iter().flatten().map(|c| self.truth(c, wanted)).collect()
        };
        let about_arguments = ["arg", "meta", "every", "some"].iter().any(|word| object.contains_key(*word));
        if self.favour && about_arguments {
            return wanted;
        }
        if let Some(list) = object.get("all") {
            return all(each(list).into_iter());
        }
        if let Some(list) = object.get("any") {
            return any(each(list).into_iter());
        }
        if let Some(inner) = object.get("not") {
            return !self.truth(inner, !wanted);
        }
        if let Some(list) = object.get("client") {
            return client_id(self.caller).map_or(Truth::Unknown, |id| client_is(id, &strings(list)));
        }
        if let Some(list) = object.get("client_origin") {
            return client_id(self.caller).map_or(Truth::Unknown, |id| origin_is(id, &strings(list)));
        }
        if let Some(list) = object.get("source") {
            return self.caller.source.map_or(Truth::Unknown, |source| strings(list).contains(&source).into());
        }
        if let Some(inner) = object.get("every").or(object.get("some")) {
            let Place::Here(Value::Array(items)) = place(self.arguments, inner["arg"].as_str().unwrap_or("")) else {
                return Truth::Unknown;
            };
            let truths = items.iter().map(|item| self.test(inner, item));
            return if object.contains_key("every") { all(truths) } else { any(truths) };
        }
        let (root, path) = if let Some(path) = object.get("claim") {
            (Some(self.caller.claims), path)
        } else if let Some(path) = object.get("arg") {
            (self.arguments, path)
        } else {
            (self.meta, &condition["meta"])
        };
        match (place(root, path.as_str().unwrap_or("")), object.get("present")) {
            (Place::Unknowable, _) => Truth::Unknown,
            (Place::Absent | Place::Here(Value::Null), Some(said)) => (*said == false).into(),
            (Place::Here(_), Some(said)) => (*said == true).into(),
            (Place::Absent, None) => Truth::Unknown,
            (Place::Here(Value::Array(items)), None) if object.contains_key("claim") => {
                any(items.iter().map(|item| self.test(condition, item)))
            }
            (Place::Here(value), None) => self.test(condition, value),
        }
    }

    /// One operator on one value that is no list. Another type is unknown.
    fn test(&self, operator: &Value, value: &Value) -> Truth {
        let text = value.as_str();
        let on_text =
            |operand: &str, holds: fn(&str, &str) -> bool| text.map_or(Truth::Unknown, |t| holds(t, operand).into());
        let on_number = |operand: &Value, holds: fn(&f64, &f64) -> bool| match (number(value), number(operand)) {
            (Some(a), Some(b)) => holds(&a, &b).into(),
            _ => Truth::Unknown,
        };
        let Some(object) = operator.as_object() else { return Truth::Unknown };
        for (word, operand) in object {
            match word.as_str() {
                "equals" => return self.equal(value, operand, true),
                "in" => {
                    return any(operand.as_array().into_iter().flatten().map(|item| self.equal(value, item, false)));
                }
                "prefix" => return on_text(operand.as_str().unwrap_or(""), |t, o| t.starts_with(o)),
                "suffix" => return on_text(operand.as_str().unwrap_or(""), |t, o| t.ends_with(o)),
                "above" => return on_number(operand, f64::gt),
                "below" => return on_number(operand, f64::lt),
                "within" => return text.map_or(Truth::Unknown, |t| within(t, operand.as_str().unwrap_or(""))),
                "host" => return text.map_or(Truth::Unknown, |t| host(t, &strings(operand))),
                _ => {}
            }
        }
        Truth::Unknown
    }

    fn equal(&self, value: &Value, operand: &Value, template: bool) -> Truth {
        match (value, operand) {
            (Value::String(a), Value::String(b)) if template && b.contains('{') => match self.with_name(b) {
                Some(b) => (*a == b).into(),
                None => Truth::Unknown,
            },
            (Value::String(a), Value::String(b)) => (a == b).into(),
            (Value::Bool(a), Value::Bool(b)) => (a == b).into(),
            (Value::Number(_), Value::Number(_)) => match (number(value), number(operand)) {
                (Some(a), Some(b)) => (a == b).into(),
                _ => Truth::Unknown,
            },
            _ => Truth::Unknown,
        }
    }

    /// `{name}` is the name that was called, `{{` is a brace. Nothing where the name cannot be made a scope.
    fn with_name(&self, text: &str) -> Option<String> {
        let mut made = String::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("{{") {
                made.push('{');
                rest = after;
            } else if let Some(after) = rest.strip_prefix("{name}") {
                made.push_str(self.name.filter(|name| is_scopable(name))?);
                rest = after;
            } else {
                let c = rest.chars().next()?;
                made.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
        Some(made)
    }
}

fn place<'a>(root: Option<&'a Value>, path: &str) -> Place<'a> {
    let Some(mut here) = root else { return Place::Absent };
    if !here.is_object() {
        return Place::Unknowable; // a server may read an object in a text
    }
    let segments: Vec<String> = match path.strip_prefix('/') {
        Some(pointer) => pointer.split('/').map(|s| s.replace("~1", "/").replace("~0", "~")).collect(),
        None => path.split('.').map(String::from).collect(),
    };
    for segment in segments {
        match here {
            Value::Array(_) => return Place::Unknowable, // a list on the way
            Value::Object(members) => {
                if members.keys().any(|key| *key != segment && key.eq_ignore_ascii_case(&segment)) {
                    return Place::Unknowable; // alone or beside the right one
                }
                match members.get(&segment) {
                    Some(member) => here = member,
                    None => return Place::Absent,
                }
            }
            _ => return Place::Absent, // below a scalar there is nothing
        }
    }
    Place::Here(here)
}

/// Numbers here have few digits, so a double is exact enough. More than 15 digits are unknown.
fn number(value: &Value) -> Option<f64> {
    let number = value.as_number()?;
    let integer_digits =
        number.as_i64().map(|i| i.unsigned_abs()).or(number.as_u64()).map_or(0, |i| i.to_string().len());
    number.as_f64().filter(|_| integer_digits <= 15)
}

fn within(text: &str, folder: &str) -> Truth {
    let odd = text.contains(['\\', '%']) || text.chars().any(char::is_control);
    let Some(below_root) = text.strip_prefix('/').filter(|_| !odd) else { return Truth::Unknown };
    let path = below_root.strip_suffix('/').unwrap_or(below_root);
    if !below_root.is_empty() && path.split('/').any(|s| ["", ".", ".."].contains(&s)) {
        return Truth::Unknown;
    }
    format!("/{path}/").replace("//", "/").starts_with(folder).into()
}

fn host(text: &str, entries: &[&str]) -> Truth {
    let odd = |c: char| !c.is_ascii() || c.is_ascii_control() || c == ' ' || c == '\\' || c == '%';
    let Some((scheme, rest)) = text.split_once("://") else { return Truth::Unknown };
    let scheme = scheme.to_ascii_lowercase();
    if text.contains(odd) || !["http", "https"].contains(&scheme.as_str()) {
        return Truth::Unknown;
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    let host = match authority.split_once(':') {
        Some((host, port)) if port == default_port(&scheme) => host,
        Some(_) => return Truth::Unknown, // another port, an empty one, user information, an IPv6 literal
        None => authority,
    };
    let host = host.to_ascii_lowercase();
    let label = |l: &str| !l.is_empty() && l.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if !host.split('.').all(label) {
        return Truth::Unknown;
    }
    let last = host.rsplit('.').next().unwrap_or("");
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let hexadecimal = last.strip_prefix("0x").is_some_and(|h| h.bytes().all(|b| b.is_ascii_hexdigit()));
    let is_number = digits(last) || hexadecimal;
    let decimal = |l: &str| digits(l) && l.parse::<u8>().is_ok_and(|n| n.to_string() == l);
    if is_number && !(host.split('.').count() == 4 && host.split('.').all(decimal)) {
        return Truth::Unknown;
    }
    let matches = |entry: &&str| {
        let entry = entry.to_ascii_lowercase();
        match entry.strip_prefix('*') {
            Some(suffix) => !is_number && host.len() > suffix.len() && host.ends_with(suffix),
            None => entry == host,
        }
    };
    entries.iter().any(matches).into()
}

fn default_port(scheme: &str) -> &'static str {
    if scheme == "https" { "443" } else { "80" }
}

// -------------------------------------------------------------------------------------------------------- clients' ids (P14)

fn looks_like_url(id: &str) -> bool {
    let lower = id.to_ascii_lowercase();
    lower.starts_with("http://") || lower.starts_with("https://")
}

/// The host in lower case, and the rest as it is, of an id that is a URL: https, without user information.
fn host_and_rest(id: &str) -> Option<(String, &str)> {
    let rest = id.strip_prefix("https://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.split(':').next()?;
    (!authority.contains('@')).then(|| (host.to_ascii_lowercase(), &rest[host.len()..]))
}

fn has_dot_segments(rest: &str) -> bool {
    rest.split(['?', '#']).next().unwrap_or("").split('/').any(|s| s == "." || s == "..")
}

fn client_is(id: &str, list: &[&str]) -> Truth {
    let same = |entry: &&str| *entry == id || host_and_rest(id).is_some() && host_and_rest(id) == host_and_rest(entry);
    if list.iter().any(same) {
        return Truth::True;
    }
    let several_spellings = looks_like_url(id)
        && match host_and_rest(id) {
            None => true, // http, a scheme in upper case, user information
            Some((_, rest)) => {
                let port = rest.split(['/', '?', '#']).next().unwrap_or("");
                port == ":443" || port == ":" || rest.contains('#') || has_dot_segments(rest)
            }
        };
    let url_listed = list.iter().any(|entry| looks_like_url(entry));
    if url_listed && several_spellings { Truth::Unknown } else { Truth::False }
}

fn origin_is(id: &str, list: &[&str]) -> Truth {
    let Some((host, rest)) = host_and_rest(id) else { return Truth::Unknown };
    let port = rest.split(['/', '?', '#']).next().unwrap_or("");
    let has_path = rest[port.len()..].starts_with('/');
    if host.is_empty() || !has_path || rest.contains('#') || has_dot_segments(rest) {
        return Truth::Unknown;
    }
    let port = if port == ":443" { "" } else { port };
    let is = |origin: &&str| {
        host_and_rest(origin).is_some_and(|(h, p)| h == host && (if p == ":443" { "" } else { p }) == port)
    };
    list.iter().any(is).into()
}

// ---------------------------------------------------------------------------------------------------------------- small things

/// A value or a list of texts.
fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(one) => vec![one],
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    }
}

fn smaller(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.into_iter().chain(b).min()
}

fn duration(value: &Value) -> Option<u64> {
    let text = value.as_str()?;
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let unit = match &text[split..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => return None,
    };
    Some(text[..split].parse::<u64>().ok()? * unit)
}

/// P21: the fraction of a date is cut.
fn date(value: &Value) -> Option<i64> {
    value.as_i64().or(value.as_f64().map(|f| f.floor() as i64))
}

fn seconds_of_date(text: &str) -> Option<i64> {
    let fields: Vec<i64> = text.split('-').map(|f| f.parse().ok()).collect::<Option<_>>()?;
    let [year, month, day] = fields[..] else { return None };
    let leap = |y: i64| y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
    let mut days: i64 = (1970..year).map(|y| if leap(y) { 366 } else { 365 }).sum();
    let lengths = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    days += lengths.iter().take(month as usize - 1).sum::<i64>() + day - 1;
    Some(days * 86400)
}
