//! From an unverified token to a [`CallerToken`]: the only place that makes one.

use std::rc::Rc;

use crate::jose::{Claims, Compact, Signatures, Unconfirmed, Unverified};
use crate::keys::KeyRing;
use crate::line::Line;
use crate::policy::{Issuer, Place, Policy, Server, TokenType};
use crate::reason::Reason;
use crate::text::hex;
use crate::time::Millis;
use crate::token::cache::{Cache, Entry};

/// A token issued by one of the policy's issuers to be presented to exactly this resource, valid now.
///
/// INVARIANT (caller token): made only by [`Verifier::verify`], after signature, issuer, type, audience and time held.
#[derive(Clone, Debug)]
pub(crate) struct CallerToken {
    claims: Rc<Claims>,
    record: Rc<str>,
    /// Seconds since the epoch, leeway included.
    valid_until: i64,
    token: Compact,
}

impl CallerToken {
    pub(crate) fn claims(&self) -> &Claims {
        &self.claims
    }

    pub(crate) fn shared_claims(&self) -> Rc<Claims> {
        Rc::clone(&self.claims)
    }

    /// How records name the caller: members of an object.
    pub(crate) fn record(&self) -> Rc<str> {
        Rc::clone(&self.record)
    }

    pub(crate) fn token(&self) -> &Compact {
        &self.token
    }

    pub(crate) fn is_valid_at(&self, now: Millis) -> bool {
        now.seconds() < self.valid_until
    }
}

/// Why there is no caller token (yet).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// Other keys would not help.
    Final(Reason),
    /// Fresher keys of this issuer (its position in the policy) might help.
    Keys { issuer: usize, reason: Reason },
}

/// Everything a verification looks at.
pub(crate) struct Verifier<'v> {
    pub policy: &'v Policy,
    pub keys: &'v KeyRing,
    pub signatures: &'v dyn Signatures,
    pub now: Millis,
}

impl Verifier<'_> {
    pub(crate) fn verify(
        &self,
        token: &Compact,
        at: (&Server, &Place),
        cache: &mut Cache,
    ) -> Result<CallerToken, Rejection> {
        let (server, place) = at;
        if cache.is_dead(token.digest(), self.now) {
            return Err(Rejection::Final(Reason::SubjectTokenRejected));
        }
        let (issuer, claims, record) = match cache.get(token, self.keys, self.now) {
            Some(entry) => {
                if !server.issuers.contains(&entry.issuer) {
                    return Err(Rejection::Final(Reason::IssuerUnknown));
                }
                let issuer = self.policy.issuer_at(entry.issuer).ok_or(Rejection::Final(Reason::Internal))?;
                entry.claims.check(issuer, server, place, self.now.seconds()).map_err(Rejection::Final)?;
                (issuer, entry.claims, entry.record)
            }
            None => {
                let (issuer, entry) = self.first_sight(token, at, cache)?;
                let (claims, record) = (Rc::clone(&entry.claims), Rc::clone(&entry.record));
                cache.insert(token.clone(), entry, self.now);
                (issuer, claims, record)
            }
        };
        Ok(CallerToken { valid_until: claims.valid_until(issuer), claims, record, token: token.clone() })
    }

    fn first_sight(
        &self,
        token: &Compact,
        (server, place): (&Server, &Place),
        cache: &mut Cache,
    ) -> Result<(&Issuer, Entry), Rejection> {
        let unverified = token.read_by(|issuer| self.policy.dialect(issuer)).map_err(Rejection::Final)?;
        let claims = unverified.claims().map_err(Rejection::Final)?;
        let (issuer_at, issuer) = self.policy.issuer(&claims.issuer).ok_or(Rejection::Final(Reason::IssuerUnknown))?;
        // P38.
        if !issuer.accepts(claims) {
            return Err(Rejection::Final(Reason::IssuerUnknown));
        }
        // P34: what an issuer says counts at the servers that name it.
        if !server.issuers.contains(&issuer_at) {
            return Err(Rejection::Final(Reason::IssuerUnknown));
        }
        // RFC 8725 3.1: the algorithm comes from the policy; the header can only agree.
        let algorithm = unverified
            .algorithm()
            .filter(|algorithm| issuer.algorithms.contains(algorithm))
            .ok_or(Rejection::Final(Reason::AlgorithmNotAllowed))?;
        if !kind_fits(&unverified, issuer.token_type) {
            return Err(Rejection::Final(Reason::TokenType));
        }
        // Cheap rules before the signature: they refuse, and never let anything pass.
        claims.check(issuer, server, place, self.now.seconds()).map_err(Rejection::Final)?;

        let missing = |reason| Rejection::Keys { issuer: issuer_at, reason };
        let set = self.keys.current(issuer_at, self.now).map_err(missing)?;
        // The same token under the same keys is checked once.
        if let Some(reason) = cache.refusal(token.digest(), set.generation()) {
            return Err(missing(reason));
        }
        if algorithm.is_slow() && !cache.may_check_slowly(self.now) {
            return Err(Rejection::Final(Reason::SignatureRate));
        }
        let key = match set.confirm(&unverified, algorithm, self.signatures) {
            Ok(key) => key,
            Err(Unconfirmed::NoKey { tried }) => {
                if tried {
                    cache.refuse(token.digest(), set.generation(), Reason::KeyUnknown);
                }
                return Err(missing(Reason::KeyUnknown));
            }
            Err(Unconfirmed::OtherAlgorithm) => return Err(Rejection::Final(Reason::AlgorithmNotAllowed)),
            Err(Unconfirmed::BadSignature) => {
                if algorithm.is_slow() {
                    cache.failed_slowly();
                }
                cache.refuse(token.digest(), set.generation(), Reason::SignatureInvalid);
                return Err(missing(Reason::SignatureInvalid));
            }
        };
        let record = record(token, claims);
        Ok((issuer, Entry::new(issuer_at, key, set.generation(), Rc::new(claims.clone()), record)))
    }
}

fn record(token: &Compact, claims: &Claims) -> Rc<str> {
    let mut members = Line::members();
    members.field("issuer", &claims.issuer);
    for (name, value) in [("subject", &claims.subject), ("client", &claims.client_id)] {
        value.iter().for_each(|value| members.field(name, value));
    }
    members.text("token", &hex(token.digest(), 8));
    claims.token_id.iter().for_each(|id| members.field("token_id", id));
    members.into_members()
}

// RFC 9068 4 and RFC 8725 3.11: explicit typing, so that no other kind of JWT passes for an access token.
pub(super) fn kind_fits(token: &Unverified<'_>, expected: TokenType) -> bool {
    match token.kind().as_deref() {
        Some("at+jwt") => true,
        None | Some("jwt") => expected == TokenType::Jwt,
        Some(_) => false,
    }
}
