//! A token that the token service minted for one operation: the only place that makes an [`ElevatedToken`].

use std::collections::BTreeSet;

use crate::jose::{Claims, Compact, Signatures, Unconfirmed};
use crate::keys::KeyRing;
use crate::policy::{Exchange, Issuer, Policy, Scope, TokenService, TokenType};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::time::Millis;
use crate::token::caller::kind_fits;

/// INVARIANT (elevated token): made only by [`ElevatedToken::verify`]; never a caller's token, never cached, and good for
/// the one operation it was asked for.
#[derive(Debug)]
pub(crate) struct ElevatedToken {
    text: Secret,
    digest: [u8; 32],
    expires_at: i64,
    token_id: Option<String>,
}

/// Why a token is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// Its signature waits for a key of this id.
    Unproven(Option<String>),
    /// It is signed with an algorithm that its issuer may not use here: no key will help.
    Algorithm,
    Other(Reason),
}

impl From<Reason> for Unfit {
    fn from(reason: Reason) -> Unfit {
        Unfit::Other(reason)
    }
}

/// What was asked for, and for whom.
pub(crate) struct Wanted<'w> {
    pub exchange: &'w Exchange,
    pub caller: &'w Claims,
    /// `scope` of the answer, if it has one.
    pub scope: Option<&'w str>,
}

impl ElevatedToken {
    /// Everything that a stranger's token would have to show, and that it is exactly what was asked for: no more, no less.
    pub(crate) fn verify(
        token: &Compact,
        wanted: &Wanted<'_>,
        policy: &Policy,
        keys: &KeyRing,
        signatures: &dyn Signatures,
        now: Millis,
    ) -> Result<ElevatedToken, Unfit> {
        let service = policy.service_at(wanted.exchange.service).ok_or(Reason::Internal)?;
        let issuer = policy.issuer_at(service.issuer).ok_or(Reason::Internal)?;
        if token.text().len() > policy.limits.token {
            return Err(Reason::ElevatedTokenMalformed.into());
        }
        let unverified = token.read_by(|_| &issuer.dialect).map_err(|_| Reason::ElevatedTokenMalformed)?;
        let claims = unverified.claims().map_err(|_| Reason::ElevatedTokenMalformed)?;
        // P38: of one family, and of the caller's tenant.
        let is_callers = !issuer.is(&wanted.caller.issuer) || wanted.caller.issuer == claims.issuer;
        // An exact issuer beside its family is another one, with keys of its own.
        let is_services = policy.issuer(&claims.issuer).is_some_and(|(at, _)| at == service.issuer);
        if !is_services || !issuer.accepts(claims) || !is_callers {
            return Err(Reason::ElevatedIssuer.into());
        }
        let algorithm = unverified.algorithm().filter(|algorithm| issuer.algorithms.contains(algorithm));
        let algorithm = algorithm.ok_or(Unfit::Algorithm)?;
        if !kind_fits(&unverified, issuer.token_type) {
            return Err(Reason::ElevatedTokenType.into());
        }
        // P28: a key that is new to us may be on its way.
        let unproven = || Unfit::Unproven(unverified.key_id().map(str::to_owned));
        let set = keys.current(service.issuer, now).map_err(|_| unproven())?;
        match set.confirm(&unverified, algorithm, signatures) {
            Ok(_) => {}
            Err(Unconfirmed::NoKey { .. }) => return Err(unproven()),
            Err(Unconfirmed::OtherAlgorithm) => return Err(Unfit::Algorithm),
            Err(Unconfirmed::BadSignature) => return Err(Reason::ElevatedSignature.into()),
        }
        Self::check(claims, wanted, service, issuer, policy, now)?;
        scopes(claims, wanted, service)?;
        Ok(ElevatedToken {
            text: Secret::new(token.text()),
            digest: *token.digest(),
            expires_at: claims.expires_at,
            token_id: claims.token_id.clone(),
        })
    }

