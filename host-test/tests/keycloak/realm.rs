//! The realm of a trial: an MCP server, filters, callers, and two users. Each has its own, with fresh keys and sessions.

use host_test::signing::Key;
use serde_json::{Value, json};

use super::policy::GIT;

/// An audience whose client is switched off.
pub const OLD: &str = "https://old.example.test/mcp";
/// The secret of everybody who has one.
pub const SECRET: &str = "a-secret";
/// The users; each one's password is its name.
pub const USERS: [&str; 2] = ["alice", "bob"];

/// A representation to be created, for the MCP server of that URL.
pub fn realm(name: &str, mcp: &str) -> Value {
    let clients = [servers(mcp), filters(), callers()].concat();
    json!({
        "realm": name, "enabled": true, "sslRequired": "none", "defaultSignatureAlgorithm": "ES256",
        "eventsEnabled": true, "eventsExpiration": 3600,
        "components": { "org.keycloak.keys.KeyProvider": keys() },
        "clientScopes": scopes(mcp),
        "defaultDefaultClientScopes": ["basic", "acr", "mcp:connect"],
        "defaultOptionalClientScopes": ["profile", "email", "repo:read", "repo:write"],
        "clients": clients,
        "users": USERS.map(user),
    })
}

/// What signs and encrypts. HS512 is for refresh tokens, AES for Keycloak's own purposes.
fn keys() -> Value {
    let key =
        |name: &str, provider: &str, config: Value| json!({ "name": name, "providerId": provider, "config": config });
    json!([
        key("es256", "ecdsa-generated", ecdsa(200)),
        key("rs256", "rsa-generated", json!({ "priority": ["150"], "algorithm": ["RS256"], "keySize": ["2048"] })),
        key("enc", "rsa-enc-generated", json!({ "priority": ["100"], "algorithm": ["RSA-OAEP"] })),
        key("hs512", "hmac-generated", json!({ "priority": ["100"], "algorithm": ["HS512"] })),
        key("aes", "aes-generated", json!({ "priority": ["100"] })),
    ])
}

/// The configuration of an ES256 key. The highest priority signs.
pub fn ecdsa(priority: u32) -> Value {
    json!({
        "priority": [priority.to_string()], "enabled": ["true"], "active": ["true"], "ecdsaEllipticCurveKey": ["P-256"],
    })
}

/// Naming some leaves out all of Keycloak's own, so `basic` and `acr` are here too.
fn scopes(mcp: &str) -> Value {
    let audiences = |clients: &[&str]| Value::from_iter(clients.iter().map(|client| audience(client)));
    json!([
        scope(
            "basic",
            false,
            json!([
                mapper("sub", "oidc-sub-mapper", json!({})),
                mapper(
                    "auth_time",
                    "oidc-usersessionmodel-note-mapper",
                    json!({
                        "user.session.note": "AUTH_TIME", "claim.name": "auth_time", "jsonType.label": "long",
                    })
                ),
            ])
        ),
        scope("acr", false, json!([mapper("acr", "oidc-acr-mapper", json!({}))])),
        scope("profile", true, json!([attribute("username", "preferred_username")])),
        scope("email", true, json!([attribute("email", "email")])),
        // Who is not in a token's audience can neither exchange nor introspect it. `step-up-filter-unnamed` is not.
        scope(
            "mcp:connect",
            true,
            audiences(&[
                mcp,
                "step-up-filter",
                "step-up-filter-default",
                "step-up-filter-consent",
                "step-up-filter-off",
                "step-up-filter-key",
                "step-up-filter-keyless",
            ])
        ),
        scope("repo:read", true, audiences(&[mcp])),
        scope("repo:write", true, audiences(&[mcp])),
        scope("repo:admin", true, audiences(&[mcp])),
        scope("git:admin", true, audiences(&[GIT])),
    ])
}

fn scope(name: &str, in_token: bool, mappers: Value) -> Value {
    json!({
        "name": name, "protocol": "openid-connect", "protocolMappers": mappers,
        "attributes": { "include.in.token.scope": in_token.to_string(), "display.on.consent.screen": "true" },
    })
}

fn mapper(name: &str, kind: &str, mut config: Value) -> Value {
    config["access.token.claim"] = json!("true");
    config["introspection.token.claim"] = json!("true");
    json!({ "name": name, "protocol": "openid-connect", "protocolMapper": kind, "config": config })
}

/// `audience=` of an exchange finds clients only; so everything that is an audience is one.
fn audience(client: &str) -> Value {
    let config = json!({ "included.client.audience": client, "lightweight.claim": "true" });
    mapper(&format!("audience {client}"), "oidc-audience-mapper", config)
}

fn attribute(name: &str, claim: &str) -> Value {
    let config =
        json!({ "user.attribute": name, "claim.name": claim, "jsonType.label": "String", "id.token.claim": "true" });
    mapper(name, "oidc-usermodel-attribute-mapper", config)
}

/// Keycloak writes `azp`; RFC 9068 wants `client_id`.
fn client_id(client: &str) -> Value {
    let config = json!({ "claim.name": "client_id", "claim.value": client, "jsonType.label": "String" });
    mapper("client_id", "oidc-hardcoded-claim-mapper", config)
}

