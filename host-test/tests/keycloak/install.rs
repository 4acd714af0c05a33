//! Keycloak, fetched by Maven, checked, unpacked and built under `target/keycloak`, once.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use host_test::paths;
use ring::digest::{Context, SHA256};

const VERSION: &str = "26.7.3";
const DIGEST: &str = "77657f30b7e90d70f727712ce1c967f430fd6a5e9f458d32d8c6df0635345f47";
const FETCH: [&str; 3] = ["-B", "-q", "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"];

/// An installation that is ours alone as long as this lives: its database takes one server.
#[derive(Debug)]
pub struct Installation {
    pub folder: PathBuf,
    home: PathBuf,
    _lock: File,
}

impl Installation {
    /// Fetches and builds what is not there yet, and says so.
    pub fn get() -> Result<Installation> {
        let folder = paths::target().join("keycloak");
        fs::create_dir_all(&folder)?;
        let folder = folder.canonicalize()?;
        let lock = File::create(folder.join(".lock"))?;
        lock.lock()?;
        let installation = Installation { home: folder.join(format!("keycloak-{VERSION}")), folder, _lock: lock };
        if !installation.stamp().is_file() {
            installation.make().context(
                "Keycloak could not be installed: it takes Java 17 or newer, and Maven that reaches Maven Central",
            )?;
        }
        Ok(installation)
    }

    /// Its command with the environment that it wants.
    pub fn kc(&self, arguments: &[String]) -> Command {
        let mut command = Command::new(self.home.join("bin/kc.sh"));
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env("KC_BOOTSTRAP_ADMIN_USERNAME", "admin")
            .env("KC_BOOTSTRAP_ADMIN_PASSWORD", "admin")
            .env("JAVA_OPTS_KC_HEAP", "-Xms64m -Xmx512m");
        command
    }

    /// The database as it was after the very first start: no realm but `master`. `false` when there was none yet.
    pub fn restore(&self) -> Result<bool> {
        let (data, kept) = (self.home.join("data/h2"), self.folder.join("fresh-h2"));
        if !kept.is_dir() {
            return Ok(false);
        }
        copy_folder(&kept, &data)?;
        Ok(true)
    }

    /// Keeps the database, of a server that is not running, for [`Installation::restore`].
    pub fn keep(&self) -> Result<()> {
        copy_folder(&self.home.join("data/h2"), &self.folder.join("fresh-h2"))
    }

    fn stamp(&self) -> PathBuf {
        self.home.join(".built")
    }

    fn make(&self) -> Result<()> {
        run(Command::new("java").arg("-version"))?;
        let archive = self.folder.join(format!("keycloak-quarkus-dist-{VERSION}.tar.gz"));
        if !archive.is_file() {
            eprintln!("fetching Keycloak {VERSION} (176 MB) into {}", self.folder.display());
            let artifact = format!("-Dartifact=org.keycloak:keycloak-quarkus-dist:{VERSION}:tar.gz");
            let output = format!("-DoutputDirectory={}", self.folder.display());
            run(Command::new("mvn").current_dir(&self.folder).args(FETCH).args([artifact, output]))?;
        }
        let digest = sha256(&archive)?;
        ensure!(
            digest == DIGEST,
            "{} has the SHA-256 {digest}, not {DIGEST}: delete it and try again",
            archive.display()
        );
        for old in [&self.home, &self.folder.join("fresh-h2")] {
            if old.is_dir() {
                fs::remove_dir_all(old)?;
            }
        }
        run(Command::new("tar").arg("xzf").arg(&archive).arg("-C").arg(&self.folder))?;
        eprintln!("building Keycloak {VERSION} (half a minute), and starting it for the first time (another one)");
        run(&mut self.kc(&["build", "--db=dev-file", "--health-enabled=true"].map(str::to_owned)))?;
        fs::write(self.stamp(), VERSION).map_err(Into::into)
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?} could not be started"))?;
    if !output.status.success() {
        let text = [output.stdout, output.stderr].concat();
        bail!("{command:?} failed ({}):\n{}", output.status, String::from_utf8_lossy(&text));
    }
    Ok(())
}

fn sha256(path: &Path) -> Result<String> {
    let (mut file, mut context, mut buffer) = (File::open(path)?, Context::new(&SHA256), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => context.update(&buffer[..read]),
        }
    }
    Ok(context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// In place of what was there. The folder has files only.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    if to.is_dir() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
