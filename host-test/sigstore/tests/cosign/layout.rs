//! An OCI image layout in memory, so that it can be changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

#[derive(Clone)]
pub struct Layout {
    /// By digest, with `sha256:`.
    blobs: BTreeMap<String, Vec<u8>>,
    /// Digests of manifests.
    tags: BTreeMap<String, String>,
}

impl Layout {
    pub fn read(folder: &Path) -> Layout {
        let mut layout = Layout { blobs: BTreeMap::new(), tags: BTreeMap::new() };
        for entry in fs::read_dir(folder.join("blobs/sha256")).unwrap() {
            let entry = entry.unwrap();
            let digest = layout.put(fs::read(entry.path()).unwrap());
            assert_eq!(digest, format!("sha256:{}", entry.file_name().display()));
        }
        let index: Value = serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
        for entry in index["manifests"].as_array().unwrap() {
            let tag = text(&entry["annotations"]["org.opencontainers.image.ref.name"]);
            layout.tags.insert(tag, text(&entry["digest"]));
        }
        layout
    }

    pub fn blob(&self, digest: &str) -> Option<&[u8]> {
        self.blobs.get(digest).map(Vec::as_slice)
    }

    /// Digest and bytes of the manifest that has this tag or digest.
    pub fn manifest(&self, name: &str) -> Option<(&str, &[u8])> {
        let (digest, bytes) = self.blobs.get_key_value(self.tags.get(name).map_or(name, String::as_str))?;
        Some((digest, bytes))
    }

    /// Changes what is signed of this digest, and makes all digests fit again.
    pub fn change_payload(&mut self, signed: &str, change: impl Fn(String) -> String) {
        let tag = tag(signed);
        let (_, manifest) = self.manifest(&tag).unwrap();
        let mut manifest: Value = serde_json::from_slice(manifest).unwrap();
        let payload = self.blob(&text(&manifest["layers"][0]["digest"])).unwrap();
        let payload = String::from_utf8(payload.to_vec()).unwrap();
        let changed = change(payload.clone());
        assert_ne!(changed, payload);
        manifest["layers"][0]["size"] = json!(changed.len());
        manifest["layers"][0]["digest"] = json!(self.put(changed.into_bytes()));
        let manifest = self.put(serde_json::to_vec(&manifest).unwrap());
        self.tags.insert(tag, manifest);
    }

    /// Puts the signature of one manifest in place of another's.
    pub fn move_signature(&mut self, from: &str, to: &str) {
        let signature = self.tags[&tag(from)].clone();
        assert!(self.tags.insert(tag(to), signature).is_some());
    }

    fn put(&mut self, bytes: Vec<u8>) -> String {
        let hex: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let digest = format!("sha256:{hex}");
        self.blobs.insert(digest.clone(), bytes);
        digest
    }
}

/// Where cosign looks for the signature of this digest.
fn tag(signed: &str) -> String {
    format!("{}.sig", signed.replace(':', "-"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}
