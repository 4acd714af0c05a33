//! What `stepup check --envoy` says of an Envoy: the shipped one is as it should be, and each deviation is found, alone.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

#[path = "check_envoy/changes.rs"]
mod changes;

use std::collections::BTreeSet;
use std::path::Path;

use annotate_snippets::Renderer;
use changes::{files, folder};
use host_test::check::{Findings, check_envoy, envoy};
use host_test::stack::shipped_beside;
use host_test::{paths, yaml};
use serde_json::json;

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// With a policy, if there is one.
fn check(name: &str, text: &str, policy: Option<&str>) -> Findings {
    let policies: Vec<_> = policy.iter().map(|text| (Path::new("step-up.yaml"), (*text).to_owned())).collect();
    check_envoy(&[(Path::new(name), text.to_owned())], &policies, &Renderer::plain()).unwrap()
}

/// The names of what was found, in the text that people read.
fn found(text: &str) -> BTreeSet<&str> {
    let titles = text.lines().filter_map(|line| {
        let title = ["fault[", "warning[", "note["].iter().find_map(|level| line.strip_prefix(level))?;
        Some(title.split_once(']')?.0)
    });
    titles.collect()
}

fn changed(name: &str) -> (String, String) {
    changes::changed(&folder().join(name)).unwrap()
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap().to_string_lossy().into_owned()
}

#[test]
fn the_shipped_files_are_as_they_should_be() {
    let read = |name: &str| read(&paths::envoy().join(name));
    let findings = check("envoy.yaml", &read("envoy.yaml"), Some(&read("step-up.ecds.yaml")));
    assert_eq!((findings.errors, findings.warnings), (0, 0), "{}", findings.text);
    assert_eq!(found(&findings.text), BTreeSet::new(), "{}", findings.text);
    assert!(findings.text.contains("1 connection manager with the filter, 2 routes to servers"), "{}", findings.text);
}

/// What the README recommends beside the filter is right, as it is run by the trials `neighbours::`.
#[test]
fn the_shipped_neighbours_are_as_they_should_be() {
    let policy = read(&paths::envoy().join("step-up.ecds.yaml"));
    // A rate limit behind the filter needs it, and the others bear it.
    let policy =
        policy.replacen("\n          tiers:", "\n          limits: { filter_state: true }\n          tiers:", 1);
    let mut many = 0;
    for entry in std::fs::read_dir(paths::envoy().join("neighbours")).unwrap() {
        let path = entry.unwrap().path();
        let bootstrap = shipped_beside(&yaml::load(&path).unwrap()).unwrap();
        let findings = check("envoy.json", &bootstrap, Some(&policy));
        assert_eq!(found(&findings.text), BTreeSet::new(), "{}:\n{}", path.display(), findings.text);
        many += 1;
    }
    assert!(many >= 12, "only {many} files");
}

/// Within the process nobody is in between: what counts is the cluster behind the internal listener.
#[test]
fn calls_that_go_through_an_internal_listener_are_followed() {
    let policy = read(&paths::envoy().join("step-up.ecds.yaml"))
        .replace("cluster: as-token", "cluster: as-token-traced")
        .replace("http://127.0.0.1:8700/token", "https://127.0.0.1:8700/token");
    let neighbours = yaml::load(&paths::envoy().join("neighbours/tracing.yaml")).unwrap();
    let mut bootstrap: serde_json::Value = serde_json::from_str(&shipped_beside(&neighbours).unwrap()).unwrap();
    let findings = check("envoy.json", &bootstrap.to_string(), Some(&policy));
    assert_eq!(found(&findings.text), ["cluster-tls"].into(), "{}", findings.text);
    assert!(findings.text.contains("the cluster as-token has no TLS"), "{}", findings.text);

    let clusters = bootstrap["static_resources"]["clusters"].as_array_mut().unwrap();
    let behind = clusters.iter_mut().find(|cluster| cluster["name"] == "as-token").unwrap();
    behind["transport_socket"] = json!({ "name": "tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "auto_sni_san_validation": true,
        "common_tls_context": { "validation_context": { "trusted_ca": { "filename": "ca.crt" } } },
    } });
    let findings = check("envoy.json", &bootstrap.to_string(), Some(&policy));
    assert_eq!(found(&findings.text), BTreeSet::new(), "{}", findings.text);

    // One that leads nowhere is not taken for good.
    bootstrap["static_resources"]["listeners"].as_array_mut().unwrap().retain(|listener| listener["name"] == "mcp");
    let findings = check("envoy.json", &bootstrap.to_string(), Some(&policy));
    assert!(findings.text.contains("the cluster as-token-traced has no TLS"), "{}", findings.text);
}

