//! Tokens are taken back until it is confirmed.

use super::*;

pub(super) fn revocation_repeated() -> Result<()> {
    let stack = stack()?;
    let (proxy, caller) = (stack.fault_proxy()?, stack.token(Server::Notes, "mcp:connect")?);
    for (name, behaviour) in [
        ("429", Behaviour::answer(429, "")),
        ("503", Behaviour::answer(503, "")),
        ("closed", Behaviour::close()),
        ("late", Behaviour::late_answer(Duration::from_secs(3))),
    ] {
        proxy.clear_books();
        proxy.set(Endpoint::Revocation, behaviour);
        expect(&elevated_call(&stack, &caller, "show-token", 0.0), 200, "")?;
        wait_for("two attempts", || Ok(proxy.books().revocations.len() > 1)).context(name)?;
        proxy.pass();
        wait_for("the revocation", || Ok(proxy.books().revoked().len() == 1)).context(name)?;
        balanced(proxy).context(name)?;
    }

    // Nobody listens at all.
    proxy.clear_books();
    let answer = during_an_operation(&stack, &caller, || {
        proxy.refuse_connections();
        Ok(())
    })?;
    let token = shown(&answer)?;
    sleep(Duration::from_secs(1));
    ensure!(stack.is_active(&token)?, "who has revoked it?");
    proxy.listen()?;
    wait_for("the revocation after the return", || Ok(!stack.is_active(&token)?))?;
    ensure!(stack.is_active(&caller)?, "the caller's token was revoked");
    Ok(())
}

/// Calls a tool that takes its time, acts while the server works on it, and gives its answer.
pub(super) fn during_an_operation(
    stack: &EnvoyStack,
    caller: &str,
    act: impl FnOnce() -> Result<()>,
) -> Result<Answer> {
    let proxy = stack.fault_proxy()?;
    let waiting = elevated_call(stack, caller, "wait", 3.0);
    scope(|scope| {
        let call = scope.spawn(|| expect(&waiting, 200, ""));
        wait_for("the token", || Ok(proxy.books().given.len() == 1))?;
        sleep(Duration::from_millis(300));
        act()?;
        ensure!(!call.is_finished(), "acted too late");
        call.join().map_err(|_| anyhow::anyhow!("the caller panicked"))?
    })
}

pub(super) fn revocation_expires() -> Result<()> {
    let stack = EnvoyStack::start(&Options { fault_proxy: true, elevated_ttl: 4, ..Options::default() })?;
    let (proxy, caller) = (stack.fault_proxy()?, stack.token(Server::Notes, "mcp:connect")?);
    proxy.set(Endpoint::Revocation, Behaviour::answer(503, ""));
    let begin = Instant::now();
    expect(&elevated_call(&stack, &caller, "show-token", 0.0), 200, "")?;
    wait_for("the end", || has_metric(&stack, r#"stepup_revocations_total{outcome="expired"} 1"#))?;
    let gave_up = begin.elapsed();
    ensure!((2.9..7.0).contains(&gave_up.as_secs_f64()), "given up after {gave_up:?}");
    let attempts = proxy.books().revocations.len();
    ensure!(attempts > 2, "{attempts} attempts");
    sleep(Duration::from_secs(4));
    ensure!(proxy.books().revocations.len() == attempts, "asked again after the token's death");
    Ok(())
}

pub(super) fn revocation_unsupported() -> Result<()> {
    let stack = stack()?;
    let (proxy, caller) = (stack.fault_proxy()?, stack.token(Server::Notes, "mcp:connect")?);
    let unsupported = json!({ "error": "unsupported_token_type" });
    proxy.set(Endpoint::Revocation, Behaviour::answer(400, unsupported));
    expect(&elevated_call(&stack, &caller, "show-token", 0.0), 200, "")?;
    wait_for("the answer", || has_metric(&stack, r#"stepup_revocations_total{outcome="unsupported"} 1"#))?;
    sleep(Duration::from_secs(2));
    let books = proxy.books();
    ensure!(books.revocations.len() == 1, "{books:?}");
    Ok(())
}
