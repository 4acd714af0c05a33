//! P15: shadow mode of single rules.

use super::*;

const SHADOW: (&str, &str) = ("shadow", "2027-03-01");

fn policy(own: Option<(&str, &str)>, whole: Option<(&str, &str)>) -> Json {
    let with_mode = |mut value: Json, mode: Option<(&str, &str)>| {
        if let Some((mode, until)) = mode {
            value["mode"] = json!(mode);
            if !until.is_empty() {
                value["until"] = json!(until);
            }
        }
        value
    };
    let rule = with_mode(json!({ "scope": "x" }), own);
    with_mode(document(json!({ "t": rule, "u": { "scope": "x" } })), whole)
}

#[test]
fn p15_a_rules_own_mode_wins_in_both_directions() {
    for (own, whole, t, u) in [
        (Some(SHADOW), None, true, false),
        (Some(("enforce", "")), Some(SHADOW), false, true),
        (None, Some(SHADOW), true, true),
        // Its date has come: it enforces.
        (Some(("shadow", "2026-12-31")), Some(SHADOW), false, true),
        (Some(("shadow", "2026-12-31")), None, false, false),
    ] {
        let mut vm = Vm::new(&load(&policy(own, whole)));
        for (tool, is_shadow) in [("t", t), ("u", u)] {
            let settled = vm.send(&Request::call(tool).bearer(&token(BASELINE)));
            assert_eq!(settled.is_forwarded(), is_shadow, "{own:?} {whole:?} {tool}");
            assert_eq!(settled.record["mode"], if is_shadow { "shadow" } else { "enforce" });
        }
        // A name without a rule takes the policy's.
        let settled = vm.send(&Request::call("v").bearer(&token(BASELINE)));
        assert_eq!(settled.is_forwarded(), whole.is_some());
    }
}

#[test]
fn p15_a_confusable_name_is_in_shadow_only_if_both_its_rules_are() {
    let tools = |get: Json, upper: Json| document(json!({ "get_*": get, "GET_X*": upper }));
    let shadow = json!({ "scope": "x", "mode": "shadow", "until": "2027-03-01" });
    let enforced = json!({ "scope": "x" });
    for (get, upper, is_shadow) in [(&shadow, &shadow, true), (&shadow, &enforced, false), (&enforced, &shadow, false)]
    {
        let document = tools(get.clone(), upper.clone());
        let settled = judge(&document, &token(BASELINE), "get_x1");
        assert_eq!(settled.is_forwarded(), is_shadow, "{document}");
    }
}

#[test]
fn p15_each_shadow_has_its_date() {
    for (mode, words) in [
        (json!({ "mode": "shadow" }), "`until` is missing"),
        (json!({ "until": "2027-03-01" }), "`until` without shadow mode"),
        (json!({ "mode": "enforce", "until": "2027-03-01" }), "`until` without shadow mode"),
        (json!({ "mode": "off" }), "not a mode"),
        (json!({ "mode": "shadow", "until": "soon" }), "not a date"),
    ] {
        let mut rule = json!({ "scope": "x" });
        mode.as_object().unwrap().iter().for_each(|(name, value)| rule[name] = value.clone());
        assert_fault(&document(json!({ "t": rule })), &["tools.t", words]);
    }
}

#[test]
fn p15_a_binding_is_never_suspended() {
    let document = document(
        json!({ "t": { "scope": "x", "deny": true, "binding": "certificate", "mode": "shadow", "until": "2027-03-01" } }),
    );
    judge(&document, &token(BASELINE), "t").assert_refused(401, "token_not_bound");
    let server = with(crate::support::document(json!({ "t": { "scope": [] } })), "/binding", json!("certificate"));
    let server = with(with(server, "/mode", json!("shadow")), "/until", json!("2027-03-01"));
    for tool in ["t", "no_rule", "T"] {
        judge(&server, &token(BASELINE), tool).assert_refused(401, "token_not_bound");
    }
}

#[test]
fn p15_a_gauge_shows_that_some_rule_is_in_shadow() {
    let gauge = |document: &Json| {
        let mut vm = Vm::new(&load(document));
        vm.tick();
        vm.metrics.iter().rev().find_map(|metric| match metric {
            step_up_core::Metric::Shadow { value } => Some(*value),
            _ => None,
        })
    };
    assert_eq!(gauge(&policy(Some(SHADOW), None)), Some(1));
    assert_eq!(gauge(&policy(None, None)), Some(0));
    assert_eq!(gauge(&policy(Some(("shadow", "2026-12-31")), None)), Some(0));
}
