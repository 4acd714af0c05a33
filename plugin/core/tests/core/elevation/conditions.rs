//! P17: what of a claim can be known, and how numbers are compared. What is not known permits nothing, negated or not.

use super::eligibility::is_elevated;
use super::*;

/// Asserts that the condition is unknown of these claims: neither it nor its negation elevates.
#[track_caller]
fn assert_unknown(condition: &Json, claims: &Json) {
    let negated = json!({ "not": condition });
    assert!(!is_elevated(condition, claims, None), "{condition} holds for {claims}");
    assert!(!is_elevated(&negated, claims, None), "{negated} holds for {claims}");
}

#[test]
fn p17_a_list_on_the_way_of_a_path_makes_it_unknown() {
    for test in [
        json!({ "claim": "limits.refund", "present": false }),
        json!({ "claim": "limits.refund", "present": true }),
        json!({ "claim": "limits.refund", "above": 100 }),
        json!({ "claim": "limits.refund", "equals": 500 }),
        json!({ "claim": "/limits/0/refund", "equals": 500 }),
        json!({ "claim": "/limits/0/refund", "present": false }),
    ] {
        for limits in [json!([{ "refund": 500 }]), json!([]), json!([[{ "refund": 500 }]])] {
            assert_unknown(&test, &json!({ "limits": limits }));
        }
    }
    let absent = json!({ "claim": "limits.refund", "present": false });
    for claims in [json!({}), json!({ "limits": {} }), json!({ "limits": 5 }), json!({ "limits": { "refund": null } })]
    {
        assert!(is_elevated(&absent, &claims, None), "below a scalar there is nothing: {claims}");
    }
    // A list at the end is there, an empty one too.
    for refund in [json!([500]), json!([])] {
        assert!(!is_elevated(&absent, &json!({ "limits": { "refund": refund } }), None));
    }
}

#[test]
fn p17_a_list_in_a_list_is_unknown_unless_another_item_decides() {
    let (inside, is) = (json!({ "claim": "roles", "in": ["admin"] }), json!({ "claim": "roles", "equals": "admin" }));
    let begins = json!({ "claim": "roles", "prefix": "adm" });
    for test in [inside, is, begins] {
        for roles in [json!([["admin"]]), json!([[[["admin"]]]]), json!([["user"]]), json!([[]]), json!([[], "user"])] {
            assert_unknown(&test, &json!({ "roles": roles }));
        }
        for roles in [json!([["user"], "admin"]), json!(["admin", ["user"]]), json!(["admin"])] {
            assert!(is_elevated(&test, &json!({ "roles": roles }), None), "{test} {roles}");
        }
    }
    assert_unknown(&json!({ "claim": "levels", "above": 2 }), &json!({ "levels": [[3]] }));
}

#[test]
fn p17_a_member_that_differs_by_case_alone_is_unknown() {
    for claims in [json!({ "Contractor": true }), json!({ "CONTRACTOR": null }), json!({ "contractoR": false })] {
        for test in [json!({ "present": false }), json!({ "present": true }), json!({ "equals": true })] {
            let mut condition = test;
            condition["claim"] = json!("contractor");
            assert_unknown(&condition, &claims);
        }
    }
    let nested = json!({ "claim": "limits.refund", "present": false });
    assert_unknown(&nested, &json!({ "limits": { "Refund": 5 } }));
    assert_unknown(&nested, &json!({ "Limits": { "refund": 5 } }));
}

