//! Two servers in one document behind one Envoy.

use anyhow::{Result, ensure};
use host_test::stack::{Request, Server, Stack as _, send};
use libtest_mimic::Trial;

use crate::support::{call, expect, stack};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("servers::a_token_for_one_is_refused_at_the_other", foreign_tokens),
        trial("servers::the_same_tool_name_has_different_rules", different_rules),
        trial("servers::each_has_its_metadata_and_other_paths_are_404", metadata),
    ]
}

fn foreign_tokens() -> Result<()> {
    let stack = stack()?;
    for (own, other) in [(Server::Everything, Server::Notes), (Server::Notes, Server::Everything)] {
        let token = stack.token(own, "mcp:connect tools:write tools:admin")?;
        let answer = expect(&call(&stack, other, &token, "echo"), 401, "audience_mismatch")?;
        ensure!(answer.challenge("error") == Some("invalid_token"), "{answer:?}");
    }
    Ok(())
}

fn different_rules() -> Result<()> {
    let stack = stack()?;
    let notes = stack.token(Server::Notes, "mcp:connect")?;
    expect(&call(&stack, Server::Notes, &notes, "get-sum"), 200, "")?;
    let everything = stack.token(Server::Everything, "mcp:connect")?;
    let answer = expect(&call(&stack, Server::Everything, &everything, "get-sum"), 403, "scope_missing")?;
    ensure!(answer.challenge("scope") == Some("mcp:connect tools:write"), "{answer:?}");
    Ok(())
}

fn metadata() -> Result<()> {
    let stack = stack()?;
    let origin = format!("http://127.0.0.1:{}", stack.port());
    for server in [Server::Everything, Server::Notes] {
        let answer = send(&Request::get(format!("{origin}/.well-known/oauth-protected-resource{}", server.path())))?;
        let document = answer.message().unwrap_or_default();
        ensure!(answer.status == 200 && document["resource"] == stack.url(server), "{answer:?}");
        ensure!(document["authorization_servers"] == serde_json::json!([stack.issuer()]), "{answer:?}");
        ensure!(document["scopes_supported"] == serde_json::json!(["mcp:connect"]), "{answer:?}");
    }
    // P29: one path with `/mcp`, whose document it names.
    let answer = send(&Request::get(format!("{origin}/mcp/")))?;
    let named = answer.challenge("resource_metadata");
    let document = format!("{origin}/.well-known/oauth-protected-resource/mcp");
    ensure!(answer.status == 401 && named == Some(document.as_str()), "{answer:?}");
    for path in ["/", "/mcp/x", "/MCP", "/healthz", "/notes", "/.well-known/oauth-protected-resource"] {
        let answer = send(&Request::get(format!("{origin}{path}")))?;
        ensure!(answer.status == 404, "{path}: {answer:?}");
    }
    Ok(())
}
