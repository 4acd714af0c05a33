//! The table: one row for each reason. A column that is missing does not compile.

use super::{Acts, Challenge, Class, Wire};

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident: $name:literal, $class:ident, $status:literal, $code:expr, $challenge:ident, $acts:ident,
        $text:literal $(, told $told:literal)?;)*) => {
        /// Why a request was answered as it was. [`Reason::name`] is what audit records, metrics and tests call it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[$doc])* $variant,)*
        }

        impl Reason {
            /// All of them.
            pub const ALL: &[Reason] = &[$(Reason::$variant),*];

            /// The name used in audit records, metrics and tests.
            pub fn name(self) -> &'static str {
                match self { $(Reason::$variant => $name,)* }
            }

            /// The name the client sees: another one where the difference would tell a stranger which tools exist, or is the
            /// operator's business. The audit record has the true name.
            pub fn public_name(self) -> &'static str {
                match self { $(Reason::$variant => told!($name $(, $told)?),)* }
            }

            /// What it is about.
            pub fn class(self) -> Class {
                match self { $(Reason::$variant => Class::$class,)* }
            }

            /// What a refusal for this reason looks like. Never refused are those of [`Class::Done`]: if one of them reaches a
            /// refusal, that is our fault and looks like it.
            pub fn wire(self) -> Wire {
                match self { $(Reason::$variant => Wire { status: $status, code: $code, text: $text },)* }
            }

            /// How a refusal for this reason is challenged.
            pub fn challenge(self) -> Challenge {
                match self { $(Reason::$variant => Challenge::$challenge,)* }
            }

            /// Who can do something about it.
            pub fn acts(self) -> Acts {
                match self { $(Reason::$variant => Acts::$acts,)* }
            }
        }
    };
}

macro_rules! told {
    ($name:literal) => {
        $name
    };
    ($name:literal, $told:literal) => {
        $told
    };
}

