//! What mends a surprise: a word of the policy, or a setting of the provider's.

use serde_json::Value;

/// For a decision. `said` is what the token service said, `answer` the answer with a token that was not taken.
pub(super) fn of_reason(reason: &str, said: Option<&str>, answer: &Value) -> Option<String> {
    let said = said.unwrap_or_default();
    let scope = answer.get("scope").and_then(Value::as_str).unwrap_or_default();
    let is = |text: &str| said.contains(text);
    Some(match reason {
        "permitted" => "nothing was exchanged: the rule of this tool asks for nothing beyond the token. Name a tool with `step_up: exchange`".into(),
        "scope_missing" => "the rule of this tool is challenged. Name a tool with `step_up: exchange`".into(),
        "no_rule" | "denied" | "name_confusable" => "name a tool that the policy has a rule for, and does not deny".into(),
        "not_eligible" => "`may_elevate` of the rule must be true of this token: its `client_id` or `azp`, or a claim".into(),
        "issuer_not_exchangeable" => "`subject_issuers` of the token service must name the issuer of this token".into(),
        "own_token_presented" => "this is a token of the filter's own client: take one of a caller".into(),
        "audience_mismatch" => "the token must be for `resource`, or for one of `audiences` of the server".into(),
        "issuer_unknown" => "`issuers` must have the `iss` of this token, to the letter".into(),
        "keys_unavailable" => "`jwks` of the issuer must be reachable from here; `--cluster` says where a cluster is".into(),
        "token_expired" => "take a fresh token".into(),
        "elevation_refused" if is("not within the token audience") => {
            "Keycloak: the filter's client must be in `aud` of callers' tokens: an audience mapper in a scope that they all have".into()
        }
        "elevation_refused" if is("Requested audience not available") => {
            "Keycloak: a scope that is asked for must bring this audience: an audience mapper in it".into()
        }
        "elevation_refused" if is("invalid_scope") => "the filter's client must be allowed to obtain the scopes of the rule; at Keycloak as optional client scopes".into(),
        "elevation_refused" if is("invalid_target") => "`audience` of the rule must be one that the token service knows; `request: { target: audience }` sends it as a name".into(),
        "elevation_refused" if is("access_denied") => "the token service does not let this caller, or this filter, have it".into(),
        "elevation_refused" => "the token service's own log says more than it told".into(),
        "elevation_needs_user" => "the user has to agree or to log in again: `fallback: challenge` on the rule lets clients ask for it".into(),
        "subject_token_rejected" => "the token service does not take this token any more: it was revoked, or its user has logged out".into(),
        "filter_not_accepted" if is("Audience not found") => {
            "Keycloak: `audience` must be the id of a client there; write `request: { target: audience }`, and make such a client".into()
        }
        "filter_not_accepted" => "the filter's own client: its id, its credential (`--credential`), and that it may use the token exchange grant".into(),
        "elevation_unavailable" => "the token endpoint must be reachable from here and answer within `timeout`; `--cluster` says where a cluster is".into(),
        "elevation_rate" => "`limits.exchange_rate`".into(),
        "elevated_audience" => "the token is for another audience: `audience` of the rule, `audience_aliases`, `also_audience`, or `request: { target: .. }`, which says how it is asked for".into(),
        "elevated_lifetime" => "the lifespan of access tokens that the filter's client gets is to be at most `ttl` of the rule".into(),
        "elevated_subject" => "the token names another subject: `sub` must stay the caller's".into(),
        "elevated_issuer" => "`token_service.issuer` must be the `iss` of what it gives".into(),
        "elevated_signature" => "`algorithms` of the issuer must have the one it signs with, and `jwks` the key".into(),
        "elevated_token_type" => "the answer must say `token_type: Bearer` and `issued_token_type`; `issued_token_type: assumed` does without the second".into(),
        "elevated_token_not_ours" => "the token must be a new one for the filter's client: `client.id` as the provider names it".into(),
        "elevated_with_refresh_token" => "the filter's client must get no refresh tokens: switch them off there".into(),
        "granted_too_wide" => format!("it adds scopes unasked (got: {scope}): take them from the filter's client, or name them in `also_granted`"),
        "granted_too_narrow" => format!("it gave less than was asked for (got: {scope}): the filter's client or the user may not have the rest"),
        "elevated_token_malformed" => "what it gives must be a JWT access token (RFC 9068), with `sub`, `aud`, `exp` and `iat`".into(),
        _ => return None,
    })
}

/// For the end of a token.
pub(super) fn of_end(end: &str) -> Option<String> {
    Some(match end {
        "unsupported" => "it cannot revoke such tokens: `exp` is the end. Keep `ttl` short, and write `revoke: none`".into(),
        "kept" => "the policy says `revoke: none`: `exp` is the end. Keep `ttl` short".into(),
        "refused" => "it does not let the filter revoke: at some providers only the client that a token was issued to may, with its own credential".into(),
        _ => "the revocation endpoint must be reachable from here; tokens live until their `exp` without it".into(),
    })
}

/// For tokens that nobody is told about.
pub(super) fn of_introspection() -> Option<String> {
    Some("who asks must be allowed to: at Keycloak a client that the token's `aud` names".into())
}
