//! EnvoyFilters on what istiod made without them, as istiod applies them.

use anyhow::{Context as _, Result, bail, ensure};
use host_test::stack::{EnvoyStack, Given, Options};
use host_test::yaml;
use serde_json::{Value, json};

use super::compare::{self, Difference};
use super::{credential, file, is_closed, rendered, start, statuses, strict};

const SERVICES: [&str; 4] =
    ["--upstream", "everything=everything.mcp.test:8810/mcp", "--upstream", "notes=notes.mcp.test:8811/mcp"];
const MANAGER: &str = "envoy.filters.network.http_connection_manager";

fn recorded(name: &str) -> Result<Value> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mesh/istio");
    yaml::load(&path.join(format!("{name}.config_dump.json")))
}

/// The base with these EnvoyFilters.
fn dump(way: &[&str], left_out: &[&str]) -> Result<Value> {
    let files = rendered(&[&["istio", "envoy/policy.yaml"], &SERVICES[..], way].concat())?;
    let mut dump = recorded("base")?;
    let is_own = way.is_empty();
    if is_own {
        // Gateway and VirtualService are not there then.
        section(&mut dump, "ListenersConfigDump")?["dynamic_listeners"] = json!([]);
        section(&mut dump, "RoutesConfigDump")?["dynamic_route_configs"] = json!([]);
    }
    let mut filters: Vec<&Value> = Vec::new();
    for (name, documents) in &files {
        if left_out.contains(&name.as_str()) {
            continue;
        }
        filters.extend(documents.iter().filter(|document| document["kind"] == "EnvoyFilter"));
    }
    filters.sort_by_key(|filter| filter["spec"]["priority"].as_i64().unwrap_or_default());
    for filter in filters {
        apply(&mut dump, filter)?;
    }
    Ok(dump)
}

fn section<'d>(dump: &'d mut Value, kind: &str) -> Result<&'d mut Value> {
    let sections = dump["configs"].as_array_mut().context("no dump")?;
    let at = sections.iter().position(|section| section["@type"].as_str().is_some_and(|name| name.ends_with(kind)));
    let at = at.unwrap_or_else(|| {
        sections.push(json!({ "@type": format!("type.googleapis.com/envoy.admin.v3.{kind}") }));
        sections.len() - 1
    });
    sections.get_mut(at).context("no such section")
}

fn list<'d>(dump: &'d mut Value, kind: &str, name: &str) -> Result<&'d mut Vec<Value>> {
    let section = section(dump, kind)?;
    if section[name].is_null() {
        section[name] = json!([]);
    }
    section[name].as_array_mut().context("no list")
}

/// As protobuf merges: maps member by member, lists one behind the other.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(from)) => into.extend(from.iter().cloned()),
        (into, from) => *into = from.clone(),
    }
}

/// One EnvoyFilter. A patch that is not one of those we use, or matches nothing, is a fault here; istiod says nothing of the latter.
fn apply(dump: &mut Value, filter: &Value) -> Result<()> {
    for patch in filter["spec"]["configPatches"].as_array().context("no patches")? {
        let (found, value) = (&patch["match"], &patch["patch"]["value"]);
        let kind = patch["applyTo"].as_str().unwrap_or_default();
        let operation = patch["patch"]["operation"].as_str().unwrap_or_default();
        ensure!(found["context"] == "GATEWAY", "a patch for another context: {patch}");
        let hits = match (kind, operation) {
            ("LISTENER", "ADD") => {
                list(dump, "ListenersConfigDump", "dynamic_listeners")?
                    .push(json!({ "active_state": { "listener": typed(value, "envoy.config.listener.v3.Listener") } }));
                1
            }
            ("CLUSTER", "ADD") => {
                list(dump, "ClustersConfigDump", "dynamic_active_clusters")?
                    .push(json!({ "cluster": typed(value, "envoy.config.cluster.v3.Cluster") }));
                1
            }
            ("EXTENSION_CONFIG", "ADD") => {
                list(dump, "EcdsConfigDump", "ecds_filters")?
                    .push(json!({ "ecds_filter": typed(value, "envoy.config.core.v3.TypedExtensionConfig") }));
                1
            }
            ("NETWORK_FILTER", "MERGE") => each_manager(dump, &mut |filter| {
                merge(filter, value);
                1
            })?,
            ("HTTP_FILTER", "INSERT_BEFORE" | "INSERT_FIRST") => {
                let before = found.pointer("/listener/filterChain/filter/subFilter/name").cloned();
                let first = operation == "INSERT_FIRST";
                ensure!(first == before.is_none(), "a place that is not understood: {found}");
                each_manager(dump, &mut |filter| {
                    let Some(filters) = filter["typed_config"]["http_filters"].as_array_mut() else { return 0 };
                    let at = if first {
                        Some(0)
                    } else {
                        filters.iter().position(|one| Some(&one["name"]) == before.as_ref())
                    };
                    at.map(|at| filters.insert(at, value.clone())).map_or(0, |()| 1)
                })?
            }
            ("VIRTUAL_HOST" | "HTTP_ROUTE", "MERGE") => {
                let (config, route) =
                    (&found["routeConfiguration"]["name"], found.pointer("/routeConfiguration/vhost/route/name"));
                ensure!((kind == "HTTP_ROUTE") == route.is_some(), "a place that is not understood: {found}");
                let mut hits = 0;
                for routes in list(dump, "RoutesConfigDump", "dynamic_route_configs")? {
                    if routes["route_config"]["name"] != *config {
                        continue;
                    }
                    for host in routes["route_config"]["virtual_hosts"].as_array_mut().context("no hosts")? {
                        match route {
                            None => {
                                merge(host, value);
                                hits += 1;
                            }
                            Some(route) => {
                                let all = host["routes"].as_array_mut().context("no routes")?;
                                for one in all.iter_mut().filter(|one| one["name"] == *route) {
                                    merge(one, value);
                                    hits += 1;
                                }
                            }
                        }
                    }
                }
                hits
            }
            _ => bail!("{kind} {operation} is not one of the patches that we use"),
        };
        ensure!(hits > 0, "a patch matches nothing: {kind} {operation} {found}");
    }
    Ok(())
}

