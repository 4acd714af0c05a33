//! Sealed ids of sessions (P35): any replica with the keys can tell whose session it is, and remembers nothing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The first seals, any of them checks.
#[derive(Clone)]
pub(crate) struct Keys(Vec<[u8; 32]>);

/// Whose session it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner<'o> {
    pub server: &'o str,
    /// Issuer and subject. `None`: it was opened without a token, and anybody may continue it.
    pub caller: Option<(&'o str, Option<&'o str>)>,
}

/// Between the id and its seal; an id may have it too.
const MARK: char = '.';

impl Keys {
    pub(crate) fn new(keys: Vec<[u8; 32]>) -> Keys {
        Keys(keys)
    }

    /// What goes to the client in place of the id. `None`: there is no key.
    pub(crate) fn seal(&self, id: &str, owner: Owner<'_>) -> Option<String> {
        let tag = mac(self.0.first()?, id, owner)?.finalize().into_bytes();
        Some(format!("{id}{MARK}{}", URL_SAFE_NO_PAD.encode(tag)))
    }

    /// The id of a sealed session of this caller, or of nobody. `None`: it is a foreign one, or spoilt.
    pub(crate) fn open<'s>(&self, sealed: &'s str, owner: Owner<'_>) -> Option<&'s str> {
        let (id, tag) = sealed.rsplit_once(MARK)?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        let nobody = Owner { caller: None, ..owner };
        let is_sealed = |owner: Owner<'_>| {
            self.0.iter().any(|key| mac(key, id, owner).is_some_and(|mac| mac.verify_slice(&tag).is_ok()))
        };
        (is_sealed(owner) || is_sealed(nobody)).then_some(id)
    }
}

/// RFC 2104. Each text begins with its length: no two owners feed the same bytes.
fn mac(key: &[u8; 32], id: &str, owner: Owner<'_>) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    let (issuer, subject) = owner.caller.unzip();
    for text in [Some(owner.server), issuer, subject.flatten(), Some(id)] {
        match text {
            Some(text) => {
                mac.update(&(text.len() as u64).to_be_bytes());
                mac.update(text.as_bytes());
            }
            None => mac.update(&u64::MAX.to_be_bytes()),
        }
    }
    Some(mac)
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p35_a_seal_is_of_one_server_caller_and_id() {
        let (new, old) = ([1; 32], [2; 32]);
        let keys = Keys::new(vec![new, old]);
        let owner = |server, issuer, subject| Owner { server, caller: Some((issuer, subject)) };
        let alice = owner("git", "https://as", Some("alice"));
        let sealed = keys.seal("s.1", alice).unwrap();
        assert_eq!(keys.open(&sealed, alice), Some("s.1"));
        for other in [
            owner("wiki", "https://as", Some("alice")),
            owner("git", "https://other", Some("alice")),
            owner("git", "https://as", Some("bob")),
            owner("git", "https://as", None),
            owner("git", "https://as", Some("")),
            owner("git", "https://a", Some("salice")),
            Owner { server: "git", caller: None },
        ] {
            assert_eq!(keys.open(&sealed, other), None, "{other:?}");
        }
        let spoilt = sealed.replacen("s.1", "s.2", 1);
        let (mut shorter, later) = (sealed.clone(), sealed.get(1..).unwrap_or_default());
        shorter.pop();
        for text in ["", "s.1", "s.1.", ".", spoilt.as_str(), later, shorter.as_str()] {
            assert_eq!(keys.open(text, alice), None, "{text}");
        }
        let nobody = keys.seal("s", Owner { server: "git", caller: None }).unwrap();
        assert_eq!(keys.open(&nobody, alice), Some("s"), "anybody may continue it");
        let before = Keys::new(vec![old]).seal("s", alice).unwrap();
        assert_eq!(keys.open(&before, alice), Some("s"), "the older key checks");
        assert_eq!(Keys::new(vec![old]).open(&sealed, alice), None);
    }
}
