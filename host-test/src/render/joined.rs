//! One document of a policy and of servers in files of their own.

use std::fs;
use std::path::{Path, PathBuf};

use annotate_snippets::Renderer;
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::check::check;
use crate::{policy, yaml};

/// The policy, with the servers of that folder in it. What comes of it is good by itself.
pub(super) fn document(path: &Path, servers: Option<&Path>) -> Result<Value> {
    let Some(folder) = servers else {
        let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let findings = check(path, &text, &Renderer::plain());
        if findings.errors > 0 || findings.policies != 1 {
            bail!("{}{} is no policy that could be rendered", findings.text, path.display());
        }
        return yaml::load(path);
    };
    let mut document = yaml::load(path)?;
    let base = document.as_object_mut().with_context(|| format!("{} is no policy", path.display()))?;
    if let Some(word) = ["resource", "tools"].into_iter().find(|word| base.contains_key(*word)) {
        bail!(
            "{} has `{word}` at its top: it is one server already, and further ones stand under `servers`",
            path.display()
        );
    }
    let all = base.entry("servers").or_insert_with(|| json!({}));
    let all = all.as_object_mut().with_context(|| format!("{}: `servers` is no map", path.display()))?;
    for file in files(folder)? {
        let name = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let server = yaml::load(&file)?;
        if !server.is_object() {
            bail!("{} is no server: it has what stands under `servers: {{ {name}: .. }}`", file.display());
        }
        if all.insert(name.to_owned(), server).is_some() {
            bail!("{} is the server {name} a second time: {} has it", file.display(), path.display());
        }
    }
    policy::loaded(&document).with_context(|| format!("{} with {}", path.display(), folder.display()))?;
    Ok(document)
}

/// In the order of their names.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.sort();
    if let Some(other) = files.iter().find(|file| file.extension().is_none_or(|end| end != "yaml")) {
        bail!("{} is no `NAME.yaml`: the folder has servers, and nothing else", other.display());
    }
    if files.is_empty() {
        bail!("{} has no server", folder.display());
    }
    Ok(files)
}