#[test]
fn the_files_that_are_changed_are_good() {
    let folder = folder().join("good");
    let findings = check("envoy.yaml", &read(&folder.join("envoy.yaml")), Some(&read(&folder.join("step-up.yaml"))));
    assert_eq!(found(&findings.text), BTreeSet::new(), "{}", findings.text);
}

/// After a change on purpose: `INSTA_UPDATE=always cargo test -p host-test --test check_envoy`, and read the difference.
#[test]
fn each_deviation_is_found_and_nothing_else() {
    let mut settings = insta::Settings::clone_current();
    settings.set_omit_expression(true);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_snapshot_path("check_envoy");
    settings.bind(|| {
        for path in files().unwrap() {
            let (envoy, policy) = changes::changed(&path).unwrap();
            let name = stem(&path);
            // A name may have files of its other forms.
            let own = name.split("--").next().unwrap();
            let comment = read(&path);
            assert!(comment.starts_with(&format!("# {own}: ")), "{name}: the first line says what is found");
            let findings = check("envoy.yaml", &envoy, Some(&policy));
            let mut names = found(&findings.text);
            // What a file does not show is said beside what it shows.
            if own != "unseen" {
                names.remove("unseen");
            }
            assert_eq!(names, BTreeSet::from([own]), "{name}:\n{}", findings.text);
            insta::assert_snapshot!(name, findings.text);
        }
    });
}

#[test]
fn each_check_has_a_file() {
    let files = files().unwrap();
    let have: BTreeSet<_> = files.iter().map(|path| stem(path).split("--").next().unwrap().to_owned()).collect();
    let names: BTreeSet<_> = envoy::names().map(str::to_owned).collect();
    assert_eq!(have, names);
}

/// The table of settings names each check, and no other.
#[test]
fn each_check_has_its_row_in_the_readme() {
    let page = read(&paths::envoy().join("README.md"));
    let (_, table) = page.split_once("\n## Settings").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let rows: Vec<_> = table.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once("` |")?.0)).collect();
    let names: BTreeSet<_> = envoy::names().collect();
    assert_eq!(rows.len(), names.len(), "a check has two rows");
    let rows: BTreeSet<_> = rows.into_iter().collect();
    assert_eq!(rows, names);
}

/// An Envoy whose files nobody has with a policy is not called good.
#[test]
fn without_a_policy_that_is_said() {
    let findings = check("envoy.yaml", &read(&paths::envoy().join("envoy.yaml")), None);
    assert_eq!((findings.errors, findings.warnings), (0, 0), "{}", findings.text);
    for part in ["no policy is given", "the configuration of step-up comes by discovery"] {
        assert!(findings.text.contains(part), "no `{part}` in\n{}", findings.text);
    }
}

/// There is more than one good way.
#[test]
fn what_is_right_in_another_way_is_not_found() {
    let (envoy, policy) = changes::good().unwrap();
    let route = "cluster: git, timeout: 0s, idle_timeout: 3600s";
    let deny =
        "rules: { action: DENY, policies: { all: { permissions: [ { any: true } ], principals: [ { any: true } ] } } }";
    let lock = "          - name: lock\n            typed_config: { \"@type\": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC, rules: { policies: {} } }\n          - name: envoy.filters.http.router";
    for (old, new) in [
        ("rules: { action: ALLOW }", deny),
        ("rules: { action: ALLOW }", "rules: {}"),
        ("REJECT_REQUEST", "DROP_HEADER"),
        ("          - name: envoy.filters.http.router", lock),
        ("          stream_idle_timeout: 300s\n", ""),
        (route, "cluster: git, timeout: 0s, idle_timeout: 7200s, retry_policy: { retry_on: 5xx, num_retries: 0 }"),
        (
            "          stat_prefix: mcp\n",
            "          stat_prefix: mcp\n          local_reply_config: { mappers: [ { filter: { response_flag_filter: { flags: [UH] } }, body: { inline_string: Sorry } } ] }\n",
        ),
        ("          http_filters:\n          - name: step-up", JWT_ELSEWHERE),
        ("match: { path_separated_prefix: /git }", "match: { prefix: /git }"),
        ("match: { path_separated_prefix: /git }", "match: { safe_regex: { regex: \"/git(/.*)?\" } }"),
        ("domains: [mcp.example.com]", "domains: [\"mcp.example.com:*\", \"*.example.com\"]"),
        ("request_body_buffer_limit: 1114112", "request_body_buffer_limit: \"2000000\""),
        // A listener of another application, whose catch-all would take the path.
        ("  clusters:\n", &other_listener("notes-of-others")),
        (
            "    - name: git\n",
            "    - name: health\n                match: { path: /healthz }\n                direct_response: { status: 200 }\n                typed_per_filter_config: { step-up: { \"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true } }\n              - name: git\n",
        ),
    ] {
        assert_eq!(envoy.matches(old).count(), 1, "{old}");
        let findings = check("envoy.yaml", &envoy.replace(old, new), Some(&policy));
        assert_eq!(found(&findings.text), BTreeSet::new(), "{new}:\n{}", findings.text);
    }
    // Which is found where it leads to the cluster of a server.
    let findings = check("envoy.yaml", &envoy.replace("  clusters:\n", &other_listener("notes")), Some(&policy));
    assert_eq!(found(&findings.text), BTreeSet::from(["filter-missing"]), "{}", findings.text);
}

