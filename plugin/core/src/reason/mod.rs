//! Every cause of every answer, and the one table that says what it looks like on the wire.

use strum::VariantArray;

/// Why a request was answered as it was. [`Reason::name`] is what audit records, metrics and tests call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, VariantArray)]
pub enum Reason {
    // The request went upstream, or was answered as asked.
    /// The policy permits it.
    Permitted,
    /// The protected resource metadata document was asked for.
    Metadata,
    /// A notification nobody needs, dropped as the legacy protocol allows.
    Dropped,
    /// The client left before the decision.
    ClientGone,

    // Where it was sent, and how.
    /// The route names a server the policy does not have.
    UnknownServer,
    /// The path belongs to no server of the policy.
    UnknownPath,
    /// Not POST, GET or DELETE, or GET and DELETE under a revision that has none.
    MethodNotAllowed,
    /// Protocol upgrade or extended CONNECT.
    UpgradeNotAllowed,
    /// A header asks for another method than the request line.
    MethodOverride,
    /// A header asks for another path than the request line.
    PathOverride,
    /// A header that must stand alone came twice, or as a list.
    HeaderDuplicated,
    /// A header is not text.
    HeaderMalformed,
    /// `access_token` in the query.
    TokenInQuery,
    /// GET or DELETE with a body.
    BodyNotAllowed,
    /// The request has trailers.
    TrailersNotAllowed,
    /// The `Origin` is not on the server's list.
    OriginNotAllowed,

    // The token.
    /// No `Authorization` header.
    TokenMissing,
    /// `Authorization` uses another scheme than Bearer.
    SchemeNotBearer,
    /// Not a compact JWS of three strict base64url parts holding strict JSON objects, or too long.
    TokenMalformed,
    /// The header's `typ` is not that of an access token.
    TokenType,
    /// The algorithm is not on the issuer's list, or does not fit the key.
    AlgorithmNotAllowed,
    /// The header has `crit`.
    CriticalHeader,
    /// The header brings its own key (`jwk`, `jku`, `x5u`).
    KeyInHeader,
    /// `iss` is not in the policy, or not one of the server's issuers.
    IssuerUnknown,
    /// Too many signatures did not verify in this second; slow ones are not checked for a moment.
    SignatureRate,
    /// No key of the issuer has the token's `kid`.
    KeyUnknown,
    /// The signature does not verify.
    SignatureInvalid,
    /// A required claim is missing.
    ClaimMissing,
    /// A claim has the wrong type or form.
    ClaimMalformed,
    /// The token looks like an ID, logout or security event token.
    NotAnAccessToken,
    /// `exp` has passed.
    TokenExpired,
    /// `nbf` or `iat` lies in the future.
    TokenNotYetValid,
    /// `aud` does not name this resource.
    AudienceMismatch,
    /// The token is bound to a key or certificate this version cannot check.
    TokenBound,
    /// `exp - iat` is more than the issuer may grant.
    TokenTooLongLived,
    /// No key of the issuer could be had yet.
    KeysUnavailable,
    /// The issuer's keys are older than `stale` and could not be renewed.
    KeysStale,

    // The body.
    /// Larger than `limits.request_body`.
    BodyTooLarge,
    /// The body did not arrive within `limits.body_wait`.
    BodyTimeout,
    /// The host has never delivered a body to this filter.
    HostWithoutHeaderStop,
    /// The host could not hand over the body it buffered.
    BodyUnreadable,
    /// `Content-Type` is not `application/json` (charset `utf-8` at most).
    ContentType,
    /// The body is encoded.
    ContentEncoding,
    /// The body is not UTF-8.
    NotUtf8,
    /// The body is not one JSON text.
    JsonSyntax,
    /// A member name occurs twice in one object.
    DuplicateKey,
    /// Nested too deep.
    TooDeep,
    /// The body is an array of frames.
    Batch,
    /// More members than any message has: each costs the worker time.
    TooManyMembers,
    /// A member name that a lenient reader takes for another one: it folds to a protocol key but is not that key, or has a
    /// control character in it.
    FoldedKey,
    /// Not exactly one of request, notification or response.
    FrameShape,
    /// `id` is null, a fraction, too large or too long.
    FrameId,
    /// A JSON-RPC response outside a legacy session.
    ResponseNotAllowed,
    /// The protocol version is not one this filter knows.
    ProtocolVersion,
    /// The 2026-07-28 revision needs a header or `_meta` member that is missing.
    HeaderMissing,
    /// A mirrored header, or the version in `_meta`, disagrees with the body.
    HeaderMismatch,
    /// A method the policy gives no way to allow.
    UnknownMethod,
    /// A parameter the decision needs is missing or has the wrong type.
    ParamsInvalid,

