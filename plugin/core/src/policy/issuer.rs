//! An issuer of access tokens, or a family of them (P38).

use std::rc::Rc;

use crate::jose::{Algorithm, Claims, Dialect, KeySet, Place};
use crate::json::{self, Value};
use crate::policy::{Client, Endpoint};

/// An issuer of callers' tokens.
#[derive(Debug)]
pub(crate) struct Issuer {
    /// As the policy names it: with a variable in braces where it is a family.
    pub(crate) name: String,
    pub(crate) family: Option<Family>,
    /// Where clients look for somebody to log in with (P39), if they shall.
    pub(crate) advertised: Option<String>,
    pub(crate) keys: KeySource,
    /// P23: whom to ask about tokens that cannot be read here.
    pub(crate) introspection: Option<Introspection>,
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) token_type: TokenType,
    pub(crate) dialect: Dialect,
    /// How a scope is asked of its callers: a template over `{scope}`.
    pub(crate) ask: Option<String>,
    /// Seconds.
    pub(crate) max_lifetime: Option<u64>,
    /// Seconds.
    pub(crate) leeway: u64,
}

/// Where an issuer's keys come from.
#[derive(Debug)]
pub(crate) enum KeySource {
    /// Every token is asked about.
    None,
    Inline(Rc<KeySet>),
    /// Times in seconds.
    Fetch {
        endpoint: Endpoint,
        refresh: u64,
        stale: u64,
    },
}

/// RFC 7662.
#[derive(Debug)]
pub(crate) struct Introspection {
    pub endpoint: Endpoint,
    /// `None`: it asks for no authentication.
    pub client: Option<Client>,
    /// Seconds that an answer is remembered.
    pub cache: u64,
    /// Must the answer say for whom the token is?
    pub needs_audience: bool,
    /// Questions a second about tokens that were never seen active.
    pub rate: u32,
}

/// How an issuer types its access tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenType {
    /// RFC 9068: `typ` is `at+jwt`.
    AccessToken,
    /// `JWT` or none is accepted too.
    Jwt,
}

/// Issuers that differ in one path segment, their tenant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Family {
    pub prefix: String,
    pub suffix: String,
    /// The claim that names the tenant, too.
    pub claim: Place,
    /// `None`: any.
    pub tenants: Option<Vec<String>>,
}

impl Issuer {
    /// P21: one of these, if all of them are asked for scopes in the same way.
    pub(crate) fn asking_alike<'i>(mut issuers: impl Iterator<Item = &'i Issuer>) -> Option<&'i Issuer> {
        let first = issuers.next()?;
        issuers.all(|issuer| issuer.ask == first.ask).then_some(first)
    }

    /// Is this `iss` its own, or one of its family? RFC 9068 4: compared exactly.
    pub(crate) fn is(&self, issuer: &str) -> bool {
        match &self.family {
            None => self.name == issuer,
            Some(family) => family.tenant(issuer).is_some(),
        }
    }

    /// P38: a token of a family says its tenant twice, and alike, and it is one that counts.
    pub(crate) fn accepts(&self, claims: &Claims) -> bool {
        let Some(family) = &self.family else { return self.name == claims.issuer };
        let Some(tenant) = family.tenant(&claims.issuer) else { return false };
        let payload = json::read(&claims.payload);
        let claim = payload.as_ref().ok().and_then(|payload| family.claim.find(payload)).and_then(Value::text);
        claim == Some(tenant) && family.tenants.as_ref().is_none_or(|list| list.iter().any(|listed| listed == tenant))
    }

    /// How this scope of the policy is asked of its callers (P21).
    pub(crate) fn asked(&self, scope: &str) -> String {
        self.ask.as_ref().map_or_else(|| scope.to_owned(), |template| template.replace("{scope}", scope))
    }
}

impl Family {
    /// One path segment of letters, digits, dots and hyphens, of at most 64.
    pub(crate) fn tenant<'i>(&self, issuer: &'i str) -> Option<&'i str> {
        let tenant = issuer.strip_prefix(self.prefix.as_str())?.strip_suffix(self.suffix.as_str())?;
        is_tenant(tenant).then_some(tenant)
    }

    /// Is there an issuer of both?
    pub(crate) fn meets(&self, other: &Family) -> bool {
        let segments = |family: &Family| -> Vec<Option<String>> {
            let fixed = |text: &str| text.split('/').map(|part| Some(part.to_owned())).collect::<Vec<_>>();
            let (mut all, rest) = (fixed(family.prefix.trim_end_matches('/')), fixed(&family.suffix));
            all.push(None);
            all.extend(rest.into_iter().skip(1));
            all
        };
        let (own, their) = (segments(self), segments(other));
        own.len() == their.len()
            && own.iter().zip(&their).all(|pair| match pair {
                (Some(own), Some(their)) => own == their,
                (Some(fixed), None) | (None, Some(fixed)) => is_tenant(fixed),
                (None, None) => true,
            })
    }
}

pub(crate) fn is_tenant(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
}
