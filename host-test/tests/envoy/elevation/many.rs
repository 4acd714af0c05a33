//! Many callers at once, and some that leave.

use super::*;

pub(super) const CALLS: usize = 500;
pub(super) const SUBJECTS: usize = 20;
pub(super) const AT_ONCE: usize = 16;

/// When a client goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    Never,
    BeforeTheEndOfItsRequest,
    DuringTheExchange,
    DuringTheAnswer,
}

pub(super) fn many_callers() -> Result<()> {
    let stack = stack()?;
    let proxy = stack.fault_proxy()?;
    let clients = (0..SUBJECTS).map(|_| Client::register(&stack)).collect::<Result<Vec<_>>>()?;
    admit(&stack, &clients)?;
    let tokens = clients.iter().map(|client| client.token(&stack)).collect::<Result<Vec<_>>>()?;
    let sessions = tokens.iter().map(|token| open_session(&stack, token)).collect::<Result<Vec<_>>>()?;
    // Long enough for a client to leave meanwhile.
    proxy.set(Endpoint::Token, Behaviour::late_answer(Duration::from_millis(30)));
    proxy.clear_books();

    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= CALLS {
                        return;
                    }
                    let subject = number % SUBJECTS;
                    let outcome = one_of_many(&stack, &tokens[subject], &sessions[subject], number);
                    outcomes.lock().unwrap().push((number, outcome));
                }
            });
        }
    });
    let outcomes = outcomes.into_inner()?;

    let (mut seen, mut left) = (BTreeSet::new(), 0);
    for (number, outcome) in &outcomes {
        let outcome = outcome.as_ref().map_err(|error| anyhow::anyhow!("call {number}: {error:#}"))?;
        let Some(token) = outcome else {
            left += 1;
            continue;
        };
        let (before, after) = (claims(&tokens[number % SUBJECTS])?, claims(token)?);
        ensure!(after["act"]["client_id"] == FILTER, "call {number}: not an elevated token: {after:#}");
        ensure!(after["sub"] == before["sub"], "call {number}: the token of {} for {}", after["sub"], before["sub"]);
        ensure!(seen.insert(token.clone()), "call {number}: a token served twice");
    }
    ensure!(outcomes.len() == CALLS && left == 30, "{} calls, {left} left", outcomes.len());

    let books = settled(proxy)?;
    let text = prometheus(&stack)?;
    let late =
        text.lines().find_map(|line| line.strip_prefix(r#"stepup_exchanges_total{server="notes",outcome="late"} "#));
    println!(
        "{CALLS} calls, {left} of them left: {} minted, {} of them late, {} revoked, {} swallowed",
        books.minted.len(),
        late.unwrap_or("none"),
        books.revoked().len(),
        books.swallowed.len()
    );
    ensure!(books.swallowed.is_empty(), "{} swallowed", books.swallowed.len());
    let (minted, revoked) = (all(&books.minted), books.revoked());
    ensure!(minted == revoked, "{} minted, {} revoked", minted.len(), revoked.len());
    ensure!(minted.len() > CALLS - left, "nobody left after the token was asked for: {} minted", minted.len());
    ensure!(late.is_some(), "nobody left while the token was being minted");
    for token in &books.minted {
        ensure!(!stack.is_active(token)?, "still alive");
    }
    for token in &tokens {
        ensure!(stack.is_active(token)?, "a caller's token was revoked");
    }
    // Streams that are stuck would show.
    wait_for("all streams to end", || Ok(stack.stat("http.mcp.downstream_rq_active")? == 0))
}

/// The token that was shown; `None` for a client that left. Half of the calls, and of those that leave, are made in a
/// 2025-11-25 session, where the answer is an event stream; the others by 2026-07-28, where it is JSON.
pub(super) fn one_of_many(stack: &EnvoyStack, token: &str, session: &str, number: usize) -> Result<Option<String>> {
    let leaves = match number % 50 {
        7 => Leaves::BeforeTheEndOfItsRequest,
        23 => Leaves::DuringTheExchange,
        41 => Leaves::DuringTheAnswer,
        _ => Leaves::Never,
    };
    let wait = number.is_multiple_of(3) || leaves == Leaves::DuringTheAnswer;
    let seconds = if leaves == Leaves::DuringTheAnswer { 2.0 } else { 0.2 };
    let tool = if wait { "wait" } else { "show-token" };
    let request = if (number + number / 50).is_multiple_of(2) {
        elevated_call(stack, token, tool, seconds)
    } else {
        legacy_call(stack, token, session, number, tool, seconds)
    };
    if leaves == Leaves::Never {
        return shown(&expect(&request, 200, "")?).map(Some);
    }
    leave(stack, &request, leaves, number)?;
    Ok(None)
}

pub(super) fn open_session(stack: &EnvoyStack, token: &str) -> Result<String> {
    let client = json!({ "name": "t", "version": "0" });
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client });
    let initialize = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params });
    let url = stack.url(Server::Notes);
    let answer = expect(&Request::post(&url, initialize).bearer(token), 200, "")?;
    let session = answer.header("mcp-session-id").context("no session")?.to_owned();
    let initialized = Request::post(&url, json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    expect(&in_session(initialized, token, &session), 202, "")?;
    Ok(session)
}

pub(super) fn legacy_call(
    stack: &EnvoyStack,
    token: &str,
    session: &str,
    id: usize,
    tool: &str,
    seconds: f64,
) -> Request {
    let arguments = if tool == "wait" { json!({ "seconds": seconds }) } else { json!({}) };
    let params = json!({ "name": tool, "arguments": arguments, "_meta": { "progressToken": id } });
    let call = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
    in_session(Request::post(stack.url(Server::Notes), call), token, session)
}

pub(super) fn in_session(request: Request, token: &str, session: &str) -> Request {
    request.bearer(token).with("mcp-session-id", session).with("mcp-protocol-version", "2025-11-25")
}

/// Sends a request, or the most of it, and goes away.
fn leave(stack: &EnvoyStack, request: &Request, leaves: Leaves, number: usize) -> Result<()> {
    let body = request.body.as_deref().unwrap_or_default();
    let path = Server::Notes.path();
    let mut text = format!("POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\n", stack.port());
    text += "content-type: application/json\r\naccept: application/json, text/event-stream\r\n";
    for (name, value) in &request.headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += &format!("content-length: {}\r\n\r\n{body}", body.len());
    // Spread over the moments that there are.
    let spread = u64::try_from(number * 7919 % 97)?;
    let (bytes, stay) = match leaves {
        Leaves::BeforeTheEndOfItsRequest => (text.len() - 1 - number % body.len(), spread / 5),
        Leaves::DuringTheExchange | Leaves::Never => (text.len(), spread / 2),
        Leaves::DuringTheAnswer => (text.len(), 200 + spread * 10),
    };
    let mut stream = TcpStream::connect(("127.0.0.1", stack.port()))?;
    stream.write_all(text.as_bytes().get(..bytes).unwrap_or_default())?;
    sleep(Duration::from_millis(stay));
    stream.shutdown(Shutdown::Both)?;
    Ok(())
}
