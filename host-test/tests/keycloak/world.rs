//! What a trial runs in: a realm of its own, and real Envoy with the filter and a real MCP server that belong to it.

use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use host_test::signing::Key;
use host_test::stack::{self, Answer, EnvoyStack, Options, Request, Server, Setup, Stack as _, send};
use serde_json::{Value, json};

use super::issuer::{self, Issuer, basic};
use super::policy::policy;
use super::realm::SECRET;
use super::server::keycloak;

pub struct World {
    pub issuer: Issuer,
    /// The MCP server: the URL of its clients, through the filter.
    pub mcp: String,
    pub stack: EnvoyStack,
}

/// Who the filter is to Keycloak.
pub struct Filter {
    pub id: String,
    pub secret: &'static str,
}

impl Filter {
    /// As we advise it.
    pub fn good() -> Filter {
        Filter::named("step-up-filter")
    }

    pub fn named(id: &str) -> Filter {
        Filter { id: id.to_owned(), secret: SECRET }
    }
}

impl World {
    /// With the client that we advise, and the policy of [`World::policy`].
    pub fn start(trial: &str) -> Result<World> {
        World::start_as(trial, |_| Filter::good(), |_, _| {})
    }

    /// With another client (some depend on the MCP server's URL), and a changed policy.
    pub fn start_as(
        trial: &str,
        filter: impl FnOnce(&str) -> Filter,
        change: impl FnOnce(&World, &mut Value),
    ) -> Result<World> {
        let keycloak = keycloak()?;
        let name = issuer::new_name();
        let introspection = format!("{}/protocol/openid-connect/token/introspect", issuer::url(&keycloak, &name));
        let existing = stack::Issuer { port: keycloak.port, introspection, secret: SECRET.to_owned() };
        // One worker: what it remembers is part of some trials.
        let options = Options { workers: 1, setup: Setup::Open, issuer: Some(existing), ..Options::default() };
        let mut stack = EnvoyStack::prepare(&options)?;
        let mcp = stack.url(Server::Notes);
        if let Some(recorder) = &keycloak.recorder {
            let of_everybody = |ours: String, name: &str| (ours, name.to_owned());
            recorder.begin(
                trial,
                vec![
                    of_everybody(issuer::url(&keycloak, &name), "http://127.0.0.1:8180/realms/corp"),
                    of_everybody(format!("/realms/{name}/"), "/realms/corp/"),
                    of_everybody(mcp.clone(), "https://mcp.example.test/mcp"),
                ],
            );
        }
        let issuer = Issuer::create(&Arc::clone(&keycloak), &name, &mcp)?;
        let filter = filter(&mcp);
        stack.replace_credential(Some(&basic(&filter.id, filter.secret)))?;
        stack.wait_until_ready()?;
        let world = World { issuer, mcp, stack };
        let mut policy = world.policy(&filter.id);
        change(&world, &mut policy);
        world.apply(&policy)?;
        Ok(world)
    }

    /// Keycloak as issuer and token service.
    pub fn policy(&self, filter: &str) -> Value {
        policy(&self.issuer.url, &self.mcp, filter)
    }

    /// Gives Envoy this policy, and waits until it has it. The filter finds the secret of all clients as `KEYCLOAK_SECRET`,
    /// and the key of the one that has a key as `KEYCLOAK_KEY`.
    pub fn apply(&self, policy: &Value) -> Result<()> {
        let reloads = || self.stack.stat("extension_config_discovery.http_filter.step-up.config_reload");
        let before = reloads()?;
        let key = Key::for_tests("ES256")?.text();
        self.stack.update_document(&Setup::Configuration(policy.to_string()), |document| {
            document["resources"][0]["typed_config"]["config"]["vm_config"]["environment_variables"] =
                json!({ "key_values": { "KEYCLOAK_SECRET": SECRET, "KEYCLOAK_KEY": key } });
        })?;
        wait_for("the policy", || {
            let rejected = self.stack.stat("extension_config_discovery.http_filter.step-up.config_fail")?;
            ensure!(rejected == 0, "the filter does not take the policy: {}", self.complaint());
            Ok(reloads()? > before)
        })
    }

    /// What the filter said of a policy that it does not take.
    fn complaint(&self) -> String {
        let log = std::fs::read_to_string(self.stack.folder().join("envoy.log")).unwrap_or_default();
        let lines = log.lines().filter(|line| line.contains("wasm log step-up"));
        lines.map(|line| line.chars().take(400).collect::<String>()).collect::<Vec<_>>().join("\n")
    }

    /// A `tools/call` of revision 2026-07-28.
    pub fn request(&self, tool: &str, token: &str) -> Request {
        let mut body = host_test::story::modern_call(tool);
        match tool {
            "echo" => body["params"]["arguments"] = json!({ "message": "hi" }),
            "get-sum" => body["params"]["arguments"] = json!({ "a": 2, "b": 3 }),
            "wait" => body["params"]["arguments"] = json!({ "seconds": 3 }),
            _ => {}
        }
        Request::post(&self.mcp, body)
            .bearer(token)
            .with("mcp-protocol-version", "2026-07-28")
            .with("mcp-method", "tools/call")
            .with("mcp-name", tool)
    }

    /// Calls a tool, and wants this status.
    pub fn call(&self, tool: &str, token: &str, status: u16) -> Result<Answer> {
        let before = self.stack.access_log()?.len();
        let answer = send(&self.request(tool, token))?;
        // Entries are written when a stream ends, a moment after the client has its answer.
        wait_for("the access log", || Ok(self.stack.access_log()?.len() > before))?;
        ensure!(answer.status == status, "{tool}: expected {status}: {answer:?}\n{}", self.record()?);
        Ok(answer)
    }

    /// The text that the tool says.
    pub fn said(&self, tool: &str, token: &str) -> Result<String> {
        let answer = self.call(tool, token, 200)?;
        let message = answer.message().unwrap_or_default();
        let text = message.pointer("/result/content/0/text").and_then(Value::as_str);
        Ok(text.with_context(|| format!("{tool} says nothing: {answer:?}"))?.to_owned())
    }

    /// An elevated call: the token that the MCP server got, and what the issuer told it about that token, meanwhile.
    pub fn elevated(&self, token: &str) -> Result<(String, Value)> {
        let text = self.said("ask-issuer", token)?;
        let answer: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        let upstream = answer["token"].as_str().context("no token")?.to_owned();
        ensure!(upstream != token, "the caller's token went upstream");
        Ok((upstream, answer["answer"].clone()))
    }

    /// How many tokens the filter has taken back.
    pub fn revoked(&self) -> Result<u64> {
        let text = send(&Request::get(self.stack.admin_url("/stats/prometheus")))?.body;
        let line = text.lines().find(|line| line.starts_with(r#"stepup_revocations_total{outcome="revoked"}"#));
        Ok(line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0))
    }

    /// The audit record of the last request.
    pub fn record(&self) -> Result<Value> {
        let entry = self.stack.access_log()?.pop().context("the access log is empty")?;
        Ok(entry["stepup"].clone())
    }
}

pub fn wait_for(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    for _ in 0..500 {
        if done()? {
            return Ok(());
        }
        sleep(Duration::from_millis(20));
    }
    anyhow::bail!("waited in vain for {what}")
}
