//! Properties of all policies.

use super::*;

fn scope_set() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(vec!["a", "b", "c", "d", BASELINE], 0..=5)
}

fn rule() -> impl Strategy<Value = Json> {
    let step_up = prop::sample::select(vec!["none", "challenge"]);
    let scoped = (scope_set(), step_up, any::<bool>()).prop_map(|(scope, step_up, tier)| {
        // Where the tier says `challenge`, only `challenge` can be said again.
        if tier { json!({ "scope": scope, "tier": "t" }) } else { json!({ "scope": scope, "step_up": step_up }) }
    });
    prop_oneof![5 => scoped, 1 => Just(json!("deny"))]
}

/// Edges go up the alphabet only, so that there is no cycle.
fn implications() -> impl Strategy<Value = Json> {
    let edges = vec![("a", "b"), ("a", "c"), ("b", "c"), ("b", "d"), ("c", "d"), ("d", BASELINE), ("a", BASELINE)];
    prop::sample::subsequence(edges, 0..=7).prop_map(|edges| {
        let mut scopes = json!({ "a": {}, "b": {}, "c": {}, "d": {}, BASELINE: {} });
        for (from, to) in edges {
            let implied = &mut scopes[from]["implies"];
            *implied = implied.as_array().cloned().unwrap_or_default().into_iter().chain([json!(to)]).collect();
        }
        scopes
    })
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn more_scopes_never_turn_a_permit_into_a_refusal(
        rules in prop::collection::vec(rule(), 1..4),
        scopes in implications(),
        tier in scope_set(),
        some in scope_set(),
        more in scope_set(),
    ) {
        let tools: serde_json::Map<String, Json> =
            rules.into_iter().enumerate().map(|(at, rule)| (format!("t{at}"), rule)).collect();
        let names: Vec<String> = tools.keys().cloned().collect();
        let document = with(document(tools.into()), "/scopes", scopes);
        let document = with(document, "/tiers", json!({ "t": { "scope": tier, "max_lifetime": "1h" } }));
        let mut vm = Vm::new(&load(&document));
        let narrow = token(&some.join(" "));
        let wide = token(&some.iter().chain(&more).copied().collect::<Vec<_>>().join(" "));
        for tool in names {
            let permitted = vm.send(&Request::call(&tool).bearer(&narrow)).is_forwarded();
            let still = vm.send(&Request::call(&tool).bearer(&wide)).is_forwarded();
            prop_assert!(!permitted || still, "{} with {:?} and {:?}", tool, some, more);
        }
    }

    #[test]
    fn a_permit_means_that_every_scope_of_the_rule_is_covered(scopes in implications(), held in scope_set(), needed in scope_set()) {
        let document = with(document(json!({ "t": { "scope": needed } })), "/scopes", scopes.clone());
        let mut covered: Vec<String> = held.iter().map(ToString::to_string).collect();
        for at in 0.. {
            let Some(scope) = covered.get(at) else { break };
            let implied = scopes[scope]["implies"].as_array().cloned().unwrap_or_default();
            covered.extend(implied.iter().map(|scope| scope.as_str().unwrap().to_owned()));
        }
        let expected = needed.iter().chain([&BASELINE]).all(|scope| covered.iter().any(|held| held == scope));
        prop_assert_eq!(judge(&document, &token(&held.join(" ")), "t").is_forwarded(), expected);
    }

    #[test]
    fn loading_never_panics_on_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(faults) = Policy::load(&bytes, &step_up_core::NoEnvironment) {
            prop_assert!(!faults.is_empty());
        }
    }

    #[test]
    fn loading_never_panics_on_damaged_policies(cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..6usize), 1..4), structured in any::<bool>()) {
        let tools = json!({ "get_*": { "tier": "t", "scope": ["a"] }, "x": "deny", "*": { "scope": [], "allow_weaker": true } });
        let document = with(document(tools), "/tiers", json!({ "t": { "max_age": "5m" } }));
        let document = with(with(document, "/mode", json!("shadow")), "/until", json!("2027-03-01"));
        let mut bytes = if structured { proto_struct(&document).encode_to_vec() } else { document.to_string().into_bytes() };
        for (place, byte, length) in cuts {
            let at = place.index(bytes.len());
            let end = (at + length).min(bytes.len());
            bytes.splice(at..end, [byte]);
        }
        if let Err(faults) = Policy::load(&bytes, &step_up_core::NoEnvironment) {
            prop_assert!(!faults.is_empty(), "refused without saying why");
        }
    }

    #[test]
    fn loading_never_panics_on_any_value_at_any_place(place in prop::sample::select(PLACES.to_vec()), value in any_json()) {
        let tools = json!({ "get": { "tier": "t", "scope": ["a"] } });
        let document = with(document(tools), "/tiers", json!({ "t": { "max_age": "5m" } }));
        let document = with(with(with(document, "/limits", json!({})), "/mode", json!("shadow")), "/until", json!("2027-03-01"));
        if let Err(faults) = Policy::load(with(document, place, value).to_string().as_bytes(), &step_up_core::NoEnvironment) {
            prop_assert!(!faults.is_empty(), "refused without saying why");
        }
    }
}

const PLACES: [&str; 24] = [
    "/version",
    "/issuers",
    "/issuers/x",
    "/issuers/https:~1~1as.example.com/keys",
    "/issuers/https:~1~1as.example.com/jwks",
    "/issuers/https:~1~1as.example.com/algorithms",
    "/issuers/https:~1~1as.example.com/leeway",
    "/scopes",
    "/tiers",
    "/tiers/t",
    "/tiers/t/max_age",
    "/resource",
    "/baseline",
    "/tools",
    "/tools/get",
    "/tools/get/scope",
    "/tools/get/tier",
    "/tools/get/audience",
    "/paths",
    "/origins",
    "/limits/request_body",
    "/limits/body_wait",
    "/until",
    "/servers",
];

fn any_json() -> impl Strategy<Value = Json> {
    let words = [
        "",
        "a",
        "1s",
        "1h",
        "18446744073709551615d",
        "*",
        "deny",
        "EdDSA",
        "1900-01-01",
        "-9999-01-01",
        "9999-12-31",
        "https://a",
        "https://[::1",
        "https://",
        "/",
        "//",
        "64KiB",
        "18446744073709551615KiB",
        "é",
        "\0",
    ];
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        prop::sample::select(words.to_vec()).prop_map(Json::from),
        ".{0,8}".prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let names =
            prop::sample::select(vec!["scope", "tier", "deny", "implies", "keys", "kty", "cluster", "url", "x"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map(names, inner, 0..4)
                .prop_map(|map| map.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}
