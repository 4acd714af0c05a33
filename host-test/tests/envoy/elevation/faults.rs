//! What the token service can say wrong, and what comes of each.

use super::*;

/// P28: faults of settings, which waiting does not heal. The client is not told to come again.
const LASTING: [&str; 4] = ["filter_not_accepted", "elevated_audience", "elevated_lifetime", "granted_too_wide"];

/// A wrong answer, and what must become of the call.
pub(super) struct Fault {
    name: &'static str,
    tool: &'static str,
    behaviour: Behaviour,
    status: u16,
    code: i64,
    public: &'static str,
    reason: &'static str,
}

pub(super) fn fault(name: &'static str, reason: &'static str, behaviour: Behaviour) -> Fault {
    Fault { name, tool: "show-token", behaviour, status: 503, code: 50300, public: "elevation_unavailable", reason }
}

pub(super) fn refusal(name: &'static str, status: u16, code: i64, reason: &'static str, behaviour: Behaviour) -> Fault {
    Fault { name, tool: "show-token", behaviour, status, code, public: reason, reason }
}

pub(super) fn wrong_answers() -> Result<()> {
    let stack = stack()?;
    let caller = stack.token(Server::Notes, "mcp:connect")?;
    let other = Client::register(&stack)?.token(&stack)?;
    let set = |name: &'static str, value: Value| Behaviour::rewrite(move |json| json[name] = value.clone());
    let forged = |change: fn(&mut Value)| {
        Behaviour::rewrite(move |json| {
            let token = json["access_token"].as_str().and_then(|token| forge(token, change).ok());
            json["access_token"] = token.into();
        })
    };
    let nulls = json!({ "access_token": null, "issued_token_type": null, "token_type": null, "scope": null });
    let padded = "x".repeat(100 * 1024);
    let faults = [
        fault("nonsense", "elevation_unavailable", Behaviour::answer(200, "<html>It works!</html>")),
        fault("nothing", "elevation_unavailable", Behaviour::answer(200, "")),
        fault("an array", "elevation_unavailable", Behaviour::answer(200, "[]")),
        fault("nulls", "elevation_unavailable", Behaviour::answer(200, nulls)),
        fault("no JWT", "elevated_token_malformed", set("access_token", json!("opaque"))),
        fault("no token", "elevation_unavailable", set("access_token", json!(""))),
        fault("a number for a token", "elevation_unavailable", set("access_token", json!(7))),
        fault("another audience", "elevated_audience", Behaviour::ask("resource", stack.url(Server::Everything))),
        Fault {
            tool: "wait",
            ..fault("wider scope", "granted_too_wide", Behaviour::ask("scope", "tools:write tools:admin"))
        },
        fault("narrower scope", "granted_too_narrow", Behaviour::ask("scope", "tools:write")),
        fault("less scope in the answer than in the token", "granted_too_narrow", set("scope", json!("tools:write"))),
        fault("more of it", "granted_too_wide", set("scope", json!("tools:admin other"))),
        fault("another subject", "elevated_subject", Behaviour::ask("subject_token", other.clone())),
        fault("a foreign signature", "elevated_signature", forged(|_| {})),
        fault("a foreign issuer", "elevated_issuer", forged(|claims| claims["iss"] = json!("http://127.0.0.1:1"))),
        fault("another type", "elevated_token_type", set("token_type", json!("N_A"))),
        fault("a bound token", "elevated_token_type", set("token_type", json!("DPoP"))),
        fault("no type", "elevated_token_type", set("token_type", Value::Null)),
        fault(
            "issued as something else",
            "elevated_token_type",
            set("issued_token_type", json!("urn:ietf:params:oauth:token-type:id_token")),
        ),
        fault("not said as what", "elevated_token_type", set("issued_token_type", Value::Null)),
        fault("a refresh token", "elevated_with_refresh_token", set("refresh_token", json!("a-refresh-token"))),
        fault("the caller's own token", "elevated_token_not_ours", set("access_token", json!(caller.clone()))),
        fault("a stranger's token", "elevated_lifetime", set("access_token", json!(other.clone()))),
        fault("far too long", "elevation_unavailable", set("padding", json!(padded))),
    ];
    // The last one is a good token in an answer that is not read: it reached the filter all the same.
    table(&stack, &caller, &faults)?;
    // The other caller's token was returned as if it were elevated: it is not ours to revoke.
    ensure!(stack.is_active(&other)?, "the token of another caller was revoked");
    Ok(())
}

