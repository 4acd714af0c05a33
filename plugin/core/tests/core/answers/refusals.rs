//! What a good token is not enough for.

use super::*;

// `held` scope missing.

#[test]
fn a_missing_scope_is_challenged_with_all_that_is_held_and_the_id() {
    let settled = vm().send(&Request::call("put").bearer(&token("mcp:connect repo:read")));
    settled.assert_refused(403, "scope_missing");
    assert_eq!(
        settled.challenge(),
        Some(
            "Bearer error=\"insufficient_scope\", scope=\"mcp:connect repo:read repo:write\", \
             resource_metadata=\"https://mcp.example.com/.well-known/oauth-protected-resource/mcp\", \
             error_description=\"this operation needs more scope\""
        )
    );
    let answer = settled.answer().json();
    assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!(7)));
    assert_eq!(answer["error"]["code"], 40300);
    assert_eq!(answer["error"]["data"]["reason"], "scope_missing");
    assert_eq!(answer["error"]["data"]["request_id"], settled.record["id"]);
    assert_eq!(settled.record["missing"], json!(["repo:write"]));
    assert_eq!((&settled.record["verdict"], &settled.record["status"]), (&json!("challenge"), &json!(403)));
}

#[test]
fn the_answer_never_names_a_rule() {
    let document = document(json!({ "secret_prefix_*": { "scope": "a" }, "secret_exact": "deny" }));
    for tool in ["secret_prefix_x", "secret_exact"] {
        let settled = judge(&document, &good(), tool);
        assert!(!String::from_utf8_lossy(&settled.answer().body).contains("secret_"));
    }
}

#[test]
fn challenges_are_deterministic() {
    let policy = load(&example());
    let missing = Request::call("put").bearer(&good());
    let expired = Request::call("put").bearer(&Token::new(BASELINE).claim("exp", START - 31).text());
    for request in [missing, expired, Request::call("put")] {
        let challenges: Vec<String> = (1..4)
            .map(|seed| {
                let mut vm = Vm::in_process(&policy, &Memory::default(), NOW.plus_seconds(seed.into()), seed);
                vm.send(&Request::call("get").bearer(&good()));
                vm.send(&request).challenge().unwrap().to_owned()
            })
            .collect();
        assert!(challenges.iter().all(|challenge| *challenge == challenges[0]), "{challenges:?}");
    }
}

// Login too old, token too long-lived.

#[test]
fn an_old_login_is_refused_without_challenge() {
    let settled = vm().send(&Request::call("fresh").bearer(&good()));
    settled.assert_refused(403, "login_too_old");
    assert_eq!((settled.answer().code(), settled.challenge()), (Some(40102), None));
    assert_eq!(settled.answer().json()["id"], 7);
}

#[test]
fn a_long_lived_token_is_refused_without_challenge() {
    let settled = vm().send(&Request::call("short").bearer(&good()));
    settled.assert_refused(403, "token_too_long_lived_for_rule");
    assert_eq!((settled.answer().code(), settled.challenge()), (Some(40303), None));
    assert_eq!(settled.answer().json()["id"], 7);
}

// Denied, no rule, not obtainable.

#[test]
fn the_client_cannot_tell_denied_from_unknown_from_confusable() {
    let mut vm = vm();
    let mut answers = Vec::new();
    for (tool, reason) in [
        ("shell", "denied"),
        ("nothing", "no_rule"),
        ("Shell", "name_confusable"),
        ("none", "scope_not_obtainable"),
        ("shell ", "name_confusable"),
        ("get/../shell", "name_confusable"),
        ("get//shell", "name_confusable"),
    ] {
        let settled = vm.send(&Request::call(tool).bearer(&good()));
        settled.assert_refused(403, reason);
        assert_eq!((settled.answer().code(), settled.challenge()), (Some(40301), None));
        answers.push(settled.answer().anonymous());
    }
    let prompt = vm.send(&Request::method("prompts/get", json!({ "name": "x" })).bearer(&good()));
    answers.push(prompt.answer().anonymous());
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    assert_eq!(answers[0].2["id"], 7);
}

#[test]
fn request_ids_differ_and_cannot_be_foretold() {
    let policy = load(&example());
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..4 {
        let mut vm = Vm::in_process(&policy, &Memory::default(), NOW, seed);
        for _ in 0..8 {
            let settled = vm.send(&Request::call("shell").bearer(&good()));
            assert!(seen.insert(settled.answer().json()["error"]["data"]["request_id"].to_string()));
        }
    }
}
