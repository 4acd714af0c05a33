//! What operators do meanwhile: rotations, updates, drains, a trap.

use super::faults::{refusal, refusal_of};
use super::revocation::during_an_operation;
use super::*;

/// `step-up-filter:wrong-secret`
pub(super) const WRONG_CREDENTIAL: &str = "Basic c3RlcC11cC1maWx0ZXI6d3Jvbmctc2VjcmV0";

pub(super) fn rotation() -> Result<()> {
    let stack = stack()?;
    let caller = stack.token(Server::Notes, "mcp:connect")?;
    let elevated = elevated_call(&stack, &caller, "show-token", 0.0);
    expect(&elevated, 200, "")?;
    let before = reloads(&stack)?;
    stack.replace_credential(Some(WRONG_CREDENTIAL))?;
    wait_for("the wrong credential", || Ok(send(&elevated)?.status != 200))?;
    let wrong = refusal("", 503, 50301, "filter_not_accepted", Behaviour::pass());
    refusal_of(&stack, &caller, &wrong)?;
    stack.replace_credential(None)?;
    // P28: after three such faults the rule is tried every 30 s, in each worker.
    wait_for_seconds(40, "the right credential", || Ok(send(&elevated)?.status == 200))?;
    ensure!(reloads(&stack)? == before, "the filter was configured again");
    balanced(stack.fault_proxy()?).map(drop)
}

/// A rotation between grant and revocation: the token service does not know us for a while.
pub(super) fn rotation_while_operating() -> Result<()> {
    let stack = stack()?;
    let (proxy, caller) = (stack.fault_proxy()?, stack.token(Server::Notes, "mcp:connect")?);
    let answer = during_an_operation(&stack, &caller, || stack.replace_credential(Some(WRONG_CREDENTIAL)))?;
    let token = shown(&answer)?;
    wait_for("an attempt", || Ok(!proxy.books().revocations.is_empty()))?;
    ensure!(proxy.books().revocations[0].status == Some(401), "{:?}", proxy.books());
    stack.replace_credential(None)?;
    wait_for("the revocation", || Ok(!stack.is_active(&token)?))
}

