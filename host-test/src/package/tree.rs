//! Which crates a module is made of, as cargo resolves them for that package alone. `cargo metadata` would not do: its features are
//! those that the whole workspace asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::source::said;
use crate::paths;

/// The package of the module.
const PACKAGE: &str = "step-up-filter";

/// A crate.
#[derive(Debug, Default)]
pub struct Crate {
    /// As an SPDX expression.
    pub license: String,
    /// The SHA-256 of what was downloaded; what belongs to this workspace has none.
    pub checksum: Option<String>,
    /// Whether code of it can be in the module: what only macros need runs while it is built.
    pub is_linked: bool,
    /// What it depends on.
    pub needs: BTreeSet<Id>,
}

/// Name and version.
pub type Id = (String, String);

/// The package of the module, and all of its crates with itself.
pub fn read() -> Result<(Id, BTreeMap<Id, Crate>)> {
    let options = ["tree", "--locked", "--edges", "normal", "--target", "wasm32-wasip1", "--package", PACKAGE];
    let form = ["--prefix", "depth", "--no-dedupe", "--format", "\t{p}\t{l}"];
    let mut crates = parsed(&said(env!("CARGO"), &[&options[..], &form].concat())?)?;
    let lock = paths::workspace().join("Cargo.lock");
    let lock = fs::read_to_string(&lock).with_context(|| format!("{} cannot be read", lock.display()))?;
    for Locked { name, version, checksum } in toml::from_str::<Lock>(&lock)?.package {
        if let Some(found) = crates.get_mut(&(name, version)) {
            found.checksum = checksum;
        }
    }
    let root = crates.keys().find(|(name, _)| name == PACKAGE).cloned();
    Ok((root.with_context(|| format!("cargo tree does not begin with {PACKAGE}"))?, crates))
}

/// Lines of depth, package and license.
fn parsed(tree: &str) -> Result<BTreeMap<Id, Crate>> {
    let mut crates = BTreeMap::<Id, Crate>::new();
    // Those that lead to this line, and whether they are linked.
    let mut above: Vec<(Id, bool)> = Vec::new();
    for line in tree.lines() {
        let what = || format!("{line:?} of cargo tree cannot be read");
        let mut parts = line.split('\t');
        let depth: usize = parts.next().unwrap_or_default().parse().with_context(what)?;
        let package = parts.next().with_context(what)?;
        let mut words = package.split(' ');
        let (name, version) = words.next().zip(words.next()).with_context(what)?;
        let id: Id = (name.to_owned(), version.trim_start_matches('v').to_owned());
        above.truncate(depth);
        let is_linked = above.last().is_none_or(|(_, is_linked)| *is_linked) && !package.contains("(proc-macro)");
        if let Some((parent, _)) = above.last() {
            crates.entry(parent.clone()).or_default().needs.insert(id.clone());
        }
        let found = crates.entry(id.clone()).or_default();
        // As licenses were written before SPDX.
        found.license = parts.next().unwrap_or_default().replace('/', " OR ");
        found.is_linked |= is_linked;
        above.push((id, is_linked));
    }
    Ok(crates)
}

/// Of Cargo.lock.
#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}
