//! What mends a surprise: a word of the policy, or a setting of the provider's.

use serde_json::Value;

/// For a decision. `said` is what the token service said, `answer` the answer with a token that was not taken.
pub(super) fn of_reason(reason: &str, said: Option<&str>, answer: &Value) -> Option<String> {
    let scope = answer.get("scope").and_then(Value::as_str).unwrap_or_default();
    let text = match reason {
        "granted_too_wide" => {
            return Some(format!(
                "it adds scopes unasked (got: {scope}): take them from the default scopes of the filter's client, or name them in `also_granted`"
            ));
        }
        "granted_too_narrow" => {
            return Some(format!(
                "it gave less than was asked for (got: {scope}): the filter's client or the user may not have the rest"
            ));
        }
        "elevation_refused" | "filter_not_accepted" | "subject_token_rejected" => {
            let said = said.unwrap_or_default();
            let of_words = WORDS.iter().find(|(of, words, _)| *of == reason && said.contains(words));
            of_words.map(|(.., text)| *text)?
        }
        _ => TABLE.iter().find(|(name, _)| *name == reason).map(|(_, text)| *text)?,
    };
    Some(text.to_owned())
}

/// What token services say; the first that fits counts. The long ones are Keycloak's.
#[rustfmt::skip]
const WORDS: &[(&str, &str, &str)] = &[
    ("elevation_refused", "not within the token audience", "Keycloak: the filter's client must be in `aud` of callers' tokens: an audience mapper in a scope that they all have; or let the filter be the resource's own client"),
    ("elevation_refused", "Requested audience not available", "Keycloak: a scope that is asked for must bring this audience: an audience mapper in it"),
    ("elevation_refused", "exchange is not enabled", "Keycloak: switch on Standard token exchange at the filter's client, which must be a confidential one"),
    ("elevation_refused", "Missing consents", "Keycloak: switch off Consent required at the filter's client: there is nobody to ask during an exchange"),
    ("elevation_refused", "Audience not found", "Keycloak: `audience` of the rule, or `resource`, must be the id of a client there, to the letter: a slash more is another one"),
    ("elevation_refused", "Client disabled", "Keycloak: the client that has the audience's name is switched off"),
    ("elevation_refused", "public key", "Keycloak: the filter's client has no key that fits `private_key_env`: give it the public one, with `use: sig`"),
    ("elevation_refused", "Sender-constrained", "Keycloak: a token that is bound to its client's key cannot be exchanged by another one: callers must ask for plain bearer tokens"),
    ("elevation_refused", "Invalid token", "Keycloak: the caller's token is dead there: expired, revoked, its user logged out, or its key disabled. Take a fresh one"),
    ("elevation_refused", "invalid_scope", "the filter's client must be allowed to obtain the scopes of the rule; at Keycloak as optional client scopes"),
    ("elevation_refused", "invalid_target", "`audience` of the rule must be one that the token service knows; `request: { target: audience }` sends it as a name"),
    ("elevation_refused", "unauthorized_client", "the filter's client may not use the token exchange grant: allow it there"),
    ("elevation_refused", "unsupported_grant_type", "it knows no token exchange (RFC 8693), or wants it switched on; `request: { grant: on-behalf-of }` is for Entra ID"),
    ("elevation_refused", "access_denied", "the token service does not let this caller, or this filter, have it"),
    ("elevation_refused", "", "the token service's own log says more than it told"),
    ("filter_not_accepted", "", "the filter's own client: its id, its credential (`--credential`), and that it may use the token exchange grant"),
    ("subject_token_rejected", "", "the token service does not take this token any more: it was revoked, or its user has logged out"),
];

const NAME: &str = "name a tool that the policy has a rule for, and does not deny";
const KEYS: &str = "`jwks` of the issuer must have the key that signed the token, and be reachable from here; `--cluster` says where a cluster is";
const BOUND: &str = "the token is bound to a key or certificate of its client (`cnf`), which is not seen here: take a plain bearer token; at Keycloak switch off DPoP and mTLS binding at the caller's client";
const RELAXED: &str = "the token must be a JWT access token (RFC 9068). What this provider writes otherwise has a word: `token_type` and `claims` at its issuer, `audiences` at the server";

