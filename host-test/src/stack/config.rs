//! What Envoy is started with: the shipped files, on other ports.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{Server, Setup};
use crate::fixtures::Fixtures;
use crate::process::Process;
use crate::{paths, yaml};

#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub mcp: u16,
    pub admin: u16,
    pub authorization_server: u16,
    pub everything: u16,
    pub notes: u16,
    /// Of a loopback origin whose pages may call.
    pub page: Option<u16>,
}

/// The origin in the sample that the operator edits.
const PLACEHOLDER: &str = "https://app.example.com";

impl Ports {
    pub(super) fn resource(&self, server: Server) -> String {
        format!("http://127.0.0.1:{}{}", self.mcp, server.path())
    }

    pub(super) fn start_authorization_server(
        &self,
        fixtures: &Fixtures,
        folder: &Path,
        algorithm: &str,
        elevated_ttl: u32,
    ) -> Result<Process> {
        let scopes = json!({ "scopes": "mcp:connect tools:write tools:admin", "elevate": "tools:write tools:admin" });
        let resources: serde_json::Map<String, Value> = [Server::Everything, Server::Notes]
            .map(|server| (self.resource(server), scopes.clone()))
            .into_iter()
            .collect();
        let mut command = fixtures.node("authorization-server.mjs");
        command
            .env("PORT", self.authorization_server.to_string())
            .env("RESOURCES", Value::from(resources).to_string())
            .env("SIGNING_ALG", algorithm)
            .env("ELEVATED_TTL", elevated_ttl.to_string())
            .env("LOG", "1");
        let mut server = Process::start("authorization-server", &mut command, folder)?;
        server.wait_until(|log| log.contains("\"ready\":true"))?;
        Ok(server)
    }

    /// The ports that the files name, and ours.
    fn pairs(&self) -> [(u16, u16); 5] {
        [
            (10000, self.mcp),
            (9901, self.admin),
            (8700, self.authorization_server),
            (8810, self.everything),
            (8811, self.notes),
        ]
    }

    /// The same in a tree, which may name the folder `@DIR@`, too.
    pub(super) fn placed(&self, content: &Value, folder: &Path) -> Value {
        let text = |text: &str| Value::String(self.replace(text).replace("@DIR@", &folder.display().to_string()));
        match content {
            Value::String(own) => text(own),
            Value::Array(items) => items.iter().map(|item| self.placed(item, folder)).collect(),
            Value::Object(members) => members
                .iter()
                .map(|(name, value)| {
                    let port = self.pairs().into_iter().find(|(fixed, _)| name == "port_value" && *value == *fixed);
                    (name.clone(), port.map_or_else(|| self.placed(value, folder), |(_, free)| json!(free)))
                })
                .collect(),
            other => other.clone(),
        }
    }

    /// The files of `envoy/` name fixed ports.
    pub(super) fn replace(&self, text: &str) -> String {
        let text = match self.page {
            Some(page) => text.replace(PLACEHOLDER, &format!("http://127.0.0.1:{page}")),
            None => text.to_owned(),
        };
        self.pairs().iter().fold(text, |text, (fixed, free)| {
            text.replace(&format!("port_value: {fixed}"), &format!("port_value: {free}"))
                .replace(&format!("127.0.0.1:{fixed}"), &format!("127.0.0.1:{free}"))
        })
    }
}

pub(super) const ECDS: &str = "step-up.ecds.yaml";
pub(super) const SECRET: &str = "token-service.sds.yaml";
pub(super) const FILTER: &str = "/resources/0/typed_config";
pub(super) const CONFIGURATION: &str = "/resources/0/typed_config/config/configuration";

/// The shipped discovery file, with these ports.
pub(super) fn sample(ports: &Ports) -> Result<Value> {
    let text = fs::read_to_string(paths::envoy().join(ECDS))?;
    Ok(yaml::to_json(&yaml::read(&ports.replace(&text))?))
}

/// The policy in it, for a proxy at that port and an authorization server there.
pub(crate) fn sample_policy(issuer: &str, port: u16) -> Result<Value> {
    let text = fs::read_to_string(paths::envoy().join(ECDS))?;
    let text = text.replace("http://127.0.0.1:8700", issuer).replace("127.0.0.1:10000", &format!("127.0.0.1:{port}"));
    let document = yaml::to_json(&yaml::read(&text)?);
    document.pointer(CONFIGURATION).and_then(|any| any.get("value")).cloned().context("no policy in the sample")
}

/// The shipped discovery file with this policy (JSON) and this module.
pub(crate) fn discovery(policy: &str, module: &Path) -> Result<Value> {
    let mut document = yaml::load(&paths::envoy().join(ECDS))?;
    set_module(&mut document, module)?;
    set_policy(&mut document, policy)?;
    Ok(document)
}

pub(super) fn set_module(document: &mut Value, module: &Path) -> Result<()> {
    place(document, &format!("{FILTER}/config/vm_config/code/local/filename"), json!(module.display().to_string()))
}

pub(super) fn set_policy(document: &mut Value, policy: &str) -> Result<()> {
    let configuration = json!({ "@type": "type.googleapis.com/google.protobuf.StringValue", "value": policy });
    place(document, CONFIGURATION, configuration)
}

pub(super) fn place(document: &mut Value, pointer: &str, value: Value) -> Result<()> {
    *document.pointer_mut(pointer).with_context(|| format!("{ECDS} has no {pointer}"))? = value;
    Ok(())
}

/// The discovery file for a setup, as JSON (which is YAML too). `is_older`: for an Envoy before 1.40.
pub(super) fn filter(setup: &Setup, ports: &Ports, module: &Path, is_older: bool) -> Result<Value> {
    let mut document = sample(ports)?;
    set_module(&mut document, module)?;
    if is_older {
        restrict_as_before(&mut document)?;
    }
    match setup {
        Setup::Sample => {}
        Setup::Configuration(text) => set_policy(&mut document, text)?,
        Setup::Open => {
            let anybody = json!({ "any": { "permissions": [{ "any": true }], "principals": [{ "any": true }] } });
            let rbac = json!({
                "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
                "rules": { "action": "ALLOW", "policies": anybody },
            });
            place(&mut document, FILTER, rbac)?;
        }
    }
    Ok(document)
}

/// Envoy 1.40 has moved it: what the sample says there is an unknown field before.
fn restrict_as_before(document: &mut Value) -> Result<()> {
    const RESTRICTION: &str = "capability_restriction_config";
    let config = document.pointer_mut(FILTER).and_then(|filter| filter.get_mut("config")).context("no filter")?;
    let vm = config.get_mut("vm_config").and_then(Value::as_object_mut).context("no vm_config")?;
    let restriction = vm.remove(RESTRICTION).context("no restriction")?;
    config[RESTRICTION] = restriction;
    Ok(())
}

/// The entry of the filter that traps: the same module and `vm_id`, and so the same VM.
pub(super) fn trap_filter(filter: &Value) -> Result<Value> {
    let mut config = filter.pointer(FILTER).context("no filter")?.clone();
    for (place, value) in [("/config/name", json!("trap")), ("/config/root_id", json!("trap"))] {
        *config.pointer_mut(place).context("no name in the filter")? = value;
    }
    Ok(json!({ "name": "trap", "typed_config": config }))
}

/// By rename: Envoy watches for the move.
pub(super) fn write(path: &Path, document: &Value) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, document.to_string())?;
    fs::rename(&new, path).map_err(Into::into)
}

/// Gives the Envoy of that folder its filter, or another one.
pub(crate) fn discover(folder: &Path, filter: &Value) -> Result<()> {
    write(&folder.join(ECDS), filter)
}