    /// All but its signature and its scopes.
    fn check(
        claims: &Claims,
        wanted: &Wanted<'_>,
        service: &TokenService,
        issuer: &Issuer,
        policy: &Policy,
        now: Millis,
    ) -> Result<(), Reason> {
        if !service.answer.is_for(&wanted.exchange.audience, &claims.audience) {
            return Err(Reason::ElevatedAudience);
        }
        // One clock issued both times, so there is no leeway.
        let seconds = now.seconds();
        if claims.expires_at <= seconds || claims.expires_at <= claims.issued_at {
            return Err(Reason::ElevatedLifetime);
        }
        let latest = seconds.saturating_add(i64::try_from(issuer.leeway).unwrap_or(0));
        if claims.lifetime() > wanted.exchange.ttl || claims.issued_at > latest {
            return Err(Reason::ElevatedLifetime);
        }
        if claims.not_before.is_some_and(|time| time > latest) {
            return Err(Reason::ElevatedLifetime);
        }
        // `sub` is unique for its issuer only, unless both say where a subject stands that means the same (P21).
        let are_comparable = wanted.caller.issuer == claims.issuer
            || (issuer.dialect.maps_subject && policy.dialect(&wanted.caller.issuer).maps_subject);
        if claims.subject.is_none() || (are_comparable && claims.subject != wanted.caller.subject) {
            return Err(Reason::ElevatedSubject);
        }
        // Ours, or the caller's with us as the actor (RFC 8693 4.1): servers tie their sessions to it.
        let ours = &service.client.id;
        let is_callers = claims.client_id.is_some() && claims.client_id == wanted.caller.client_id;
        let is_acted = claims.actors.first().is_some_and(|actor| actor.contains(ours)) && is_callers;
        if claims.client_id.as_ref() != Some(ours) && !is_acted {
            return Err(Reason::ElevatedTokenNotOurs);
        }
        // As for callers: without a `typ` to go by, other kinds of JWT can only be told by their claims.
        if claims.is_bound() || (claims.foreign && issuer.token_type == TokenType::Jwt) {
            return Err(Reason::ElevatedTokenType);
        }
        Ok(())
    }

    pub(crate) fn text(&self) -> &Secret {
        &self.text
    }

    pub(crate) fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Seconds since the epoch.
    pub(crate) fn expires_at(&self) -> i64 {
        self.expires_at
    }

    pub(crate) fn token_id(&self) -> Option<&str> {
        self.token_id.as_deref()
    }
}

/// What was granted covers the request and lies within it and what it implies, in the token and in the answer alike. It is read plainly,
/// and as it was asked for (P28).
fn scopes(claims: &Claims, wanted: &Wanted<'_>, service: &TokenService) -> Result<(), Reason> {
    let Exchange { granted: asked, audience, .. } = wanted.exchange;
    let names = |scope: &Scope| -> Vec<String> {
        scope.covered_by.iter().chain(&*scope.implies).map(|name| name.to_string()).collect()
    };
    let known: Vec<String> = asked.iter().flat_map(names).collect();
    let plain = |said: &str| {
        let spelled = |name: &&String| service.request.spelled(name, audience).is_some_and(|spelled| spelled == said);
        known.iter().find(spelled).map_or_else(|| said.to_owned(), Clone::clone)
    };
    let within = |scope: &String| {
        let is_asked = asked.iter().any(|wanted| *scope == *wanted.name || wanted.implies.contains(scope));
        is_asked || service.answer.also_granted.contains(scope)
    };
    let fit = |said: &mut dyn Iterator<Item = &str>| {
        let granted: BTreeSet<String> = said.map(plain).collect();
        if !granted.iter().all(within) {
            return Err(Reason::GrantedTooWide);
        }
        let covered = asked.iter().all(|wanted| wanted.covered_by.iter().any(|name| granted.contains(name)));
        if covered { Ok(()) } else { Err(Reason::GrantedTooNarrow) }
    };
    fit(&mut claims.scopes.iter().map(String::as_str))?;
    // RFC 6749 5.1: it may be left out.
    let said = wanted.scope.map(|scope| scope.split(' ').filter(|scope| !scope.is_empty()));
    said.map_or(Ok(()), |mut said| fit(&mut said))
}
