//! P7, P17: what is asked beside, by what a call is about.

use super::*;

fn raised(raise: Json) -> Json {
    exchanging(document(json!({ "push": { "scope": "repo:write", "raise": [raise], "may_elevate": null } })))
}

/// The rule of the examples: other branches than `main` are safe.
fn push() -> Json {
    let raise = json!({
        "unless": { "arg": "branch", "in": ["dev", "test"] },
        "step_up": "exchange", "scope": "repo:admin", "may_elevate": { "client": ["agent"] },
    });
    exchanging(document(json!({ "push": { "step_up": "challenge", "scope": "repo:write", "raise": [raise] } })))
}

#[test]
fn p07_a_raise_that_holds_or_is_unknown_is_joined_in() {
    let writer = token("mcp:connect repo:write");
    for (arguments, expected) in [
        (json!({ "branch": "dev" }), "permit"),
        (json!({ "branch": "main" }), "elevate repo:admin"),
        (json!({ "branch": "DEV" }), "elevate repo:admin"),
        (json!({}), "elevate repo:admin"),
        (json!({ "branch": null }), "elevate repo:admin"),
        (json!({ "branch": ["dev"] }), "elevate repo:admin"),
        (json!({ "branch": 1 }), "elevate repo:admin"),
        (json!({ "Branch": "dev" }), "elevate repo:admin"),
        (json!({ "branch": "dev", "BRANCH": "main" }), "elevate repo:admin"),
        (json!([]), "elevate repo:admin"),
        (json!("dev"), "elevate repo:admin"),
        (json!(null), "elevate repo:admin"),
    ] {
        let call = with_arguments("push", arguments.clone()).bearer(&writer);
        assert_eq!(outcome(&push(), &call), expected, "{arguments}");
    }
    // First what the caller's own token must carry, then what is obtained for the one call.
    let call = with_arguments("push", json!({ "branch": "main" })).bearer(&token("mcp:connect repo:admin"));
    assert_eq!(outcome(&push(), &call), "scope_missing");
}

#[test]
fn p17_arguments_that_are_no_object_are_unknown_for_every_test() {
    for condition in [json!({ "present": true }), json!({ "present": false }), json!({ "equals": 0 })] {
        for word in ["when", "unless"] {
            let mut test = condition.clone();
            test["arg"] = json!("scale");
            let rule = json!({ "scope": [], "raise": [{ word: test, "scope": "s" }] });
            for arguments in [json!("{\"scale\":0}"), json!(""), json!(7), json!(true), json!([{ "scale": 0 }])] {
                let call = with_arguments("t", arguments.clone()).bearer(&token("mcp:connect"));
                assert_eq!(outcome(&document(json!({ "t": rule })), &call), "scope_missing", "{rule} {arguments}");
            }
        }
    }
    // Nothing is no argument; below a scalar there is none.
    let rule = json!({ "scope": [], "raise": [{ "unless": { "arg": "a.b", "present": false }, "scope": "s" }] });
    for arguments in [json!(null), json!({}), json!({ "a": 1 }), json!({ "a": { "b": null } })] {
        let call = with_arguments("t", arguments.clone()).bearer(&token("mcp:connect"));
        assert_eq!(outcome(&document(json!({ "t": rule })), &call), "permit", "{arguments}");
    }
}

#[test]
fn p17_a_name_with_dots_and_slashes_is_warned_of() {
    let warned = |path: &str| {
        let raise = json!({ "when": { "meta": path, "present": true }, "scope": "s" });
        warnings(&document(json!({ "t": { "scope": [], "raise": [raise] } }))).contains("is read as a path (P17)")
    };
    let seen = ["com.example/x", "/com.example~1x", "a.b", "a/b"].map(warned);
    assert_eq!(seen, [true, false, false, false]);
}

