//! A signature as `cosign verify --key` looks for it: an image of its own, under a tag that is made of the signed digest.

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{DerSignature, SigningKey};
use serde_json::json;

use super::image::{CONFIG, manifest};
use super::layout::{Annotations, Descriptor, Layout};

const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// Signs a manifest of the layout. `reference` is the repository that it is for. ECDSA is deterministic here (RFC 6979): the same
/// image and key give the same signature.
pub fn sign(
    layout: &mut Layout,
    signed: &Descriptor,
    reference: &str,
    key: &SigningKey,
    kind: Option<&str>,
) -> Result<Descriptor> {
    let payload = super::layout::canonical(json!({
        "critical": {
            "identity": { "docker-reference": reference },
            "image": { "docker-manifest-digest": signed.digest },
            "type": "cosign container image signature",
        },
        "optional": null,
    }))?;
    let signature: DerSignature = key.sign(&payload);
    let mut layer = layout.blob(PAYLOAD, &payload)?;
    layer.annotations.insert("dev.cosignproject.cosign/signature".to_owned(), STANDARD.encode(signature.as_bytes()));
    let configuration = layout.json(
        CONFIG,
        json!({
            "architecture": "",
            "os": "",
            "rootfs": { "diff_ids": [layer.digest], "type": "layers" },
        }),
    )?;
    let manifest = manifest(&configuration, &layer, &Annotations::new());
    layout.manifest(manifest, &tag(signed, "sig"), kind)
}

/// The tag of what belongs to a manifest.
pub fn tag(about: &Descriptor, what: &str) -> String {
    format!("{}.{what}", about.digest.replace(':', "-"))
}
