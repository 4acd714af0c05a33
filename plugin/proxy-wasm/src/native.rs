//! Signatures by the host's `verify_signature`, where it has one: 15 to 56 times faster than Rust in wasm.

use prost::Message;
use proxy_wasm::hostcalls;
use step_up_core::Jwk;
use step_up_core::{Algorithm, Unverified};
use step_up_core::{BadSignature, PureRust, Signatures};

/// The host's function for what it can do, Rust for PS256, EdDSA and hosts without it.
pub fn signatures() -> Box<dyn Signatures> {
    if host_can_verify() { Box::new(Native) } else { Box::new(PureRust) }
}

struct Native;

impl Signatures for Native {
    fn check(&self, token: &Unverified<'_>, key: &Jwk) -> Result<(), BadSignature> {
        // RFC 7518 3.4: JOSE writes r and s side by side; the host wants DER.
        let (hash, signature) = match token.algorithm() {
            Some(Algorithm::Es256) => {
                let signature = p256::ecdsa::Signature::from_slice(token.signature()).map_err(|_| BadSignature)?;
                ("sha256", signature.to_der().as_bytes().to_vec())
            }
            Some(Algorithm::Es384) => {
                let signature = p384::ecdsa::Signature::from_slice(token.signature()).map_err(|_| BadSignature)?;
                ("sha384", signature.to_der().as_bytes().to_vec())
            }
            Some(Algorithm::Rs256) => ("sha256", token.signature().to_vec()),
            Some(Algorithm::Ps256 | Algorithm::EdDsa) | None => return PureRust.check(token, key),
        };
        if verify(hash, key.spki(), signature, token.signed()) { Ok(()) } else { Err(BadSignature) }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Arguments {
    #[prost(string, tag = "1")]
    hash_function: String,
    #[prost(bytes = "vec", tag = "2")]
    public_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    signature: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    clear_text: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Outcome {
    #[prost(bool, tag = "1")]
    result: bool,
    #[prost(string, tag = "2")]
    error: String,
}

fn verify(hash: &str, spki: &[u8], signature: Vec<u8>, text: &[u8]) -> bool {
    let arguments =
        Arguments { hash_function: hash.to_owned(), public_key: spki.to_vec(), signature, clear_text: text.to_vec() };
    let answer = hostcalls::call_foreign_function("verify_signature", Some(&arguments.encode_to_vec()));
    let Ok(Some(answer)) = answer else { return false };
    Outcome::decode(answer.as_slice()).is_ok_and(|outcome| outcome.result && outcome.error.is_empty())
}

/// A host is believed when it confirms a good signature and refuses a bad one.
fn host_can_verify() -> bool {
    let asked = |text: &[u8]| verify("sha256", &PROBE_KEY, PROBE_SIGNATURE.to_vec(), text);
    asked(PROBE_TEXT) && !asked(b"another text")
}

const PROBE_TEXT: &[u8] = b"step-up probe";
/// A P-256 key made for this purpose, and thrown away.
const PROBE_KEY: [u8; 91] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04, 0x5a, 0xc6, 0xf6, 0x2c, 0x38, 0x07, 0x88, 0xf8, 0xbd, 0x2c, 0x43,
    0x7a, 0x91, 0x06, 0xc0, 0xf4, 0xe8, 0xcc, 0xfd, 0x45, 0x90, 0x6e, 0x59, 0x0c, 0x85, 0x0c, 0xb1, 0xd7, 0xb7, 0x07,
    0xc6, 0xd1, 0xf5, 0xfd, 0xde, 0x6e, 0xdf, 0x6a, 0xf7, 0xc9, 0x79, 0x1d, 0x2c, 0xfe, 0x11, 0xdb, 0x87, 0x27, 0x7e,
    0xd7, 0x49, 0xaf, 0x13, 0xec, 0x60, 0x48, 0xd5, 0x35, 0xd0, 0xbe, 0x78, 0xc5, 0x53, 0x50,
];
const PROBE_SIGNATURE: [u8; 70] = [
    0x30, 0x44, 0x02, 0x21, 0x00, 0x97, 0xab, 0xc4, 0xdd, 0xbb, 0x34, 0x48, 0x06, 0xd8, 0x27, 0x5a, 0x90, 0xba, 0x36,
    0xa5, 0x8d, 0x3d, 0xb9, 0xb8, 0x56, 0xa0, 0x0a, 0x93, 0x0a, 0x1d, 0xae, 0xa8, 0x9f, 0xca, 0x4b, 0x01, 0x6b, 0x02,
    0x1f, 0x30, 0xe8, 0x70, 0xd0, 0xb3, 0x22, 0x0d, 0x01, 0x42, 0x43, 0x86, 0xd3, 0x6c, 0xf2, 0xab, 0x64, 0xad, 0x65,
    0xdc, 0x13, 0xd9, 0x60, 0x24, 0xc4, 0xac, 0x33, 0xb1, 0x5b, 0xe0, 0x87, 0xd7,
];
