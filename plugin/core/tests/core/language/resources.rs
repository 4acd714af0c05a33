//! P19, P20: resources, templates, subscriptions, completion.

use super::*;

fn rules(resources: Json) -> Json {
    server(json!({ "resources": resources }))
}

#[test]
fn p19_the_most_specific_rule_reads_a_resource() {
    let document = rules(json!({
        "*": { "scope": "any" }, "repo://*": { "scope": "repos" }, "repo://acme/*": { "scope": "acme" },
        "repo://acme/readme": { "scope": "readme", "allow_weaker": true },
        "wiki://{space}/pages/{id}": { "scope": "pages" }, "urn:isbn:*": { "scope": "books" },
        "ui://q?v={v}": { "scope": "query" },
    }));
    for (uri, scope) in [
        ("repo://acme/readme", "readme"),
        ("repo://acme/x/y", "acme"),
        ("repo://acme/x/", "acme"),
        ("repo://other", "repos"),
        ("wiki://eng/pages/1", "pages"),
        ("wiki://eng/pages/a.b~c_d-e", "pages"),
        ("wiki://eng/pages/", "any"),
        ("wiki://eng/pages/1/2", "any"),
        ("wiki://eng/pages/%C3%A9", "any"),
        ("urn:isbn:1", "books"),
        ("ui://q?v=1", "query"),
        ("file:///etc", "any"),
    ] {
        assert_eq!(outcome(&document, &read(uri).bearer(&token(&format!("mcp:connect {scope}")))), "permit", "{uri}");
        assert_eq!(outcome(&document, &read(uri).bearer(&token(BASELINE))), "scope_missing", "{uri}");
    }
    let settled = Vm::new(&load(&document)).send(&read("repo://other").bearer(&token("mcp:connect repos")));
    assert_eq!((&settled.record["kind"], &settled.record["name"]), (&json!("resource"), &json!("repo://other")));
}

#[test]
fn p19_what_is_spelled_otherwise_matches_exact_rules_only() {
    let odd = [
        "repo://acme/../x",
        "repo://acme/./x",
        "repo://acme//x",
        "repo://acme/x/..",
        "repo://acme\\x",
        "repo://acme/x\n",
        "repo://acme/x y",
        "repo://acmé/x",
        "repo://acme/%2e%2e/x",
        "repo://acme/%2Fx",
        "repo://acme/%5Cx",
        "repo://acme/%00",
        "repo://acme/%25",
        "repo://acme/%73",
        "repo://acme/%zz",
        "repo://acme/%7",
        "repo://user@acme/x",
        "repo://acme/x#y",
        "repo://acme/x?y",
        "file:/etc",
        "file://host/etc",
        "FILE:/etc",
        "acme",
        "",
    ];
    let open = rules(json!({ "*": { "scope": [] }, "repo://*": { "scope": [] }, "file:///*": { "scope": [] } }));
    for uri in odd {
        assert_eq!(outcome(&open, &read(uri).bearer(&token(BASELINE))), "name_confusable", "{uri}");
        // A key of a policy is a text.
        if !uri.is_empty() && !uri.contains('\n') {
            let exact = rules(json!({ uri: { "scope": [] } }));
            assert_eq!(outcome(&exact, &read(uri).bearer(&token(BASELINE))), "permit", "{uri}");
        }
    }
    for uri in ["repo://acme/x/", "repo://acme/%C3%A9", "repo:", "file:///etc/x", "ui:///x", "urn:a:b:c", "x:a/b"] {
        assert_eq!(outcome(&open, &read(uri).bearer(&token(BASELINE))), "permit", "{uri}");
    }
    // P1's second look.
    let folded = rules(json!({ "*": { "scope": [] }, "repo://acme/*": "deny" }));
    assert_eq!(outcome(&folded, &read("Repo://Acme/x").bearer(&token(BASELINE))), "name_confusable");
}

