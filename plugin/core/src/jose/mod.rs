//! JOSE: keys, compact signatures and claims, read strictly and believed only where a key confirms them.

mod algorithm;
mod assertion;
mod claims;
mod compact;
mod date;
mod dialect;
mod jwk;
mod key_set;
mod signatures;

pub use algorithm::Algorithm;
pub(crate) use algorithm::REFUSED;
pub(crate) use claims::{Binding, Claims};
pub(crate) use compact::MAX_TOKEN;
pub use compact::{Compact, Unverified};
pub(crate) use dialect::{COMMON, Dialect, Place};
pub use jwk::{Jwk, PublicKey, RsaKey, UnusableKey};
pub(crate) use key_set::{DocumentFault, KeySet};
pub use signatures::{BadSignature, PureRust, Signatures};

pub(crate) use assertion::{ASSERTION_TYPE, Es256Key};
pub(crate) use key_set::Unconfirmed;