#[test]
fn p08_may_elevate_of_auto_counts_where_a_raise_exchanges() {
    let rule = json!({
        "scope": "repo:write", "step_up": "auto", "may_elevate": { "claim": "roles", "in": ["admin"] },
        "raise": [{
            "when": { "arg": "force", "equals": true },
            "step_up": "exchange", "scope": "repo:admin", "may_elevate": { "claim": "sub", "present": true },
        }],
    });
    let mut document = exchanging(document(json!({ "t": rule })));
    document["clients"] = json!([{ "client": ["agent"], "steps_up": true }]);
    let call = |claims: Token, force: bool| {
        outcome(&document, &with_arguments("t", json!({ "force": force })).bearer(&claims.text()))
    };
    let writer = || Token::new("mcp:connect repo:write");
    assert_eq!(call(Token::new("mcp:connect"), false), "scope_missing", "it is not asked where `auto` challenges");
    assert_eq!(call(writer(), false), "permit");
    assert_eq!(call(writer(), true), "not_eligible", "that of the rule, too");
    assert_eq!(call(writer().claim("roles", json!(["admin"])), true), "elevate repo:admin");
}

#[test]
fn p07_the_record_names_the_raises_that_applied() {
    let rule = json!({ "scope": [], "raise": [
        { "when": { "arg": "a", "equals": 1 }, "scope": "a" },
        { "when": { "arg": "b", "equals": 1 }, "scope": "b" },
        { "when": { "arg": "c", "equals": 1 }, "scope": "c" },
    ] });
    let mut vm = Vm::new(&load(&document(json!({ "t": rule }))));
    let call = with_arguments("t", json!({ "a": 1, "b": 2, "c": 1 }));
    let settled = vm.send(&call.bearer(&token(BASELINE)));
    settled.assert_refused(403, "scope_missing");
    assert_eq!(settled.record["raised"], json!([0, 2]));
    assert_eq!(settled.record["missing"], json!(["a", "c"]));
    let none = vm.send(&with_arguments("t", json!({ "a": 0, "b": 0, "c": 0 })).bearer(&token(BASELINE)));
    assert_eq!(none.record.get("raised"), None);
}

#[test]
fn p07_a_raise_goes_its_rules_way_where_it_says_none() {
    let raise = |words: Json| {
        let mut raise = json!({ "when": { "arg": "x", "present": true }, "scope": "s" });
        words.as_object().unwrap().iter().for_each(|(name, value)| raise[name] = value.clone());
        raise
    };
    let rule = |step_up: &str, words: Json| {
        let mut rule = json!({ "scope": "r", "step_up": step_up, "raise": [raise(words)] });
        if matches!(step_up, "exchange" | "auto") {
            rule["may_elevate"] = json!({ "client": ["agent"] });
        }
        exchanging(document(json!({ "t": rule })))
    };
    let call = with_arguments("t", json!({ "x": 1 })).bearer(&token("mcp:connect r"));
    for (step_up, words, expected) in [
        ("challenge", json!({}), "scope_missing"),
        ("none", json!({}), "scope_not_obtainable"),
        ("exchange", json!({}), "elevate r s"),
        ("auto", json!({}), "elevate r s"),
        ("exchange", json!({ "step_up": "none" }), "scope_not_obtainable"),
        ("exchange", json!({ "step_up": "challenge" }), "scope_missing"),
        ("challenge", json!({ "step_up": "exchange", "may_elevate": { "client": ["agent"] } }), "elevate s"),
        ("challenge", json!({ "step_up": "exchange", "may_elevate": { "client": ["other"] } }), "not_eligible"),
        ("challenge", json!({ "deny": true }), "denied"),
        ("challenge", json!({ "scope": "r", "max_age": "5m" }), "login_too_old"),
        ("challenge", json!({ "scope": "r", "callers": { "client": ["other"] } }), "caller_not_allowed"),
    ] {
        assert_eq!(outcome(&rule(step_up, words.clone()), &call), expected, "{step_up} {words}");
    }
}

