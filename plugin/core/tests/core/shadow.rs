//! P15: shadow mode suspends the verdicts of the policy, and nothing else.

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use step_up_core::Millis;
use step_up_core::{Change, Metric};

use crate::support::*;

/// 2027-03-01, the first moment after the shadow.
const END: Millis = Millis(1_803_859_200_000);

fn enforced() -> Json {
    document(json!({
        "get": { "scope": [] },
        "put": { "scope": "repo:write" },
        "none": { "scope": "repo:admin", "step_up": "none" },
        "short": { "scope": [], "max_lifetime": "1m" },
        "fresh": { "scope": [], "max_age": "1m" },
        "shell": "deny",
    }))
}

fn shadow() -> Json {
    with(with(enforced(), "/mode", json!("shadow")), "/until", json!("2027-03-01"))
}

/// The same request under the policy in force and in shadow.
fn both(request: &Request) -> (Settled, Settled) {
    (Vm::new(&load(&enforced())).send(request), Vm::new(&load(&shadow())).send(request))
}

fn call(tool: &str) -> Request {
    Request::call(tool).bearer(&token(BASELINE))
}

#[test]
fn p15_verdicts_of_the_policy_pass_and_say_what_would_have_been() {
    for (request, reason) in [
        (call("put"), "scope_missing"),
        (call("none"), "scope_not_obtainable"),
        (call("shell"), "denied"),
        (call("nothing"), "no_rule"),
        (call("Shell"), "name_confusable"),
        (call("fresh"), "login_too_old"),
        (call("short"), "token_too_long_lived_for_rule"),
        (call("get").bearer(&token("x")), "scope_missing"),
        (Request::method("tools/list", json!({})).bearer(&token("x")), "scope_missing"),
        (Request::method("prompts/get", json!({ "name": "x" })).bearer(&token(BASELINE)), "no_rule"),
        (Request::bare("GET", "/mcp").bearer(&token("x")), "scope_missing"),
    ] {
        let (enforced, shadow) = both(&request);
        enforced.assert_refused(403, reason);
        shadow.assert_forwarded();
        let would = &shadow.record["would"];
        assert_eq!((&would["reason"], &would["status"]), (&json!(reason), &json!(403)));
        assert_eq!(would["verdict"], enforced.record["verdict"]);
        assert_eq!((&shadow.record["verdict"], &shadow.record["mode"]), (&json!("permit"), &json!("shadow")));
        assert_eq!(shadow.record.get("status"), None, "nothing was answered");
        assert_eq!(shadow.record.get("missing"), enforced.record.get("missing"));
        assert_eq!(shadow.rule(), enforced.rule());
    }
}

#[test]
fn p15_a_call_that_is_permitted_looks_the_same() {
    let (enforced, shadow) = both(&call("get"));
    assert!(enforced.is_forwarded() && shadow.is_forwarded());
    assert_eq!(shadow.record.get("would"), None);
    assert_eq!((shadow.reason(), &shadow.record["mode"]), ("permitted", &json!("shadow")));
}

