//! Signature checks, and nothing else: form, header, claims and time are judged elsewhere and before.

use jwt_simple::prelude::*;

use crate::keys::{Jwk, PublicKey};
use crate::token::{Algorithm, Unverified};

/// A way to check signatures: a pure, synchronous function of token and key.
///
/// Given to the gate at construction, so that a host with a faster native function can provide it.
pub trait Signatures {
    /// Does `key` confirm the signature of `token` under the algorithm the token names?
    fn check(&self, token: &Unverified<'_>, key: &Jwk) -> Result<(), BadSignature>;
}

/// The signature does not verify, whatever the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSignature;

/// Signatures by jwt-simple, in pure Rust, the same everywhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct JwtSimple;

impl Signatures for JwtSimple {
    fn check(&self, token: &Unverified<'_>, key: &Jwk) -> Result<(), BadSignature> {
        let text = token.text();
        let algorithm = token.algorithm().ok_or(BadSignature)?;
        let verified = match (key.public(), algorithm) {
            (PublicKey::P256(key), Algorithm::Es256) => key.verify_token::<NoCustomClaims>(text, signature_only()),
            (PublicKey::P384(key), Algorithm::Es384) => key.verify_token::<NoCustomClaims>(text, signature_only()),
            (PublicKey::Rsa(key), Algorithm::Rs256) => key.rs256.verify_token::<NoCustomClaims>(text, signature_only()),
            (PublicKey::Rsa(key), Algorithm::Ps256) => key.ps256.verify_token::<NoCustomClaims>(text, signature_only()),
            (PublicKey::Ed25519(key), Algorithm::EdDsa) => key.verify_token::<NoCustomClaims>(text, signature_only()),
            _ => return Err(BadSignature),
        };
        verified.map(drop).map_err(|_| BadSignature)
    }
}

/// jwt-simple also judges time, by its own clock and with 15 minutes of tolerance. At the epoch, with the future
/// accepted, no token is expired or early, so that what it answers is the signature.
fn signature_only() -> Option<VerificationOptions> {
    Some(VerificationOptions {
        accept_future: true,
        time_tolerance: Some(Duration::from_secs(0)),
        artificial_time: Some(UnixTimeStamp::from_secs(0)),
        max_token_length: None,
        max_header_length: Some(usize::MAX),
        ..Default::default()
    })
}
