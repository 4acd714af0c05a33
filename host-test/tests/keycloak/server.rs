//! One running Keycloak for all trials, on loopback, ended at the end whatever became of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use host_test::process::{Process, free_port};
use host_test::stack::{Request, send};

use super::install::Installation;
use super::recorder::Recorder;

/// From the command to the answer "ready": 10 s as a rule, a minute the first time, two on an overloaded machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// A running Keycloak.
#[derive(Debug)]
pub struct Keycloak {
    /// What begins all of its URLs.
    pub base: String,
    /// Where that is.
    pub port: u16,
    /// Stands in front of it when something is to be written down.
    pub recorder: Option<Recorder>,
    // Ended in this order.
    _java: Java,
    _installation: Installation,
}

static RUNNING: Mutex<Option<Result<Arc<Keycloak>, String>>> = Mutex::new(None);

/// The Keycloak of this process, started by whoever asks first. If that fails, it has failed for everybody.
pub fn keycloak() -> Result<Arc<Keycloak>> {
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let started = running.get_or_insert_with(|| Keycloak::start().map(Arc::new).map_err(|error| format!("{error:#}")));
    started.clone().map_err(|error| anyhow!("{error}"))
}

/// Ends it, if it was started and no trial is under way.
pub fn stop() {
    drop(RUNNING.lock().unwrap_or_else(PoisonError::into_inner).take());
}

impl Keycloak {
    fn start() -> Result<Keycloak> {
        let installation = Installation::get()?;
        end_leftover(&pid_file(&installation));
        if !installation.restore()? {
            // Tables and the administrator are made by the first start.
            drop(Java::start(&installation, free_port()?, None)?);
            installation.keep()?;
        }
        let port = free_port()?;
        let recorder = Recorder::wanted(&origin(port))?;
        let public = recorder.as_ref().map_or(port, Recorder::port);
        let begin = Instant::now();
        let java = Java::start(&installation, port, Some(public))?;
        eprintln!("Keycloak was ready at {} after {:.0} s", origin(public), begin.elapsed().as_secs_f64());
        Ok(Keycloak { base: origin(public), port: public, recorder, _java: java, _installation: installation })
    }
}

fn origin(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// The process. It is a shell that passes SIGTERM on to Java, and no other signal.
#[derive(Debug)]
struct Java {
    shell: Process,
    pid_file: PathBuf,
}

impl Java {
    /// Waits until it is ready. `public` is the port of its URLs where that is another one.
    fn start(installation: &Installation, port: u16, public: Option<u16>) -> Result<Java> {
        let management = free_port()?;
        // Without `--cache=local` it listens on all interfaces.
        let arguments = [
            "start".to_owned(),
            "--optimized".to_owned(),
            "--cache=local".to_owned(),
            "--http-enabled=true".to_owned(),
            "--http-host=127.0.0.1".to_owned(),
            format!("--http-port={port}"),
            format!("--http-management-port={management}"),
            format!("--hostname={}", origin(public.unwrap_or(port))),
        ];
        let shell = Process::start("keycloak", &mut installation.kc(&arguments), &installation.folder)?;
        let mut java = Java { shell, pid_file: pid_file(installation) };
        fs::write(&java.pid_file, java.shell.id().to_string())?;
        let health = Request::get(format!("{}/health/ready", origin(management)));
        java.shell.wait_within(PATIENCE, |_| {
            // Each look costs it something while it has enough to do.
            sleep(Duration::from_millis(200));
            send(&health).is_ok_and(|answer| answer.status == 200)
        })?;
        Ok(java)
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        let (shell, children) = (self.shell.id(), children(self.shell.id()));
        signal("TERM", shell);
        if self.shell.wait_for_end().is_err() {
            eprintln!("Keycloak does not end by itself");
            children.into_iter().for_each(|java| signal("KILL", java));
        }
        let _ = fs::remove_file(&self.pid_file);
    }
}

fn pid_file(installation: &Installation) -> PathBuf {
    installation.folder.join("pid")
}

/// Ends what a killed run has left behind: our own shell, if the process of that id is still it.
fn end_leftover(pid_file: &Path) {
    let Some(pid) = fs::read_to_string(pid_file).ok().and_then(|text| text.trim().parse::<u32>().ok()) else { return };
    let is_ours = || {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let folder = pid_file.parent().unwrap_or(pid_file).display().to_string();
        String::from_utf8_lossy(&line).contains(&format!("{folder}/keycloak-"))
    };
    if is_ours() {
        eprintln!("ending the Keycloak of an earlier run, process {pid}");
        signal("TERM", pid);
        let begin = Instant::now();
        while is_ours() && begin.elapsed() < Duration::from_secs(15) {
            sleep(Duration::from_millis(100));
        }
    }
}

fn children(pid: u32) -> Vec<u32> {
    let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    listed.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

fn signal(name: &str, pid: u32) {
    // Fails when it has ended already.
    let _ = Command::new("kill").args(["-s", name, &pid.to_string()]).status();
}

/// Ends it also when this process is told to end.
pub fn stop_at_signals() -> Result<()> {
    ctrlc::set_handler(|| {
        stop_now();
        std::process::exit(130);
    })
    .context("no handler for signals")
}

fn stop_now() {
    // A trial that runs has it too, so that dropping does not end it: tell the process.
    let folder = host_test::paths::target().join("keycloak");
    if let Ok(folder) = folder.canonicalize() {
        end_leftover(&folder.join("pid"));
    }
}
