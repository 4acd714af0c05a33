//! A policy, changed so that a record is enough to ask it: tokens are believed as they were believed when it was recorded.

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};
use step_up_core::{Kind, Millis, Need, Policy, ServerView, Who};

use super::conditions::{self, Answer};
use crate::policy;

/// A policy, as it is written and as it is understood.
pub(super) struct Document {
    written: Value,
    pub policy: Policy,
}

impl Document {
    /// An issuer's dialect, its keys and bounds say whether a token is believed and what is read in it: that is in the record. Secrets
    /// are not needed.
    pub(super) fn of(document: &Value) -> Result<Document> {
        policy::loaded(document).context("this policy will not load: `stepup check` says where")?;
        let mut written = document.clone();
        if let Some(issuers) = written.get_mut("issuers").and_then(Value::as_object_mut) {
            for (name, issuer) in issuers {
                let algorithms = issuer.get("algorithms").cloned().unwrap_or_else(|| json!(["ES256"]));
                let mut plain = Map::new();
                plain.insert(
                    "jwks".to_owned(),
                    json!({ "cluster": "stepup-replay-keys", "url": "https://keys.invalid/jwks" }),
                );
                plain.insert("algorithms".to_owned(), algorithms);
                if name.contains('{') {
                    plain.insert("advertised".to_owned(), json!(false));
                }
                for word in ["tenants", "ask", "advertised"] {
                    plain.extend(issuer.get(word).map(|value| (word.to_owned(), value.clone())));
                }
                *issuer = Value::Object(plain);
            }
        }
        let services = written.get_mut("token_services").and_then(Value::as_object_mut);
        let mut services: Vec<&mut Value> = services.into_iter().flat_map(|services| services.values_mut()).collect();
        services.iter_mut().for_each(|service| without_secret(service));
        if let Some(service) = written.get_mut("token_service") {
            without_secret(service);
        }
        if let Some(members) = written.as_object_mut() {
            members.remove("sessions");
        }
        let policy = policy::loaded(&written).context("it cannot be changed so that records are enough to ask it")?;
        Ok(Document { written, policy })
    }

    pub(super) fn server(&self, name: &str) -> Option<ServerView<'_>> {
        self.policy.view().servers().find(|server| server.name() == name)
    }

    pub(super) fn need(&self, server: &str, kind: Option<Kind>, name: &str, who: &Who, at: Millis) -> Option<Need> {
        let server = self.server(server)?;
        Some(match kind {
            Some(kind) => server.need(kind, name, who, at),
            None => server.baseline(who, at),
        })
    }

    /// Conditions that could matter to this rule and cannot be answered from a record.
    pub(super) fn open(&self, server: &str, need: &Need, kind: Option<Kind>, found: &mut Vec<Value>) {
        let is_uri = kind == Some(Kind::Resource);
        let Some(server) = self.written_server(server) else { return };
        if let Some(callers) = server.get("callers") {
            conditions::open(callers, is_uri, found);
        }
        let rule = kind.zip(need.rule()).and_then(|(kind, rule)| server.get(kind.word())?.get(rule));
        let Some(rule) = rule else { return };
        conditions::open(rule, is_uri, found);
        let tier = |terms: &Value| terms.get("tier").and_then(Value::as_str).map(str::to_owned);
        let raises = rule.get("raise").and_then(Value::as_array).into_iter().flatten();
        for tier in raises.filter_map(tier).chain(tier(rule)) {
            if let Some(terms) = self.written.get("tiers").and_then(|tiers| tiers.get(&tier)) {
                conditions::open(terms, is_uri, found);
            }
        }
    }

    /// The document with these answers in place of conditions.
    pub(super) fn answered(&self, kind: Option<Kind>, answers: &[(Value, Answer)]) -> Value {
        let is_uri = kind == Some(Kind::Resource);
        let mut document = self.written.clone();
        let parts = ["tools", "prompts", "resources", "methods", "callers", "tiers", "servers"];
        for part in parts {
            if let Some(value) = document.get_mut(part) {
                *value = conditions::answered(value, is_uri, answers);
            }
        }
        document
    }

    fn written_server(&self, name: &str) -> Option<&Value> {
        match self.written.get("servers") {
            Some(servers) => servers.get(name),
            None => Some(&self.written),
        }
    }

    pub(super) fn has_several_servers(&self) -> bool {
        self.policy.view().servers().len() > 1
    }

    /// Is this an issuer that it names, and not by a family?
    pub(super) fn has_issuer(&self, name: &str) -> bool {
        self.policy.view().issuers().any(|issuer| issuer.name() == name)
    }
}

fn without_secret(service: &mut Value) {
    if let Some(client) = service.get_mut("client").and_then(Value::as_object_mut) {
        let id = client.get("id").cloned().unwrap_or_default();
        *client = [("id".to_owned(), id), ("auth".to_owned(), json!("cluster"))].into_iter().collect();
    }
}
