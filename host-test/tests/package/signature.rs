//! The signature, read as cosign reads it: https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md. p256 signs and ring
//! verifies: two implementations must agree.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::PublicKeyData as _;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

use super::*;

/// Who holds this key signed this digest for this repository.
fn verifies(payload: &[u8], signature: &str, key: &[u8], digest: &Value) -> bool {
    let signature = STANDARD.decode(signature).unwrap();
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key);
    let payload_says = |value: Value| {
        let critical = &value["critical"];
        critical["image"]["docker-manifest-digest"] == *digest
            && critical["identity"]["docker-reference"] == REFERENCE
            && critical["type"] == "cosign container image signature"
    };
    key.verify(payload, &signature).is_ok() && serde_json::from_slice(payload).is_ok_and(payload_says)
}

/// Payload and signature of what has this digest.
fn found(folder: &Path, digest: &Value) -> (Vec<u8>, String) {
    let entry = tagged(folder, &format!("{}.sig", text(digest).replace(':', "-")));
    let manifest = json(folder, text(&entry["digest"]));
    let [layer] = &manifest["layers"].as_array().unwrap()[..] else { panic!("{manifest:#}") };
    assert_eq!(layer["mediaType"], "application/vnd.dev.cosign.simplesigning.v1+json");
    let signature = text(&layer["annotations"]["dev.cosignproject.cosign/signature"]);
    (blob(folder, text(&layer["digest"])), signature.to_owned())
}

#[test]
fn image_and_bill_are_signed() {
    let Signed { folder, key, report } = signed();
    for digest in [&report["digest"], &report["sbom"]["digest"]] {
        let (payload, signature) = found(folder, digest);
        assert!(verifies(&payload, &signature, key.der_bytes(), digest));
        assert!(!verifies(&payload, &signature, key.der_bytes(), &"sha256:00".into()));
    }
    assert_eq!(report["signatures"].as_object().unwrap().len(), 2);
}

#[test]
fn another_key_or_a_changed_byte_is_refused() {
    let Signed { folder, key, report } = signed();
    let digest = &report["digest"];
    let (payload, signature) = found(folder, digest);
    assert!(!verifies(&payload, &signature, rcgen::KeyPair::generate().unwrap().der_bytes(), digest));
    for at in 0..payload.len() {
        let mut changed = payload.clone();
        changed[at] ^= 1;
        assert!(!verifies(&changed, &signature, key.der_bytes(), digest), "byte {at}");
    }
}

/// `cosign.key` is what `cosign generate-key-pair` of cosign 3.1.3 made; it protects nothing.
#[test]
fn a_key_of_cosign_signs_with_its_password() {
    let folder = place("cosign-key");
    let files = paths::workspace().join("host-test/tests/package");
    let key = files.join("cosign.key").display().to_string();
    let with_password = |password: Option<&str>| {
        let mut command = stepup(&folder, &["--key", &key, "--reference", REFERENCE]);
        command.env_remove("COSIGN_PASSWORD").envs(password.map(|password| ("COSIGN_PASSWORD", password)));
        ran(command)
    };
    for (password, part) in
        [(None, "put it into COSIGN_PASSWORD"), (Some("wrong"), "COSIGN_PASSWORD has another password")]
    {
        let (code, _, error) = with_password(password);
        assert!(code == 2 && error.contains(part) && !folder.exists(), "{code} {error}");
    }
    let (code, _, error) = with_password(Some("correct-horse"));
    assert_eq!(code, 0, "{error}");

    let public = fs::read_to_string(files.join("cosign.pub")).unwrap();
    let public: String = public.lines().filter(|line| !line.starts_with('-')).collect();
    let digest = &tagged(&folder, env!("CARGO_PKG_VERSION"))["digest"];
    let (payload, signature) = found(&folder, digest);
    // Of a key on P-256, the point is the last 65 bytes.
    let public = STANDARD.decode(public).unwrap();
    assert!(verifies(&payload, &signature, &public[public.len() - 65..], digest));
}

/// `cosign verify --local-image` finds both by these.
#[test]
fn cosign_finds_them_in_the_folder() {
    let Signed { folder, report, .. } = signed();
    let image = tagged(folder, env!("CARGO_PKG_VERSION"));
    assert_eq!(image["annotations"]["kind"], "dev.cosignproject.cosign/image");
    let signature = tagged(folder, &format!("{}.sig", text(&report["digest"]).replace(':', "-")));
    assert_eq!(signature["annotations"]["kind"], "dev.cosignproject.cosign/sigs");
}

/// Nobody knows what another module was made from, and a signature would say that it is this source.
#[test]
fn a_module_from_elsewhere_is_not_signed() {
    let folder = place("elsewhere");
    let key = paths::workspace().join("host-test/tests/package/cosign.key").display().to_string();
    let mut command = stepup(&folder, &["--key", &key, "--reference", REFERENCE]);
    command.env("STEP_UP_WASM", artifact::module().unwrap()).env("COSIGN_PASSWORD", "correct-horse");
    let (code, _, error) = ran(command);
    assert!(code == 2 && error.contains("unset it") && !folder.exists(), "{code} {error}");
}

#[test]
fn a_key_in_the_place_of_its_name_is_not_repeated() {
    let text = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let out = place("pasted");
    let (code, said, error) = ran(stepup(&out, &["--key", &text, "--reference", REFERENCE]));
    let secret = text.lines().nth(1).unwrap();
    assert!(code == 2 && error.contains("the key itself was given"), "{error}");
    assert!(!error.contains(secret) && !said.contains(secret), "it is repeated");
}

#[test]
fn faults_of_a_key_say_what_to_do() {
    let out = place("no-key");
    let other = out.with_extension("pem");
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    fs::write(&other, p384.serialize_pem()).unwrap();
    let other = other.display().to_string();
    let public = paths::workspace().join("host-test/tests/package/cosign.pub").display().to_string();
    for (arguments, part) in [
        (vec!["--key", "env://NO_SUCH_KEY", "--reference", REFERENCE], "the variable NO_SUCH_KEY has no text"),
        (vec!["--key", "no/such.pem", "--reference", REFERENCE], "no/such.pem cannot be read"),
        (vec!["--key", &other, "--reference", REFERENCE], "openssl genpkey -algorithm EC"),
        (vec!["--key", &public, "--reference", REFERENCE], "it is a `PUBLIC KEY`. It takes an EC key"),
        (vec!["--key", &other], "--reference <REPOSITORY>"),
        (vec!["--key", &other, "--reference", "https://registry.example.com/x"], "write registry and repository"),
        (vec!["--platform", "linux"], "write OS/ARCHITECTURE"),
    ] {
        let (code, _, error) = package(&out, &arguments);
        assert!(code == 2 && error.contains(part) && !out.exists(), "{arguments:?}: {code} {error}");
    }
}
