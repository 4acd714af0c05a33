//! Pages of other origins, as their browser asks for them.

use anyhow::{Result, ensure};
use host_test::stack::{Answer, EnvoyStack, Options, Request, Server, Stack as _, send};
use libtest_mimic::Trial;

use crate::support::{call, expect};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("neighbours::cors_answers_for_the_origin_that_is_named", named),
        trial("neighbours::cors_says_nothing_to_other_origins", others),
        trial("neighbours::options_never_reaches_a_tool", options),
    ]
}

/// Any port: nobody listens there.
const PAGE: u16 = 18999;

/// What MCP clients send beyond what every page may.
const HEADERS: &str =
    "authorization,content-type,last-event-id,mcp-method,mcp-name,mcp-protocol-version,mcp-session-id";

fn stack() -> Result<(EnvoyStack, String)> {
    let stack = EnvoyStack::start(&Options { page: Some(PAGE), ..Options::default() })?;
    Ok((stack, format!("http://127.0.0.1:{PAGE}")))
}

fn metadata(stack: &EnvoyStack, server: Server) -> String {
    format!("http://127.0.0.1:{}/.well-known/oauth-protected-resource{}", stack.port(), server.path())
}

/// The words of a header, in lower case.
fn words(answer: &Answer, name: &str) -> Vec<String> {
    let value = answer.header(name).unwrap_or_default();
    value.split(',').map(|word| word.trim().to_ascii_lowercase()).collect()
}

fn ensure_readable(answer: &Answer, origin: &str) -> Result<()> {
    ensure!(answer.header("access-control-allow-origin") == Some(origin), "{answer:?}");
    let exposed = words(answer, "access-control-expose-headers");
    for name in ["www-authenticate", "mcp-session-id", "mcp-protocol-version", "retry-after"] {
        ensure!(exposed.iter().any(|word| word == name), "{name} is not exposed: {answer:?}");
    }
    Ok(())
}

fn named() -> Result<()> {
    let (stack, origin) = stack()?;
    for server in [Server::Everything, Server::Notes] {
        for (url, method) in [
            (stack.url(server), "POST"),
            (stack.url(server), "GET"),
            (stack.url(server), "DELETE"),
            (metadata(&stack, server), "GET"),
        ] {
            let answer = send(&Request::preflight(&url, &origin, method, HEADERS))?;
            ensure!(answer.status == 200, "{url}: {answer:?}");
            ensure!(answer.header("access-control-allow-origin") == Some(&origin), "{answer:?}");
            ensure!(words(&answer, "access-control-allow-methods").contains(&method.to_lowercase()), "{answer:?}");
            let allowed = words(&answer, "access-control-allow-headers");
            ensure!(HEADERS.split(',').all(|name| allowed.iter().any(|word| word == name)), "{answer:?}");
        }
    }
    let (server, weak) = (Server::Notes, stack.token(Server::Notes, "mcp:connect")?);
    let from_page = |request: Request| request.with("origin", &origin);
    for (request, status, reason) in [
        (Request::get(metadata(&stack, server)), 200, ""),
        (Request::post(stack.url(server), "{}"), 401, "token_missing"),
        (call(&stack, server, &weak, "get-env"), 403, "scope_missing"),
        (call(&stack, server, &weak, "delete_record"), 403, "not_allowed"),
        (call(&stack, server, &weak, "echo"), 200, ""),
    ] {
        ensure_readable(&expect(&from_page(request), status, reason)?, &origin)?;
    }
    Ok(())
}

fn others() -> Result<()> {
    let (stack, _) = stack()?;
    let weak = stack.token(Server::Notes, "mcp:connect")?;
    for origin in ["http://127.0.0.1:18998", "https://app.example.com", "null"] {
        let preflight = Request::preflight(stack.url(Server::Notes), origin, "POST", HEADERS);
        let answers = [
            expect(&preflight, 405, "method_not_allowed")?,
            send(&Request::get(metadata(&stack, Server::Notes)).with("origin", origin))?,
            expect(&call(&stack, Server::Notes, &weak, "echo").with("origin", origin), 403, "origin_not_allowed")?,
        ];
        for answer in answers {
            let leaked = answer.headers.iter().find(|(name, _)| name.starts_with("access-control-"));
            ensure!(leaked.is_none(), "{origin}: {answer:?}");
        }
    }
    ensure!(stack.upstream_requests(Server::Notes)? == 0);
    Ok(())
}

/// With and without what makes it a preflight, with a token and a call in it.
fn options() -> Result<()> {
    let (stack, origin) = stack()?;
    let strong = stack.token(Server::Notes, "mcp:connect tools:write tools:admin")?;
    for server in [Server::Everything, Server::Notes] {
        for other in [&origin, "http://127.0.0.1:18998"] {
            let call = call(&stack, server, &strong, "echo");
            let options = Request { method: "OPTIONS", ..call };
            for request in [
                options.clone(),
                options.clone().with("origin", other),
                options.clone().with("access-control-request-method", "POST"),
                options.with("origin", other).with("access-control-request-method", "POST"),
            ] {
                let answer = send(&request)?;
                ensure!([200, 405].contains(&answer.status), "{request:?}: {answer:?}");
                ensure!(answer.body.is_empty() || answer.status == 405, "{request:?}: {answer:?}");
            }
        }
        ensure!(stack.upstream_requests(server)? == 0, "OPTIONS reached {server:?}");
    }
    Ok(())
}
