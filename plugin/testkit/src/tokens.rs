//! Access tokens, right ones and wrong ones. Signed with Ed25519, which is fast; the other algorithms have their own
//! test.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::prelude::*;
use serde_json::{Value as Json, json};

use super::{ISSUER, RESOURCE, START};

/// Base64url without padding, as JOSE writes it.
pub fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// An issuer's key pair.
pub struct Signer {
    kid: &'static str,
    pair: Ed25519KeyPair,
}

impl Signer {
    pub fn new(kid: &'static str) -> Signer {
        Signer { kid, pair: Ed25519KeyPair::generate() }
    }

    /// The public half, as an issuer publishes it.
    pub fn jwk(&self) -> Json {
        let x = base64(self.pair.public_key().to_bytes());
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": self.kid, "use": "sig", "alg": "EdDSA", "x": x })
    }

    /// Signs exactly these bytes as header and payload, whatever they are.
    pub fn sign(&self, header: &[u8], payload: &[u8]) -> String {
        let signed = format!("{}.{}", base64(header), base64(payload));
        let signature = self.pair.key_pair().as_ref().sk.sign(signed.as_bytes(), None);
        format!("{signed}.{}", base64(signature))
    }
}

static KEY: LazyLock<Signer> = LazyLock::new(|| Signer::new("k1"));
static OTHER_KEY: LazyLock<Signer> = LazyLock::new(|| Signer::new("k2"));

/// The issuer's key.
pub fn key() -> &'static Signer {
    &KEY
}

/// The key it uses after a rotation, or somebody else's.
pub fn other_key() -> &'static Signer {
    &OTHER_KEY
}

/// A good token with these scopes.
pub fn token(scope: &str) -> String {
    Token::new(scope).text()
}

/// A token in the making: a good one, and what a test changes about it.
#[derive(Clone)]
pub struct Token {
    header: Json,
    claims: Json,
    kid: bool,
}

impl Token {
    /// Issued a minute ago, valid for ten.
    pub fn new(scope: &str) -> Token {
        let header = json!({ "alg": "EdDSA", "typ": "at+jwt" });
        let claims = json!({
            "iss": ISSUER,
            "aud": RESOURCE,
            "sub": "alice",
            "client_id": "agent",
            "jti": "t-1",
            "iat": START - 60,
            "exp": START + 540,
            "scope": scope,
        });
        Token { header, claims, kid: true }
    }

    pub fn claim(mut self, name: &str, value: impl Into<Json>) -> Token {
        self.claims[name] = value.into();
        self
    }

    pub fn without(mut self, name: &str) -> Token {
        self.claims.as_object_mut().expect("claims are an object").remove(name).expect("the claim exists");
        self
    }

    pub fn header(mut self, name: &str, value: impl Into<Json>) -> Token {
        self.kid &= name != "kid";
        self.header[name] = value.into();
        self
    }

    pub fn without_type(mut self) -> Token {
        self.header.as_object_mut().expect("a header is an object").remove("typ");
        self
    }

    pub fn without_kid(mut self) -> Token {
        self.kid = false;
        self
    }

    /// Lifetime in seconds, counted from `iat`.
    pub fn lifetime(self, seconds: i64) -> Token {
        let issued = self.claims["iat"].as_i64().expect("iat is a number");
        self.claim("exp", issued + seconds)
    }

    pub fn claims(&self) -> &Json {
        &self.claims
    }

    pub fn text(&self) -> String {
        self.signed_by(key())
    }

    pub fn signed_by(&self, signer: &Signer) -> String {
        let mut header = self.header.clone();
        if self.kid {
            header["kid"] = signer.kid.into();
        }
        signer.sign(header.to_string().as_bytes(), self.claims.to_string().as_bytes())
    }
}
