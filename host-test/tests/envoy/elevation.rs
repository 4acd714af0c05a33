//! Tokens for one call: minted by the real token service through a proxy that misbehaves as told, used, taken back.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use host_test::fault_proxy::{Behaviour, Books, Endpoint, FaultProxy};
use host_test::stack::{Answer, EnvoyStack, Options, Request, Server, Setup, Stack as _, encode, send};
use libtest_mimic::{Failed, Trial};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

use crate::report::resident;
use crate::support::{apply, call, expect, reloads, wait_for};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    let memory = || memory().map_err(|error| Failed::from(format!("{error:#}")));
    vec![
        trial("elevation::the_upstream_gets_a_token_for_this_call_alone", token_for_this_call),
        trial("elevation::answers_that_are_not_what_was_asked_for", wrong_answers),
        trial("elevation::refusals_and_failures_of_the_token_service", refusals),
        trial("elevation::a_server_that_refuses_the_token", refused_upstream),
        trial("elevation::a_token_that_comes_too_late_is_taken_back", late_answer),
        trial("elevation::a_token_that_lives_too_long_is_taken_back", long_life),
        trial("elevation::an_answer_that_nobody_got_is_lost_and_counted", lost_answer),
        trial("elevation::revocations_are_repeated_until_they_are_confirmed", revocation_repeated),
        trial("elevation::revocations_are_repeated_until_the_token_has_expired", revocation_expires),
        trial("elevation::a_service_that_cannot_revoke_is_asked_once", revocation_unsupported),
        trial("elevation::what_was_minted_is_revoked_also_for_clients_that_leave", many_callers),
        trial("elevation::a_secret_or_a_key_from_the_environment_does_too", own_credentials),
        trial("elevation::the_credential_rotates_without_the_filter", rotation),
        trial("elevation::a_revocation_survives_a_rotation", rotation_while_operating),
        trial("elevation::a_policy_update_loses_no_exchange", update_while_exchanging),
        trial("elevation::a_policy_update_loses_no_revocation", update_while_revoking),
        trial("elevation::a_policy_update_loses_no_operation", update_while_operating),
        trial("elevation::a_draining_envoy_loses_no_revocation", drain_while_revoking),
        trial("elevation::a_trap_leaves_pending_revocations_to_exp", trap_while_revoking),
        trial("elevation::metrics_have_their_labels", metrics),
        Trial::test("report::elevation_memory", memory).with_ignored_flag(true),
    ]
}

fn stack() -> Result<EnvoyStack> {
    EnvoyStack::start(&Options { fault_proxy: true, ..Options::default() })
}

// ---- what a call brings

fn token_for_this_call() -> Result<()> {
    let stack = stack()?;
    for (request, granted) in [("show-token", "tools:admin"), ("wait", "tools:write")] {
        let caller = stack.token(Server::Notes, "mcp:connect")?;
        let answer = expect(&elevated_call(&stack, &caller, request, 0.1), 200, "")?;
        let token = shown(&answer)?;
        ensure!(token != caller, "{request}: the caller's token went upstream");
        let (before, after) = (claims(&caller)?, claims(&token)?);
        ensure!(after["aud"] == stack.url(Server::Notes), "{request}: {after:#}");
        ensure!(after["scope"] == granted && after["sub"] == before["sub"], "{request}: {after:#}");
        let life = after["exp"].as_i64().context("no exp")? - after["iat"].as_i64().context("no iat")?;
        ensure!((1..=60).contains(&life), "{request}: lives {life} s");
        // Soon it is dead, and the caller's is not.
        wait_for("the revocation", || Ok(!stack.is_active(&token)?))?;
        ensure!(stack.is_active(&caller)?, "{request}: the caller's token was revoked");
        // And one call has one token.
        ensure!(shown(&expect(&elevated_call(&stack, &caller, request, 0.1), 200, "")?)? != token, "used again");
    }
    let books = balanced(stack.fault_proxy()?)?;
    ensure!(books.minted.len() == 4, "{books:?}");
    ensure!(books.revocations.len() == 4, "asked more often than needed: {books:?}");
    Ok(())
}

// ---- the fault table

/// A wrong answer, and what must become of the call.
struct Fault {
    name: &'static str,
    tool: &'static str,
    behaviour: Behaviour,
    status: u16,
    code: i64,
    public: &'static str,
    reason: &'static str,
}

fn fault(name: &'static str, reason: &'static str, behaviour: Behaviour) -> Fault {
    Fault { name, tool: "show-token", behaviour, status: 503, code: 50300, public: "elevation_unavailable", reason }
}

