//! Everything that the dashboard and the alerts ask, asked of a Prometheus that scraped Envoys under load: the sample, one whose
//! `stats_config` is that of Istio's bootstrap, through `istio-relabel.yaml`, and one that never had a policy.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::Duration;

use host_test::stack::{EnvoyStack, Given, Options, Request, Server, Setup, Stack as _, send};
use host_test::{paths, yaml};
use serde_json::{Value, json};

use crate::dashboard::{panels, sent};
use crate::prometheus::Prometheus;
use crate::{alerts, load, relabel};

/// How Istio's bootstrap has it, as far as it touches what is asked here: tags of its own in place of Envoy's, and few statistics, to
/// which those are added that the head of `istio-relabel.yaml` names.
fn as_istio_has_it() -> Value {
    json!({
        "use_all_default_tags": false,
        "stats_tags": [
            { "tag_name": "response_code", "regex": "_rq(_(\\d{3}))$" },
            { "tag_name": "response_code_class", "regex": "_rq(_(\\dxx))$" },
            { "tag_name": "authz_enforce_result", "regex": "rbac(\\.(allowed|denied))" },
        ],
        "stats_matcher": { "inclusion_list": { "patterns": [
            { "prefix": "server" }, { "suffix": "rbac.allowed" }, { "suffix": "rbac.denied" },
            { "prefix": "extension_config_discovery" }, { "prefix": "wasm" },
            { "safe_regex": { "regex": "http\\..*\\.(downstream_rq_total|downstream_rq_[1-5]xx|rbac\\.denied)" } },
        ] } },
    })
}

/// The sample, and the same with what Istio has in place of its `stats_config`.
fn stacks() -> [EnvoyStack; 2] {
    let mut bootstrap = yaml::load(&paths::envoy().join("envoy.yaml")).unwrap();
    bootstrap["stats_config"] = as_istio_has_it();
    let given = Given {
        files: vec![("envoy.yaml".to_owned(), bootstrap)],
        clusters: ["everything", "notes"].map(str::to_owned),
        arguments: Vec::new(),
    };
    let istio = Options { given: Some(given), ..Options::default() };
    [EnvoyStack::start(&Options::default()).unwrap(), EnvoyStack::start(&istio).unwrap()]
}

/// An Envoy that was started with a faulty policy, and refuses everything.
fn closed() -> EnvoyStack {
    let setup = Setup::Configuration(json!({ "version": 1, "surprise": true }).to_string());
    EnvoyStack::start(&Options { setup, servers: false, authorization_server: false, ..Options::default() }).unwrap()
}

/// `TELEMETRY_ROUNDS` says how long, a third of a second each.
#[test]
#[ignore = "starts three Envoys and a Prometheus, and takes half a minute: for .ci/nightly"]
fn everything_that_is_asked_is_answered() {
    let (stacks, closed) = (stacks(), closed());
    let page = send(&Request::get(stacks[1].admin_url("/stats/prometheus"))).unwrap().body;
    assert!(page.contains("stepup_faults_total_kind_internal") && !page.contains("stepup_faults_total{"), "{page}");
    let job = |name: &str, stack: &EnvoyStack, rules: Value| {
        let address = stack.admin_url("").trim_start_matches("http://").to_owned();
        json!({
            "job_name": name, "metrics_path": "/stats/prometheus", "static_configs": [{ "targets": [address] }],
            "metric_relabel_configs": rules,
        })
    };
    let prometheus = Prometheus::start(
        "live",
        &json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "rule_files": ["alerts.yaml"],
            "scrape_configs": [
                job("sample", &stacks[0], json!([])), job("istio", &stacks[1], relabel::rules()), job("closed", &closed, json!([])),
            ],
        }),
    );
    prometheus.wait_for("count(up == 1) == 3");
    assert_eq!(send(&Request::post(closed.url(Server::Notes), "{}")).unwrap().status, 403);
    let rounds = std::env::var("TELEMETRY_ROUNDS").map_or(30, |rounds| rounds.parse().unwrap());
    load::run(&stacks, rounds);
    // Counts are told once a second, histograms merged every five, and all of it scraped once a second.
    sleep(Duration::from_secs(7));

    let mut empty = Vec::new();
    for job in ["sample", "istio"] {
        for panel in panels() {
            for (query, _) in panel.queries {
                let answer = prometheus.query(&sent(query, job));
                if answer.iter().all(|(_, value)| value.is_nan()) {
                    empty.push(format!("{job}: {}: {query}", panel.title));
                }
            }
        }
    }
    assert!(empty.is_empty(), "{empty:#?}");
    same_of_both(&prometheus);
    alerts_are_evaluated(&prometheus);
}

/// The labels of Istio's form are those of the sample, but for characters that its names do not have. Issuers and policies have ports in
/// them.
fn same_of_both(prometheus: &Prometheus) {
    let labels = |job: &str| -> BTreeSet<String> {
        let samples = prometheus
            .query(&format!(r#"{{__name__=~"stepup_.+",__name__!~"stepup_exchange_ms_bucket",job="{job}"}}"#));
        let own = samples.into_iter().map(|(mut labels, _)| {
            for varied in ["job", "instance", "issuer", "policy"] {
                labels.remove(varied);
            }
            format!("{labels:?}").replace("0.1.0", "0_1_0")
        });
        own.collect()
    };
    assert_eq!(labels("sample"), labels("istio"));
}

fn alerts_are_evaluated(prometheus: &Prometheus) {
    let answer = prometheus.get("rules");
    let groups = answer["data"]["groups"].as_array().unwrap();
    let rules: Vec<&Value> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    assert_eq!(rules.len(), alerts::alerts().len());
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule:#}");
        let jobs =
            rule["alerts"].as_array().unwrap().iter().map(|alert| alert["labels"]["job"].as_str().unwrap_or_default());
        let expected: &[&str] = match rule["name"].as_str().unwrap() {
            // The faulty policy, and the rule in shadow mode, which waits for a day.
            "StepUpPolicyRefused" | "StepUpShadow" => &["istio", "sample"],
            "StepUpNoPolicy" | "StepUpLockAtWork" => &["closed"],
            _ => &[],
        };
        assert_eq!(jobs.collect::<BTreeSet<_>>(), expected.iter().copied().collect(), "{rule:#}");
    }
}
