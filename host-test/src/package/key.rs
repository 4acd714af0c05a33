//! The key that signs.

use std::env;
use std::fs;

use anyhow::{Context as _, Result, anyhow};
use p256::ecdsa::SigningKey;
use p256::pkcs8::DecodePrivateKey as _;

/// Reads a key: `FILE`, or `env://NAME`, as cosign names it.
pub fn read(place: &str) -> Result<SigningKey> {
    let text = match place.strip_prefix("env://") {
        Some(name) => env::var(name).with_context(|| format!("the variable {name} has no key"))?,
        None => fs::read_to_string(place).with_context(|| format!("{place} cannot be read"))?,
    };
    SigningKey::from_pkcs8_pem(text.trim()).map_err(|fault| {
        anyhow!(
            "{place} is no key that signs here: {fault}. It takes an EC key on P-256 in PKCS#8, not encrypted: \
             openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out cosign.pem"
        )
    })
}
