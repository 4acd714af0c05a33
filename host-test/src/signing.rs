//! Test keys, and tokens signed with them.

use anyhow::{Context as _, Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::{rsa, signature as sig};
use serde_json::{Map, Value, json};
use step_up_core::Jwk;

/// The claims of a token, not verified; `Null` when it is none.
pub fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).and_then(|payload| URL_SAFE_NO_PAD.decode(payload).ok());
    payload.and_then(|payload| serde_json::from_slice(&payload).ok()).unwrap_or_default()
}

/// A private test key (RFC 7517). ring signs and jwt-simple verifies: two implementations must agree.
#[derive(Clone, Debug)]
pub struct Key {
    jwk: Value,
}

/// The keys of `host-test/corpus/keys`: they protect nothing.
const TEST_KEYS: [(&str, &str); 5] = [
    ("ES256", include_str!("../corpus/keys/es256.json")),
    ("ES384", include_str!("../corpus/keys/es384.json")),
    ("RS256", include_str!("../corpus/keys/rs256.json")),
    ("PS256", include_str!("../corpus/keys/ps256.json")),
    ("EdDSA", include_str!("../corpus/keys/eddsa.json")),
];

impl Key {
    /// A JWK with its private members and an `alg`.
    pub fn read(text: &[u8]) -> Result<Key> {
        Ok(Key { jwk: serde_json::from_slice(text)? })
    }

    /// A test key for this algorithm.
    pub fn for_tests(algorithm: &str) -> Result<Key> {
        let found = TEST_KEYS.iter().find(|(name, _)| *name == algorithm);
        Key::read(found.with_context(|| format!("no test key signs {algorithm}"))?.1.as_bytes())
    }

    /// The JWK with its private members, as a file has it.
    pub fn text(&self) -> String {
        self.jwk.to_string()
    }

    /// The public half, as an issuer publishes it.
    pub fn public(&self) -> Value {
        const PRIVATE: [&str; 6] = ["d", "p", "q", "dp", "dq", "qi"];
        let mut jwk = self.jwk.clone();
        if let Some(members) = jwk.as_object_mut() {
            members.retain(|name, _| !PRIVATE.contains(&name.as_str()));
        }
        jwk
    }

    /// An access token (RFC 9068) with these claims.
    pub fn token(&self, header: &Map<String, Value>, claims: &Value) -> Result<String> {
        let mut members = json!({ "typ": "at+jwt", "alg": self.member("alg")?, "kid": self.member("kid")? });
        for (name, value) in header {
            if let Some(members) = members.as_object_mut() {
                members.insert(name.clone(), value.clone());
                members.retain(|_, value| !value.is_null());
            }
        }
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(members.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = self.sign(signed.as_bytes(), false)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The signature of these bytes; `der` as ECDSA writes it outside of JOSE.
    pub fn sign(&self, bytes: &[u8], der: bool) -> Result<Vec<u8>> {
        match self.member("alg")? {
            "ES256" if der => self.ecdsa(&sig::ECDSA_P256_SHA256_ASN1_SIGNING, bytes),
            "ES256" => self.ecdsa(&sig::ECDSA_P256_SHA256_FIXED_SIGNING, bytes),
            "ES384" => self.ecdsa(&sig::ECDSA_P384_SHA384_FIXED_SIGNING, bytes),
            "RS256" => self.rsa(&sig::RSA_PKCS1_SHA256, bytes),
            "PS256" => self.rsa(&sig::RSA_PSS_SHA256, bytes),
            "EdDSA" => {
                let pair = sig::Ed25519KeyPair::from_seed_and_public_key(&self.bytes("d")?, &self.bytes("x")?)?;
                Ok(pair.sign(bytes).as_ref().to_vec())
            }
            other => Err(anyhow!("no key signs {other}")),
        }
    }

    fn ecdsa(&self, algorithm: &'static sig::EcdsaSigningAlgorithm, bytes: &[u8]) -> Result<Vec<u8>> {
        let random = SystemRandom::new();
        let public = [vec![4], self.bytes("x")?, self.bytes("y")?].concat();
        let pair = sig::EcdsaKeyPair::from_private_key_and_public_key(algorithm, &self.bytes("d")?, &public, &random)?;
        Ok(pair.sign(&random, bytes)?.as_ref().to_vec())
    }

    fn rsa(&self, padding: &'static dyn sig::RsaEncoding, bytes: &[u8]) -> Result<Vec<u8>> {
        let pair = rsa::KeyPair::from_components(&rsa::KeyPairComponents {
            public_key: rsa::PublicKeyComponents { n: self.bytes("n")?, e: self.bytes("e")? },
            d: self.bytes("d")?,
            p: self.bytes("p")?,
            q: self.bytes("q")?,
            dP: self.bytes("dp")?,
            dQ: self.bytes("dq")?,
            qInv: self.bytes("qi")?,
        })?;
        let mut signature = vec![0; pair.public().modulus_len()];
        pair.sign(padding, &SystemRandom::new(), bytes, &mut signature)?;
        Ok(signature)
    }

    /// The public half as a PEM file has it.
    pub fn public_pem(&self) -> Result<Vec<u8>> {
        let public = json!({ "kty": "RSA", "n": self.member("n")?, "e": self.member("e")? }).to_string();
        let public = step_up_core::json::read(public.as_bytes()).map_err(|fault| anyhow!("{fault:?}"))?;
        let key = Jwk::read(&public).map_err(|fault| anyhow!("{fault:?}"))?;
        let text = STANDARD.encode(key.spki());
        let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
        Ok(format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n")).into_bytes())
    }

    /// A member of the JWK.
    pub fn member(&self, name: &str) -> Result<&str> {
        self.jwk.get(name).and_then(Value::as_str).with_context(|| format!("the key has no `{name}`"))
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        Ok(URL_SAFE_NO_PAD.decode(self.member(name)?)?)
    }
}
