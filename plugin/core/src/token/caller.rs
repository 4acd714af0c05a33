//! From an unverified token to a [`CallerToken`]: the only place that makes one.

use std::rc::Rc;

use crate::jose::{Claims, Compact, Signatures, Unconfirmed, Unverified};
use crate::keys::KeyRing;
use crate::line::Line;
use crate::policy::{Issuer, KeySource, Place, Policy, Server, TokenType};
use crate::reason::Reason;
use crate::text::{field, hex};
use crate::time::Millis;
use crate::token::cache::{Cache, Entry};
use crate::token::opinions::Inspected;

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
    /// Its issuer (a position in the policy) has to be asked about it (P23).
    Ask { issuer: usize },
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
                match server.introspects.and_then(|at| cache.opinions.of(&(at, *token.digest()), self.now)) {
                    Some(Some(inspected)) => return self.vouched(token, at, &inspected).map_err(Rejection::Final),
                    Some(None) => return Err(Rejection::Final(Reason::TokenInactive)),
                    None => {}
                }
                let (issuer, entry) = self.first_sight(token, at, cache)?;
                let (claims, record) = (Rc::clone(&entry.claims), Rc::clone(&entry.record));
                cache.insert(token.clone(), entry, self.now);
                (issuer, claims, record)
            }
        };
        Ok(CallerToken { valid_until: claims.valid_until(issuer), claims, record, token: token.clone() })
    }

    /// A token that its issuer vouches for, at this server and this moment.
    pub(crate) fn vouched(
        &self,
        token: &Compact,
        (server, place): (&Server, &Place),
        inspected: &Inspected,
    ) -> Result<CallerToken, Reason> {
        let Inspected { issuer, claims, record } = inspected;
        if !server.issuers.contains(issuer) {
            return Err(Reason::IssuerUnknown);
        }
        // P38: what a family says of a token of an exact issuer beside it is nothing.
        if self.policy.issuer(&claims.issuer).is_none_or(|(at, _)| at != *issuer) {
            return Err(Reason::IssuerUnknown);
        }
        let issuer = self.policy.issuer_at(*issuer).ok_or(Reason::Internal)?;
        let needs_audience = issuer.introspection.as_ref().is_none_or(|asked| asked.needs_audience);
        claims.check_introspected(issuer, (server, place), needs_audience, self.now.seconds())?;
        let (claims, record) = (Rc::clone(claims), Rc::clone(record));
        Ok(CallerToken { valid_until: claims.valid_until(issuer), claims, record, token: token.clone() })
    }

    /// Is every token of this server its issuer's to read?
    fn reads_none(&self, server: &Server) -> bool {
        let has_keys =
            |at: &usize| self.policy.issuer_at(*at).is_none_or(|issuer| !matches!(issuer.keys, KeySource::None));
        !server.issuers.iter().any(has_keys)
    }

    /// P23: strangers pay for length before anybody is asked.
    fn asked_about(token: &Compact, issuer: usize) -> Rejection {
        /// Bytes.
        const MOST: usize = 4096;
        if token.text().len() > MOST { Rejection::Final(Reason::TokenTooLarge) } else { Rejection::Ask { issuer } }
    }

    fn first_sight(
        &self,
        token: &Compact,
        (server, place): (&Server, &Place),
        cache: &mut Cache,
    ) -> Result<(&Issuer, Entry), Rejection> {
        let unverified = match (token.read_by(|issuer| self.policy.dialect(issuer)), server.introspects) {
            (Ok(unverified), _) => unverified,
            // No JWS at all.
            (Err(Reason::TokenMalformed), Some(issuer)) if !token.is_jws() || self.reads_none(server) => {
                return Err(Self::asked_about(token, issuer));
            }
            (Err(reason), _) => return Err(Rejection::Final(reason)),
        };
        // In place of keys: nothing of it is believed but whom to ask.
        let named = self.policy.issuer(unverified.issuer()).map(|(at, _)| at);
        if let Some((at, issuer)) = named.and_then(|at| Some((at, self.policy.issuer_at(at)?)))
            && matches!(issuer.keys, KeySource::None)
        {
            let counts = server.introspects == Some(at);
            return Err(if counts { Self::asked_about(token, at) } else { Rejection::Final(Reason::IssuerUnknown) });
        }
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
                    if algorithm.is_slow() {
                        cache.failed_slowly();
                    }
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
        let record = record(token, claims, false);
        Ok((issuer, Entry::new(issuer_at, key, set.generation(), Rc::new(claims.clone()), record)))
    }
}

/// More of them are not recorded.
const MOST_ACTORS: usize = 8;

/// How records name the caller.
pub(crate) fn record(token: &Compact, claims: &Claims, introspected: bool) -> Rc<str> {
    let mut members = Line::members();
    members.field("issuer", &claims.issuer);
    for (name, value) in [("subject", &claims.subject), ("client", &claims.client_id)] {
        value.iter().for_each(|value| members.field(name, value));
    }
    // P32: the current one first.
    let actors: Vec<String> =
        claims.actors.iter().take(MOST_ACTORS).filter_map(|names| names.first()).map(|name| field(name)).collect();
    if !actors.is_empty() {
        members.texts("actors", actors.iter().map(String::as_str));
    }
    members.text("token", &hex(token.digest(), 8));
    claims.token_id.iter().for_each(|id| members.field("token_id", id));
    if introspected {
        members.put(r#""introspected":true"#);
    }
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
