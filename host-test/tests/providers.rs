//! Policies for people: of providers, no word of their dialect is there without need, and three kinds of tokens are refused under each;
//! the list of clients loads; the tools of two servers have rules.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::rc::Rc;

use anyhow::Result;
use host_test::backend::{Backend, Native, Run, Script};
use host_test::scenario::{Case, File, Outcome, Scenario};
use host_test::{paths, yaml};
use serde_json::{Value, json};
use simulated_proxy::{CallPlan, Headers, Network, OutboundCall, UpstreamPlan, UpstreamRequest};
use step_up_core::{Environment, Policy};

/// A provider, as far as it can be told what it does not understand.
#[derive(Clone, Copy)]
struct Provider {
    folder: &'static str,
    /// What begins each scope that its login knows.
    asked: &'static str,
    /// How it answers a request for a token that is not in its words; `None`: it understands.
    answer: fn(&Form) -> Option<CallPlan>,
}

type Form = BTreeMap<String, String>;

const PROVIDERS: [Provider; 6] = [
    Provider { folder: "keycloak", asked: "", answer: |form| without("audience", form, "invalid_request") },
    Provider {
        folder: "entra",
        asked: "api://11111111-2222-3333-4444-555555555555/",
        answer: |form| {
            let is_on_behalf = form.get("requested_token_use").is_some_and(|used| used == "on_behalf_of");
            let is_named = form.get("scope").is_some_and(|scope| scope.starts_with("api://"));
            match (is_on_behalf, is_named) {
                (true, true) => None,
                (false, _) => Some(refusal("unsupported_grant_type")),
                (true, false) => Some(refusal("invalid_scope")),
            }
        },
    },
    Provider { folder: "okta", asked: "", answer: |form| without("audience", form, "invalid_request") },
    Provider { folder: "auth0", asked: "", answer: |form| without("audience", form, "invalid_request") },
    Provider {
        folder: "zitadel",
        asked: "urn:zitadel:iam:org:project:role:",
        answer: |form| {
            let is_role = form.get("scope").is_some_and(|scope| scope.starts_with("urn:zitadel:iam:org:project:role:"));
            if form.get("requested_token_type").is_none_or(|kind| !kind.ends_with(":jwt")) {
                let kind = "urn:ietf:params:oauth:token-type:access_token";
                let opaque = json!({ "access_token": "V1-opaque", "token_type": "Bearer", "issued_token_type": kind });
                return Some(answer(200, &opaque));
            }
            without("audience", form, "invalid_request").or_else(|| (!is_role).then(|| refusal("invalid_scope")))
        },
    },
    Provider { folder: "opaque-tokens", asked: "", answer: |_| None },
];

/// Keycloak and Zitadel answer with a token for others, which is refused by the filter; here they refuse.
fn without(name: &str, form: &Form, error: &str) -> Option<CallPlan> {
    (!form.contains_key(name)).then(|| refusal(error))
}

fn refusal(error: &str) -> CallPlan {
    answer(400, &json!({ "error": error }))
}

fn answer(status: u16, body: &Value) -> CallPlan {
    let headers = Headers::of([(":status", status.to_string().as_str()), ("content-type", "application/json")]);
    CallPlan::Answer { after: 0, headers, body: body.to_string().into_bytes() }
}

/// The core, with the provider in front of the scenario's world.
impl Backend for Provider {
    fn name(&self) -> &'static str {
        self.folder
    }

    fn run(&self, script: &Script, world: Rc<RefCell<dyn Network>>) -> Result<Run> {
        Native.run(script, Rc::new(RefCell::new(Strict { provider: *self, world })))
    }
}

struct Strict {
    provider: Provider,
    world: Rc<RefCell<dyn Network>>,
}

impl Network for Strict {
    fn call(&mut self, now: u64, call: &OutboundCall) -> CallPlan {
        let form: Form = form_urlencoded::parse(&call.body).into_owned().collect();
        let refused = form.get("grant_type").and_then(|_| (self.provider.answer)(&form));
        refused.unwrap_or_else(|| self.world.borrow_mut().call(now, call))
    }

