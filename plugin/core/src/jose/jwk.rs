//! One key of an issuer (RFC 7517), accepted only when it is sensible.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::prelude::*;
use sha2::{Digest as _, Sha256};

use crate::jose::{Algorithm, REFUSED};
use crate::json::Value;

/// A public key that may sign tokens.
pub struct Jwk {
    id: Option<String>,
    algorithm: Option<Algorithm>,
    public: PublicKey,
    spki: Vec<u8>,
    fingerprint: [u8; 32],
}

/// The key itself, ready to check signatures.
pub enum PublicKey {
    /// For ES256.
    P256(ES256PublicKey),
    /// For ES384.
    P384(ES384PublicKey),
    /// For RS256 and PS256.
    Rsa(Box<RsaKey>),
    /// For EdDSA.
    Ed25519(Ed25519PublicKey),
}

/// An RSA key, once for each padding.
pub struct RsaKey {
    /// PKCS #1 v1.5.
    pub rs256: RS256PublicKey,
    /// PSS.
    pub ps256: PS256PublicKey,
}

/// Why a key is not used. The others of its document still are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnusableKey {
    /// A member is missing, of the wrong type or not strict base64url.
    Malformed,
    /// Not for signatures, or not for a known algorithm.
    OtherPurpose,
    /// For an algorithm that is not accepted (P43).
    Algorithm,
    /// A private or symmetric key: nobody should have published it.
    Private,
    /// RSA outside 2048 to 4096 bits or with an odd exponent, or no point on the curve.
    Weak,
}

impl Jwk {
    /// Reads one member of `keys`.
    pub fn read(jwk: &Value<'_>) -> Result<Jwk, UnusableKey> {
        let text = |name: &str| match jwk.get(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.as_ref())),
            Some(_) => Err(UnusableKey::Malformed),
        };
        // RFC 7518 6.2.2, 6.3.2, 6.4.1: the private members, and the symmetric one.
        if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().any(|name| jwk.get(name).is_some()) {
            return Err(UnusableKey::Private);
        }
        if text("use")?.is_some_and(|purpose| purpose != "sig") {
            return Err(UnusableKey::OtherPurpose);
        }
        // RFC 7517 4.3: if it is there, it says all the key is for.
        let verifies = |operations: &Value<'_>| match operations {
            Value::List(list) => list.iter().any(|operation| operation.text() == Some("verify")),
            _ => false,
        };
        if !jwk.get("key_ops").is_none_or(verifies) {
            return Err(UnusableKey::OtherPurpose);
        }
        let algorithm = match text("alg")? {
            None => None,
            Some(name) => Some(Algorithm::from_name(name).ok_or_else(|| match REFUSED.contains(&name) {
                true => UnusableKey::Algorithm,
                false => UnusableKey::OtherPurpose,
            })?),
        };
        let bytes = |name: &str| {
            let text = text(name)?.ok_or(UnusableKey::Malformed)?;
            URL_SAFE_NO_PAD.decode(text).map_err(|_| UnusableKey::Malformed)
        };
        let (public, spki) = match (text("kty")?, text("crv")?) {
            (Some("EC"), Some("P-256")) => {
                let key = ES256PublicKey::from_bytes(&point(32, bytes("x")?, bytes("y")?)?)?;
                let spki = key.to_der()?;
                (PublicKey::P256(key), spki)
            }
            (Some("EC"), Some("P-384")) => {
                let key = ES384PublicKey::from_bytes(&point(48, bytes("x")?, bytes("y")?)?)?;
                let spki = key.to_der()?;
                (PublicKey::P384(key), spki)
            }
            (Some("RSA"), _) => {
                let (modulus, exponent) = (bytes("n")?, bytes("e")?);
                if !is_sensible_rsa(&modulus, &exponent) {
                    return Err(UnusableKey::Weak);
                }
                let rs256 = RS256PublicKey::from_components(&modulus, &exponent)?;
                let ps256 = PS256PublicKey::from_components(&modulus, &exponent)?;
                let spki = rs256.to_der()?;
                (PublicKey::Rsa(Box::new(RsaKey { rs256, ps256 })), spki)
            }
            (Some("OKP"), Some("Ed25519")) => {
                let key = Ed25519PublicKey::from_bytes(&bytes("x")?)?;
                let spki = key.to_der();
                (PublicKey::Ed25519(key), spki)
            }
            _ => return Err(UnusableKey::OtherPurpose),
        };
        let id = text("kid")?.map(str::to_owned);
        let fingerprint = Sha256::new()
            .chain_update(id.as_deref().unwrap_or_default())
            .chain_update([0])
            .chain_update(algorithm.map_or("", Algorithm::name))
            .chain_update([0])
            .chain_update(&spki)
            .finalize()
            .into();
        let jwk = Jwk { id, algorithm, public, spki, fingerprint };
        // A key whose `alg` is not for its type can check nothing.
        if algorithm.is_some_and(|algorithm| !jwk.fits(algorithm)) {
            return Err(UnusableKey::OtherPurpose);
        }
        Ok(jwk)
    }

    /// `kid`.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The key, for a signature provider.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The key as DER `SubjectPublicKeyInfo`, for a native signature provider.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Identifies key, `kid` and `alg` together.
    pub(crate) fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// May a token signed with `algorithm` be checked with this key? RFC 8725 3.1: the key type decides too.
    pub(crate) fn fits(&self, algorithm: Algorithm) -> bool {
        let kind = match self.public {
            PublicKey::P256(_) => algorithm == Algorithm::Es256,
            PublicKey::P384(_) => algorithm == Algorithm::Es384,
            PublicKey::Rsa(_) => matches!(algorithm, Algorithm::Rs256 | Algorithm::Ps256),
            PublicKey::Ed25519(_) => algorithm == Algorithm::EdDsa,
        };
        kind && self.algorithm.is_none_or(|only| only == algorithm)
    }
}

impl fmt::Display for UnusableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UnusableKey::Malformed => "malformed: a member is missing, of another type or no strict base64url",
            UnusableKey::Algorithm => "for an algorithm that is not accepted (P43)",
            UnusableKey::OtherPurpose => "not for signatures, or for an algorithm that is not known here",
            UnusableKey::Private => "private or symmetric",
            UnusableKey::Weak => "RSA outside 2048 to 4096 bits, with an unusual exponent or a zero before the modulus, or no point on the curve",
        })
    }
}

impl fmt::Debug for Jwk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwk").field("id", &self.id).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl From<jwt_simple::Error> for UnusableKey {
    fn from(_: jwt_simple::Error) -> UnusableKey {
        UnusableKey::Weak
    }
}

// SEC 1 2.3.3, uncompressed. RFC 7518 6.2.1.2: coordinates have the full length of the field.
fn point(size: usize, x: Vec<u8>, y: Vec<u8>) -> Result<Vec<u8>, UnusableKey> {
    if x.len() != size || y.len() != size {
        return Err(UnusableKey::Malformed);
    }
    Ok([vec![4], x, y].concat())
}

fn is_sensible_rsa(modulus: &[u8], exponent: &[u8]) -> bool {
    let bits = match modulus.split_first() {
        None | Some((0, _)) => return false, // RFC 7518 2: the fewest octets
        Some((first, rest)) => rest.len() * 8 + (8 - first.leading_zeros() as usize),
    };
    let exponent = match exponent {
        [] | [0, ..] | [_, _, _, _, _, ..] => return false,
        bytes => bytes.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte)),
    };
    (2048..=4096).contains(&bits) && exponent >= 65537 && exponent % 2 == 1
}