/// For the others.
#[rustfmt::skip]
const TABLE: &[(&str, &str)] = &[
    ("permitted", "nothing was exchanged: the rule of this tool asks for nothing beyond the token. Name a tool with `step_up: exchange`"),
    ("scope_missing", "the token lacks a scope of the baseline, or the rule of this tool is challenged. Log in with that scope, or name a tool with `step_up: exchange`"),
    ("scope_not_obtainable", "the rule of this tool says `step_up: none`. Name a tool with `step_up: exchange`"),
    ("no_rule", NAME),
    ("denied", NAME),
    ("name_confusable", NAME),
    ("name_not_scopable", NAME),
    ("params_invalid", "the tool's rule looks at arguments, and this call has none: name another tool"),
    ("caller_not_allowed", "`callers`, on the server, the tier or the rule, must be true of this token"),
    ("actor_not_allowed", "`act`, on the server, the tier or the rule, must fit who acts in this token (its claim `act`)"),
    ("not_eligible", "`may_elevate` of the rule must be true of this token: its client (`client_id`, else `azp`) or a claim"),
    ("standing_privilege", "this token has already what is to be had for one call only: take one with less"),
    ("issuer_not_exchangeable", "`subject_issuers` of the token service must name the issuer of this token"),
    ("own_token_presented", "this is a token of the filter's own client: take one of a caller"),
    ("login_too_old", "`auth_time` of the token is too old or missing: log in anew (`max_age`, `prompt=login`), by authorization code"),
    ("login_too_weak", "`acr` of the token is not one that the rule takes: log in with more factors"),
    ("token_missing", "the file or variable with the token is empty"),
    ("scheme_not_bearer", "the file or variable must have the token alone"),
    ("token_malformed", RELAXED),
    ("token_type", "the token says another `typ` than `at+jwt` (RFC 9068): `token_type: jwt` at the issuer takes what Keycloak and others write; or switch on RFC 9068 headers there"),
    ("algorithm_not_allowed", "`algorithms` of the issuer must have the one that signed this token (Keycloak: RS256 unless set otherwise). A refresh token, or another that is no access token, is not meant"),
    ("critical_header", RELAXED),
    ("key_in_header", RELAXED),
    ("claim_missing", "the token lacks `sub`, `aud`, `exp`, `iat` or its client: Keycloak writes `sub` by the scope `basic`, and not in lightweight tokens; with `token_type: at+jwt` also `client_id`: a mapper, or `claims: { client: [client_id, azp] }` at the issuer"),
    ("claim_malformed", RELAXED),
    ("not_an_access_token", "this is an ID token or another one: take the access token of the same login"),
    ("issuer_unknown", "`issuers` must have the `iss` of this token, to the letter, and the server must take it"),
    ("key_unknown", KEYS),
    ("signature_invalid", KEYS),
    ("keys_unavailable", KEYS),
    ("keys_stale", KEYS),
    ("token_expired", "take a fresh token"),
    ("token_not_yet_valid", "the clocks of this machine and of the issuer differ: `leeway`"),
    ("audience_mismatch", "the token must be for `resource`, or for one of `audiences` of the server. Keycloak: an audience mapper for it in a scope that callers have, such as one of the baseline"),
    ("token_bound", BOUND),
    ("token_not_bound", BOUND),
    ("binding_mismatch", BOUND),
    ("token_inactive", "its issuer says that it is dead; take a fresh token, and see that who introspects may: at Keycloak a client that `aud` names"),
    ("introspection_unavailable", "`introspection` of the issuer must be reachable from here, and take its credential; `--cluster` says where a cluster is"),
    ("token_too_long_lived", "callers' tokens live longer than `max_lifetime` of the issuer: shorten them there"),
    ("token_too_long_lived_for_rule", "callers' tokens live longer than `max_lifetime` of the rule"),
    ("elevation_needs_user", "the user has to agree or to log in again: `fallback: challenge` on the rule lets clients ask for it"),
    ("elevation_unavailable", "the token endpoint must be reachable from here and answer within `timeout`; `--cluster` says where a cluster is"),
    ("elevation_rate", "`limits.exchange_rate`"),
    ("elevated_audience", "the token is for another audience. `request: { target: audience }` asks by name, where `resource` is ignored (Keycloak); or `audience` of the rule, `audience_aliases`, `also_audience`. Keycloak: an audience mapper in the scope, and full scope off at the filter's client"),
    ("elevated_lifetime", "the lifespan of access tokens that the filter's client gets is to be at most `ttl` of the rule (Keycloak: Access token lifespan of that client)"),
    ("elevated_subject", "the token names another subject: `sub` must stay the caller's"),
    ("elevated_issuer", "`token_service.issuer` must be the `iss` of what it gives"),
    ("elevated_signature", "`algorithms` of the issuer must have the one it signs with (Keycloak: that of the filter's client), and `jwks` the key"),
    ("elevated_token_type", "the answer must say `token_type: Bearer` and `issued_token_type`; `issued_token_type: assumed` does without the second"),
    ("elevated_token_not_ours", "the token must be a new one for the filter's client: `client.id` as the provider names it"),
    ("elevated_with_refresh_token", "the filter's client must get no refresh tokens: switch them off there"),
    ("elevated_token_malformed", "what it gives must be a JWT access token (RFC 9068), with `sub`, `aud`, `exp` and `iat`"),
    ("shadow_cannot_exchange", "the policy is in shadow mode, where nothing is exchanged: try it with `mode: enforce`"),
];

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

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use step_up_core::{Class, Reason};

    use super::of_reason;

    /// Of what the caller's token, the policy or the token service can be the cause of. The call itself is ours, and is in order.
    #[test]
    fn whatever_surprises_has_a_mend() {
        const CANNOT_BE: [&str; 8] = [
            // The call asks for nothing that begins a task or a stream, is the first, and goes to a server that lists nothing.
            "task_not_elevated",
            "not_elevatable",
            "tool_changed",
            "tool_unpinned",
            "list_unreadable",
            // The server behind refuses nothing, the token is the first one that is checked, and is short enough for a header.
            "upstream_refused_token",
            "signature_rate",
            "token_too_large",
        ];
        for reason in Reason::ALL {
            let concerned =
                matches!(reason.class(), Class::Token | Class::Policy | Class::PolicyKept | Class::TokenService)
                    && !CANNOT_BE.contains(&reason.name());
            let mend = of_reason(reason.name(), Some(""), &Value::Null);
            assert!(mend.is_some() || !concerned, "{} has none", reason.name());
        }
    }
}
