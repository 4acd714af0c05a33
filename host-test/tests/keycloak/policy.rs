//! The policy of the trials, and of the replay of what was recorded in them.

use serde_json::{Value, json};

/// A server behind the MCP server, the audience of one of its tools.
pub const GIT: &str = "https://git.internal.test/admin";

/// Keycloak as issuer and token service of an MCP server, and tools that take a token for one call.
pub fn policy(issuer: &str, mcp: &str, filter: &str) -> Value {
    let endpoint = |name: &str| format!("{issuer}/protocol/openid-connect/{name}");
    let exchanged = json!({ "tier": "danger", "scope": "repo:admin" });
    json!({
        "version": 1,
        "issuers": { issuer: {
            "jwks": { "cluster": "as-keys", "url": endpoint("certs") },
            "algorithms": ["ES256", "RS256"],
            "token_type": "jwt",
            "max_lifetime": "1h",
        } },
        "token_service": {
            "issuer": issuer,
            "cluster": "as-token",
            "token": endpoint("token"),
            "revoke": endpoint("revoke"),
            "client": { "id": filter, "auth": "cluster" },
            // It ignores `resource`.
            "request": { "target": "audience" },
        },
        "tiers": { "danger": { "step_up": "exchange", "ttl": "60s" } },
        "servers": { "notes": {
            "resource": mcp,
            "baseline": ["mcp:connect"],
            "tools": {
                "echo": { "scope": [] },
                "get-sum": { "scope": "repo:read" },
                "show-token": exchanged,
                "ask-issuer": exchanged,
                "wait": exchanged,
                "get-env": { "tier": "danger", "scope": "git:admin", "audience": GIT },
            },
        } },
    })
}

/// Put up with what Keycloak adds by default, and with its five minutes.
pub fn believe_defaults(policy: &mut Value) {
    policy["token_service"]["also_granted"] = json!(["profile", "email"]);
    policy["tiers"]["danger"]["ttl"] = json!("300s");
}