/// It reads, and takes, another header than ours.
const JWT_ELSEWHERE: &str = r#"          http_filters:
          - name: envoy.filters.http.jwt_authn
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
              providers: { mesh: { issuer: mesh, from_headers: [ { name: x-mesh-token } ] } }
              rules:
              - match: { prefix: / }
                requires: { requires_any: { requirements: [ { provider_name: mesh }, { allow_missing_or_failed: {} } ] } }
          - name: step-up"#;

fn other_listener(cluster: &str) -> String {
    let manager =
        "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let host = format!(
        "{{ name: others, domains: [\"*\"], routes: [ {{ match: {{ prefix: / }}, route: {{ cluster: {cluster} }} }} ] }}"
    );
    let message =
        format!("{{ \"@type\": {manager}, stat_prefix: others, route_config: {{ virtual_hosts: [ {host} ] }} }}");
    format!(
        "  - {{ name: others, filter_chains: [ {{ filters: [ {{ name: hcm, typed_config: {message} }} ] }} ] }}\n  clusters:\n"
    )
}

/// The other spelling of protobuf's JSON, and a TypedStruct in place of a message.
#[test]
fn spellings_of_protobuf_are_one() {
    let (envoy, policy) = changed("retries.yaml");
    let camel = [
        ("retry_policy", "retryPolicy"),
        ("retry_on", "retryOn"),
        ("virtual_hosts", "virtualHosts"),
        ("http_filters", "httpFilters"),
    ];
    let camel = camel.iter().fold(envoy, |text, (snake, camel)| text.replace(snake, camel));
    let findings = check("envoy.yaml", &camel, Some(&policy));
    assert_eq!(found(&findings.text), BTreeSet::from(["retries"]), "{}", findings.text);

    let (envoy, policy) = changed("jwt-authn-forward.yaml");
    let kind = r#""@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"#;
    let (before, after) = envoy.split_once(kind).unwrap();
    let (inner, rest) = after.split_once("          - name: step-up").unwrap();
    let typed = kind.replace("\"@type\"", "type_url");
    let text = format!(
        "{before}\"@type\": type.googleapis.com/xds.type.v3.TypedStruct\n              {typed}\n              value:{}\n          - name: step-up{rest}",
        inner.replace('\n', "\n  ").trim_end()
    );
    let findings = check("envoy.yaml", &text, Some(&policy));
    assert_eq!(found(&findings.text), BTreeSet::from(["jwt-authn-forward"]), "{}", findings.text);
}

/// One deviation at many places is said once, with the places.
#[test]
fn what_is_alike_is_said_together() {
    let (envoy, policy) = changed("route-timeout.yaml");
    let findings = check("envoy.yaml", &envoy.replace("cluster: notes, timeout: 0s", "cluster: notes"), Some(&policy));
    assert_eq!(findings.warnings, 2, "{}", findings.text);
    assert_eq!(findings.text.matches("warning[").count(), 1, "{}", findings.text);
    assert!(findings.text.contains("also in line 50: route notes has no `timeout: 0s`"), "{}", findings.text);
}

/// Names of the file's do not move the cursor.
#[test]
fn names_are_escaped() {
    let (envoy, policy) = changed("route-timeout.yaml");
    let findings = check("envoy.yaml", &envoy.replace("- name: git\n", "- name: \"g\\e[2Jit\"\n"), Some(&policy));
    assert!(findings.text.contains("g\\u{1b}[2Jit") && !findings.text.contains('\u{1b}'), "{}", findings.text);
}
