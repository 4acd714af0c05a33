//! A key document (RFC 7517 5) and what of it is used.

use std::rc::Rc;

use crate::jose::{Algorithm, Jwk, Signatures, Unverified};
use crate::json::{self, Value};

/// Longer documents are refused.
const MAX_DOCUMENT: usize = 64 * 1024;
/// Documents with more keys are refused: without a `kid`, each would be tried.
const MAX_KEYS: usize = 32;

/// The usable keys of one document.
#[derive(Debug)]
pub(crate) struct KeySet {
    keys: Vec<Rc<Jwk>>,
    skipped: usize,
    generation: u64,
}

/// More keys are not tried: a failing check costs up to a millisecond of a worker.
const MAX_TRIED: usize = 4;

/// Why no key confirms a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unconfirmed {
    /// None has its `kid`; or it names none, and which one to try is anybody's guess.
    NoKey,
    /// Those with its `kid` are for another algorithm.
    OtherAlgorithm,
    /// The signature does not verify.
    BadSignature,
}

/// Why a document is not used at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DocumentFault {
    /// More than 64 KiB.
    TooLarge,
    /// Not a JSON object with an array `keys`.
    Malformed,
    /// More than 32 keys.
    TooManyKeys,
}

impl KeySet {
    /// Reads a document. Unusable keys are skipped and counted. One without any usable key is a document too: it says that the
    /// issuer has withdrawn what it had.
    pub(crate) fn read(document: &[u8]) -> Result<KeySet, DocumentFault> {
        if document.len() > MAX_DOCUMENT {
            return Err(DocumentFault::TooLarge);
        }
        KeySet::from_value(&json::read(document).map_err(|_| DocumentFault::Malformed)?)
    }

    /// The same, from a document that is part of another.
    pub(crate) fn from_value(document: &Value<'_>) -> Result<KeySet, DocumentFault> {
        let Some(Value::List(list)) = document.get("keys") else { return Err(DocumentFault::Malformed) };
        if list.len() > MAX_KEYS {
            return Err(DocumentFault::TooManyKeys);
        }
        let keys: Vec<Rc<Jwk>> = list.iter().filter_map(|jwk| Jwk::read(jwk).ok()).map(Rc::new).collect();
        Ok(KeySet { skipped: list.len() - keys.len(), keys, generation: 0 })
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
            return Err(Unconfirmed::NoKey);
        }
        let fitting: Vec<&Rc<Jwk>> = self.keys.iter().filter(named).filter(|key| key.fits(algorithm)).collect();
        if fitting.is_empty() {
            return Err(Unconfirmed::OtherAlgorithm);
        }
        // Strangers leave the `kid` out, so that every key is tried.
        if token.key_id().is_none() && algorithm.is_slow() && fitting.len() > 1 {
            return Err(Unconfirmed::NoKey);
        }
        let mut tried = fitting.into_iter().take(MAX_TRIED);
        tried.find(|key| signatures.check(token, key).is_ok()).ok_or(Unconfirmed::BadSignature)
    }

    /// How many keys of the document were skipped.
    pub(crate) fn skipped(&self) -> usize {
        self.skipped
    }
}
