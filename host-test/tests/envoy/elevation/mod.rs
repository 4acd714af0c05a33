//! Tokens for one call: minted by the real token service through a proxy that misbehaves as told, used, taken back.

mod faults;
mod many;
mod memory;
mod operators;
mod revocation;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
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
use crate::support::{apply, call, expect, in_session, open_session, reloads, wait_for, wait_for_seconds};
use crate::trial;
use faults::{late_answer, long_life, lost_answer, refusals, refused_upstream, wrong_answers};
use many::many_callers;
use memory::{large_result, memory};
use operators::{
    drain_while_revoking, metrics, own_credentials, rotation, rotation_while_operating, trap_while_revoking,
    update_while_exchanging, update_while_operating, update_while_revoking,
};
use revocation::{revocation_expires, revocation_repeated, revocation_unsupported};

pub fn trials() -> Vec<Trial> {
    let memory = || memory().map_err(|error| Failed::from(format!("{error:#}")));
    vec![
        trial("elevation::the_upstream_gets_a_token_for_this_call_alone", token_for_this_call),
        trial("elevation::in_a_session_that_the_server_ties_to_the_client", in_a_tied_session),
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
        trial("elevation::a_result_of_twenty_megabytes_takes_no_memory", large_result),
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

/// The Python SDK keys its sessions by the client, the issuer and the subject of the token that opened them: all three stay the caller's.
fn in_a_tied_session() -> Result<()> {
    let stack = stack()?;
    let caller = stack.token(Server::Notes, "mcp:connect")?;
    let session = open_session(&stack, Server::Notes, &caller)?;
    let call = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": { "name": "show-token", "arguments": {} } });
    let token = shown(&expect(&in_session(&stack, Server::Notes, &caller, &session, call), 200, "")?)?;
    let (before, after) = (claims(&caller)?, claims(&token)?);
    ensure!(token != caller && after["client_id"] == before["client_id"], "{after:#}");
    ensure!(after["act"]["client_id"] == FILTER, "{after:#}");
    Ok(())
}

// What they are made with.

/// The filter's client id.
const FILTER: &str = "step-up-filter";

/// A client of its own, and so a subject of its own.
pub(crate) struct Client {
    pub id: String,
    secret: String,
}

impl Client {
    pub fn register(stack: &EnvoyStack) -> Result<Client> {
        let metadata = json!({
            "grant_types": ["client_credentials"], "response_types": [], "redirect_uris": [],
            "token_endpoint_auth_method": "client_secret_post",
        });
        let answer = send(&Request::post(format!("{}/reg", stack.issuer()), metadata))?;
        let json = answer.message().with_context(|| format!("{answer:?}"))?;
        let text = |name: &str| json[name].as_str().map(str::to_owned).with_context(|| format!("no {name}: {json:#}"));
        Ok(Client { id: text("client_id")?, secret: text("client_secret")? })
    }

    pub fn token(&self, stack: &EnvoyStack) -> Result<String> {
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