    // The policy.
    /// No rule matches.
    NoRule,
    /// The rule says `deny`.
    Denied,
    /// The name would match another rule for a server that ignores case.
    NameConfusable,
    /// A held scope is missing and the caller can obtain it.
    ScopeMissing,
    /// A held scope is missing and the rule says `step_up: none`.
    ScopeNotObtainable,
    /// `exp - iat` is more than the rule accepts.
    TokenTooLongLivedForRule,
    /// The login is older than the rule's `max_age`, or its time unknown.
    LoginTooOld,

    // The elevation.
    /// The call was permitted with a token obtained for it.
    Elevated,
    /// The token is one that was issued to this filter.
    OwnTokenPresented,
    /// The caller's issuer is not one whose tokens go to the token service.
    IssuerNotExchangeable,
    /// `may_elevate`, or the token's `may_act`, says no, or cannot be known.
    NotEligible,
    /// The caller's own token already has a scope that is to be obtained for one call only.
    StandingPrivilege,
    /// The call is to go on as a task after its answer, and a token is for the call only.
    TaskNotElevated,
    /// Too many exchanges: in this VM, or for this caller.
    ElevationRate,
    /// The token service said no.
    ElevationRefused,
    /// The token service wants the user.
    ElevationNeedsUser,
    /// The token service says that the caller's token is dead.
    SubjectTokenRejected,
    /// The token service does not accept this filter.
    FilterNotAccepted,
    /// The token service did not answer, or not with sense.
    ElevationUnavailable,
    /// What it returned is no JWT.
    ElevatedTokenMalformed,
    /// It returned another type of token.
    ElevatedTokenType,
    /// Its signature does not verify.
    ElevatedSignature,
    /// It was issued by somebody else.
    ElevatedIssuer,
    /// It is for another audience, or for several.
    ElevatedAudience,
    /// It lives longer than the rule's `ttl`: shorten it at the token service.
    ElevatedLifetime,
    /// It is about another subject.
    ElevatedSubject,
    /// It was issued to another client, or is the caller's own.
    ElevatedTokenNotOurs,
    /// A refresh token came with it.
    ElevatedWithRefreshToken,
    /// It carries scopes nobody asked for.
    GrantedTooWide,
    /// It lacks a scope that was asked for.
    GrantedTooNarrow,
    /// The upstream answered 401 to the elevated token.
    UpstreamRefusedToken,
    /// Shadow mode cannot forward the caller's token to the audience of this rule.
    ShadowCannotExchange,

    // Ourselves.
    /// An input that fits no state: a bug here or in the host.
    Internal,
}

/// What a refusal looks like to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    /// HTTP status.
    pub status: u16,
    /// JSON-RPC error code, where the body carries one. 40xxx and up lie outside the range JSON-RPC and MCP reserve.
    pub code: Option<i32>,
    /// What the client is told: one sentence, no quotes or backslashes, no `=` (clients look for parameters in it).
    pub text: &'static str,
}

impl Reason {
    /// All of them.
    pub const ALL: &[Reason] = <Reason as VariantArray>::VARIANTS;

