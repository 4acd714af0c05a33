//! What `stepup package --key` signs, verified by the `sigstore` crate as its users do it: its client fetches the signatures of a
//! manifest from a registry and checks them, its constraint asks for the key. The registry is the layout, on this machine.
//!
//! `STEPUP` names another command than the workspace's own.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

mod layout;
mod registry;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;
use sigstore::cosign::verification_constraint::{PublicKeyVerifier, VerificationConstraint};
use sigstore::cosign::{ClientBuilder, CosignCapabilities as _, SignatureLayer, verify_constraints};
use sigstore::crypto::{CosignVerificationKey, Signature, SigningScheme};
use sigstore::registry::{Auth, ClientConfig, ClientProtocol};

use layout::Layout;

/// The repository of all signatures here.
const REFERENCE: &str = "registry.example.com/step-up";

/// What was packaged, with `cosign.key` (`host-test/tests/package/signature.rs` says what it is).
struct Signed {
    layout: Layout,
    /// Digests of both manifests that are signed.
    image: String,
    bill: String,
    /// The image's.
    tag: String,
    /// Of `cosign.pub`.
    key: String,
}

fn signed() -> &'static Signed {
    static SIGNED: OnceLock<Signed> = OnceLock::new();
    SIGNED.get_or_init(|| {
        let host_test = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("layout");
        let _ = fs::remove_dir_all(&folder);
        let stepup = env::var_os("STEPUP").map_or_else(|| host_test.join("../target/debug/stepup"), PathBuf::from);
        let mut command = Command::new(&stepup);
        command.args(["package", "--json", "--reference", REFERENCE, "--out"]).arg(&folder);
        command.arg("--key").arg(host_test.join("tests/package/cosign.key")).env("COSIGN_PASSWORD", "correct-horse");
        let output = command.output().unwrap_or_else(|error| {
            let command = "cargo build --locked -p host-test";
            panic!("{}: {error}; run `{command}` at the root, or name the command in STEPUP", stepup.display())
        });
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Signed {
            layout: Layout::read(&folder),
            image: text(&report["digest"]),
            bill: text(&report["sbom"]["digest"]),
            tag: text(&report["tag"]),
            key: fs::read_to_string(host_test.join("tests/package/cosign.pub")).unwrap(),
        }
    })
}

/// The signatures that sigstore's client takes for this manifest's: of the right form and digest, and naming it. Whose they are is not
/// asked yet. `manifest` is `:TAG` or `@DIGEST`.
fn signatures(layout: &Layout, manifest: &str) -> Vec<SignatureLayer> {
    // As a proxy, so that no name has to be resolved, and no proxy of the environment is asked.
    let http_proxy = Some(registry::serve(layout.clone()));
    let config = ClientConfig { protocol: ClientProtocol::Http, http_proxy, ..ClientConfig::default() };
    let mut client = ClientBuilder::default().with_oci_client_config(config).build().unwrap();
    let name = format!("{REFERENCE}{manifest}").parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(client.trusted_signature_layers(&Auth::Anonymous, &name)).unwrap()
}

/// Who holds this key signed one of these.
fn verifies(signatures: &[SignatureLayer], key: &str) -> bool {
    let constraint: Box<dyn VerificationConstraint> = Box::new(PublicKeyVerifier::try_from(key.as_bytes()).unwrap());
    verify_constraints(signatures, [constraint].iter()).is_ok()
}

#[test]
fn image_and_bill_are_verified() {
    let Signed { layout, image, bill, tag, key } = signed();
    for (manifest, digest) in [(format!(":{tag}"), image), (format!("@{image}"), image), (format!("@{bill}"), bill)] {
        let found = signatures(layout, &manifest);
        assert!(verifies(&found, key), "{manifest}: {found:?}");
        let [SignatureLayer { simple_signing, .. }] = &found[..] else { panic!("{manifest}: {found:?}") };
        assert!(simple_signing.satisfies_manifest_digest(digest), "{simple_signing}");
        assert_eq!(simple_signing.critical.identity.docker_reference, REFERENCE);
        assert_eq!(simple_signing.critical.type_name, "cosign container image signature");
    }
}

#[test]
fn another_key_is_refused() {
    let Signed { layout, image, bill, .. } = signed();
    let other = SigningScheme::ECDSA_P256_SHA256_ASN1.create_signer().unwrap();
    let other = other.to_sigstore_keypair().unwrap().public_key_to_pem().unwrap();
    for digest in [image, bill] {
        let found = signatures(layout, &format!("@{digest}"));
        assert_eq!(found.len(), 1);
        assert!(!verifies(&found, &other));
    }
}

/// All digests are made to fit, and the manifest is still named: nothing but the signature can tell.
#[test]
fn a_changed_payload_is_refused() {
    let Signed { layout, image, bill, key, .. } = signed();
    for digest in [image, bill] {
        let mut changed = layout.clone();
        changed.change_payload(digest, |payload| payload.replace(REFERENCE, "registry.example.com/step-in"));
        let found = signatures(&changed, &format!("@{digest}"));
        let [layer] = &found[..] else { panic!("{found:?}") };
        assert_eq!(layer.simple_signing.critical.identity.docker_reference, "registry.example.com/step-in");
        assert!(!verifies(&found, key));
    }
}

#[test]
fn every_byte_is_signed() {
    let Signed { layout, image, key, .. } = signed();
    let found = signatures(layout, &format!("@{image}"));
    let key = CosignVerificationKey::try_from_pem(key.as_bytes()).unwrap();
    let verifies = |payload: &[u8]| {
        let signature = found[0].signature.as_ref().unwrap();
        key.verify_signature(Signature::Base64Encoded(signature.as_bytes()), payload).is_ok()
    };
    let payload = &found[0].raw_data;
    assert!(verifies(payload));
    for at in 0..payload.len() {
        let mut changed = payload.clone();
        changed[at] ^= 1;
        assert!(!verifies(&changed), "byte {at}");
    }
}

#[test]
fn a_signature_of_another_manifest_is_none() {
    let Signed { layout, image, bill, key, .. } = signed();
    let mut exchanged = layout.clone();
    exchanged.move_signature(image, bill);
    let found = signatures(&exchanged, &format!("@{bill}"));
    assert!(found.is_empty() && !verifies(&found, key), "{found:?}");
}
