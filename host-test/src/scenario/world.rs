//! The world outside of the filter, as a scenario scripts it: issuers' keys, the token service, the upstream.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde_json::{Map, Value, json};
use simulated_proxy::{CallPlan, Chunk, Headers, Network, OutboundCall, UpstreamPlan, UpstreamRequest};

use super::file::{Answer, Failure, Given, OneOrMany, Upstream};
use super::script::{self, Plan, Policy, TokenService};
use crate::signing::{Key, claims};

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// Plays everybody the filter talks to.
pub struct World {
    policy: Policy,
    now: u64,
    keys: Replies,
    exchange: Replies,
    introspection: Replies,
    revocation: Replies,
    upstream: Upstream,
    /// Callers' tokens by text.
    callers: BTreeMap<String, String>,
    /// What was minted here, by text.
    pub minted: BTreeMap<String, Value>,
    /// What was handed out and is not revoked yet.
    owed: BTreeSet<String>,
}

/// One answer after the other; the last one again and again.
struct Replies {
    answers: Vec<Answer>,
    next: usize,
}

impl Replies {
    fn of(answers: Option<&OneOrMany<Answer>>) -> Replies {
        Replies { answers: answers.map_or_else(Vec::new, |answers| answers.all().to_vec()), next: 0 }
    }

    fn next(&mut self) -> Answer {
        let answer = self.answers.get(self.next).or(self.answers.last()).cloned().unwrap_or_default();
        self.next += 1;
        answer
    }
}

impl World {
    pub fn new(given: &Given, plan: &Plan) -> Result<World> {
        Ok(World {
            policy: plan.policy.clone(),
            now: plan.script.now,
            keys: Replies::of(given.keys.as_ref()),
            exchange: Replies::of(given.exchange.as_ref()),
            introspection: Replies::of(given.introspection.as_ref()),
            revocation: Replies::of(given.revocation.as_ref()),
            upstream: given.upstream.clone().unwrap_or_default(),
            callers: plan.tokens.clone(),
            minted: BTreeMap::new(),
            owed: BTreeSet::new(),
        })
    }

    /// The challenge that the upstream makes.
    pub fn challenge(&self) -> Option<&String> {
        self.upstream.headers.get("www-authenticate")
    }

    /// What a token is called: by the scenario, or by whoever minted it.
    pub fn name_of(&self, token: &str) -> String {
        match self.callers.get(token) {
            Some(name) => name.clone(),
            None if self.minted.contains_key(token) => "elevated".to_owned(),
            None => token.to_owned(),
        }
    }

    fn exchange(&mut self, service: &TokenService, call: &OutboundCall) -> CallPlan {
        let form = form(&call.body);
        let field = |name: &str| form.get(name).cloned().unwrap_or_default();
        let answer = self.exchange.next();
        // RFC 8693, or RFC 7523.
        let subject = form.get("subject_token").or(form.get("assertion")).cloned().unwrap_or_default();
        let mut token = subject.clone();
        if !answer.echoes {
            let audience = form.get("resource").or(form.get("audience")).cloned();
            token = self.mint(service, &answer, &claims(&subject), audience, &field("scope"));
        }
        let mut body = json!({
            "access_token": token, "token_type": "Bearer", "issued_token_type": ACCESS_TOKEN,
            "expires_in": answer.lifetime.unwrap_or(60), "scope": field("scope"),
        });
        if let Some(members) = body.as_object_mut() {
            members.extend(answer.answer.clone());
            members.retain(|_, value| !value.is_null());
        }
        let reply = reply(&answer, &body.to_string());
        if service.revoke.is_some() {
            self.owed.extend(tokens(&reply).into_iter().filter(|token| !self.callers.contains_key(token)));
        }
        reply
    }

    fn introspect(&mut self, issuer: &script::Issuer, call: &OutboundCall) -> CallPlan {
        let answer = self.introspection.next();
        let mut said = claims(&form(&call.body).remove("token").unwrap_or_default());
        if !said.is_object() {
            let resource = self.policy.servers.first().map(|(_, resource)| resource.as_str());
            said = json!({
                "iss": issuer.name, "aud": resource, "sub": "opaque", "client_id": "agent",
                "iat": { "now": -60 }, "exp": { "now": 600 },
            });
        }
        let mut changes = answer.answer.clone();
        changes.entry("active").or_insert(Value::Bool(true));
        // A time that cannot be read is the scenario's own affair.
        let _ = script::change(&mut said, &changes, self.now);
        reply(&answer, &said.to_string())
    }

