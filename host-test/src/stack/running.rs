//! One Envoy that runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;

use super::{Request, send};
use crate::fixtures::Fixtures;
use crate::paths;
use crate::process::Process;

/// Envoy with `envoy.yaml` of that folder and these arguments. Its access log is written out at once, as tests want it.
pub(crate) fn start_envoy(fixtures: &Fixtures, folder: &Path, workers: u32, arguments: &[String]) -> Result<Process> {
    let mut command = Command::new(fixtures.envoy());
    command.current_dir(folder).args(["-c", "envoy.yaml", "--use-dynamic-base-id", "--disable-hot-restart"]).args([
        "--concurrency",
        &workers.to_string(),
        "--file-flush-interval-msec",
        "20",
    ]);
    command.args(arguments);
    Process::start("envoy", &mut command, folder)
}

/// Waits until Envoy says that it is live, on that port of its admin interface.
pub(crate) fn wait_until_live(envoy: &mut Process, admin: u16) -> Result<()> {
    let ready = Request::get(format!("http://127.0.0.1:{admin}/ready"));
    envoy.wait_until(|_| send(&ready).is_ok_and(|answer| answer.body.trim() == "LIVE"))
}

/// The value of one of the statistics of the Envoy with that admin interface; 0 when there is none of that name.
pub(crate) fn stat(admin: u16, name: &str) -> Result<u64> {
    let answer = send(&Request::get(format!("http://127.0.0.1:{admin}/stats?filter=^{name}$")))?;
    Ok(answer.body.rsplit(": ").next().and_then(|value| value.trim().parse().ok()).unwrap_or(0))
}

/// A folder for one Envoy and what belongs to it.
pub(crate) fn new_folder() -> Result<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let folder = paths::target().join("stacks").join(name);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}