#[test]
fn p19_keys_are_read_strictly() {
    for key in [
        "repo://acme*",
        "repo://*/x",
        "*x",
        "**",
        "repo://{a}/*",
        "repo://{a}/{a}",
        "repo://{+a}",
        "repo://{?a}",
        "repo://{",
        "x://{uri}",
        "repo://a#b/*",
        "repo://%2e/*",
        "",
    ] {
        assert_eq!(faults(&rules(json!({ key: { "scope": [] } }))).len(), 1, "{key}");
    }
    for (one, other) in [("a://{x}/b", "a://b/{x}"), ("a://{x}-b", "a://b-{x}"), ("a://{x}.b", "a://b.{x}")] {
        let rules = |scope: &str| rules(json!({ one: { "scope": "a" }, other: { "scope": scope } }));
        assert_fault(&rules("b"), &["resources.", "as specific as", "(P1)"]);
        load(&rules("a"));
    }
    for (one, other) in [("a://{x}/b", "a://{x}/c"), ("a://b/{x}", "a://c/{x}"), ("a://{x}/bb", "a://b/{x}")] {
        load(&rules(json!({ one: { "scope": "a" }, other: { "scope": "b", "allow_weaker": true } })));
    }
}

#[test]
fn p19_warns_of_a_deny_below_a_wider_rule() {
    let warned = |resources: Json| warnings(&rules(resources)).contains("(P19)");
    assert!(warned(json!({ "repo://*": { "scope": [] }, "repo://secret/*": "deny" })));
    assert!(warned(json!({ "*": { "scope": [] }, "repo://secret": "deny" })));
    assert!(!warned(json!({ "repo://open/*": { "scope": [] }, "repo://secret/*": "deny" })));
    assert!(!warned(json!({ "*": "deny", "repo://open/*": { "scope": [], "allow_weaker": true } })));
}

#[test]
fn p17_a_resource_is_read_with_its_uri_and_the_variables_of_its_template() {
    let raise = |condition: Json| json!([{ "unless": condition, "deny": true }]);
    let document = rules(json!({
        "wiki://{space}/{id}": { "scope": [], "raise": raise(json!({ "arg": "space", "in": ["eng"] })) },
        "repo://*": { "scope": [], "raise": raise(json!({ "arg": "uri", "prefix": "repo://acme/" })) },
        "log://{day}-{part}": { "scope": [], "raise": raise(json!({ "arg": "day", "equals": "mon" })) },
    }));
    for (uri, expected) in [
        ("wiki://eng/1", "permit"),
        ("wiki://hr/1", "denied"),
        ("repo://acme/x", "permit"),
        ("repo://other/x", "denied"),
        ("log://mon-1", "permit"),
        // Nobody knows where the day ends.
        ("log://mon-1-2", "denied"),
    ] {
        assert_eq!(outcome(&document, &read(uri).bearer(&token(BASELINE))), expected, "{uri}");
    }
    // Nothing else of the params is an argument.
    let request = Request::method(
        "resources/read",
        json!({ "uri": "wiki://hr/1", "space": "eng", "arguments": { "space": "eng" } }),
    );
    assert_eq!(outcome(&document, &request.bearer(&token(BASELINE))), "denied");
}

#[test]
fn p20_subscriptions_are_judged_as_reading() {
    let document = exchanging(rules(json!({
        "a://*": { "scope": [] }, "b://*": { "scope": "b" }, "c://*": "deny",
        "d://*": { "scope": "d", "step_up": "exchange", "may_elevate": { "client": ["agent"] } },
    })));
    let listen = |uris: Json| {
        Request::method("subscriptions/listen", json!({ "notifications": { "resourceSubscriptions": uris } }))
    };
    for (uris, expected) in [
        (json!(["a://1"]), "permit"),
        (json!(["a://1", "a://2"]), "permit"),
        (json!(["a://1", "b://1"]), "scope_missing"),
        (json!(["a://1", "c://1", "b://1"]), "denied"),
        (json!(["a://1", "x://1"]), "no_rule"),
        (json!(["a://1", "d://1"]), "not_elevatable"),
        (json!(["a://1", "a://../x"]), "name_confusable"),
    ] {
        assert_eq!(outcome(&document, &listen(uris.clone()).bearer(&token(BASELINE))), expected, "{uris}");
    }
    let mut vm = Vm::new(&load(&document));
    let settled = vm.send(&listen(json!(["a://1", "b://1"])).bearer(&token(BASELINE)));
    assert_eq!((&settled.record["name"], &settled.record["rule"]), (&json!("b://1"), &json!("b://*")));
    for (uri, expected) in [("a://1", "permit"), ("b://1", "scope_missing"), ("d://1", "not_elevatable")] {
        let subscribe = Request::method("resources/subscribe", json!({ "uri": uri }));
        assert_eq!(outcome(&document, &subscribe.bearer(&token(BASELINE))), expected, "{uri}");
    }
    let settled = vm.send(&Request::method("resources/subscribe", json!({ "uri": "d://1" })).bearer(&token(BASELINE)));
    assert_eq!(settled.answer().code(), Some(40302));
}