// variant: name, class, status, code, challenge, who acts, text, and the name that is told where it is another.
reasons! {
    // The request went upstream, or was answered as asked.
    /// The policy permits it.
    Permitted: "permitted", Done, 500, Some(50001), Nothing, Nobody, "internal error";
    /// The protected resource metadata document was asked for.
    Metadata: "metadata", Done, 500, Some(50001), Nothing, Nobody, "internal error";
    /// A notification nobody needs, dropped as the legacy protocol allows.
    Dropped: "dropped", Done, 500, Some(50001), Nothing, Nobody, "internal error";
    /// The client left before the decision.
    ClientGone: "client_gone", Done, 500, Some(50001), Nothing, Nobody, "internal error";

    // Where it was sent, and how.
    /// The route names a server the policy does not have.
    UnknownServer: "unknown_server", Request, 404, None, Nothing, Routes, "nothing is served at this path";
    /// The path belongs to no server of the policy.
    UnknownPath: "unknown_path", Request, 404, None, Nothing, Request, "nothing is served at this path";
    /// Not POST, GET or DELETE, or GET and DELETE under a revision that has none. A HEAD without a token is challenged.
    MethodNotAllowed: "method_not_allowed", Request, 405, None, Nothing, Request, "this HTTP method is not served here";
    /// An upgrade to WebSocket, or extended CONNECT. Other upgrades are ignored, and taken out.
    UpgradeNotAllowed: "upgrade_not_allowed", Request, 400, None, Nothing, Request, "protocol upgrades are not served here";
    /// A header asks for another method than the request line.
    MethodOverride: "method_override", Request, 400, None, Nothing, Request, "method override headers are not accepted";
    /// A header asks for another path than the request line.
    PathOverride: "path_override", Request, 400, None, Nothing, Request, "path override headers are not accepted";
    /// A header that must stand alone came twice, or as a list.
    HeaderDuplicated: "header_duplicated", Request, 400, None, Nothing, Request, "a header that must stand alone was sent more than once";
    /// A header that is read is not text.
    HeaderMalformed: "header_malformed", Request, 400, None, Nothing, Request, "a header is not text";
    /// `access_token` in the query.
    TokenInQuery: "token_in_query", Request, 400, None, Nothing, Request, "access tokens in the query are not accepted";
    /// GET or DELETE with a body: announced, or its first byte.
    BodyNotAllowed: "body_not_allowed", Request, 400, None, Nothing, Request, "GET and DELETE must not have a body";
    /// The `Origin` is not on the server's list.
    OriginNotAllowed: "origin_not_allowed", Request, 403, Some(-32600), Nothing, Request, "this Origin is not allowed";

    // The token.
    /// No `Authorization` header.
    TokenMissing: "token_missing", Token, 401, Some(40100), Login, Login, "an access token is required";
    /// `Authorization` uses another scheme than Bearer.
    SchemeNotBearer: "scheme_not_bearer", Token, 401, Some(40100), Login, Login, "an access token is required";
    /// Longer than `limits.token`.
    TokenTooLarge: "token_too_large", Token, 431, Some(40101), Nothing, AnotherToken, "the access token is too large";
    /// Not a compact JWS of three strict base64url parts holding strict JSON objects.
    TokenMalformed: "token_malformed", Token, 401, Some(40101), InvalidToken, AnotherToken, "the access token is malformed";
    /// The header's `typ` is not that of an access token.
    TokenType: "token_type", Token, 401, Some(40101), InvalidToken, AnotherToken, "the token is not typed as an access token";
    /// The algorithm is not on the issuer's list, or does not fit the key.
    AlgorithmNotAllowed: "algorithm_not_allowed", Token, 401, Some(40101), InvalidToken, AnotherToken, "the signature algorithm is not accepted";
    /// The header has `crit`.
    CriticalHeader: "critical_header", Token, 401, Some(40101), InvalidToken, AnotherToken, "the token has critical header members";
    /// The header brings its own key (`jwk`, `jku`, `x5u`).
    KeyInHeader: "key_in_header", Token, 401, Some(40101), InvalidToken, AnotherToken, "the token brings its own key";
    /// `iss` is not in the policy, or not one of the server's issuers.
    IssuerUnknown: "issuer_unknown", Token, 401, Some(40101), InvalidToken, AnotherToken, "the issuer is not trusted here";
    /// Too many signatures did not verify in this second; slow ones are not checked for a moment.
    SignatureRate: "signature_rate", Ours, 503, Some(50300), Nothing, Proxy, "the token cannot be checked at this moment";
    /// No key of the issuer has the token's `kid`.
    KeyUnknown: "key_unknown", Token, 401, Some(40101), InvalidToken, AnotherToken, "the signing key is not known";
    /// The signature does not verify.
    SignatureInvalid: "signature_invalid", Token, 401, Some(40101), InvalidToken, AnotherToken, "the signature is not valid";
    /// A required claim is missing.
    ClaimMissing: "claim_missing", Token, 401, Some(40101), InvalidToken, AnotherToken, "a required claim is missing";
    /// A claim has the wrong type or form.
    ClaimMalformed: "claim_malformed", Token, 401, Some(40101), InvalidToken, AnotherToken, "a claim is malformed";
    /// The token looks like an ID, logout or security event token.
    NotAnAccessToken: "not_an_access_token", Token, 401, Some(40101), InvalidToken, AnotherToken, "the token is not an access token";
    /// `exp` has passed.
    TokenExpired: "token_expired", Token, 401, Some(40101), InvalidToken, AnotherToken, "the access token expired";
    /// `nbf` or `iat` lies in the future.
    TokenNotYetValid: "token_not_yet_valid", Token, 401, Some(40101), InvalidToken, AnotherToken, "the access token is not valid yet";
    /// `aud` does not name this resource.
    AudienceMismatch: "audience_mismatch", Token, 401, Some(40101), InvalidToken, AnotherToken, "the access token was issued for another resource";
    /// The rule or the server wants a token that is bound to a certificate (P33).
    TokenNotBound: "token_not_bound", Token, 401, Some(40101), InvalidToken, AnotherToken, "this operation needs a token that is bound to the certificate of its client";
    /// It is bound to another certificate than the one that was presented, or none was.
    BindingMismatch: "binding_mismatch", Token, 401, Some(40101), InvalidToken, AnotherToken, "the access token is bound to another certificate";
    /// The token is bound to a key or certificate this version cannot check.
    TokenBound: "token_bound", Token, 401, Some(40101), InvalidToken, AnotherToken, "the token is sender constrained and its binding cannot be verified here";
    /// Its issuer says that the token is not active (RFC 7662 2.2).
    TokenInactive: "token_inactive", Token, 401, Some(40101), InvalidToken, AnotherToken, "the access token is no longer active";
    /// Nobody could be asked about it, or not yet.
    IntrospectionUnavailable: "introspection_unavailable", Ours, 503, Some(50300), Nothing, Proxy, "the token cannot be checked at this moment";
    /// `exp - iat` is more than the issuer may grant.
    TokenTooLongLived: "token_too_long_lived", Token, 403, Some(40303), Nothing, AuthorizationServer, "the access token lives longer than is accepted here";
    /// No key of the issuer could be had yet.
    KeysUnavailable: "keys_unavailable", Ours, 503, Some(50300), Nothing, Proxy, "the keys of the token issuer are not available";
    /// The issuer's keys are older than `stale` and could not be renewed.
    KeysStale: "keys_stale", Ours, 503, Some(50300), Nothing, Proxy, "the keys of the token issuer are not available";

    /// A filter before this one took the token out of the request.
    TokenRemoved: "token_removed", Ours, 500, Some(50001), Nothing, Proxy, "the proxy took the access token away before it was judged";

    // The body.
    /// Larger than `limits.request_body`.
    BodyTooLarge: "body_too_large", Request, 413, Some(41300), Nothing, Request, "the request body is too large";
    /// The body did not arrive within `limits.body_wait`.
    BodyTimeout: "body_timeout", Request, 408, None, Nothing, Request, "the request body did not arrive in time";
    /// The host has never delivered a body to this filter.
    HostWithoutHeaderStop: "host_without_header_stop", Ours, 503, Some(50001), Nothing, Proxy, "the proxy did not deliver the request body";
    /// The host could not hand over the body it buffered.
    BodyUnreadable: "body_unreadable", Ours, 500, Some(50001), Nothing, Proxy, "internal error";
    /// `Content-Type` is not `application/json` (charset `utf-8` at most).
    ContentType: "content_type", Request, 400, Some(-32600), Nothing, Request, "the content type must be application/json";
    /// The body is encoded.
    ContentEncoding: "content_encoding", Request, 400, Some(-32600), Nothing, Request, "encoded request bodies are not accepted";
    /// The body is not UTF-8.
    NotUtf8: "not_utf8", Request, 400, Some(-32700), Nothing, Request, "the body is not UTF-8";
    /// The body is not one JSON text.
    JsonSyntax: "json_syntax", Request, 400, Some(-32700), Nothing, Request, "the body is not one JSON text";
    /// A member name occurs twice in one object.
    DuplicateKey: "duplicate_key", Request, 400, Some(-32600), Nothing, Request, "an object names a member twice";
    /// Nested too deep.
    TooDeep: "too_deep", Request, 400, Some(-32600), Nothing, Request, "the body is nested too deep";
    /// The body is an array of frames.
    Batch: "batch", Request, 400, Some(-32600), Nothing, Request, "batches are not accepted: send each message alone";
    /// More members than any message has: each costs the worker time.
    TooManyMembers: "too_many_members", Request, 400, Some(-32600), Nothing, Request, "the body has too many members";
    /// A member name that a lenient reader takes for another one: it folds to a protocol key but is not that key, or has a
    /// control character in it.
    FoldedKey: "folded_key", Request, 400, Some(-32600), Nothing, Request, "a member name could be read as another one";
    /// Not exactly one of request, notification or response.
    FrameShape: "frame_shape", Request, 400, Some(-32600), Nothing, Request, "the body is not one JSON-RPC request, notification or response";
    /// `id` is null, a fraction, too large or too long.
    FrameId: "frame_id", Request, 400, Some(-32600), Nothing, Request, "the id must be a string of at most 256 bytes or a whole number";
    /// A JSON-RPC response in revision 2026-07-28, or with headers that name an operation.
    ResponseNotAllowed: "response_not_allowed", Request, 400, Some(-32600), Nothing, Request, "a JSON-RPC response is not accepted here";
    /// The protocol version is not one this filter knows.
    ProtocolVersion: "protocol_version", Request, 400, Some(-32022), Nothing, Request, "this protocol version is not supported";
    /// The 2026-07-28 revision needs a header or `_meta` member that is missing.
    HeaderMissing: "header_missing", Request, 400, Some(-32020), Nothing, Request, "a header that this protocol version requires is missing";
    /// A mirrored header, or the version in `_meta`, disagrees with the body.
    HeaderMismatch: "header_mismatch", Request, 400, Some(-32020), Nothing, Request, "the headers and the body disagree";
    /// The session is of another caller or server, or its seal is spoilt (P35).
    SessionForeign: "session_foreign", Session, 404, Some(-32001), Nothing, Request, "the session is not known here";
    /// A method the policy gives no way to allow.
    UnknownMethod: "unknown_method", Request, 404, Some(-32601), Nothing, Request, "method not found";
    /// A parameter the decision needs is missing or has the wrong type.
    ParamsInvalid: "params_invalid", Request, 400, Some(-32602), Nothing, Request, "a required parameter is missing or malformed";

    // The policy.
    /// No rule matches.
    NoRule: "no_rule", Policy, 403, Some(40301), Nothing, Policy, "this operation is not allowed", told "not_allowed";
    /// The rule says `deny`.
    Denied: "denied", Policy, 403, Some(40301), Nothing, Policy, "this operation is not allowed", told "not_allowed";
    /// The name would match another rule for a server that ignores case.
    NameConfusable: "name_confusable", Policy, 403, Some(40301), Nothing, Policy, "this operation is not allowed", told "not_allowed";
    /// The rule makes a scope of the name that is called, and this one can stand in none (P3).
    NameNotScopable: "name_not_scopable", Policy, 403, Some(40301), Nothing, Policy, "this operation is not allowed", told "not_allowed";
    /// The tool is not what it was when it was pinned (P31).
    ToolChanged: "tool_changed", Policy, 403, Some(40301), Nothing, Pins, "this operation is not allowed", told "not_allowed";
    /// The tool has no pin, and the server says `unpinned: hide` (P31).
    ToolUnpinned: "tool_unpinned", Policy, 403, Some(40301), Nothing, Pins, "this operation is not allowed", told "not_allowed";
    /// `callers` of server, tier or rule says no, or cannot be known.
    CallerNotAllowed: "caller_not_allowed", Policy, 403, Some(40301), Nothing, Policy, "this operation is not allowed", told "not_allowed";
    /// `act` of server, tier or rule does not allow who acts for the caller, or that nobody does (P32).
    ActorNotAllowed: "actor_not_allowed", Policy, 403, Some(40301), Nothing, Policy, "this operation is not allowed", told "not_allowed";
    /// A held scope is missing and the caller can obtain it.
    ScopeMissing: "scope_missing", Policy, 403, Some(40300), Scopes, Policy, "this operation needs more scope";
    /// A held scope is missing and the rule says `step_up: none`.
    ScopeNotObtainable: "scope_not_obtainable", Policy, 403, Some(40301), Nothing, Policy, "this operation is not allowed", told "not_allowed";
    /// `exp - iat` is more than the rule accepts.
    TokenTooLongLivedForRule: "token_too_long_lived_for_rule", Policy, 403, Some(40303), Nothing, Policy, "this operation needs a token with a shorter life";
    /// The login is older than the rule's `max_age`, or its time unknown.
    LoginTooOld: "login_too_old", Policy, 403, Some(40102), Reauthentication, Policy, "this operation needs a fresh login";
    /// The login was not of a kind in the rule's `acr`, or its kind is unknown.
    LoginTooWeak: "login_too_weak", Policy, 403, Some(40102), Reauthentication, Policy, "this operation needs a stronger login";

    // The elevation.
    /// The call was permitted with a token obtained for it.
    Elevated: "elevated", Done, 500, Some(50001), Nothing, Nobody, "internal error";
    /// The token is one that was issued to this filter.
    OwnTokenPresented: "own_token_presented", Token, 401, Some(40101), InvalidToken, AnotherToken, "the access token is not a caller token";
    /// The caller's issuer is not one whose tokens go to the token service.
    IssuerNotExchangeable: "issuer_not_exchangeable", Policy, 403, Some(40301), Nothing, Policy, "this operation is not allowed", told "not_allowed";
    /// `may_elevate`, or the token's `may_act`, says no, or cannot be known.
    NotEligible: "not_eligible", Policy, 403, Some(40301), Nothing, Policy, "this operation is not allowed", told "not_allowed";
    /// The caller's own token already has a scope that is to be obtained for one call only.
    StandingPrivilege: "standing_privilege", Policy, 403, Some(40303), Nothing, Policy, "this operation needs a token without that standing privilege";
    /// The call is to go on as a task after its answer, and a token is for the call only.
    TaskNotElevated: "task_not_elevated", TokenService, 403, Some(40302), Nothing, Policy, "this operation cannot be a task: call it without `task`";
    /// It would have to be elevated, and a stream outlives the token (P20).
    NotElevatable: "not_elevatable", TokenService, 403, Some(40302), Nothing, Policy, "this cannot be listened to with a token for one operation";
    /// `notifications/cancelled` named it while its token was being obtained (P30).
    Cancelled: "cancelled", Request, 400, Some(-32600), Nothing, Request, "the client has cancelled this request";
    /// Too many exchanges: in this VM, or for this caller.
    ElevationRate: "elevation_rate", TokenService, 503, Some(50300), Nothing, TokenService, "no token could be obtained for this operation", told "elevation_unavailable";
    /// The token service said no.
    ElevationRefused: "elevation_refused", TokenService, 403, Some(40302), Nothing, TokenServiceOrUser, "the token service refused this operation";
    /// The token service wants the user.
    ElevationNeedsUser: "elevation_needs_user", TokenService, 403, Some(40302), Fallback, TokenServiceOrUser, "the token service wants the user for this operation";
    /// The token service says that the caller's token is dead.
    SubjectTokenRejected: "subject_token_rejected", TokenService, 401, Some(40101), InvalidToken, AnotherToken, "the access token is no longer accepted by its issuer";
    /// The token service does not accept this filter.
    FilterNotAccepted: "filter_not_accepted", TokenService, 503, Some(50301), Nothing, Filter, "the token service does not accept this proxy";
    /// The token service did not answer, or not with sense.
    ElevationUnavailable: "elevation_unavailable", TokenService, 503, Some(50300), Nothing, TokenService, "no token could be obtained for this operation";
    /// What it returned is no JWT.
    ElevatedTokenMalformed: "elevated_token_malformed", TokenService, 503, Some(50300), Nothing, TokenService, "no token could be obtained for this operation", told "elevation_unavailable";
    /// It returned another type of token.
    ElevatedTokenType: "elevated_token_type", TokenService, 503, Some(50300), Nothing, TokenService, "no token could be obtained for this operation", told "elevation_unavailable";
    /// Its signature does not verify.
    ElevatedSignature: "elevated_signature", TokenService, 503, Some(50300), Nothing, TokenService, "no token could be obtained for this operation", told "elevation_unavailable";
    /// It was issued by somebody else.
    ElevatedIssuer: "elevated_issuer", TokenService, 503, Some(50300), Nothing, TokenService, "no token could be obtained for this operation", told "elevation_unavailable";
    /// It is for another audience, or for several.
    ElevatedAudience: "elevated_audience", TokenService, 503, Some(50300), Nothing, Settings, "no token could be obtained for this operation", told "elevation_unavailable";
    /// It lives longer than the rule's `ttl`: shorten it at the token service.
    ElevatedLifetime: "elevated_lifetime", TokenService, 503, Some(50300), Nothing, Lifespan, "no token could be obtained for this operation", told "elevation_unavailable";
    /// It is about another subject.
    ElevatedSubject: "elevated_subject", TokenService, 503, Some(50300), Nothing, TokenService, "no token could be obtained for this operation", told "elevation_unavailable";
    /// It was issued to another client, or is the caller's own.
    ElevatedTokenNotOurs: "elevated_token_not_ours", TokenService, 503, Some(50300), Nothing, TokenService, "no token could be obtained for this operation", told "elevation_unavailable";
    /// A refresh token came with it.
    ElevatedWithRefreshToken: "elevated_with_refresh_token", TokenService, 503, Some(50300), Nothing, TokenService, "no token could be obtained for this operation", told "elevation_unavailable";
    /// It carries scopes nobody asked for.
    GrantedTooWide: "granted_too_wide", TokenService, 503, Some(50300), Nothing, Settings, "no token could be obtained for this operation", told "elevation_unavailable";
    /// It lacks a scope that was asked for.
    GrantedTooNarrow: "granted_too_narrow", TokenService, 503, Some(50300), Nothing, TokenService, "no token could be obtained for this operation", told "elevation_unavailable";
    /// The upstream answered 401 to the elevated token.
    UpstreamRefusedToken: "upstream_refused_token", TokenService, 502, Some(50200), Nothing, Server, "the server did not accept the token for this operation";
    /// A list could not be read, or is longer than is read (P16).
    ListUnreadable: "list_unreadable", PolicyKept, 502, Some(50201), Nothing, List, "the list that the server sent cannot be read";
    /// Shadow mode cannot forward the caller's token to the audience of this rule.
    ShadowCannotExchange: "shadow_cannot_exchange", PolicyKept, 403, Some(40301), Nothing, Shadow, "this operation is not allowed", told "not_allowed";

    // Ourselves.
    /// An input that fits no state: a bug here or in the host.
    Internal: "internal", Ours, 500, Some(50001), Nothing, Proxy, "internal error";
}