    fn mint(
        &mut self,
        service: &TokenService,
        answer: &Answer,
        subject: &Value,
        audience: Option<String>,
        scope: &str,
    ) -> String {
        let lifetime = answer.lifetime.unwrap_or(60);
        // One of a family issues in the name of the caller's tenant.
        let is_family = service.issuer.contains('{');
        let issuer = if is_family { subject.get("iss").cloned() } else { None };
        let mut claims = json!({
            "iss": issuer.unwrap_or_else(|| service.issuer.clone().into()), "aud": audience, "sub": subject.get("sub"), "client_id": service.client,
            "jti": format!("elevated-{}", self.minted.len() + 1), "scope": scope,
            "iat": { "now": 0 }, "exp": { "now": lifetime },
        });
        let issuer = self.policy.issuers.iter().find(|issuer| issuer.name == service.issuer);
        let algorithm = issuer.map_or("ES256", |issuer| issuer.algorithm.as_str());
        let token = script::change(&mut claims, &answer.token, self.now)
            .and_then(|()| script::sign(algorithm, answer.forged, &Map::new(), &claims))
            .unwrap_or_default();
        self.minted.insert(token.clone(), claims);
        token
    }
}

impl Network for World {
    fn call(&mut self, now: u64, call: &OutboundCall) -> CallPlan {
        self.now = now;
        let path = call.headers.text(":path").unwrap_or_default();
        let is = |cluster: &str, url: &str| call.cluster == *cluster && script::place(url).1 == path;
        let issuer = self
            .policy
            .issuers
            .iter()
            .find(|issuer| issuer.keys.as_ref().is_some_and(|(cluster, url)| is(cluster, url)));
        if let Some(issuer) = issuer {
            let key = Key::for_tests(&issuer.algorithm).map(|key| key.public()).unwrap_or_default();
            return reply(&self.keys.next(), &json!({ "keys": [key] }).to_string());
        }
        let asked =
            |issuer: &&script::Issuer| issuer.introspection.as_ref().is_some_and(|(cluster, url)| is(cluster, url));
        if let Some(issuer) = self.policy.issuers.iter().find(asked).cloned() {
            return self.introspect(&issuer, call);
        }
        let services = self.policy.token_services.clone();
        let revokes = |service: &TokenService| service.revoke.as_ref().is_some_and(|url| is(&service.cluster, url));
        if let Some(service) = services.iter().find(|service| is(&service.cluster, &service.token)) {
            self.exchange(service, call)
        } else if services.iter().any(revokes) {
            self.owed.remove(&form(&call.body).remove("token").unwrap_or_default());
            reply(&self.revocation.next(), "")
        } else {
            CallPlan::UnknownCluster
        }
    }

    fn upstream(&mut self, request: &UpstreamRequest) -> UpstreamPlan {
        let message: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let id = message.get("id").cloned().unwrap_or_default();
        let result = json!({ "jsonrpc": "2.0", "id": id, "result": {} }).to_string();
        let filled = |text: &str| text.replace("{id}", &id.to_string());
        let plan = &self.upstream;
        let kind = if plan.events.is_empty() { "application/json" } else { "text/event-stream" };
        let status = plan.status.unwrap_or(if id.is_null() && !message.is_null() { 202 } else { 200 });
        let mut headers = Headers::of([(":status", status.to_string().as_str()), ("content-type", kind)]);
        for (name, value) in &plan.headers {
            headers.replace(name.as_bytes(), value.as_bytes());
        }
        let events = plan.events.iter().map(|event| {
            let data = event.data.as_deref().map_or_else(|| result.clone(), filled);
            Chunk { after: event.after.0, bytes: format!("data: {data}\n\n").into_bytes() }
        });
        let mut body: Vec<Chunk> = events.collect();
        if body.is_empty() && (status != 202 || plan.body.is_some()) {
            body.push(Chunk::now(plan.body.as_deref().map_or(result.clone(), filled)));
        }
        UpstreamPlan { after: plan.after.0, headers, body, trailers: None, breaks: plan.breaks }
    }

    fn is_owed(&self) -> bool {
        !self.owed.is_empty()
    }
}

fn reply(answer: &Answer, good: &str) -> CallPlan {
    match answer.fails {
        Some(Failure::Refused) => return CallPlan::ConnectionRefused,
        Some(Failure::Silence) => return CallPlan::Silence,
        Some(Failure::Overflow) => return CallPlan::Overflow,
        Some(Failure::UnknownCluster) => return CallPlan::UnknownCluster,
        None => {}
    }
    let refusal = answer.error.as_ref().map(|error| json!({ "error": error }).to_string());
    let status = answer.status.unwrap_or(if refusal.is_some() { 400 } else { 200 });
    // Another status has no token, unless the scenario says so.
    let otherwise = if status == 200 || !answer.answer.is_empty() { good } else { "" };
    let body = answer.body.clone().or(refusal).unwrap_or_else(|| otherwise.to_owned());
    let headers = Headers::of([(":status", status.to_string().as_str()), ("content-type", "application/json")]);
    CallPlan::Answer { after: answer.after.0, headers, body: body.into_bytes() }
}

/// The tokens in an answer.
fn tokens(reply: &CallPlan) -> Vec<String> {
    let CallPlan::Answer { body, .. } = reply else { return Vec::new() };
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let token = |name: &&str| Some(body.get(name)?.as_str()?.to_owned());
    ["access_token", "refresh_token"].iter().filter_map(token).collect()
}

/// `application/x-www-form-urlencoded`
pub fn form(body: &[u8]) -> BTreeMap<String, String> {
    form_urlencoded::parse(body).into_owned().collect()
}