    fn upstream(&mut self, request: &UpstreamRequest) -> UpstreamPlan {
        self.world.borrow_mut().upstream(request)
    }
}

fn policy(folder: &str) -> Value {
    yaml::load(&paths::policies().join(folder).join("policy.yaml")).unwrap()
}

/// The scenarios of a folder, with what is given for their files.
fn scenarios(folder: &str) -> Vec<Scenario> {
    let entries = fs::read_dir(paths::policies().join(folder).join("tests")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let files = files.iter().map(|path| serde_json::from_value::<File>(yaml::load(path).unwrap()).unwrap());
    let complete = |file: File| {
        let File { given, scenarios } = file;
        scenarios.into_iter().map(move |one| Scenario { given: given.overridden(&one.given), ..one })
    };
    files.flat_map(complete).collect()
}

struct NoEnvironment;

impl Environment for NoEnvironment {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }
}

fn fault(document: &Value) -> Option<String> {
    let faults = Policy::load(document.to_string().as_bytes(), &NoEnvironment).err()?;
    Some(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

/// Words that believe, accept or ask what another provider's policy need not (P21 to P23, P28, P38); of a list, each item too.
const DIALECT: [&str; 18] = [
    "/issuers/*/token_type",
    "/issuers/*/tenants",
    "/issuers/*/tenants/in",
    "/issuers/*/claims/*",
    "/issuers/*/ask",
    "/issuers/*/introspection",
    "/audiences",
    "/token_service/subject_issuers",
    "/token_service/request/*",
    "/token_service/also_granted",
    "/token_service/also_audience",
    "/token_service/audience_aliases",
    "/token_service/audience_aliases/*",
    "/token_service/issued_token_type",
    "/token_service/revoke",
    "/limits/max_ttl",
    "/tiers/*/ttl",
    "/tools/*/ttl",
];

/// Each word of the dialect, and the policy without it.
fn words(policy: &Value) -> Vec<(String, Value)> {
    let mut places = Vec::new();
    for pattern in DIALECT {
        find(policy, "", pattern.trim_start_matches('/'), &mut places);
    }
    let is_default = |place: &String| {
        let value = policy.pointer(place).unwrap();
        let ends = |name: &str| place.ends_with(name);
        (ends("/ttl") && value == "60s") || (ends("/revoke") && value != "none")
    };
    places.retain(|place| !is_default(place));
    let items = |place: &String| match policy.pointer(place).and_then(Value::as_array).map_or(0, Vec::len) {
        0 | 1 => Vec::new(),
        count => (0..count).map(|at| format!("{place}/{at}")).collect(),
    };
    let all: Vec<String> = places.iter().flat_map(|place| [vec![place.clone()], items(place)].concat()).collect();
    all.into_iter().map(|place| (place.clone(), removed(policy.clone(), &place))).collect()
}

fn find(value: &Value, at: &str, pattern: &str, found: &mut Vec<String>) {
    let (first, rest) = pattern.split_once('/').unwrap_or((pattern, ""));
    for (name, value) in value.as_object().into_iter().flatten().filter(|(name, _)| first == "*" || first == *name) {
        let place = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        match rest {
            "" => found.push(place),
            rest => find(value, &place, rest, found),
        }
    }
}

/// A map with nothing left in it goes too: nobody would have written it.
fn removed(mut policy: Value, place: &str) -> Value {
    let (parent, name) = place.rsplit_once('/').unwrap();
    let is_empty = match policy.pointer_mut(parent).unwrap() {
        Value::Object(members) => {
            members.remove(&name.replace("~1", "/").replace("~0", "~"));
            members.is_empty()
        }
        Value::Array(items) => {
            items.remove(name.parse().unwrap());
            items.is_empty()
        }
        _ => false,
    };
    if is_empty { removed(policy, parent) } else { policy }
}

fn passes(request: &Value) -> bool {
    request.pointer("/forwarded") == Some(&json!(true))
}

/// The first request that is refused now and was not before: by the filter, or by a login that is asked for the wrong scopes.
fn refused(before: &Outcome, after: &Outcome, provider: &Provider) -> Option<String> {
    let strange = |request: &Value| {
        let scopes = request.pointer("/challenge/scope").and_then(Value::as_str).unwrap_or_default();
        scopes.split(' ').any(|scope| !scope.is_empty() && !scope.starts_with(provider.asked))
    };
    before.requests.iter().zip(&after.requests).find_map(|(before, after)| {
        if passes(before) && !passes(after) {
            let reason = after.pointer("/record/reason").and_then(Value::as_str).unwrap_or("no reason");
            return Some(format!("{} {reason}", after.pointer("/status").unwrap_or(&Value::Null)));
        }
        (strange(after) && !strange(before)).then(|| "the login, which knows no such scope".to_owned())
    })
}

/// And the other way round: nothing that is refused passes for want of a word.
#[test]
fn no_relaxation_without_its_word() {
    let mut complaints = Vec::new();
    for provider in &PROVIDERS {
        let policy = policy(provider.folder);
        let scenarios = scenarios(provider.folder);
        let mut before = Vec::new();
        for scenario in &scenarios {
            let case = Case::of(scenario.clone(), policy.clone());
            let outcome = case.run(provider).unwrap();
            // The provider understands the policy as it is.
            assert_eq!(case.check(&outcome), [], "{}: {}", provider.folder, scenario.name);
            before.push(outcome);
        }
        let words = words(&policy);
        assert!(!words.is_empty(), "{}", provider.folder);
        for (word, without) in words {
            let name = format!("{} without {word}", provider.folder);
            if let Some(fault) = fault(&without) {
                eprintln!("{name}: does not load: {fault}");
                continue;
            }
            let mut found = None;
            for (scenario, before) in scenarios.iter().zip(&before) {
                // A scenario may set what is gone: it has nothing to say of this word.
                let Ok(after) = Case::of(scenario.clone(), without.clone()).run(provider) else { continue };
                if before.requests.iter().zip(&after.requests).any(|(before, after)| passes(after) && !passes(before)) {
                    complaints.push(format!("{name}: passes what was refused: {}", scenario.name));
                }
                let reason = refused(before, &after, provider);
                found = found.or(reason.map(|reason| format!("{reason}: {}", scenario.name)));
            }
            match found {
                Some(found) => eprintln!("{name}: {found}"),
                None => complaints.push(format!("{name}: nothing is refused")),
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// What may pass for an access token of this server, and is none.
const NEVER: [&str; 3] =
    ["an ID token is refused", "a token for another server is refused", "a token of another tenant is refused"];

#[test]
fn tokens_for_others_are_refused_under_every_provider() {
    for provider in &PROVIDERS {
        let scenarios = scenarios(provider.folder);
        for name in NEVER {
            let scenario = scenarios.iter().find(|scenario| scenario.name == name);
            let scenario = scenario.unwrap_or_else(|| panic!("{}: no scenario `{name}`", provider.folder)).clone();
            let case = Case::of(scenario, policy(provider.folder));
            let outcome = case.run(&Native).unwrap();
            assert_eq!(case.check(&outcome), [], "{}: {name}", provider.folder);
            for request in &outcome.requests {
                let is_refused = request["forwarded"] == json!(false) && request["status"] == json!(401);
                assert!(is_refused, "{}: {name}\n{request:#}", provider.folder);
            }
        }
    }
}

/// `policies/clients.yaml` is in the words of a policy, and each entry says where it comes from.
#[test]
fn p24_the_list_of_clients_loads_and_has_its_sources() {
    let file = paths::policies().join("clients.yaml");
    let list = yaml::load(&file).unwrap();
    let mut policy = policy("step-up-on-write");
    policy["clients"] = list["clients"].clone();
    assert_eq!(list.as_object().unwrap().len(), 1, "nothing but `clients`");
    assert!(list["clients"].as_array().unwrap().len() >= 4);
    assert_eq!(fault(&policy), None);
    let text = fs::read_to_string(file).unwrap();
    let date = regex::Regex::new(r"\b20[0-9]{2}-[0-9]{2}").unwrap();
    let mut comment = String::new();
    let mut commented = Vec::new();
    for line in text.lines() {
        if let Some(entry) = line.strip_prefix('#').map(str::trim).filter(|line| line.starts_with("- {")) {
            commented.push(entry.trim_start_matches("- ").to_owned());
        }
        match line.trim_start().strip_prefix('#') {
            Some("") => comment.clear(),
            Some(rest) => comment.push_str(rest),
            None => {
                let is_entry = line.trim_start().starts_with("- {");
                assert!(!is_entry || date.is_match(&comment), "no source with a date: {line}");
                comment.clear();
            }
        }
    }
    // What people uncomment loads beside the rest.
    assert!(commented.len() >= 3, "{commented:?}");
    let whole =
        text.lines().map(|line| line.strip_prefix("#  - {").map_or(line.to_owned(), |rest| format!("  - {{{rest}")));
    let whole = yaml_of(&whole.collect::<Vec<_>>().join("\n"));
    policy["clients"] = whole["clients"].clone();
    assert_eq!(fault(&policy), None);
}

fn yaml_of(text: &str) -> Value {
    let folder = paths::target().join("providers");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("clients.yaml");
    fs::write(&file, text).unwrap();
    yaml::load(&file).unwrap()
}

/// What was read in the lists of these servers.
const TOOLS: [(&str, &str); 2] = [
    (
        "github-server",
        "get_me list_issues search_code create_branch issue_read issue_write label_write projects_write \
         pull_request_review_write discussion_comment_write sub_issue_write push_files create_or_update_file delete_file \
         merge_pull_request delete_repository actions_run_trigger manage_notification_subscription actions_get actions_list \
         add_issue_comment add_comment_to_pending_review assign_copilot_to_issue create_pull_request create_repository \
         dismiss_notification fork_repository get_job_logs get_label list_label mark_all_notifications_read \
         manage_repository_notification_subscription projects_get projects_list pull_request_read request_copilot_review \
         search_pull_requests update_pull_request update_pull_request_branch update_gist list_secret_scanning_alerts get_teams",
    ),
    (
        "kubernetes-server",
        "configuration_view pods_list pods_get pods_log pods_exec pods_run pods_delete resources_get resources_list \
         resources_create_or_update resources_delete resources_scale nodes_log helm_install helm_uninstall helm_list \
         configuration_contexts_list events_list namespaces_list nodes_stats_summary nodes_top pods_list_in_namespace pods_top \
         projects_list",
    ),
];

#[test]
fn every_tool_of_these_servers_has_a_rule() {
    for (folder, tools) in TOOLS {
        let policy = policy(folder);
        let resource = policy["resource"].clone();
        let when: Vec<Value> =
            tools.split_whitespace().map(|tool| json!({ "tool": tool, "token": "caller" })).collect();
        let then: Vec<Value> = when.iter().map(|_| json!({})).collect();
        let given = json!({ "tokens": { "caller": { "aud": resource, "scope": "other" } } });
        let scenario = json!({ "name": folder, "given": given, "when": when, "then": then });
        let case = Case::of(serde_json::from_value(scenario).unwrap(), policy);
        let requests = case.run(&Native).unwrap().requests;
        for (tool, request) in tools.split_whitespace().zip(&requests) {
            // By a rule it is asked for something, refused or free; without one it is refused for that.
            let reason = request["record"]["reason"].as_str().unwrap();
            assert!(!["no_rule", "name_confusable"].contains(&reason), "{folder}: {tool}: {reason}");
        }
        let is_free = |request: &&Value| request["record"]["reason"] == "permitted";
        assert!(requests.iter().filter(is_free).count() * 4 < requests.len(), "{folder}: few are for everybody");
    }
}
