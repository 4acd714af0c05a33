//! A token that the token service minted for one operation: the only place that makes an [`ElevatedToken`].

use crate::jose::Signatures;
use crate::jose::{Claims, Compact};
use crate::keys::KeyRing;
use crate::policy::{Exchange, Policy, TokenType};
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
    ) -> Result<ElevatedToken, Reason> {
        let service = policy.token_service.as_ref().ok_or(Reason::Internal)?;
        let issuer = policy.issuer_at(service.issuer).ok_or(Reason::Internal)?;
        if token.text().len() > policy.limits.token {
            return Err(Reason::ElevatedTokenMalformed);
        }
        let unverified = token.read_by(|_| &issuer.dialect).map_err(|_| Reason::ElevatedTokenMalformed)?;
        let claims = unverified.claims().map_err(|_| Reason::ElevatedTokenMalformed)?;
        // P38: of one family, and of the caller's tenant.
        let is_callers = !issuer.is(&wanted.caller.issuer) || wanted.caller.issuer == claims.issuer;
        if !issuer.accepts(claims) || !is_callers {
            return Err(Reason::ElevatedIssuer);
        }
        let algorithm = unverified.algorithm().filter(|algorithm| issuer.algorithms.contains(algorithm));
        let algorithm = algorithm.ok_or(Reason::ElevatedSignature)?;
        if !kind_fits(&unverified, issuer.token_type) {
            return Err(Reason::ElevatedTokenType);
        }
        let set = keys.current(service.issuer, now).map_err(|_| Reason::ElevatedSignature)?;
        if set.confirm(&unverified, algorithm, signatures).is_err() {
            return Err(Reason::ElevatedSignature);
        }
        if claims.audience.len() != 1 || claims.audience.first() != Some(&wanted.exchange.audience) {
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
        if !claims.names_client(&service.client.id) {
            return Err(Reason::ElevatedTokenNotOurs);
        }
        // As for callers: without a `typ` to go by, other kinds of JWT can only be told by their claims.
        if claims.bound || (claims.foreign && issuer.token_type == TokenType::Jwt) {
            return Err(Reason::ElevatedTokenType);
        }
        scopes(claims, wanted)?;
        Ok(ElevatedToken {
            text: Secret::new(token.text()),
            digest: *token.digest(),
            expires_at: claims.expires_at,
            token_id: claims.token_id.clone(),
        })
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

/// What was granted covers the request and lies within it and what it implies, in the token and in the answer alike.
fn scopes(claims: &Claims, wanted: &Wanted<'_>) -> Result<(), Reason> {
    let mut stated: Vec<&str> = wanted.scope.unwrap_or_default().split(' ').filter(|scope| !scope.is_empty()).collect();
    stated.sort_unstable();
    stated.dedup();
    if wanted.scope.is_some() && !claims.scopes.iter().map(String::as_str).eq(stated) {
        return Err(Reason::GrantedTooWide);
    }
    let asked = &wanted.exchange.granted;
    let within = |scope: &String| asked.iter().any(|wanted| *scope == *wanted.name || wanted.implies.contains(scope));
    if !claims.scopes.iter().all(within) {
        return Err(Reason::GrantedTooWide);
    }
    let covered = asked.iter().all(|wanted| wanted.covered_by.iter().any(|name| claims.has_scope(name)));
    if covered { Ok(()) } else { Err(Reason::GrantedTooNarrow) }
}