/// A confidential client without any way to a token.
fn client(id: &str, default: &[&str], optional: &[&str], attributes: Value) -> Value {
    json!({
        "clientId": id, "secret": SECRET, "enabled": true, "protocol": "openid-connect", "publicClient": false,
        "standardFlowEnabled": false, "implicitFlowEnabled": false, "directAccessGrantsEnabled": false,
        "serviceAccountsEnabled": false, "fullScopeAllowed": false, "consentRequired": false,
        "defaultClientScopes": default, "optionalClientScopes": optional, "attributes": attributes, "protocolMappers": [],
    })
}

/// The same with these members.
fn with(mut client: Value, members: Value) -> Value {
    if let (Some(client), Value::Object(members)) = (client.as_object_mut(), members) {
        client.extend(members);
    }
    client
}

/// ES256 and the type of RFC 9068.
fn access_token(lifespan: u32) -> Value {
    json!({
        "access.token.signed.response.alg": "ES256", "access.token.header.type.rfc9068": "true",
        "access.token.lifespan": lifespan.to_string(),
    })
}

/// As we advise it: nothing but what was asked for, and less than the 60 s of the policy. Keycloak looks at its clock twice, for `iat`
/// and for `exp`: of 14,000 tokens that should have lived for 60 s, two lived for 61.
fn exchanges() -> Value {
    with(access_token(55), json!({ "standard.token.exchange.enabled": "true", "use.refresh.tokens": "false" }))
}

fn servers(mcp: &str) -> Vec<Value> {
    vec![
        client(mcp, &["basic"], &["repo:write", "repo:admin", "git:admin"], exchanges()),
        client(GIT, &[], &[], json!({})),
        with(client(OLD, &[], &[], json!({})), json!({ "enabled": false })),
    ]
}

fn filters() -> Vec<Value> {
    let mut public = Key::for_tests("ES256").map(|key| key.public()).unwrap_or_default();
    // Without it Keycloak does not see a key.
    public["use"] = json!("sig");
    let good = |id: &str| client(id, &["basic"], &["repo:write", "repo:admin", "git:admin"], exchanges());
    let clicked = json!({ "standard.token.exchange.enabled": "true", "access.token.signed.response.alg": "RS256" });
    vec![
        with(good("step-up-filter"), json!({ "protocolMappers": [client_id("step-up-filter")] })),
        // Clicked together by an administrator: five minutes, RS256, `profile` and `email` in everything.
        client("step-up-filter-default", &["basic", "acr", "profile", "email"], &["repo:admin", "git:admin"], clicked),
        good("step-up-filter-unnamed"),
        with(good("step-up-filter-consent"), json!({ "consentRequired": true })),
        client("step-up-filter-off", &["basic"], &["repo:admin"], access_token(60)),
        by_key("step-up-filter-key", &json!([public])),
        by_key("step-up-filter-keyless", &json!([])),
    ]
}

/// A filter that authenticates by `private_key_jwt`, and its keys.
fn by_key(id: &str, keys: &Value) -> Value {
    let jwks = json!({ "use.jwks.string": "true", "jwks.string": json!({ "keys": keys }).to_string() });
    let client = client(id, &["basic"], &["repo:admin"], with(exchanges(), jwks));
    with(client, json!({ "clientAuthenticatorType": "client-jwt" }))
}

fn callers() -> Vec<Value> {
    let direct = |id: &str, attributes: Value| {
        let client = client(id, &["basic", "mcp:connect"], &["repo:read"], attributes);
        with(client, json!({ "directAccessGrantsEnabled": true }))
    };
    let named = |client: Value, id: &str| with(client, json!({ "protocolMappers": [client_id(id)] }));
    let by_code = json!({ "standardFlowEnabled": true, "redirectUris": ["http://127.0.0.1/*"] });
    let light = with(access_token(600), json!({ "client.use.lightweight.access.token.enabled": "true" }));
    let bound = with(access_token(600), json!({ "dpop.bound.access.tokens": "true" }));
    let everything = ["basic", "acr", "profile", "email", "mcp:connect"];
    let default =
        client("agent-default", &everything, &["repo:read"], json!({ "access.token.signed.response.alg": "RS256" }));
    vec![
        with(named(direct("agent", access_token(600)), "agent"), by_code.clone()),
        direct("agent-azp", access_token(600)),
        with(with(default, by_code), json!({ "publicClient": true, "directAccessGrantsEnabled": true })),
        named(direct("agent-short", access_token(2)), "agent-short"),
        direct("agent-light", light),
        named(direct("agent-dpop", bound), "agent-dpop"),
        with(
            named(client("ci", &["basic", "mcp:connect"], &["repo:read"], access_token(600)), "ci"),
            json!({ "serviceAccountsEnabled": true }),
        ),
    ]
}

fn user(name: &str) -> Value {
    json!({
        "username": name, "enabled": true, "email": format!("{name}@example.test"), "emailVerified": true,
        "firstName": name, "lastName": "Test", "requiredActions": [],
        "credentials": [{ "type": "password", "value": name, "temporary": false }],
    })
}
