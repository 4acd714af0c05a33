//! What holds of a caller's token on every call, also of one seen before.

use crate::jose::{Binding, Claims};
use crate::policy::{Issuer, Named, Place, Server, TokenType};
use crate::reason::Reason;

impl Claims {
    /// The rules that depend on issuer, resource and time. They hold on every call, also for a token seen before.
    pub(crate) fn check(&self, issuer: &Issuer, server: &Server, place: &Place, now: i64) -> Result<(), Reason> {
        if self.subject.is_none() {
            return Err(Reason::ClaimMissing);
        }
        match issuer.token_type {
            // RFC 9068 2.2: these are required.
            TokenType::AccessToken if !self.says_client || self.client_id.is_none() || self.token_id.is_none() => {
                return Err(Reason::ClaimMissing);
            }
            // Without a `typ` to go by, an ID token can only be told by its claims. Not by `sid`: Keycloak's access tokens
            // have one.
            TokenType::Jwt if self.foreign => return Err(Reason::NotAnAccessToken),
            _ => {}
        }
        let leeway = i64::try_from(issuer.leeway).unwrap_or(0);
        if now >= self.valid_until(issuer) {
            return Err(Reason::TokenExpired);
        }
        let latest = now.saturating_add(leeway);
        if self.issued_at > latest || self.not_before.is_some_and(|time| time > latest) {
            return Err(Reason::TokenNotYetValid);
        }
        if self.expires_at <= self.issued_at {
            return Err(Reason::ClaimMalformed);
        }
        match meet(server, place, self) {
            None => return Err(Reason::AudienceMismatch),
            // P22: an ID token has exactly a client's id there, and no scopes.
            Some(Named::Name) if issuer.token_type == TokenType::Jwt && !self.says_scopes => {
                return Err(Reason::NotAnAccessToken);
            }
            Some(Named::Name | Named::Url) => {}
        }
        self.check_binding()
    }

    /// The same of a token that its issuer vouches for itself (P23).
    pub(crate) fn check_introspected(
        &self,
        issuer: &Issuer,
        (server, place): (&Server, &Place),
        needs_audience: bool,
        now: i64,
    ) -> Result<(), Reason> {
        // RFC 7662 2.2: `iss` where it is said.
        if !issuer.accepts(self) {
            return Err(Reason::IssuerUnknown);
        }
        if now >= self.valid_until(issuer) {
            return Err(Reason::TokenExpired);
        }
        let latest = now.saturating_add(i64::try_from(issuer.leeway).unwrap_or(0));
        if self.issued_at > latest || self.not_before.is_some_and(|time| time > latest) {
            return Err(Reason::TokenNotYetValid);
        }
        if self.names_audience() || needs_audience {
            match meet(server, place, self) {
                None => return Err(Reason::AudienceMismatch),
                Some(Named::Name) if !self.says_scopes => return Err(Reason::NotAnAccessToken),
                Some(Named::Name | Named::Url) => {}
            }
        }
        self.check_binding()
    }

    /// RFC 9449 7.1: a bound token presented as Bearer must be rejected by who knows of the binding. Whether its certificate is there
    /// (P33) is for the connection to say.
    fn check_binding(&self) -> Result<(), Reason> {
        if self.binding == Binding::Other { Err(Reason::TokenBound) } else { Ok(()) }
    }

    /// `exp` and the issuer's leeway.
    pub(crate) fn valid_until(&self, issuer: &Issuer) -> i64 {
        self.expires_at.saturating_add(i64::try_from(issuer.leeway).unwrap_or(0))
    }
}

/// P29: at its own path an alias is a resource too.
fn meet(server: &Server, place: &Place, claims: &Claims) -> Option<Named> {
    place.audiences.meet(&claims.audience).or_else(|| server.audiences.meet(&claims.audience))
}
