//! The signature algorithms an issuer may list.

/// P43: known, and not accepted.
pub(crate) const REFUSED: [&str; 5] = ["RS384", "RS512", "PS384", "PS512", "ES512"];

/// The signature algorithms that can be listed for an issuer: asymmetric ones only (RFC 8725 3.1, 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// ECDSA, P-256, SHA-256.
    Es256,
    /// ECDSA, P-384, SHA-384.
    Es384,
    /// RSASSA-PKCS1-v1_5, SHA-256.
    Rs256,
    /// RSASSA-PSS, SHA-256.
    Ps256,
    /// Ed25519 (RFC 8037).
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Algorithm; 5] =
        [Algorithm::Es256, Algorithm::Es384, Algorithm::Rs256, Algorithm::Ps256, Algorithm::EdDsa];

    /// The JOSE name.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
            Algorithm::Rs256 => "RS256",
            Algorithm::Ps256 => "PS256",
            Algorithm::EdDsa => "EdDSA",
        }
    }

    /// Is it checked by the module itself on every host? Such a check takes up to two milliseconds of a worker.
    pub(crate) fn is_slow(self) -> bool {
        matches!(self, Algorithm::Ps256 | Algorithm::EdDsa)
    }

    /// The algorithm of that JOSE name.
    pub fn from_name(name: &str) -> Option<Algorithm> {
        // P43: one algorithm, two registered names (RFC 9864).
        let name = if name == "Ed25519" { "EdDSA" } else { name };
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}
