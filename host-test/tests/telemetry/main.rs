//! `envoy/telemetry`: the dashboard shows every metric, each alert fires when it should, and labels come out of the names of Istio's form.
//!
//! Takes `promtool` and `prometheus`: `.ci/prometheus` fetches them. With `-- --ignored` a real Prometheus scrapes real Envoys under load,
//! and is asked everything that the dashboard and the alerts ask.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

mod alerts;
mod dashboard;
mod expressions;
mod live;
mod load;
mod prometheus;
mod relabel;
