//! A token service (RFC 8693, RFC 7009), and its dialect.

use crate::jose::Es256Key;
use crate::policy::Endpoint;
use crate::secret::Secret;

/// The service that exchanges tokens (RFC 8693) and revokes them (RFC 7009).
#[derive(Debug)]
pub(crate) struct TokenService {
    /// Whose keys verify what it returns: a position in `issuers`.
    pub(crate) issuer: usize,
    /// Whose tokens may be sent to it.
    pub(crate) subject_issuers: Vec<usize>,
    pub(crate) token: Endpoint,
    /// `None`: what it gives lives until its `exp`.
    pub(crate) revoke: Option<Endpoint>,
    pub(crate) client: Client,
    /// Seconds until the client is told that it did not answer.
    pub(crate) timeout: u64,
    /// Seconds its answer is still waited for after that, so that a late token is revoked.
    pub(crate) late: u64,
    /// Seconds a token lives on when a legacy stream ended without a result.
    pub(crate) linger: u64,
    /// Seconds a token lives on when a legacy stream paused (P30).
    pub(crate) resume: u64,
    /// Is it told which operation the token is for?
    pub(crate) context: bool,
    pub(crate) request: RequestForm,
    pub(crate) answer: AnswerForm,
}

/// How it is asked (P28).
#[derive(Debug)]
pub(crate) struct RequestForm {
    pub grant: Grant,
    pub target: Target,
    /// `requested_token_type`, if it is sent.
    pub token_type: Option<&'static str>,
    /// A template over `{scope}` and `{audience}`.
    pub scope: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    /// RFC 8693.
    TokenExchange,
    /// RFC 7523 with `requested_token_use=on_behalf_of`.
    OnBehalfOf,
}

/// The parameter that names the audience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// RFC 8707 `resource` for an absolute URI, else `audience` (P10).
    ByForm,
    Resource,
    Audience,
    Both,
    Unsaid,
}

/// What it answers beside what it was asked for (P28).
#[derive(Debug, Default)]
pub(crate) struct AnswerForm {
    pub also_granted: Vec<String>,
    pub also_audience: Vec<String>,
    /// What else an audience of a rule is called.
    pub audience_aliases: Vec<(String, Vec<String>)>,
    /// `issued_token_type` may be missing.
    pub assumes_type: bool,
}

impl RequestForm {
    /// The scope, as it is asked for and perhaps answered.
    pub(crate) fn spelled(&self, scope: &str, audience: &str) -> Option<String> {
        let template = self.scope.as_ref()?;
        Some(template.replace("{audience}", audience).replace("{scope}", scope))
    }
}

impl AnswerForm {
    /// Does this `aud` name that audience, and nothing that is not added always?
    pub(crate) fn is_for(&self, audience: &str, values: &[String]) -> bool {
        let alias = self.audience_aliases.iter().find(|(name, _)| name == audience);
        let means = |value: &String| value == audience || alias.is_some_and(|(_, others)| others.contains(value));
        let added = |value: &&String| self.also_audience.contains(value);
        values.iter().filter(|value| means(value)).count() == 1
            && values.iter().filter(|value| !means(value)).all(|value| added(&value))
    }
}

/// Who we are to the token service.
#[derive(Debug)]
pub(crate) struct Client {
    pub id: String,
    pub authentication: ClientAuthentication,
}

/// How we prove it.
#[derive(Debug)]
pub(crate) enum ClientAuthentication {
    /// The cluster does: by mTLS, or by credentials the proxy injects.
    Cluster,
    /// HTTP Basic (RFC 6749 2.3.1).
    Secret(Secret),
    /// `private_key_jwt`, ES256 (RFC 7523 2.2), with the issuer as audience.
    Key(Box<Es256Key>, String),
}