#[test]
fn p07_a_raise_says_an_audience_only_where_none_was_said() {
    let rule = |own: Json, raises: &[&str]| {
        let raises: Vec<Json> = raises
            .iter()
            .map(|audience| json!({ "when": { "arg": "x", "present": true }, "audience": audience }))
            .collect();
        let mut rule =
            json!({ "scope": "r", "step_up": "exchange", "may_elevate": { "client": ["agent"] }, "raise": raises });
        own.as_object().unwrap().iter().for_each(|(name, value)| rule[name] = value.clone());
        exchanging(document(json!({ "t": rule })))
    };
    load(&rule(json!({}), &["https://git.internal"]));
    load(&rule(json!({}), &["https://git.internal", "https://git.internal"]));
    assert_fault(
        &rule(json!({}), &["https://git.internal", "https://wiki.internal"]),
        &["tools.t", "`audience`", "(P5)"],
    );
    for own in ["https://git.internal", "https://other.internal", RESOURCE] {
        let document = rule(json!({ "audience": own }), &["https://git.internal"]);
        let faults = faults(&document);
        assert!(problems(&faults).contains("`audience` is said by the rule (P7)"), "{own}");
    }
}

#[test]
fn p07_raises_are_read_strictly() {
    for (raise, words) in [
        (json!({ "scope": "a" }), "not exactly one of `when` and `unless`"),
        (
            json!({ "when": { "arg": "x", "present": true }, "unless": { "arg": "y", "present": true }, "scope": "a" }),
            "not exactly one",
        ),
        (json!({ "when": { "arg": "x", "present": true } }), "a raise that asks for nothing"),
        (
            json!({ "when": { "arg": "x", "present": true }, "scope": "a", "token_service": "x" }),
            "unknown field `token_service`",
        ),
        (json!({ "when": { "arg": "x", "present": true }, "scope": "a", "task": "keep" }), "unknown field `task`"),
        (json!({ "when": { "arg": "x", "present": true }, "scope": "a", "mode": "shadow" }), "unknown field `mode`"),
        (
            json!({ "when": { "arg": "x", "present": true }, "scope": "a", "ttl": "5s" }),
            "`ttl` needs `step_up: exchange`",
        ),
        (
            json!({ "unless": { "meta": "x", "present": true }, "scope": "a" }),
            "`meta` where it could lower what is asked",
        ),
        (json!({ "when": { "not": { "meta": "x", "present": true } }, "scope": "a" }), "`meta` where it could lower"),
        (json!({ "when": { "every": { "meta": "x", "equals": 1 } }, "scope": "a" }), "unknown field `meta`"),
        (json!({ "when": { "arg": "x", "within": "/srv" }, "scope": "a" }), "not a folder"),
        (json!({ "when": { "arg": "x", "within": "srv/" }, "scope": "a" }), "not a folder"),
        (json!({ "when": { "arg": "x", "host": [] }, "scope": "a" }), "nothing in it"),
        (json!({ "when": { "arg": "x", "host": "*" }, "scope": "a" }), "no host that a URL could be at"),
        (json!({ "when": { "arg": "x", "equals": 1, "in": [2] }, "scope": "a" }), "without one test"),
    ] {
        let document = without(raised(raise.clone()), "/tools/push/may_elevate");
        let problems = problems(&faults(&document));
        assert!(problems.contains(words), "{raise}: {problems}");
    }
    let empty = document(json!({ "t": { "scope": [], "raise": [] } }));
    assert_fault(&empty, &["tools.t.raise", "an empty list"]);
    for place in ["callers", "may_elevate"] {
        let condition = json!({ "meta": "x", "present": true });
        let rule = json!({ "scope": "a", "step_up": "exchange", place: condition });
        let problems = problems(&faults(&exchanging(document(json!({ "t": rule })))));
        assert!(problems.contains("`meta` where it could lower"), "{place}: {problems}");
    }
    for condition in [json!({ "arg": "x", "present": true }), json!({ "some": { "arg": "x", "equals": 1 } })] {
        let rule = json!({ "scope": [], "callers": condition });
        assert_fault(&document(json!({ "t": rule })), &["is not understood here (P14)"]);
    }
}