pub(super) fn refusals() -> Result<()> {
    // One worker: what it learns about a token, the others learn by asking, too.
    let stack = EnvoyStack::start(&Options { workers: 1, fault_proxy: true, ..Options::default() })?;
    let caller = stack.token(Server::Notes, "mcp:connect")?;
    let error = |status: u16, error: &str| Behaviour::answer(status, json!({ "error": error }));
    let unavailable = |name, behaviour| fault(name, "elevation_unavailable", behaviour);
    let refused = |name| refusal(name, 403, 40302, "elevation_refused", error(400, name));
    let user = |name| refusal(name, 403, 40302, "elevation_needs_user", error(400, name));
    let ours = |name| refusal(name, 503, 50301, "filter_not_accepted", error(400, name));
    let faults = [
        unavailable("closed without an answer", Behaviour::close()),
        unavailable("429", Behaviour::answer(429, "")),
        unavailable("500", Behaviour::answer(500, "")),
        unavailable("502 from a balancer", Behaviour::answer(502, "<html>Bad Gateway</html>")),
        unavailable("503", Behaviour::answer(503, "")),
        refused("access_denied"),
        refused("invalid_scope"),
        refused("invalid_target"),
        // P28: the word for a dead subject token, said where the target has worked before; not twice in a minute.
        refusal("invalid_request", 401, 40101, "subject_token_rejected", error(400, "invalid_request")),
        refused("invalid_request"),
        // P28: about the target. A 401 is about us.
        refused("invalid_client"),
        refused("something_unheard_of"),
        refusal("403 without words", 403, 40302, "elevation_refused", Behaviour::answer(403, "")),
        user("interaction_required"),
        user("consent_required"),
        user("insufficient_user_authentication"),
        ours("unauthorized_client"),
        ours("unsupported_grant_type"),
        refusal("401", 503, 50301, "filter_not_accepted", Behaviour::answer(401, "")),
        refusal("404", 503, 50301, "filter_not_accepted", Behaviour::answer(404, "")),
        refusal("302", 503, 50301, "filter_not_accepted", Behaviour::answer(302, "")),
        // A token under another status than 200 is none, but it was minted.
        Fault {
            name: "201 with a token",
            ..unavailable("", Behaviour::new(|asked| asked.forward().map(|answer| Answer { status: 201, ..answer })))
        },
    ];
    table(&stack, &caller, &faults)?;

    // A token that its issuer calls dead is refused from then on, whatever it is for; its owner's next one is not.
    let dead = stack.token(Server::Notes, "mcp:connect")?;
    let rejected = refusal("", 401, 40101, "subject_token_rejected", error(400, "invalid_grant"));
    stack.fault_proxy()?.set(Endpoint::Token, rejected.behaviour.clone());
    refusal_of(&stack, &dead, &rejected).context("invalid_grant")?;
    stack.fault_proxy()?.pass();
    refusal_of(&stack, &dead, &rejected).context("the next call with the same token")?;
    expect(&elevated_call(&stack, &caller, "show-token", 0.0), 200, "").context("another token")?;

    stack.fault_proxy()?.refuse_connections();
    let refused = refusal("", 503, 50300, "elevation_unavailable", Behaviour::pass());
    refusal_of(&stack, &caller, &refused).context("refused connection")?;
    stack.fault_proxy()?.listen()?;
    wait_for("the token service", || Ok(send(&elevated_call(&stack, &caller, "show-token", 0.0))?.status == 200))
}

/// Every fault, and then a list of those that did not end as they must.
pub(super) fn table(stack: &EnvoyStack, caller: &str, faults: &[Fault]) -> Result<()> {
    let mut failures = Vec::new();
    for fault in faults {
        if let Err(error) = met(stack, caller, fault) {
            failures.push(format!("{}: {error:#}", fault.name));
        }
    }
    ensure!(failures.is_empty(), "{} of {} faults:\n{}", failures.len(), faults.len(), failures.join("\n"));
    Ok(())
}

pub(super) fn met(stack: &EnvoyStack, caller: &str, fault: &Fault) -> Result<()> {
    let proxy = stack.fault_proxy()?;
    proxy.clear_books();
    proxy.set(Endpoint::Token, fault.behaviour.clone());
    let refused = refusal_of(stack, caller, fault);
    proxy.pass();
    refused?;
    taken_back(stack, caller)?;
    // Nothing of it sticks.
    expect(&elevated_call(stack, caller, "show-token", 0.0), 200, "").context("the next call")?;
    Ok(())
}

/// Status, code and names of a refusal, and that nothing reached the server.
pub(super) fn refusal_of(stack: &EnvoyStack, caller: &str, fault: &Fault) -> Result<()> {
    let before = stack.upstream_requests(Server::Notes)?;
    let answer = expect(&elevated_call(stack, caller, fault.tool, 0.0), fault.status, fault.public)?;
    let message = answer.message().context("no body")?;
    ensure!(message["error"]["code"] == fault.code, "{message:#}");
    let comes_again = fault.status == 503 && !LASTING.contains(&fault.reason);
    ensure!(answer.header("retry-after").is_some() == comes_again, "Retry-After: {answer:?}");
    let invalid = answer.challenge("error") == Some("invalid_token");
    ensure!(invalid == (fault.status == 401), "challenge: {answer:?}");
    let id = message["error"]["data"]["request_id"].as_str().context("no request_id")?.to_owned();
    let entry = stack.entry(|entry| entry["stepup"]["id"] == id.as_str())?;
    ensure!(entry["stepup"]["reason"] == fault.reason, "audit: {:#}", entry["stepup"]);
    let given = stack.fault_proxy()?.books().given;
    ensure!(!given.iter().any(|token| answer.body.contains(token)), "the client was shown the token");
    ensure!(stack.upstream_requests(Server::Notes)? == before, "something reached the server");
    Ok(())
}

