//! A folder in the form of an OCI image layout: blobs under their digests, manifests, and an index of these.
//!
//! JSON is written with its names in order and without spaces: what is the same has the same digest.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use serde_json::{Value, json};

use crate::artifact::sha256;

/// What a manifest of an image is.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Texts about something, by name.
pub type Annotations = BTreeMap<String, String>;

/// What another blob says of a blob.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What is said of it here.
    #[serde(skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations,
    /// What sort of artifact a manifest is, if it is no image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<&'static str>,
    /// `sha256:` and hexadecimal digits.
    pub digest: String,
    /// How it is to be read.
    pub media_type: &'static str,
    /// In bytes.
    pub size: usize,
}

/// A layout that is being written. There is none before [`Layout::finish`].
#[derive(Debug)]
pub struct Layout {
    folder: PathBuf,
    manifests: Vec<Descriptor>,
}

impl Layout {
    /// In a folder that is empty or not there.
    pub fn begin(folder: &Path) -> Result<Layout> {
        let is_empty = match fs::read_dir(folder) {
            Ok(mut there) => there.next().is_none(),
            Err(fault) => fault.kind() == ErrorKind::NotFound,
        };
        if !is_empty {
            bail!("{} is not empty: remove what is there, or name another folder", folder.display());
        }
        let blobs = folder.join("blobs/sha256");
        fs::create_dir_all(&blobs).with_context(|| format!("{} cannot be made", blobs.display()))?;
        Ok(Layout { folder: folder.to_path_buf(), manifests: Vec::new() })
    }

    /// Writes a blob.
    pub fn blob(&self, media_type: &'static str, bytes: &[u8]) -> Result<Descriptor> {
        let hex = sha256(bytes);
        self.write(&format!("blobs/sha256/{hex}"), bytes)?;
        let digest = format!("sha256:{hex}");
        Ok(Descriptor { annotations: Annotations::new(), artifact_type: None, digest, media_type, size: bytes.len() })
    }

    /// Writes a blob that is JSON.
    pub fn json(&self, media_type: &'static str, value: Value) -> Result<Descriptor> {
        self.blob(media_type, &canonical(value)?)
    }

    /// Writes a manifest, and puts it into the index under a tag. `kind` is what cosign calls it in a layout.
    pub fn manifest(&mut self, manifest: Value, tag: &str, kind: Option<&str>) -> Result<Descriptor> {
        let descriptor = self.json(MANIFEST, manifest)?;
        let mut entry = descriptor.clone();
        entry.annotations.insert("org.opencontainers.image.ref.name".to_owned(), tag.to_owned());
        entry.annotations.extend(kind.map(|kind| ("kind".to_owned(), format!("dev.cosignproject.cosign/{kind}"))));
        self.manifests.push(entry);
        Ok(descriptor)
    }

    /// Says of the last manifest what sort of artifact it is.
    pub fn is_artifact(&mut self, artifact_type: &'static str) {
        if let Some(last) = self.manifests.last_mut() {
            last.artifact_type = Some(artifact_type);
        }
    }

    /// Writes the index.
    pub fn finish(self) -> Result<()> {
        let index = json!({
            "manifests": self.manifests,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "schemaVersion": 2,
        });
        self.write("index.json", &canonical(index)?)?;
        self.write("oci-layout", &canonical(json!({ "imageLayoutVersion": "1.0.0" }))?)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, bytes).with_context(|| format!("{} cannot be written", path.display()))
    }
}

/// The one text of a value, whatever features of `serde_json` others ask for.
pub fn canonical(mut value: Value) -> Result<Vec<u8>> {
    value.sort_all_objects();
    Ok(serde_json::to_vec(&value)?)
}
