//! The files of this folder: each is a list of changes to the good ones, or one of Envoy's itself.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use host_test::yaml;

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check_envoy")
}

/// All of them, by name.
pub fn files() -> Result<Vec<PathBuf>> {
    let entries: Result<Vec<_>, _> =
        std::fs::read_dir(folder())?.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut files = entries?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    Ok(files)
}

/// The good ones: bootstrap and discovery file.
pub fn good() -> Result<(String, String)> {
    let read = |name: &str| std::fs::read_to_string(folder().join("good").join(name));
    Ok((read("envoy.yaml")?, read("step-up.yaml")?))
}

/// The bootstrap (or a dump) and the discovery file that such a file makes.
pub fn changed(path: &Path) -> Result<(String, String)> {
    let name = path.display();
    let (mut envoy, mut filter) = good()?;
    let document = yaml::load(path)?;
    let Some(changes) = document.as_array() else { return Ok((std::fs::read_to_string(path)?, filter)) };
    for change in changes {
        let text = |word: &str| change.get(word).and_then(serde_json::Value::as_str);
        let (old, new) = (text("old").context("no `old`")?, text("new").context("no `new`")?);
        let many = envoy.matches(old).count() + filter.matches(old).count();
        ensure!(many == 1, "{name}: {many} times in the good files: {old}");
        (envoy, filter) = (envoy.replace(old, new), filter.replace(old, new));
    }
    Ok((envoy, filter))
}