fn typed(value: &Value, kind: &str) -> Value {
    let mut value = value.clone();
    value["@type"] = json!(format!("type.googleapis.com/{kind}"));
    value
}

fn each_manager(dump: &mut Value, change: &mut dyn FnMut(&mut Value) -> usize) -> Result<usize> {
    let mut hits = 0;
    for listener in list(dump, "ListenersConfigDump", "dynamic_listeners")? {
        for chain in listener["active_state"]["listener"]["filter_chains"].as_array_mut().context("no chains")? {
            for filter in chain["filters"].as_array_mut().context("no filters")? {
                if filter["name"] == MANAGER {
                    hits += change(filter);
                }
            }
        }
    }
    Ok(hits)
}

/// A dump as files that Envoy discovers, and the bootstrap that reads them.
fn files(mut dump: Value) -> Result<Given> {
    let mut files = Vec::new();
    let mut write = |name: &str, resources: Vec<Value>| {
        files.push((name.to_owned(), json!({ "version_info": "1", "resources": resources })));
    };
    let of = |list: &[Value], member: &str| list.iter().map(|one| one[member].clone()).collect::<Vec<_>>();
    let listeners = list(&mut dump, "ListenersConfigDump", "dynamic_listeners")?;
    let listeners = listeners.iter().map(|one| placed(&one["active_state"]["listener"], "none.json")).collect();
    write("lds.json", listeners);
    let mut clusters = of(list(&mut dump, "ClustersConfigDump", "dynamic_active_clusters")?, "cluster");
    for cluster in &mut clusters {
        *cluster = placed(cluster, &endpoints_of(&cluster["name"]));
    }
    write("cds.json", clusters);
    write("rds.json", of(list(&mut dump, "RoutesConfigDump", "dynamic_route_configs")?, "route_config"));
    write("step-up.ecds.yaml", of(list(&mut dump, "EcdsConfigDump", "ecds_filters")?, "ecds_filter"));
    for mut assignment in of(list(&mut dump, "EndpointsConfigDump", "dynamic_endpoint_configs")?, "endpoint_config") {
        if !assignment["cluster_name"].as_str().is_some_and(|name| name.starts_with("outbound|")) {
            continue;
        }
        // What a dump says beyond what was sent.
        for locality in assignment["endpoints"].as_array_mut().context("no endpoints")? {
            locality.as_object_mut().context("no locality")?.remove("load_balancing_weight");
            for endpoint in locality["lb_endpoints"].as_array_mut().context("no endpoints")? {
                endpoint.as_object_mut().context("no endpoint")?.remove("health_status");
            }
        }
        let name = endpoints_of(&assignment["cluster_name"]);
        write(&name, vec![typed(&assignment, "envoy.config.endpoint.v3.ClusterLoadAssignment")]);
    }
    let discovered = |name: &str| json!({ "path_config_source": { "path": name }, "resource_api_version": "V3" });
    let bootstrap = json!({
        "node": { "id": "replay", "cluster": "replay" },
        "admin": { "address": { "socket_address": { "address": "127.0.0.1", "port_value": 9901 } } },
        "dynamic_resources": { "lds_config": discovered("./lds.json"), "cds_config": discovered("./cds.json") },
    });
    files.extend([("envoy.yaml".to_owned(), bootstrap), credential()?]);
    let names = ["outbound|8810||everything.mcp.test;", "outbound|8811||notes.mcp.test;"];
    Ok(Given { files, clusters: names.map(str::to_owned), arguments: strict() })
}

fn endpoints_of(cluster: &Value) -> String {
    let name = cluster.as_str().unwrap_or_default();
    format!("eds-{}.json", name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect::<String>())
}

