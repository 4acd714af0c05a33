//! `istio-relabel.yaml` in a real Prometheus, on what an Envoy of Istio's shows.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use host_test::{telemetry, yaml};
use serde_json::{Value, json};
use step_up_core::{Change, Ending, ExchangeEnd, KeysEnd, Metric, Reason, RevocationEnd};

use crate::expressions::metrics;
use crate::prometheus::Prometheus;

/// The rules.
pub fn rules() -> Value {
    yaml::to_json(&yaml::read(&telemetry::relabel()).unwrap())["metric_relabel_configs"].clone()
}

/// As Envoy writes names for Prometheus.
fn sanitized(text: &str) -> String {
    text.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}

/// One of each, with the most confusing values that there may be.
fn examples() -> Vec<Metric> {
    let server: Rc<str> = "a_verdict_deny_reason_denied_mode_shadow_outcome_x_sum".into();
    let issuer = "https://as.example.com/_outcome_fetched".to_owned();
    let decision = |server: &str, verdict, reason, mode| Metric::Decision {
        server: server.into(),
        verdict,
        reason,
        mode,
        count: 1,
    };
    vec![
        decision("-", Ending::Deny, Reason::UnknownPath, "enforce"),
        decision(&server, Ending::Permit, Reason::Permitted, "shadow"),
        Metric::Exchange { server: server.clone(), outcome: ExchangeEnd::Refused(Reason::ElevationRefused) },
        Metric::ExchangeTime { server, millis: 7 },
        Metric::Revocation { outcome: RevocationEnd::GivenUp },
        Metric::JwksFetch { issuer: issuer.clone(), outcome: KeysEnd::Withdrawn },
        Metric::KeysAge { issuer, seconds: 1 },
        Metric::Fault { kind: "upstream_refused_401", count: 1 },
        Metric::Shadow { value: 1 },
        Metric::Info { module: "0.1.0", policy: "90875435e8b4".to_owned(), value: 1 },
    ]
}

type Series = BTreeMap<String, String>;

fn series(name: &str, labels: &[(&str, &str)]) -> Series {
    [("__name__", name)].iter().chain(labels).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// What an Envoy of Istio's shows, and what is to come of it.
fn shown() -> (String, BTreeSet<Series>) {
    let (mut page, mut expected) = (String::new(), BTreeSet::new());
    let mut covered = BTreeSet::new();
    for metric in examples() {
        let text = metric.name();
        let mut parts = text.split(';');
        let name = parts.next().unwrap();
        covered.insert(name.to_owned());
        let labels: Vec<(&str, String)> =
            parts.map(|label| label.split_once('=').unwrap()).map(|(label, value)| (label, sanitized(value))).collect();
        let labels: Vec<(&str, &str)> = labels.iter().map(|(label, value)| (*label, value.as_str())).collect();
        let full = sanitized(&text);
        if let Change::Observe(_) = metric.change() {
            page += &format!("{full}_bucket{{le=\"+Inf\"}} 1\n{full}_sum{{}} 7\n{full}_count{{}} 1\n");
            expected.insert(series(&format!("{name}_bucket"), &[&labels[..], &[("le", "+Inf")]].concat()));
            expected.extend(["_sum", "_count"].map(|end| series(&format!("{name}{end}"), &labels)));
        } else {
            page += &format!("{full}{{}} 1\n");
            expected.insert(series(name, &labels));
        }
    }
    assert_eq!(covered, metrics().into_keys().collect());
    // Envoy's own in that form; and what has its labels already, which stays as it is.
    let manager = ("envoy_http_conn_manager_prefix", "outbound_0_0_0_0_10000_");
    let class = |name: &str, class: &str| format!("{name}{{response_code_class=\"{class}\"}} 1\n");
    page += "envoy_http_outbound_0_0_0_0_10000__rbac{authz_enforce_result=\"denied\"} 1\n";
    page += "envoy_http_outbound_0_0_0_0_10000__downstream_rq_total{} 1\n";
    page += &class("envoy_http_outbound_0_0_0_0_10000__downstream_rq", "2xx");
    page += "envoy_http_rbac_denied{envoy_http_conn_manager_prefix=\"mcp\"} 1\n";
    page += "stepup_revocations_total{outcome=\"revoked\"} 1\n";
    expected.insert(series("envoy_http_rbac_denied", &[manager, ("authz_enforce_result", "denied")]));
    expected.insert(series("envoy_http_downstream_rq_total", &[manager]));
    let classes = [manager, ("envoy_response_code_class", "2"), ("response_code_class", "2xx")];
    expected.insert(series("envoy_http_downstream_rq_xx", &classes));
    expected.insert(series("envoy_http_rbac_denied", &[("envoy_http_conn_manager_prefix", "mcp")]));
    expected.insert(series("stepup_revocations_total", &[("outcome", "revoked")]));
    (page, expected)
}

#[test]
fn labels_come_out_of_the_names() {
    let (page, expected) = shown();
    let server = Arc::new(tiny_http::Server::http("127.0.0.1:0").unwrap());
    let address = server.server_addr().to_string();
    let serving = thread::spawn({
        let server = Arc::clone(&server);
        move || {
            for request in server.incoming_requests() {
                // Prometheus may have gone.
                let _ = request.respond(tiny_http::Response::from_string(page.clone()));
            }
        }
    });
    let prometheus = Prometheus::start(
        "relabel",
        &json!({
            "global": { "scrape_interval": "1s" },
            "scrape_configs": [{
                "job_name": "istio", "static_configs": [{ "targets": [address] }], "metric_relabel_configs": rules(),
            }],
        }),
    );
    let found = || -> BTreeSet<Series> {
        let samples = prometheus.query(r#"{__name__=~"(stepup|envoy)_.+"}"#).into_iter();
        let own = |(name, _): &(String, String)| name != "job" && name != "instance";
        samples.map(|(labels, _)| labels.into_iter().filter(own).collect()).collect()
    };
    prometheus.wait_for("stepup_info");
    assert_eq!(found(), expected);
    drop(prometheus);
    server.unblock();
    serving.join().unwrap();
}
