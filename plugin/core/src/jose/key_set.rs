//! A key document (RFC 7517 5) and what of it is used.

use std::rc::Rc;

use crate::jose::{Algorithm, Jwk, Signatures, UnusableKey, Unverified};
use crate::json::{self, Value};
use crate::text::field;

/// Longer documents are refused.
const MAX_DOCUMENT: usize = 256 * 1024;
/// Documents with more usable keys are refused.
const MAX_KEYS: usize = 128;

/// The usable keys of one document.
#[derive(Debug, Default)]
pub(crate) struct KeySet {
    keys: Vec<Rc<Jwk>>,
    skipped: Vec<(String, UnusableKey)>,
    generation: u64,
}

/// More keys are not tried: a failing check costs up to a millisecond of a worker.
const MAX_TRIED: usize = 4;

/// Why no key confirms a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unconfirmed {
    /// None has its `kid`; or it names none, and which one to try is anybody's guess. `tried`: the one key without a `kid` is not it
    /// either.
    NoKey { tried: bool },
    /// Those with its `kid` are for another algorithm.
    OtherAlgorithm,
    /// The signature does not verify.
    BadSignature,
}

/// Why a document is not used at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DocumentFault {
    /// More than 256 KiB.
    TooLarge,
    /// Not a JSON object with an array `keys`.
    Malformed,
    /// More than 128 keys that can be used.
    TooManyKeys,
}

impl KeySet {
    /// Reads a document. Unusable keys are skipped and counted. One without any usable key is a document too: it says that the
    /// issuer has withdrawn what it had.
    pub(crate) fn read(document: &[u8]) -> Result<KeySet, DocumentFault> {
        if document.len() > MAX_DOCUMENT {
            return Err(DocumentFault::TooLarge);
        }
        // Its length bounds it: members of keys that are skipped do not count.
        KeySet::from_value(&json::read_long(document).map_err(|_| DocumentFault::Malformed)?)
    }

    /// The same, from a document that is part of another.
    pub(crate) fn from_value(document: &Value<'_>) -> Result<KeySet, DocumentFault> {
        let Some(Value::List(list)) = document.get("keys") else { return Err(DocumentFault::Malformed) };
        let (mut keys, mut skipped) = (Vec::new(), Vec::new());
        for (at, jwk) in list.iter().enumerate() {
            match Jwk::read(jwk) {
                Ok(_) if keys.len() == MAX_KEYS => return Err(DocumentFault::TooManyKeys),
                Ok(key) => keys.push(Rc::new(key)),
                Err(why) => {
                    let id = jwk.get("kid").and_then(Value::text).map(|id| format!("{id:?}"));
                    skipped.push((field(&id.unwrap_or_else(|| format!("no. {}", at + 1))), why));
                }
            }
        }
        Ok(KeySet { keys, skipped, generation: 0 })
    }

    pub(crate) fn with_generation(self, generation: u64) -> KeySet {
        KeySet { generation, ..self }
    }

    /// Grows with every document of the issuer that this VM took over.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn contains(&self, fingerprint: &[u8; 32]) -> bool {
        self.keys.iter().any(|key| key.fingerprint() == fingerprint)
    }

    /// The `kid`s of its keys.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().filter_map(|key| key.id())
    }

    /// True when nothing can be checked with it.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key that confirms the signature of this token under this algorithm. The only loop over keys.
    pub(crate) fn confirm(
        &self,
        token: &Unverified<'_>,
        algorithm: Algorithm,
        signatures: &dyn Signatures,
    ) -> Result<&Rc<Jwk>, Unconfirmed> {
        let named = |key: &&Rc<Jwk>| token.key_id().is_none() || key.id() == token.key_id();
        if !self.keys.iter().any(|key| named(&key)) {
            return self.confirm_without_id(token, algorithm, signatures);
        }
        let fitting: Vec<&Rc<Jwk>> = self.keys.iter().filter(named).filter(|key| key.fits(algorithm)).collect();
        if fitting.is_empty() {
            return Err(Unconfirmed::OtherAlgorithm);
        }
        // Strangers leave the `kid` out, so that every key is tried.
        if token.key_id().is_none() && algorithm.is_slow() && fitting.len() > 1 {
            return Err(Unconfirmed::NoKey { tried: false });
        }
        let mut tried = fitting.into_iter().take(MAX_TRIED);
        tried.find(|key| signatures.check(token, key).is_ok()).ok_or(Unconfirmed::BadSignature)
    }

    /// P29: `kid` is optional in keys (RFC 7517 4.5). One key without, that fits, may be the one that a token names; of several it
    /// would be anybody's guess, and a failing check under RSA-PSS costs too much to let strangers ask for it.
    fn confirm_without_id(
        &self,
        token: &Unverified<'_>,
        algorithm: Algorithm,
        signatures: &dyn Signatures,
    ) -> Result<&Rc<Jwk>, Unconfirmed> {
        let mut nameless = self.keys.iter().filter(|key| key.id().is_none() && key.fits(algorithm));
        match (nameless.next(), nameless.next()) {
            (Some(key), None) if algorithm != Algorithm::Ps256 => {
                signatures.check(token, key).map(|()| key).map_err(|_| Unconfirmed::NoKey { tried: true })
            }
            _ => Err(Unconfirmed::NoKey { tried: false }),
        }
    }

    /// The keys of the document that cannot be used, each with the reason; `None` where there is none.
    pub(crate) fn skipped(&self) -> Option<String> {
        const MOST: usize = 32;
        let named = self.skipped.iter().take(MOST).map(|(id, why)| format!("{id} ({why})"));
        let text = named.collect::<Vec<_>>().join(", ");
        match self.skipped.len() {
            0 => None,
            1..=MOST => Some(text),
            all => Some(format!("{text} and {} more", all - MOST)),
        }
    }

    /// Are they all skipped for their purpose? Then nothing is wrong with them.
    pub(crate) fn skips_as_usual(&self) -> bool {
        self.skipped.iter().all(|(_, why)| matches!(why, UnusableKey::OtherPurpose | UnusableKey::Algorithm))
    }
}
