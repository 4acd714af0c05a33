//! The issuer's keys in real Envoy: fetched once, by one of many VMs, and never at a stranger's command.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use host_test::stack::{EnvoyStack, Options, Server, Setup, Stack as _, send};
use libtest_mimic::Trial;

use crate::support::{apply, call, expect, stack, wait_for};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("keys::one_fetch_at_start_and_no_503_after_ready", one_fetch_at_start),
        trial("keys::without_keys_503_and_then_no_request_is_lost", without_keys),
        trial("keys::a_long_body_without_keys_gets_the_filters_own_answer", long_body_without_keys),
        trial("keys::a_cluster_that_is_not_there_is_named", no_such_cluster),
        trial("keys::a_thousand_unknown_kids_cause_four_fetches_at_most", unknown_kids),
        trial("keys::rotation_under_load", rotation_under_load),
        trial("keys::every_algorithm_is_verified", every_algorithm),
    ]
}

fn one_fetch_at_start() -> Result<()> {
    let mut stack = EnvoyStack::prepare(&Options { workers: 2, ..Options::default() })?;
    let token = stack.token(Server::Notes, "mcp:connect")?;
    let harmless = call(&stack, Server::Notes, &token, "echo");
    stack.wait_until_ready()?;
    expect(&harmless, 200, "").context("the first request after ready")?;
    for _ in 0..20 {
        expect(&harmless, 200, "")?;
        sleep(Duration::from_millis(100));
    }
    ensure!(stack.key_fetches() == 1, "{} fetches", stack.key_fetches());
    Ok(())
}

/// No authorization server yet: requests wait `keys_wait`, then 503. As soon as it is there, waiting ones go on.
fn without_keys() -> Result<()> {
    let mut stack = EnvoyStack::start(&Options { authorization_server: false, ..Options::default() })?;
    let begin = Instant::now();
    expect(&call(&stack, Server::Notes, &unsigned(&stack), "echo"), 503, "keys_unavailable")?;
    ensure!(begin.elapsed() >= Duration::from_secs(2), "answered after {:?}", begin.elapsed());
    stack.replace_authorization_server()?;
    let token = stack.token(Server::Notes, "mcp:connect")?;
    expect(&call(&stack, Server::Notes, &token, "echo"), 200, "")?;
    Ok(())
}

/// What waits for keys is bounded by the filter, and not by Envoy's plain 413.
fn long_body_without_keys() -> Result<()> {
    let stack = EnvoyStack::start(&Options { authorization_server: false, ..Options::default() })?;
    let mut request = call(&stack, Server::Notes, &unsigned(&stack), "echo");
    let long = format!("\"{}\"", "x".repeat(2 << 20));
    request.body = request.body.map(|body| body.replace("\"hi\"", &long));
    let answer = send(&request)?;
    ensure!(answer.reason().as_deref() == Some("body_too_large"), "{answer:?}");
    Ok(())
}

fn no_such_cluster() -> Result<()> {
    let stack = stack()?;
    let mut policy = stack.sample_policy()?;
    let issuer = policy["issuers"].as_object_mut().and_then(|issuers| issuers.values_mut().next());
    issuer.context("no issuer")?["jwks"]["cluster"] = serde_json::json!("as-kyes");
    apply(&stack, &policy)?;
    wait_for("the log to name it", || {
        let log = std::fs::read_to_string(stack.folder().join("envoy.log"))?;
        Ok(log.contains("the proxy does not call the cluster as-kyes: it has none of this name"))
    })
}

/// Right in everything but the signature.
fn unsigned(stack: &EnvoyStack) -> String {
    let header = serde_json::json!({ "alg": "ES256", "typ": "at+jwt", "kid": "none" });
    let claims = serde_json::json!({
        "iss": stack.issuer(), "aud": stack.url(Server::Notes), "sub": "a", "client_id": "a", "jti": "1",
        "iat": 1_700_000_000, "exp": 4_000_000_000_i64, "scope": "mcp:connect",
    });
    [header.to_string(), claims.to_string(), "signature".to_owned()].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
}

fn unknown_kids() -> Result<()> {
    let stack = stack()?;
    let token = stack.token(Server::Notes, "mcp:connect")?;
    expect(&call(&stack, Server::Notes, &token, "echo"), 200, "")?;
    ensure!(stack.key_fetches() == 1);
    // The flood covers the moment from which a second fetch is allowed, 30 s after the first.
    sleep(Duration::from_secs(25));
    let begin = Instant::now();
    let statuses = Mutex::new(Vec::new());
    scope(|threads| {
        for thread in 0..10 {
            let (stack, token, statuses) = (&stack, &token, &statuses);
            threads.spawn(move || {
                for n in 0..100 {
                    let forged = with_kid(token, &format!("kid-{thread}-{n}"));
                    let status = send(&call(stack, Server::Notes, &forged, "echo")).map(|answer| answer.status);
                    statuses.lock().unwrap().push(status.unwrap_or(0));
                    // 1,000 requests in 10 seconds.
                    sleep(Duration::from_millis(95));
                }
            });
        }
    });
    let statuses = statuses.into_inner()?;
    println!("1,000 unknown kids in {:?}: {} more fetches", begin.elapsed(), stack.key_fetches() - 1);
    // 503 where nobody has asked the issuer since the key was named: not a reason to log in.
    ensure!(statuses.len() == 1000 && statuses.iter().all(|status| matches!(status, 401 | 503)), "{statuses:?}");
    // P28: one in half a minute, and three more for keys never seen before.
    ensure!((2..=5).contains(&stack.key_fetches()), "{} fetches", stack.key_fetches());
    Ok(())
}