#[test]
fn p15_checks_of_token_path_method_and_frame_stay_enforced() {
    let body = |body: &str| Request::post(body).bearer(&token(BASELINE));
    for request in [
        Request::call("get"),
        call("get").bearer("x"),
        call("get").bearer(&Token::new(BASELINE).claim("exp", START - 60).text()),
        call("get").bearer(&Token::new(BASELINE).claim("aud", "https://other.example.com").text()),
        call("get").bearer(&Token::new(BASELINE).claim("cnf", json!({})).text()),
        call("get").bearer(&Token::new(BASELINE).header("kid", "k1").signed_by(other_key())),
        call("get").header(":path", "/other"),
        call("get").header(":path", "/mcp?access_token=x"),
        call("get").header(":method", "PUT"),
        call("get").header("upgrade", "websocket"),
        call("get").header("origin", "https://evil.example.com"),
        call("get").header("content-type", "text/plain"),
        call("get").header("mcp-name", "put"),
        call("get").header("mcp-protocol-version", "2027-01-01"),
        call("get").another("mcp-name", "get").another("mcp-name", "get"),
        Request::bare("GET", "/mcp").header("content-length", "1").bearer(&token(BASELINE)),
        Request::method("tasks/get", json!({})).bearer(&token(BASELINE)),
        body("{"),
        body("[]"),
        body(r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#),
        body(r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#),
    ] {
        let (enforced, shadow) = both(&request);
        assert_eq!(shadow.answer().status, enforced.answer().status, "{request:?}");
        assert_eq!(shadow.answer().anonymous(), enforced.answer().anonymous(), "{request:?}");
        assert_eq!(shadow.record.get("would"), None);
    }
}

#[test]
fn p15_the_lifetime_an_issuer_may_grant_stays_enforced() {
    let document = with(shadow(), "/issuers/https:~1~1as.example.com/max_lifetime", json!("1m"));
    Vm::new(&load(&document)).send(&call("get")).assert_refused(403, "token_too_long_lived");
}

#[test]
fn p15_a_notification_that_is_dropped_is_dropped_for_everybody() {
    let notification = Request::notification("notifications/unheard_of");
    let (_, with_baseline) = both(&notification.clone().bearer(&token(BASELINE)));
    assert_eq!(with_baseline.answer().status, 202);
    // A caller who lacks the baseline must not reach further than one who has it.
    let (enforced, without) = both(&notification.bearer(&token("x")));
    enforced.assert_refused(403, "scope_missing");
    assert!(!without.is_forwarded(), "an unknown method went upstream: {}", without.record);
    // Nor may shadow mode refuse it: the baseline is a reason of the policy.
    assert_eq!((without.answer(), without.reason()), (with_baseline.answer(), "dropped"));
    let (_, known) = both(&Request::notification("notifications/initialized").bearer(&token("x")));
    known.assert_forwarded();
    assert_eq!(known.record["would"]["reason"], "scope_missing");
}

#[test]
fn p15_a_notification_that_is_dropped_still_needs_a_token() {
    let notification = Request::notification("notifications/unheard_of");
    let expired = Token::new(BASELINE).claim("exp", START - 60).text();
    for (request, reason) in [(notification.clone(), "token_missing"), (notification.bearer(&expired), "token_expired")]
    {
        both(&request).1.assert_refused(401, reason);
    }
}

#[test]
fn p15_unwanted_headers_are_removed_all_the_same() {
    for tool in ["get", "shell", "put"] {
        let request = call(tool).header("x-envoy-retry-on", "5xx").header("txn-token", "x").header("x-kept", "x");
        let (_, shadow) = both(&request);
        assert_eq!(shadow.removed(), ["x-envoy-retry-on", "txn-token"], "{tool}");
    }
}

#[test]
fn p15_the_shadow_ends_at_its_date() {
    let at = |now: Millis| {
        // The token is as fresh then as it was at the start.
        let later = i64::try_from((now.0 - NOW.0) / 1000).unwrap();
        let token = Token::new(BASELINE).claim("iat", START - 60 + later).claim("exp", START + 540 + later).text();
        Vm::in_process(&load(&shadow()), &Memory::default(), now, 1).send(&call("shell").bearer(&token))
    };
    at(Millis(END.0 - 1)).assert_forwarded();
    let after = at(END);
    after.assert_refused(403, "denied");
    assert_eq!((after.record.get("would"), &after.record["mode"]), (None, &json!("enforce")));
}

#[test]
fn p15_the_shadow_ends_while_the_gate_runs() {
    let mut vm = Vm::in_process(&load(&shadow()), &Memory::default(), Millis(END.0 - 5_000), 1);
    let token = Token::new(BASELINE).claim("iat", 1_803_859_000).claim("exp", 1_803_859_500).text();
    vm.send(&call("shell").bearer(&token)).assert_forwarded();
    vm.pass(5_000);
    vm.send(&call("shell").bearer(&token)).assert_refused(403, "denied");
}

#[test]
fn p15_metrics_tell_the_modes_apart() {
    let mut vm = Vm::new(&load(&shadow()));
    vm.send(&call("shell"));
    vm.tick();
    let names: Vec<String> = vm.metrics.iter().map(Metric::name).collect();
    let expected = "stepup_decisions_total;server=default;verdict=permit;reason=denied;mode=shadow";
    assert!(names.iter().any(|name| name == expected), "{names:#?}");
}

/// What the gauge of shadow mode was last set to.
fn gauge(vm: &Vm) -> Option<Change> {
    vm.metrics.iter().rev().find(|metric| metric.name().contains("shadow")).map(Metric::change)
}

#[test]
fn p15_a_gauge_shows_the_shadow() {
    let mut vm = Vm::in_process(&load(&shadow()), &Memory::default(), Millis(END.0 - 5_000), 1);
    vm.pass(2_000);
    assert_eq!(gauge(&vm), Some(Change::Set(1)));
    vm.pass(5_000);
    assert_eq!(gauge(&vm), Some(Change::Set(0)), "the shadow has ended");
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn p15_shadow_differs_from_enforcement_in_verdicts_of_the_policy_only(
        request in random::request(),
        body in prop::option::of(random::frame()),
    ) {
        let request = match body {
            Some(body) if !request.is_bodiless() => request.with_body(body),
            _ => request,
        };
        let (enforced, shadow) = both(&request);
        match (&enforced.outcome, &shadow.outcome) {
            (Outcome::Forwarded(left), Outcome::Forwarded(right)) => prop_assert_eq!(left, right),
            (Outcome::Answered(left), Outcome::Answered(right)) => prop_assert_eq!(left.status, right.status),
            (Outcome::Answered(answer), Outcome::Forwarded(_)) => {
                prop_assert!(matches!(answer.code(), Some(40102 | 40300 | 40301 | 40303)), "{:?}", answer);
                prop_assert_eq!(&shadow.record["would"]["status"], &json!(answer.status));
            }
            (Outcome::Forwarded(_), Outcome::Answered(answer)) => prop_assert!(false, "{:?}", answer),
        }
    }
}
