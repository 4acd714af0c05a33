//! Child processes that write a log, say when they are ready, and end with their owner.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// How long a process may take to be ready.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process of ours. It is ended, by its own handle, when this is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output going to `FOLDER/NAME.log`.
    pub fn start(name: &str, command: &mut Command, folder: &Path) -> Result<Process> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("{name} could not be started"))?;
        Ok(Process { name: name.to_owned(), child, log })
    }

    /// Waits until `ready` says so; fails with the end of the log when the process ends before, or takes too long.
    pub fn wait_until(&mut self, ready: impl FnMut(&str) -> bool) -> Result<()> {
        self.wait_within(PATIENCE, ready)
    }

    /// The same for what takes longer.
    pub fn wait_within(&mut self, patience: Duration, mut ready: impl FnMut(&str) -> bool) -> Result<()> {
        let begin = Instant::now();
        loop {
            let log = self.log();
            if ready(&log) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}):\n{}", self.name, tail(&log));
            }
            if begin.elapsed() > patience {
                bail!("{} was not ready after {patience:?}:\n{}", self.name, tail(&log));
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the process accepts connections.
    pub fn wait_for_port(&mut self, port: u16) -> Result<()> {
        self.wait_until(|_| TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).is_ok())
    }

    /// Waits until the process has ended by itself, and gives its exit code.
    pub fn wait_for_end(&mut self) -> Result<Option<i32>> {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            sleep(Duration::from_millis(20));
        }
        bail!("{} still runs after {PATIENCE:?}", self.name);
    }

    /// Everything written so far.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Hears of Ctrl-C and SIGTERM, once it has been called.
pub(crate) fn stopped() -> Result<Receiver<()>> {
    let (stop, stopped) = channel();
    ctrlc::set_handler(move || {
        // Fails when nobody waits any more: then everything is ending already.
        let _ = stop.send(());
    })?;
    Ok(stopped)
}

/// A loopback port that is free now. Below the range from which the system gives ports to outgoing connections, so that
/// none of those takes it before its server does.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (first, count) = (20_000, 12_000);
    for _ in 0..count {
        // Processes that start at the same time begin at different places.
        let place = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % count;
        let port = u16::try_from(first + place)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port")
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(20)).copied().collect::<Vec<_>>().join("\n")
}