/// Does the raise apply, under `when` and under `unless`?
#[track_caller]
fn assert_truth(condition: &Json, arguments: &Json, expected: Option<bool>) {
    let applies = |word: &str| {
        let rule = json!({ "scope": [], "raise": [{ word: condition, "deny": true }] });
        outcome(&document(json!({ "t": rule })), &with_arguments("t", arguments.clone()).bearer(&token(BASELINE)))
            == "denied"
    };
    let (when, unless) = (applies("when"), applies("unless"));
    let found = match (when, unless) {
        (true, true) => None,
        (true, false) => Some(true),
        (false, true) => Some(false),
        (false, false) => panic!("neither {condition} nor its negation holds for {arguments}"),
    };
    assert_eq!(found, expected, "{condition} of {arguments}");
}

#[test]
fn p17_tests_of_arguments() {
    for (test, value, expected) in [
        (json!({ "equals": "a" }), json!("a"), Some(true)),
        (json!({ "equals": "a" }), json!("A"), Some(false)),
        (json!({ "equals": "a" }), json!(1), None),
        (json!({ "equals": true }), json!(true), Some(true)),
        (json!({ "equals": true }), json!("true"), None),
        (json!({ "equals": 1 }), json!(1.0), Some(true)),
        (json!({ "equals": 1 }), json!(1e0), Some(true)),
        (json!({ "equals": 0.1 }), json!(0.1), Some(true)),
        (json!({ "in": ["a", 1] }), json!(1), Some(true)),
        (json!({ "in": ["a", "b"] }), json!("c"), Some(false)),
        (json!({ "prefix": "ab" }), json!("abc"), Some(true)),
        (json!({ "prefix": "ab" }), json!("ba"), Some(false)),
        (json!({ "suffix": "bc" }), json!("abc"), Some(true)),
        (json!({ "suffix": "bc" }), json!("bcd"), Some(false)),
        (json!({ "suffix": "bc" }), json!(5), None),
        (json!({ "above": 10 }), json!(10.5), Some(true)),
        (json!({ "above": 10 }), json!(10), Some(false)),
        (json!({ "above": 10 }), json!("11"), None),
        (json!({ "below": 10 }), json!(-1), Some(true)),
        (json!({ "present": true }), json!([]), Some(true)),
        (json!({ "present": true }), json!(["x"]), Some(true)),
        (json!({ "present": true }), json!({}), Some(true)),
        (json!({ "present": true }), json!(null), Some(false)),
        (json!({ "within": "/srv/" }), json!("/srv/a"), Some(true)),
        (json!({ "within": "/srv/" }), json!("/etc"), Some(false)),
        (json!({ "within": "/srv/" }), json!("/srv/../etc"), None),
        (json!({ "host": "example.com" }), json!("https://example.com/"), Some(true)),
        (json!({ "host": ["*.example.com"] }), json!("https://example.com/"), Some(false)),
        (json!({ "host": ["example.com"] }), json!("https://example.com:1/"), None),
        (json!({ "equals": "a" }), json!(["a"]), None),
        (json!({ "equals": "a" }), json!({ "a": "a" }), None),
        (json!({ "equals": "a" }), json!(null), None),
    ] {
        let mut condition = test;
        condition["arg"] = json!("x");
        assert_truth(&condition, &json!({ "x": value }), expected);
        condition["arg"] = json!("in.x");
        assert_truth(&condition, &json!({ "in": { "x": value, "y": 1 } }), expected);
        condition["arg"] = json!("/in~1~0/x");
        assert_truth(&condition, &json!({ "in/~": { "x": value } }), expected);
        assert_truth(&condition, &json!({ "in/~": [{ "x": value }] }), None);
    }
    let sixteen = json!({ "arg": "x", "above": 1 });
    let call =
        br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"t","arguments":{"x":2.0000000000000001}}}"#;
    let rule = json!({ "scope": [], "raise": [{ "when": { "not": sixteen }, "deny": true }] });
    let settled = Vm::new(&load(&document(json!({ "t": rule })))).send(&Request::post(call).bearer(&token(BASELINE)));
    settled.assert_refused(403, "denied");
}

