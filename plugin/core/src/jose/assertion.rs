//! Our own signed word who we are (RFC 7523 2.2, `private_key_jwt`).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::ecdsa::{Signature, SigningKey};
use sha2::{Digest as _, Sha256};

use crate::json::{self, Value};
use crate::time::Millis;

/// Seconds an assertion is good for: it is used at once.
const LIFETIME: i64 = 60;

/// The form field that says what `client_assertion` is.
pub(crate) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// An ES256 key of ours.
pub(crate) struct Es256Key {
    key: SigningKey,
    id: Option<String>,
}

impl Es256Key {
    /// A private JWK (RFC 7518 6.2.2), whose `kid` names the key to the authorization server.
    pub(crate) fn read(jwk: &str) -> Option<Es256Key> {
        let jwk = json::read(jwk.as_bytes()).ok()?;
        let text = |name| jwk.get(name).and_then(Value::text);
        if (text("kty"), text("crv")) != (Some("EC"), Some("P-256")) {
            return None;
        }
        let key = SigningKey::from_slice(&URL_SAFE_NO_PAD.decode(text("d")?).ok()?).ok()?;
        Some(Es256Key { key, id: text("kid").map(str::to_owned) })
    }

    /// An assertion of this client for that authorization server. `unique` makes it one of its kind.
    pub(crate) fn assertion(&self, client: &str, audience: &str, unique: &str, now: Millis) -> Option<String> {
        let issued = now.seconds();
        let mut header = serde_json::json!({ "alg": "ES256", "typ": "JWT" });
        if let (Some(id), Some(members)) = (&self.id, header.as_object_mut()) {
            members.insert("kid".to_owned(), id.as_str().into());
        }
        let claims = serde_json::json!({
            "iss": client, "sub": client, "aud": audience, "jti": unique, "iat": issued, "exp": issued + LIFETIME,
        });
        let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signature: Signature = self.key.sign_prehash(&Sha256::digest(&signed)).ok()?;
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes())))
    }
}

impl fmt::Debug for Es256Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use jwt_simple::prelude::*;

    use super::*;

    #[test]
    fn an_assertion_verifies_and_says_who_for_whom_and_how_long() {
        let pair = ES256KeyPair::generate();
        let key = Es256Key::read(&pair.to_jwk()).unwrap();
        let now = Millis(1_795_219_200_000);
        let token = key.assertion("filter", "https://as.example.com", "id-1", now).unwrap();
        let options = VerificationOptions {
            artificial_time: Some(UnixTimeStamp::from_secs(1_795_219_201)),
            time_tolerance: Some(Duration::from_secs(0)),
            ..Default::default()
        };
        let claims = pair.public_key().verify_token::<NoCustomClaims>(&token, Some(options)).unwrap();
        assert_eq!((claims.issuer.as_deref(), claims.subject.as_deref()), (Some("filter"), Some("filter")));
        assert_eq!(claims.jwt_id.as_deref(), Some("id-1"));
        assert_eq!(claims.expires_at.unwrap().as_secs() - claims.issued_at.unwrap().as_secs(), 60);
    }

    #[test]
    fn a_jwk_names_its_key_and_what_is_no_key_is_refused() {
        let pair = ES256KeyPair::generate().with_key_id("k1");
        assert_eq!(Es256Key::read(&pair.to_jwk()).unwrap().id.as_deref(), Some("k1"));
        for text in ["", "{}", &pair.to_pem().unwrap(), &pair.public_key().to_jwk()] {
            assert!(Es256Key::read(text).is_none(), "{text}");
        }
    }
}