/// What came back through the proxy is asked back, and no caller's token ever is.
pub(super) fn taken_back(stack: &EnvoyStack, caller: &str) -> Result<()> {
    let proxy = stack.fault_proxy()?;
    let is_callers = |token: &str| claims(token).is_ok_and(|claims| claims["act"]["client_id"] != FILTER);
    let books = proxy.books();
    let ours: Vec<String> = books.given.iter().filter(|token| !is_callers(token)).cloned().collect();
    let gone = wait_for("what was refused to be revoked", || Ok(all(&ours).is_subset(&proxy.books().revoked())));
    gone.with_context(|| {
        let statuses: Vec<_> = proxy.books().revocations.iter().map(|revocation| revocation.status).collect();
        format!("{} given, answers to revocations: {statuses:?}", ours.len())
    })?;
    sleep(Duration::from_millis(100));
    ensure!(!proxy.books().asked_back().contains(caller), "the caller's token was asked back");
    ensure!(stack.is_active(caller)?, "the caller's token was revoked");
    Ok(())
}

/// The policy names the audience of another server, and the server looks.
pub(super) fn refused_upstream() -> Result<()> {
    let options = Options { fault_proxy: true, audience_checked: true, ..Options::default() };
    let stack = EnvoyStack::start(&options)?;
    let (proxy, caller) = (stack.fault_proxy()?, stack.token(Server::Notes, "mcp:connect")?);
    let elevated = elevated_call(&stack, &caller, "show-token", 0.0);
    expect(&elevated, 200, "").context("the right audience")?;

    let mut policy = stack.sample_policy()?;
    policy["servers"]["notes"]["tools"]["show-token"]["audience"] = json!(stack.url(Server::Everything));
    apply(&stack, &policy)?;
    wait_for("the new policy", || Ok(send(&elevated)?.status != 200))?;
    settled(proxy)?;
    proxy.clear_books();
    let before = stack.upstream_requests(Server::Notes)?;
    let answer = expect(&elevated, 502, "upstream_refused_token")?;
    let message = answer.message().context("no body")?;
    ensure!(message["error"]["code"] == 50200 && message["id"] == 1, "{message:#}");
    ensure!(answer.header("www-authenticate").is_none(), "the server's challenge was passed: {answer:?}");
    ensure!(stack.upstream_requests(Server::Notes)? == before + 1, "no request reached the server");
    taken_back(&stack, &caller)?;
    ensure!(balanced(proxy)?.minted.len() == 1, "exchanged more than once");
    // A connection that still works.
    expect(&call(&stack, Server::Notes, &caller, "echo"), 200, "").map(drop)
}

pub(super) fn late_answer() -> Result<()> {
    let stack = stack()?;
    let proxy = stack.fault_proxy()?;
    for (name, behaviour) in [
        ("the answer is late", Behaviour::late_answer(Duration::from_secs(4))),
        ("the request is late", Behaviour::late_request(Duration::from_secs(4))),
    ] {
        let caller = stack.token(Server::Notes, "mcp:connect")?;
        proxy.clear_books();
        proxy.set(Endpoint::Token, behaviour);
        let begin = Instant::now();
        refusal_of(&stack, &caller, &fault("", "elevation_unavailable", Behaviour::pass())).context(name)?;
        let told = begin.elapsed();
        ensure!(told < Duration::from_millis(3500), "{name}: the client was told after {told:?}");
        ensure!(proxy.books().given.is_empty(), "{name}: the answer was not late");
        wait_for("the answer", || Ok(!proxy.books().given.is_empty()))?;
        proxy.pass();
        taken_back(&stack, &caller).context(name)?;
        let books = proxy.books();
        ensure!(books.minted.len() == 1 && all(&books.minted) == books.revoked(), "{name}: {books:?}");
    }
    Ok(())
}

pub(super) fn long_life() -> Result<()> {
    let stack = EnvoyStack::start(&Options { fault_proxy: true, elevated_ttl: 61, ..Options::default() })?;
    let caller = stack.token(Server::Notes, "mcp:connect")?;
    refusal_of(&stack, &caller, &fault("", "elevated_lifetime", Behaviour::pass()))?;
    taken_back(&stack, &caller)?;
    let books = stack.fault_proxy()?.books();
    ensure!(books.minted.len() == 1 && all(&books.minted) == books.revoked(), "{books:?}");
    Ok(())
}

pub(super) fn lost_answer() -> Result<()> {
    let stack = stack()?;
    let (proxy, caller) = (stack.fault_proxy()?, stack.token(Server::Notes, "mcp:connect")?);
    proxy.set(Endpoint::Token, Behaviour::swallow());
    refusal_of(&stack, &caller, &fault("", "elevation_unavailable", Behaviour::pass()))?;
    let books = settled(proxy)?;
    ensure!(books.minted.len() == 1 && books.swallowed == books.minted && books.revocations.is_empty(), "{books:?}");
    let line = r#"stepup_exchanges_total{server="notes",outcome="elevation_unavailable"} 1"#;
    wait_for("the metric", || has_metric(&stack, line))
}