#[test]
fn p17_what_is_not_there_is_absent_and_known_to_be() {
    assert_truth(&json!({ "arg": "x", "present": false }), &json!({}), Some(true));
    assert_truth(&json!({ "arg": "x.y", "present": false }), &json!({ "x": 5 }), Some(true));
    assert_truth(&json!({ "arg": "x.y", "present": false }), &json!({ "x": [] }), None);
    assert_truth(&json!({ "arg": "x", "present": false }), &json!({ "X": 1 }), None);
    assert_truth(&json!({ "arg": "x", "present": true }), &json!({ "x": 1, "X": 1 }), None);
    assert_truth(&json!({ "arg": "x", "equals": 1 }), &json!({}), None);
}

#[test]
fn p17_every_and_some_look_at_the_items_of_an_argument() {
    let every = json!({ "every": { "arg": "paths", "within": "/srv/" } });
    let some = json!({ "some": { "arg": "paths", "within": "/srv/" } });
    for (paths, all, any) in [
        (json!([]), Some(true), Some(false)),
        (json!(["/srv/a", "/srv/b"]), Some(true), Some(true)),
        (json!(["/srv/a", "/etc"]), Some(false), Some(true)),
        (json!(["/etc"]), Some(false), Some(false)),
        (json!(["/srv/a", "../x"]), None, Some(true)),
        (json!(["/etc", "../x"]), Some(false), None),
        (json!(["/srv/a", 5]), None, Some(true)),
        (json!(["/srv/a", null]), None, Some(true)),
        (json!([["/srv/a"]]), None, None),
        (json!([{ "a": 1 }]), None, None),
        (json!("/srv/a"), None, None),
        (json!(null), None, None),
    ] {
        assert_truth(&every, &json!({ "paths": paths }), all);
        assert_truth(&some, &json!({ "paths": paths }), any);
    }
    assert_truth(&every, &json!({}), None);
    assert_truth(&every, &json!({ "Paths": [] }), None);
}

#[test]
fn p17_meta_can_only_raise() {
    let rule =
        json!({ "scope": [], "raise": [{ "when": { "meta": "com.example/risk", "equals": "low" }, "deny": true }] });
    let rule = with(rule, "/raise/0/when/meta", json!("/com.example~1risk"));
    let document = document(json!({ "t": rule }));
    for (meta, expected) in [
        (json!({ "com.example/risk": "low" }), "denied"),
        (json!({ "com.example/risk": "high" }), "permit"),
        (json!({ "com.example/risk": ["high"] }), "denied"),
        (json!({}), "denied"),
    ] {
        let call = Request::method("tools/call", json!({ "name": "t", "arguments": {}, "_meta": meta }));
        assert_eq!(outcome(&document, &call.bearer(&token(BASELINE))), expected, "{meta}");
    }
}

#[test]
fn p17_prompts_and_methods_have_arguments_too() {
    let words = json!({
        "prompts": { "plan": { "scope": [], "raise": [{ "unless": { "arg": "team", "equals": "x" }, "deny": true }] } },
        "methods": { "tasks/get": { "scope": [], "raise": [{ "unless": { "arg": "taskId", "prefix": "own-" }, "deny": true }] } },
    });
    for (method, params, expected) in [
        ("prompts/get", json!({ "name": "plan", "arguments": { "team": "x" } }), "permit"),
        ("prompts/get", json!({ "name": "plan", "arguments": { "team": "y" } }), "denied"),
        ("prompts/get", json!({ "name": "plan" }), "denied"),
        ("tasks/get", json!({ "taskId": "own-1" }), "permit"),
        ("tasks/get", json!({ "taskId": "1" }), "denied"),
        ("tasks/get", json!({}), "denied"),
    ] {
        let request = Request::method(method, params.clone()).bearer(&token(BASELINE));
        assert_eq!(outcome(&server(words.clone()), &request), expected, "{method} {params}");
    }
}
