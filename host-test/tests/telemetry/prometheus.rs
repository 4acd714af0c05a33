//! The real Prometheus, and its tool.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use host_test::paths;
use host_test::process::{Process, free_port};
use host_test::stack::{Request, encode, send};
use serde_json::Value;

/// A program of Prometheus', on the PATH or as `.ci/prometheus` leaves it.
pub fn tool(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([paths::target().join("prometheus/usr/bin")]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file()).unwrap_or_else(|| {
        panic!(
            "`{name}` is missing: run `.ci/prometheus`, which fetches it on Debian and Ubuntu; elsewhere install Prometheus (2.42 or newer) \
             and put `{name}` on the PATH"
        )
    })
}

/// Runs promtool, which must be content.
pub fn promtool(arguments: &[&str], folder: &Path) {
    let output = Command::new(tool("promtool")).args(arguments).current_dir(folder).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "promtool {arguments:?}:\n{}", String::from_utf8_lossy(&text));
}

/// Where `envoy/telemetry` is.
pub fn folder() -> PathBuf {
    paths::envoy().join("telemetry")
}

/// A series as it is answered: its labels, with `__name__` where it has one, and its value.
pub type Sample = (BTreeMap<String, String>, f64);

/// One that runs, on loopback, with a folder of its own. It ends with this.
pub struct Prometheus {
    url: String,
    _process: Process,
}

impl Prometheus {
    /// With this configuration; the alerts lie beside it, as `alerts.yaml`.
    pub fn start(name: &str, configuration: &Value) -> Prometheus {
        let folder = paths::target().join("stacks").join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("prometheus.yaml"), configuration.to_string()).unwrap();
        fs::copy(self::folder().join("alerts.yaml"), folder.join("alerts.yaml")).unwrap();
        let port = free_port().unwrap();
        let mut command = Command::new(tool("prometheus"));
        command.args(["--config.file=prometheus.yaml", "--storage.tsdb.path=data", "--log.level=warn"]);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}")).current_dir(&folder);
        let mut process = Process::start("prometheus", &mut command, &folder).unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let ready = Request::get(format!("{url}/-/ready"));
        process.wait_until(|_| send(&ready).is_ok_and(|answer| answer.status == 200)).unwrap();
        Prometheus { url, _process: process }
    }

    /// What an expression comes to, now.
    pub fn query(&self, expression: &str) -> Vec<Sample> {
        let answer = self.get(&format!("query?{}", encode(&[("query", expression)])));
        let list = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{expression}: {answer}"));
        let labels = |sample: &Value| serde_json::from_value(sample["metric"].clone()).unwrap();
        list.iter().map(|sample| (labels(sample), sample["value"][1].as_str().unwrap().parse().unwrap())).collect()
    }

    /// Waits until an expression comes to something. A Prometheus that is ready takes five seconds more to look for its targets.
    pub fn wait_for(&self, expression: &str) {
        for _ in 0..300 {
            if !self.query(expression).is_empty() {
                return;
            }
            sleep(Duration::from_millis(100));
        }
        panic!("waited in vain for {expression}");
    }

    /// An answer of its interface.
    pub fn get(&self, path: &str) -> Value {
        let answer = send(&Request::get(format!("{}/api/v1/{path}", self.url))).unwrap();
        let value: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(value["status"], "success", "{path}: {value:#}");
        value
    }
}
