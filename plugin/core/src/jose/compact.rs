//! Compact JWS (RFC 7515 7.1), read strictly and not yet believed.

use std::cell::OnceCell;
use std::fmt;
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::jose::{Algorithm, COMMON, Claims, Dialect};
use crate::json::{self, Value};
use crate::reason::Reason;

/// Longer tokens are refused, whatever the policy says. Envoy's own limit for all headers.
pub(crate) const MAX_TOKEN: usize = 60 * 1024;

/// The text of a bearer token, shared: cloning it copies nothing. `Debug` does not show it.
///
/// Compared by its text. Its digest names it where the text must not be kept or printed.
#[derive(Clone)]
pub struct Compact(Rc<Inner>);

struct Inner {
    text: Box<str>,
    /// Made when it is first asked for: a token seen before has one already.
    digest: OnceCell<[u8; 32]>,
}

impl Compact {
    /// Whatever stood behind `Bearer`.
    pub fn new(text: &str) -> Compact {
        Compact(Rc::new(Inner { text: text.into(), digest: OnceCell::new() }))
    }

    /// SHA-256 of the whole text, never cut short where it identifies.
    pub fn digest(&self) -> &[u8; 32] {
        self.0.digest.get_or_init(|| Sha256::digest(self.0.text.as_bytes()).into())
    }

    /// The text: for the wire, and nothing else.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Is this its text? In words: `memcmp` in wasm goes byte by byte, and a token is long.
    pub(crate) fn reads(&self, text: &str) -> bool {
        let ((own, own_rest), (words, rest)) =
            (self.0.text.as_bytes().as_chunks::<8>(), text.as_bytes().as_chunks::<8>());
        let differ = |(own, other): (&[u8; 8], &[u8; 8])| u64::from_le_bytes(*own) != u64::from_le_bytes(*other);
        own.len() == words.len() && own_rest == rest && !own.iter().zip(words).any(differ)
    }

    /// Its parts, read strictly and not yet believed.
    pub fn read(&self) -> Result<Unverified<'_>, Reason> {
        self.read_by(|_| &COMMON)
    }

    /// Does it have the form of a JWS (RFC 7515 3.1), readable or not? Then it is nobody's opaque token.
    pub(crate) fn is_jws(&self) -> bool {
        let mut parts = self.0.text.split('.');
        let header = parts.next().and_then(|header| decoded(header).ok()).unwrap_or_default();
        let has_algorithm =
            header.trim_ascii_start().starts_with(b"{") && header.windows(5).any(|part| part == b"\"alg\"");
        has_algorithm && parts.count() == 2
    }

    /// The same as [`Compact::read`], in the dialect of whom it names as its issuer (P21).
    pub(crate) fn read_by<'d>(&self, dialect: impl Fn(&str) -> &'d Dialect) -> Result<Unverified<'_>, Reason> {
        Unverified::read(&self.0.text, dialect)
    }
}

impl PartialEq for Compact {
    fn eq(&self, other: &Compact) -> bool {
        Rc::ptr_eq(&self.0, &other.0) || self.reads(&other.0.text)
    }
}

impl Eq for Compact {}

impl fmt::Debug for Compact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A token whose form is right and whose content nobody has vouched for.
pub struct Unverified<'a> {
    signed: &'a str,
    signature: Vec<u8>,
    algorithm: Result<Algorithm, Reason>,
    key_id: Option<String>,
    kind: Option<String>,
    issuer: String,
    claims: Result<Claims, Reason>,
}

impl<'a> Unverified<'a> {
    fn read<'d>(text: &'a str, dialect: impl Fn(&str) -> &'d Dialect) -> Result<Unverified<'a>, Reason> {
        if text.len() > MAX_TOKEN {
            return Err(Reason::TokenTooLarge);
        }
        let mut parts = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Reason::TokenMalformed);
        };
        let signed = text.get(..header.len() + 1 + payload.len()).ok_or(Reason::TokenMalformed)?;
        let (header, bytes) = (decoded(header)?, decoded(payload)?);
        let (header, payload) = (object(&header)?, object(&bytes)?);
        // RFC 7515 4.1.11: an extension that is not understood must be rejected, and we understand none.
        let is_critical = header.get("crit").is_some();
        // RFC 8725 3.10: a token does not get to say where its key comes from.
        let has_key = ["jwk", "jku", "x5u"].iter().any(|name| header.get(name).is_some());
        let string = |name: &str| match header.get(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.as_ref().to_owned())),
            Some(_) => Err(Reason::TokenMalformed),
        };
        let algorithm = string("alg")?.ok_or(Reason::TokenMalformed)?;
        let issuer = payload.get("iss").and_then(Value::text).unwrap_or_default().to_owned();
        Ok(Unverified {
            signed,
            signature: decoded(signature)?,
            algorithm: Algorithm::from_name(&algorithm).ok_or(Reason::AlgorithmNotAllowed),
            key_id: string("kid")?,
            kind: string("typ")?,
            // Whose issuer is asked about it, nobody reads it here (P23).
            claims: match (is_critical, has_key) {
                (true, _) => Err(Reason::CriticalHeader),
                (_, true) => Err(Reason::KeyInHeader),
                _ => Claims::read(&payload, &bytes, dialect(&issuer)),
            },
            issuer,
        })
    }

    /// The bytes the signature covers: the first two parts with the dot between.
    pub fn signed(&self) -> &[u8] {
        self.signed.as_bytes()
    }

    /// The decoded signature.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The algorithm the header names, if it is one of [`Algorithm::ALL`].
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.algorithm.ok()
    }

    /// `kid`.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// `typ`, without the optional `application/` prefix (RFC 7515 4.1.9), in lower case.
    pub(crate) fn kind(&self) -> Option<String> {
        let kind = self.kind.as_ref()?.to_ascii_lowercase();
        Some(kind.strip_prefix("application/").map(str::to_owned).unwrap_or(kind))
    }

    /// Whom it names as its issuer, if anybody.
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(crate) fn claims(&self) -> Result<&Claims, Reason> {
        self.claims.as_ref().map_err(|reason| *reason)
    }
}

impl fmt::Debug for Unverified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

// The engine refuses padding, other alphabets and trailing bits that are not zero.
fn decoded(part: &str) -> Result<Vec<u8>, Reason> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Reason::TokenMalformed)
}

fn object(bytes: &[u8]) -> Result<Value<'_>, Reason> {
    match json::read(bytes) {
        Ok(value @ Value::Map(_)) => Ok(value),
        _ => Err(Reason::TokenMalformed),
    }
}
