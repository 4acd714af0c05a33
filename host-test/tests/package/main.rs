//! `stepup package`: what it writes is read by others: skopeo of Debian, the readers of CycloneDX, cargo, git, ring.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

mod bill;
mod image;
mod layout;
mod signature;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use host_test::{artifact, paths};
use serde_json::Value;

/// The repository of all signatures here.
const REFERENCE: &str = "registry.example.com/step-up";

/// Code, and what was printed.
type Ran = (i32, String, String);

/// A folder that is not there.
fn place(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("package").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.parent().unwrap()).unwrap();
    folder
}

fn package(out: &Path, more: &[&str]) -> Ran {
    ran(stepup(out, more))
}

fn stepup(out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stepup"));
    // In another folder than the workspace: where it is called must not matter.
    command.current_dir(out.parent().unwrap()).arg("package").arg("--out").arg(out).args(more);
    // What is signed is built from this source, which artifact::module has done.
    let module = artifact::module().unwrap();
    if !more.contains(&"--key") {
        command.env("STEP_UP_WASM", module);
    }
    command
}

fn ran(mut command: Command) -> Ran {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// What a program of the system prints; `None` if it fails.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).current_dir(paths::workspace()).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; run: sudo apt-get install -y {program}"));
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// One layout that all tests read, signed with a key that is made for it.
fn signed() -> &'static Signed {
    static SIGNED: OnceLock<Signed> = OnceLock::new();
    SIGNED.get_or_init(|| {
        let folder = place("signed");
        let key = rcgen::KeyPair::generate().unwrap();
        let mut command = stepup(&folder, &["--key", "env://PACKAGE_KEY", "--reference", REFERENCE, "--json"]);
        command.env("PACKAGE_KEY", key.serialize_pem());
        let (code, out, error) = ran(command);
        assert_eq!(code, 0, "{error}");
        Signed { folder, key, report: serde_json::from_str(&out).unwrap() }
    })
}

struct Signed {
    folder: PathBuf,
    key: rcgen::KeyPair,
    report: Value,
}

/// The blob of this digest, in whose name `sha256:` is.
fn blob(layout: &Path, digest: &str) -> Vec<u8> {
    fs::read(layout.join("blobs").join(digest.replace(':', "/"))).unwrap()
}

fn json(layout: &Path, digest: &str) -> Value {
    serde_json::from_slice(&blob(layout, digest)).unwrap()
}

/// What the index says of the manifest that has this tag.
fn tagged(layout: &Path, tag: &str) -> Value {
    let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let of_tag = |entry: &&Value| entry["annotations"]["org.opencontainers.image.ref.name"] == tag;
    index["manifests"].as_array().unwrap().iter().find(of_tag).unwrap_or_else(|| panic!("no {tag}: {index:#}")).clone()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// The image's manifest.
fn image(layout: &Path) -> Value {
    json(layout, text(&tagged(layout, env!("CARGO_PKG_VERSION"))["digest"]))
}

fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