/// Is a caller elevated whose claim `n` is written so?
fn elevates(test: &str, written: &str) -> bool {
    let condition: Json = serde_json::from_str(&format!(r#"{{"claim":"n",{test}}}"#)).expect("a condition");
    let mut vm = Vm::new(&load(&exchanging(json!({ "may_elevate": condition }))));
    let claims = Token::new(BASELINE).claim("n", "HERE").claims().to_string().replace(r#""HERE""#, written);
    let text = key().sign(br#"{"alg":"EdDSA","typ":"at+jwt","kid":"k1"}"#, claims.as_bytes());
    let stream = begin(&mut vm, &call().bearer(&text));
    let calls = vm.take_calls().len();
    if calls == 0 {
        vm.settled(stream).assert_refused(403, "not_eligible");
    }
    calls == 1
}

#[test]
fn p17_numbers_of_claims_are_compared_as_they_are_written() {
    for (test, written, expected) in [
        (r#""equals":1"#, "1.0", true),
        (r#""equals":1.0"#, "10e-1", true),
        (r#""in":[5,0.1]"#, "0.10", true),
        (r#""equals":999999999999999"#, "999999999999999", true),
        (r#""equals":999999999999999"#, "999999999999998", false),
        (r#""equals":0.1"#, "0.100000000000001", false),
        (r#""above":0.1"#, "0.100000000000001", true),
        (r#""above":2"#, "1e1", true),
        (r#""below":-9"#, "-9.5", true),
        (r#""below":-9.5"#, "-9", false),
    ] {
        assert_eq!(elevates(test, written), expected, "{test} {written}");
    }
}

/// As doubles 9007199254740992 and ...993 are one number: a tenant that is another one.
#[test]
fn p17_numbers_of_more_than_fifteen_digits_are_unknown() {
    for written in ["9007199254740993", "9007199254740992", "1000000000000000", "0.1000000000000000055"] {
        for test in [r#""equals":1"#, r#""in":[1,2]"#, r#""above":0"#, r#""below":0"#] {
            assert!(!elevates(test, written), "{test} {written}");
        }
    }
    for condition in [json!({ "above": 0 }), json!({ "below": 0 }), json!({ "equals": 1 }), json!({ "in": [1, 2] })] {
        let mut condition = condition;
        condition["claim"] = json!("n");
        assert_unknown(&condition, &json!({ "n": 9_007_199_254_740_993_u64 }));
    }
    assert!(elevates(r#""present":true"#, "9007199254740993"), "it is there, whatever it is");
    for test in ["equals", "above", "below"] {
        let condition = json!({ "claim": "n", test: 9_007_199_254_740_992_u64 });
        assert_fault(&exchanging(json!({ "may_elevate": condition })), &["may_elevate", "more than 15 digits"]);
    }
    let listed = json!({ "claim": "n", "in": [1, 9_007_199_254_740_992_u64] });
    assert_fault(&exchanging(json!({ "may_elevate": listed })), &["may_elevate", "more than 15 digits"]);
}

#[test]
fn p17_the_called_name_stands_in_equals() {
    let rule = |callers: Json| json!({ "scope": [], "callers": callers });
    for text in ["tool:{nam}", "a{b", "}", "{name", "{{name}"] {
        let rule = rule(json!({ "not": { "claim": "blocked", "equals": text } }));
        let fault = ["tools.get.callers.not.equals", "a brace that is not understood"];
        assert_fault(&document(json!({ "get": rule })), &fault);
    }
    load(&document(json!({ "get": rule(json!({ "claim": "x", "in": ["a{b"] })) })));
    let allowed = |equals: &str, granted: &str, tool: &str| {
        let document = document(json!({ "*": rule(json!({ "claim": "may", "equals": equals })) }));
        let token = Token::new(BASELINE).claim("may", granted).text();
        Vm::new(&load(&document)).send(&Request::call(tool).bearer(&token)).is_forwarded()
    };
    for (equals, granted, tool, expected) in [
        ("tool:{name}", "tool:get", "get", true),
        ("tool:{name}", "tool:get", "Get", false),
        ("tool:{name}", "tool:set", "get", false),
        ("tool:{name}", "tool:{name}", "get", false),
        ("{name}", "get", "get", true),
        ("{name}/{name}", "get/get", "get", true),
        ("{{name}}:{name}", "{name}:get", "get", true),
        ("tool:{name}", "tool:a/b", "a/b", false),
    ] {
        assert_eq!(allowed(equals, granted, tool), expected, "{equals} {granted} {tool}");
    }
    // Nothing is called: it cannot be known, and `not` does not make it known.
    let named = json!({ "claim": "sub", "equals": "{name}" });
    for callers in [named.clone(), json!({ "not": named })] {
        let document = with(document(json!({ "get": { "scope": [] } })), "/callers", callers);
        let ping = Request::method("ping", json!({})).bearer(&token(BASELINE));
        Vm::new(&load(&document)).send(&ping).assert_refused(403, "caller_not_allowed");
    }
}