    /// The name used in audit records, metrics and tests.
    pub fn name(self) -> &'static str {
        use Reason::*;
        match self {
            Permitted => "permitted",
            Metadata => "metadata",
            Dropped => "dropped",
            ClientGone => "client_gone",
            UnknownServer => "unknown_server",
            UnknownPath => "unknown_path",
            MethodNotAllowed => "method_not_allowed",
            UpgradeNotAllowed => "upgrade_not_allowed",
            MethodOverride => "method_override",
            PathOverride => "path_override",
            HeaderDuplicated => "header_duplicated",
            HeaderMalformed => "header_malformed",
            TokenInQuery => "token_in_query",
            BodyNotAllowed => "body_not_allowed",
            TrailersNotAllowed => "trailers_not_allowed",
            OriginNotAllowed => "origin_not_allowed",
            TokenMissing => "token_missing",
            SchemeNotBearer => "scheme_not_bearer",
            TokenMalformed => "token_malformed",
            TokenType => "token_type",
            AlgorithmNotAllowed => "algorithm_not_allowed",
            CriticalHeader => "critical_header",
            KeyInHeader => "key_in_header",
            IssuerUnknown => "issuer_unknown",
            SignatureRate => "signature_rate",
            KeyUnknown => "key_unknown",
            SignatureInvalid => "signature_invalid",
            ClaimMissing => "claim_missing",
            ClaimMalformed => "claim_malformed",
            NotAnAccessToken => "not_an_access_token",
            TokenExpired => "token_expired",
            TokenNotYetValid => "token_not_yet_valid",
            AudienceMismatch => "audience_mismatch",
            TokenBound => "token_bound",
            TokenTooLongLived => "token_too_long_lived",
            KeysUnavailable => "keys_unavailable",
            KeysStale => "keys_stale",
            BodyTooLarge => "body_too_large",
            BodyTimeout => "body_timeout",
            HostWithoutHeaderStop => "host_without_header_stop",
            BodyUnreadable => "body_unreadable",
            ContentType => "content_type",
            ContentEncoding => "content_encoding",
            NotUtf8 => "not_utf8",
            JsonSyntax => "json_syntax",
            DuplicateKey => "duplicate_key",
            TooDeep => "too_deep",
            Batch => "batch",
            TooManyMembers => "too_many_members",
            FoldedKey => "folded_key",
            FrameShape => "frame_shape",
            FrameId => "frame_id",
            ResponseNotAllowed => "response_not_allowed",
            ProtocolVersion => "protocol_version",
            HeaderMissing => "header_missing",
            HeaderMismatch => "header_mismatch",
            UnknownMethod => "unknown_method",
            ParamsInvalid => "params_invalid",
            NoRule => "no_rule",
            Denied => "denied",
            NameConfusable => "name_confusable",
            ScopeMissing => "scope_missing",
            ScopeNotObtainable => "scope_not_obtainable",
            TokenTooLongLivedForRule => "token_too_long_lived_for_rule",
            LoginTooOld => "login_too_old",
            Elevated => "elevated",
            OwnTokenPresented => "own_token_presented",
            IssuerNotExchangeable => "issuer_not_exchangeable",
            NotEligible => "not_eligible",
            StandingPrivilege => "standing_privilege",
            TaskNotElevated => "task_not_elevated",
            ElevationRate => "elevation_rate",
            ElevationRefused => "elevation_refused",
            ElevationNeedsUser => "elevation_needs_user",
            SubjectTokenRejected => "subject_token_rejected",
            FilterNotAccepted => "filter_not_accepted",
            ElevationUnavailable => "elevation_unavailable",
            ElevatedTokenMalformed => "elevated_token_malformed",
            ElevatedTokenType => "elevated_token_type",
            ElevatedSignature => "elevated_signature",
            ElevatedIssuer => "elevated_issuer",
            ElevatedAudience => "elevated_audience",
            ElevatedLifetime => "elevated_lifetime",
            ElevatedSubject => "elevated_subject",
            ElevatedTokenNotOurs => "elevated_token_not_ours",
            ElevatedWithRefreshToken => "elevated_with_refresh_token",
            GrantedTooWide => "granted_too_wide",
            GrantedTooNarrow => "granted_too_narrow",
            UpstreamRefusedToken => "upstream_refused_token",
            ShadowCannotExchange => "shadow_cannot_exchange",
            Internal => "internal",
        }
    }

    /// The name the client sees. Denied, unmatched and confusable are one and the same to it: the difference would
    /// tell a stranger which tools exist. The audit record has the true name.
    pub fn public_name(self) -> &'static str {
        match self {
            Reason::NoRule
            | Reason::Denied
            | Reason::NameConfusable
            | Reason::ScopeNotObtainable
            | Reason::IssuerNotExchangeable
            | Reason::NotEligible
            | Reason::ShadowCannotExchange => "not_allowed",
            // What exactly is wrong with the token service's answer is the operator's business.
            reason if reason.wire().code == Some(50300) && reason.is_elevation() => "elevation_unavailable",
            other => other.name(),
        }
    }

    /// What a refusal for this reason looks like (design: answers on the wire).
    pub fn wire(self) -> Wire {
        use Reason::*;
        let (status, code, text) = match self {
            // Never refused for these; if one of them reaches a refusal, that is our fault and looks like it.
            Permitted | Metadata | Dropped | ClientGone | Elevated | Internal => (500, Some(50001), "internal error"),

            UnknownServer | UnknownPath => (404, None, "nothing is served at this path"),
            MethodNotAllowed => (405, None, "this HTTP method is not served here"),
            UpgradeNotAllowed => (400, None, "protocol upgrades are not served here"),
            MethodOverride => (400, None, "method override headers are not accepted"),
            PathOverride => (400, None, "path override headers are not accepted"),
            HeaderDuplicated => (400, None, "a header that must stand alone was sent more than once"),
            HeaderMalformed => (400, None, "a header is not text"),
            TokenInQuery => (400, None, "access tokens in the query are not accepted"),
            BodyNotAllowed => (400, None, "GET and DELETE must not have a body"),
            TrailersNotAllowed => (400, None, "request trailers are not accepted"),
            OriginNotAllowed => (403, Some(-32600), "this Origin is not allowed"),

            TokenMissing | SchemeNotBearer => (401, Some(40100), "an access token is required"),
            // RFC 6750 3.1: everything wrong with the token itself is invalid_token, 401.
            TokenMalformed => (401, Some(40101), "the access token is malformed"),
            TokenType => (401, Some(40101), "the token is not typed as an access token"),
            AlgorithmNotAllowed => (401, Some(40101), "the signature algorithm is not accepted"),
            CriticalHeader => (401, Some(40101), "the token has critical header members"),
            KeyInHeader => (401, Some(40101), "the token brings its own key"),
            IssuerUnknown => (401, Some(40101), "the issuer is not trusted here"),
            KeyUnknown => (401, Some(40101), "the signing key is not known"),
            SignatureInvalid => (401, Some(40101), "the signature is not valid"),
            ClaimMissing => (401, Some(40101), "a required claim is missing"),
            ClaimMalformed => (401, Some(40101), "a claim is malformed"),
            NotAnAccessToken => (401, Some(40101), "the token is not an access token"),
            TokenExpired => (401, Some(40101), "the access token expired"),
            TokenNotYetValid => (401, Some(40101), "the access token is not valid yet"),
            AudienceMismatch => (401, Some(40101), "the access token was issued for another resource"),
            TokenBound => (401, Some(40101), "the token is sender constrained and its binding cannot be verified here"),
            // No challenge: a new login would bring the same lifetime. The operator has to act.
            TokenTooLongLived => (403, Some(40303), "the access token lives longer than is accepted here"),
            SignatureRate => (503, Some(50300), "the token cannot be checked at this moment"),
            KeysUnavailable | KeysStale => (503, Some(50300), "the keys of the token issuer are not available"),

            BodyTooLarge => (413, Some(41300), "the request body is too large"),
            BodyTimeout => (408, None, "the request body did not arrive in time"),
            HostWithoutHeaderStop => (503, Some(50001), "the proxy did not deliver the request body"),
            BodyUnreadable => (500, Some(50001), "internal error"),
            ContentType => (400, Some(-32600), "the content type must be application/json"),
            ContentEncoding => (400, Some(-32600), "encoded request bodies are not accepted"),
            NotUtf8 => (400, Some(-32700), "the body is not UTF-8"),
            JsonSyntax => (400, Some(-32700), "the body is not one JSON text"),
            DuplicateKey => (400, Some(-32600), "an object names a member twice"),
            TooDeep => (400, Some(-32600), "the body is nested too deep"),
            TooManyMembers => (400, Some(-32600), "the body has too many members"),
            Batch => (400, Some(-32600), "batches are not accepted: send each message alone"),
            FoldedKey => (400, Some(-32600), "a member name could be read as another one"),
            FrameShape => (400, Some(-32600), "the body is not one JSON-RPC request, notification or response"),
            FrameId => (400, Some(-32600), "the id must be a string of at most 256 bytes or a whole number"),
            ResponseNotAllowed => (400, Some(-32600), "a JSON-RPC response is accepted in a session only"),
            ProtocolVersion => (400, Some(-32022), "this protocol version is not supported"),
            HeaderMissing => (400, Some(-32020), "a header that this protocol version requires is missing"),
            HeaderMismatch => (400, Some(-32020), "the headers and the body disagree"),
            UnknownMethod => (404, Some(-32601), "method not found"),
            ParamsInvalid => (400, Some(-32602), "a required parameter is missing or malformed"),

            NoRule
            | Denied
            | NameConfusable
            | ScopeNotObtainable
            | IssuerNotExchangeable
            | NotEligible
            | ShadowCannotExchange => (403, Some(40301), "this operation is not allowed"),
            OwnTokenPresented => (401, Some(40101), "the access token is not a caller token"),
            SubjectTokenRejected => (401, Some(40101), "the access token is no longer accepted by its issuer"),
            StandingPrivilege => (403, Some(40303), "this operation needs a token without that standing privilege"),
            TaskNotElevated => (403, Some(40302), "this operation cannot be a task: call it without `task`"),
            ElevationRefused => (403, Some(40302), "the token service refused this operation"),
            ElevationNeedsUser => (403, Some(40302), "the token service wants the user for this operation"),
            FilterNotAccepted => (503, Some(50301), "the token service does not accept this proxy"),
            ElevationRate
            | ElevationUnavailable
            | ElevatedTokenMalformed
            | ElevatedTokenType
            | ElevatedSignature
            | ElevatedIssuer
            | ElevatedAudience
            | ElevatedLifetime
            | ElevatedSubject
            | ElevatedTokenNotOurs
            | ElevatedWithRefreshToken
            | GrantedTooWide
            | GrantedTooNarrow => (503, Some(50300), "no token could be obtained for this operation"),
            UpstreamRefusedToken => (502, Some(50200), "the server did not accept the token for this operation"),
            ScopeMissing => (403, Some(40300), "this operation needs more scope"),
            TokenTooLongLivedForRule => (403, Some(40303), "this operation needs a token with a shorter life"),
            LoginTooOld => (403, Some(40102), "this operation needs a fresh login"),
        };
        Wire { status, code, text }
    }

    /// True for verdicts of the policy, the ones shadow mode suspends (P15). All other checks stay enforced.
    pub fn is_policy(self) -> bool {
        use Reason::*;
        matches!(
            self,
            NoRule
                | Denied
                | NameConfusable
                | ScopeMissing
                | ScopeNotObtainable
                | TokenTooLongLivedForRule
                | LoginTooOld
                | IssuerNotExchangeable
                | NotEligible
                | StandingPrivilege
                | TaskNotElevated
        )
    }

    /// True for what went wrong between the token service and us.
    pub fn is_elevation(self) -> bool {
        self.name().starts_with("elevat") || self.name().starts_with("granted_")
    }

    /// True where RFC 6750 3.1 asks for a challenge with `error="invalid_token"`.
    pub fn is_invalid_token(self) -> bool {
        self.wire().code == Some(40101)
    }
}
