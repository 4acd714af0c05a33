//! The key that signs.

use std::env;
use std::fs;

use anyhow::{Context as _, Result, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::Aead as _;
use crypto_secretbox::{KeyInit as _, XSalsa20Poly1305};
use p256::ecdsa::SigningKey;
use p256::pkcs8::DecodePrivateKey as _;
use p256::pkcs8::der::pem;
use serde::Deserialize;

/// The variable from which cosign takes the password, too.
const PASSWORD: &str = "COSIGN_PASSWORD";
const HOW: &str = "It takes an EC key on P-256, as `cosign generate-key-pair` or \
                   `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` make it";

/// Reads a key: `FILE`, or `env://NAME`, as cosign names it. In PEM: PKCS#8, or cosign's own with its password.
pub fn read(place: &str) -> Result<SigningKey> {
    if place.contains("-----BEGIN") || place.contains('\n') {
        bail!("the key itself was given: name a file that has it, or env://NAME");
    }
    // What a variable holds is in no message.
    let variable = |name: &str| env::var(name).ok().filter(|text| !text.is_empty());
    let text = match place.strip_prefix("env://") {
        Some(name) => variable(name).with_context(|| format!("the variable {name} has no text"))?,
        None => fs::read_to_string(place).with_context(|| format!("{place} cannot be read"))?,
    };
    let refused = |fault: String| anyhow!("{place} is no key that signs here: {fault}. {HOW}");
    let (label, bytes) = pem::decode_vec(text.trim().as_bytes()).map_err(|fault| refused(fault.to_string()))?;
    let key = match label {
        "PRIVATE KEY" => bytes,
        "ENCRYPTED SIGSTORE PRIVATE KEY" | "ENCRYPTED COSIGN PRIVATE KEY" => {
            let password =
                variable(PASSWORD).with_context(|| format!("{place} has a password: put it into {PASSWORD}"))?;
            decrypted(&bytes, &password).with_context(|| format!("{place} cannot be decrypted"))?
        }
        other => return Err(refused(format!("it is a `{other}`"))),
    };
    SigningKey::from_pkcs8_der(&key).map_err(|fault| refused(fault.to_string()))
}

/// What cosign writes: how the password becomes a key, and what is encrypted with it.
#[derive(Deserialize)]
struct Encrypted {
    kdf: Derivation,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Derivation {
    name: String,
    params: Cost,
    salt: String,
}

#[derive(Deserialize)]
struct Cost {
    #[serde(rename = "N")]
    n: u32,
    r: u32,
    p: u32,
}

#[derive(Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

fn decrypted(json: &[u8], password: &str) -> Result<Vec<u8>> {
    let Encrypted { kdf, cipher, ciphertext } = serde_json::from_slice(json)?;
    if (kdf.name.as_str(), cipher.name.as_str()) != ("scrypt", "nacl/secretbox") {
        bail!("it is encrypted with {} and {}, not with scrypt and nacl/secretbox", kdf.name, cipher.name);
    }
    let Cost { n, r, p } = kdf.params;
    if !n.is_power_of_two() || n > 1 << 20 || (r, p) != (8, 1) {
        bail!("scrypt's N, r and p are {n}, {r} and {p}: expected are a power of two up to a million, 8 and 1");
    }
    let cost = scrypt::Params::new(n.ilog2() as u8, r, p)?;
    let mut key = [0; 32];
    scrypt::scrypt(password.as_bytes(), &STANDARD.decode(kdf.salt)?, &cost, &mut key)?;
    let nonce: [u8; 24] =
        STANDARD.decode(cipher.nonce)?.try_into().map_err(|_| anyhow!("its nonce has another length"))?;
    XSalsa20Poly1305::new(&key.into())
        .decrypt(&nonce.into(), STANDARD.decode(ciphertext)?.as_slice())
        .map_err(|_| anyhow!("{PASSWORD} has another password"))
}
