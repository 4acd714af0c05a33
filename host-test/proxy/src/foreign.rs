//! Envoy's foreign functions that filters use.

use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};

/// Arguments and result are protobuf; `None`: a malformed request.
pub(crate) fn verify_signature(arguments: &[u8]) -> Option<Vec<u8>> {
    let (mut hash, mut key, mut signature, mut text) = (&[][..], &[][..], &[][..], &[][..]);
    let mut rest = arguments;
    while !rest.is_empty() {
        let (tag, bytes) = field(&mut rest)?;
        match tag {
            1 => hash = bytes,
            2 => key = bytes,
            3 => signature = bytes,
            4 => text = bytes,
            _ => {}
        }
    }
    let hash = String::from_utf8_lossy(hash).to_ascii_lowercase();
    Some(match is_good(&hash, key, signature, text) {
        true => vec![8, 1],
        false => [&[18, 28], &b"Failed to verify a signature"[..]].concat(),
    })
}

fn is_good(hash: &str, key: &[u8], signed: &[u8], text: &[u8]) -> bool {
    let point =
        |length: usize| key.len().checked_sub(length).and_then(|at| key.get(at..)).filter(|p| p.first() == Some(&4));
    let check = |algorithm: &'static dyn VerificationAlgorithm, key: Option<&[u8]>| {
        key.is_some_and(|key| UnparsedPublicKey::new(algorithm, key).verify(text, signed).is_ok())
    };
    // The DER identifier of a curve stands in front of the point; ECDSA signatures are DER here too.
    const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
    let names =
        |id: &[u8]| key.iter().take(32).copied().collect::<Vec<_>>().windows(id.len()).any(|window| window == id);
    match hash {
        "sha256" if names(P256) => check(&signature::ECDSA_P256_SHA256_ASN1, point(65)),
        "sha384" if names(P256) => check(&signature::ECDSA_P256_SHA384_ASN1, point(65)),
        "sha256" if names(P384) => check(&signature::ECDSA_P384_SHA256_ASN1, point(97)),
        "sha384" if names(P384) => check(&signature::ECDSA_P384_SHA384_ASN1, point(97)),
        "sha256" => check(&signature::RSA_PKCS1_2048_8192_SHA256, rsa_key(key)),
        "sha384" => check(&signature::RSA_PKCS1_2048_8192_SHA384, rsa_key(key)),
        "sha512" => check(&signature::RSA_PKCS1_2048_8192_SHA512, rsa_key(key)),
        _ => false,
    }
}

/// The bit string of a SubjectPublicKeyInfo (RFC 5280 4.1) for RSA: what follows the algorithm's identifier.
fn rsa_key(info: &[u8]) -> Option<&[u8]> {
    const ALGORITHM: &[u8] = &[0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
    let at = info.windows(ALGORITHM.len()).position(|window| window == ALGORITHM)?;
    let bits = info.get(at + ALGORITHM.len()..)?;
    let header = match bits.get(..2)? {
        [3, 0x82] => 4,
        [3, 0x81] => 3,
        [3, _] => 2,
        _ => return None,
    };
    // One byte says how many bits of the last one are unused.
    bits.get(header + 1..)
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<(u64, &'a [u8])> {
    let key = varint(rest)?;
    let length = usize::try_from(varint(rest)?).ok()?;
    let bytes = rest.get(..length)?;
    *rest = rest.get(length..)?;
    (key & 7 == 2).then_some((key >> 3, bytes))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (byte, left) = rest.split_first()?;
        *rest = left;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