pub(super) fn update_while_revoking() -> Result<()> {
    let stack = stack()?;
    let (proxy, caller) = (stack.fault_proxy()?, stack.token(Server::Notes, "mcp:connect")?);
    proxy.set(Endpoint::Revocation, Behaviour::answer(503, ""));
    let token = shown(&expect(&elevated_call(&stack, &caller, "show-token", 0.0), 200, "")?)?;
    let failed = Instant::now();
    wait_for("an attempt", || Ok(!proxy.books().revocations.is_empty()))?;
    deny_echo(&stack, &caller)?;
    sleep(Duration::from_secs(3).saturating_sub(failed.elapsed()));
    ensure!(stack.is_active(&token)?, "who has revoked it?");
    proxy.pass();
    wait_for("the revocation", || Ok(!stack.is_active(&token)?))?;
    wait_for("the metric", || has_metric(&stack, r#"stepup_revocations_total{outcome="revoked"} 1"#))
}

/// `secret_env` and `private_key_env`: the filter authenticates itself, over a cluster that adds nothing.
pub(super) fn own_credentials() -> Result<()> {
    let stack = EnvoyStack::start(&Options::default())?;
    let caller = stack.token(Server::Notes, "mcp:connect")?;
    // The keys are there: a new VM would wait for a fetch that went down with the old one.
    expect(&call(&stack, Server::Notes, &caller, "echo"), 200, "")?;
    let key = std::fs::read_to_string(host_test::paths::workspace().join("host-test/corpus/keys/es256.json"))?;
    let mut public: Value = serde_json::from_str(&key)?;
    public.as_object_mut().context("no key")?.remove("d");
    let metadata = json!({
        "grant_types": ["urn:ietf:params:oauth:grant-type:token-exchange"], "response_types": [], "redirect_uris": [],
        "token_endpoint_auth_method": "private_key_jwt", "jwks": { "keys": [public] },
    });
    let answer = send(&Request::post(format!("{}/reg", stack.issuer()), metadata))?;
    let registered = answer.message().and_then(|json| Some(json.get("client_id")?.as_str()?.to_owned()));
    let registered = registered.with_context(|| format!("not registered: {answer:?}"))?;
    let clients = [
        json!({ "id": "step-up-filter", "secret_env": "STEP_UP_CREDENTIAL" }),
        json!({ "id": registered, "private_key_env": "STEP_UP_CREDENTIAL" }),
    ];
    for (client, credential) in clients.into_iter().zip(["filter-secret", &key]) {
        let mut policy = stack.sample_policy()?;
        policy["token_service"]["cluster"] = json!("as-keys");
        policy["token_service"]["client"] = client.clone();
        let before = reloads(&stack)?;
        stack.update_document(&Setup::Configuration(policy.to_string()), |document| {
            document["resources"][0]["typed_config"]["config"]["vm_config"]["environment_variables"] =
                json!({ "key_values": { "STEP_UP_CREDENTIAL": credential } });
        })?;
        wait_for("the policy", || Ok(reloads(&stack)? > before))?;
        let answer =
            expect(&elevated_call(&stack, &caller, "show-token", 0.0), 200, "").with_context(|| format!("{client}"))?;
        let token = shown(&answer)?;
        ensure!(claims(&token)?["act"]["client_id"] == client["id"], "{client}: another client's token");
        wait_for("the revocation", || Ok(!stack.is_active(&token)?)).with_context(|| format!("{client}"))?;
    }
    Ok(())
}

/// As the README says it: drain, wait, end.
pub(super) fn drain_while_revoking() -> Result<()> {
    let mut stack = stack()?;
    let (proxy, caller) = (stack.fault_proxy()?, stack.token(Server::Notes, "mcp:connect")?);
    proxy.set(Endpoint::Revocation, Behaviour::answer(503, ""));
    let token = shown(&expect(&elevated_call(&stack, &caller, "show-token", 0.0), 200, "")?)?;
    wait_for("an attempt", || Ok(!proxy.books().revocations.is_empty()))?;
    let drained = send(&Request::post(stack.admin_url("/drain_listeners?graceful"), ""))?;
    ensure!(drained.status == 200, "{drained:?}");
    sleep(Duration::from_secs(1));
    proxy.pass();
    wait_for("the revocation", || Ok(!stack.is_active(&token)?))?;
    ensure!(send(&Request::post(stack.admin_url("/quitquitquit"), ""))?.status == 200);
    ensure!(stack.envoy().wait_for_end()? == Some(0), "Envoy did not end well");
    Ok(())
}

/// A VM that dies takes its memory with it: what it still had to revoke lives until `exp`, and no longer. The worker serves
/// again with a new VM.
pub(super) fn trap_while_revoking() -> Result<()> {
    let options = Options { workers: 1, trap: true, fault_proxy: true, elevated_ttl: 8, ..Options::default() };
    let stack = EnvoyStack::start(&options)?;
    let (proxy, caller) = (stack.fault_proxy()?, stack.token(Server::Notes, "mcp:connect")?);
    proxy.set(Endpoint::Revocation, Behaviour::answer(503, ""));
    let elevated = elevated_call(&stack, &caller, "show-token", 0.0);
    let token = shown(&expect(&elevated, 200, "")?)?;
    wait_for("an attempt", || Ok(!proxy.books().revocations.is_empty()))?;

    let harmless = call(&stack, Server::Notes, &caller, "echo");
    ensure!(send(&harmless.clone().with("x-trap", "1"))?.status == 503, "nothing trapped");
    proxy.pass();
    proxy.clear_books();
    wait_for("a new VM", || Ok(send(&harmless)?.status == 200))?;
    ensure!(stack.is_active(&token)?, "who has revoked it?");
    wait_for("its exp", || Ok(!stack.is_active(&token)?))?;
    ensure!(proxy.books().revocations.is_empty(), "the trial is wrong: somebody remembered");

    let token = shown(&expect(&elevated, 200, "")?)?;
    wait_for("the revocation", || Ok(!stack.is_active(&token)?))
}

/// The update comes while the server works on the call.
pub(super) fn update_while_operating() -> Result<()> {
    let stack = stack()?;
    let (proxy, caller) = (stack.fault_proxy()?, stack.token(Server::Notes, "mcp:connect")?);
    let answer = during_an_operation(&stack, &caller, || {
        deny_echo(&stack, &caller)?;
        ensure!(proxy.books().revocations.is_empty(), "revoked in the middle of the operation");
        Ok(())
    })?;
    let token = shown(&answer)?;
    wait_for("the revocation", || Ok(!stack.is_active(&token)?))?;
    balanced(proxy).map(drop)
}

/// The update comes while the token service thinks.
pub(super) fn update_while_exchanging() -> Result<()> {
    let stack = stack()?;
    let (proxy, caller) = (stack.fault_proxy()?, stack.token(Server::Notes, "mcp:connect")?);
    let elevated = elevated_call(&stack, &caller, "show-token", 0.0);
    expect(&elevated, 200, "")?;
    settled(proxy)?;
    proxy.clear_books();
    proxy.set(Endpoint::Token, Behaviour::late_answer(Duration::from_millis(1500)));
    let answer = scope(|scope| {
        let call = scope.spawn(|| expect(&elevated, 200, ""));
        sleep(Duration::from_millis(300));
        deny_echo(&stack, &caller)?;
        ensure!(proxy.books().given.is_empty(), "the update came too late");
        call.join().map_err(|_| anyhow::anyhow!("the caller panicked"))?
    })?;
    let token = shown(&answer)?;
    wait_for("the revocation", || Ok(!stack.is_active(&token)?))?;
    balanced(proxy).map(drop)
}

pub(super) fn deny_echo(stack: &EnvoyStack, caller: &str) -> Result<()> {
    let mut policy = stack.sample_policy()?;
    policy["servers"]["notes"]["tools"]["echo"] = json!("deny");
    apply(stack, &policy)?;
    let echo = call(stack, Server::Notes, caller, "echo");
    wait_for("the new policy", || Ok(send(&echo)?.status == 403))
}

pub(super) fn metrics() -> Result<()> {
    let stack = stack()?;
    let (proxy, caller) = (stack.fault_proxy()?, stack.token(Server::Notes, "mcp:connect")?);
    for _ in 0..2 {
        expect(&elevated_call(&stack, &caller, "show-token", 0.0), 200, "")?;
    }
    proxy.set(Endpoint::Token, Behaviour::answer(500, ""));
    expect(&elevated_call(&stack, &caller, "show-token", 0.0), 503, "elevation_unavailable")?;
    for line in [
        r#"stepup_exchanges_total{server="notes",outcome="granted"} 2"#,
        r#"stepup_exchanges_total{server="notes",outcome="elevation_unavailable"} 1"#,
        r#"stepup_revocations_total{outcome="revoked"} 2"#,
        r#"stepup_decisions_total{server="notes",verdict="permit",reason="elevated",mode="enforce"} 2"#,
        r#"stepup_exchange_ms_count{server="notes"} 3"#,
    ] {
        wait_for(line, || has_metric(&stack, line)).with_context(|| prometheus(&stack).unwrap_or_default())?;
    }
    Ok(())
}