fn refusal(name: &'static str, status: u16, code: i64, reason: &'static str, behaviour: Behaviour) -> Fault {
    Fault { name, tool: "show-token", behaviour, status, code, public: reason, reason }
}

fn wrong_answers() -> Result<()> {
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
        fault("another scope in the answer than in the token", "granted_too_wide", set("scope", json!("tools:write"))),
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

fn refusals() -> Result<()> {
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
        refused("invalid_request"),
        refused("something_unheard_of"),
        refusal("403 without words", 403, 40302, "elevation_refused", Behaviour::answer(403, "")),
        user("interaction_required"),
        user("consent_required"),
        user("insufficient_user_authentication"),
        ours("invalid_client"),
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
fn table(stack: &EnvoyStack, caller: &str, faults: &[Fault]) -> Result<()> {
    let mut failures = Vec::new();
    for fault in faults {
        if let Err(error) = met(stack, caller, fault) {
            failures.push(format!("{}: {error:#}", fault.name));
        }
    }
    ensure!(failures.is_empty(), "{} of {} faults:\n{}", failures.len(), faults.len(), failures.join("\n"));
    Ok(())
}

fn met(stack: &EnvoyStack, caller: &str, fault: &Fault) -> Result<()> {
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
fn refusal_of(stack: &EnvoyStack, caller: &str, fault: &Fault) -> Result<()> {
    let before = stack.upstream_requests(Server::Notes)?;
    let answer = expect(&elevated_call(stack, caller, fault.tool, 0.0), fault.status, fault.public)?;
    let message = answer.message().context("no body")?;
    ensure!(message["error"]["code"] == fault.code, "{message:#}");
    ensure!(fault.status != 503 || answer.header("retry-after").is_some(), "no Retry-After: {answer:?}");
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
fn taken_back(stack: &EnvoyStack, caller: &str) -> Result<()> {
    let proxy = stack.fault_proxy()?;
    let is_callers = |token: &str| claims(token).is_ok_and(|claims| claims["client_id"] != FILTER);
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
fn refused_upstream() -> Result<()> {
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

fn late_answer() -> Result<()> {
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

fn long_life() -> Result<()> {
    let stack = EnvoyStack::start(&Options { fault_proxy: true, elevated_ttl: 61, ..Options::default() })?;
    let caller = stack.token(Server::Notes, "mcp:connect")?;
    refusal_of(&stack, &caller, &fault("", "elevated_lifetime", Behaviour::pass()))?;
    taken_back(&stack, &caller)?;
    let books = stack.fault_proxy()?.books();
    ensure!(books.minted.len() == 1 && all(&books.minted) == books.revoked(), "{books:?}");
    Ok(())
}

fn lost_answer() -> Result<()> {
    let stack = stack()?;
    let (proxy, caller) = (stack.fault_proxy()?, stack.token(Server::Notes, "mcp:connect")?);
    proxy.set(Endpoint::Token, Behaviour::swallow());
    refusal_of(&stack, &caller, &fault("", "elevation_unavailable", Behaviour::pass()))?;
    let books = settled(proxy)?;
    ensure!(books.minted.len() == 1 && books.swallowed == books.minted && books.revocations.is_empty(), "{books:?}");
    let line = r#"stepup_exchanges_total{server="notes",outcome="elevation_unavailable"} 1"#;
    wait_for("the metric", || has_metric(&stack, line))
}

// ---- revocation

fn revocation_repeated() -> Result<()> {
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
fn during_an_operation(stack: &EnvoyStack, caller: &str, act: impl FnOnce() -> Result<()>) -> Result<Answer> {
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

fn revocation_expires() -> Result<()> {
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

fn revocation_unsupported() -> Result<()> {
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

// ---- many callers at once

const CALLS: usize = 500;
const SUBJECTS: usize = 20;
const AT_ONCE: usize = 16;

/// When a client goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    Never,
    BeforeTheEndOfItsRequest,
    DuringTheExchange,
    DuringTheAnswer,
}

fn many_callers() -> Result<()> {
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
        ensure!(after["client_id"] == FILTER, "call {number}: not an elevated token: {after:#}");
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
fn one_of_many(stack: &EnvoyStack, token: &str, session: &str, number: usize) -> Result<Option<String>> {
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

fn open_session(stack: &EnvoyStack, token: &str) -> Result<String> {
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

fn legacy_call(stack: &EnvoyStack, token: &str, session: &str, id: usize, tool: &str, seconds: f64) -> Request {
    let arguments = if tool == "wait" { json!({ "seconds": seconds }) } else { json!({}) };
    let params = json!({ "name": tool, "arguments": arguments, "_meta": { "progressToken": id } });
    let call = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
    in_session(Request::post(stack.url(Server::Notes), call), token, session)
}

fn in_session(request: Request, token: &str, session: &str) -> Request {
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

// ---- operators

/// `step-up-filter:wrong-secret`
const WRONG_CREDENTIAL: &str = "Basic c3RlcC11cC1maWx0ZXI6d3Jvbmctc2VjcmV0";

fn rotation() -> Result<()> {
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
    wait_for("the right credential", || Ok(send(&elevated)?.status == 200))?;
    ensure!(reloads(&stack)? == before, "the filter was configured again");
    balanced(stack.fault_proxy()?).map(drop)
}

/// A rotation between grant and revocation: the token service does not know us for a while.
fn rotation_while_operating() -> Result<()> {
    let stack = stack()?;
    let (proxy, caller) = (stack.fault_proxy()?, stack.token(Server::Notes, "mcp:connect")?);
    let answer = during_an_operation(&stack, &caller, || stack.replace_credential(Some(WRONG_CREDENTIAL)))?;
    let token = shown(&answer)?;
    wait_for("an attempt", || Ok(!proxy.books().revocations.is_empty()))?;
    ensure!(proxy.books().revocations[0].status == Some(401), "{:?}", proxy.books());
    stack.replace_credential(None)?;
    wait_for("the revocation", || Ok(!stack.is_active(&token)?))
}

fn update_while_revoking() -> Result<()> {
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
fn own_credentials() -> Result<()> {
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
        ensure!(claims(&token)?["client_id"] == client["id"], "{client}: another client's token");
        wait_for("the revocation", || Ok(!stack.is_active(&token)?)).with_context(|| format!("{client}"))?;
    }
    Ok(())
}

/// As the README says it: drain, wait, end.
fn drain_while_revoking() -> Result<()> {
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
fn trap_while_revoking() -> Result<()> {
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
fn update_while_operating() -> Result<()> {
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
fn update_while_exchanging() -> Result<()> {
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

fn deny_echo(stack: &EnvoyStack, caller: &str) -> Result<()> {
    let mut policy = stack.sample_policy()?;
    policy["servers"]["notes"]["tools"]["echo"] = json!("deny");
    apply(stack, &policy)?;
    let echo = call(stack, Server::Notes, caller, "echo");
    wait_for("the new policy", || Ok(send(&echo)?.status == 403))
}

fn metrics() -> Result<()> {
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

// ---- memory

/// Resident memory of Envoy over 10,000 exchanges, and whether everything was taken back.
fn memory() -> Result<()> {
    const EXCHANGES: usize = 10_000;
    const MARKS: [usize; 3] = [2_000, 6_000, 10_000];
    let mut stack = EnvoyStack::start(&Options::default())?;
    let client = Client::register(&stack)?;
    let token = client.token(&stack)?;
    let mut policy = stack.sample_policy()?;
    policy["tiers"]["danger"]["may_elevate"]["client"] = json!([client.id]);
    policy["limits"] = json!({ "exchanges_per_caller": 64, "exchange_rate": 100_000 });
    // As the configuration from the start: no second VM in the figures.
    apply(&stack, &policy)?;
    let elevated = elevated_call(&stack, &token, "show-token", 0.0);
    wait_for("the policy", || Ok(send(&elevated)?.status == 200))?;
    let begin = Instant::now();
    println!("start: {} KiB", resident(stack.envoy().id())?);
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    for mark in MARKS {
        scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    while next.fetch_add(1, Ordering::Relaxed) < mark {
                        if !send(&elevated).is_ok_and(|answer| answer.status == 200) {
                            failed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        next.store(mark, Ordering::Relaxed);
        println!("{mark} exchanges: {} KiB after {:.0?}", resident(stack.envoy().id())?, begin.elapsed());
    }
    let failed = failed.into_inner();
    ensure!(failed == 0, "{failed} calls failed");
    let line = format!(r#"stepup_revocations_total{{outcome="revoked"}} {}"#, EXCHANGES + 1);
    wait_for(&line, || has_metric(&stack, &line))?;
    wait_for("all streams to end", || Ok(stack.stat("http.mcp.downstream_rq_active")? == 0))
}

// ---- helpers

/// The filter's client id.
const FILTER: &str = "step-up-filter";

/// A client of its own, and so a subject of its own.
struct Client {
    id: String,
    secret: String,
}

impl Client {
    fn register(stack: &EnvoyStack) -> Result<Client> {
        let metadata = json!({
            "grant_types": ["client_credentials"], "response_types": [], "redirect_uris": [],
            "token_endpoint_auth_method": "client_secret_post",
        });
        let answer = send(&Request::post(format!("{}/reg", stack.issuer()), metadata))?;
        let json = answer.message().with_context(|| format!("{answer:?}"))?;
        let text = |name: &str| json[name].as_str().map(str::to_owned).with_context(|| format!("no {name}: {json:#}"));
        Ok(Client { id: text("client_id")?, secret: text("client_secret")? })
    }

    fn token(&self, stack: &EnvoyStack) -> Result<String> {
        let form = encode(&[
            ("grant_type", "client_credentials"),
            ("client_id", &self.id),
            ("client_secret", &self.secret),
            ("scope", "mcp:connect"),
            ("resource", &stack.url(Server::Notes)),
        ]);
        let request = Request::post(format!("{}/token", stack.issuer()), form)
            .with("content-type", "application/x-www-form-urlencoded");
        let answer = send(&request)?;
        let json = answer.message().unwrap_or_default();
        Ok(json["access_token"].as_str().with_context(|| format!("no token: {answer:?}"))?.to_owned())
    }
}

/// Lets these clients be elevated.
fn admit(stack: &EnvoyStack, clients: &[Client]) -> Result<()> {
    let mut policy = stack.sample_policy()?;
    let ids: Vec<&str> = clients.iter().map(|client| client.id.as_str()).collect();
    policy["tiers"]["danger"]["may_elevate"]["client"] = json!(ids);
    let (before, text) = (reloads(stack)?, policy.to_string());
    stack.update(&Setup::Configuration(text))?;
    wait_for("the policy", || Ok(reloads(stack)? > before))?;
    // Both workers have it when neither refuses.
    let token = clients.first().context("no client")?.token(stack)?;
    let mut good = 0;
    wait_for("the policy in both workers", || {
        let answer = send(&elevated_call(stack, &token, "show-token", 0.0))?;
        good = if answer.status == 200 { good + 1 } else { 0 };
        Ok(good >= 10)
    })?;
    settled(stack.fault_proxy()?).map(drop)
}

/// A call of a tool that the filter elevates for, with progress if it takes its time.
fn elevated_call(stack: &EnvoyStack, token: &str, tool: &str, seconds: f64) -> Request {
    let mut body = host_test::story::modern_call(tool);
    if tool == "wait" {
        body["params"]["arguments"] = json!({ "seconds": seconds });
        body["params"]["_meta"]["progressToken"] = json!(1);
    }
    Request { body: Some(body.to_string()), ..call(stack, Server::Notes, token, tool) }
}

/// The token that the tool says it got.
fn shown(answer: &Answer) -> Result<String> {
    let message = answer.message().unwrap_or_default();
    let text = message["result"]["content"][0]["text"].as_str();
    Ok(text.filter(|text| text.split('.').count() == 3).with_context(|| format!("no token: {answer:?}"))?.to_owned())
}

fn claims(token: &str) -> Result<Value> {
    let part = token.split('.').nth(1).context("no JWT")?;
    Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part)?)?)
}

/// The same token, with changed claims, under the same `kid`, signed by a key that nobody knows.
fn forge(token: &str, change: fn(&mut Value)) -> Result<String> {
    let mut forged = claims(token)?;
    change(&mut forged);
    let header = token.split('.').next().context("no header")?;
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(forged.to_string()));
    let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
    let failed = |_| anyhow::anyhow!("no key");
    let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(failed)?;
    let key = EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random)?;
    let signature = key.sign(&random, signed.as_bytes()).map_err(failed)?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// The books, when nothing has been written into them for a second.
fn settled(proxy: &FaultProxy) -> Result<Books> {
    let size = |books: &Books| (books.minted.len(), books.given.len(), books.revocations.len());
    let (mut last, mut since) = (proxy.books(), Instant::now());
    wait_for("the books to be settled", || {
        let books = proxy.books();
        if size(&books) != size(&last) {
            since = Instant::now();
        }
        last = books;
        Ok(since.elapsed() > Duration::from_secs(1))
    })?;
    Ok(last)
}

/// The settled books, which say that what was minted is revoked.
fn balanced(proxy: &FaultProxy) -> Result<Books> {
    let books = settled(proxy)?;
    ensure!(all(&books.minted) == books.revoked(), "{books:?}");
    Ok(books)
}

fn all(tokens: &[String]) -> BTreeSet<&str> {
    tokens.iter().map(String::as_str).collect()
}

fn prometheus(stack: &EnvoyStack) -> Result<String> {
    Ok(send(&Request::get(stack.admin_url("/stats/prometheus")))?.body)
}

fn has_metric(stack: &EnvoyStack, line: &str) -> Result<bool> {
    Ok(prometheus(stack)?.lines().any(|other| other == line))
}