#[test]
fn p20_a_completion_is_judged_as_what_it_is_about() {
    let document = server(json!({
        "prompts": { "plan": { "scope": [], "raise": [{ "when": { "arg": "x", "equals": 1 }, "scope": "p" }] }, "secret": "deny" },
        "resources": {
            "wiki://eng/*": { "scope": [] }, "wiki://hr/*": { "scope": "hr" }, "wiki://top/*": "deny",
            "repo://{org}/{name}": { "scope": "repo" },
        },
    }));
    let complete = |reference: Json| {
        Request::method("completion/complete", json!({ "ref": reference, "argument": { "name": "a", "value": "b" } }))
    };
    for (reference, expected) in [
        // There are no arguments, so every raise applies.
        (json!({ "type": "ref/prompt", "name": "plan" }), "scope_missing"),
        (json!({ "type": "ref/prompt", "name": "secret" }), "denied"),
        (json!({ "type": "ref/prompt", "name": "other" }), "no_rule"),
        (json!({ "type": "ref/resource", "uri": "wiki://eng/1" }), "permit"),
        (json!({ "type": "ref/resource", "uri": "wiki://eng/{id}" }), "permit"),
        (json!({ "type": "ref/resource", "uri": "wiki://{space}/{id}" }), "permit"),
        (json!({ "type": "ref/resource", "uri": "wiki://hr/{id}" }), "scope_missing"),
        (json!({ "type": "ref/resource", "uri": "wiki://top/{id}" }), "denied"),
        (json!({ "type": "ref/resource", "uri": "repo://{a}/{b}" }), "scope_missing"),
        (json!({ "type": "ref/resource", "uri": "other://{id}" }), "no_rule"),
        (json!({ "type": "ref/resource", "uri": "wiki://eng/../{id}" }), "name_confusable"),
        (json!({ "type": "ref/resource", "name": "x" }), "params_invalid"),
        (json!({ "type": "ref/prompt", "name": "plan", "uri": "x" }), "params_invalid"),
        (json!({ "type": "ref/other", "name": "plan" }), "params_invalid"),
        (json!({ "name": "plan" }), "params_invalid"),
        (json!({ "type": "ref/prompt", "Name": "plan" }), "folded_key"),
        (json!("plan"), "params_invalid"),
    ] {
        assert_eq!(outcome(&document, &complete(reference.clone()).bearer(&token(BASELINE))), expected, "{reference}");
    }
    let settled = Vm::new(&load(&document))
        .send(&complete(json!({ "type": "ref/prompt", "name": "secret" })).bearer(&token(BASELINE)));
    assert_eq!((&settled.record["kind"], &settled.record["name"]), (&json!("prompt"), &json!("secret")));
}

#[test]
fn p26_prompts_and_resources_may_be_for_everybody() {
    let document = server(json!({
        "prompts": { "hello": { "anonymous": true }, "plan": { "scope": [] } },
        "resources": { "ui://*": { "anonymous": true, "data_class": "public" }, "repo://*": { "scope": [] } },
        "tools": { "t": { "scope": [] } },
    }));
    for (request, expected) in [
        (Request::method("prompts/get", json!({ "name": "hello" })), "permit"),
        (Request::method("prompts/get", json!({ "name": "plan" })), "token_missing"),
        (read("ui://app"), "permit"),
        (read("ui://app/../x"), "token_missing"),
        (read("repo://x"), "token_missing"),
        (Request::method("completion/complete", json!({ "ref": { "type": "ref/prompt", "name": "hello" } })), "permit"),
        (
            Request::method("completion/complete", json!({ "ref": { "type": "ref/resource", "uri": "ui://{x}" } })),
            "permit",
        ),
        (
            Request::method("completion/complete", json!({ "ref": { "type": "ref/prompt", "name": "plan" } })),
            "token_missing",
        ),
        (Request::method("resources/subscribe", json!({ "uri": "ui://app" })), "token_missing"),
        (
            Request::method(
                "subscriptions/listen",
                json!({ "notifications": { "resourceSubscriptions": ["ui://app"] } }),
            ),
            "token_missing",
        ),
    ] {
        assert_eq!(outcome(&document, &request), expected, "{request:?}");
    }
    let method = server(json!({ "methods": { "x/y": { "anonymous": true } } }));
    assert_fault(&method, &["methods", "`anonymous` on a method (P26)"]);
}
