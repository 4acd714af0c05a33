//! The shipped bootstrap, changed.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::config::{FILTER, Ports};
use crate::{paths, yaml};

const MANAGER: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";

/// What is otherwise than in `envoy.yaml`.
#[derive(Debug, Default)]
pub(super) struct Changes<'c> {
    /// The port of the token service.
    pub token_service: Option<u16>,
    /// The filter stands in the bootstrap itself.
    pub filter: Option<&'c Value>,
    /// A filter that stands before all others.
    pub trap: Option<&'c Value>,
    /// A document of `envoy/neighbours/`.
    pub neighbours: Option<&'c Value>,
    /// Without the lock: what passes is not what a filter has let through.
    pub is_open: bool,
}

/// The bootstrap with these ports and changes.
pub(super) fn bootstrap(ports: &Ports, changes: &Changes<'_>) -> Result<String> {
    let text = ports.replace(&fs::read_to_string(paths::envoy().join("envoy.yaml"))?);
    if matches!(changes, Changes { token_service: None, filter: None, trap: None, neighbours: None, is_open: false }) {
        // As Envoy itself reads it.
        return Ok(text);
    }
    let mut document = yaml::to_json(&yaml::read(&text)?);
    if let Some(port) = changes.token_service {
        let cluster = list(&mut document, "/static_resources/clusters")?
            .iter_mut()
            .find(|cluster| cluster.get("name") == Some(&json!("as-token")));
        let place = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/port_value";
        let place = cluster.and_then(|cluster| cluster.pointer_mut(place));
        *place.context("no cluster as-token in envoy.yaml")? = json!(port);
    }
    if let Some(filter) = changes.filter {
        let config = filter.pointer(FILTER).context("no filter")?;
        let filters = list(&mut document, &format!("{MANAGER}/http_filters"))?;
        let entry = filters.iter_mut().find(|entry| is_ours(entry));
        *entry.context("no filter entry in envoy.yaml")? = json!({ "name": "step-up", "typed_config": config });
    }
    if changes.is_open {
        list(&mut document, &format!("{MANAGER}/http_filters"))?
            .retain(|entry| entry.get("name") != Some(&json!("step-up-lock")));
    }
    if let Some(neighbours) = changes.neighbours {
        settle(&mut document, &serde_json::from_str(&ports.replace(&neighbours.to_string()))?)?;
    }
    if let Some(trap) = changes.trap {
        list(&mut document, &format!("{MANAGER}/http_filters"))?.insert(0, trap.clone());
    }
    Ok(document.to_string())
}

/// The shipped bootstrap beside these neighbours, with the ports as they are written.
pub fn shipped_beside(neighbours: &Value) -> Result<String> {
    let ports =
        Ports { mcp: 10000, admin: 9901, authorization_server: 8700, everything: 8810, notes: 8811, page: None };
    bootstrap(&ports, &Changes { neighbours: Some(neighbours), ..Changes::default() })
}

/// Puts neighbours around the filter. `http_filters`: those before `step-up` right before it, the others right after it;
/// `last_filter` stands in place of the router; `clusters` and `listeners` are added, `bootstrap_extensions` and `layered_runtime` set; the
/// members of `connection_manager` and `virtual_host` are set there, and routes come first.
fn settle(document: &mut Value, neighbours: &Value) -> Result<()> {
    for (word, value) in neighbours.as_object().context("neighbours are a map")? {
        match word.as_str() {
            "http_filters" => {
                let around = value.as_array().context("http_filters is a list")?;
                let ours = around.iter().position(is_ours).context("http_filters without `- name: step-up`")?;
                let (before, after) = (around.iter().take(ours), around.iter().skip(ours + 1));
                let filters = list(document, &format!("{MANAGER}/http_filters"))?;
                let place = filters.iter().position(is_ours).context("no filter entry in envoy.yaml")?;
                filters.splice(place + 1..place + 1, after.cloned());
                filters.splice(place..place, before.cloned());
            }
            "last_filter" => {
                let filters = list(document, &format!("{MANAGER}/http_filters"))?;
                *filters.last_mut().context("no filters in envoy.yaml")? = value.clone();
            }
            "clusters" | "listeners" => {
                let more = value.as_array().with_context(|| format!("{word} is a list"))?;
                list(document, &format!("/static_resources/{word}"))?.extend(more.iter().cloned());
            }
            "bootstrap_extensions" | "layered_runtime" => set(document, "", &json!({ word: value }))?,
            "connection_manager" => set(document, MANAGER, value)?,
            "virtual_host" => {
                let place = format!("{MANAGER}/route_config/virtual_hosts/0");
                let mut members = value.clone();
                if let Some(Value::Array(routes)) = members.as_object_mut().and_then(|members| members.remove("routes"))
                {
                    list(document, &format!("{place}/routes"))?.splice(0..0, routes);
                }
                set(document, &place, &members)?;
            }
            other => anyhow::bail!("neighbours know no `{other}`"),
        }
    }
    Ok(())
}

fn is_ours(entry: &Value) -> bool {
    entry.get("name") == Some(&json!("step-up"))
}

fn list<'d>(document: &'d mut Value, place: &str) -> Result<&'d mut Vec<Value>> {
    document.pointer_mut(place).and_then(Value::as_array_mut).with_context(|| format!("envoy.yaml has no list {place}"))
}

/// Nothing that is there is replaced: what works here works in the sample.
fn set(document: &mut Value, place: &str, members: &Value) -> Result<()> {
    let map = document.pointer_mut(place).and_then(Value::as_object_mut);
    let map = map.with_context(|| format!("envoy.yaml has no map {place}"))?;
    for (name, value) in members.as_object().with_context(|| format!("{place} takes a map"))? {
        ensure!(map.insert(name.clone(), value.clone()).is_none(), "{place} has `{name}` already");
    }
    Ok(())
}
