//! Signature checks, and nothing else: form, header, claims and time are judged elsewhere.

use ed25519_compact::Signature as EdSignature;
use jwt_simple::prelude::*;
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use sha2::{Digest as _, Sha256, Sha384};
use superboring::hash::MessageDigest;
use superboring::pkey::PKey;
use superboring::rsa::Padding;
use superboring::sign::Verifier;

use crate::jose::{Algorithm, Jwk, PublicKey, Unverified};

/// A way to check signatures: a pure, synchronous function of token and key.
///
/// Given to the gate at construction, so that a host with a faster native function can provide it. Providers must agree:
/// they look at [`Unverified::signed`] and [`Unverified::signature`], and at nothing else.
pub trait Signatures {
    /// Does `key` confirm the signature of `token` under the algorithm the token names?
    fn check(&self, token: &Unverified<'_>, key: &Jwk) -> Result<(), BadSignature>;
}

/// The signature does not verify, whatever the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSignature;

/// Signatures in pure Rust, the same everywhere: jwt-simple's keys and the crates it is made of.
///
/// Not by its `verify_token`: that also judges header, claims and time, by its own clock, with 15 minutes of tolerance,
/// and would refuse tokens that a native provider accepts.
#[derive(Clone, Copy, Debug, Default)]
pub struct PureRust;

impl Signatures for PureRust {
    fn check(&self, token: &Unverified<'_>, key: &Jwk) -> Result<(), BadSignature> {
        let (signed, signature) = (token.signed(), token.signature());
        let algorithm = token.algorithm().ok_or(BadSignature)?;
        let good = match (key.public(), algorithm) {
            (PublicKey::P256(key), Algorithm::Es256) => {
                p256::ecdsa::Signature::from_slice(signature).is_ok_and(|signature| {
                    key.public_key().as_ref().verify_prehash(&Sha256::digest(signed), &signature).is_ok()
                })
            }
            (PublicKey::P384(key), Algorithm::Es384) => {
                p384::ecdsa::Signature::from_slice(signature).is_ok_and(|signature| {
                    key.public_key().as_ref().verify_prehash(&Sha384::digest(signed), &signature).is_ok()
                })
            }
            (PublicKey::Rsa(key), Algorithm::Rs256) => rsa(&key.rs256, Padding::PKCS1, signed, signature),
            (PublicKey::Rsa(key), Algorithm::Ps256) => rsa(&key.ps256, Padding::PKCS1_PSS, signed, signature),
            (PublicKey::Ed25519(key), Algorithm::EdDsa) => EdSignature::from_slice(signature)
                .is_ok_and(|signature| key.public_key().as_ref().verify(signed, &signature).is_ok()),
            _ => false,
        };
        if good { Ok(()) } else { Err(BadSignature) }
    }
}

fn rsa(key: &impl RSAPublicKeyLike, padding: Padding, signed: &[u8], signature: &[u8]) -> bool {
    let Ok(key) = PKey::from_rsa(key.public_key().as_ref().clone()) else { return false };
    let Ok(mut verifier) = Verifier::new(MessageDigest::sha256(), &key) else { return false };
    let prepared = verifier.set_rsa_padding(padding).and_then(|()| verifier.update(signed));
    prepared.is_ok() && verifier.verify(signature).unwrap_or(false)
}
