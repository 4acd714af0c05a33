//! A second opinion: a naive decision, written from `docs/policy-language.md` alone, beside the engine's, over random policies and
//! requests. Where they differ, one of them has misread the page.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "tests"
)]

mod naive;
mod properties;
mod random;
mod table;

use std::collections::BTreeMap;
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use naive::{Answer, Caller};
use random::{Case, NOW};
use serde_json::{Value as Json, json};
use step_up_core::{Environment, Millis, Policy, ResponseHead};
use step_up_testkit::{Memory, Outcome, Request, Vm, key};

/// Seeds of the ordinary run. `ORACLE_SEEDS` asks for others: `FIRST..LAST`.
const SEEDS: std::ops::Range<u64> = 0..20_000;
/// Of them, so many policies load at least: the generator is to write policies.
const FEWEST: usize = 12_000;

#[test]
fn the_engine_decides_as_a_naive_reader_does() {
    let (mut loaded, mut differences, mut seen) = (0, Vec::new(), BTreeMap::<String, usize>::new());
    for seed in seeds() {
        let case = random::case(seed);
        let Some(policy) = load(&case) else { continue };
        loaded += 1;
        let caller = caller(&case);
        let expected = naive::decide(&case.policy, caller.as_ref(), &case.frame, case.modern, NOW);
        let found = decided(&case, &policy);
        *seen.entry(name(&expected)).or_default() += 1;
        // Of a template's URIs, several may be as good as each other: any of them may give the answer's words.
        let is_template = case.frame["params"]["ref"]["uri"].as_str().is_some_and(|uri| uri.contains('{'));
        let kind = |text: &str| text.split(' ').next().map(str::to_owned);
        let agrees = if is_template { kind(&written(&expected)) == kind(&found) } else { written(&expected) == found };
        if !agrees {
            println!("{seed}: {:#}\n{:#}", case.policy, case.frame);
            differences.push(format!("{seed}: page {}, engine {found}", written(&expected)));
        }
        let (kind, thing) = (case.list.0, case.list.1.as_str());
        let expected = naive::listed(&case.policy, caller.as_ref(), kind, thing, case.modern, NOW);
        if let Some(found) = listed(&case, &policy).filter(|found| *found != expected) {
            differences.push(format!("{seed}: {kind} {thing:?}: page lists it {expected}, engine {found}"));
        }
    }
    println!("{loaded} policies: {seen:#?}");
    let shown: Vec<&String> = differences.iter().take(20).collect();
    assert!(differences.is_empty(), "{} differ: {shown:#?}", differences.len());
    if std::env::var_os("ORACLE_SEEDS").is_none() {
        assert!(loaded >= FEWEST, "only {loaded} policies load");
        assert!(seen.len() >= 20, "not all answers are reached");
    }
}

fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("ORACLE_SEEDS") else { return SEEDS };
    let (first, last) = text.split_once("..").expect("FIRST..LAST");
    first.parse().unwrap()..last.parse().unwrap()
}

/// The clock at which policies are loaded.
struct Clock;

impl Environment for Clock {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn now(&self) -> Option<Millis> {
        Some(Millis(NOW * 1000))
    }
}

/// With keys of ours. `None`: the loader refuses it, which the naive reader does not know.
fn load(case: &Case) -> Option<Rc<Policy>> {
    let mut policy = case.policy.clone();
    policy["issuers"]["https://as.example.com"] = json!({ "keys": { "keys": [key().jwk()] }, "algorithms": ["EdDSA"] });
    match Policy::load(policy.to_string().as_bytes(), &Clock) {
        Ok(policy) => Some(Rc::new(policy)),
        Err(faults) => {
            if std::env::var_os("ORACLE_FAULTS").is_some() {
                println!("{}", faults.first().unwrap());
            }
            None
        }
    }
}

fn caller(case: &Case) -> Option<Caller<'_>> {
    let claims = case.claims.as_ref()?;
    Some(Caller { claims, source: case.source, certificate: case.certificate })
}