/// What comes over ADS comes from files: routes and extensions from those that have them, all else from that one.
fn placed(value: &Value, file: &str) -> Value {
    match value {
        Value::Object(members) => {
            let mut placed: serde_json::Map<String, Value> = members
                .iter()
                .map(|(name, value)| {
                    let file = match name.as_str() {
                        "rds" => "rds.json",
                        "config_discovery" => "step-up.ecds.yaml",
                        _ => file,
                    };
                    (name.clone(), self::placed(value, file))
                })
                .collect();
            if placed.get("ads") == Some(&json!({})) {
                placed.remove("ads");
                placed.insert("path_config_source".to_owned(), json!({ "path": format!("./{file}") }));
            }
            placed.into()
        }
        Value::Array(items) => items.iter().map(|item| placed(item, file)).collect(),
        other => other.clone(),
    }
}

pub fn given(way: &[&str]) -> Result<Given> {
    files(dump(way, &[])?)
}

/// What is rendered equals what ran, but for what is named here.
pub fn as_recorded() -> Result<()> {
    let own: &[Difference] = &[
        ("/http_filters/envoy.filters.http.cors", "the sample lets a page call"),
        ("/typed_per_filter_config", "the sample lets a page call"),
        (
            "/http_protocol_options",
            "clients offer upgrades with each request, and Envoy refuses those that it was not told to ignore",
        ),
        ("/routes/notes/match", "with a final slash, too"),
        ("/routes/everything/match", "with a final slash, too"),
        ("/routes/notes-metadata", "a metadata document for each server"),
        ("/routes/everything-metadata", "a metadata document for each server"),
        ("/routes/rest", "what is nobody's leads nowhere"),
    ];
    // Made by RequestAuthentication and AuthorizationPolicy, which are rendered and are no EnvoyFilter.
    let checks: &[Difference] = &[
        ("/http_filters/envoy.filters.http.jwt_authn", "Istio's own"),
        ("/http_filters/envoy.filters.http.rbac", "Istio's own"),
    ];
    for (way, name, more) in [
        (vec![], "listener", own),
        (vec!["--way", "inserted"], "gateway", &[]),
        (vec!["--way", "second-wall"], "second-wall", checks),
    ] {
        let (mut ours, mut theirs) = (dump(&way, &[])?, recorded(name)?);
        for (kind, part) in [
            ("ListenersConfigDump", "dynamic_listeners"),
            ("ClustersConfigDump", "dynamic_active_clusters"),
            ("RoutesConfigDump", "dynamic_route_configs"),
            ("EcdsConfigDump", "ecds_filters"),
        ] {
            for dump in [&mut ours, &mut theirs] {
                let moved = list(dump, kind, part)?.clone();
                dump[part] = moved.into();
            }
        }
        for dump in [&mut ours, &mut theirs] {
            dump.as_object_mut().context("no dump")?.remove("configs");
        }
        compare::same(name, &ours, &theirs, &[&compare::ISTIO[..], more].concat())?;
    }
    Ok(())
}

/// istiod drops such a patch without a word: it must not be ours that is like that.
pub fn unmatched() -> Result<()> {
    let files = rendered(&[&["istio", "envoy/policy.yaml", "--way", "inserted"], &SERVICES[..]].concat())?;
    let filter = &file(&files, "filter.yaml")?[0];
    for (place, value) in [
        ("/spec/configPatches/0/match/listener/filterChain/filter/subFilter/name", "envoy.filters.http.ruter"),
        ("/spec/configPatches/0/match/context", "SIDECAR_INBOUND"),
        ("/spec/configPatches/0/patch/operation", "MERGE"),
    ] {
        let mut changed = filter.clone();
        *changed.pointer_mut(place).context("no such place")? = json!(value);
        ensure!(apply(&mut recorded("base")?, &changed).is_err(), "{place}: {value}");
    }
    Ok(())
}

/// Of each way, with one of its objects lost.
pub fn lost() -> Result<()> {
    let way = |way: &[&str], left_out: &[&str]| start(files(dump(way, left_out)?)?);
    let inserted = ["--way", "inserted"];
    // The lock holds while it is there; without it the filter does.
    ensure!(statuses(&way(&inserted, &["filter.yaml"])?)? == (403, 403), "the filter is lost");
    ensure!(statuses(&way(&inserted, &["lock.yaml"])?)? == (401, 200), "the lock is lost");
    // What the rendered file warns of.
    ensure!(
        statuses(&way(&inserted, &["filter.yaml", "lock.yaml"])?)? == (200, 200),
        "both are lost, and it is not open"
    );
    // No port.
    let given = files(dump(&[], &["listener.yaml"])?)?;
    let stack = EnvoyStack::start(&Options { given: Some(given), ..Options::default() })?;
    is_closed(&stack)?;
    drop(stack);
    // Without a policy the default answers. Over ADS the listener would never open.
    ensure!(statuses(&way(&[], &["policy.yaml"])?)? == (403, 403), "the policy is lost");
    Ok(())
}
