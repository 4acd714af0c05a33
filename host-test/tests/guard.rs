//! `stepup guard` on what control planes made, good and faulty, and on what answers at a URL.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use host_test::stack::shipped_beside;
use host_test::{paths, yaml};
use serde_json::{Value, json};

fn guard(arguments: &[&str]) -> (i32, Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stepup"));
    let Output { status, stdout, stderr } = command.arg("guard").args(arguments).arg("--json").output().unwrap();
    let found = serde_json::from_slice(&stdout).unwrap_or_default();
    (status.code().unwrap(), found, String::from_utf8(stderr).unwrap())
}

fn recorded(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mesh").join(name)
}

fn files(name: &str) -> Vec<String> {
    let path = recorded(name);
    if path.is_file() {
        return vec![path.display().to_string()];
    }
    ["lds.json", "rds.json"].map(|file| path.join(file).display().to_string()).to_vec()
}

/// What was seen of each when it ran (`host-test/tests/mesh/README.md`).
#[test]
fn recordings_are_what_they_were_seen_to_be() {
    for (name, state) in [
        ("istio/base.config_dump.json", "open"),
        ("istio/gateway.config_dump.json", "guarded"),
        ("istio/listener.config_dump.json", "guarded"),
        ("istio/second-wall.config_dump.json", "guarded"),
        ("envoy-gateway/guarded", "guarded"),
        ("envoy-gateway/patch-only", "guarded"),
        ("envoy-gateway/patch-lost-lock", "does_not_work"),
        ("envoy-gateway/patch-lost-no-lock", "open"),
        ("envoy-gateway/extension-policy-bare", "does_not_work"),
        ("envoy-gateway/extension-policy-completed", "guarded"),
        ("envoy-gateway/extension-policy-enabled", "guarded"),
        ("envoy-gateway/extension-policy-overridden", "open"),
    ] {
        let files = files(name);
        let (code, found, error) = guard(&files.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(found["state"], state, "{name}: {found:#}\n{error}");
        assert_eq!(code, i32::from(state != "guarded"), "{name}");
    }
}

/// Each way in which a guarded one can be opened, or broken.
#[test]
fn one_change_is_seen() {
    type Change = fn(&mut Value);
    fn part<'d>(dump: &'d mut Value, kind: &str) -> &'d mut Value {
        let configs = dump["configs"].as_array_mut().unwrap();
        configs.iter_mut().find(|config| config["@type"].as_str().unwrap().ends_with(kind)).unwrap()
    }
    fn manager(dump: &mut Value) -> &mut Value {
        &mut part(dump, "ListenersConfigDump")["dynamic_listeners"][0]["active_state"]["listener"]["filter_chains"][0]["filters"]
            [0]["typed_config"]
    }
    fn plugin(dump: &mut Value) -> &mut Value {
        &mut part(dump, "EcdsConfigDump")["ecds_filters"][0]["ecds_filter"]["typed_config"]["config"]
    }
    fn host(dump: &mut Value) -> &mut Value {
        &mut part(dump, "RoutesConfigDump")["dynamic_route_configs"][0]["route_config"]["virtual_hosts"][0]
    }
    fn off() -> Value {
        json!({ "step-up": { "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": true } })
    }
    let table: [(&str, &str, Change); 10] = [
        ("open", "a filter that is not there", |dump| {
            manager(dump)["http_filters"].as_array_mut().unwrap().retain(|filter| filter["name"] != "step-up");
        }),
        ("open", "switched off on one route", |dump| host(dump)["routes"][0]["typed_per_filter_config"] = off()),
        ("open", "switched off for a share of a route", |dump| {
            let route = &mut host(dump)["routes"][0]["route"];
            let cluster = route["cluster"].clone();
            route["weighted_clusters"] = json!({ "clusters": [
                { "name": cluster, "weight": 1, "typed_per_filter_config": off() }, { "name": cluster, "weight": 9 },
            ] });
        }),
        ("open", "switched off on the host", |dump| host(dump)["typed_per_filter_config"] = off()),
        ("open", "a second chain without it", |dump| {
            let listener = &mut part(dump, "ListenersConfigDump")["dynamic_listeners"][0]["active_state"]["listener"];
            let mut other = listener["filter_chains"][0].clone();
            let filters = other["filters"][0]["typed_config"]["http_filters"].as_array_mut().unwrap();
            filters.retain(|filter| filter["name"] != "step-up");
            listener["filter_chains"].as_array_mut().unwrap().push(other);
        }),
        ("open", "fail open", |dump| plugin(dump)["failure_policy"] = json!("FAIL_OPEN")),
        ("does_not_work", "a field that was dropped", |dump| {
            plugin(dump).as_object_mut().unwrap().remove("allow_on_headers_stop_iteration");
        }),
        ("does_not_work", "no reload", |dump| {
            plugin(dump).as_object_mut().unwrap().remove("failure_policy");
        }),
        ("does_not_work", "a stranger behind it", |dump| {
            let filters = manager(dump)["http_filters"].as_array_mut().unwrap();
            let at = filters.len() - 1;
            filters.insert(at, json!({ "name": "envoy.filters.http.lua" }));
        }),
        ("guarded", "nothing", |_| ()),
    ];
    for (state, what, change) in table {
        let mut dump = yaml::load(&recorded("istio/gateway.config_dump.json")).unwrap();
        change(&mut dump);
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("guard.json");
        fs::write(&file, dump.to_string()).unwrap();
        let (_, found, error) = guard(&[file.to_str().unwrap()]);
        assert_eq!(found["state"], state, "{what}: {found:#}\n{error}");
    }
}

/// Calls of the filter itself leave by an internal listener there, which nobody else reaches; unless bytes are passed on to it.
#[test]
fn a_listener_that_is_reached_from_inside_only_is_no_hole() {
    let neighbours = yaml::load(&paths::envoy().join("neighbours/tracing.yaml")).unwrap();
    let mut bootstrap: Value = serde_json::from_str(&shipped_beside(&neighbours).unwrap()).unwrap();
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("internal.json");
    let state = |bootstrap: &Value| {
        fs::write(&file, bootstrap.to_string()).unwrap();
        guard(&[file.to_str().unwrap()]).1["state"].clone()
    };
    assert_eq!(state(&bootstrap), "guarded");
    let tunnel = json!({ "name": "tunnel", "filter_chains": [{ "filters": [{ "name": "tcp", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "tunnel", "cluster": "as-token-traced",
    } }] }] });
    bootstrap["static_resources"]["listeners"].as_array_mut().unwrap().push(tunnel);
    assert_eq!(state(&bootstrap), "open");
}

#[test]
fn what_cannot_be_found_out_is_no_pass() {
    let nothing = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("nothing.json");
    fs::write(&nothing, "{}").unwrap();
    for arguments in [vec![nothing.to_str().unwrap()], vec!["no/such/file.json"]] {
        let (code, _, error) = guard(&arguments);
        assert!(code == 2 && !error.is_empty(), "{arguments:?}: {error}");
    }
    let (code, found, _) = guard(&["http://127.0.0.1:1/mcp"]);
    assert!(code == 1 && found["state"] == "does_not_work", "{found:#}");
}
