//! What lies in `envoy/telemetry` and is made from the list of metrics: a dashboard, and relabelling for who has labels in names.

mod dashboard;
mod panels;
mod relabel;

pub use dashboard::{SELECTION, dashboard};
pub use panels::{Panel, ROWS, Row, View};
pub use relabel::relabel;
