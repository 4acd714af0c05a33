//! The image: what Istio and Envoy Gateway call the "compat" variant of a Wasm image, and what Kubernetes mounts as a volume.

use std::io::Write as _;

use anyhow::Result;
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use tar::{EntryType, Header};

use super::layout::{Annotations, Descriptor, Layout, MANIFEST};
use crate::artifact::sha256;

/// What an image's configuration is.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// Wherever the module is looked for, this is its name.
const FILE: &str = "plugin.wasm";
/// Nothing in an image depends on when it was made.
const NO_TIME: &str = "1970-01-01T00:00:00Z";

/// For which machines an image says it is. The module runs on all of them; containerd unpacks only what is for its own.
#[derive(Clone, Debug)]
pub struct Platform {
    os: String,
    architecture: String,
}

/// As `linux/amd64`.
pub fn platform(text: &str) -> Result<Platform, String> {
    match text.split('/').collect::<Vec<_>>()[..] {
        [os, architecture] if !os.is_empty() && !architecture.is_empty() => {
            Ok(Platform { os: os.to_owned(), architecture: architecture.to_owned() })
        }
        _ => Err("write OS/ARCHITECTURE, as linux/amd64 or linux/arm64".to_owned()),
    }
}

/// Writes layer, configuration and manifest, under that tag. Gives manifest and layer.
pub fn write(
    layout: &mut Layout,
    module: &[u8],
    platform: &Platform,
    mut annotations: Annotations,
    tag: &str,
) -> Result<(Descriptor, Descriptor)> {
    let archive = archive(module)?;
    let layer = layout.blob(LAYER, &compressed(&archive)?)?;
    let configuration = json!({
        "architecture": platform.architecture,
        // Some tools show these, and no annotations.
        "config": { "Labels": annotations },
        "created": NO_TIME,
        "history": [{ "created": NO_TIME, "created_by": "stepup package" }],
        "os": platform.os,
        "rootfs": { "diff_ids": [format!("sha256:{}", sha256(&archive))], "type": "layers" },
    });
    let configuration = layout.json(CONFIG, configuration)?;
    annotations.insert("module.wasm.image/variant".to_owned(), "compat".to_owned());
    let image = layout.manifest(manifest(&configuration, &layer, &annotations), tag, Some("image"))?;
    Ok((image, layer))
}

/// Of one layer.
pub fn manifest(configuration: &Descriptor, layer: &Descriptor, annotations: &Annotations) -> Value {
    let mut manifest = json!({
        "config": configuration,
        "layers": [layer],
        "mediaType": MANIFEST,
        "schemaVersion": 2,
    });
    if let (false, Some(members)) = (annotations.is_empty(), manifest.as_object_mut()) {
        members.insert("annotations".to_owned(), json!(annotations));
    }
    manifest
}

/// The module and nothing else: nobody's, read by all, of no time.
fn archive(module: &[u8]) -> Result<Vec<u8>> {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o444);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(module.len() as u64);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, FILE, module)?;
    Ok(archive.into_inner()?)
}

/// By the deflate of pure Rust, with neither time nor system in its head.
fn compressed(archive: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::best());
    gzip.write_all(archive)?;
    Ok(gzip.finish()?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// Another digest here is another one of every image. It comes from a new version of `tar` or `flate2`, or from a feature of
    /// theirs that somebody else asks for: say so in the changelog.
    #[test]
    fn the_bytes_of_a_layer_are_these() {
        let module: Vec<u8> =
            (0..100_000_u32).flat_map(|number| (number.wrapping_mul(number) % 251).to_le_bytes()).collect();
        let archive = archive(&module).unwrap();
        let digests = [sha256(&archive), sha256(&compressed(&archive).unwrap())];
        assert_eq!(
            digests,
            [
                "2b92863d46c462e875ac47cd04ea305e7b291949fca1242f968330f2313fb6ac",
                "dd2dbc9c6e9038ceccc41a3b78b8429cbfd91a2f8a58e9ee6c350023166e1a93"
            ]
        );
    }
}