fn request(case: &Case, frame: &Json) -> Request {
    let mut request = Request::post(frame.to_string());
    if case.modern {
        let method = frame["method"].as_str().unwrap_or_default();
        request = request.header("mcp-protocol-version", "2026-07-28").header("mcp-method", method);
        let name = frame["params"]["name"].as_str().filter(|_| matches!(method, "tools/call" | "prompts/get"));
        let uri = frame["params"]["uri"].as_str().filter(|_| method == "resources/read");
        if let Some(name) = name.or(uri) {
            request = request
                .header("mcp-name", format!("=?base64?{}?=", base64::engine::general_purpose::STANDARD.encode(name)));
        }
    }
    if let Some(claims) = &case.claims {
        let text = key().sign(br#"{"alg":"EdDSA","typ":"at+jwt","kid":"k1"}"#, claims.to_string().as_bytes());
        request = request.bearer(&text);
    }
    if let Some(source) = case.source {
        request = request.certified_as(source);
    }
    match case.certificate {
        Some(thumb) => {
            let bytes = URL_SAFE_NO_PAD.decode(thumb).unwrap();
            request.with_certificate(&bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
        None => request,
    }
}

/// The revision stands in the body, too.
fn with_revision(case: &Case, mut frame: Json) -> Json {
    if case.modern && frame.get("id").is_some() && frame.get("method").is_some() {
        if !frame["params"].is_object() {
            frame["params"] = json!({});
        }
        if !frame["params"]["_meta"].is_object() {
            frame["params"]["_meta"] = json!({});
        }
        frame["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    }
    frame
}

fn vm(policy: &Rc<Policy>) -> Vm {
    Vm::in_process(policy, &Memory::default(), Millis(NOW * 1000), 1)
}

/// What the engine does, in the naive reader's words.
fn decided(case: &Case, policy: &Rc<Policy>) -> String {
    let mut vm = vm(policy);
    let request = request(case, &with_revision(case, case.frame.clone()));
    let stream = vm.head(&request);
    if !vm.is_settled(stream) {
        vm.body(stream, request.body());
    }
    if !vm.is_settled(stream) {
        let calls = vm.take_calls();
        let (_, call) = calls.first().expect("an exchange");
        let form: BTreeMap<String, String> = form(call.body.reveal());
        let mut scopes: Vec<&str> =
            form.get("scope").map_or("", String::as_str).split(' ').filter(|text| !text.is_empty()).collect();
        scopes.sort_unstable();
        let audience = form.get("resource").or(form.get("audience")).unwrap();
        return format!("elevate {scopes:?} for {audience}");
    }
    let settled = vm.settled(stream);
    let answer = match &settled.outcome {
        Outcome::Forwarded(_) if settled.record["anonymous"] == json!(true) => return "anonymous".to_owned(),
        Outcome::Forwarded(_) => return "permit".to_owned(),
        Outcome::Answered(answer) => answer,
    };
    let parameter = |name: &str| {
        let challenge = answer.header("www-authenticate")?;
        let rest = &challenge[challenge.find(&format!("{name}=\""))? + name.len() + 2..];
        Some(rest[..rest.find('"')?].to_owned())
    };
    match (settled.reason(), parameter("error").as_deref()) {
        ("dropped", _) => "drop".to_owned(),
        ("token_missing", _) => "needs a token".to_owned(),
        (_, Some("insufficient_scope")) => {
            let scope = parameter("scope").unwrap_or_default();
            let mut scopes: Vec<&str> = scope.split(' ').collect();
            scopes.sort_unstable();
            format!("challenge {scopes:?}")
        }
        (_, Some("insufficient_user_authentication")) => {
            let acr = parameter("acr_values").unwrap_or_default();
            let mut acr: Vec<&str> = acr.split(' ').filter(|text| !text.is_empty()).collect();
            acr.sort_unstable();
            format!("login {:?} {acr:?}", parameter("max_age"))
        }
        // A reader that ignores case is the frame's affair, not the page's.
        ("folded_key", _) => "refuse params_invalid".to_owned(),
        (reason, _) => format!("refuse {reason}"),
    }
}

fn form(text: &str) -> BTreeMap<String, String> {
    let decoded = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((byte, tail)) = rest.split_first() {
            if *byte == b'%' {
                bytes.push(u8::from_str_radix(std::str::from_utf8(&tail[..2]).unwrap(), 16).unwrap());
                rest = &tail[2..];
            } else {
                bytes.push(if *byte == b'+' { b' ' } else { *byte });
                rest = tail;
            }
        }
        String::from_utf8(bytes).unwrap()
    };
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

/// Is it in the list that the caller gets? `None`: the request for the list is refused, or shows all.
fn listed(case: &Case, policy: &Rc<Policy>) -> Option<bool> {
    let (kind, thing) = (case.list.0, case.list.1.as_str());
    let (method, list, key) = match kind {
        "tools" => ("tools/list", "tools", "name"),
        "prompts" => ("prompts/list", "prompts", "name"),
        "resources" => ("resources/list", "resources", "uri"),
        _ => ("resources/templates/list", "resourceTemplates", "uriTemplate"),
    };
    let mut vm = vm(policy);
    let frame = json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": {} });
    let request = request(case, &with_revision(case, frame));
    let stream = vm.head(&request);
    if !vm.is_settled(stream) {
        vm.body(stream, request.body());
    }
    if !vm.is_settled(stream) || !vm.settled(stream).is_forwarded() {
        return None;
    }
    if case.policy["lists"] == json!("pass") {
        return None;
    }
    let body = json!({ "jsonrpc": "2.0", "id": 7, "result": { list: [{ key: thing }] } }).to_string();
    vm.response(
        stream,
        ResponseHead { status: 200, content_type: Some("application/json"), ..ResponseHead::default() },
    );
    vm.response_body(stream, Ok(body.as_bytes()));
    let given: Json = serde_json::from_str(vm.given(stream).unwrap().text()).unwrap();
    Some(!given["result"][list].as_array().unwrap().is_empty())
}

fn name(answer: &Answer) -> String {
    match answer {
        Answer::Challenge { .. } => "challenge".to_owned(),
        Answer::Login { .. } => "login".to_owned(),
        Answer::Elevate { .. } => "elevate".to_owned(),
        other => written(other),
    }
}

fn written(answer: &Answer) -> String {
    match answer {
        Answer::Permit => "permit".to_owned(),
        Answer::Anonymous => "anonymous".to_owned(),
        Answer::Challenge { scopes } => format!("challenge {scopes:?}"),
        Answer::Login { max_age, acr } => {
            let mut acr = acr.clone();
            acr.sort_unstable();
            format!("login {:?} {acr:?}", max_age.map(|age| age.to_string()))
        }
        Answer::Refuse(reason) => format!("refuse {reason}"),
        Answer::Elevate { scopes, audience, .. } => format!("elevate {scopes:?} for {audience}"),
        Answer::NeedsToken => "needs a token".to_owned(),
        Answer::Drop => "drop".to_owned(),
    }
}