/// The token under another `kid`. Its signature is wrong then, but nobody gets as far as that.
fn with_kid(token: &str, kid: &str) -> String {
    let header = serde_json::json!({ "alg": "ES256", "typ": "at+jwt", "kid": kid }).to_string();
    let rest = token.split_once('.').map(|(_, rest)| rest).unwrap_or_default();
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header))
}

fn rotation_under_load() -> Result<()> {
    const PER_SECOND: u64 = 50;
    let mut stack = stack()?;
    let old = stack.token(Server::Notes, "mcp:connect")?;
    let with_old = call(&stack, Server::Notes, &old, "echo");
    expect(&with_old, 200, "")?;

    stack.replace_authorization_server()?;
    let new = stack.token(Server::Notes, "mcp:connect")?;
    let with_new = call(&stack, Server::Notes, &new, "echo");
    let (stack, done) = (&stack, AtomicBool::new(false));
    let begin = Instant::now();
    let (fetched, last_refusal, accepted, old_refused) = scope(|threads| -> Result<_> {
        let load = threads.spawn(|| {
            let (mut last_refusal, mut accepted) = (None, 0);
            while !done.load(Ordering::Relaxed) {
                match send(&with_new).map(|answer| answer.status) {
                    Ok(200) => accepted += 1,
                    _ => last_refusal = Some(begin.elapsed()),
                }
                sleep(Duration::from_millis(1000 / PER_SECOND));
            }
            (last_refusal, accepted)
        });
        // The log of the new server begins empty.
        let mut fetched = None;
        while fetched.is_none() && begin.elapsed() < Duration::from_secs(45) {
            fetched = (stack.key_fetches() > 0).then(|| begin.elapsed());
            sleep(Duration::from_millis(5));
        }
        let mut old_refused = None;
        let after_fetch = Instant::now();
        while old_refused.is_none() && after_fetch.elapsed() < Duration::from_secs(5) {
            old_refused = (send(&with_old)?.status == 401).then(|| after_fetch.elapsed());
            sleep(Duration::from_millis(20));
        }
        sleep(Duration::from_secs(2));
        // Every worker refuses it by now.
        for _ in 0..20 {
            ensure!(send(&with_old)?.status == 401, "a token of a removed key was accepted");
        }
        done.store(true, Ordering::Relaxed);
        let (last_refusal, accepted) = load.join().map_err(|_| anyhow::anyhow!("the load failed"))?;
        Ok((fetched, last_refusal, accepted, old_refused))
    })?;
    let fetched = fetched.context("no fetch within 45 s")?;
    let late = last_refusal.map_or(Duration::ZERO, |last| last.saturating_sub(fetched));
    println!(
        "refetch {fetched:?} after the rotation; new key's last refusal {late:?} later; old key refused after {old_refused:?}"
    );
    ensure!(
        accepted > 0 && late <= Duration::from_secs(1),
        "{accepted} accepted, the last refusal came {late:?} after the refetch"
    );
    ensure!(old_refused.is_some_and(|after| after <= Duration::from_secs(2)), "old key: {old_refused:?}");
    Ok(())
}

/// ES256, ES384 and RS256 by Envoy's own function, PS256 and EdDSA in the module. Each accepts the good signature and
/// refuses one with a bit flipped.
fn every_algorithm() -> Result<()> {
    for algorithm in ["ES256", "ES384", "RS256", "PS256", "EdDSA"] {
        let mut stack = EnvoyStack::prepare(&Options { algorithm, ..Options::default() })?;
        let mut policy = stack.sample_policy()?;
        policy["issuers"][stack.issuer()]["algorithms"] = serde_json::json!([algorithm]);
        stack.update(&Setup::Configuration(policy.to_string()))?;
        stack.wait_until_ready()?;
        let token = stack.token(Server::Notes, "mcp:connect")?;
        wait_for("the algorithm", || Ok(send(&call(&stack, Server::Notes, &token, "echo"))?.status == 200))
            .with_context(|| algorithm.to_owned())?;
        let (signed, signature) = token.rsplit_once('.').context("no signature")?;
        let mut bytes = URL_SAFE_NO_PAD.decode(signature)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        let forged = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bytes));
        expect(&call(&stack, Server::Notes, &forged, "echo"), 401, "signature_invalid")
            .with_context(|| algorithm.to_owned())?;
    }
    Ok(())
}
